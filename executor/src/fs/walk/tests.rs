use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};

use farstep_path_uri::PathUri;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::fs::FsErrorKind;

const OPTIONS: WalkOptions = WalkOptions {
    max_depth: 16,
    max_directories: 1000,
    max_entries: 1000,
    follow_directory_symlinks: false,
    prune_hidden_directories: false,
    everything: false,
};

const FOLLOWING: WalkOptions = WalkOptions {
    follow_directory_symlinks: true,
    ..OPTIONS
};

fn small_tree() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("b/deep/deeper")).unwrap();
    std::fs::create_dir(dir.path().join(".git")).unwrap();
    for name in [".git/config", "a", "b/x", "b/deep/y"] {
        std::fs::write(dir.path().join(name), "").unwrap();
    }
    dir
}

/// Names relative to the root; directories end with a slash.
fn names(root: &Path, walk: &Walk) -> Vec<String> {
    let name = |entry: WalkEntry| {
        let path = entry.uri.parse::<PathUri>().unwrap().to_host().unwrap();
        let name = path
            .strip_prefix(root)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        let mark = match entry.kind {
            EntryKind::Directory => "/",
            EntryKind::File => "",
            EntryKind::Link => "@",
            EntryKind::Other => "?",
        };
        name + mark
    };
    walk.entries().map(name).collect()
}

fn run(root: &Path, options: WalkOptions) -> (Vec<String>, bool) {
    let walk = walk(root, &options).unwrap();
    assert_eq!(walk.failures(), []);
    (names(root, &walk), walk.truncated)
}

fn found<const N: usize>(names: [&str; N], truncated: bool) -> (Vec<String>, bool) {
    (names.map(str::to_owned).to_vec(), truncated)
}

#[test]
fn breadth_first_and_by_name() {
    let dir = small_tree();
    let all = [
        ".git/",
        "a",
        "b/",
        ".git/config",
        "b/deep/",
        "b/x",
        "b/deep/deeper/",
        "b/deep/y",
    ];
    assert_eq!(run(dir.path(), OPTIONS), found(all, false));
}

#[test]
fn the_order_is_that_of_bytes() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a", "B", "a.b", "a-b", "\u{e9}", "Z", "10", "9"] {
        std::fs::write(dir.path().join(name), "").unwrap();
    }
    let sorted = ["10", "9", "B", "Z", "a", "a-b", "a.b", "\u{e9}"];
    assert_eq!(run(dir.path(), OPTIONS), found(sorted, false));
}

#[test]
fn depth_is_no_truncation() {
    let dir = small_tree();
    let to = |max_depth| {
        run(
            dir.path(),
            WalkOptions {
                max_depth,
                ..OPTIONS
            },
        )
    };
    assert_eq!(to(0), found([".git/", "a", "b/"], false));
    assert_eq!(
        to(1),
        found([".git/", "a", "b/", ".git/config", "b/deep/", "b/x"], false)
    );
}

#[test]
fn the_entry_limit_counts_what_is_examined() {
    let dir = small_tree();
    let to = |max_entries| {
        run(
            dir.path(),
            WalkOptions {
                max_entries,
                ..OPTIONS
            },
        )
    };
    assert_eq!(to(4), found([".git/", "a", "b/", ".git/config"], true));
    assert_eq!(to(3), found([".git/", "a", "b/"], true));
    assert!(to(7).1 && !to(8).1);
    // A link that is left out was looked at all the same.
    symlink("nowhere", dir.path().join(".a-link")).unwrap();
    assert_eq!(to(2), found([".git/"], true));
}

#[test]
fn the_directory_limit_counts_what_is_entered() {
    let dir = small_tree();
    let to = |max_directories| {
        run(
            dir.path(),
            WalkOptions {
                max_directories,
                ..OPTIONS
            },
        )
    };
    assert_eq!(to(2), found([".git/", "a", "b/", ".git/config"], true));
    assert_eq!(to(1), found([".git/", "a", "b/"], true));
    assert!(to(4).1 && !to(5).1);
}

#[test]
fn links_are_left_out_or_followed_to_directories_once() {
    let dir = small_tree();
    let at = |name: &str| dir.path().join(name);
    for (target, name) in [
        ("a", "to-file"),
        ("b/deep", "to-dir"),
        ("..", "b/up"),
        ("nowhere", "dangling"),
        ("loop", "loop"),
    ] {
        symlink(target, at(name)).unwrap();
    }
    let without = [
        ".git/",
        "a",
        "b/",
        ".git/config",
        "b/deep/",
        "b/x",
        "b/deep/deeper/",
        "b/deep/y",
    ];
    assert_eq!(run(dir.path(), OPTIONS), found(without, false));
    // "to-dir" comes first, so "b/deep" is listed and not entered again; nor is the root by "b/up".
    let with = [
        ".git/",
        "a",
        "b/",
        "to-dir/",
        ".git/config",
        "b/deep/",
        "b/up/",
        "b/x",
        "to-dir/deeper/",
        "to-dir/y",
    ];
    assert_eq!(run(dir.path(), FOLLOWING), found(with, false));
}

