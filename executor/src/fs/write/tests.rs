use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::time::Duration;

use super::*;
use crate::fs::FsErrorKind;

fn kind(result: Result<(), FsError>) -> FsErrorKind {
    result.unwrap_err().kind()
}

#[test]
fn an_existing_file_keeps_inode_mode_and_names() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    std::fs::write(&path, "a long old content").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o750)).unwrap();
    std::fs::hard_link(&path, dir.path().join("other")).unwrap();
    let before = path.metadata().unwrap();
    write(&path, b"new", Links::Follow).unwrap();
    let after = path.metadata().unwrap();
    assert_eq!(
        (after.ino(), after.mode(), after.nlink()),
        (before.ino(), before.mode(), 2)
    );
    assert_eq!(std::fs::read(dir.path().join("other")).unwrap(), b"new");
    write(&path, b"", Links::Follow).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"");
}

#[test]
fn a_new_file_is_as_open_as_the_umask_allows() {
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join("ours"), b"x", Links::Follow).unwrap();
    std::fs::write(dir.path().join("theirs"), "x").unwrap();
    let mode = |name: &str| dir.path().join(name).metadata().unwrap().mode();
    assert_eq!(mode("ours"), mode("theirs"));
}

#[test]
fn longer_and_shorter_content_replaces_all_of_the_old() {
    let file = tempfile::NamedTempFile::new().unwrap();
    for content in ["short", "something longer", "", "x", "yy", "z"] {
        write(file.path(), content.as_bytes(), Links::Follow).unwrap();
        assert_eq!(std::fs::read_to_string(file.path()).unwrap(), content);
    }
}

#[test]
fn writing_nothing_to_an_empty_file_is_still_a_change() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let long_ago = std::time::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    file.as_file().set_modified(long_ago).unwrap();
    write(file.path(), b"", Links::Follow).unwrap();
    assert!(file.path().metadata().unwrap().modified().unwrap() > long_ago);
}

#[test]
fn links_are_written_through_and_a_dangling_one_makes_its_target() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("target"), "old").unwrap();
    symlink("target", at("link")).unwrap();
    symlink("fresh", at("dangling")).unwrap();
    write(&at("link"), b"new", Links::Follow).unwrap();
    write(&at("dangling"), b"made", Links::Follow).unwrap();
    assert_eq!(std::fs::read(at("target")).unwrap(), b"new");
    assert_eq!(std::fs::read(at("fresh")).unwrap(), b"made");
    assert!(at("link").is_symlink() && at("dangling").is_symlink());
}

#[test]
fn a_refused_write_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let real = dir.path().canonicalize().unwrap();
    std::fs::write(real.join("f"), "x").unwrap();
    symlink("f", real.join("link")).unwrap();
    symlink(".", real.join("dlink")).unwrap();
    let at = |name: &str, links| kind(write(&real.join(name), b"y", links));
    assert_eq!(at("no/f", Links::Follow), FsErrorKind::NotFound);
    assert_eq!(at("", Links::Follow), FsErrorKind::Other);
    assert_eq!(at("f/x", Links::Follow), FsErrorKind::Other);
    assert_eq!(at("link", Links::Refuse), FsErrorKind::Invalid);
    assert_eq!(at("dlink/new", Links::Refuse), FsErrorKind::Invalid);
    assert_eq!(std::fs::read(real.join("f")).unwrap(), b"x");
    assert!(!real.join("new").exists());
    write(&real.join("f"), b"y", Links::Refuse).unwrap();
    write(&real.join("new"), b"y", Links::Refuse).unwrap();
    assert_eq!(std::fs::read(real.join("new")).unwrap(), b"y");
}

#[test]
fn fifos_and_devices_are_refused_without_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
    )
    .unwrap();
    let (done, waiting) = std::sync::mpsc::channel();
    std::thread::spawn({
        let fifo = fifo.clone();
        move || {
            let unread = kind(write(&fifo, b"x", Links::Follow));
            // With a reader the opening succeeds, and what was opened is judged.
            let reader = crate::os::files::open_to_read(&fifo, Links::Follow).unwrap();
            let read = kind(write(&fifo, b"x", Links::Follow));
            drop(reader);
            done.send([
                unread,
                read,
                kind(write(Path::new("/dev/null"), b"x", Links::Follow)),
            ])
            .unwrap();
        }
    });
    assert_eq!(
        waiting.recv_timeout(Duration::from_secs(10)).unwrap(),
        [FsErrorKind::Invalid; 3]
    );
}
