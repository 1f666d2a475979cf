use std::collections::BTreeMap;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::sync::atomic::AtomicBool;

use super::*;
use crate::fs::FsErrorKind;

static NEVER: AtomicBool = AtomicBool::new(false);

fn run(source: &Path, destination: &Path, recursive: bool) -> Result<(), FsError> {
    copy(source, destination, recursive, Bounds::from_now(&NEVER))
}

fn kind(result: Result<(), FsError>) -> FsErrorKind {
    result.unwrap_err().kind()
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().mode() & 0o7777
}

/// What is below a directory: "dir", "-> target", or a file's content.
fn snapshot(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut pending = vec![root.to_path_buf()];
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path
                .strip_prefix(root)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            let what = if path.is_symlink() {
                format!("-> {}", path.read_link().unwrap().display())
            } else if path.is_dir() {
                pending.push(path);
                "dir".to_owned()
            } else {
                String::from_utf8(std::fs::read(path).unwrap()).unwrap()
            };
            found.insert(name, what);
        }
    }
    found
}

fn tree<const N: usize>(entries: [(&str, &str); N]) -> BTreeMap<String, String> {
    entries
        .into_iter()
        .map(|(name, what)| (name.to_owned(), what.to_owned()))
        .collect()
}

#[test]
fn a_file_brings_content_and_mode_and_overwrites() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("src"), "content").unwrap();
    set_mode(&at("src"), 0o640);
    std::fs::write(at("old"), "something longer than that").unwrap();
    set_mode(&at("old"), 0o666);
    run(&at("src"), &at("new"), false).unwrap();
    run(&at("src"), &at("old"), true).unwrap();
    for name in ["new", "old"] {
        assert_eq!(
            (std::fs::read(at(name)).unwrap(), mode(&at(name))),
            (b"content".to_vec(), 0o640)
        );
    }
}

#[test]
fn a_read_only_file_can_be_copied() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("src"), "content").unwrap();
    set_mode(&at("src"), 0o444);
    run(&at("src"), &at("new"), false).unwrap();
    assert_eq!(
        (std::fs::read(at("new")).unwrap(), mode(&at("new"))),
        (b"content".to_vec(), 0o444)
    );
}

#[test]
fn large_files_and_files_without_a_size_are_whole() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let content: Vec<u8> = (0..=250).cycle().take(3_000_000).collect();
    std::fs::write(at("large"), &content).unwrap();
    run(&at("large"), &at("copy"), false).unwrap();
    assert!(std::fs::read(at("copy")).unwrap() == content);
    run(Path::new("/proc/cpuinfo"), &at("processors"), false).unwrap();
    assert!(at("processors").metadata().unwrap().len() > 100);
}

#[test]
fn holes_stay_holes() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let file = File::create(at("sparse")).unwrap();
    file.write_all_at(b"begin", 0).unwrap();
    file.write_all_at(b"middle", 64 << 20).unwrap();
    file.set_len(128 << 20).unwrap();
    run(&at("sparse"), &at("copy"), false).unwrap();
    let copy = File::open(at("copy")).unwrap();
    let (facts, mut middle) = (copy.metadata().unwrap(), [0; 6]);
    copy.read_exact_at(&mut middle, 64 << 20).unwrap();
    assert_eq!((facts.len(), &middle), (128 << 20, b"middle"));
    assert!(facts.blocks() * 512 < 1 << 20, "{} blocks", facts.blocks());
}

#[test]
fn nothing_of_what_was_there_before_remains() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    File::create(at("sparse"))
        .unwrap()
        .set_len(1 << 20)
        .unwrap();
    std::fs::write(at("empty"), "").unwrap();
    std::fs::write(at("small"), "s").unwrap();
    std::fs::write(at("large"), vec![b'l'; 1 << 20]).unwrap();
    for name in ["sparse", "empty", "small", "large"] {
        for old_size in [0, 1, 100, 3 << 20] {
            std::fs::write(at("old"), vec![b'o'; old_size]).unwrap();
            run(&at(name), &at("old"), false).unwrap();
            assert!(
                std::fs::read(at("old")).unwrap() == std::fs::read(at(name)).unwrap(),
                "{name} on {old_size}"
            );
        }
    }
}

