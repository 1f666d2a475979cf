//! What the demo itself says, around what the run shows.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anstyle::{AnsiColor, Style};

use super::BUILDER;
use super::facts::Fact;
use super::stage::environments_toml;
use super::task::PROMPT;
use crate::text::for_terminal;

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const NAME: Style = AnsiColor::Cyan.on_default();

/// Columns of running text.
const WIDTH: usize = 76;

/// Before anything runs.
pub(super) fn opening() -> String {
    let mut text = format!("{BOLD}One model loop, two executors.{BOLD:#}\n");
    text += &paragraph(
        "The model is scripted: its answers come from this program and not from a language model, \
         so no key and no network are needed. Everything else is real: the HTTP stream, the loop, \
         the executors, the files and the processes.",
        "",
    );
    let _ = write!(text, "\n{BOLD}Task{BOLD:#}\n{}\n", paragraph(PROMPT, "  "));
    text
}

/// An executor, once it is there.
pub(super) fn place(id: &str, reached_by: &str) -> String {
    format!("  {NAME}{id:<8}{NAME:#} {DIM}an executor reached by {reached_by}{DIM:#}\n")
}

/// What was checked in the end, and what it comes to.
pub(super) fn verdict(facts: &[Fact], took: Duration) -> String {
    let mut text = format!("\n{BOLD}What really happened{BOLD:#}\n");
    for fact in facts {
        let _ = match &fact.wrong {
            None => writeln!(text, "  {GOOD}✓{GOOD:#} {}", fact.claim),
            Some(wrong) => {
                let wrong = for_terminal(wrong);
                writeln!(text, "  {BAD}✗{BAD:#} {}\n    {wrong}", fact.claim)
            }
        };
    }
    let failed = facts.iter().filter(|fact| fact.wrong.is_some()).count();
    let seconds = took.as_secs_f64();
    let _ = match failed {
        0 => writeln!(
            text,
            "{GOOD}All of it happened{GOOD:#}, in {seconds:.1} seconds."
        ),
        failed => writeln!(
            text,
            "{BAD}{failed} of {} did not happen{BAD:#}, after {seconds:.1} seconds.",
            facts.len()
        ),
    };
    text
}

/// How to do the same in earnest.
pub(super) fn in_earnest(executor: &Path) -> String {
    let url = "ws://127.0.0.1:7171";
    let program = executor.display();
    let environments = environments_toml(url, executor, Path::new("/tmp"));
    let mut text = format!("\n{BOLD}The same with a real model{BOLD:#}\n");
    text += &paragraph(
        &format!("Start an executor for {BUILDER} (here, or on another machine behind a tunnel):"),
        "  ",
    );
    let _ = write!(text, "\n    {program} --listen {url}\n\n");
    text += &paragraph(
        "Put this into environments.toml, in $FARSTEP_HOME or ~/.config/farstep:",
        "  ",
    );
    text.push('\n');
    for line in environments.lines() {
        let _ = writeln!(text, "{}", format!("    {line}").trim_end());
    }
    text.push('\n');
    text += &paragraph("And give the task to any Responses API model:", "  ");
    let _ = writeln!(
        text,
        "\n    OPENAI_API_KEY=... farstep run --model MODEL \\\n      \"{}\"",
        PROMPT.replace('`', "")
    );
    text
}

/// The text in lines of [`WIDTH`], each behind `margin`.
fn paragraph(text: &str, margin: &str) -> String {
    let mut lines = String::new();
    let mut line = margin.to_owned();
    for word in text.split(' ') {
        if line.len() > margin.len() && line.len() + word.len() >= WIDTH {
            let _ = writeln!(lines, "{}", line.trim_end());
            line = margin.to_owned();
        }
        line += word;
        line.push(' ');
    }
    let _ = writeln!(lines, "{}", line.trim_end());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn the_words_around_the_run() {
        let right = Fact::new("builder: it is there", Ok(()));
        let wrong = Fact::new("server: it is there", Err("no such\u{1b}file".to_owned()));
        let took = Duration::from_millis(2345);
        let words = [
            opening(),
            place(BUILDER, "websocket, ws://127.0.0.1:7"),
            verdict(std::slice::from_ref(&right), took),
            verdict(&[right, wrong], took),
            in_earnest(Path::new("/opt/farstep-executor")),
        ]
        .map(|text| plain(&text))
        .join("--------\n");
        insta::assert_snapshot!(words);
    }
}
