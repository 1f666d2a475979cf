//! From a patch to the file operations that carry it out, in rounds that do not wait on each other.

use bytes::Bytes;
use farstep_path_uri::{PathUri, PathUriError};

use super::edit::{self, MatchError};
use super::parse::{Hunk, Patch};

/// A patch whose paths have been resolved in one environment.
#[derive(Debug)]
pub struct Plan {
    cwd: PathUri,
    steps: Vec<Step>,
    reads: Vec<Target>,
}

/// A file, as the patch spells it and as the environment knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub shown: String,
    pub uri: PathUri,
}

/// One hunk, its paths replaced by indices into `reads`.
#[derive(Debug)]
struct Step {
    hunk: Hunk,
    file: usize,
    move_to: Option<usize>,
}

/// What a verified patch does. Nothing has been written yet.
#[derive(Debug)]
pub struct Changes {
    /// To be created with their parents; all may be under way at once.
    pub directories: Vec<PathUri>,
    /// After the directories; all may be under way at once, together with `deletes`.
    pub writes: Vec<Write>,
    pub deletes: Vec<Target>,
    /// The old places of moved files, to be deleted only when every write has succeeded: until
    /// then they may be the only copy.
    pub moved_away: Vec<Target>,
    /// What the patch did, hunk by hunk, for people and for the answer to the model.
    pub files: Vec<FileChange>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    pub target: Target,
    pub contents: Bytes,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileChange {
    pub kind: ChangeKind,
    pub path: String,
    pub moved_to: Option<String>,
    /// Contents around the change, for a diff; absent where there was or is no file.
    pub before: Option<Bytes>,
    pub after: Option<Bytes>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    Add,
    Update,
    Delete,
}

/// Why a patch cannot be applied. Nothing has been changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    #[error("`{path}` is no path in this environment: {source}")]
    Path { path: String, source: PathUriError },
    #[error("Failed to read file to {purpose} {path}: {reason}")]
    Read {
        purpose: &'static str,
        path: String,
        reason: String,
    },
    #[error("{}", no_match(.path, .error))]
    NoMatch { path: String, error: MatchError },
}

fn no_match(path: &str, error: &MatchError) -> String {
    match error {
        MatchError::Context(line) => format!("Failed to find context `{line}` in {path}"),
        MatchError::Lines { expected, earlier } => {
            let hint = match earlier {
                true => "\n(they stand above the previous change; changes must be in file order)",
                false => "",
            };
            format!(
                "Failed to find expected lines in {path}:\n{}{hint}",
                expected.join("\n")
            )
        }
    }
}

impl Plan {
    /// Resolves the paths of `patch` against `cwd`.
    pub fn new(patch: Patch, cwd: &PathUri) -> Result<Plan, VerifyError> {
        let mut plan = Plan {
            cwd: cwd.clone(),
            steps: Vec::new(),
            reads: Vec::new(),
        };
        for hunk in patch.hunks {
            let (path, target) = match &hunk {
                Hunk::Add { path, .. } | Hunk::Delete { path } => (path, None),
                Hunk::Update { path, move_to, .. } => (path, move_to.as_deref()),
            };
            let file = plan.target(path)?;
            let move_to = target.map(|path| plan.target(path)).transpose()?;
            plan.steps.push(Step {
                hunk,
                file,
                move_to,
            });
        }
        Ok(plan)
    }

    /// Every file the patch touches, once: what to read in the first round, and what a permission
    /// check has to allow.
    pub fn reads(&self) -> &[Target] {
        &self.reads
    }

