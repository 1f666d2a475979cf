//! Where complaints gather until the whole file is read, and how they become diagnostics:
//! byte spans to lines and columns, and the line to an excerpt without secrets.

use std::ops::Range;

use super::super::diagnostic::Excerpt;
use super::super::{Diagnostic, Kind, MAX_DIAGNOSTICS, Severity};

/// Longest excerpt in scalar values: a terminal line. A longer line is cut around the carets.
const EXCERPT_MAX: usize = 120;
/// How much of a cut line is kept before the carets.
const EXCERPT_LEAD: usize = 40;

/// A complaint before it has a line and a column.
pub(super) struct Finding {
    pub(super) kind: Kind,
    pub(super) key: Option<String>,
    pub(super) span: Range<usize>,
    pub(super) message: String,
    /// Said behind the carets.
    pub(super) label: String,
    pub(super) help: Option<String>,
}

impl Finding {
    pub(super) fn new(kind: Kind, key: &str, span: Range<usize>, message: String) -> Finding {
        Finding {
            kind,
            key: Some(key.to_owned()),
            span,
            message,
            label: String::new(),
            help: None,
        }
    }

    pub(super) fn label(mut self, label: impl Into<String>) -> Finding {
        self.label = label.into();
        self
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Finding {
        self.help = Some(help.into());
        self
    }
}

pub(super) struct Sink<'t> {
    text: &'t str,
    /// The entry being read: its key path, and its id once that is valid.
    entry: Option<(String, Option<String>)>,
    found: Vec<(Finding, Option<String>)>,
    /// Spans whose text no excerpt may show.
    secrets: Vec<Range<usize>>,
}

impl<'t> Sink<'t> {
    pub(super) fn new(text: &'t str) -> Sink<'t> {
        Sink {
            text,
            entry: None,
            found: Vec::new(),
            secrets: Vec::new(),
        }
    }

    pub(super) fn enter(&mut self, path: &str, id: Option<&str>) {
        self.entry = Some((path.to_owned(), id.map(str::to_owned)));
    }

    pub(super) fn leave(&mut self) {
        self.entry = None;
    }

    pub(super) fn hide(&mut self, span: Range<usize>) {
        self.secrets.push(span);
    }

    pub(super) fn report(&mut self, finding: Finding) {
        let id = self.entry.as_ref().and_then(|(_, id)| id.clone());
        self.found.push((finding, id));
    }

    /// How a message names a key: ``url of `devbox` `` where the id is known, else its whole path.
    pub(super) fn subject(&self, key: &str) -> String {
        if let Some((path, Some(id))) = &self.entry
            && let Some(rest) = key.strip_prefix(path.as_str())
        {
            return match rest.strip_prefix('.') {
                Some(name) => format!("{name} of `{id}`"),
                None => format!("environment `{id}`"),
            };
        }
        key.to_owned()
    }

    /// The errors if there are any, else the warnings; each by position, at most
    /// [`MAX_DIAGNOSTICS`].
    pub(super) fn finish(mut self) -> Result<Vec<Diagnostic>, Vec<Diagnostic>> {
        let refused = self
            .found
            .iter()
            .any(|(finding, _)| finding.kind.severity() == Severity::Error);
        if refused {
            self.found
                .retain(|(finding, _)| finding.kind.severity() == Severity::Error);
        }
        self.found.sort_by_key(|(finding, _)| finding.span.start);
        self.found.truncate(MAX_DIAGNOSTICS);
        let found = std::mem::take(&mut self.found);
        let told = found
            .into_iter()
            .map(|(finding, environment)| self.place(finding, environment))
            .collect();
        if refused { Err(told) } else { Ok(told) }
    }

    fn place(&self, finding: Finding, environment: Option<String>) -> Diagnostic {
        let start = floor(self.text, finding.span.start);
        let end = floor(self.text, finding.span.end).max(start);
        let line_start = self.text[..start].rfind('\n').map_or(0, |at| at + 1);
        // A byte-order mark is no column of the first line.
        let visible = match self.text[line_start..].strip_prefix('\u{feff}') {
            Some(rest) if line_start == 0 => self.text.len() - rest.len(),
            _ => line_start,
        };
        let line = self.text[visible..].lines().next().unwrap_or("");
        // The end of a line is one place, whichever line end it has.
        let start = start.clamp(visible, visible + line.len());
        let column = self.text[visible..start].chars().count();
        Diagnostic {
            severity: finding.kind.severity(),
            kind: finding.kind,
            key: finding.key,
            environment,
            line: self.text[..line_start].matches('\n').count() + 1,
            column: column + 1,
            message: finding.message,
            help: finding.help,
            excerpt: self.excerpt(line, visible, column, start..end.max(start), finding.label),
            span: finding.span,
        }
    }

    /// `line` begins at byte `at` of the text, and the carets below its scalar value `column`.
    fn excerpt(
        &self,
        line: &str,
        at: usize,
        column: usize,
        span: Range<usize>,
        label: String,
    ) -> Excerpt {
        let length = line.chars().count();
        let skipped = if length > EXCERPT_MAX {
            column.saturating_sub(EXCERPT_LEAD)
        } else {
            0
        };
        let nearby: Vec<_> = self
            .secrets
            .iter()
            .filter(|secret| secret.start < at + line.len() && secret.end > at)
            .collect();
        let shown = |(offset, letter): (usize, char)| {
            let byte = at + offset;
            if nearby.iter().any(|secret| secret.contains(&byte)) {
                '*'
            } else {
                tame(letter)
            }
        };
        let letters = line.char_indices().skip(skipped).take(EXCERPT_MAX);
        let mut text: String = letters.map(shown).collect();
        let indent = column - skipped;
        let room = text.chars().count().saturating_sub(indent);
        let marked = self.text[span].lines().next().unwrap_or("").chars().count();
        if skipped > 0 {
            // In place of a letter, so that the carets stay where they are.
            text = text.chars().skip(1).collect();
            text.insert(0, '…');
        }
        if length > skipped + EXCERPT_MAX {
            text.push('…');
        }
        Excerpt {
            text,
            indent,
            width: marked.min(room).max(1),
            label,
        }
    }
}

/// The letter as a terminal may show it: one column wide, and without a will of its own.
fn tame(letter: char) -> char {
    match letter {
        '\t' => ' ',
        // These turn the direction of what follows, or join and vanish.
        '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}' => char::REPLACEMENT_CHARACTER,
        _ if letter.is_control() => char::REPLACEMENT_CHARACTER,
        _ => letter,
    }
}

/// The nearest character boundary at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    text.floor_char_boundary(at)
}
