//! One file: what is there of it already, the rest of it, and its name at last.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use farstep_environments::fs::OpenMode;
use farstep_environments::{Block, Executor};
use farstep_path_uri::{Convention, PathUri};
use tokio::sync::Semaphore;

use super::digest::Running;
use super::here::{self, Folder, Kind};
use super::name::Name;
use super::pump::{Broken, Pumped, Reader, Side, Writer, blocking, pump};
use super::seal::{
    Marks, UNSURE, append, digest_or_read, digest_there, mode_there, seal, set_marks,
};
use crate::files::error::{FileCause, FileError};
use crate::files::far::{Far, Ways};
use crate::files::file::FarFile;

/// What is copied.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Here(PathBuf),
    There(Arc<Far>, PathUri),
}

/// Where a copy goes: a name in a directory.
#[derive(Clone, Debug)]
pub(super) enum Target {
    Here {
        folder: Arc<Folder>,
        /// Down from the folder.
        below: Vec<Name>,
        name: Name,
        shown: PathBuf,
    },
    There {
        far: Arc<Far>,
        folder: PathUri,
        name: Name,
    },
}

/// A file that was copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Copied {
    pub(super) bytes: u64,
    /// How much of it was there from before.
    pub(super) resumed_at: u64,
    pub(super) sha256: String,
}

/// What all files of one copy share.
pub(super) struct Transfer<'a> {
    pub(super) resume: bool,
    /// Whether copies become as old as what they are copied from.
    pub(super) preserve: bool,
    /// What tells our partial files in environments from those of others.
    pub(super) upload: Option<String>,
    pub(super) budget: Arc<Semaphore>,
    /// Told how many bytes more there are to copy.
    pub(super) expect: &'a dyn Fn(u64),
    /// Told how many are copied.
    pub(super) advance: &'a dyn Fn(u64),
}

/// For its owner alone.
const PRIVATE: u32 = 0o600;

/// Files shorter than this are begun anew instead of being looked at.
const WORTH_RESUMING: u64 = 1 << 20;

/// Files up to this size go in one call to executors of ours: what it takes as base64 still
/// counts as a small message.
const SMALL: u64 = 48 << 10;

/// How often a copy that cannot take up its file again begins again without getting any further.
const STUCK_MAX: u32 = 3;

impl Source {
    pub(super) fn shown(&self) -> String {
        match self {
            Source::Here(path) => path.display().to_string(),
            Source::There(far, path) => far.show(path),
        }
    }
}

impl Target {
    pub(super) fn shown(&self) -> String {
        match self {
            Target::Here { shown, .. } => shown.display().to_string(),
            Target::There { far, folder, name } => match name.below(folder) {
                Ok(path) => far.show(&path),
                // As it would be typed, if it could.
                Err(_) => {
                    let separator = match folder.convention() {
                        Some(Convention::Windows) => '\\',
                        _ => '/',
                    };
                    let name = String::from_utf8_lossy(name.as_bytes());
                    format!("{}{separator}{name}", far.show(folder))
                }
            },
        }
    }
}

/// An open source and what is known of it.
struct Opened {
    reader: Reader,
    size: u64,
    marks: Marks,
}

impl Opened {
    /// Whether it is not for everybody: then its copy is not either, from its first byte on.
    fn is_private(&self) -> bool {
        self.marks.mode.is_some_and(|mode| mode & 0o044 != 0o044)
    }
}

