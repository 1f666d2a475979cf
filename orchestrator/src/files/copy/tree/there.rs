//! A tree of an environment.
//!
//! Every path in an answer is taken apart and put together again from checked names, so that it is
//! where it was looked for. Where links lead is the executor's word: it decides what is read there,
//! and never where anything is written.

use std::collections::VecDeque;

use farstep_environments::fs::{DirectoryEntry, WalkKind, WalkOptions};
use farstep_environments::{CallError, Executor};
use farstep_path_uri::PathUri;
use farstep_protocol::rpc::ErrorCode;
use futures_util::{StreamExt as _, stream};

use super::{ENTRIES_MAX, Item, Tree, Why, path_there};
use crate::cli::Links;
use crate::files::copy::name::Name;
use crate::files::copy::seal::native;
use crate::files::error::FileCause;
use crate::files::far::{Far, Ways};

/// What an executor may be asked for at once (`exec-protocol` section 9).
const WHOLE: WalkOptions = WalkOptions {
    max_depth: 64,
    max_directories: 10_000,
    max_entries: 50_000,
    follow_directory_symlinks: false,
    prune_hidden_directories: false,
    everything: false,
};

/// Entries and links that are asked about at once.
const LOOKS_AT_ONCE: usize = 64;

/// What an entry is itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Directory,
    File,
    Link,
    Special,
}

/// A directory to list.
struct Folder {
    /// Where it really is, as far as links are followed.
    path: PathUri,
    names: Vec<Name>,
    /// Where links were on the way here.
    through: Vec<PathUri>,
    /// Whether nothing below it was listed yet.
    is_new: bool,
}

/// Where a link leads.
enum Led {
    File,
    Directory(Folder),
    Out(Why),
}

pub(in crate::files::copy) async fn there(
    far: &Far,
    root: &PathUri,
    links: Links,
) -> Result<Tree, FileCause> {
    let mut tree = Tree::default();
    let real = real_root(far, root, links).await?;
    let mut folders = VecDeque::from([Folder {
        path: real.clone(),
        names: Vec::new(),
        through: Vec::new(),
        is_new: true,
    }]);
    while let Some(folder) = folders.pop_front() {
        let listed = match list_some(far, &folder).await {
            Ok(listed) => listed,
            Err(cause) if folder.names.is_empty() || cause.is_loss() => return Err(cause),
            Err(cause) => {
                tree.troubles.push(cause.of("list", far.show(&folder.path)));
                continue;
            }
        };
        for (path, message) in listed.errors {
            tree.troubles
                .push(FileCause::Refused(message).of("look at", far.show(&path)));
        }
        let mut found_links = Vec::new();
        for (path, kind) in listed.entries {
            let inner = match below(&folder.path, &path) {
                Ok(inner) => inner,
                Err(cause) => {
                    tree.troubles.push(cause.of("copy", far.show(&path)));
                    continue;
                }
            };
            let is_deepest = inner.len() > listed.depth;
            let names: Vec<Name> = folder.names.iter().cloned().chain(inner).collect();
            match kind {
                Kind::Link => found_links.push((path, names)),
                Kind::Special => tree.leave_out(shown(far, root, &names), Why::Special)?,
                Kind::File | Kind::Directory => {
                    let is_directory = kind == Kind::Directory;
                    if is_directory && is_deepest {
                        folders.push_back(Folder {
                            path,
                            names: names.clone(),
                            through: folder.through.clone(),
                            is_new: false,
                        });
                    }
                    tree.push(Item {
                        names,
                        is_directory,
                    })?;
                }
            }
        }
        if links == Links::Skip {
            for (_, names) in found_links {
                tree.leave_out(shown(far, root, &names), Why::Link)?;
            }
            continue;
        }
        let mut followed = stream::iter(found_links)
            .map(async |(path, names)| {
                let led = follow(far, &real, &folder, &path, &names).await;
                (names, led)
            })
            .buffered(LOOKS_AT_ONCE);
        while let Some((names, led)) = followed.next().await {
            let is_directory = match led {
                Ok(Led::File) => false,
                Ok(Led::Directory(folder)) => {
                    folders.push_back(folder);
                    true
                }
                Ok(Led::Out(why)) => {
                    tree.leave_out(shown(far, root, &names), why)?;
                    continue;
                }
                Err(cause) if cause.is_loss() => return Err(cause),
                Err(cause) => {
                    let error = cause.of("follow", shown(far, root, &names));
                    tree.troubles.push(error);
                    continue;
                }
            };
            tree.push(Item {
                names,
                is_directory,
            })?;
        }
    }
    Ok(tree)
}

