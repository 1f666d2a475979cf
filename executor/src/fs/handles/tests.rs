use super::*;
use crate::fs::FsErrorKind;

fn open(
    handles: &mut Handles,
    id: &str,
    path: &Path,
    mode: Mode,
) -> Result<Arc<Handle>, HandleError> {
    let reservation = handles.reserve(id)?;
    match Handle::open(path, mode) {
        Ok(handle) => handles.install(reservation, handle),
        Err(error) => {
            handles.release(reservation);
            return Err(error.into());
        }
    }
    handles.get(id)
}

fn block(bytes: &[u8], eof: bool) -> Block {
    Block {
        bytes: bytes.to_vec(),
        eof,
    }
}

#[test]
fn a_block_ends_the_file_only_if_it_asked_for_more() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "hello").unwrap();
    let handle = Handle::open(file.path(), Mode::Read).unwrap();
    let read = |offset, len| handle.read_block(offset, len).unwrap();
    assert_eq!(read(0, 3), block(b"hel", false));
    assert_eq!(read(3, 2), block(b"lo", false));
    assert_eq!(read(0, 5), block(b"hello", false));
    assert_eq!(read(0, 6), block(b"hello", true));
    assert_eq!(read(99, 6), block(b"", true));
    assert_eq!(read(u64::MAX, 6), block(b"", true));
    assert_eq!(read(1, 2), block(b"el", false));
}

#[test]
fn blocks_have_limits_that_leave_the_handle_usable() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), vec![b'q'; 1_100_000]).unwrap();
    let reader = Handle::open(file.path(), Mode::Read).unwrap();
    assert_eq!(reader.read_block(0, 1 << 20).unwrap().bytes.len(), 1 << 20);
    for bad in [0, (1 << 20) + 1, u64::MAX] {
        assert!(matches!(
            reader.read_block(0, bad),
            Err(HandleError::BlockLength)
        ));
    }
    let writer = Handle::open(file.path(), Mode::Replace).unwrap();
    assert!(matches!(
        writer.write_block(0, b"".as_slice()),
        Err(HandleError::BlockLength)
    ));
    assert!(matches!(
        writer.write_block(0, vec![0; BLOCK_BYTES_MAX + 1].as_slice()),
        Err(HandleError::BlockLength)
    ));
    assert!(matches!(
        writer.write_block(OFFSET_MAX, b"xx".as_slice()),
        Err(HandleError::BeyondRange)
    ));
    assert!(matches!(
        writer.write_block(u64::MAX, b"xx".as_slice()),
        Err(HandleError::BeyondRange)
    ));
    writer
        .write_block(0, vec![b'y'; BLOCK_BYTES_MAX].as_slice())
        .unwrap();
    assert_eq!(file.path().metadata().unwrap().len(), 1 << 20);
}

#[test]
fn blocks_are_written_anywhere_and_seen_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    let handle = Handle::open(&path, Mode::Replace).unwrap();
    handle.write_block(0, b"hello".as_slice()).unwrap();
    handle.write_block(8, b"end".as_slice()).unwrap();
    handle.write_block(1, b"EY".as_slice()).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"hEYlo\0\0\0end");
}

#[test]
fn a_handle_does_only_what_it_was_opened_for() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "old").unwrap();
    let reader = Handle::open(file.path(), Mode::Read).unwrap();
    assert!(matches!(
        reader.write_block(0, b"x".as_slice()),
        Err(HandleError::WrongMode(_))
    ));
    assert_eq!(std::fs::read(file.path()).unwrap(), b"old");
    let writer = Handle::open(file.path(), Mode::Replace).unwrap();
    assert_eq!(std::fs::read(file.path()).unwrap(), b"");
    assert!(matches!(
        writer.read_block(0, 1),
        Err(HandleError::WrongMode(_))
    ));
}

#[test]
fn a_handle_follows_the_open_file() {
    let dir = tempfile::tempdir().unwrap();
    let (f, g) = (dir.path().join("f"), dir.path().join("g"));
    std::fs::write(&f, "original").unwrap();
    let handle = Handle::open(&f, Mode::Read).unwrap();
    std::fs::rename(&f, &g).unwrap();
    std::fs::write(&f, "replacement").unwrap();
    std::fs::remove_file(&g).unwrap();
    assert_eq!(handle.read_block(0, 100).unwrap(), block(b"original", true));
}

#[test]
fn only_regular_files_can_be_opened() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
    )
    .unwrap();
    let kind = |path: &Path, mode| Handle::open(path, mode).unwrap_err().kind();
    assert_eq!(
        kind(&dir.path().join("none"), Mode::Read),
        FsErrorKind::NotFound
    );
    assert_eq!(kind(dir.path(), Mode::Read), FsErrorKind::Invalid);
    assert_eq!(kind(&fifo, Mode::Read), FsErrorKind::Invalid);
    assert_eq!(kind(&fifo, Mode::Replace), FsErrorKind::Invalid);
    assert_eq!(
        kind(&dir.path().join("no/f"), Mode::Replace),
        FsErrorKind::NotFound
    );
    assert_eq!(kind(dir.path(), Mode::Replace), FsErrorKind::Other);
}

