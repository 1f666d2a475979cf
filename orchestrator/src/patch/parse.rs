//! The envelope's grammar.
//!
//! Strict about what would change a file, lenient about what cannot: blank lines around sections,
//! carriage returns at line ends, and unmarked blank lines inside a change, which models write for
//! blank context.

/// A parsed patch; nothing in it has been checked against a file yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    /// The environment the patch names, when it names one.
    pub environment: Option<String>,
    pub hunks: Vec<Hunk>,
}

/// What happens to one path. Paths are in the spelling of the environment they belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hunk {
    Add {
        path: String,
        contents: String,
    },
    Delete {
        path: String,
    },
    Update {
        path: String,
        move_to: Option<String>,
        chunks: Vec<Chunk>,
    },
}

/// One place in a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chunk {
    /// Lines to find first, one after the other; the change follows the last of them.
    pub context: Vec<String>,
    pub lines: Vec<Line>,
    /// The change reaches to the end of the file.
    pub at_end: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    Keep(String),
    Remove(String),
    Insert(String),
}

/// Why a text is not a patch. Line numbers count from one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error("the first line must be `*** Begin Patch`")]
    NoBegin,
    #[error("the last line must be `*** End Patch`")]
    NoEnd,
    #[error("the patch changes nothing")]
    Empty,
    #[error("line {0}: expected `*** Add File:`, `*** Delete File:` or `*** Update File:`")]
    NoHeader(usize),
    #[error("line {0}: the path is empty")]
    NoPath(usize),
    #[error("line {0}: the environment id is empty")]
    NoEnvironment(usize),
    #[error("line {0}: each line of an added file must start with `+`")]
    NotAnAddedLine(usize),
    #[error("line {0}: a changed line must start with a space, `+` or `-`")]
    NotAChangedLine(usize),
    #[error("line {0}: this update of `{1}` changes nothing")]
    EmptyUpdate(usize, String),
    #[error("line {0}: no change follows the `@@` line")]
    EmptyChunk(usize),
}

impl Patch {
    pub fn parse(text: &str) -> Result<Patch, ParseError> {
        let mut lines = Lines::between_markers(text)?;
        let environment = match lines.after("*** Environment ID:") {
            Some("") => return Err(ParseError::NoEnvironment(lines.number())),
            named => named.map(str::to_owned),
        };
        let mut hunks = Vec::new();
        loop {
            lines.skip_blank();
            if lines.peek().is_none() {
                break;
            }
            hunks.push(hunk(&mut lines)?);
        }
        if hunks.is_empty() {
            return Err(ParseError::Empty);
        }
        Ok(Patch { environment, hunks })
    }
}

fn hunk(lines: &mut Lines<'_>) -> Result<Hunk, ParseError> {
    let path = |lines: &Lines<'_>, path: &str| match path {
        "" => Err(ParseError::NoPath(lines.number())),
        path => Ok(path.to_owned()),
    };
    if let Some(named) = lines.after(ADD) {
        let path = path(lines, named)?;
        return Ok(Hunk::Add {
            path,
            contents: added(lines)?,
        });
    }
    if let Some(named) = lines.after(DELETE) {
        return Ok(Hunk::Delete {
            path: path(lines, named)?,
        });
    }
    let Some(named) = lines.after(UPDATE) else {
        return Err(ParseError::NoHeader(lines.number() + 1));
    };
    let (path, header) = (path(lines, named)?, lines.number());
    let move_to = match lines.after("*** Move to:") {
        Some("") => return Err(ParseError::NoPath(lines.number())),
        target => target.map(str::to_owned),
    };
    let chunks = chunks(lines)?;
    if chunks.is_empty() && move_to.is_none() {
        return Err(ParseError::EmptyUpdate(header, path));
    }
    Ok(Hunk::Update {
        path,
        move_to,
        chunks,
    })
}

const ADD: &str = "*** Add File:";
const DELETE: &str = "*** Delete File:";
const UPDATE: &str = "*** Update File:";
const END_OF_FILE: &str = "*** End of File";

