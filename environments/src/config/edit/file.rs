//! From a change to a changed file: all of it at once, or nothing.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::load::{FILE_NAME, Places, read_text};
use super::super::{Config, Diagnostic, LoadError, parse};
use super::masked::masked;
use super::{Change, NotEdited, edited};

/// How long another program may take over its own change. It needs milliseconds.
const LOCK_WAIT: Duration = Duration::from_secs(5);
const LOCK_RETRY: Duration = Duration::from_millis(20);

/// A change that the loader would take. Nothing is written until [`Draft::save`].
#[derive(Debug)]
pub struct Draft {
    /// The file that would be written; behind a link, the file it leads to.
    pub path: PathBuf,
    /// Its text as it is; `None` without a file.
    pub before: Option<String>,
    /// The file of a `codex` client that it begins as a copy of.
    pub copied: Option<PathBuf>,
    pub after: String,
    /// What the changed file means.
    pub config: Config,
}

/// What a saved draft did beside what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Others could read the file, which holds a secret; now they cannot.
    pub locked_down: bool,
}

impl Draft {
    /// Applies `changes` to our own file, which need not exist yet. When that of a `codex` client
    /// counts in its place, ours begins as a copy: nothing that was there is to vanish.
    pub fn new(places: &Places, changes: &[Change]) -> Result<Draft, EditError> {
        let path = places.own.join(FILE_NAME);
        let before = read_text(&places.own)?;
        let copied = match (&before, &places.codex) {
            (None, Some(codex)) => read_text(codex)?.map(|text| (codex.join(FILE_NAME), text)),
            _ => None,
        };
        let copied_text = copied.as_ref().map(|(_, text)| text.as_str());
        let text = before.as_deref().or(copied_text).unwrap_or("");
        let folder = copied.as_ref().and_then(|(theirs, _)| theirs.parent());
        let folder = folder.unwrap_or(&places.own);
        // A file that is refused already is told as it is, not as it would be.
        let as_it_is = parse(text, folder).map_err(|diagnostics| LoadError::Invalid {
            path: folder.join(FILE_NAME),
            diagnostics,
        })?;
        let not_editable = |reason: String| EditError::NotEditable {
            path: folder.join(FILE_NAME),
            reason,
        };
        let here = parse(text, &places.own).map(|config| config.to_json());
        if here.is_ok_and(|here| here != as_it_is.to_json()) {
            let own = path.display();
            return Err(not_editable(format!(
                "its relative paths would mean something else in {own}"
            )));
        }
        let after = edited(text, changes).map_err(|problem| match problem {
            NotEdited::Toml(reason) => not_editable(reason),
            NotEdited::NoSuchEntry(id) => EditError::NoSuchEntry { id },
        })?;
        let config = parse(&after, &places.own).map_err(|diagnostics| EditError::Refused {
            path: path.clone(),
            diagnostics,
        })?;
        Ok(Draft {
            path: path.canonicalize().unwrap_or(path),
            before,
            copied: copied.map(|(theirs, _)| theirs),
            after,
            config,
        })
    }

    /// Both texts for people: what may be secret is stars.
    pub fn shown(&self) -> (String, String) {
        let before = self.before.as_deref().unwrap_or("");
        (masked(before), masked(&self.after))
    }

