use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::fs::FsErrorKind;

fn sorted(listing: &Listing) -> Vec<DirectoryEntry<'_>> {
    let mut entries: Vec<_> = listing.iter().collect();
    entries.sort();
    entries
}

fn entry(file_name: &str, is_directory: bool, is_file: bool) -> DirectoryEntry<'_> {
    DirectoryEntry {
        file_name,
        is_directory,
        is_file,
    }
}

#[test]
fn links_are_what_they_lead_to_and_left_out_if_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("f"), "").unwrap();
    std::fs::write(at(".hidden"), "").unwrap();
    std::fs::create_dir(at("sub")).unwrap();
    symlink("f", at("flink")).unwrap();
    symlink("sub", at("dlink")).unwrap();
    symlink("nowhere", at("dangling")).unwrap();
    symlink("loop", at("loop")).unwrap();
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        at("pipe"),
        rustix::fs::Mode::from_raw_mode(0o600),
    )
    .unwrap();
    assert_eq!(
        sorted(&read_directory(dir.path()).unwrap()),
        [
            entry(".hidden", false, true),
            entry("dlink", true, false),
            entry("f", false, true),
            entry("flink", false, true),
            entry("pipe", false, false),
            entry("sub", true, false),
        ]
    );
    assert!(read_directory(&at("dlink")).unwrap().is_empty());
}

#[test]
fn only_directories_can_be_listed() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("f"), "").unwrap();
    let kind = |name: &str| read_directory(&dir.path().join(name)).unwrap_err().kind();
    assert_eq!(
        [kind("missing"), kind("f")],
        [FsErrorKind::NotFound, FsErrorKind::Other]
    );
}

#[test]
fn a_directory_over_the_limit_is_refused_whole() {
    let dir = tempfile::tempdir().unwrap();
    for number in 0..3 {
        std::fs::write(dir.path().join(number.to_string()), "").unwrap();
    }
    assert_eq!(list(dir.path(), 3).unwrap().len(), 3);
    let error = list(dir.path(), 2).unwrap_err().at("list", dir.path());
    assert_eq!(error.kind(), FsErrorKind::Other);
    assert_eq!(
        error.to_string(),
        format!("list {}: more than 2 entries", dir.path().display())
    );
}

#[test]
fn more_names_than_one_system_call_returns_all_come_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut expected: Vec<String> = (0..2000)
        .map(|number| format!("a-rather-long-name-{number}"))
        .collect();
    for name in &expected {
        std::fs::write(dir.path().join(name), "").unwrap();
    }
    expected.sort();
    let listing = read_directory(dir.path()).unwrap();
    let names: Vec<&str> = sorted(&listing)
        .iter()
        .map(|entry| entry.file_name)
        .collect();
    assert_eq!(names, expected);
}

#[test]
fn bytes_that_are_no_text_are_replaced() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(OsStr::from_bytes(b"a\xFFb")), "").unwrap();
    let listing = read_directory(dir.path()).unwrap();
    assert_eq!(sorted(&listing), [entry("a\u{FFFD}b", false, true)]);
}

#[test]
fn an_empty_listing_is_an_empty_list() {
    let mut out = b"before,".to_vec();
    Listing::default().write_json(&mut out);
    assert_eq!(out, b"before,{\"entries\":[]}");
}

proptest! {
    #[test]
    fn the_result_reads_back_as_it_was(items in prop::collection::vec((any::<String>(), 0..4_u8), 0..8)) {
        let mut listing = Listing::default();
        let mut expected = Vec::new();
        for (name, kind) in &items {
            let kind = [Kind::File, Kind::Directory, Kind::Special, Kind::Unknown][usize::from(*kind)];
            listing.push(name, kind);
            expected.push(json!({
                "fileName": name,
                "isDirectory": kind == Kind::Directory,
                "isFile": kind == Kind::File,
            }));
        }
        let mut out = Vec::new();
        listing.write_json(&mut out);
        let read: Value = serde_json::from_slice(&out).unwrap();
        prop_assert_eq!(read, json!({ "entries": expected }));
    }
}
