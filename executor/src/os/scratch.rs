//! Room for bytes outside of our own memory, wherever there are temporary files.

use std::fs::File;
use std::io;

/// A file of the temporary folder that only we can open, gone with this process: without a name
/// where files can be so, else with one that nobody can open and that is deleted when we end.
#[derive(Debug)]
pub struct Scratch {
    file: File,
}

impl Scratch {
    /// An empty one.
    pub fn new() -> io::Result<Scratch> {
        Ok(Scratch {
            file: tempfile::tempfile()?,
        })
    }

    /// Puts all of `bytes` at a position, which need not touch anything written before.
    pub fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        positioned::write_all(&self.file, at, bytes)
    }

    /// Fills all of `buffer` with what was written at a position.
    pub fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        positioned::read_exact(&self.file, at, buffer)
    }

    /// Gives back the room of a range, where the system can: here it is only used again.
    pub fn punch(&self, _at: u64, _len: u64) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(unix)]
mod positioned {
    use std::fs::File;
    use std::io;
    use std::os::unix::fs::FileExt as _;

    pub(super) fn write_all(file: &File, at: u64, bytes: &[u8]) -> io::Result<()> {
        file.write_all_at(bytes, at)
    }

    pub(super) fn read_exact(file: &File, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        file.read_exact_at(buffer, at)
    }
}

#[cfg(windows)]
mod positioned {
    use std::fs::File;
    use std::io;
    use std::os::windows::fs::FileExt as _;

    pub(super) fn write_all(file: &File, mut at: u64, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match file.seek_write(bytes, at)? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => {
                    at += count as u64;
                    bytes = bytes.get(count..).unwrap_or_default();
                }
            }
        }
        Ok(())
    }

    pub(super) fn read_exact(file: &File, mut at: u64, mut buffer: &mut [u8]) -> io::Result<()> {
        while !buffer.is_empty() {
            match file.seek_read(buffer, at)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => {
                    at += count as u64;
                    buffer = buffer.get_mut(count..).unwrap_or_default();
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_wherever_it_was_put() {
        let scratch = Scratch::new().unwrap();
        scratch.write_at(1 << 20, b"far").unwrap();
        scratch.write_at(3, b"near").unwrap();
        let mut read = [0; 3];
        scratch.read_at(1 << 20, &mut read).unwrap();
        assert_eq!(&read, b"far");
        scratch.read_at(4, &mut read).unwrap();
        assert_eq!(&read, b"ear");
        let error = scratch.read_at((1 << 20) + 1, &mut read).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        scratch.punch(0, 1 << 20).unwrap();
    }
}
