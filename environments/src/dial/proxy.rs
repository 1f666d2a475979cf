//! Proxies on the way to a websocket: which one, and how to get through it.
//!
//! ```text
//!   the entry's `proxy` ─┐ none? HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, less NO_PROXY
//!                        ▼                                    none? the system's settings
//!   name, TCP (, TLS) to the proxy ─▶ CONNECT or SOCKS5 ─▶ the bare way to the executor
//! ```
//!
//! An address of this machine is reached straight whatever the variables say: a proxy elsewhere
//! would take it for its own. Only an entry that names a proxy itself goes through it to there.

use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll};

use bytes::Bytes;
use farstep_transport::tls::TlsError;
use futures_util::future::{Ready, ready};
use http::header::{HOST, PROXY_AUTHORIZATION};
use http::{Request, StatusCode, Uri};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::client::legacy::connect::proxy::SocksV5;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use secrecy::ExposeSecret as _;
use tokio_util::task::AbortOnDropHandle;
use tower_service::Service;
use url::{Host, Url};

use super::guard::{self, GuardError};
use super::reach::{Hops, ReachError, look_up, reach};
use super::secret::{self, SecretError, Variable};
use super::socket::Socket;
use super::trail::{Fact, Hop, Trail};
use crate::config;

/// What an entry says about proxies, and where else to look.
#[derive(Clone, Debug)]
pub(crate) struct Proxies {
    pub(crate) configured: Option<config::Proxy>,
    pub(crate) variable: Variable,
}

/// A proxy to go through.
#[derive(Debug)]
pub(crate) struct Proxy {
    intercept: Intercept,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Http,
    Https,
    Socks {
        /// Whether the proxy looks the executor's name up, and not we.
        names: bool,
    },
}

/// Why there is no way through a proxy.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyError {
    #[error(
        "{origin} names no proxy that can be used; write http://, https://, socks5:// or \
         socks5h:// and its host and port"
    )]
    Unusable { origin: String },
    #[error("its URL is not to be had: {0}")]
    Secret(SecretError),
    #[error("it cannot be reached: {0}")]
    Reach(ReachError),
    #[error("it is not trusted: {0}")]
    Tls(TlsError),
    #[error("it is not trusted: {0}")]
    Guard(GuardError),
    #[error("it answered {status}{}", advice(*.status))]
    Refused { status: StatusCode },
    #[error("it broke off: {0}")]
    Broken(String),
    #[error("it refused: {0}")]
    Socks(String),
    #[error("{0}")]
    Target(ReachError),
}

impl ProxyError {
    /// Whether another attempt may succeed without anybody changing anything.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            ProxyError::Reach(_)
            | ProxyError::Broken(_)
            | ProxyError::Socks(_)
            | ProxyError::Target(_) => true,
            ProxyError::Refused { status } => status.is_server_error(),
            ProxyError::Unusable { .. }
            | ProxyError::Secret(_)
            | ProxyError::Tls(_)
            | ProxyError::Guard(_) => false,
        }
    }
}

fn advice(status: StatusCode) -> &'static str {
    match status {
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
            "; put user and password into its URL, in the variable that names it"
        }
        StatusCode::FORBIDDEN | StatusCode::METHOD_NOT_ALLOWED => {
            "; it does not let us reach that host or port"
        }
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            "; it could not reach the executor itself"
        }
        _ => "",
    }
}

impl Proxies {
    /// The proxy for `target`, if there is one.
    pub(crate) async fn choose(&self, target: &Url) -> Result<Option<Proxy>, ProxyError> {
        let destination = destination(target)?;
        let chosen = match &self.configured {
            Some(config::Proxy::Direct) => None,
            Some(config::Proxy::Url(url)) => Some(named(url, &destination, "`farstep.proxy`")?),
            Some(config::Proxy::From(source)) => {
                let url = secret::read(source, self.variable).await;
                let url = url.map_err(ProxyError::Secret)?;
                Some(named(url.expose_secret(), &destination, "`farstep.proxy`")?)
            }
            None if is_here(target) => None,
            None => self.surrounding(&destination, target.scheme() == "wss")?,
        };
        chosen.map(Proxy::new).transpose()
    }

    fn surrounding(
        &self,
        destination: &Uri,
        secure: bool,
    ) -> Result<Option<Intercept>, ProxyError> {
        let own = match secure {
            true => ["HTTPS_PROXY", "https_proxy"],
            false => ["HTTP_PROXY", "http_proxy"],
        };
        let names = own.into_iter().chain(["ALL_PROXY", "all_proxy"]);
        let set = |name: &'static str| {
            let value = (self.variable)(name).filter(|value| !value.is_empty())?;
            Some((name, value.to_string_lossy().trim().to_owned()))
        };
        let Some((name, url)) = names.into_iter().find_map(set) else {
            return Ok(Matcher::from_system().intercept(destination));
        };
        named(&url, destination, &format!("the variable {name}"))?;
        let except = ["NO_PROXY", "no_proxy"].into_iter().find_map(set);
        let except = except.map(|(_, value)| value).unwrap_or_default();
        let matcher = Matcher::builder().all(url).no(except).build();
        Ok(matcher.intercept(destination))
    }
}

