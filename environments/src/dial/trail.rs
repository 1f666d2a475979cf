//! How far an attempt to connect came, hop by hop. Whoever looks for a fault looks here.
//!
//! A trail is written while the attempt runs and belongs to whoever started it, so that an attempt
//! that is given up has still left it behind.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use farstep_transport::tls;
use tokio::time::Instant;

/// One thing that must work on the way to an executor, in the order in which they are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// Reading what the configuration names: tokens, certificates, keys.
    Secrets,
    /// Starting a program.
    Spawn,
    /// The name of the proxy's host to addresses.
    ProxyName,
    /// A connection to one of them.
    ProxyTcp,
    /// Securing that.
    ProxyTls,
    /// The proxy's answer.
    Proxy,
    /// The name of the executor's host to addresses.
    Name,
    /// A connection to one of them.
    Tcp,
    /// Securing that.
    Tls,
    /// The answer to the websocket's request.
    Upgrade,
    /// Logging in, and putting an executor there.
    Ssh,
    /// The answer of a rendezvous' registry.
    Registry,
    /// The executor's answer to our key.
    Stream,
    /// The first exchange of the protocol.
    Initialize,
}

impl Hop {
    /// A word for programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Hop::Secrets => "secrets",
            Hop::Spawn => "spawn",
            Hop::ProxyName => "proxy_dns",
            Hop::ProxyTcp => "proxy_tcp",
            Hop::ProxyTls => "proxy_tls",
            Hop::Proxy => "proxy",
            Hop::Name => "dns",
            Hop::Tcp => "tcp",
            Hop::Tls => "tls",
            Hop::Upgrade => "upgrade",
            Hop::Ssh => "ssh",
            Hop::Registry => "registry",
            Hop::Stream => "stream",
            Hop::Initialize => "initialize",
        }
    }
}

/// What is being done there, for people.
impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Hop::Secrets => "reading secrets",
            Hop::Spawn => "starting the program",
            Hop::ProxyName => "looking up the proxy's name",
            Hop::ProxyTcp => "connecting to the proxy",
            Hop::ProxyTls => "securing the connection to the proxy",
            Hop::Proxy => "waiting for the proxy's answer",
            Hop::Name => "looking up the name",
            Hop::Tcp => "connecting",
            Hop::Tls => "securing the connection",
            Hop::Upgrade => "waiting for the websocket's answer",
            Hop::Ssh => "logging in and putting the executor there",
            Hop::Registry => "waiting for the registry's answer",
            Hop::Stream => "waiting for the executor to let us in",
            Hop::Initialize => "waiting for the executor's first answer",
        })
    }
}

/// What was learned at a hop. Holds no secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// Where the name leads.
    Addresses(Vec<IpAddr>),
    /// Who was connected to.
    Peer(SocketAddr),
    /// Which proxy let us through.
    Proxy(String),
    /// The other side's certificate, and how the connection is secured.
    Tls(tls::Facts),
    /// What came before the protocol and does not belong to it.
    Noise(String),
}

/// A hop that was tried.
#[derive(Clone, Debug)]
pub struct Tried {
    pub hop: Hop,
    pub took: Duration,
    /// False for at most the last one.
    pub passed: bool,
    pub fact: Option<Fact>,
}

/// The hops of one attempt.
#[derive(Debug, Default)]
pub(crate) struct Trail {
    tried: Vec<Tried>,
    under_way: Option<(Hop, Instant)>,
}

impl Trail {
    pub(crate) fn begin(&mut self, hop: Hop) {
        self.under_way = Some((hop, Instant::now()));
    }

    /// The hop that was begun is behind us.
    pub(crate) fn pass(&mut self, fact: Option<Fact>) {
        self.end(true, fact);
    }

    /// Where the attempt is, or stopped.
    pub(crate) fn under_way(&self) -> Option<Hop> {
        self.under_way.map(|(hop, _)| hop)
    }

    /// Everything that was tried; the hop that was begun and not passed is the one that failed.
    pub(crate) fn finish(mut self) -> Vec<Tried> {
        self.end(false, None);
        self.tried
    }

    fn end(&mut self, passed: bool, fact: Option<Fact>) {
        if let Some((hop, begun)) = self.under_way.take() {
            self.tried.push(Tried {
                hop,
                took: begun.elapsed(),
                passed,
                fact,
            });
        }
    }
}