#[test]
fn a_destination_link_is_written_through_and_a_directory_is_not_a_destination() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("src"), "new").unwrap();
    std::fs::write(at("target"), "old").unwrap();
    symlink("target", at("link")).unwrap();
    run(&at("src"), &at("link"), false).unwrap();
    assert!(at("link").is_symlink());
    assert_eq!(std::fs::read(at("target")).unwrap(), b"new");
    assert_eq!(kind(run(&at("src"), dir.path(), false)), FsErrorKind::Other);
}

#[test]
fn a_file_is_not_copied_onto_itself_under_any_name() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("f"), "abc").unwrap();
    std::fs::hard_link(at("f"), at("hard")).unwrap();
    symlink("f", at("soft")).unwrap();
    for name in ["f", "hard", "soft"] {
        assert_eq!(kind(run(&at("f"), &at(name), false)), FsErrorKind::Invalid);
    }
    assert_eq!(std::fs::read(at("f")).unwrap(), b"abc");
}

#[test]
fn missing_sources_and_parents_are_not_found() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("src"), "").unwrap();
    for (source, destination) in [("none", "x"), ("no/src", "x"), ("src", "no/x")] {
        assert_eq!(
            kind(run(&at(source), &at(destination), false)),
            FsErrorKind::NotFound
        );
    }
}

#[test]
fn what_is_neither_file_nor_link_nor_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        at("fifo"),
        rustix::fs::Mode::from_raw_mode(0o600),
    )
    .unwrap();
    std::fs::write(at("f"), "").unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    for (source, destination) in [
        (at("fifo"), at("x")),
        (at("socket"), at("x")),
        ("/dev/zero".into(), at("x")),
        (at("f"), at("fifo")),
    ] {
        assert_eq!(kind(run(&source, &destination, true)), FsErrorKind::Invalid);
    }
    assert!(!at("x").exists());
}

#[test]
fn links_are_copied_as_links_onto_free_names() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("f"), "x").unwrap();
    symlink("f", at("link")).unwrap();
    symlink("nowhere", at("dangling")).unwrap();
    for name in ["link", "dangling"] {
        let copy = at(&format!("{name}2"));
        run(&at(name), &copy, false).unwrap();
        assert_eq!(copy.read_link().unwrap(), at(name).read_link().unwrap());
        assert_eq!(kind(run(&at(name), &copy, false)), FsErrorKind::Other);
    }
}

#[test]
fn a_tree_needs_recursion_and_comes_whole() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::create_dir_all(at("s/sub/empty")).unwrap();
    for (name, content) in [("s/f", "1"), ("s/.h", "2"), ("s/sub/g", "3")] {
        std::fs::write(at(name), content).unwrap();
    }
    symlink("f", at("s/link")).unwrap();
    symlink("../elsewhere", at("s/out")).unwrap();
    assert_eq!(kind(run(&at("s"), &at("t"), false)), FsErrorKind::Invalid);
    assert!(!at("t").exists());
    run(&at("s"), &at("new/parents/t"), true).unwrap();
    let expected = [
        (".h", "2"),
        ("f", "1"),
        ("link", "-> f"),
        ("out", "-> ../elsewhere"),
        ("sub", "dir"),
        ("sub/empty", "dir"),
        ("sub/g", "3"),
    ];
    assert_eq!(snapshot(&at("new/parents/t")), tree(expected));
    assert_eq!(snapshot(&at("s")), tree(expected));
}

#[test]
fn a_tree_merges_into_an_existing_directory() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::create_dir_all(at("s/sub")).unwrap();
    std::fs::create_dir_all(at("t/sub")).unwrap();
    symlink("t", at("link-to-t")).unwrap();
    for (name, content) in [
        ("s/sub/f", "new"),
        ("s/a", "a"),
        ("t/sub/f", "a longer old"),
        ("t/sub/kept", "kept"),
    ] {
        std::fs::write(at(name), content).unwrap();
    }
    run(&at("s"), &at("link-to-t"), true).unwrap();
    let expected = tree([
        ("a", "a"),
        ("sub", "dir"),
        ("sub/f", "new"),
        ("sub/kept", "kept"),
    ]);
    assert_eq!(snapshot(&at("t")), expected);
}