    /// Computes the outcome from what [`Plan::reads`] hold, in the same order; a file that is not
    /// there or cannot be read is its reason.
    pub fn verify(self, contents: Vec<Result<Bytes, String>>) -> Result<Changes, VerifyError> {
        let mut files = Files {
            now: contents.clone(),
            moved_away: Vec::new(),
        };
        let mut changes = Vec::new();
        for step in &self.steps {
            changes.push(files.carry_out(step)?);
        }
        let existing = |index: usize| contents.get(index).is_some_and(Result::is_ok);
        let (mut writes, mut deletes, mut moved_away) = (Vec::new(), Vec::new(), Vec::new());
        for (index, target) in self.reads.iter().cloned().enumerate() {
            match &files.now[index] {
                Ok(now) if contents[index].as_ref() != Ok(now) => {
                    writes.push((
                        index,
                        Write {
                            target,
                            contents: now.clone(),
                        },
                    ));
                }
                Err(_) if !existing(index) => {}
                Err(_) if files.moved_away.contains(&index) => moved_away.push(target),
                Err(_) => deletes.push(target),
                Ok(_) => {}
            }
        }
        let new = writes.iter().filter(|(index, _)| !existing(*index));
        let directories = self.missing_directories(new.map(|(_, write)| &write.target), existing);
        let writes = writes.into_iter().map(|(_, write)| write).collect();
        Ok(Changes {
            directories,
            writes,
            deletes,
            moved_away,
            files: changes,
        })
    }

    fn target(&mut self, path: &str) -> Result<usize, VerifyError> {
        let uri = self.cwd.join(path).map_err(|source| VerifyError::Path {
            path: path.to_owned(),
            source,
        })?;
        if let Some(known) = self
            .reads
            .iter()
            .position(|target| target.uri.same_location(&uri))
        {
            return Ok(known);
        }
        self.reads.push(Target {
            shown: path.to_owned(),
            uri,
        });
        Ok(self.reads.len() - 1)
    }

    /// The folders that may not exist yet, deepest only: creating one creates those above it.
    fn missing_directories<'a>(
        &self,
        new: impl Iterator<Item = &'a Target>,
        existing: impl Fn(usize) -> bool,
    ) -> Vec<PathUri> {
        let known: Vec<&PathUri> = (0..self.reads.len())
            .filter(|&index| existing(index))
            .map(|index| &self.reads[index].uri)
            .chain([&self.cwd])
            .collect();
        let mut missing: Vec<PathUri> = Vec::new();
        for folder in new.filter_map(|target| target.uri.parent()) {
            let covered = known
                .iter()
                .copied()
                .chain(&missing)
                .any(|uri| folder.contains(uri));
            if !covered {
                missing.retain(|shallower| !shallower.contains(&folder));
                missing.push(folder);
            }
        }
        missing
    }
}

/// The files of a patch while its hunks are carried out in memory.
struct Files {
    now: Vec<Result<Bytes, String>>,
    moved_away: Vec<usize>,
}

impl Files {
    fn carry_out(&mut self, step: &Step) -> Result<FileChange, VerifyError> {
        let before = self.now[step.file].clone();
        let read = |purpose: &'static str, path: &str| {
            let unreadable = |reason| VerifyError::Read {
                purpose,
                path: path.to_owned(),
                reason,
            };
            before.clone().map_err(unreadable)
        };
        let (kind, path, after) = match &step.hunk {
            Hunk::Add { path, contents } => (
                ChangeKind::Add,
                path,
                Some(Bytes::copy_from_slice(contents.as_bytes())),
            ),
            Hunk::Delete { path } => {
                read("delete", path)?;
                (ChangeKind::Delete, path, None)
            }
            Hunk::Update { path, chunks, .. } => {
                let after = edit::apply(&read("update", path)?, chunks).map_err(|error| {
                    VerifyError::NoMatch {
                        path: path.clone(),
                        error,
                    }
                })?;
                (ChangeKind::Update, path, Some(Bytes::from(after)))
            }
        };
        self.put(step, after.clone());
        Ok(FileChange {
            kind,
            path: path.clone(),
            moved_to: match &step.hunk {
                Hunk::Update { move_to, .. } => move_to.clone(),
                _ => None,
            },
            before: before.ok(),
            after,
        })
    }

    fn put(&mut self, step: &Step, after: Option<Bytes>) {
        let target = step.move_to.unwrap_or(step.file);
        if target != step.file {
            self.now[step.file] = Err("an earlier part of this patch moves it away".to_owned());
            self.moved_away.push(step.file);
        }
        let gone = || "an earlier part of this patch deletes it".to_owned();
        self.now[target] = after.ok_or_else(gone);
    }
}

#[cfg(test)]
mod tests;
