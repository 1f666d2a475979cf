use std::os::unix::fs::symlink;
use std::path::PathBuf;

use super::*;

/// What both ways of refusing links find at a path.
fn both_ways(path: &Path, flags: OFlags) -> [Result<Kind, Errno>; 2] {
    let kind = |opened: rustix::io::Result<OwnedFd>| opened.map(|fd| facts(&fd).unwrap().kind);
    [
        kind(nofollow::open(CWD, path, flags, Mode::empty())),
        kind(nofollow::open_by_component(
            CWD,
            path,
            flags | OFlags::CLOEXEC,
            Mode::empty(),
        )),
    ]
}

fn tree() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    std::fs::create_dir(root.join("sub")).unwrap();
    std::fs::write(root.join("sub/f"), "").unwrap();
    symlink("sub", root.join("dlink")).unwrap();
    symlink("sub/f", root.join("flink")).unwrap();
    symlink("nowhere", root.join("dangling")).unwrap();
    (dir, root)
}

#[test]
fn going_by_component_answers_as_the_kernel_does() {
    let (_dir, root) = tree();
    for flags in [OFlags::RDONLY, OFlags::RDONLY | OFlags::DIRECTORY, LOOKUP] {
        for name in [
            "",
            "sub",
            "sub/f",
            "sub/f/x",
            "dlink",
            "dlink/f",
            "flink",
            "dangling",
            "missing",
            "missing/x",
        ] {
            let [kernel, component] = both_ways(&root.join(name), flags);
            assert_eq!(kernel, component, "{name} with {flags:?}");
        }
    }
    for path in ["/", "/proc", "."] {
        assert_eq!(
            both_ways(Path::new(path), OFlags::RDONLY),
            [Ok(Kind::Directory); 2]
        );
    }
}

#[test]
fn refused_links_are_named_as_such() {
    let (_dir, root) = tree();
    for name in ["dlink/f", "flink", "dangling"] {
        assert_eq!(
            both_ways(&root.join(name), OFlags::RDONLY),
            [Err(Errno::LOOP); 2],
            "{name}"
        );
    }
}

#[test]
fn going_by_component_creates_only_the_file() {
    let (_dir, root) = tree();
    let create = |name: &str| {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
        nofollow::open_by_component(CWD, &root.join(name), flags, Mode::from_raw_mode(0o600))
            .map(drop)
    };
    assert_eq!(create("sub/new"), Ok(()));
    assert_eq!(create("dlink/other"), Err(Errno::LOOP));
    assert_eq!(create("dangling"), Err(Errno::LOOP));
    assert_eq!(create("missing/new"), Err(Errno::NOENT));
    let mut names: Vec<_> = std::fs::read_dir(root.join("sub"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["f", "new"]);
    assert!(!root.join("nowhere").exists());
}

#[test]
fn a_listing_starts_over_and_survives_removals() {
    let dir = tempfile::tempdir().unwrap();
    for number in 0..3000 {
        std::fs::write(
            dir.path().join(format!("a-name-of-some-length-{number}")),
            "",
        )
        .unwrap();
    }
    let directory = Directory::open(dir.path(), Links::Refuse)
        .or_else(|_| Directory::open(dir.path(), Links::Follow));
    let (directory, mut buffer) = (directory.unwrap(), ListBuffer::new());
    let mut seen = 0;
    for removing in [false, true] {
        directory
            .list(&mut buffer, |name, kind| {
                assert_eq!(kind, Kind::File);
                seen += 1;
                if removing {
                    directory.remove_file(name).unwrap();
                }
                ControlFlow::Continue(())
            })
            .unwrap();
    }
    assert_eq!(seen, 6000);
    directory
        .list(&mut buffer, |name, _| {
            panic!("{} is still there", name.display())
        })
        .unwrap();
}

#[test]
fn reading_at_an_offset_returns_what_was_asked_for_and_no_more() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "0123456789").unwrap();
    let mut bytes = Vec::with_capacity(100);
    bytes.extend_from_slice(b"before ");
    read_at(file.as_file(), 2, 3, &mut bytes).unwrap();
    assert_eq!(bytes, b"before 234");
    read_at(file.as_file(), 8, 50, &mut bytes).unwrap();
    assert_eq!(bytes, b"before 23489");
}
