//! The file of records: one for all executors of a user, each line bound to the one before.
//!
//! ```text
//!   lock ─▶ still the file of that name? ─▶ continue its chain ─▶ append ─▶ unlock
//!                 └─ no, rotated: open the new one
//! ```
//!
//! Executors share the file because a local one lives as long as one command of a person: a file
//! each would be thousands. The lock is the kernel's and goes with whoever held it. A line that a
//! writer died in stays, is ended by the next writer, and is covered by its digest.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::line::{self, Entry, GENESIS, LINE_BYTES_MAX};
use crate::os;

/// Old files that are kept beside the current one.
pub(super) const OLD_FILES: usize = 3;

/// Bytes written under one lock, about: more would make other executors wait.
const BATCH_BYTES: usize = 256 * 1024;

/// How long another executor may hold the lock. It holds it for one write; one that is stopped in
/// there, or a program that took it to spite us, must not hang us.
const LOCK_MAX: Duration = Duration::from_secs(2);
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// How often a file may be rotated away between opening and locking it.
const OPEN_ATTEMPTS: usize = 8;

/// The records on disk.
#[derive(Debug)]
pub(super) struct Chain {
    path: PathBuf,
    /// Of one file; with the old ones there are [`OLD_FILES`] more.
    file_bytes_max: u64,
    pid: u32,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    /// Where the chain stands, and how long the file was when it did.
    len: u64,
    tip: Tip,
}

/// The end of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Tip {
    seq: u64,
    digest: String,
    /// The last line has no end.
    is_torn: bool,
}

impl Tip {
    fn genesis() -> Tip {
        Tip {
            seq: 0,
            digest: GENESIS.to_owned(),
            is_torn: false,
        }
    }
}

impl Chain {
    /// The records at `path`, which take `bytes_max` with everything that is kept of them.
    pub(super) fn new(path: PathBuf, bytes_max: u64) -> Chain {
        Chain {
            path,
            file_bytes_max: bytes_max / (OLD_FILES as u64 + 1),
            pid: std::process::id(),
            open: None,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Finds out whether records can be written here at all.
    pub(super) fn try_out(&mut self) -> io::Result<()> {
        if let Some(folder) = self.path.parent()
            && !folder.as_os_str().is_empty()
        {
            os::make_private_folder(folder)?;
        }
        let open = self.locked()?;
        os::unlock(&open.file)?;
        self.open = Some(open);
        Ok(())
    }

    /// Writes what waits and takes it out. On failure nothing of what is left was written.
    pub(super) fn append(&mut self, waiting: &mut VecDeque<Entry>) -> io::Result<()> {
        while !waiting.is_empty() {
            let mut open = self.locked()?;
            if open.len >= self.file_bytes_max {
                self.rotate()?;
                continue;
            }
            let written = open.write(waiting, self.pid, self.file_bytes_max)?;
            waiting.drain(..written);
            os::unlock(&open.file)?;
            self.open = Some(open);
        }
        Ok(())
    }

    /// The current file, locked, with the end of its chain. Whatever fails later, the file is
    /// dropped and with it the lock.
    fn locked(&mut self) -> io::Result<Open> {
        for _ in 0..OPEN_ATTEMPTS {
            let mut open = match self.open.take() {
                Some(open) => open,
                None => Open {
                    file: os::open_private_file(&self.path)?,
                    len: u64::MAX,
                    tip: Tip::genesis(),
                },
            };
            lock(&open.file)?;
            if !os::is_at(&open.file, &self.path) {
                continue;
            }
            let len = open.file.metadata()?.len();
            if len != open.len {
                open.tip = match tip(&mut open.file, len)? {
                    Some(tip) => tip,
                    None => self.tip_of_the_file_before()?,
                };
                open.len = len;
            }
            return Ok(open);
        }
        Err(io::Error::other("the file is rotated away all the time"))
    }

    /// A new file goes on where the one before ended.
    fn tip_of_the_file_before(&self) -> io::Result<Tip> {
        let before = self.old(1);
        // Opening makes what is not there.
        if std::fs::symlink_metadata(&before).is_err() {
            return Ok(Tip::genesis());
        }
        match os::open_private_file(&before) {
            Ok(mut file) => {
                let len = file.metadata()?.len();
                let tip = tip(&mut file, len)?.unwrap_or_else(Tip::genesis);
                // Its last line, ended or not, is none of the new file's.
                Ok(Tip {
                    is_torn: false,
                    ..tip
                })
            }
            Err(_) => Ok(Tip::genesis()),
        }
    }

    /// Makes room: the oldest file goes, the others move one place. The caller has the lock.
    fn rotate(&self) -> io::Result<()> {
        for number in (1..OLD_FILES).rev() {
            move_if_there(&self.old(number), &self.old(number + 1))?;
        }
        move_if_there(&self.path, &self.old(1))
    }

    fn old(&self, number: usize) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(format!(".{number}"));
        path.into()
    }
}

impl Open {
    /// Appends as many as fit into one batch and this file, at least one. Returns how many.
    fn write(&mut self, waiting: &VecDeque<Entry>, pid: u32, bytes_max: u64) -> io::Result<usize> {
        let (mut text, mut tip, mut count) = (String::new(), self.tip.clone(), 0);
        if tip.is_torn {
            text.push('\n');
            tip.is_torn = false;
        }
        for entry in waiting {
            tip.seq += 1;
            tip.digest = line::write(&mut text, entry, pid, tip.seq, &tip.digest);
            text.push('\n');
            count += 1;
            if text.len() >= BATCH_BYTES || self.len + text.len() as u64 >= bytes_max {
                break;
            }
        }
        if let Err(error) = self.file.write_all(text.as_bytes()) {
            // Half a line would be covered by the next one's digest, but none is better.
            let _: io::Result<()> = self.file.set_len(self.len);
            return Err(error);
        }
        self.len += text.len() as u64;
        self.tip = tip;
        Ok(count)
    }
}

fn lock(file: &File) -> io::Result<()> {
    let deadline = Instant::now() + LOCK_MAX;
    loop {
        if os::try_lock(file)? {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(io::Error::other(
                "another process holds the lock of the file",
            ));
        }
        std::thread::sleep(LOCK_PAUSE);
    }
}

fn move_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Where the chain in a file ends; `None` if nothing is in it.
fn tip(file: &mut File, len: u64) -> io::Result<Option<Tip>> {
    if len == 0 {
        return Ok(None);
    }
    // The last line, torn or not, and a whole one before it.
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(
        len.saturating_sub(3 * LINE_BYTES_MAX as u64),
    ))?;
    file.take(3 * LINE_BYTES_MAX as u64)
        .read_to_end(&mut tail)?;
    let is_torn = tail.last() != Some(&b'\n');
    let ended = tail.strip_suffix(b"\n").unwrap_or(&tail);
    let mut lines = ended.rsplit(|byte| *byte == b'\n');
    let last = lines.next().unwrap_or_default();
    let seq = seq_of(last).or_else(|| lines.find_map(seq_of)).unwrap_or(0);
    Ok(Some(Tip {
        seq,
        digest: line::digest(last),
        is_torn,
    }))
}

