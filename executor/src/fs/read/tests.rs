use std::os::unix::fs::symlink;
use std::time::Duration;

use super::*;
use crate::fs::FsErrorKind;

fn kind(result: Result<Vec<u8>, FsError>) -> FsErrorKind {
    result.unwrap_err().kind()
}

#[test]
fn every_byte_comes_back_also_through_links() {
    let dir = tempfile::tempdir().unwrap();
    let content: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    std::fs::write(dir.path().join("f"), &content).unwrap();
    symlink("f", dir.path().join("link")).unwrap();
    assert_eq!(
        read(&dir.path().join("f"), Links::Follow, READ_FILE_BYTES_MAX).unwrap(),
        content
    );
    assert_eq!(
        read(&dir.path().join("link"), Links::Follow, READ_FILE_BYTES_MAX).unwrap(),
        content
    );
}

#[test]
fn an_empty_file_is_empty() {
    let file = tempfile::NamedTempFile::new().unwrap();
    assert_eq!(read(file.path(), Links::Follow, 0).unwrap(), b"");
}

#[test]
fn files_that_claim_no_size_are_read_to_their_end() {
    let status = read(
        Path::new("/proc/version"),
        Links::Follow,
        READ_FILE_BYTES_MAX,
    )
    .unwrap();
    assert!(
        status.starts_with(b"Linux") && status.ends_with(b"\n"),
        "{}",
        String::from_utf8_lossy(&status)
    );
    // Larger than any first guess.
    let processors = read(
        Path::new("/proc/cpuinfo"),
        Links::Follow,
        READ_FILE_BYTES_MAX,
    )
    .unwrap();
    assert!(processors.len() > 2 * UNKNOWN_SIZE_BYTES && processors.ends_with(b"\n"));
}

#[test]
fn the_limit_holds_for_claimed_and_for_real_sizes() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "12345").unwrap();
    assert_eq!(read(file.path(), Links::Follow, 5).unwrap(), b"12345");
    let error = read(file.path(), Links::Follow, 4).unwrap_err();
    assert_eq!(error.kind(), FsErrorKind::Invalid);
    assert_eq!(
        error.to_string(),
        format!(
            "read {}: larger than the limit of 4 bytes",
            file.path().display()
        )
    );
    assert_eq!(
        kind(read(Path::new("/proc/version"), Links::Follow, 10)),
        FsErrorKind::Invalid
    );
}

#[test]
fn what_is_no_regular_file_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
    )
    .unwrap();
    let socket = dir.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let (done, waiting) = std::sync::mpsc::channel();
    let paths = [
        dir.path().to_path_buf(),
        fifo,
        "/dev/zero".into(),
        "/dev/null".into(),
    ];
    std::thread::spawn(move || {
        let kinds = paths.map(|path| kind(read(&path, Links::Follow, READ_FILE_BYTES_MAX)));
        done.send(kinds).unwrap();
    });
    // A FIFO that nobody writes would keep the thread for ever.
    assert_eq!(
        waiting.recv_timeout(Duration::from_secs(10)).unwrap(),
        [FsErrorKind::Invalid; 4]
    );
    assert_eq!(
        kind(read(&socket, Links::Follow, READ_FILE_BYTES_MAX)),
        FsErrorKind::Other
    );
}

#[test]
fn missing_files_and_files_in_files_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("f"), "").unwrap();
    symlink("nowhere", dir.path().join("dangling")).unwrap();
    let at = |name: &str| {
        kind(read(
            &dir.path().join(name),
            Links::Follow,
            READ_FILE_BYTES_MAX,
        ))
    };
    assert_eq!(
        [at("missing"), at("dangling"), at("f/x")],
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
    std::fs::create_dir(real.join("sub")).unwrap();
    std::fs::write(real.join("sub/f"), "x").unwrap();
    symlink("sub", real.join("dlink")).unwrap();
    symlink("sub/f", real.join("link")).unwrap();
    let at = |name: &str| read(&real.join(name), Links::Refuse, READ_FILE_BYTES_MAX);
    assert_eq!(at("sub/f").unwrap(), b"x");
    let error = at("dlink/f").unwrap_err();
    assert_eq!(
        (error.kind(), error.path()),
        (FsErrorKind::Invalid, real.join("dlink/f").as_path())
    );
    assert_eq!(kind(at("link")), FsErrorKind::Invalid);
    assert_eq!(kind(at("sub/missing")), FsErrorKind::NotFound);
}

#[test]
fn a_file_can_be_taken_in_pieces() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "0123456789").unwrap();
    let mut open = open_file(file.path(), Links::Follow, READ_FILE_BYTES_MAX).unwrap();
    assert_eq!(open.size(), 10);
    let (mut pieces, mut buffer) = (Vec::new(), Vec::with_capacity(8));
    while open.take(file.path(), &mut buffer).unwrap() > 0 {
        pieces.push(std::mem::replace(&mut buffer, Vec::with_capacity(8)));
    }
    assert_eq!(pieces, [b"01234567".to_vec(), b"89".to_vec()]);
}