/// The root as it has to be asked for: a listing of a link is empty.
async fn real_root(far: &Far, root: &PathUri, links: Links) -> Result<PathUri, FileCause> {
    let found = far
        .call(async |to: &Executor| to.metadata(root).await)
        .await?;
    match found.is_symlink || links == Links::Follow {
        true => {
            far.call(async |to: &Executor| to.canonicalize(root).await)
                .await
        }
        false => Ok(root.clone()),
    }
}

fn shown(far: &Far, root: &PathUri, names: &[Name]) -> String {
    match path_there(root, names) {
        Ok(path) => far.show(&path),
        Err(_) => far.show(root),
    }
}

/// What a link counts as.
async fn follow(
    far: &Far,
    root: &PathUri,
    folder: &Folder,
    path: &PathUri,
    names: &[Name],
) -> Result<Led, FileCause> {
    let target = far
        .call(async |to: &Executor| to.canonicalize(path).await)
        .await;
    let target = match target {
        Ok(target) => target,
        Err(cause) if cause.is_loss() => return Err(cause),
        Err(_) => return Ok(Led::Out(Why::Dangling)),
    };
    if !root.contains(&target) {
        return Ok(Led::Out(Why::Outside));
    }
    let found = far
        .call(async |to: &Executor| to.metadata(&target).await)
        .await?;
    if !found.is_directory {
        return Ok(match found.is_file {
            true => Led::File,
            false => Led::Out(Why::Special),
        });
    }
    let mut through = folder.through.clone();
    through.extend(path.parent());
    if through.iter().any(|passed| target.contains(passed)) {
        return Ok(Led::Out(Why::Loop));
    }
    Ok(Led::Directory(Folder {
        path: target,
        names: names.to_vec(),
        through,
        is_new: true,
    }))
}

/// The names between a directory and what is listed as being in it.
fn below(folder: &PathUri, path: &PathUri) -> Result<Vec<Name>, FileCause> {
    let mut names = Vec::new();
    let mut at = path.clone();
    while !at.same_location(folder) {
        names.push(Name::last_of(&at)?);
        at = at.parent().ok_or(FileCause::Outside)?;
    }
    if names.is_empty() {
        return Err(FileCause::Outside);
    }
    names.reverse();
    // Put together again, it has to be what was listed.
    match path_there(folder, &names)?.same_location(path) {
        true => Ok(names),
        false => Err(FileCause::Outside),
    }
}

#[derive(Default)]
struct Listed {
    /// Directories so many levels down were entered.
    depth: usize,
    entries: Vec<(PathUri, Kind)>,
    errors: Vec<(PathUri, String)>,
}

/// As much of a tree as can be listed at once.
async fn list_some(far: &Far, folder: &Folder) -> Result<Listed, FileCause> {
    // Without a shell there is nobody else who would tell what a walk leaves out.
    if far.ways() == Ways::None {
        return by_primitives(far, &folder.path).await;
    }
    let whole = WalkOptions {
        everything: far.has_trees(),
        ..WHOLE
    };
    let mut listed = match list(far, &folder.path, whole).await {
        Err(FileCause::TooMany(_)) => {
            let one = WalkOptions {
                max_depth: 0,
                ..whole
            };
            list(far, &folder.path, one).await?
        }
        listed => listed?,
    };
    if folder.is_new && !whole.everything {
        add_others(far, &folder.path, &mut listed).await?;
    }
    Ok(listed)
}

/// [`FileCause::TooMany`] when it was cut short.
async fn list(far: &Far, folder: &PathUri, options: WalkOptions) -> Result<Listed, FileCause> {
    let walked = far
        .call(async |to: &Executor| match to.walk(folder, options).await {
            Err(CallError::Refused(error)) if error.is(ErrorCode::MethodNotFound) => Ok(None),
            walked => walked.map(Some),
        })
        .await?;
    let Some(walked) = walked else {
        return by_primitives(far, folder).await;
    };
    if walked.truncated {
        return Err(FileCause::TooMany(options.max_entries as usize));
    }
    let entries = walked.entries.into_iter();
    let errors = walked.errors.into_iter();
    let kind = |kind| match kind {
        WalkKind::Directory => Kind::Directory,
        WalkKind::File => Kind::File,
        WalkKind::Link => Kind::Link,
        WalkKind::Other => Kind::Special,
    };
    Ok(Listed {
        depth: options.max_depth as usize,
        entries: entries
            .map(|entry| (entry.path, kind(entry.kind)))
            .collect(),
        errors: errors.map(|error| (error.path, error.message)).collect(),
    })
}

