//! A run as a person watches it.

use std::collections::HashMap;
use std::io::{self, Write};

use anstyle::{AnsiColor, Style};

use super::Screen;
use crate::events::{ChangeKind, Detail, Event, Item, ItemId, Live, Signal, Status, Usage};
use crate::text::for_terminal;

/// Lines of one command that are shown as they come; the rest is counted.
const LIVE_LINES: usize = 40;

/// A command's line is cut here; the whole of it is in the event stream.
const COMMAND_CHARS: usize = 200;

const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const NAME: Style = AnsiColor::Cyan.on_default();

/// Shows a run on two writers: answers on one, everything else on the other.
#[derive(Debug)]
pub struct Human<A, N> {
    answers: A,
    notes: N,
    /// With several environments every line says which one it is about.
    several: bool,
    running: HashMap<ItemId, Running>,
    /// What has been shown of the answer that is being written.
    streamed: String,
    last_error: String,
}

#[derive(Debug, Default)]
struct Running {
    lines: usize,
    /// The beginning of a line whose end has not come yet.
    rest: Vec<u8>,
}

impl<A: Write + Send + 'static, N: Write + Send + 'static> Screen for Human<A, N> {
    fn show(&mut self, signal: Signal) -> io::Result<()> {
        match signal {
            Signal::Event(event) => self.event(event)?,
            Signal::Live(Live::Text { delta }) => self.text(&delta)?,
            Signal::Live(Live::Output {
                item,
                environment_id,
                bytes,
            }) => {
                self.output(&item, &environment_id, &bytes)?;
            }
            Signal::End => {}
        }
        self.notes.flush()
    }
}

impl<A: Write, N: Write> Human<A, N> {
    pub fn new(answers: A, notes: N, several: bool) -> Self {
        Self {
            answers,
            notes,
            several,
            running: HashMap::new(),
            streamed: String::new(),
            last_error: String::new(),
        }
    }

    fn event(&mut self, event: Event) -> io::Result<()> {
        if !matches!(&event, Event::ItemCompleted { item } if matches!(item.detail, Detail::AgentMessage { .. }))
        {
            self.end_text()?;
        }
        match event {
            Event::ThreadStarted { .. } | Event::TurnStarted => Ok(()),
            Event::EnvironmentConnected {
                environment_id,
                os,
                cwd,
            } => {
                let about = [os, cwd]
                    .into_iter()
                    .flatten()
                    .collect::<Vec<_>>()
                    .join("  ");
                let about = for_terminal(&about);
                writeln!(
                    self.notes,
                    "{GOOD}●{GOOD:#} {NAME}{environment_id}{NAME:#}  {DIM}{about}{DIM:#}"
                )
            }
            Event::EnvironmentDisconnected {
                environment_id,
                reason,
            } => {
                let reason = for_terminal(&reason);
                writeln!(
                    self.notes,
                    "{BAD}○{BAD:#} {NAME}{environment_id}{NAME:#}  {reason}"
                )
            }
            Event::ItemStarted { item } => self.started(&item),
            Event::ItemUpdated { item } => {
                writeln!(
                    self.notes,
                    "{}{DIM}… still running{DIM:#}",
                    self.margin(&item)
                )
            }
            Event::ItemCompleted { item } => self.completed(item),
            Event::TurnCompleted { turn_usage, .. } => self.summary(turn_usage),
            Event::TurnFailed { error } => {
                let message = for_terminal(&error.message);
                // The last error has said it already.
                match error.message == self.last_error {
                    true => writeln!(self.notes, "{BAD}failed{BAD:#}"),
                    false => writeln!(self.notes, "{BAD}failed{BAD:#}: {message}"),
                }
            }
            Event::Error { message } => {
                writeln!(self.notes, "{DIM}!{DIM:#} {}", for_terminal(&message))?;
                self.last_error = message;
                Ok(())
            }
        }
    }

    fn started(&mut self, item: &Item) -> io::Result<()> {
        self.running.insert(item.id.clone(), Running::default());
        if let Detail::CommandExecution { command, .. } = &item.detail {
            let command = first_line(command, COMMAND_CHARS);
            writeln!(self.notes, "{BOLD}▸{BOLD:#} {}{command}", self.place(item))?;
        }
        Ok(())
    }

