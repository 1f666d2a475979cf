//! A page whose shown commands are run, and whose shown output is what they print.
//!
//! In a page of `docs/` every block that is marked `console` holds commands behind `$ ` and below
//! each what it prints, standard error included. Each section (`## `) has a fresh [`Lab`] with two
//! executors, `builder` and `tester`, and its commands run there one after the other, in a folder
//! `laptop`. What differs from run to run (paths, ports, ids, times) is shown as something that
//! does not.
//!
//! With `UPDATE_DOCS=1` the page is rewritten instead of compared.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use tokio::process::Command;

use crate::{Executor, Lab, PATIENCE};

/// What stands in a page for the ids of jobs, in the order in which they appear.
const IDS: [&str; 8] = [
    "3f9c2a71b0de",
    "a81d5c90e3f2",
    "5be07719c4d8",
    "c4620fd1937a",
    "e95b3c8802f1",
    "1d7fa6e45b09",
    "96c0d4b17e3f",
    "0ab5f28c63d7",
];

/// What stands in front of a number of seconds that grows less.
const LEFT: &str = "\"leftSeconds\":";

/// Where the commands of one section run.
#[derive(Debug)]
pub struct Stage {
    lab: Lab,
    executors: Vec<Executor>,
    /// What is shown for what, and the other way round.
    ids: HashMap<String, &'static str>,
}

/// Compares every command of the page with what it prints now, or rewrites the page.
pub async fn check_page(path: &Path) -> Result<()> {
    let page = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let mut rewritten = String::new();
    let mut wrong = String::new();
    for section in sections(&page) {
        let mut stage = None;
        for part in parts(section) {
            match part {
                Part::Prose(text) => rewritten.push_str(text),
                Part::Shown { command, output } => {
                    let stage = match &mut stage {
                        Some(stage) => stage,
                        none => none.insert(Stage::set().await?),
                    };
                    let printed = stage.run(command).await?;
                    let same = squeezed(&printed) == squeezed(output);
                    if !same {
                        wrong.push_str(&format!(
                            "$ {command}\n--- the page\n{output}--- now\n{printed}\n"
                        ));
                    }
                    rewritten.push_str(&format!("$ {command}\n"));
                    rewritten.push_str(if same { output } else { &printed });
                }
            }
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        return Ok(std::fs::write(path, rewritten)?);
    }
    bail!(
        "{} shows what is not printed (UPDATE_DOCS=1 rewrites it):\n{wrong}",
        path.display()
    )
}

impl Stage {
    /// Two executors, and a configuration that names them.
    pub async fn set() -> Result<Stage> {
        let lab = Lab::new()?;
        lab.folder("laptop")?;
        let executors = vec![
            lab.executor("builder").await?,
            lab.executor("tester").await?,
        ];
        let entries: Vec<_> = ["builder", "tester"]
            .into_iter()
            .zip(executors.iter().map(|executor| executor.url.as_str()))
            .collect();
        lab.websockets(&entries)?;
        Ok(Stage {
            lab,
            executors,
            ids: HashMap::new(),
        })
    }

    /// The laboratory.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// Runs a shell command and gives what it prints, as a page shows it.
    pub async fn run(&mut self, command: &str) -> Result<String> {
        let mut line = command.to_owned();
        for (id, shown) in &self.ids {
            line = line.replace(shown, id);
        }
        let programs = self.lab.programs().farstep.parent();
        let programs = programs.context("the program lies in no folder")?;
        let path = std::env::var("PATH").unwrap_or_default();
        let mut shell: Command = self.lab.farstep(&[]);
        // The same hermetic surroundings, for a shell instead of the program itself.
        let mut sh = Command::new("sh");
        for (name, value) in shell.as_std_mut().get_envs() {
            match value {
                Some(value) => sh.env(name, value),
                None => sh.env_remove(name),
            };
        }
        let ended = sh
            .args(["-c", &format!("exec 2>&1; {line}")])
            .current_dir(self.lab.folder("laptop")?)
            .env("PATH", format!("{}:{path}", programs.display()))
            .env("COLUMNS", "100")
            .stdin(std::process::Stdio::null())
            .kill_on_drop(true)
            .output();
        let ended = tokio::time::timeout(PATIENCE, ended).await;
        let ended = ended.with_context(|| format!("`{command}` did not end in time"))??;
        let mut text = self.shown(&String::from_utf8_lossy(&ended.stdout));
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        Ok(text)
    }

    /// Printed text with what differs from run to run replaced.
    fn shown(&mut self, printed: &str) -> String {
        let mut text = printed.to_owned();
        for (number, executor) in self.executors.iter().enumerate() {
            let address = executor.url.trim_start_matches("ws://");
            text = text.replace(address, &format!("127.0.0.1:{}", 4500 + number));
        }
        // The longer paths first: the others are parts of them.
        let folder = self.lab.path().display().to_string();
        let places = [
            ("/home", "~/.config/farstep"),
            ("/state", "~/.local/state"),
            ("/laptop", "~"),
            ("", "/srv"),
        ];
        for (below, shown) in places {
            text = text.replace(&format!("{folder}{below}"), shown);
        }
        let text = steady_milliseconds(&text);
        let text = words(&text, |word| self.word(word));
        let parts: Vec<&str> = text.split(LEFT).collect();
        let rest = |part: &str| {
            part.trim_start_matches(|c: char| c.is_ascii_digit())
                .to_owned()
        };
        let (first, others) = parts.split_first().unwrap_or((&"", &[]));
        others.iter().fold((*first).to_owned(), |text, part| {
            text + LEFT + "40000" + &rest(part)
        })
    }

    fn word(&mut self, word: &str) -> Option<String> {
        let known = self.ids.len();
        if is_id(word) {
            let shown = self.ids.entry(word.to_owned());
            return Some((*shown.or_insert(IDS[known.min(IDS.len() - 1)])).to_owned());
        }
        let (number, unit) = word.split_at(word.trim_end_matches(char::is_alphabetic).len());
        let is_number = !number.is_empty() && number.chars().all(|c| c.is_ascii_digit());
        match unit {
            "s" if is_number => Some("2s".to_owned()),
            // Milliseconds since 1970.
            "" if is_number && number.len() == 13 => Some("1795000000000".to_owned()),
            _ => None,
        }
    }
}

/// Every `N.NN ms` as one that does not change.
fn steady_milliseconds(text: &str) -> String {
    let mut pieces = text.split(" ms");
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let is_number = |c: char| c.is_ascii_digit() || c == '.';
        let before = out.trim_end_matches(is_number).len();
        if before < out.len() {
            out.truncate(before);
            out.push_str("0.20");
        }
        out.push_str(" ms");
        out.push_str(piece);
    }
    out
}

