//! How far an attempt to connect came, hop by hop. Whoever looks for a fault looks here.
//!
//! A trail is written while the attempt runs and belongs to whoever started it, so that an attempt
//! that is given up has still left it behind.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use farstep_transport::tls;
use tokio::sync::watch;
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
    /// Whether the executor that it names is the one we want.
    Key,
    /// The executor's answer to our key.
    Noise,
    /// The first exchange of the protocol.
    Initialize,
}

/// Which part of the way a hop belongs to, where there are several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Leg {
    /// The only one, and what all have in common.
    #[default]
    Whole,
    /// To the registry of a rendezvous.
    Registry,
    /// To its relay.
    Relay,
}

/// A hop, and on which part of the way it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub leg: Leg,
    pub hop: Hop,
}

impl Place {
    /// A word for programs.
    pub fn as_str(self) -> &'static str {
        match (self.leg, self.hop) {
            (Leg::Registry, Hop::Name) => "registry_dns",
            (Leg::Registry, Hop::Tcp) => "registry_tcp",
            (Leg::Registry, Hop::Tls) => "registry_tls",
            (Leg::Registry, Hop::ProxyName) => "registry_proxy_dns",
            (Leg::Registry, Hop::ProxyTcp) => "registry_proxy_tcp",
            (Leg::Registry, Hop::ProxyTls) => "registry_proxy_tls",
            (Leg::Registry, Hop::Proxy) => "registry_proxy",
            (Leg::Relay, Hop::Name) => "relay_dns",
            (Leg::Relay, Hop::Tcp) => "relay_tcp",
            (Leg::Relay, Hop::Tls) => "relay_tls",
            (Leg::Relay, Hop::Upgrade) => "relay_upgrade",
            (Leg::Relay, Hop::ProxyName) => "relay_proxy_dns",
            (Leg::Relay, Hop::ProxyTcp) => "relay_proxy_tcp",
            (Leg::Relay, Hop::ProxyTls) => "relay_proxy_tls",
            (Leg::Relay, Hop::Proxy) => "relay_proxy",
            (_, hop) => hop.as_str(),
        }
    }
}

/// What is being done there, for people.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.leg, self.hop) {
            // Says so itself.
            (Leg::Registry, Hop::Registry) => self.hop.fmt(f),
            (Leg::Registry, hop) => write!(f, "{hop}, on the way to the registry"),
            (Leg::Relay, hop) => write!(f, "{hop}, on the way to the relay"),
            (Leg::Whole, hop) => hop.fmt(f),
        }
    }
}

impl Hop {
    fn as_str(self) -> &'static str {
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
            Hop::Key => "executor_key",
            Hop::Noise => "noise",
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
            Hop::Key => "looking whether it is the executor's key",
            Hop::Noise => "waiting for the executor to let us in",
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
    /// The HTTP status of an answer.
    Status(u16),
    /// The fingerprint of the executor's key.
    Key(String),
    /// The other side's certificate, and how the connection is secured.
    Tls(tls::Facts),
    /// What came before the protocol and does not belong to it.
    Noise(String),
}

/// A hop that was tried.
#[derive(Clone, Debug)]
pub struct Tried {
    pub at: Place,
    pub took: Duration,
    /// False for at most the last one.
    pub passed: bool,
    pub fact: Option<Fact>,
}

/// How far an attempt that is under way has come, for whoever waits for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// What is being done.
    pub at: Option<Place>,
    /// What was in the way so far, in the words of whoever said so.
    pub because: Option<String>,
    /// When it will have come to an end, one way or the other.
    pub until: Option<Instant>,
    /// What somebody was told of it.
    pub(crate) told: Told,
}

/// How much of an attempt somebody was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Told {
    #[default]
    Nothing,
    /// What is being done.
    Place,
    /// What is in the way.
    Reason,
}

/// Where those who wait look.
pub(crate) type News = Arc<watch::Sender<Waiting>>;

/// The hops of one attempt.
#[derive(Debug, Default)]
pub(crate) struct Trail {
    tried: Vec<Tried>,
    under_way: Option<(Place, Instant)>,
    leg: Leg,
    news: Option<News>,
}

impl Trail {
    /// One that those who wait are told of.
    pub(crate) fn telling(news: &News) -> Trail {
        news.send_replace(Waiting::default());
        Trail {
            news: Some(Arc::clone(news)),
            ..Trail::default()
        }
    }

    pub(crate) fn begin(&mut self, hop: Hop) {
        let at = Place { leg: self.leg, hop };
        self.under_way = Some((at, Instant::now()));
        self.tell(|waiting| waiting.at = Some(at));
    }

    /// What follows is on this part of the way.
    pub(crate) fn on(&mut self, leg: Leg) {
        self.leg = leg;
    }

    /// What follows takes no longer.
    pub(crate) fn within(&mut self, limit: Duration) {
        let until = Instant::now().checked_add(limit);
        self.tell(|waiting| waiting.until = until);
    }

    /// It is tried once more from the beginning, because of this. Of what failed before only the
    /// last is told.
    pub(crate) fn again(&mut self, because: String) {
        self.tried.clear();
        self.under_way = None;
        self.leg = Leg::Whole;
        self.tell(|waiting| waiting.because = Some(because));
    }

    fn tell(&self, change: impl FnOnce(&mut Waiting)) {
        if let Some(news) = &self.news {
            news.send_modify(change);
        }
    }

    /// The hop that was begun is behind us.
    pub(crate) fn pass(&mut self, fact: Option<Fact>) {
        self.end(true, fact);
    }

    /// Where the attempt is, or stopped.
    pub(crate) fn under_way(&self) -> Option<Place> {
        self.under_way.map(|(at, _)| at)
    }

    /// Everything that was tried; the hop that was begun and not passed is the one that failed.
    pub(crate) fn finish(mut self) -> Vec<Tried> {
        self.end(false, None);
        self.tried
    }

    fn end(&mut self, passed: bool, fact: Option<Fact>) {
        if let Some((at, begun)) = self.under_way.take() {
            self.tried.push(Tried {
                at,
                took: begun.elapsed(),
                passed,
                fact,
            });
        }
    }
}