#[test]
fn what_is_neither_file_nor_directory_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mkfifoat(rustix::fs::CWD, dir.path().join("fifo"), mode).unwrap();
    std::fs::write(dir.path().join("f"), "").unwrap();
    assert_eq!(run(dir.path(), OPTIONS), found(["f"], false));
}

#[test]
fn who_asks_for_everything_is_told_links_and_special_files_too() {
    let dir = small_tree();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mkfifoat(rustix::fs::CWD, dir.path().join("fifo"), mode).unwrap();
    for (target, name) in [("a", "b/file"), ("..", "b/up"), ("nowhere", "b/nowhere")] {
        symlink(target, dir.path().join(name)).unwrap();
    }
    let everything = WalkOptions {
        everything: true,
        max_depth: 1,
        ..OPTIONS
    };
    let all = [
        ".git/",
        "a",
        "b/",
        "fifo?",
        ".git/config",
        "b/deep/",
        "b/file@",
        "b/nowhere@",
        "b/up@",
        "b/x",
    ];
    assert_eq!(run(dir.path(), everything), found(all, false));
}

#[test]
fn hidden_directories_can_be_listed_without_entering() {
    let dir = small_tree();
    let pruned = WalkOptions {
        prune_hidden_directories: true,
        ..OPTIONS
    };
    let all = [
        ".git/",
        "a",
        "b/",
        "b/deep/",
        "b/x",
        "b/deep/deeper/",
        "b/deep/y",
    ];
    assert_eq!(run(dir.path(), pruned), found(all, false));
}

#[test]
fn limits_are_validated() {
    let dir = tempfile::tempdir().unwrap();
    let kind = |options| {
        walk(dir.path(), &options)
            .map(drop)
            .map_err(|error| error.kind())
    };
    let least = WalkOptions {
        max_depth: 0,
        max_directories: 1,
        max_entries: 1,
        ..OPTIONS
    };
    let most = WalkOptions {
        max_depth: 64,
        max_directories: 10_000,
        max_entries: 50_000,
        ..OPTIONS
    };
    assert_eq!([kind(least), kind(most)], [Ok(()), Ok(())]);
    for refused in [
        WalkOptions {
            max_entries: 0,
            ..least
        },
        WalkOptions {
            max_directories: 0,
            ..least
        },
        WalkOptions {
            max_depth: 65,
            ..most
        },
        WalkOptions {
            max_directories: 10_001,
            ..most
        },
        WalkOptions {
            max_entries: 50_001,
            ..most
        },
    ] {
        assert_eq!(kind(refused), Err(FsErrorKind::Invalid), "{refused:?}");
    }
}

#[test]
fn a_root_that_is_no_directory_is_an_empty_walk() {
    let dir = small_tree();
    symlink("b", dir.path().join("dlink")).unwrap();
    assert_eq!(run(&dir.path().join("a"), FOLLOWING), found([], false));
    assert_eq!(run(&dir.path().join("dlink"), OPTIONS), found([], false));
    assert_eq!(run(&dir.path().join("dlink/"), OPTIONS), found([], false));
    let through = ["deep/", "x", "deep/deeper/", "deep/y"];
    assert_eq!(
        run(&dir.path().join("dlink"), FOLLOWING),
        found(through, false)
    );
    let kind = |name: &str| walk(&dir.path().join(name), &OPTIONS).unwrap_err().kind();
    assert_eq!(
        [kind("missing"), kind("a/x")],
        [FsErrorKind::NotFound, FsErrorKind::Other]
    );
}

#[test]
fn a_directory_that_cannot_be_opened_is_reported_and_the_walk_goes_on() {
    let dir = small_tree();
    let root = Directory::open_itself(dir.path(), false).unwrap();
    let mut found = Walk::default();
    let top = found.add_root(dir.path());
    let queue = Ahead::new(Pending {
        relative: "gone".into(),
        index: found.will_enter(top, "gone".as_ref()),
        depth: 1,
    });
    queue.push(vec![Pending {
        relative: ".".into(),
        index: top,
        depth: 0,
    }]);
    let walk = Walker::new(&root, found, &queue, &OPTIONS).run(|| {});
    let gone = PathUri::from_host(&dir.path().join("gone"))
        .unwrap()
        .to_string();
    let message = "No such file or directory (os error 2)".to_owned();
    assert_eq!(walk.failures(), [WalkFailure { uri: gone, message }]);
    assert_eq!((walk.entries().count(), walk.truncated), (8, false));
}

