//! What became of the bytes at the far side, and how the whole of them gets its name.
//!
//! Executors of ours are asked. Others that have a POSIX shell run the programs such systems have.
//! Of the rest everything is read back, and the copy gets its name by being copied once more.

use std::sync::Arc;

use farstep_environments::{Executor, fs::OpenMode};
use farstep_path_uri::PathUri;
use futures_util::TryFutureExt as _;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::sync::Semaphore;

use super::digest::{self, Running};
use super::pump::{AT_ONCE, Reader};
use crate::files::error::FileCause;
use crate::files::far::{Far, Ways};
use crate::files::file::FarFile;

/// Defines `sum`, which reads standard input. 9 is the exit code where there is no such program.
const SUM: &str = r#"
if command -v sha256sum >/dev/null 2>&1; then sum() { sha256sum; }
elif command -v shasum >/dev/null 2>&1; then sum() { shasum -a 256; }
elif command -v openssl >/dev/null 2>&1; then sum() { openssl dgst -sha256 -r; }
else exit 9; fi
"#;

/// The digest of a file's first bytes, or of all.
const DIGEST: &str = r#"if [ -n "$2" ]; then head -c "$2" < "$1" | sum; else sum < "$1"; fi"#;

/// Compares, sets the mode and the time if they are given, and renames.
const SEAL: &str = r#"
found=$(sum < "$1") || exit 5
[ "${found%% *}" = "$4" ] || { echo "$found"; exit 8; }
if [ -n "$3" ]; then chmod "$3" "$1" || exit 7; fi
if [ -n "$5" ]; then TZ=UTC0 touch -m -t "$5" "$1" || exit 10; fi
if [ -d "$2" ] && [ ! -L "$2" ]; then exit 6; fi
mv -f "$1" "$2"
"#;

/// Cuts a file to some bytes and appends so many of another to it, which is removed.
const APPEND: &str = r#"
dd if=/dev/null of="$1" bs=1 seek="$2" count=0 2>/dev/null || exit 5
head -c "$4" "$3" >> "$1" && rm -f "$3"
"#;

/// Permission bits, by GNU's or BSD's program.
const MODE: &str = r#"stat -c %a "$1" 2>/dev/null || stat -f %Lp "$1""#;

/// Sets modes and times of what is named behind them.
const MARK: &str = r#"
while [ $# -gt 2 ]; do
  if [ -n "$1" ]; then chmod "$1" "$3" || exit 1; fi
  if [ -n "$2" ]; then TZ=UTC0 touch -m -t "$2" "$3" || exit 1; fi
  shift 3
done"#;

/// What a copy is to be like, beside its content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks {
    /// The nine permission bits.
    pub(super) mode: Option<u32>,
    /// When it was changed last, in Unix milliseconds, if that is to be kept.
    pub(super) modified: Option<i64>,
}

impl Marks {
    fn mode_text(self) -> String {
        self.mode
            .map(|mode| format!("{mode:o}"))
            .unwrap_or_default()
    }

    /// As `touch -t` has it in UTC, which knows no part of a second.
    fn time_text(self) -> Result<String, FileCause> {
        let Some(ms) = self.modified else {
            return Ok(String::new());
        };
        let at = Timestamp::from_millisecond(ms).map(|at| at.to_zoned(TimeZone::UTC));
        match at {
            Ok(at) if (0..=9999).contains(&at.year()) => {
                Ok(at.strftime("%Y%m%d%H%M.%S").to_string())
            }
            _ => Err(FileCause::NoTimes),
        }
    }
}

const NO_PROGRAM: i64 = 9;
const OTHER_DIGEST: i64 = 8;

/// The digest of a file of an environment, or of its first `length` bytes. None where it would
/// have to be read back.
pub(super) async fn digest_there(
    far: &Far,
    path: &PathUri,
    length: Option<u64>,
) -> Result<Option<String>, FileCause> {
    let found = match (far.ways(), native(path)) {
        (Ways::Announced, _) => {
            let found = far
                .call(async |to: &Executor| to.digest(path, length).await)
                .await?;
            Some(found.sha256)
        }
        (Ways::Shell, Some(native)) => {
            let length = length.map(|length| length.to_string()).unwrap_or_default();
            let script = format!("{SUM}{DIGEST}");
            let (code, said) = far.script(&script, &[&native, &length]).await?;
            match code {
                0 => first_word(&said),
                NO_PROGRAM => None,
                _ => {
                    return Err(FileCause::Refused(
                        "its digest could not be made".to_owned(),
                    ));
                }
            }
        }
        (Ways::Shell | Ways::None, _) => None,
    };
    Ok(found.filter(|digest| digest::is_one(digest)))
}

