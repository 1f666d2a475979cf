//! Executors that listen.

use std::sync::Arc;
use std::time::Duration;

use farstep_transport::tls::{Distrust, Pin, TlsError};
use farstep_transport::websocket::{self, Options, Upgrade, UpgradeError, upgrade};
use futures_util::future::BoxFuture;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::proxy::ProxyError;
use super::reach::{Hops, ReachError, reach};
use super::socket::Socket;
use super::{
    Bearer, ConnectError, Dial, Fact, Hop, Passage, Proxies, Reached, Redial, Tasks, Trail, attach,
    guard,
};
use crate::client::Executor;
use crate::config::{NamedValues, Tls};
use crate::known::{Acquaintance, KeyKind, KnownError, Met};

type Wire = websocket::WebSocket<Socket>;

/// The hops of the straight way.
const HOPS: Hops = Hops {
    name: Hop::Name,
    tcp: Hop::Tcp,
};

/// An executor behind a websocket.
#[derive(Debug)]
pub(crate) struct WebSocket {
    pub(crate) target: Arc<Target>,
    /// For the handshake behind it.
    pub(crate) initialize_timeout: Duration,
}

/// A websocket to dial.
pub(crate) struct Target {
    pub(crate) url: String,
    pub(crate) bearer: Bearer,
    pub(crate) headers: NamedValues,
    /// Whom to believe and who we are; without it, whom the system believes.
    pub(crate) tls: Option<Tls>,
    pub(crate) proxies: Proxies,
    /// Whom it led to before.
    pub(crate) acquaintance: Acquaintance,
    /// For name, TCP, TLS and upgrade together, and for the proxy before them.
    pub(crate) connect_timeout: Duration,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target")
            .field("url", &shown(&self.url))
            .finish_non_exhaustive()
    }
}

impl Dial for WebSocket {
    fn dial<'a>(
        &'a self,
        tasks: &'a Tasks,
        trail: &'a mut Trail,
    ) -> BoxFuture<'a, Result<Executor, ConnectError>> {
        Box::pin(async move {
            let (wire, child) = self.target.redial(trail).await?;
            let way_back: Arc<dyn Redial<Wire>> = Arc::clone(&self.target) as _;
            let limit = self.initialize_timeout;
            attach(wire, child, limit, tasks, trail, Some(way_back)).await
        })
    }

    fn open<'a>(&'a self, trail: &'a mut Trail) -> BoxFuture<'a, Result<Passage, ConnectError>> {
        Box::pin(async move {
            let (wire, child) = self.target.redial(trail).await?;
            Ok(Passage {
                wire: Box::new(wire),
                child,
            })
        })
    }

    fn label(&self) -> String {
        shown(&self.target.url)
    }
}

impl Redial<Wire> for Target {
    fn redial<'a>(
        &'a self,
        trail: &'a mut Trail,
    ) -> BoxFuture<'a, Result<Reached<Wire>, ConnectError>> {
        Box::pin(async move {
            trail.begin(Hop::Secrets);
            let bearer = self.bearer.resolve().await;
            let bearer = bearer.map_err(|error| ConnectError::Secret {
                reason: error.to_string(),
            })?;
            let headers = self.headers(bearer.as_ref())?;
            trail.pass(None);
            let after = self.connect_timeout;
            trail.within(after);
            let opening = self.open(headers, Options::client(), trail);
            let opened = tokio::time::timeout(after, opening).await;
            let opened = opened.unwrap_or_else(|_| {
                Err(ConnectError::TimedOut {
                    url: shown(&self.url),
                    after,
                    hop: trail.under_way(),
                })
            });
            Ok((opened?, None))
        })
    }
}

impl Target {
    /// The same way without what is only for its end.
    pub(super) fn bare(&self) -> Target {
        Target {
            url: self.url.clone(),
            bearer: Bearer::None,
            headers: NamedValues::default(),
            tls: self.tls.clone(),
            proxies: self.proxies.clone(),
            acquaintance: self.acquaintance.clone(),
            connect_timeout: self.connect_timeout,
        }
    }

    pub(super) async fn open(
        &self,
        headers: HeaderMap,
        options: Options,
        trail: &mut Trail,
    ) -> Result<Wire, ConnectError> {
        let socket = self.socket_for(!headers.is_empty(), trail).await?;
        trail.begin(Hop::Upgrade);
        let asked = Upgrade {
            url: &self.url,
            headers,
            options,
        };
        let wire = upgrade(asked, socket).await;
        let wire = wire.map_err(|error| self.refused(error))?;
        trail.pass(None);
        Ok(wire)
    }