/// Names everything below a directory that a walk of the peer leaves out, each behind a letter.
const OTHERS: &str = r#"
exec 2>/dev/null; cd "$1" && find . ! -type d ! -type f -exec sh -c '
for one; do if [ -L "$one" ]; then kind=l; else kind=s; fi; printf "$kind%s\0" "$one"; done' x {} +
"#;

/// How much of that is taken.
const OTHERS_BYTES_MAX: usize = 8 << 20;

async fn add_others(far: &Far, folder: &PathUri, listed: &mut Listed) -> Result<(), FileCause> {
    let untold = "links and special files in it are left out and cannot be told";
    let Some(native) = native(folder) else {
        listed.errors.push((folder.clone(), untold.to_owned()));
        return Ok(());
    };
    let (code, said) = far
        .script_saying(OTHERS, &[&native], OTHERS_BYTES_MAX)
        .await?;
    // What cannot be entered was told by the walk already. Beyond 125, there is no `find`.
    let is_complete = code < 126 && (said.is_empty() || said.ends_with(&[0]));
    for one in said.split(|byte| *byte == 0) {
        let (kind, text) = match one.split_at_checked(3) {
            Some((b"l./", text)) => (Kind::Link, text),
            Some((b"s./", text)) => (Kind::Special, text),
            // Nothing, behind the last one.
            _ => continue,
        };
        let names: Result<Vec<Name>, FileCause> =
            text.split(|byte| *byte == b'/').map(Name::new).collect();
        if let Ok(path) = names.and_then(|names| path_there(folder, &names)) {
            listed.entries.push((path, kind));
        }
    }
    if !is_complete || listed.entries.len() > ENTRIES_MAX {
        listed.errors.push((folder.clone(), untold.to_owned()));
    }
    Ok(())
}

/// One directory of an executor that has no `fs/walk`, or whose walk would leave something out.
async fn by_primitives(far: &Far, folder: &PathUri) -> Result<Listed, FileCause> {
    let found = far
        .call(async |to: &Executor| to.read_directory(folder).await)
        .await?;
    let mut listed = Listed::default();
    let mut looks = stream::iter(found)
        .map(async |entry| look(far, folder, entry).await)
        .buffered(LOOKS_AT_ONCE);
    while let Some(looked) = looks.next().await {
        match looked? {
            Ok(entry) => listed.entries.push(entry),
            Err(error) => listed.errors.push(error),
        }
    }
    Ok(listed)
}

type Looked = Result<(PathUri, Kind), (PathUri, String)>;

async fn look(far: &Far, folder: &PathUri, entry: DirectoryEntry) -> Result<Looked, FileCause> {
    let path = Name::new(entry.file_name.as_bytes()).and_then(|name| name.below(folder));
    let path = match path {
        Ok(path) => path,
        Err(cause) => {
            let name = entry.file_name;
            let message = format!("what is called `{name}` in there: {cause}");
            return Ok(Err((folder.clone(), message)));
        }
    };
    let found = far
        .call(async |to: &Executor| to.metadata(&path).await)
        .await;
    Ok(match found {
        Ok(found) if found.is_symlink => Ok((path, Kind::Link)),
        Ok(found) if found.is_directory => Ok((path, Kind::Directory)),
        Ok(found) if found.is_file => Ok((path, Kind::File)),
        Ok(_) => Ok((path, Kind::Special)),
        Err(cause) if cause.is_loss() => return Err(cause),
        Err(cause) => Err((path, cause.to_string())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> PathUri {
        PathUri::parse(text).unwrap()
    }

    #[test]
    fn what_is_listed_is_below_or_nowhere() {
        let root = uri("file:///srv/a");
        let names = |text: &str| {
            below(&root, &uri(text)).map(|names| {
                let text = names
                    .iter()
                    .map(|name| String::from_utf8_lossy(name.as_bytes()));
                text.collect::<Vec<_>>().join("|")
            })
        };
        assert_eq!(names("file:///srv/a/b/c%20d").unwrap(), "b|c d");
        for outside in [
            "file:///srv/a",
            "file:///srv/ab",
            "file:///srv",
            "file:///",
            "file:///etc/passwd",
            "file:///srv/a/../b",
            "file:///srv/a/..%2F..%2Fetc",
            "file:///srv/a/b%2Fc",
            "file:///srv/a/%2e%2e/%2e%2e/etc",
            "file:///C:/srv/a/b",
            "file://srv/a/b",
        ] {
            assert!(names(outside).is_err(), "{outside}");
        }
    }
}