/// The same, where need be by reading all of it back.
pub(super) async fn digest_or_read(
    far: &Arc<Far>,
    path: &PathUri,
    budget: &Arc<Semaphore>,
) -> Result<String, FileCause> {
    if let Some(digest) = digest_there(far, path, None).await? {
        return Ok(digest);
    }
    let reader = Reader::There(FarFile::open(far, path, OpenMode::Read, None).await?);
    let mut running = Running::default();
    let mut at = 0;
    loop {
        let Ok(_place) = budget.acquire().await else {
            return Err(FileCause::Lost("the copy was given up".to_owned()));
        };
        let block = reader.read(at).await?;
        if block.is_empty() {
            break;
        }
        at += block.len() as u64;
        running.take(&block);
    }
    reader.close().await;
    Ok(running.shown())
}

/// Makes sure that a partial file is what was read, and lets it take its place in one step.
pub(super) async fn seal(
    far: &Arc<Far>,
    partial: &PathUri,
    whole: &PathUri,
    marks: Marks,
    read: &str,
    budget: &Arc<Semaphore>,
) -> Result<(), FileCause> {
    let sealed = match (far.ways(), native(partial), native(whole)) {
        (Ways::Announced, _, _) => by_calls(far, partial, whole, marks, read).await,
        (Ways::Shell, Some(from), Some(to)) => {
            let (mode, time) = (marks.mode_text(), marks.time_text()?);
            let script = format!("{SUM}{SEAL}");
            let (code, said) = far
                .script(&script, &[&from, &to, &mode, read, &time])
                .await?;
            match code {
                0 => Ok(()),
                NO_PROGRAM if marks.modified.is_some() => Err(FileCause::NoTimes),
                NO_PROGRAM => by_reading(far, partial, whole, read, budget).await,
                OTHER_DIGEST => Err(differs(read, first_word(&said))),
                6 => Err(FileCause::IsDirectory),
                7 => Err(FileCause::Refused("its mode could not be set".to_owned())),
                10 => Err(FileCause::Refused("its time could not be set".to_owned())),
                _ => Err(FileCause::Refused(shown(&said))),
            }
        }
        (Ways::Shell | Ways::None, _, _) if marks.modified.is_some() => Err(FileCause::NoTimes),
        (Ways::Shell | Ways::None, _, _) => by_reading(far, partial, whole, read, budget).await,
    };
    let Err(cause) = sealed else { return Ok(()) };
    // It may have been done when the connection was lost, or twice.
    if let Ok(Some(found)) = digest_there(far, whole, None).await
        && found == read
        && is_missing(far, partial).await
    {
        return Ok(());
    }
    if cause.is_loss() {
        return Err(cause);
    }
    let look = far.call(async |to: &Executor| to.metadata(whole).await);
    let is_directory = look.await.is_ok_and(|found| found.is_directory);
    // Going on from there would come to the same.
    let removed = far.call(async |to: &Executor| to.remove(partial, false, true).await);
    if let Err(error) = removed.await {
        tracing::debug!(%error, "a partial file was not removed");
    }
    match is_directory {
        true => Err(FileCause::IsDirectory),
        false => Err(cause),
    }
}

async fn by_calls(
    far: &Far,
    partial: &PathUri,
    whole: &PathUri,
    marks: Marks,
    read: &str,
) -> Result<(), FileCause> {
    let digest = far.call(async |to: &Executor| to.digest(partial, None).await);
    let set = mark_by_calls(far, partial, marks);
    let (found, ()) = futures_util::try_join!(digest, set)?;
    if found.sha256 != read {
        return Err(differs(read, Some(found.sha256)));
    }
    far.call(async |to: &Executor| to.rename(partial, whole).await)
        .await
}

async fn mark_by_calls(far: &Far, path: &PathUri, marks: Marks) -> Result<(), FileCause> {
    let mode = async {
        let Some(mode) = marks.mode else {
            return Ok(());
        };
        far.call(async |to: &Executor| to.set_mode(path, mode).await)
            .await
    };
    let time = async {
        let Some(modified) = marks.modified else {
            return Ok(());
        };
        if !far.keeps_times() {
            return Err(FileCause::NoTimes);
        }
        far.call(async |to: &Executor| to.set_times(path, modified).await)
            .await
    };
    futures_util::try_join!(mode, time).map(|((), ())| ())
}

