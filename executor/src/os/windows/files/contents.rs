//! Moving the bytes of files.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::windows::fs::FileExt as _;

use super::Facts;

/// The pieces in which bytes pass through this process.
const COPY_BUFFER_BYTES: usize = 256 * 1024;

/// Reads once into the room that is left in `buffer`, making some if there is none. 0 at the end.
pub fn read_once(file: &File, buffer: &mut Vec<u8>) -> io::Result<usize> {
    if buffer.capacity() == buffer.len() {
        buffer.reserve(4096);
    }
    let (start, end) = (buffer.len(), buffer.capacity());
    buffer.resize(end, 0);
    let mut file = file;
    let outcome = retried(|| file.read(buffer.get_mut(start..).unwrap_or_default()));
    buffer.truncate(start + outcome.as_ref().map_or(0, |count| *count));
    outcome
}

/// Appends up to `len` bytes from `offset` on to `buffer`; fewer only at the end of the file.
pub fn read_at(file: &File, offset: u64, len: usize, buffer: &mut Vec<u8>) -> io::Result<()> {
    let start = buffer.len();
    buffer.resize(start + len, 0);
    let mut at = start;
    let outcome = loop {
        let room = buffer.get_mut(at..).unwrap_or_default();
        if room.is_empty() {
            break Ok(());
        }
        match retried(|| file.seek_read(room, offset + (at - start) as u64)) {
            Ok(0) => break Ok(()),
            Ok(count) => at += count,
            Err(error) => break Err(error),
        }
    };
    buffer.truncate(at);
    outcome
}

/// Writes all of `bytes` at `offset`.
pub fn write_at(file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match retried(|| file.seek_write(rest, offset + written as u64))? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            count => written += count,
        }
    }
    Ok(())
}

/// Makes what `from` holds all that `to` holds, which had `old_size` bytes.
///
/// `proceed` is asked between pieces of large files; an error from it ends the copy.
pub fn copy_contents(
    from: &File,
    to: &File,
    _facts: &Facts,
    old_size: u64,
    scratch: &mut Vec<u8>,
    proceed: &mut dyn FnMut() -> io::Result<()>,
) -> io::Result<()> {
    let mut size = 0;
    loop {
        scratch.clear();
        read_at(from, size, COPY_BUFFER_BYTES, scratch)?;
        write_at(to, size, scratch)?;
        size += scratch.len() as u64;
        if scratch.len() < COPY_BUFFER_BYTES {
            break;
        }
        proceed()?;
    }
    if old_size > size {
        to.set_len(size)
    } else {
        Ok(())
    }
}

fn retried(mut attempt: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match attempt() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}