fn named(url: &str, destination: &Uri, origin: &str) -> Result<Intercept, ProxyError> {
    let matcher = Matcher::builder().all(url.to_owned()).build();
    let intercept = matcher.intercept(destination);
    intercept.ok_or_else(|| ProxyError::Unusable {
        origin: origin.to_owned(),
    })
}

/// The target as proxies know it.
fn destination(target: &Url) -> Result<Uri, ProxyError> {
    let scheme = match target.scheme() {
        "wss" => "https",
        _ => "http",
    };
    let host = target.host_str().unwrap_or_default();
    let port = target.port_or_known_default().unwrap_or(80);
    let uri = format!("{scheme}://{host}:{port}/").parse();
    uri.map_err(|_| ProxyError::Broken(format!("`{host}` is no host for a proxy")))
}

fn is_here(target: &Url) -> bool {
    match target.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

impl Proxy {
    fn new(intercept: Intercept) -> Result<Proxy, ProxyError> {
        let kind = match intercept.uri().scheme_str() {
            Some("http") => Kind::Http,
            Some("https") => Kind::Https,
            Some("socks5") => Kind::Socks { names: false },
            Some("socks5h") => Kind::Socks { names: true },
            other => {
                let origin = format!("a proxy with `{}`", other.unwrap_or_default());
                return Err(ProxyError::Unusable { origin });
            }
        };
        Ok(Proxy { intercept, kind })
    }

    /// For people: without user and password.
    pub(crate) fn shown(&self) -> String {
        self.intercept
            .uri()
            .to_string()
            .trim_end_matches('/')
            .to_owned()
    }

    /// Whether nobody between us and the proxy could read along.
    pub(crate) fn is_here(&self) -> bool {
        Url::parse(&self.intercept.uri().to_string()).is_ok_and(|url| is_here(&url))
    }

    /// The way through to `host` and `port`.
    pub(crate) async fn through(
        &self,
        host: &str,
        port: u16,
        trail: &mut Trail,
    ) -> Result<Socket, ProxyError> {
        let socket = self.reach(trail).await?;
        match self.kind {
            Kind::Http | Kind::Https => self.connect(socket, host, port, trail).await,
            Kind::Socks { names } => self.socks(socket, host, port, names, trail).await,
        }
    }

    async fn reach(&self, trail: &mut Trail) -> Result<Socket, ProxyError> {
        let uri = self.intercept.uri();
        let host = uri.host().unwrap_or_default();
        let port = uri.port_u16().unwrap_or(match self.kind {
            Kind::Http => 80,
            Kind::Https => 443,
            Kind::Socks { .. } => 1080,
        });
        let hops = Hops {
            name: Hop::ProxyName,
            tcp: Hop::ProxyTcp,
        };
        let stream = reach(host, port, hops, trail).await;
        let socket = Socket::Tcp(stream.map_err(ProxyError::Reach)?);
        if self.kind != Kind::Https {
            return Ok(socket);
        }
        trail.begin(Hop::ProxyTls);
        let client = guard::client(None).await.map_err(ProxyError::Guard)?;
        let (socket, facts) = socket
            .secure(&client, host)
            .await
            .map_err(ProxyError::Tls)?;
        trail.pass(Some(Fact::Tls(facts)));
        Ok(socket)
    }

    async fn connect(
        &self,
        socket: Socket,
        host: &str,
        port: u16,
        trail: &mut Trail,
    ) -> Result<Socket, ProxyError> {
        let broken = |error: hyper::Error| ProxyError::Broken(error.to_string());
        trail.begin(Hop::Proxy);
        let (mut sender, connection) = http1::handshake(TokioIo::new(socket))
            .await
            .map_err(broken)?;
        let connection = tokio::spawn(connection.with_upgrades());
        let _connection = AbortOnDropHandle::new(connection);
        let authority = format!("{host}:{port}");
        let mut request = Request::connect(&authority).header(HOST, &authority);
        if let Some(credentials) = self.intercept.basic_auth() {
            request = request.header(PROXY_AUTHORIZATION, credentials);
        }
        let request = request.body(Empty::<Bytes>::new());
        let request = request.map_err(|error| ProxyError::Broken(error.to_string()))?;
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        if !status.is_success() {
            return Err(ProxyError::Refused { status });
        }
        let through = hyper::upgrade::on(response).await.map_err(broken)?;
        let parts = through.downcast::<TokioIo<Socket>>();
        let parts = parts.map_err(|_| ProxyError::Broken("its connection is gone".to_owned()))?;
        if !parts.read_buf.is_empty() {
            // An executor never speaks first, so these are not its words.
            let reason = "it sent more than its answer".to_owned();
            return Err(ProxyError::Broken(reason));
        }
        trail.pass(Some(Fact::Proxy(self.shown())));
        Ok(parts.io.into_inner())
    }

    async fn socks(
        &self,
        socket: Socket,
        host: &str,
        port: u16,
        names: bool,
        trail: &mut Trail,
    ) -> Result<Socket, ProxyError> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let mut host = host.to_owned();
        if !names && bare.parse::<IpAddr>().is_err() {
            trail.begin(Hop::Name);
            let found = look_up(bare, port).await.map_err(ProxyError::Target)?;
            host = match found.first().map(SocketAddr::ip) {
                Some(IpAddr::V6(address)) => format!("[{address}]"),
                Some(IpAddr::V4(address)) => address.to_string(),
                None => host,
            };
            let told = found.iter().map(SocketAddr::ip).collect();
            trail.pass(Some(Fact::Addresses(told)));
        }
        trail.begin(Hop::Proxy);
        let destination = format!("http://{host}:{port}/").parse::<Uri>();
        let destination = destination.map_err(|error| ProxyError::Broken(error.to_string()))?;
        let mut socks = SocksV5::new(self.intercept.uri().clone(), There(Some(socket)));
        if let Some((user, password)) = self.intercept.raw_auth() {
            socks = socks.with_auth(user.to_owned(), password.to_owned());
        }
        let socket = socks.call(destination).await;
        let socket = socket.map_err(|error| {
            let told = error.to_string();
            ProxyError::Socks(told.trim_start_matches("SOCKS error: ").to_owned())
        })?;
        trail.pass(Some(Fact::Proxy(self.shown())));
        Ok(socket.into_inner())
    }
}

