//! Moving the bytes of files.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::buffer::spare_capacity;
use rustix::io::Errno;

use super::Facts;

/// Up to this size a read and a write beat every special call.
const SMALL_FILE_BYTES: u64 = 64 * 1024;

/// The pieces in which bytes pass through this process when the kernel cannot copy them itself.
const COPY_BUFFER_BYTES: usize = 128 * 1024;

/// What one call asks the kernel to copy, so that a copy can be given up between two.
const COPY_PIECE_BYTES: u64 = 64 * 1024 * 1024;

/// Reads once into the room that is left in `buffer`, making some if there is none. 0 at the end.
pub fn read_once(file: &File, buffer: &mut Vec<u8>) -> io::Result<usize> {
    if buffer.capacity() == buffer.len() {
        buffer.reserve(4096);
    }
    loop {
        match rustix::io::read(file, spare_capacity(buffer)) {
            Err(Errno::INTR) => {}
            outcome => return Ok(outcome?),
        }
    }
}

/// Appends up to `len` bytes from `offset` on to `buffer`; fewer only at the end of the file.
pub fn read_at(file: &File, offset: u64, len: usize, buffer: &mut Vec<u8>) -> io::Result<()> {
    let end = buffer.len() + len;
    let mut offset = offset;
    buffer.reserve_exact(len);
    while buffer.len() < end {
        match rustix::io::pread(file, spare_capacity(buffer), offset) {
            Err(Errno::INTR) => {}
            Ok(0) => break,
            outcome => offset += outcome? as u64,
        }
    }
    // The room in the buffer may be larger than what was asked for.
    buffer.truncate(end);
    Ok(())
}

/// Writes all of `bytes` at `offset`.
pub fn write_at(file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    file.write_all_at(bytes, offset)
}

/// Makes what `from` holds all that `to` holds, which had `old_size` bytes. Holes stay holes.
///
/// `proceed` is asked between pieces of large files; an error from it ends the copy.
pub fn copy_contents(
    from: &File,
    to: &File,
    facts: &Facts,
    old_size: u64,
    scratch: &mut Vec<u8>,
    proceed: &mut dyn FnMut() -> io::Result<()>,
) -> io::Result<()> {
    if facts.allocated < facts.size && facts.size > SMALL_FILE_BYTES {
        return copy_with_holes(from, to, facts.size, scratch, proceed);
    }
    let size = copy_all(from, to, facts.size, scratch, proceed)?;
    // The rest of what was there goes last: emptying a file first makes some file systems write
    // the new content to the disk at once.
    if old_size > size {
        to.set_len(size)
    } else {
        Ok(())
    }
}

/// Copies a file without holes and says how much that was.
fn copy_all(
    from: &File,
    to: &File,
    size: u64,
    scratch: &mut Vec<u8>,
    proceed: &mut dyn FnMut() -> io::Result<()>,
) -> io::Result<u64> {
    let mut copied = 0;
    if size > SMALL_FILE_BYTES {
        #[cfg(target_os = "linux")]
        if rustix::fs::ioctl_ficlone(to, from).is_ok() {
            return Ok(size);
        }
        copied = copy_range(from, to, 0, size, proceed)?;
    }
    // What the kernel could not copy. The size of 0 that files of /proc have says nothing.
    let end = if size == 0 { u64::MAX } else { size };
    copy_through(from, to, copied, end, scratch, proceed)
}

/// Copies the parts that hold data and leaves out the others.
#[cfg(any(target_os = "linux", target_os = "macos"))]
fn copy_with_holes(
    from: &File,
    to: &File,
    size: u64,
    scratch: &mut Vec<u8>,
    proceed: &mut dyn FnMut() -> io::Result<()>,
) -> io::Result<()> {
    use rustix::fs::{SeekFrom, seek};
    #[cfg(target_os = "linux")]
    if rustix::fs::ioctl_ficlone(to, from).is_ok() {
        return to.set_len(size);
    }
    // Where nothing is written nothing old may remain.
    to.set_len(0)?;
    let mut at = 0;
    while at < size {
        let start = match seek(from, SeekFrom::Data(at)) {
            Ok(start) => start,
            // Only a hole is left.
            Err(Errno::NXIO) => break,
            // This file system does not tell: all of it is data.
            Err(Errno::INVAL) => at,
            Err(error) => return Err(error.into()),
        };
        let end = seek(from, SeekFrom::Hole(start)).unwrap_or(size).min(size);
        if end <= start {
            break;
        }
        let copied = copy_range(from, to, start, end - start, proceed)?;
        copy_through(from, to, start + copied, end, scratch, proceed)?;
        at = end;
    }
    to.set_len(size)
}
#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn copy_with_holes(
    from: &File,
    to: &File,
    size: u64,
    scratch: &mut Vec<u8>,
    proceed: &mut dyn FnMut() -> io::Result<()>,
) -> io::Result<()> {
    let copied = copy_through(from, to, 0, size, scratch, proceed)?;
    to.set_len(copied)
}

/// Lets the kernel copy; the answer is how far it came, 0 if it cannot for these files.
#[cfg(target_os = "linux")]
fn copy_range(
    from: &File,
    to: &File,
    offset: u64,
    len: u64,
    proceed: &mut dyn FnMut() -> io::Result<()>,
) -> io::Result<u64> {
    let mut copied = 0;
    while copied < len {
        let (mut source, mut target) = (offset + copied, offset + copied);
        // The piece is bounded, so the conversion cannot fail where it matters.
        let piece = usize::try_from((len - copied).min(COPY_PIECE_BYTES)).unwrap_or(usize::MAX);
        match rustix::fs::copy_file_range(from, Some(&mut source), to, Some(&mut target), piece) {
            Ok(0) => break,
            Ok(count) => copied += count as u64,
            Err(Errno::INTR) => {}
            // The usual way reports what is really wrong, if anything is.
            Err(_) => break,
        }
        proceed()?;
    }
    Ok(copied)
}
#[cfg(not(target_os = "linux"))]
fn copy_range(
    _: &File,
    _: &File,
    _: u64,
    _: u64,
    _: &mut dyn FnMut() -> io::Result<()>,
) -> io::Result<u64> {
    Ok(0)
}

/// Copies through a buffer from `offset` to `end` or the end of the file, whichever comes first, and
/// says where that was.
fn copy_through(
    from: &File,
    to: &File,
    offset: u64,
    end: u64,
    scratch: &mut Vec<u8>,
    proceed: &mut dyn FnMut() -> io::Result<()>,
) -> io::Result<u64> {
    let mut offset = offset;
    while offset < end {
        scratch.clear();
        let piece = usize::try_from(end - offset)
            .unwrap_or(usize::MAX)
            .min(COPY_BUFFER_BYTES);
        read_piece(from, offset, piece, scratch)?;
        if scratch.is_empty() {
            break;
        }
        to.write_all_at(scratch, offset)?;
        offset += scratch.len() as u64;
        proceed()?;
    }
    Ok(offset)
}

/// One read of at most `len` bytes into `buffer`, which is empty.
fn read_piece(file: &File, offset: u64, len: usize, buffer: &mut Vec<u8>) -> io::Result<()> {
    buffer.reserve_exact(COPY_BUFFER_BYTES);
    loop {
        match rustix::io::pread(file, spare_capacity(buffer), offset) {
            Err(Errno::INTR) => {}
            Ok(_) => break buffer.truncate(len),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