    /// Replaces the file in one step, unless somebody else has changed it since.
    ///
    /// A file that holds a secret ends up readable by its owner alone, and so does a new one;
    /// otherwise its mode stays.
    pub fn save(&self) -> Result<Saved, EditError> {
        let failed = |source| EditError::Write {
            path: self.path.clone(),
            source,
        };
        let folder = self.path.parent().unwrap_or(Path::new("."));
        make_folder(folder).map_err(failed)?;
        let _lock = self.lock(folder)?;
        let now = match std::fs::read(&self.path) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(error)),
        };
        if now.as_deref() != self.before.as_deref().map(str::as_bytes) {
            return Err(EditError::Changed {
                path: self.path.clone(),
            });
        }
        self.replace(folder).map_err(failed)
    }

    fn replace(&self, folder: &Path) -> io::Result<Saved> {
        // It comes with a mode that lets its owner alone read it.
        let mut file = tempfile::Builder::new()
            .prefix(".environments-")
            .suffix(".toml")
            .tempfile_in(folder)?;
        file.write_all(self.after.as_bytes())?;
        let locked_down = self.keep_mode(file.as_file())?;
        file.as_file().sync_all()?;
        file.persist(&self.path)?;
        // A folder cannot be opened everywhere; then the system sees to it in its own time.
        if let Ok(folder) = File::open(folder) {
            folder.sync_all()?;
        }
        Ok(Saved { locked_down })
    }

    /// Gives `file` the owner and, unless it holds a secret, the mode of the file it replaces.
    #[cfg(unix)]
    fn keep_mode(&self, file: &File) -> io::Result<bool> {
        use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
        let Ok(old) = std::fs::metadata(&self.path) else {
            return Ok(false);
        };
        let new = file.metadata()?;
        if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
            // Somebody edits another's file, as `sudo` does: it stays theirs.
            fchown(file, Some(old.uid()), Some(old.gid()))?;
        }
        let is_open = old.mode() & 0o077 != 0;
        if self.config.holds_secret() {
            return Ok(is_open);
        }
        file.set_permissions(std::fs::Permissions::from_mode(old.mode() & 0o777))?;
        Ok(false)
    }

    #[cfg(not(unix))]
    fn keep_mode(&self, _: &File) -> io::Result<bool> {
        Ok(false)
    }

    /// Keeps other programs of ours from changing the same file at the same time.
    fn lock(&self, folder: &Path) -> Result<Option<File>, EditError> {
        // Where a folder cannot be opened, the comparison of the content has to do.
        let Ok(file) = File::open(folder) else {
            return Ok(None);
        };
        for _ in 0..LOCK_WAIT.as_millis() / LOCK_RETRY.as_millis() {
            match file.try_lock() {
                Ok(()) => return Ok(Some(file)),
                Err(std::fs::TryLockError::WouldBlock) => std::thread::sleep(LOCK_RETRY),
                Err(std::fs::TryLockError::Error(_)) => return Ok(None),
            }
        }
        Err(EditError::Busy {
            path: self.path.clone(),
        })
    }
}

fn make_folder(folder: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Why a change was not made. Nothing was written.
#[derive(Debug)]
pub enum EditError {
    /// The file as it is cannot be used.
    Load(LoadError),
    /// The file as it would be cannot be used.
    Refused {
        path: PathBuf,
        /// Places in the text as it would be; never empty.
        diagnostics: Vec<Diagnostic>,
    },
    /// No entry has this id.
    NoSuchEntry {
        id: String,
    },
    /// The file is valid and cannot be edited all the same.
    NotEditable {
        path: PathBuf,
        reason: String,
    },
    /// It was changed by somebody else between reading and writing.
    Changed {
        path: PathBuf,
    },
    /// Another program has been changing it all the time.
    Busy {
        path: PathBuf,
    },
    Write {
        path: PathBuf,
        source: io::Error,
    },
}

impl From<LoadError> for EditError {
    fn from(error: LoadError) -> EditError {
        EditError::Load(error)
    }
}

impl fmt::Display for EditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EditError::Load(error) => error.fmt(f),
            EditError::Refused { path, diagnostics } => {
                let name = format!("{} (as it would be)", path.display());
                let told: Vec<String> = diagnostics.iter().map(|one| one.render(&name)).collect();
                f.write_str(&told.join("\n"))
            }
            EditError::NoSuchEntry { id } => write!(f, "there is no entry `{id}`"),
            EditError::NotEditable { path, reason } => {
                write!(f, "cannot edit {}: {reason}", path.display())
            }
            EditError::Changed { path } => write!(
                f,
                "cannot write {}: somebody else has just changed it",
                path.display()
            ),
            EditError::Busy { path } => write!(
                f,
                "cannot write {}: another program has been changing it for {LOCK_WAIT:?}",
                path.display()
            ),
            EditError::Write { path, source } => {
                write!(f, "cannot write {}: {source}", path.display())
            }
        }
    }
}

impl std::error::Error for EditError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            EditError::Load(error) => Some(error),
            EditError::Write { source, .. } => Some(source),
            _ => None,
        }
    }
}
