//! Checks a chain of records: `farstep-executor audit verify`.
//!
//! It finds lines that were changed, taken out, put in or moved. It cannot find that the newest
//! lines were cut off, nor a whole file that was written anew: against who owns the machine only
//! copies elsewhere help.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use super::chain::seq_of;
use super::line::{GENESIS, LINE_BYTES_MAX, digest};

/// What was found in an unbroken chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// How many records there are, and the numbers of the first and the last.
    pub records: u64,
    pub first: u64,
    pub last: u64,
    /// Lines (of all files together, from 1) that a writer died in. The chain covers them.
    pub torn: Vec<u64>,
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verified {
            records,
            first,
            last,
            torn,
        } = self;
        write!(f, "unbroken: {records} records, {first} to {last}")?;
        if *first > 1 {
            f.write_str("; what came before is not among these files")?;
        }
        if !torn.is_empty() {
            write!(f, "; a writer died in {} of the lines", torn.len())?;
        }
        Ok(())
    }
}

/// Why a chain is not good.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error("failed to read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}, line {line}: {why}", path.display())]
    Broken {
        path: PathBuf,
        line: u64,
        why: &'static str,
    },
    #[error("there are no records")]
    Empty,
}

/// Checks files that follow each other, the oldest first.
pub fn verify<P: AsRef<Path>>(paths: &[P]) -> Result<Verified, VerifyError> {
    let mut check = Check::default();
    for path in paths {
        let path = path.as_ref();
        let read = |source| VerifyError::Read {
            path: path.to_owned(),
            source,
        };
        let mut file = BufReader::new(File::open(path).map_err(read)?);
        let mut number = 0;
        loop {
            let mut line = Vec::new();
            let mut bounded = (&mut file).take(LINE_BYTES_MAX as u64 + 1);
            if bounded.read_until(b'\n', &mut line).map_err(read)? == 0 {
                break;
            }
            number += 1;
            let line = line.strip_suffix(b"\n").unwrap_or(&line);
            check.line(line).map_err(|why| VerifyError::Broken {
                path: path.to_owned(),
                line: number,
                why,
            })?;
        }
    }
    if check.found.records == 0 {
        return Err(VerifyError::Empty);
    }
    Ok(check.found)
}

#[derive(Debug, Default)]
struct Check {
    found: Verified,
    lines: u64,
    /// Of the line before.
    digest: Option<String>,
}

impl Check {
    fn line(&mut self, line: &[u8]) -> Result<(), &'static str> {
        self.lines += 1;
        if line.len() > LINE_BYTES_MAX {
            return Err("longer than any record");
        }
        let before = self.digest.replace(digest(line));
        let (Some(seq), Some(prev)) = (seq_of(line), prev_of(line)) else {
            self.found.torn.push(self.lines);
            return Ok(());
        };
        match before {
            Some(digest) if digest != prev => {
                return Err(
                    "does not follow the line before it: one of them was changed, or \
                            something between them was taken out",
                );
            }
            None if seq == 1 && prev != GENESIS => {
                return Err("claims to be the first of all and names one before it");
            }
            _ => {}
        }
        if self.found.records == 0 {
            self.found.first = seq;
        } else if seq != self.found.last + 1 {
            return Err("has the wrong number");
        }
        self.found.last = seq;
        self.found.records += 1;
        Ok(())
    }
}

fn prev_of(line: &[u8]) -> Option<&str> {
    let line = std::str::from_utf8(line).ok()?;
    let prev = line.get(line.len().checked_sub(GENESIS.len() + 2)?..)?;
    line.strip_suffix(prev)?.strip_suffix(r#","prev":""#)?;
    prev.strip_suffix(r#""}"#)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    fn chain(records: u64) -> Vec<String> {
        let (mut lines, mut prev) = (Vec::new(), GENESIS.to_owned());
        for seq in 1..=records {
            let mut line = String::new();
            write!(line, r#"{{"seq":{seq},"prev":"{prev}"}}"#).unwrap();
            prev = digest(line.as_bytes());
            lines.push(line);
        }
        lines
    }

    fn checked(lines: &[String]) -> Result<Verified, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), lines.join("\n") + "\n").unwrap();
        let words = |error: VerifyError| {
            let text = error.to_string();
            text.split_once(", ")
                .map_or(text.clone(), |(_, why)| why.to_owned())
        };
        verify(&[file.path()]).map_err(words)
    }

    #[test]
    fn whatever_is_done_to_a_line_is_found() {
        let good = chain(5);
        let whole = Verified {
            records: 5,
            first: 1,
            last: 5,
            torn: vec![],
        };
        assert_eq!(checked(&good), Ok(whole));
        let done: [fn(&mut Vec<String>); 5] = [
            |lines| lines[2] = lines[2].replace("seq", "ses"),
            |lines| {
                lines.remove(2);
            },
            |lines| lines.swap(2, 3),
            |lines| lines.insert(2, lines[2].clone()),
            |lines| lines[2].push(' '),
        ];
        for (number, change) in done.iter().enumerate() {
            let mut bad = good.clone();
            change(&mut bad);
            let why = checked(&bad).unwrap_err();
            assert!(why.contains("does not follow"), "{number}: {why}");
        }
    }

    #[test]
    fn a_part_of_a_chain_is_good_but_a_false_beginning_is_not() {
        let found = checked(&chain(5)[2..]).unwrap();
        assert_eq!((found.records, found.first, found.last), (3, 3, 5));
        let false_start = chain(5)[2].replace("\"seq\":3", "\"seq\":1");
        assert!(
            checked(&[false_start])
                .unwrap_err()
                .contains("first of all")
        );
        assert_eq!(
            checked(&[String::new()]).unwrap_err(),
            "there are no records"
        );
    }

    #[test]
    fn a_line_without_end_is_no_feast_for_the_memory() {
        let why = checked(&["x".repeat(3 * LINE_BYTES_MAX)]).unwrap_err();
        assert_eq!(why, "line 1: longer than any record");
    }
}
