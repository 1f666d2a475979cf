//! A tree of this machine.

use std::collections::VecDeque;
use std::fs::FileType;
use std::path::{Path, PathBuf};

use super::{Item, Tree, Why};
use crate::cli::Links;
use crate::files::copy::name::Name;
use crate::files::error::FileCause;

/// A directory to list.
struct Folder {
    path: PathBuf,
    names: Vec<Name>,
    /// Where links led on the way here, and where they were.
    through: Vec<PathBuf>,
}

pub(in crate::files::copy) fn here(root: &Path, links: Links) -> Result<Tree, FileCause> {
    let mut tree = Tree::default();
    let real = match links {
        Links::Skip => PathBuf::new(),
        Links::Follow => root.canonicalize()?,
    };
    let mut folders = VecDeque::from([Folder {
        path: root.to_owned(),
        names: Vec::new(),
        through: Vec::new(),
    }]);
    while let Some(folder) = folders.pop_front() {
        let shown = folder.path.display().to_string();
        let entries = match std::fs::read_dir(&folder.path) {
            Ok(entries) => entries,
            Err(error) if folder.names.is_empty() => return Err(error.into()),
            Err(error) => {
                tree.troubles.push(FileCause::from(error).of("list", shown));
                continue;
            }
        };
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    tree.troubles
                        .push(FileCause::from(error).of("list", shown.as_str()));
                    break;
                }
            };
            let path = entry.path();
            let found = entry
                .file_type()
                .map_err(FileCause::from)
                .and_then(|kind| classify(kind, &path, &folder, links, &real));
            let (is_directory, through) = match found {
                Ok(Ok(found)) => found,
                Ok(Err(why)) => {
                    tree.leave_out(path.display().to_string(), why)?;
                    continue;
                }
                Err(cause) => {
                    let cause = cause.of("look at", path.display().to_string());
                    tree.troubles.push(cause);
                    continue;
                }
            };
            let name = Name::new(entry.file_name().as_encoded_bytes())?;
            let names: Vec<Name> = folder.names.iter().cloned().chain([name]).collect();
            tree.push(Item {
                names: names.clone(),
                is_directory,
            })?;
            if is_directory {
                folders.push_back(Folder {
                    path,
                    names,
                    through,
                });
            }
        }
    }
    Ok(tree)
}

/// Whether an entry is a directory, and through which links it was reached; or why it is left out.
fn classify(
    kind: FileType,
    path: &Path,
    folder: &Folder,
    links: Links,
    root: &Path,
) -> Result<Result<(bool, Vec<PathBuf>), Why>, FileCause> {
    if kind.is_dir() || kind.is_file() {
        return Ok(Ok((kind.is_dir(), folder.through.clone())));
    }
    if !kind.is_symlink() {
        return Ok(Err(Why::Special));
    }
    if links == Links::Skip {
        return Ok(Err(Why::Link));
    }
    let target = match path.canonicalize() {
        Ok(target) => target,
        Err(_) => return Ok(Err(Why::Dangling)),
    };
    if !target.starts_with(root) {
        return Ok(Err(Why::Outside));
    }
    let found = target.metadata()?;
    if !found.is_dir() {
        return Ok(match found.is_file() {
            true => Ok((false, Vec::new())),
            false => Err(Why::Special),
        });
    }
    let mut through = folder.through.clone();
    through.push(folder.path.canonicalize()?);
    if through.iter().any(|passed| passed.starts_with(&target)) {
        return Ok(Err(Why::Loop));
    }
    Ok(Ok((true, through)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::super::path_here;
    use super::*;

    /// Names, and what each of them is.
    type Seen<T> = Vec<(PathBuf, T)>;

    fn seen(root: &Path, links: Links) -> (Seen<bool>, Seen<Why>) {
        let tree = here(root, links).unwrap();
        assert!(tree.troubles.is_empty());
        let items = tree.items.iter();
        let mut items: Vec<_> = items
            .map(|item| (path_here(Path::new(""), &item.names), item.is_directory))
            .collect();
        items.sort();
        let left = tree.left_out.iter();
        let mut left: Vec<_> = left
            .map(|left| {
                let below = Path::new(&left.place).strip_prefix(root).unwrap();
                (below.to_owned(), left.why)
            })
            .collect();
        left.sort();
        (items, left)
    }

    fn tree() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("d/e")).unwrap();
        std::fs::write(at("d/e/f"), "").unwrap();
        symlink("/etc", at("d/out")).unwrap();
        symlink("gone", at("d/gone")).unwrap();
        symlink("e/f", at("d/file")).unwrap();
        symlink("../d", at("d/up")).unwrap();
        symlink("d/e", at("in")).unwrap();
        folder
    }

    #[test]
    fn a_tree_here_is_its_directories_and_files_and_links_are_told() {
        let folder = tree();
        let (items, left) = seen(folder.path(), Links::Skip);
        let expected = [("d", true), ("d/e", true), ("d/e/f", false)];
        assert_eq!(items, expected.map(|(name, is)| (name.into(), is)));
        let links = ["d/file", "d/gone", "d/out", "d/up", "in"];
        assert_eq!(left, links.map(|name| (name.into(), Why::Link)));
    }

    #[test]
    fn links_are_followed_within_the_tree_and_nowhere_else() {
        let folder = tree();
        let (items, left) = seen(folder.path(), Links::Follow);
        let expected = [
            ("d", true),
            ("d/e", true),
            ("d/e/f", false),
            ("d/file", false),
            ("in", true),
            ("in/f", false),
        ];
        assert_eq!(items, expected.map(|(name, is)| (name.into(), is)));
        let expected = [
            ("d/gone", Why::Dangling),
            ("d/out", Why::Outside),
            ("d/up", Why::Loop),
        ];
        assert_eq!(left, expected.map(|(name, why)| (name.into(), why)));
    }

    #[test]
    fn links_that_lead_to_each_other_come_to_an_end() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("a")).unwrap();
        std::fs::create_dir(at("b")).unwrap();
        symlink("../b", at("a/x")).unwrap();
        symlink("../a", at("b/y")).unwrap();
        let (items, left) = seen(folder.path(), Links::Follow);
        let names: Vec<_> = items
            .iter()
            .map(|(name, _)| name.to_str().unwrap())
            .collect();
        assert_eq!(names, ["a", "a/x", "b", "b/y"]);
        let names: Vec<_> = left
            .iter()
            .map(|(name, _)| name.to_str().unwrap())
            .collect();
        assert_eq!(names, ["a/x/y", "b/y/x"]);
    }
}
