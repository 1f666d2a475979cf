use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::time::Duration;

use super::*;
use crate::fs::FsErrorKind;

fn kind(result: Result<Option<std::fs::File>, FsError>) -> FsErrorKind {
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
    write(&path, b"new".as_slice(), Links::Follow).unwrap();
    let after = path.metadata().unwrap();
    assert_eq!(
        (after.ino(), after.mode(), after.nlink()),
        (before.ino(), before.mode(), 2)
    );
    assert_eq!(std::fs::read(dir.path().join("other")).unwrap(), b"new");
    write(&path, b"".as_slice(), Links::Follow).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"");
}

#[test]
fn a_new_file_is_as_open_as_the_umask_allows() {
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join("ours"), b"x".as_slice(), Links::Follow).unwrap();
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

/// A content that turns out to be none after its first bytes.
struct Unsound;

impl Content for Unsound {
    fn size(&self) -> u64 {
        10_000
    }

    fn visit(&self, visit: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        visit(&[0; 5000])?;
        Err(io::ErrorKind::InvalidData.into())
    }

    fn is_sound(&self) -> bool {
        false
    }
}

#[test]
fn a_content_that_turns_out_to_be_none_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("alone"), "old").unwrap();
    std::fs::write(at("linked"), "old").unwrap();
    std::fs::hard_link(at("linked"), at("again")).unwrap();
    for name in ["alone", "linked", "new"] {
        assert!(write(&at(name), &Unsound, Links::Follow).is_err());
    }
    let read = |name: &str| std::fs::read_to_string(at(name)).unwrap();
    assert_eq!([read("alone"), read("linked"), read("again")], ["old"; 3]);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3);
}

#[test]
fn writing_nothing_to_an_empty_file_is_still_a_change() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let long_ago = std::time::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    file.as_file().set_modified(long_ago).unwrap();
    write(file.path(), b"".as_slice(), Links::Follow).unwrap();
    assert!(file.path().metadata().unwrap().modified().unwrap() > long_ago);
}

#[test]
fn links_are_written_through_and_a_dangling_one_makes_its_target() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("target"), "old").unwrap();
    symlink("target", at("link")).unwrap();
    symlink("fresh", at("dangling")).unwrap();
    write(&at("link"), b"new".as_slice(), Links::Follow).unwrap();
    write(&at("dangling"), b"made".as_slice(), Links::Follow).unwrap();
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
    let at = |name: &str, links| kind(write(&real.join(name), b"y".as_slice(), links));
    assert_eq!(at("no/f", Links::Follow), FsErrorKind::NotFound);
    assert_eq!(at("", Links::Follow), FsErrorKind::Other);
    assert_eq!(at("f/x", Links::Follow), FsErrorKind::Other);
    assert_eq!(at("link", Links::Refuse), FsErrorKind::Invalid);
    assert_eq!(at("dlink/new", Links::Refuse), FsErrorKind::Invalid);
    assert_eq!(std::fs::read(real.join("f")).unwrap(), b"x");
    assert!(!real.join("new").exists());
    write(&real.join("f"), b"y".as_slice(), Links::Refuse).unwrap();
    write(&real.join("new"), b"y".as_slice(), Links::Refuse).unwrap();
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
            let unread = kind(write(&fifo, b"x".as_slice(), Links::Follow));
            // With a reader the opening succeeds, and what was opened is judged.
            let reader = crate::os::files::open_to_read(&fifo, Links::Follow).unwrap();
            let read = kind(write(&fifo, b"x".as_slice(), Links::Follow));
            drop(reader);
            done.send([
                unread,
                read,
                kind(write(
                    Path::new("/dev/null"),
                    b"x".as_slice(),
                    Links::Follow,
                )),
            ])
            .unwrap();
        }
    });
    assert_eq!(
        waiting.recv_timeout(Duration::from_secs(10)).unwrap(),
        [FsErrorKind::Invalid; 3]
    );
}

/// Larger than what is written in place.
fn large(letter: u8) -> Vec<u8> {
    vec![letter; 100_000]
}