/// Twelve hexadecimal digits, with a letter among them or by chance without.
fn is_id(word: &str) -> bool {
    let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    word.len() == 12 && word.chars().all(hex)
}

/// Replaces words of letters and digits, where `replace` says by what.
fn words(text: &str, mut replace: impl FnMut(&str) -> Option<String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let is_part = |c: char| c.is_alphanumeric();
        let end = match rest.starts_with(is_part) {
            true => rest.find(|c| !is_part(c)),
            false => rest.find(is_part),
        };
        let (word, tail) = rest.split_at(end.unwrap_or(rest.len()));
        match replace(word) {
            Some(other) => out.push_str(&other),
            None => out.push_str(word),
        }
        rest = tail;
    }
    out
}

/// Columns are as wide as their widest cell, which differs from run to run.
fn squeezed(text: &str) -> Vec<String> {
    let line = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    text.lines().map(line).collect()
}

/// One piece of a page.
enum Part<'a> {
    Prose(&'a str),
    Shown { command: &'a str, output: &'a str },
}

/// The page, cut in front of each heading of the second level.
fn sections(page: &str) -> Vec<&str> {
    let mut cuts: Vec<usize> = page.match_indices("\n## ").map(|(at, _)| at + 1).collect();
    cuts.push(page.len());
    let mut start = 0;
    let mut found = Vec::new();
    for cut in cuts {
        found.push(&page[start..cut]);
        start = cut;
    }
    found
}

fn parts(section: &str) -> Vec<Part<'_>> {
    let mut found = Vec::new();
    let (mut start, mut at, mut shown) = (0, 0, None);
    let mut is_console = false;
    for line in section.split_inclusive('\n') {
        let ends_block = is_console && line.starts_with("```");
        if ends_block || (is_console && line.starts_with("$ ")) {
            match shown.take() {
                Some(command) => found.push(Part::Shown {
                    command,
                    output: &section[start..at],
                }),
                None => found.push(Part::Prose(&section[start..at])),
            }
            start = at;
        }
        at += line.len();
        if ends_block {
            is_console = false;
        } else if line.starts_with("```console") {
            is_console = true;
        } else if is_console && let Some(command) = line.strip_prefix("$ ") {
            shown = Some(command.trim_end_matches('\n'));
            start = at;
        }
    }
    found.push(Part::Prose(&section[start..]));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_commands_their_output_and_the_rest() {
        let page = "# T\n\n## A\n```console\n$ one\n1\n2\n$ two\n```\nmore\n## B\n";
        let mut seen = Vec::new();
        for section in sections(page) {
            for part in parts(section) {
                seen.push(match part {
                    Part::Prose(text) => format!("prose {text:?}"),
                    Part::Shown { command, output } => format!("{command} -> {output:?}"),
                });
            }
        }
        let wanted = [
            r##"prose "# T\n\n""##,
            r###"prose "## A\n```console\n""###,
            r#"one -> "1\n2\n""#,
            r#"two -> """#,
            r#"prose "```\nmore\n""#,
            r###"prose "## B\n""###,
        ];
        assert_eq!(seen, wanted);
    }
}