    /// A connection to where the URL leads, secured if it says so, for a request with a credential.
    pub(super) async fn socket(&self, trail: &mut Trail) -> Result<Socket, ConnectError> {
        self.socket_for(true, trail).await
    }

    async fn socket_for(
        &self,
        has_secrets: bool,
        trail: &mut Trail,
    ) -> Result<Socket, ConnectError> {
        let url = Url::parse(&self.url).map_err(|error| self.unusable(error.to_string()))?;
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or(80);
        let proxy = self.proxies.choose(&url).await;
        let proxy = proxy.map_err(|error| self.not_through("a proxy", &error))?;
        let socket = match &proxy {
            None => {
                let stream = reach(host, port, HOPS, trail).await;
                Socket::Tcp(stream.map_err(|error| self.out_of_reach(&error))?)
            }
            Some(proxy) => {
                if matches!(url.scheme(), "ws" | "http") && has_secrets && !proxy.is_here() {
                    return Err(self.unusable(format!(
                        "its token or headers would travel unencrypted through the proxy {}",
                        proxy.shown()
                    )));
                }
                let through = proxy.through(host, port, trail).await;
                let told = format!("the proxy `{}`", proxy.shown());
                through.map_err(|error| self.not_through(&told, &error))?
            }
        };
        match url.scheme() {
            "ws" | "http" => Ok(socket),
            "wss" | "https" => self.secure((host, port), socket, trail).await,
            _ => Err(self.unusable("the scheme must be ws or wss".to_owned())),
        }
    }

    async fn secure(
        &self,
        (host, port): (&str, u16),
        socket: Socket,
        trail: &mut Trail,
    ) -> Result<Socket, ConnectError> {
        trail.begin(Hop::Tls);
        let client = guard::client(self.tls.as_ref()).await;
        let client = client.map_err(|error| ConnectError::Tls {
            reason: error.to_string(),
        })?;
        let secured = socket.secure(&client, host).await;
        let (socket, facts) = secured.map_err(|error| self.insecure(&error))?;
        if !guard::is_anchored(self.tls.as_ref()) {
            self.recognise(format!("{host}:{port}"), facts.pin).await?;
        }
        trail.pass(Some(Fact::Tls(facts)));
        Ok(socket)
    }

    /// Whether who shows this key at `place` is who did before.
    async fn recognise(&self, place: String, pin: Option<Pin>) -> Result<(), ConnectError> {
        let unreadable = "the key in its certificate cannot be read";
        if !self.tls.as_ref().is_some_and(guard::is_first_use) {
            // An authority vouches for it, and a renewed certificate often has another key.
            let Some(pin) = pin else { return Ok(()) };
            let key = pin.to_string();
            match self.acquaintance.note(KeyKind::Tls, place, key).await {
                Ok(Met::Same | Met::New) => {}
                Ok(Met::Other(before)) => tracing::warn!(
                    url = shown(&self.url),
                    before = before.key,
                    now = %pin,
                    "the server has another key than before; an authority we believe vouches for it"
                ),
                Err(error) => tracing::debug!(%error, "the server's key is not kept"),
            }
            return Ok(());
        }
        let distrusted = |reason: String| ConnectError::Distrusted {
            url: shown(&self.url),
            reason,
            remedy: self.acquaintance.remedy(),
        };
        let pin = pin.ok_or_else(|| distrusted(unreadable.to_owned()))?;
        let met = self.acquaintance.meet(KeyKind::Tls, place, pin.to_string());
        match met.await.map_err(memory_error)? {
            Met::Same => Ok(()),
            Met::New => {
                tracing::warn!(
                    url = shown(&self.url),
                    key = %pin,
                    "the server's key is believed because it is the first"
                );
                Ok(())
            }
            Met::Other(before) => Err(distrusted(format!(
                "its key is {pin}, and the first time it was {}",
                before.key
            ))),
        }
    }