    fn completed(&mut self, item: Item) -> io::Result<()> {
        let running = self.running.remove(&item.id).unwrap_or_default();
        let place = self.place(&item);
        let margin = self.margin(&item);
        match item.detail {
            Detail::AgentMessage { text } => self.answer(&text),
            Detail::Reasoning { text } => {
                writeln!(self.notes, "{DIM}{}{DIM:#}", for_terminal(&text))
            }
            Detail::CommandExecution {
                exit_code,
                status,
                aggregated_output,
                ..
            } => {
                if !running.rest.is_empty() && running.lines < LIVE_LINES {
                    writeln!(
                        self.notes,
                        "{margin}│ {}",
                        for_terminal(&String::from_utf8_lossy(&running.rest))
                    )?;
                }
                if running.lines > LIVE_LINES {
                    let more = running.lines - LIVE_LINES;
                    writeln!(self.notes, "{margin}{DIM}│ … {more} more lines{DIM:#}")?;
                }
                match (exit_code, status) {
                    (Some(0), _) => writeln!(self.notes, "{margin}{GOOD}✓{GOOD:#}"),
                    (Some(code), _) => {
                        writeln!(self.notes, "{margin}{BAD}✗ exit code {code}{BAD:#}")
                    }
                    (None, _) => {
                        let why = aggregated_output.trim_end();
                        let why = first_line(why.rsplit('\n').next().unwrap_or(why), COMMAND_CHARS);
                        writeln!(self.notes, "{margin}{BAD}✗ {why}{BAD:#}")
                    }
                }
            }
            Detail::FileChange { changes, status } => {
                writeln!(self.notes, "{BOLD}▸{BOLD:#} {place}patch{}", mark(status))?;
                for change in changes {
                    let kind = match change.kind {
                        ChangeKind::Add => 'A',
                        ChangeKind::Update => 'M',
                        ChangeKind::Delete => 'D',
                    };
                    writeln!(
                        self.notes,
                        "{margin}│ {kind} {}",
                        for_terminal(&change.path)
                    )?;
                }
                Ok(())
            }
            Detail::ImageView { path, status } => {
                let path = for_terminal(&path);
                writeln!(
                    self.notes,
                    "{BOLD}▸{BOLD:#} {place}look at {path}{}",
                    mark(status)
                )
            }
            Detail::ToolCall { tool, error, .. } => {
                let (tool, error) = (for_terminal(&tool), first_line(&error, 2 * COMMAND_CHARS));
                writeln!(self.notes, "{BAD}✗{BAD:#} {place}{tool}: {error}")
            }
        }
    }

    /// A finished answer: only what has not been streamed yet.
    fn answer(&mut self, text: &str) -> io::Result<()> {
        let streamed = std::mem::take(&mut self.streamed);
        match text.strip_prefix(streamed.as_str()) {
            Some(rest) => writeln!(self.answers, "{}", for_terminal(rest))?,
            // A try that broke off had begun otherwise.
            None => writeln!(self.answers, "\n{}", for_terminal(text))?,
        }
        self.answers.flush()
    }

    fn text(&mut self, delta: &str) -> io::Result<()> {
        self.streamed.push_str(delta);
        write!(self.answers, "{}", for_terminal(delta))?;
        self.answers.flush()
    }

    fn end_text(&mut self) -> io::Result<()> {
        if !self.streamed.is_empty() {
            self.streamed.clear();
            writeln!(self.answers)?;
            self.answers.flush()?;
        }
        Ok(())
    }

    fn output(&mut self, id: &ItemId, environment: &str, bytes: &[u8]) -> io::Result<()> {
        self.end_text()?;
        let alone = self.running.len() < 2;
        let Some(running) = self.running.get_mut(id) else {
            return Ok(());
        };
        running.rest.extend_from_slice(bytes);
        while let Some(end) = running.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = running.rest.drain(..=end).collect();
            running.lines += 1;
            if running.lines > LIVE_LINES {
                continue;
            }
            let line = String::from_utf8_lossy(&line);
            let line = for_terminal(line.trim_end_matches(['\n', '\r']));
            match (self.several, alone) {
                (true, _) => writeln!(self.notes, "  {NAME}{environment}{NAME:#} │ {line}")?,
                (false, true) => writeln!(self.notes, "  │ {line}")?,
                (false, false) => writeln!(self.notes, "  {DIM}{}{DIM:#} │ {line}", id.as_ref())?,
            }
        }
        // A line without end would grow without bound.
        if running.rest.len() > 64 * 1024 {
            running.rest.clear();
        }
        Ok(())
    }

    fn summary(&mut self, usage: Usage) -> io::Result<()> {
        writeln!(
            self.notes,
            "{DIM}{} tokens in ({} cached), {} out{DIM:#}",
            usage.input_tokens, usage.cached_input_tokens, usage.output_tokens
        )
    }

    /// What a call's own line begins with.
    fn place(&self, item: &Item) -> String {
        match &item.environment_id {
            Some(id) if self.several => format!("{NAME}{}{NAME:#} ", for_terminal(id)),
            _ => String::new(),
        }
    }

    /// What the lines below it begin with.
    fn margin(&self, item: &Item) -> String {
        match &item.environment_id {
            Some(id) if self.several => format!("  {NAME}{}{NAME:#} ", for_terminal(id)),
            _ => "  ".to_owned(),
        }
    }
}

fn mark(status: Status) -> String {
    match status {
        Status::Completed => format!(" {GOOD}✓{GOOD:#}"),
        Status::Failed => format!(" {BAD}✗{BAD:#}"),
        Status::InProgress => String::new(),
    }
}

fn first_line(text: &str, most: usize) -> String {
    let line = text.lines().next().unwrap_or_default();
    let mut shown: String = line.chars().take(most).collect();
    if shown.len() < text.trim_end().len() {
        shown.push('…');
    }
    for_terminal(&shown).into_owned()
}

#[cfg(test)]
mod tests;
