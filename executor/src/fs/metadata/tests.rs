use std::os::unix::fs::symlink;
use std::time::Duration;

use super::*;
use crate::fs::FsErrorKind;

#[test]
fn the_target_is_described_and_the_link_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("f"), "12345").unwrap();
    let modified = UNIX_EPOCH + Duration::from_millis(1_600_000_000_500);
    std::fs::File::options()
        .write(true)
        .open(at("f"))
        .unwrap()
        .set_modified(modified)
        .unwrap();
    symlink("f", at("link")).unwrap();
    symlink(".", at("dirlink")).unwrap();
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        at("fifo"),
        rustix::fs::Mode::from_raw_mode(0o600),
    )
    .unwrap();
    let file = metadata(&at("f"), Links::Follow).unwrap();
    let expected = Metadata {
        is_directory: false,
        is_file: true,
        is_symlink: false,
        size: 5,
        created_at_ms: unix_ms(at("f").metadata().unwrap().created()),
        modified_at_ms: 1_600_000_000_500,
        mode: files::mode_of(&at("f").metadata().unwrap()),
    };
    assert_eq!(file, expected);
    assert!(file.mode.is_some_and(|mode| mode & !0o777 == 0));
    assert_eq!(
        metadata(&at("link"), Links::Follow).unwrap(),
        Metadata {
            is_symlink: true,
            ..expected
        }
    );
    let kinds = |name: &str| {
        let found = metadata(&at(name), Links::Follow).unwrap();
        (found.is_directory, found.is_file, found.is_symlink)
    };
    assert_eq!(kinds("."), (true, false, false));
    assert_eq!(kinds("dirlink"), (true, false, true));
    assert_eq!(kinds("dirlink/"), (true, false, true));
    assert_eq!(kinds("fifo"), (false, false, false));
}

#[test]
fn what_is_not_there_is_not_found_and_loops_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    symlink("nowhere", dir.path().join("dangling")).unwrap();
    symlink("loop", dir.path().join("loop")).unwrap();
    let kind = |name: &str| {
        metadata(&dir.path().join(name), Links::Follow)
            .unwrap_err()
            .kind()
    };
    assert_eq!(
        [kind("missing"), kind("dangling"), kind("loop")],
        [
            FsErrorKind::NotFound,
            FsErrorKind::NotFound,
            FsErrorKind::Other
        ]
    );
}

#[test]
fn links_are_refused_in_any_component() {
    let dir = tempfile::tempdir().unwrap();
    let real = dir.path().canonicalize().unwrap();
    std::fs::write(real.join("f"), "x").unwrap();
    symlink("f", real.join("link")).unwrap();
    symlink(".", real.join("dlink")).unwrap();
    let at = |name: &str| metadata(&real.join(name), Links::Refuse);
    assert_eq!(
        at("f").unwrap(),
        metadata(&real.join("f"), Links::Follow).unwrap()
    );
    assert_eq!(at("").unwrap(), metadata(&real, Links::Follow).unwrap());
    for name in ["link", "dlink", "dlink/", "dlink/f"] {
        assert_eq!(at(name).unwrap_err().kind(), FsErrorKind::Invalid, "{name}");
    }
    assert_eq!(at("missing").unwrap_err().kind(), FsErrorKind::NotFound);
}

#[test]
fn times_before_the_epoch_are_negative() {
    assert_eq!(unix_ms(Ok(UNIX_EPOCH - Duration::from_millis(1500))), -1500);
    assert_eq!(unix_ms(Err(io::ErrorKind::Unsupported.into())), 0);
}

#[test]
fn a_canonical_path_has_no_links_and_must_exist() {
    let dir = tempfile::tempdir().unwrap();
    let real = dir.path().canonicalize().unwrap();
    std::fs::create_dir(real.join("real")).unwrap();
    std::fs::write(real.join("real/f"), "").unwrap();
    symlink("real", real.join("link")).unwrap();
    symlink("nowhere", real.join("dangling")).unwrap();
    assert_eq!(
        canonicalize(&real.join("link/f")).unwrap(),
        real.join("real/f")
    );
    for name in ["dangling", "missing"] {
        assert_eq!(
            canonicalize(&real.join(name)).unwrap_err().kind(),
            FsErrorKind::NotFound
        );
    }
}
