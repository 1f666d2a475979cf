use std::os::unix::fs::symlink;

use super::*;
use crate::fs::FsErrorKind;

fn kind(result: Result<(), FsError>) -> FsErrorKind {
    result.unwrap_err().kind()
}

#[test]
fn recursive_creation_makes_parents_and_accepts_what_exists() {
    let dir = tempfile::tempdir().unwrap();
    let real = dir.path().canonicalize().unwrap();
    for (links, name) in [(Links::Follow, "a/b/c"), (Links::Refuse, "x/y/z")] {
        create_directory(&real.join(name), true, links).unwrap();
        create_directory(&real.join(name), true, links).unwrap();
        assert!(real.join(name).is_dir());
    }
    create_directory(Path::new("/"), true, Links::Refuse).unwrap();
}

#[test]
fn a_single_creation_needs_a_parent_and_a_free_name() {
    let dir = tempfile::tempdir().unwrap();
    let real = dir.path().canonicalize().unwrap();
    for links in [Links::Follow, Links::Refuse] {
        let path = real.join(format!("{links:?}"));
        create_directory(&path, false, links).unwrap();
        assert!(path.is_dir());
        assert_eq!(
            kind(create_directory(&path, false, links)),
            FsErrorKind::Other
        );
        assert_eq!(
            kind(create_directory(&path.join("q/r"), false, links)),
            FsErrorKind::NotFound
        );
    }
}

#[test]
fn a_file_in_the_way_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let real = dir.path().canonicalize().unwrap();
    std::fs::write(real.join("file"), "").unwrap();
    for links in [Links::Follow, Links::Refuse] {
        assert_eq!(
            kind(create_directory(&real.join("file"), true, links)),
            FsErrorKind::Other
        );
        assert_eq!(
            kind(create_directory(&real.join("file/x"), true, links)),
            FsErrorKind::Other
        );
    }
}

#[test]
fn a_link_on_the_way_is_refused_if_links_are() {
    let dir = tempfile::tempdir().unwrap();
    let real = dir.path().canonicalize().unwrap();
    std::fs::create_dir(real.join("sub")).unwrap();
    symlink("sub", real.join("dlink")).unwrap();
    for recursive in [true, false] {
        let refused = create_directory(&real.join("dlink/new"), recursive, Links::Refuse);
        assert_eq!(kind(refused), FsErrorKind::Invalid);
    }
    assert_eq!(std::fs::read_dir(real.join("sub")).unwrap().count(), 0);
    create_directory(&real.join("dlink/new"), false, Links::Follow).unwrap();
    assert!(real.join("sub/new").is_dir());
}

#[test]
fn the_topmost_missing_component_is_where_a_creation_begins() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b/c");
    assert_eq!(topmost_missing(&path), dir.path().join("a"));
    std::fs::create_dir(dir.path().join("a")).unwrap();
    assert_eq!(topmost_missing(&path), dir.path().join("a/b"));
    assert_eq!(topmost_missing(dir.path()), dir.path());
}