#[test]
fn a_walk_with_helpers_finds_what_it_finds_alone() {
    let dir = tempfile::tempdir().unwrap();
    for number in 0..400_u32 {
        let inner = format!("{}/{}/{}", number % 7, number % 31, number % 3);
        let inner = dir.path().join(inner);
        std::fs::create_dir_all(&inner).unwrap();
        std::fs::write(inner.join(format!("{:03}", number * 37 % 400)), "").unwrap();
    }
    let root = Directory::open_itself(dir.path(), false).unwrap();
    let walked = |options: &WalkOptions, worth_help| {
        let walk = walk_below(dir.path(), &root, options, worth_help);
        assert_eq!(walk.failures(), []);
        (names(dir.path(), &walk), walk.truncated)
    };
    for (max_depth, max_directories, max_entries) in [
        (16, 10_000, 50_000),
        (1, 9, 5000),
        (16, 100, 5000),
        (16, 1000, 555),
    ] {
        let options = WalkOptions {
            max_depth,
            max_directories,
            max_entries,
            ..OPTIONS
        };
        let alone = walked(&options, Duration::MAX);
        for _ in 0..10 {
            assert_eq!(walked(&options, Duration::ZERO), alone);
        }
    }
}

#[test]
fn a_root_that_may_not_be_read_is_a_walk_with_an_error() {
    let error = io::Error::from(io::ErrorKind::PermissionDenied);
    let walk = Walk::of_unreadable(Path::new("/srv/closed dir"), &error);
    let mut out = Vec::new();
    walk.write_json(&mut out);
    let failure = json!({"path": "file:///srv/closed%20dir", "message": "permission denied"});
    let expected = json!({"entries": [], "errors": [failure], "truncated": false});
    assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), expected);
}

#[test]
fn closed_directories_are_still_listed() {
    let dir = tempfile::tempdir().unwrap();
    let closed = dir.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o000)).unwrap();
    // The superuser may enter; anybody else gets an error beside the entry.
    assert_eq!(
        names(dir.path(), &walk(dir.path(), &OPTIONS).unwrap()),
        ["closed/"]
    );
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn names_that_are_no_text_or_hold_blanks_lead_back_to_their_files() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    let names: [&[u8]; 6] = [
        b"\xFF\xFE",
        b"a\tb",
        b"a\nb",
        b"per%41cent",
        b"q?#\"{}`\\",
        "\u{e9} \u{4e2d}".as_bytes(),
    ];
    let mut expected: Vec<_> = names
        .map(|name| root.join(OsStr::from_bytes(name)))
        .to_vec();
    for path in &expected {
        std::fs::create_dir(path).unwrap();
        std::fs::write(path.join("f"), "").unwrap();
    }
    expected.extend(expected.clone().iter().map(|path| path.join("f")));
    expected.sort();
    let walk = walk(&root, &OPTIONS).unwrap();
    let mut paths: Vec<_> = walk
        .entries()
        .map(|entry| entry.uri.parse::<PathUri>().unwrap().to_host().unwrap())
        .collect();
    paths.sort();
    assert_eq!(paths, expected);
}

#[test]
fn a_reply_is_cut_before_it_grows_too_large() {
    let mut walk = Walk::default();
    let root = walk.add_root(Path::new("/srv"));
    let name = "n".repeat(1000);
    let each = "file:///srv/".len() + 1000 + 64;
    let mut added = 0;
    while walk.add(root, name.as_ref(), EntryKind::File).is_continue() {
        added += 1;
    }
    assert_eq!(
        (added, walk.entries().count()),
        (4 * 1024 * 1024 / each, added)
    );
}

proptest! {
    #[test]
    fn the_result_reads_back_as_it_was(
        directories in prop::collection::vec("[a-zA-Z:%\u{e9}\n ]{1,5}", 0..4),
        items in prop::collection::vec((any::<prop::sample::Index>(), "[^/\0]{1,8}", any::<bool>()), 0..8),
        failures in prop::collection::vec((any::<prop::sample::Index>(), any::<String>()), 0..3),
        truncated: bool,
    ) {
        // A name is never one of these.
        prop_assume!(items.iter().all(|(_, name, _)| name != "." && name != ".."));
        let mut walk = Walk::default();
        walk.truncated = truncated;
        let mut paths = vec![PathBuf::from("/")];
        walk.add_root(Path::new("/"));
        for name in &directories {
            let above = paths.len() - 1;
            prop_assert_eq!(walk.will_enter(above, name.as_ref()), paths.len());
            paths.push(paths[above].join(name));
        }
        let uri = |path: &Path| PathUri::from_host(path).unwrap().to_string();
        let mut entries = Vec::new();
        for (place, name, is_directory) in &items {
            let index = place.index(paths.len());
            let added = match is_directory {
                true => walk.add(index, name.as_ref(), EntryKind::Directory),
                false => walk.add(index, name.as_ref(), EntryKind::File),
            };
            prop_assert!(added.is_continue());
            let kind = if *is_directory { "directory" } else { "file" };
            entries.push(json!({"path": uri(&paths[index].join(name)), "kind": kind}));
        }
        let mut errors = Vec::new();
        for (place, message) in &failures {
            let index = place.index(paths.len());
            prop_assert!(walk.add_failure(index, None, &io::Error::other(message.clone())).is_continue());
            errors.push(json!({"path": uri(&paths[index]), "message": message}));
        }
        let mut out = Vec::new();
        walk.write_json(&mut out);
        let read: Value = serde_json::from_slice(&out).unwrap();
        prop_assert_eq!(read, json!({"entries": entries, "errors": errors, "truncated": truncated}));
    }
}