#[test]
fn existing_links_inside_the_destination_are_never_followed() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for (source, what) in [("file", "f"), ("link", "l"), ("directory", "d")] {
        std::fs::create_dir_all(at(source).join("s")).unwrap();
        std::fs::create_dir_all(at(source).join("t")).unwrap();
        std::fs::create_dir_all(at(source).join("outside")).unwrap();
        symlink(
            if what == "f" {
                "../outside/new"
            } else {
                "../outside"
            },
            at(source).join("t/x"),
        )
        .unwrap();
        let inside = at(source).join("s/x");
        match what {
            "f" => std::fs::write(&inside, "content").unwrap(),
            "l" => symlink("../outside", &inside).unwrap(),
            _ => {
                std::fs::create_dir(&inside).unwrap();
                std::fs::write(inside.join("f"), "content").unwrap();
            }
        }
        assert_eq!(
            kind(run(&at(source).join("s"), &at(source).join("t"), true)),
            FsErrorKind::Other,
            "{source}"
        );
        assert_eq!(snapshot(&at(source).join("outside")), tree([]), "{source}");
    }
}

#[test]
fn a_directory_is_not_copied_into_itself_however_it_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::create_dir_all(at("s/sub")).unwrap();
    symlink("s", at("link")).unwrap();
    symlink("s/sub", at("deep")).unwrap();
    for target in [
        "s",
        "s/",
        "s/x",
        "s/sub/deep",
        "link",
        "link/x",
        "deep/x",
        "deep/x/y",
    ] {
        assert_eq!(
            kind(run(&at("s"), &at(target), true)),
            FsErrorKind::Invalid,
            "{target}"
        );
    }
    assert_eq!(snapshot(&at("s")), tree([("sub", "dir")]));
    // A longer name is another directory.
    run(&at("s"), &at("s-copy"), true).unwrap();
    assert_eq!(snapshot(&at("s-copy")), tree([("sub", "dir")]));
}

#[test]
fn private_and_read_only_directories_stay_so() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::create_dir_all(at("s/private/open")).unwrap();
    std::fs::write(at("s/private/open/f"), "x").unwrap();
    set_mode(&at("s/private"), 0o500);
    run(&at("s"), &at("t"), true).unwrap();
    assert_eq!(mode(&at("t/private")), 0o500);
    assert_eq!(mode(&at("t/private/open")), mode(&at("s/private/open")));
    assert_eq!(std::fs::read(at("t/private/open/f")).unwrap(), b"x");
    for name in ["s/private", "t/private"] {
        set_mode(&at(name), 0o700);
    }
}

#[test]
fn a_special_file_inside_a_tree_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::create_dir_all(at("s/sub")).unwrap();
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        at("s/sub/fifo"),
        rustix::fs::Mode::from_raw_mode(0o600),
    )
    .unwrap();
    let error = run(&at("s"), &at("t"), true).unwrap_err();
    assert_eq!(
        (error.kind(), error.path()),
        (FsErrorKind::Invalid, at("s/sub/fifo").as_path())
    );
    assert_eq!(
        error.to_string(),
        format!("copy {}: not a regular file", at("s/sub/fifo").display())
    );
}

#[test]
fn the_bounds_end_a_copy() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::create_dir_all(at("s")).unwrap();
    for number in 0..100 {
        std::fs::write(at("s").join(number.to_string()), "").unwrap();
    }
    let few = Bounds {
        entries: 99,
        ..Bounds::from_now(&NEVER)
    };
    assert_eq!(
        kind(copy(&at("s"), &at("t"), true, few)),
        FsErrorKind::Invalid
    );
    copy(
        &at("s"),
        &at("u"),
        true,
        Bounds {
            entries: 100,
            ..few
        },
    )
    .unwrap();
    let cancelled = AtomicBool::new(true);
    std::fs::write(at("large"), vec![1; 1 << 20]).unwrap();
    let unwanted = Bounds {
        cancelled: Some(&cancelled),
        ..Bounds::from_now(&NEVER)
    };
    assert!(
        copy(&at("large"), &at("x"), false, unwanted)
            .unwrap_err()
            .to_string()
            .ends_with("cancelled")
    );
}