async fn by_reading(
    far: &Arc<Far>,
    partial: &PathUri,
    whole: &PathUri,
    read: &str,
    budget: &Arc<Semaphore>,
) -> Result<(), FileCause> {
    let found = digest_or_read(far, partial, budget).await?;
    if found != read {
        return Err(differs(read, Some(found)));
    }
    far.call(async |to: &Executor| {
        to.copy(partial, whole, false)
            .and_then(|()| to.remove(partial, false, true))
            .await
    })
    .await
}

/// Cuts a partial file to `length` bytes and appends `more` bytes of another to it, without a call
/// that could.
pub(super) async fn append(
    far: &Far,
    partial: &PathUri,
    length: u64,
    other: &PathUri,
    more: u64,
) -> Result<bool, FileCause> {
    let (Ways::Shell, Some(partial), Some(other)) = (far.ways(), native(partial), native(other))
    else {
        return Ok(false);
    };
    let (length, more) = (length.to_string(), more.to_string());
    let (code, _) = far
        .script(APPEND, &[&partial, &length, &other, &more])
        .await?;
    Ok(code == 0)
}

/// Gives some paths what they are to be like, one after the other.
pub(super) async fn set_marks(far: &Far, marks: &[(PathUri, Marks)]) -> Result<(), FileCause> {
    match far.ways() {
        Ways::None if marks.iter().any(|(_, marks)| marks.modified.is_some()) => {
            return Err(FileCause::NoTimes);
        }
        Ways::None => {}
        Ways::Announced => {
            for (path, marks) in marks {
                mark_by_calls(far, path, *marks).await?;
            }
        }
        Ways::Shell => {
            // A command line has an end.
            for some in marks.chunks(64) {
                let mut words = Vec::new();
                for (path, marks) in some {
                    if let Some(native) = native(path) {
                        words.extend([marks.mode_text(), marks.time_text()?, native]);
                    }
                }
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                let (code, said) = far.script(MARK, &words).await?;
                if code != 0 {
                    return Err(FileCause::Refused(shown(&said)));
                }
            }
        }
    }
    Ok(())
}

/// The permission bits of a file of an executor that does not tell them.
pub(super) async fn mode_there(far: &Far, path: &PathUri) -> Result<Option<u32>, FileCause> {
    let (Ways::Shell, Some(native)) = (far.ways(), native(path)) else {
        return Ok(None);
    };
    let (code, said) = far.script(MODE, &[&native]).await?;
    let mode = first_word(&said).and_then(|word| u32::from_str_radix(&word, 8).ok());
    Ok(mode.filter(|_| code == 0).map(|mode| mode & 0o777))
}

async fn is_missing(far: &Far, path: &PathUri) -> bool {
    let look = far.call(async |to: &Executor| to.metadata(path).await);
    matches!(look.await, Err(FileCause::Missing))
}

fn differs(read: &str, arrived: Option<String>) -> FileCause {
    FileCause::Differs {
        read: read.to_owned(),
        arrived: arrived.unwrap_or_else(|| "unknown".to_owned()),
    }
}

fn first_word(said: &[u8]) -> Option<String> {
    let said = std::str::from_utf8(said).ok()?;
    said.split_whitespace().next().map(str::to_owned)
}

fn shown(said: &[u8]) -> String {
    let said = String::from_utf8_lossy(said);
    match said.trim() {
        "" => "the executor's shell failed".to_owned(),
        said => said.to_owned(),
    }
}

/// The path as an argument of a program; none if it is no text.
pub(super) fn native(path: &PathUri) -> Option<String> {
    String::from_utf8(path.to_posix_openable().ok()?).ok()
}

/// Blocks that may have been written out of order when a copy broke off, in bytes.
pub(super) const UNSURE: u64 = (AT_ONCE * farstep_environments::BLOCK_BYTES_MAX) as u64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_spelled_as_every_touch_reads_it() {
        let text = |ms| {
            let marks = Marks {
                mode: None,
                modified: Some(ms),
            };
            marks.time_text().ok()
        };
        assert_eq!(text(1_700_000_000_999).unwrap(), "202311142213.20");
        assert_eq!(text(0).unwrap(), "197001010000.00");
        assert_eq!(text(-1).unwrap(), "196912312359.59");
        assert_eq!(text(i64::MAX), None);
        assert_eq!(Marks::default().time_text().unwrap(), "");
    }
}
