//! From a host and a port to a TCP connection.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpStream;

use super::trail::{Fact, Hop, Trail};

/// How long one address is tried alone before the next is tried beside it (RFC 8305). A network
/// whose IPv6 leads nowhere must not cost the whole time limit.
const HEAD_START: Duration = Duration::from_millis(250);

/// Addresses tried at most: names with more have them for balance, not for reach.
const ADDRESSES_MAX: usize = 8;

/// Why nobody was reached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReachError {
    #[error("the name `{host}` cannot be looked up: {source}")]
    Name { host: String, source: io::Error },
    #[error("the name `{host}` has no address")]
    NoAddress { host: String },
    #[error("{source}")]
    Connect { source: io::Error },
}

/// Which hops of the trail these are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hops {
    pub(crate) name: Hop,
    pub(crate) tcp: Hop,
}

/// Connects to `host`: a name, or an address with or without brackets.
pub(crate) async fn reach(
    host: &str,
    port: u16,
    hops: Hops,
    trail: &mut Trail,
) -> Result<TcpStream, ReachError> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let addresses = match bare.parse::<IpAddr>() {
        Ok(address) => vec![SocketAddr::new(address, port)],
        Err(_) => {
            trail.begin(hops.name);
            let addresses = look_up(bare, port).await?;
            let told = addresses.iter().map(SocketAddr::ip).collect();
            trail.pass(Some(Fact::Addresses(told)));
            addresses
        }
    };
    trail.begin(hops.tcp);
    let failed = |source| ReachError::Connect { source };
    let stream = first(addresses).await.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    trail.pass(stream.peer_addr().ok().map(Fact::Peer));
    Ok(stream)
}

/// The addresses of a name; at least one.
pub(crate) async fn look_up(host: &str, port: u16) -> Result<Vec<SocketAddr>, ReachError> {
    let found = tokio::net::lookup_host((host, port)).await;
    let found = found.map_err(|source| ReachError::Name {
        host: host.to_owned(),
        source,
    })?;
    let addresses: Vec<SocketAddr> = found.take(ADDRESSES_MAX).collect();
    match addresses.is_empty() {
        true => Err(ReachError::NoAddress {
            host: host.to_owned(),
        }),
        false => Ok(addresses),
    }
}

/// The first connection that comes about. Each address has a head start over the next, which it
/// loses when it fails.
async fn first(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut waiting = addresses.into_iter();
    let mut trying = FuturesUnordered::new();
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        if let Some(address) = waiting.next() {
            trying.push(TcpStream::connect(address));
        }
        let mut head_start = pin!(tokio::time::sleep(HEAD_START));
        let is_last = waiting.len() == 0;
        tokio::select! {
            biased; // A connection beats trying another address.
            outcome = trying.next() => match outcome {
                Some(Ok(stream)) => return Ok(stream),
                Some(Err(error)) => failure = error,
                None => return Err(failure),
            },
            () = &mut head_start, if !is_last => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn an_address_that_refuses_gives_way_to_the_next_and_the_last_reason_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap();
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let closed = gone.local_addr().unwrap();
        drop(gone);
        let stream = first(vec![closed, open]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), open);
        let error = first(vec![closed, closed]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