fn names(dir: &Path) -> Vec<String> {
    let names = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_larger_content_takes_the_place_of_the_old_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    std::fs::write(&path, large(b'a')).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let attribute = rustix::fs::setxattr(
        &path,
        "user.kept",
        b"value",
        rustix::fs::XattrFlags::empty(),
    );
    let opened = std::fs::File::open(&path).unwrap();
    let before = path.metadata().unwrap();
    write(&path, large(b'b').as_slice(), Links::Follow).unwrap();
    let after = path.metadata().unwrap();
    assert_eq!(
        (after.mode(), after.uid(), after.gid(), after.nlink()),
        (before.mode(), before.uid(), before.gid(), 1)
    );
    assert_ne!(after.ino(), before.ino());
    if attribute.is_ok() {
        let mut value = [0; 16];
        let len = rustix::fs::getxattr(&path, "user.kept", &mut value[..]).unwrap();
        assert_eq!(value.get(..len), Some(b"value".as_slice()));
    }
    // Whoever has the old one open goes on reading the old one.
    assert_eq!(
        std::io::read_to_string(opened).unwrap().into_bytes(),
        large(b'a')
    );
    assert_eq!(std::fs::read(&path).unwrap(), large(b'b'));
    assert_eq!(names(dir.path()), ["f"]);
}

#[test]
fn what_hangs_on_an_inode_keeps_it_however_large_the_content() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("f"), "x").unwrap();
    std::fs::hard_link(at("f"), at("other")).unwrap();
    write(&at("f"), large(b'a').as_slice(), Links::Follow).unwrap();
    assert_eq!(std::fs::read(at("other")).unwrap(), large(b'a'));
    std::fs::write(at("program"), "x").unwrap();
    std::fs::set_permissions(at("program"), std::fs::Permissions::from_mode(0o4755)).unwrap();
    let before = at("program").metadata().unwrap().ino();
    write(&at("program"), large(b'a').as_slice(), Links::Follow).unwrap();
    assert_eq!(at("program").metadata().unwrap().ino(), before);
}

#[test]
fn large_contents_go_through_links_too_and_new_files_appear_whole() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::create_dir(at("below")).unwrap();
    std::fs::write(at("below/target"), "old").unwrap();
    symlink("below/target", at("relative")).unwrap();
    symlink(at("relative"), at("absolute")).unwrap();
    symlink("below/fresh", at("dangling")).unwrap();
    symlink("loop", at("loop")).unwrap();
    write(&at("absolute"), large(b'a').as_slice(), Links::Follow).unwrap();
    write(&at("dangling"), large(b'b').as_slice(), Links::Follow).unwrap();
    assert_eq!(
        kind(write(&at("loop"), large(b'c').as_slice(), Links::Follow)),
        FsErrorKind::Other
    );
    assert_eq!(std::fs::read(at("below/target")).unwrap(), large(b'a'));
    assert_eq!(std::fs::read(at("below/fresh")).unwrap(), large(b'b'));
    assert!(at("absolute").is_symlink() && at("relative").is_symlink());
    assert_eq!(names(&at("below")), ["fresh", "target"]);
}

struct Failing;

impl Content for Failing {
    fn size(&self) -> u64 {
        200_000
    }

    fn visit(&self, visit: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        visit(&large(b'x'))?;
        Err(io::ErrorKind::StorageFull.into())
    }
}

#[test]
fn a_content_that_does_not_fit_leaves_the_old_or_nothing() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("f"), "old").unwrap();
    for name in ["f", "new"] {
        let path = dir.path().join(name);
        assert_eq!(
            kind(write(&path, &Failing, Links::Follow)),
            FsErrorKind::Other
        );
    }
    assert_eq!(std::fs::read(dir.path().join("f")).unwrap(), b"old");
    assert_eq!(names(dir.path()), ["f"]);
}

#[test]
fn drafts_a_crash_has_left_are_tidied_away_and_living_ones_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let spare = |number: usize| at(&format!(".farstep-{number}.tmp"));
    for number in 0..16 {
        std::fs::write(spare(number), "left over").unwrap();
    }
    let living = std::fs::File::open(spare(3)).unwrap();
    rustix::fs::flock(&living, rustix::fs::FlockOperation::LockExclusive).unwrap();
    std::fs::write(at("f"), "old").unwrap();
    for letter in b'a'..b'q' {
        write(&at("f"), large(letter).as_slice(), Links::Follow).unwrap();
        assert_eq!(std::fs::read(at("f")).unwrap(), large(letter));
    }
    assert!(spare(3).exists());
    for number in (0..16).filter(|number| *number != 3) {
        std::fs::write(spare(number), "left over").unwrap();
    }
    write(&at("f"), large(b'z').as_slice(), Links::Follow).unwrap();
    assert_eq!(std::fs::read(at("f")).unwrap(), large(b'z'));
}
