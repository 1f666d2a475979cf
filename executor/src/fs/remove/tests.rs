use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::atomic::AtomicBool;

use super::*;
use crate::fs::FsErrorKind;

static NEVER: AtomicBool = AtomicBool::new(false);

const ALL: Remove = Remove {
    recursive: true,
    force: true,
};
const ONE: Remove = Remove {
    recursive: false,
    force: false,
};

fn run(path: &Path, how: Remove) -> Result<(), FsError> {
    remove(path, how, Links::Follow, Bounds::from_now(&NEVER))
}

fn kind(result: Result<(), FsError>) -> FsErrorKind {
    result.unwrap_err().kind()
}

#[test]
fn a_tree_goes_with_everything_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for name in ["tree/a/b/c", "tree/d/e", "tree/empty"] {
        std::fs::create_dir_all(at(name)).unwrap();
    }
    for number in 0..500 {
        std::fs::write(at("tree/a/b").join(number.to_string()), "").unwrap();
    }
    std::fs::write(at("tree/f"), "").unwrap();
    run(&at("tree"), ALL).unwrap();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_missing_path_is_fine_only_with_force() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("f"), "").unwrap();
    for name in ["missing", "no/parent"] {
        run(&dir.path().join(name), ALL).unwrap();
        run(
            &dir.path().join(name),
            Remove {
                recursive: false,
                force: true,
            },
        )
        .unwrap();
        assert_eq!(
            kind(run(&dir.path().join(name), ONE)),
            FsErrorKind::NotFound
        );
        assert_eq!(
            kind(run(
                &dir.path().join(name),
                Remove {
                    recursive: true,
                    force: false
                }
            )),
            FsErrorKind::NotFound
        );
    }
    assert_eq!(kind(run(&dir.path().join("f/x"), ALL)), FsErrorKind::Other);
}

#[test]
fn a_directory_has_to_be_empty_unless_the_removal_is_recursive() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("tree/a")).unwrap();
    assert_eq!(kind(run(&dir.path().join("tree"), ONE)), FsErrorKind::Other);
    run(&dir.path().join("tree/a"), ONE).unwrap();
    run(&dir.path().join("tree/"), ONE).unwrap();
    assert!(!dir.path().join("tree").exists());
}

#[test]
fn links_go_and_their_targets_stay() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::create_dir_all(at("keep")).unwrap();
    std::fs::write(at("keep/f"), "x").unwrap();
    for name in ["link", "slashed", "dangling"] {
        symlink(
            if name == "dangling" {
                "nowhere"
            } else {
                "keep"
            },
            at(name),
        )
        .unwrap();
    }
    run(&at("link"), ALL).unwrap();
    run(&at("slashed/"), ALL).unwrap();
    run(&at("dangling"), ONE).unwrap();
    std::fs::create_dir(at("tree")).unwrap();
    symlink("../keep", at("tree/inside")).unwrap();
    run(&at("tree"), ALL).unwrap();
    let left: Vec<_> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["keep"]);
    assert_eq!(std::fs::read(at("keep/f")).unwrap(), b"x");
}

#[test]
fn links_are_refused_if_wanted_and_then_only_without_recursion() {
    let dir = tempfile::tempdir().unwrap();
    let real = dir.path().canonicalize().unwrap();
    std::fs::create_dir(real.join("sub")).unwrap();
    std::fs::write(real.join("sub/f"), "").unwrap();
    symlink("sub", real.join("dlink")).unwrap();
    let refuse = |name: &str, how| {
        remove(
            &real.join(name),
            how,
            Links::Refuse,
            Bounds::from_now(&NEVER),
        )
    };
    assert_eq!(kind(refuse("sub/f", ALL)), FsErrorKind::Other);
    assert_eq!(kind(refuse("dlink", ONE)), FsErrorKind::Invalid);
    assert_eq!(kind(refuse("dlink/f", ONE)), FsErrorKind::Invalid);
    assert!(real.join("sub/f").exists() && real.join("dlink").is_symlink());
    refuse("sub/f", ONE).unwrap();
    refuse("sub", ONE).unwrap();
    assert!(!real.join("sub").exists());
}

#[test]
fn the_root_directory_is_not_removed() {
    assert_eq!(kind(run(Path::new("/"), ALL)), FsErrorKind::Invalid);
}

#[test]
fn a_tree_may_be_deeper_than_paths_and_descriptors_reach() {
    let dir = tempfile::tempdir().unwrap();
    let name = "n".repeat(200);
    let mut innermost = Directory::open(dir.path(), Links::Follow).unwrap();
    for _ in 0..60 {
        innermost.make_directory(name.as_ref(), 0o700).unwrap();
        innermost = innermost.child(name.as_ref()).unwrap();
    }
    innermost.file_to_write("f".as_ref(), 0o600).unwrap();
    run(&dir.path().join(&name), ALL).unwrap();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn the_bounds_end_a_removal() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    std::fs::create_dir_all(tree.join("sub")).unwrap();
    for number in 0..100 {
        std::fs::write(tree.join("sub").join(number.to_string()), "").unwrap();
    }
    let few = Bounds {
        entries: 10,
        ..Bounds::from_now(&NEVER)
    };
    let error = remove(&tree, ALL, Links::Follow, few).unwrap_err();
    assert_eq!(error.kind(), FsErrorKind::Invalid);
    assert!(
        error.path().starts_with(tree.join("sub"))
            && error.to_string().ends_with("more than 10 entries")
    );
    let overdue = Bounds {
        deadline: Some(std::time::Instant::now()),
        ..Bounds::from_now(&NEVER)
    };
    assert_eq!(
        kind(remove(&tree, ALL, Links::Follow, overdue)),
        FsErrorKind::Invalid
    );
    let cancelled = AtomicBool::new(true);
    for number in 0..100 {
        std::fs::write(tree.join("sub").join(number.to_string()), "").unwrap();
    }
    let unwanted = Bounds {
        cancelled: Some(&cancelled),
        ..Bounds::from_now(&NEVER)
    };
    let error = remove(&tree, ALL, Links::Follow, unwanted).unwrap_err();
    assert!(error.to_string().ends_with("cancelled"), "{error}");
}

#[test]
fn closed_directories_go_if_they_are_empty_and_are_named_if_not() {
    let dir = tempfile::tempdir().unwrap();
    let closed = dir.path().join("tree/closed");
    std::fs::create_dir_all(&closed).unwrap();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o000)).unwrap();
    // A superuser is let in everywhere, and then this is the ordinary case.
    run(&dir.path().join("tree"), ALL).unwrap();
    assert!(!dir.path().join("tree").exists());
}