#[test]
fn ids_are_short_unique_and_free_again_after_close() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut handles = Handles::new();
    for id in ["", "h", &"a".repeat(32), &"\u{e9}".repeat(16)] {
        open(&mut handles, id, file.path(), Mode::Read).unwrap();
        assert!(matches!(
            open(&mut handles, id, file.path(), Mode::Read),
            Err(HandleError::InUse(_))
        ));
    }
    for id in [&"a".repeat(33), &"\u{e9}".repeat(17)] {
        assert!(matches!(handles.reserve(id), Err(HandleError::IdTooLong)));
        assert!(matches!(handles.get(id), Err(HandleError::IdTooLong)));
        assert!(matches!(handles.close(id), Err(HandleError::IdTooLong)));
    }
    for id in ["h", "h", "never-opened"] {
        handles.close(id).unwrap();
    }
    assert!(matches!(handles.get("h"), Err(HandleError::Unknown(_))));
    open(&mut handles, "h", file.path(), Mode::Read).unwrap();
}

#[test]
fn a_refused_id_leaves_the_file_alone() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "old").unwrap();
    let mut handles = Handles::new();
    open(&mut handles, "r", file.path(), Mode::Read).unwrap();
    open(&mut handles, "r", file.path(), Mode::Replace).unwrap_err();
    assert_eq!(std::fs::read(file.path()).unwrap(), b"old");
}

#[test]
fn slots_are_bounded_and_opens_under_way_count() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut handles = Handles::new();
    for number in 0..HANDLES_MAX - 1 {
        open(&mut handles, &number.to_string(), file.path(), Mode::Read).unwrap();
    }
    let under_way = handles.reserve("under way").unwrap();
    assert!(matches!(
        handles.get("under way"),
        Err(HandleError::Unknown(_))
    ));
    assert!(matches!(
        handles.reserve("one more"),
        Err(HandleError::NoSlot)
    ));
    // A failed open does not count.
    handles.release(under_way);
    open(&mut handles, "one more", file.path(), Mode::Read).unwrap();
    assert!(matches!(
        handles.reserve("yet another"),
        Err(HandleError::NoSlot)
    ));
    handles.close("7").unwrap();
    handles.reserve("yet another").unwrap();
}

#[test]
fn an_id_closed_while_its_file_opens_stays_closed() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut handles = Handles::new();
    let first = handles.reserve("h").unwrap();
    handles.close("h").unwrap();
    let second = handles.reserve("h").unwrap();
    handles.install(first, Handle::open(file.path(), Mode::Read).unwrap());
    assert!(matches!(handles.get("h"), Err(HandleError::Unknown(_))));
    handles.install(second, Handle::open(file.path(), Mode::Read).unwrap());
    let handle = handles.get("h").unwrap();
    handles.discard(
        "h",
        &Arc::new(Handle::open(file.path(), Mode::Read).unwrap()),
    );
    assert!(Arc::ptr_eq(&handle, &handles.get("h").unwrap()));
    handles.discard("h", &handle);
    assert!(matches!(handles.get("h"), Err(HandleError::Unknown(_))));
}

#[test]
fn an_update_keeps_what_is_there_and_can_cut_it_or_fill_it_up_first() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f");
    let update = |length, offset, block: &[u8]| {
        let handle = Handle::open(&path, Mode::Update { length }).unwrap();
        handle.write_block(offset, block).unwrap();
        std::fs::read(&path).unwrap()
    };
    assert_eq!(update(None, 0, b"hello"), b"hello");
    assert_eq!(update(None, 1, b"a"), b"hallo");
    assert_eq!(update(Some(3), 4, b"x"), b"hal\0x");
    assert_eq!(update(Some(6), 0, b"H"), b"Hal\0x\0");
}

#[test]
fn what_is_lined_up_is_done_in_order_by_one_at_a_time() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let handle = Arc::new(Handle::open(file.path(), Mode::Read).unwrap());
    let done = Arc::new(Mutex::new(Vec::new()));
    let line_up = |number: usize| {
        let (done, same) = (Arc::clone(&done), Arc::clone(&handle));
        handle.line_up(move |handle| {
            assert!(std::ptr::eq(handle, &*same));
            done.lock().unwrap().push(number);
        })
    };
    assert!(line_up(0));
    for number in 1..70 {
        assert!(!line_up(number));
    }
    // Whoever does it makes way for others now and then.
    assert!(handle.work_off());
    assert!((1..70).contains(&done.lock().unwrap().len()) && !line_up(70));
    while handle.work_off() {}
    assert!(done.lock().unwrap().iter().copied().eq(0..=70));
    assert!(line_up(71) && !handle.work_off());
    assert_eq!(
        (done.lock().unwrap().len(), Arc::strong_count(&handle)),
        (72, 1)
    );
}