/// The number of a record, if this is one.
pub(super) fn seq_of(line: &[u8]) -> Option<u64> {
    serde_json::from_slice::<serde_json::Value>(line).ok()?["seq"].as_u64()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::super::event::{Event, Who};
    use super::super::verify::{Verified, verify};
    use super::*;

    fn entries(count: usize) -> VecDeque<Entry> {
        let entry = |number| Entry {
            at: Timestamp::UNIX_EPOCH,
            who: Who::default(),
            event: Event::FsRead {
                path: format!("file:///{number}"),
            },
        };
        (0..count).map(entry).collect()
    }

    fn whole(records: u64, first: u64) -> Verified {
        Verified {
            records,
            first,
            last: first + records - 1,
            torn: vec![],
        }
    }

    #[test]
    fn executors_that_share_a_file_make_one_chain() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/audit.jsonl");
        let mut chains = [1, 2].map(|_| Chain::new(path.clone(), 1 << 30));
        for round in 0..10 {
            let chain = &mut chains[round % 2];
            chain.try_out().unwrap();
            chain.append(&mut entries(round)).unwrap();
        }
        assert_eq!(verify(&[path]).unwrap(), whole(45, 1));
        let files = std::fs::read_dir(folder.path().join("state")).unwrap();
        assert_eq!(files.count(), 1);
    }

    #[test]
    fn executors_that_write_at_once_lose_and_break_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        // Small files, so that they rotate under each other's feet.
        let bytes_max = 4 * 30_000;
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut chain = Chain::new(path.clone(), bytes_max);
                    for _ in 0..25 {
                        chain.append(&mut entries(4)).unwrap();
                    }
                });
            }
        });
        let files: Vec<PathBuf> = [".3", ".2", ".1", ""]
            .map(|end| folder.path().join(format!("audit.jsonl{end}")))
            .into_iter()
            .filter(|path| path.exists())
            .collect();
        assert!(files.len() > 1);
        assert_eq!(verify(&files).unwrap(), whole(400, 1));
    }

    #[test]
    fn old_files_make_room_and_the_chain_goes_on_across_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let mut chain = Chain::new(path.clone(), 4 * 4096);
        chain.append(&mut entries(1000)).unwrap();
        let file = |end: &str| folder.path().join(format!("audit.jsonl{end}"));
        let files = [".3", ".2", ".1", ""].map(file);
        let kept: u64 = files
            .iter()
            .map(|path| path.metadata().unwrap().len())
            .sum();
        assert!(kept <= 4 * 4096 + 4 * 1024, "{kept}");
        let found = verify(&files).unwrap();
        assert_eq!(found, whole(found.records, 1001 - found.records));
        assert!(!file(".4").exists());
    }

    #[test]
    fn a_line_its_writer_died_in_is_ended_and_covered() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let mut chain = Chain::new(path.clone(), 1 << 30);
        chain.append(&mut entries(2)).unwrap();
        let mut file = os::open_private_file(&path).unwrap();
        file.write_all(br#"{"t":"2026"#).unwrap();
        chain.append(&mut entries(2)).unwrap();
        let wanted = Verified {
            torn: vec![3],
            ..whole(4, 1)
        };
        assert_eq!(verify(&[path]).unwrap(), wanted);
    }

    #[test]
    fn a_lock_that_is_never_released_is_an_error_and_not_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let held = os::open_private_file(&path).unwrap();
        assert!(os::try_lock(&held).unwrap());
        let mut chain = Chain::new(path.clone(), 1 << 30);
        let mut waiting = entries(1);
        let error = chain.append(&mut waiting).unwrap_err();
        assert!(error.to_string().contains("lock"), "{error}");
        assert_eq!(waiting.len(), 1);
        drop(held);
        chain.append(&mut waiting).unwrap();
        assert_eq!(verify(&[path]).unwrap(), whole(1, 1));
    }
}
