//! What a socket is told beyond the portable options.

use std::io;

use tokio::net::TcpStream;

/// Bounds what the kernel holds unsent of a connection: beyond it the socket takes nothing more
/// until something has left.
#[cfg(target_os = "linux")]
pub fn limit_unsent(tcp: &TcpStream, bytes: u32) -> io::Result<()> {
    socket2::SockRef::from(tcp).set_tcp_notsent_lowat(bytes)
}

/// Elsewhere the kernel's own bound has to do.
#[cfg(not(target_os = "linux"))]
pub fn limit_unsent(_tcp: &TcpStream, _bytes: u32) -> io::Result<()> {
    Ok(())
}

/// Whether [`read_now`] ever finds anything.
pub const READS_NOW: bool = true;

/// Reads what is there, whether the runtime knows of it or not.
pub fn read_now(tcp: &TcpStream, room: &mut [u8]) -> io::Result<usize> {
    std::io::Read::read(&mut &*socket2::SockRef::from(tcp), room)
}