impl Transfer<'_> {
    /// Copies one regular file. An existing one is replaced when the copy is whole.
    pub(super) async fn copy(&self, source: &Source, target: &Target) -> Result<Copied, FileError> {
        let opened = self.open(source).await;
        let opened = opened.map_err(|cause| cause.of("read", source.shown()))?;
        (self.expect)(opened.size);
        let copied = match target {
            Target::Here {
                folder,
                below,
                name,
                ..
            } => self.to_here(&opened, folder, below, name).await,
            Target::There { far, folder, name } => self.to_there(&opened, far, folder, name).await,
        };
        opened.reader.close().await;
        copied.map_err(|(side, cause)| match side {
            Side::Reading => cause.of("read", source.shown()),
            Side::Writing => cause.of("write", target.shown()),
        })
    }

    async fn open(&self, source: &Source) -> Result<Opened, FileCause> {
        match source {
            Source::Here(path) => {
                let path = path.clone();
                let (file, found) = blocking(move || {
                    let file = here::open_to_read(&path)?;
                    let found = file.metadata()?;
                    Ok::<_, FileCause>((file, found))
                })
                .await?;
                Ok(Opened {
                    reader: Reader::Here(Arc::new(file)),
                    size: found.len(),
                    marks: Marks {
                        mode: here::mode_of(&found),
                        modified: here::modified(&found).filter(|_| self.preserve),
                    },
                })
            }
            Source::There(far, path) => {
                let found = far
                    .call(async |to: &Executor| to.metadata(path).await)
                    .await?;
                match (found.is_file, found.is_directory) {
                    (true, _) => {}
                    (_, true) => return Err(FileCause::IsDirectory),
                    _ => return Err(FileCause::Special),
                }
                let mode = match found.mode {
                    Some(mode) => Some(mode & 0o777),
                    None => mode_there(far, path).await?,
                };
                Ok(Opened {
                    reader: Reader::There(FarFile::open(far, path, OpenMode::Read, None).await?),
                    size: found.size,
                    marks: Marks {
                        mode,
                        modified: known(found.modified_at_ms).filter(|_| self.preserve),
                    },
                })
            }
        }
    }

    /// Where an earlier copy of the same file broke off, with the digest of what is there: `there`
    /// bytes, of which `digest_of` knows the digest.
    async fn resume_at(
        &self,
        opened: &Opened,
        there: u64,
        digest_of: impl AsyncFnOnce(u64) -> Result<Option<String>, FileCause>,
    ) -> Result<Option<(u64, Option<Running>)>, FileCause> {
        if !self.resume || there < WORTH_RESUMING || there > opened.size {
            return Ok(None);
        }
        let (ours, running) = match &opened.reader {
            Reader::Here(file) => {
                let running = beginning(Arc::clone(file), there).await?;
                (Some(running.shown()), Some(running))
            }
            Reader::There(file) => {
                let digest = digest_there(file.far(), file.path(), Some(there)).await?;
                (digest, None)
            }
        };
        let theirs = digest_of(there).await?;
        Ok((ours.is_some() && ours == theirs).then_some((there, running)))
    }

    async fn to_here(
        &self,
        opened: &Opened,
        folder: &Folder,
        below: &[Name],
        name: &Name,
    ) -> Result<Copied, (Side, FileCause)> {
        let writing = |cause| (Side::Writing, cause);
        let folder = folder.descend(below).map_err(writing)?;
        if folder.kind(name).map_err(writing)? == Some(Kind::Directory) {
            return Err((Side::Writing, FileCause::IsDirectory));
        }
        let partial = name.partial();
        // Nobody but us reads it before it has its rights, unless they will never be known.
        let mode = if opened.marks.mode.is_some() {
            PRIVATE
        } else {
            0o666
        };
        let file = folder.open_to_write(&partial, mode).map_err(writing)?;
        here::claim(&file).map_err(writing)?;
        if opened.marks.mode.is_some() {
            here::set_mode(&file, mode).map_err(|error| writing(error.into()))?;
        }
        let file = Arc::new(file);
        let there = file
            .metadata()
            .map_err(|error| writing(error.into()))?
            .len();
        let resumed = {
            let file = Arc::clone(&file);
            let mut known = None;
            let digest_of = async |length| {
                let running = beginning(file, length).await?;
                let shown = running.shown();
                known = Some(running);
                Ok(Some(shown))
            };
            let resumed = self.resume_at(opened, there, digest_of).await;
            // The digest goes on from what is here, which is what is there.
            let resumed = resumed.map_err(|cause| (Side::Reading, cause))?;
            resumed.map(|(at, running)| (at, running.or(known)))
        };
        let (start, running) = resumed.unwrap_or((0, Some(Running::default())));
        file.set_len(start).map_err(|error| writing(error.into()))?;
        (self.advance)(start);
        let writer = Writer::Here(Arc::clone(&file));
        let pumped = self.pump(opened, &writer, start, running).await;
        let Pumped { end, digest } = pumped.map_err(|broken| (broken.side, broken.cause))?;
        let streamed = digest.unwrap_or_default().shown();
        let read = self.digest_of_source(opened, end, Some(streamed)).await;
        let sha256 = match read {
            Ok(read) => read,
            Err(cause) => {
                if !cause.is_loss() {
                    folder.remove(&partial).map_err(writing)?;
                }
                return Err((Side::Reading, cause));
            }
        };
        if let Some(mode) = opened.marks.mode {
            here::set_mode(&file, mode).map_err(|error| writing(error.into()))?;
        }
        if let Some(modified) = opened.marks.modified {
            here::set_modified(&file, modified).map_err(|error| writing(error.into()))?;
        }
        folder.rename(&partial, name).map_err(writing)?;
        Ok(Copied {
            bytes: end,
            resumed_at: start,
            sha256,
        })
    }

    async fn to_there(
        &self,
        opened: &Opened,
        far: &Arc<Far>,
        folder: &PathUri,
        name: &Name,
    ) -> Result<Copied, (Side, FileCause)> {
        let writing = |cause| (Side::Writing, cause);
        let whole = name.below(folder).map_err(writing)?;
        let ours = self.upload.as_deref().unwrap_or_default();
        let partial = name.partial_of(ours).below(folder).map_err(writing)?;
        if opened.size <= SMALL && far.ways() == Ways::Announced && !opened.is_private() {
            return self.small(opened, far, &partial, &whole).await;
        }
        let there = far.call(async |to: &Executor| to.metadata(&partial).await);
        let there = match there.await {
            Ok(found) if found.is_file => found.size,
            Ok(_) => return Err((Side::Writing, FileCause::InTheWay)),
            Err(FileCause::Missing) => 0,
            Err(cause) => return Err((Side::Writing, cause)),
        };
        let sure = there.saturating_sub(UNSURE);
        let digest_of = async |length| digest_there(far, &partial, Some(length)).await;
        let resumed = match far.ways() {
            Ways::None => None,
            Ways::Announced | Ways::Shell => {
                let resumed = self.resume_at(opened, sure, digest_of).await;
                resumed.map_err(writing)?
            }
        };
        let (start, running) = resumed.unwrap_or((0, Some(Running::default())));
        (self.advance)(start);
        let way = Way {
            far,
            partial: &partial,
            more: &name.more_of(ours).below(folder).map_err(writing)?,
        };
        let Pumped { end, digest } = self.write_there(opened, &way, start, running).await?;
        let streamed = digest.map(|digest| digest.shown());
        let read = self.digest_of_source(opened, end, streamed).await;
        let read = read.map_err(|cause| (Side::Reading, cause))?;
        let sealed = seal(far, &partial, &whole, opened.marks, &read, &self.budget);
        sealed.await.map_err(writing)?;
        Ok(Copied {
            bytes: end,
            resumed_at: start,
            sha256: read,
        })
    }

    /// The digest of what was to be read. Here that is what was read, as long as nothing was left
    /// out; an executor is asked, so that what it changed or the wire lost meanwhile is noticed.
    async fn digest_of_source(
        &self,
        opened: &Opened,
        end: u64,
        streamed: Option<String>,
    ) -> Result<String, FileCause> {
        match (&opened.reader, streamed) {
            (Reader::Here(_), Some(streamed)) => Ok(streamed),
            (Reader::Here(file), None) => Ok(beginning(Arc::clone(file), end).await?.shown()),
            (Reader::There(file), streamed) => {
                let read = digest_or_read(file.far(), file.path(), &self.budget).await?;
                match streamed.filter(|streamed| *streamed != read) {
                    Some(arrived) => Err(FileCause::Differs { read, arrived }),
                    None => Ok(read),
                }
            }
        }
    }

    /// Writes from `start` on, over as many connections as it takes.
    async fn write_there(
        &self,
        opened: &Opened,
        way: &Way<'_>,
        start: u64,
        running: Option<Running>,
    ) -> Result<Pumped, (Side, FileCause)> {
        let writing = |cause| (Side::Writing, cause);
        let (mut start, mut running, mut stuck) = (start, running, 0);
        loop {
            let (path, mode, base, length) = match (way.far.ways(), start) {
                (Ways::Announced, start) => (way.partial, OpenMode::Update, 0, Some(start)),
                (Ways::Shell | Ways::None, 0) => (way.partial, OpenMode::Replace, 0, None),
                // What it holds would be gone, so the rest goes beside it.
                (Ways::Shell | Ways::None, start) => (way.more, OpenMode::Replace, start, None),
            };
            let file = FarFile::open(way.far, path, mode, length).await;
            let writer = Writer::There {
                file: file.map_err(writing)?,
                base,
            };
            if opened.is_private() {
                let private = Marks {
                    mode: Some(PRIVATE),
                    modified: None,
                };
                let set = set_marks(way.far, &[(path.clone(), private)]).await;
                set.map_err(writing)?;
            }
            let pumped = self.pump(opened, &writer, start, running.take()).await;
            writer.close().await;
            let (done, broken) = match &pumped {
                Ok(pumped) => (pumped.end, None),
                Err(broken) => (broken.done, Some(broken)),
            };
            if broken.is_some_and(|broken| !broken.is_worth_another_try() || stuck >= STUCK_MAX) {
                return pumped.map_err(|broken| (broken.side, broken.cause));
            }
            let mut kept = done;
            if base > 0 {
                let appended = append(way.far, way.partial, base, way.more, done - base).await;
                if !appended.map_err(writing)? {
                    kept = 0;
                }
            } else if broken.is_some() && way.far.ways() == Ways::None {
                kept = 0;
            }
            if let (Ok(_), true) = (&pumped, kept == done) {
                return pumped.map_err(|broken| (broken.side, broken.cause));
            }
            stuck = if kept > start { 0 } else { stuck + 1 };
            tracing::debug!(kept, "the file goes on over another connection");
            (start, running) = (kept, None);
            if kept == 0 {
                running = Some(Running::default());
            }
        }
    }

    /// A file whose content goes in one call.
    async fn small(
        &self,
        opened: &Opened,
        far: &Arc<Far>,
        partial: &PathUri,
        whole: &PathUri,
    ) -> Result<Copied, (Side, FileCause)> {
        let mut bytes = Vec::new();
        loop {
            let block = opened.reader.read(bytes.len() as u64).await;
            let block = block.map_err(|cause| (Side::Reading, cause))?;
            // A file that has changed meanwhile is told by its digest.
            let is_last = block.is_empty();
            match block {
                Block::Bytes(some) => bytes.extend_from_slice(&some),
                Block::Zeros(count) => bytes.resize(bytes.len() + count, 0),
            }
            if is_last || bytes.len() as u64 >= opened.size {
                break;
            }
        }
        let streamed = Some(super::digest::of(&bytes));
        let read = self
            .digest_of_source(opened, bytes.len() as u64, streamed)
            .await;
        let read = read.map_err(|cause| (Side::Reading, cause))?;
        let written = far.call(async |to: &Executor| to.write_file(partial, &bytes).await);
        written.await.map_err(|cause| (Side::Writing, cause))?;
        let sealed = seal(far, partial, whole, opened.marks, &read, &self.budget);
        sealed.await.map_err(|cause| (Side::Writing, cause))?;
        (self.advance)(bytes.len() as u64);
        Ok(Copied {
            bytes: bytes.len() as u64,
            resumed_at: 0,
            sha256: read,
        })
    }

    async fn pump(
        &self,
        opened: &Opened,
        writer: &Writer,
        start: u64,
        running: Option<Running>,
    ) -> Result<Pumped, Broken> {
        let (reader, size) = (&opened.reader, opened.size);
        pump(
            reader,
            writer,
            start,
            size,
            running,
            &self.budget,
            self.advance,
        )
        .await
    }
}

/// Where the parts of a file of an environment are.
struct Way<'a> {
    far: &'a Arc<Far>,
    partial: &'a PathUri,
    /// What follows the partial file, until it is appended to it.
    more: &'a PathUri,
}

impl Broken {
    fn is_worth_another_try(&self) -> bool {
        self.side == Side::Writing && self.cause.is_loss()
    }
}

/// A time an executor tells, unless it says that it does not know.
pub(super) fn known(modified_at_ms: i64) -> Option<i64> {
    (modified_at_ms != 0).then_some(modified_at_ms)
}

/// The digest of a file's first bytes.
async fn beginning(file: Arc<File>, length: u64) -> Result<Running, FileCause> {
    const PIECE: usize = 1 << 20;
    let read = move || {
        let mut running = Running::default();
        let mut at = 0;
        while at < length {
            let wanted = usize::try_from(length - at).map_or(PIECE, |left| left.min(PIECE));
            let bytes = here::read_at(&file, at, wanted)?;
            if bytes.is_empty() {
                break;
            }
            running.take_bytes(&bytes);
            at += bytes.len() as u64;
        }
        Ok(running)
    };
    blocking(read).await
}