fn added(lines: &mut Lines<'_>) -> Result<String, ParseError> {
    let mut contents = String::new();
    while let Some(line) = lines.peek() {
        if let Some(text) = line.strip_prefix('+') {
            contents.push_str(text);
            contents.push('\n');
            lines.next();
            continue;
        }
        let blank = lines.number() + 1;
        lines.skip_blank();
        if lines.peek().is_some_and(|next| next.starts_with('+')) {
            // Whether this line belongs to the file cannot be told, and a guess would be written.
            return Err(ParseError::NotAnAddedLine(blank));
        }
        break;
    }
    match lines.peek() {
        Some(line) if !is_header(line) => Err(ParseError::NotAnAddedLine(lines.number() + 1)),
        _ => Ok(contents),
    }
}

fn chunks(lines: &mut Lines<'_>) -> Result<Vec<Chunk>, ParseError> {
    let mut chunks = Vec::new();
    loop {
        lines.skip_blank();
        match lines.peek() {
            Some(line) if !is_header(line) => chunks.push(chunk(lines)?),
            _ => return Ok(chunks),
        }
    }
}

fn chunk(lines: &mut Lines<'_>) -> Result<Chunk, ParseError> {
    let mut chunk = Chunk::default();
    // A bare `@@` opens a chunk and names no line.
    while let Some(context) = lines.peek().and_then(|line| line.strip_prefix("@@")) {
        lines.next();
        if !context.trim().is_empty() {
            chunk
                .context
                .push(context.strip_prefix(' ').unwrap_or(context).to_owned());
        }
    }
    let mut unmarked = 0;
    while let Some(line) = lines.peek() {
        if is_header(line) || line.starts_with("@@") {
            break;
        }
        lines.next();
        if line.trim_end() == END_OF_FILE {
            chunk.at_end = true;
            break;
        }
        unmarked = if line.is_empty() { unmarked + 1 } else { 0 };
        chunk
            .lines
            .push(changed(line).ok_or(ParseError::NotAChangedLine(lines.number()))?);
    }
    // Blank lines that only set a section off from the next one are nobody's context.
    chunk.lines.truncate(chunk.lines.len() - unmarked);
    if chunk.lines.is_empty() {
        return Err(ParseError::EmptyChunk(lines.number()));
    }
    Ok(chunk)
}

fn changed(line: &str) -> Option<Line> {
    let mut chars = line.chars();
    let text = |rest: std::str::Chars<'_>| rest.as_str().to_owned();
    match chars.next() {
        None => Some(Line::Keep(String::new())),
        Some(' ') => Some(Line::Keep(text(chars))),
        Some('-') => Some(Line::Remove(text(chars))),
        Some('+') => Some(Line::Insert(text(chars))),
        Some(_) => None,
    }
}

fn is_header(line: &str) -> bool {
    [ADD, DELETE, UPDATE]
        .iter()
        .any(|header| line.starts_with(header))
}

/// The lines between the two markers, and where we are in them.
struct Lines<'a> {
    lines: Vec<&'a str>,
    next: usize,
    /// How many lines of the text come before `lines`.
    before: usize,
}

impl<'a> Lines<'a> {
    fn between_markers(text: &'a str) -> Result<Lines<'a>, ParseError> {
        let mut lines: Vec<&str> = text
            .split('\n')
            .map(|line| line.strip_suffix('\r').unwrap_or(line))
            .collect();
        let filled = |line: &&str| !line.trim().is_empty();
        let begin = lines.iter().position(filled).ok_or(ParseError::NoBegin)?;
        if lines[begin].trim() != "*** Begin Patch" {
            return Err(ParseError::NoBegin);
        }
        let end = lines.iter().rposition(filled).ok_or(ParseError::NoEnd)?;
        if lines[end].trim() != "*** End Patch" {
            return Err(ParseError::NoEnd);
        }
        lines.truncate(end);
        lines.drain(..=begin);
        Ok(Lines {
            lines,
            next: 0,
            before: begin + 1,
        })
    }

    fn peek(&self) -> Option<&'a str> {
        self.lines.get(self.next).copied()
    }

    fn next(&mut self) {
        self.next += 1;
    }

    /// The number of the line that was taken last.
    fn number(&self) -> usize {
        self.before + self.next
    }

    /// Takes the next line if it starts with `marker`, and returns the rest of it.
    fn after(&mut self, marker: &str) -> Option<&'a str> {
        let rest = self.peek()?.strip_prefix(marker)?.trim();
        self.next();
        Some(rest)
    }

    fn skip_blank(&mut self) {
        while self.peek().is_some_and(|line| line.trim().is_empty()) {
            self.next();
        }
    }
}

#[cfg(test)]
mod tests;
