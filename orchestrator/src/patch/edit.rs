//! Carrying out the chunks of one update on the bytes of one file.
//!
//! Lines a patch keeps stay as the file has them, byte for byte, even where the patch spelled them
//! a little differently. Inserted lines take the line end of their surroundings and always get one;
//! a last line without a line end stays without it unless the patch replaces it or adds after it.

use super::parse::{Chunk, Line};
use super::seek::find;

/// What a chunk looks for and the file does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MatchError {
    Context(String),
    Lines {
        expected: Vec<String>,
        /// They stand in the file, but above the change that came before.
        earlier: bool,
    },
}

/// The file after all chunks, applied from the top down.
pub(super) fn apply(original: &[u8], chunks: &[Chunk]) -> Result<Vec<u8>, MatchError> {
    let file = split(original);
    let mut output = Output {
        bytes: Vec::with_capacity(original.len()),
        open: false,
    };
    let mut next = 0;
    for chunk in chunks {
        let place = locate(&file, chunk, next)?;
        output.keep(&file[next..place.start]);
        next = output.change(&file, place);
    }
    output.keep(&file[next..]);
    Ok(output.bytes)
}

/// One line of the file and its end: a line feed, with or without a carriage return, or nothing.
#[derive(Clone, Copy)]
struct FileLine<'a> {
    text: &'a [u8],
    end: &'a [u8],
}

impl AsRef<[u8]> for FileLine<'_> {
    fn as_ref(&self) -> &[u8] {
        self.text
    }
}

fn split(file: &[u8]) -> Vec<FileLine<'_>> {
    file.split_inclusive(|&byte| byte == b'\n')
        .map(|line| {
            let end = match line {
                [.., b'\r', b'\n'] => 2,
                [.., b'\n'] => 1,
                _ => 0,
            };
            let (text, end) = line.split_at(line.len() - end);
            FileLine { text, end }
        })
        .collect()
}

/// Where a chunk goes: its lines apply from `start` on.
struct Place<'c> {
    start: usize,
    lines: &'c [Line],
}

fn locate<'c>(
    file: &[FileLine<'_>],
    chunk: &'c Chunk,
    from: usize,
) -> Result<Place<'c>, MatchError> {
    let mut start = from;
    let mut heading = None;
    for context in &chunk.context {
        match find(file, &[context], start, false) {
            Some(found) => (heading, start) = (Some(found), found + 1),
            None if is_unified_header(context) => {}
            None => return Err(MatchError::Context(context.clone())),
        }
    }
    if expected(&chunk.lines).is_empty() {
        // Nothing to find: after its heading, or at the end of the file.
        let after_heading = heading.is_some() && !chunk.at_end;
        let start = if after_heading { start } else { file.len() };
        return Ok(Place {
            start,
            lines: &chunk.lines,
        });
    }
    // Some patches repeat the heading as the first line of the change.
    for from in [Some(start), heading].into_iter().flatten() {
        for lines in without_closing_blank(&chunk.lines) {
            if let Some(start) = find(file, &expected(lines), from, chunk.at_end) {
                return Ok(Place { start, lines });
            }
        }
    }
    let expected = expected(&chunk.lines);
    let earlier = find(file, &expected, 0, false).is_some();
    let expected = expected.into_iter().map(str::to_owned).collect();
    Err(MatchError::Lines { expected, earlier })
}

/// The lines of a chunk that the file must already have.
fn expected(lines: &[Line]) -> Vec<&str> {
    lines
        .iter()
        .filter_map(|line| match line {
            Line::Keep(text) | Line::Remove(text) => Some(text.as_str()),
            Line::Insert(_) => None,
        })
        .collect()
}

/// The lines as they are, then without a blank last one: it often stands for the file's last line
/// end and for no line of its own.
fn without_closing_blank(lines: &[Line]) -> impl Iterator<Item = &[Line]> {
    let shorter = match lines {
        [rest @ .., Line::Keep(last)] if last.is_empty() && !expected(rest).is_empty() => {
            Some(rest)
        }
        _ => None,
    };
    [Some(lines), shorter].into_iter().flatten()
}

/// `-1,3 +1,4 @@`: the heading of another diff format, which names no line of the file.
fn is_unified_header(context: &str) -> bool {
    let mut words = context.split(' ');
    let mut range = |sign: char| {
        words
            .next()
            .and_then(|word| word.strip_prefix(sign))
            .is_some_and(|range| {
                !range.is_empty() && range.chars().all(|c| c.is_ascii_digit() || c == ',')
            })
    };
    range('-') && range('+') && words.next() == Some("@@")
}

struct Output {
    bytes: Vec<u8>,
    /// The last line written has no end. It gets one should another line follow.
    open: bool,
}

impl Output {
    /// Writes a chunk in its place and returns the first line of the file after it.
    fn change(&mut self, file: &[FileLine<'_>], place: Place<'_>) -> usize {
        let end = line_end_near(file, place.start);
        let mut next = place.start;
        for line in place.lines {
            match line {
                Line::Keep(_) => {
                    self.line(file[next]);
                    next += 1;
                }
                Line::Remove(_) => next += 1,
                Line::Insert(text) => self.line(FileLine {
                    text: text.as_bytes(),
                    end,
                }),
            }
        }
        next
    }

    fn keep(&mut self, lines: &[FileLine<'_>]) {
        for line in lines {
            self.line(*line);
        }
    }

    fn line(&mut self, line: FileLine<'_>) {
        if self.open {
            self.bytes.extend_from_slice(line.end);
        }
        self.bytes.extend_from_slice(line.text);
        self.bytes.extend_from_slice(line.end);
        self.open = line.end.is_empty();
    }
}

/// The line end that lines inserted at `index` should have.
fn line_end_near<'f>(file: &[FileLine<'f>], index: usize) -> &'f [u8] {
    let nearby = [Some(index), index.checked_sub(1), index.checked_sub(2)];
    nearby
        .into_iter()
        .flatten()
        .filter_map(|index| file.get(index))
        .map(|line| line.end)
        .find(|end| !end.is_empty())
        .unwrap_or(b"\n")
}

#[cfg(test)]
mod tests;
