//! Room for bytes outside of our own memory, on Linux.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{FallocateFlags, MemfdFlags, Mode};
use rustix::io::Errno;

/// A file that has no name anywhere and is gone with this process. It lives in the kernel's memory:
/// nothing of it reaches a disk unless the machine swaps.
#[derive(Debug)]
pub struct Scratch {
    fd: OwnedFd,
}

impl Scratch {
    /// An empty one.
    pub fn new() -> io::Result<Scratch> {
        let name = c"farstep-scratch";
        let flags = MemfdFlags::CLOEXEC;
        let fd = match rustix::fs::memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
            // Kernels before 6.3 do not know the last flag.
            Err(Errno::INVAL) => rustix::fs::memfd_create(name, flags)?,
            made => made?,
        };
        // Whoever finds it in /proc finds it closed, should we ever be open to be looked into.
        rustix::fs::fchmod(&fd, Mode::RUSR | Mode::WUSR)?;
        Ok(Scratch { fd })
    }

    /// Puts all of `bytes` at a position, which need not touch anything written before.
    pub fn write_at(&self, mut at: u64, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match rustix::io::pwrite(&self.fd, bytes, at) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    at += count as u64;
                    bytes = bytes.get(count..).unwrap_or_default();
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Fills all of `buffer` with what was written at a position.
    pub fn read_at(&self, mut at: u64, mut buffer: &mut [u8]) -> io::Result<()> {
        while !buffer.is_empty() {
            match rustix::io::pread(&self.fd, &mut *buffer, at) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    at += count as u64;
                    buffer = buffer.get_mut(count..).unwrap_or_default();
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Gives back the room of a range. What was there is gone.
    pub fn punch(&self, at: u64, len: u64) -> io::Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(rustix::fs::fallocate(&self.fd, flags, at, len)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_wherever_it_was_put() {
        let scratch = Scratch::new().unwrap();
        scratch.write_at(1 << 30, b"far").unwrap();
        scratch.write_at(3, b"near").unwrap();
        let mut read = [0; 3];
        scratch.read_at(1 << 30, &mut read).unwrap();
        assert_eq!(&read, b"far");
        scratch.read_at(4, &mut read).unwrap();
        assert_eq!(&read, b"ear");
        let error = scratch.read_at((1 << 30) + 1, &mut read).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn what_was_given_back_takes_no_room_and_the_file_has_no_name_and_one_reader() {
        let scratch = Scratch::new().unwrap();
        let stat = || rustix::fs::fstat(&scratch.fd).unwrap();
        scratch.write_at(0, &[7; 64 * 1024]).unwrap();
        assert_eq!(stat().st_blocks * 512, 64 * 1024);
        scratch.punch(0, 64 * 1024).unwrap();
        assert_eq!((stat().st_blocks, stat().st_nlink), (0, 0));
        assert_eq!(stat().st_mode & 0o7777, 0o600);
        let flags = rustix::io::fcntl_getfd(&scratch.fd).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    }
}
