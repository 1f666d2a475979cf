//! The process itself, as others on its machine see it.

#![cfg(target_os = "linux")]

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

const NOBODY: u32 = 65534;

/// The kernel's sign for "not to be dumped or attached to": nobody's process is root's.
#[test]
fn nobody_of_the_same_user_can_look_into_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_farstep-rendezvous"));
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(folder.path().join("rdv"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    if std::fs::metadata(folder.path()).unwrap().uid() == 0 {
        chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        let own = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(folder.path(), own).unwrap();
        command.uid(NOBODY).gid(NOBODY);
    }
    let mut child = command.spawn().unwrap();
    let mut url = String::new();
    let said = BufReader::new(child.stdout.take().unwrap()).read_line(&mut url);
    let of_child = format!("/proc/{}", child.id());
    let read = |file: &str| std::fs::read_to_string(format!("{of_child}/{file}"));
    let (status, limits) = (read("status"), read("limits"));
    let environ = std::fs::metadata(format!("{of_child}/environ"));
    child.kill().unwrap();
    child.wait().unwrap();
    said.unwrap();
    assert!(url.starts_with("http://127.0.0.1:"), "{url:?}");
    let status = status.unwrap();
    let uid = status.lines().find(|line| line.starts_with("Uid:"));
    assert!(!uid.unwrap().contains("\t0\t"), "{uid:?}");
    assert_eq!(environ.unwrap().uid(), 0);
    let limits = limits.unwrap();
    let core = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max core file size"));
    let soft = core.unwrap().split_whitespace().next();
    assert_eq!(soft, Some("0"));
}

#[test]
fn a_database_that_cannot_be_opened_is_told_once_and_with_what_to_look_at() {
    let folder = tempfile::tempdir().unwrap();
    // Nobody can open a folder as a file, root neither.
    std::fs::create_dir(folder.path().join("rendezvous.sqlite")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_farstep-rendezvous"));
    let done = command
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(folder.path())
        .output()
        .unwrap();
    assert_eq!(done.status.code(), Some(1));
    let said = String::from_utf8(done.stderr).unwrap();
    assert_eq!(said.matches("unable to open").count(), 1, "{said}");
    assert!(said.contains("has its disk room?"), "{said}");
}
