//! What a socket is told beyond the portable options.

use std::io;

use tokio::net::TcpStream;

/// Nothing: the system's own bound has to do.
pub fn limit_unsent(_tcp: &TcpStream, _bytes: u32) -> io::Result<()> {
    Ok(())
}

/// Whether [`read_now`] ever finds anything.
pub const READS_NOW: bool = false;

/// Nothing: the runtime will know.
pub fn read_now(_tcp: &TcpStream, _room: &mut [u8]) -> io::Result<usize> {
    Err(io::ErrorKind::WouldBlock.into())
}