/// A connection that is there already, for a library that wants to make it itself.
struct There(Option<Socket>);

impl Service<Uri> for There {
    type Response = TokioIo<Socket>;
    type Error = std::io::Error;
    type Future = Ready<Result<TokioIo<Socket>, std::io::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), std::io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let taken = self.0.take().map(TokioIo::new);
        ready(taken.ok_or_else(|| std::io::ErrorKind::NotConnected.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SecretSource;

    async fn chosen(
        url: &str,
        configured: Option<config::Proxy>,
        variable: Variable,
    ) -> Result<Option<String>, String> {
        let proxies = Proxies {
            configured,
            variable,
        };
        let chosen = proxies.choose(&Url::parse(url).unwrap()).await;
        let shown = |proxy: Option<Proxy>| proxy.map(|proxy| proxy.shown());
        chosen.map(shown).map_err(|error| error.to_string())
    }

    fn variables(name: &str) -> Option<std::ffi::OsString> {
        let value = match name {
            "https_proxy" => "http://me:hunter2@secure:3128",
            "ALL_PROXY" => "socks5h://all",
            "NO_PROXY" => "internal.example, 10.0.0.0/8",
            "BAD" | "HTTP_PROXY" => "",
            _ => return None,
        };
        Some(value.into())
    }

    #[tokio::test]
    async fn the_variables_choose_by_scheme_and_except_what_they_name_and_this_machine() {
        for (url, expected) in [
            ("wss://devbox.example", Some("http://secure:3128")),
            ("ws://devbox.example", Some("socks5h://all")),
            ("wss://box.internal.example", None),
            ("wss://10.1.2.3:8443", None),
            ("wss://localhost:8443", None),
            ("ws://127.0.0.2", None),
            ("wss://[::1]:8443", None),
        ] {
            let proxy = chosen(url, None, variables).await.unwrap();
            assert_eq!(proxy.as_deref(), expected, "{url}");
        }
    }

    #[tokio::test]
    async fn an_entry_has_the_last_word() {
        let url = "wss://10.1.2.3:8443";
        let direct = Some(config::Proxy::Direct);
        let other = "wss://devbox.example";
        assert_eq!(chosen(other, direct, variables).await, Ok(None));
        let named = Some(config::Proxy::Url("socks5://near:1".to_owned()));
        let near = Ok(Some("socks5://near:1".to_owned()));
        assert_eq!(chosen(url, named, variables).await, near);
        let from = |name: &str| Some(config::Proxy::From(SecretSource::Env(name.to_owned())));
        let secure = Ok(Some("http://secure:3128".to_owned()));
        assert_eq!(chosen(url, from("https_proxy"), variables).await, secure);
        let missing = chosen(url, from("BAD"), variables).await.unwrap_err();
        assert!(missing.contains("`BAD` is not set"), "{missing}");
    }

    #[tokio::test]
    async fn a_variable_that_names_no_proxy_is_not_passed_over() {
        let bad = |name: &str| (name == "ALL_PROXY").then(|| "ftp://me:hunter2@old".into());
        let told = chosen("wss://devbox.example", None, bad).await.unwrap_err();
        assert!(told.contains("the variable ALL_PROXY"), "{told}");
        assert!(!told.contains("hunter2"), "{told}");
    }
}