    fn headers(&self, bearer: Option<&SecretString>) -> Result<HeaderMap, ConnectError> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers.0 {
            let unusable = |()| self.unusable(format!("the header `{name}` cannot be sent"));
            let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unusable(()))?;
            let mut value = HeaderValue::from_str(value).map_err(|_| unusable(()))?;
            value.set_sensitive(true);
            headers.append(key, value);
        }
        if let Some(token) = bearer {
            let value = HeaderValue::try_from(format!("Bearer {}", token.expose_secret()));
            let mut value = value.map_err(|_| ConnectError::Secret {
                reason: "it holds characters that no header may carry".to_owned(),
            })?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        Ok(headers)
    }

    fn unusable(&self, reason: String) -> ConnectError {
        let url = shown(&self.url);
        ConnectError::Url { url, reason }
    }

    fn not_through(&self, proxy: &str, error: &ProxyError) -> ConnectError {
        ConnectError::Proxy {
            url: shown(&self.url),
            proxy: proxy.to_owned(),
            reason: error.to_string(),
            may_pass: error.may_pass(),
        }
    }

    fn out_of_reach(&self, error: &ReachError) -> ConnectError {
        ConnectError::Unreachable {
            url: shown(&self.url),
            reason: error.to_string(),
        }
    }

    fn refused(&self, error: UpgradeError) -> ConnectError {
        let url = shown(&self.url);
        match error {
            UpgradeError::Url(reason) => ConnectError::Url { url, reason },
            UpgradeError::Refused { reason, status } => ConnectError::Refused {
                url,
                reason,
                status,
            },
            UpgradeError::Io(error) => match TlsError::of(&error) {
                Some(error) => self.insecure(&error),
                None => ConnectError::Unreachable {
                    url,
                    reason: format!("the connection broke before the upgrade: {error}"),
                },
            },
        }
    }

    fn insecure(&self, error: &TlsError) -> ConnectError {
        let url = shown(&self.url);
        let reason = error.to_string();
        let remedy = match error {
            TlsError::Distrusted { distrust, pin } => remedy(distrust, *pin),
            TlsError::Refused(_) => {
                "name one it knows with client_cert_file and client_key_file in its `farstep.tls`"
                    .to_owned()
            }
            TlsError::NotTls => "use ws:// if it is meant to be unencrypted".to_owned(),
            TlsError::Settings(error) => {
                let reason = error.to_string();
                return ConnectError::Tls { reason };
            }
            TlsError::Failed(error) => {
                let reason = format!("TLS failed: {error}");
                return ConnectError::Unreachable { url, reason };
            }
        };
        ConnectError::Distrusted {
            url,
            reason,
            remedy,
        }
    }
}

pub(super) fn memory_error(error: KnownError) -> ConnectError {
    ConnectError::Memory {
        reason: error.to_string(),
    }
}

/// What to do about a certificate that is not believed. The fingerprint is told because that is
/// what somebody at the other machine can confirm.
fn remedy(distrust: &Distrust, pin: Option<Pin>) -> String {
    let pinned = pin.map_or_else(
        || "`pin_sha256` in its `farstep.tls`".to_owned(),
        |pin| {
            format!(
                "`pin_sha256 = [\"{pin}\"]` in its `farstep.tls`, once you know that this is \
                 its key"
            )
        },
    );
    match distrust {
        Distrust::SelfSigned => format!("write {pinned}"),
        Distrust::UnknownIssuer => {
            format!("name its authority with ca_file, or write {pinned}")
        }
        Distrust::WrongName { presented, .. } if presented.is_empty() => {
            format!("issue one with the name, or write {pinned} and no ca_file")
        }
        Distrust::WrongName { .. } => {
            "write the name it has as server_name in its `farstep.tls`, if that is whom you mean"
                .to_owned()
        }
        Distrust::OtherKey => {
            format!("ask whoever runs it; if its key was changed, write {pinned}")
        }
        Distrust::Expired { .. } => "renew it".to_owned(),
        Distrust::NotYet { .. } => "set the clock that is wrong".to_owned(),
        Distrust::Other(_) => format!("replace it, or write {pinned}"),
    }
}

/// A URL without what may be secret in it: credentials, query and fragment.
fn shown(url: &str) -> String {
    let Ok(mut url) = Url::parse(url) else {
        return "(not a url)".to_owned();
    };
    let had_secrets = !url.username().is_empty() || url.password().is_some();
    if had_secrets {
        // Both fail only for URLs without a host, which cannot carry credentials.
        let _ = url.set_username("");
        let _ = url.set_password(None);
    }
    url.set_query(None);
    url.set_fragment(None);
    let text = url.as_str();
    match url.path() {
        "/" => text.trim_end_matches('/').to_owned(),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_credentials_query_and_fragment() {
        for (url, expected) in [
            ("ws://127.0.0.1:8765", "ws://127.0.0.1:8765"),
            ("wss://me:hunter2@host/a?token=x#y", "wss://host/a"),
            ("wss://token@host", "wss://host"),
        ] {
            assert_eq!(shown(url), expected);
        }
    }
}
