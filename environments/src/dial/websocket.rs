//! Executors that listen.

use std::sync::Arc;
use std::time::Duration;

use farstep_transport::DialError;
use farstep_transport::websocket::{self, Dial as Dialled, Options, dial};
use futures_util::future::BoxFuture;
use secrecy::ExposeSecret;
use url::Url;

use super::{Bearer, ConnectError, Dial, Redial, Tasks, attach};
use crate::client::Executor;

type Socket = websocket::WebSocket<websocket::Socket>;

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
    /// For name, TCP, TLS and upgrade together.
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
    fn dial<'a>(&'a self, tasks: &'a Tasks) -> BoxFuture<'a, Result<Executor, ConnectError>> {
        Box::pin(async move {
            let wire = self.target.redial().await?;
            let way_back: Arc<dyn Redial<Socket>> = Arc::clone(&self.target) as _;
            attach(wire, None, self.initialize_timeout, tasks, Some(way_back)).await
        })
    }

    fn label(&self) -> String {
        shown(&self.target.url)
    }
}

impl Redial<Socket> for Target {
    fn redial(&self) -> BoxFuture<'_, Result<Socket, ConnectError>> {
        Box::pin(async move {
            let bearer = self.bearer.resolve().await;
            let bearer = bearer.map_err(|error| ConnectError::Secret {
                reason: error.to_string(),
            })?;
            let target = Dialled {
                url: &self.url,
                bearer: bearer.as_ref().map(ExposeSecret::expose_secret),
                timeout: self.connect_timeout,
                options: Options::client(),
            };
            dial(target).await.map_err(|error| self.explain(error))
        })
    }
}

impl Target {
    fn explain(&self, error: DialError) -> ConnectError {
        let url = shown(&self.url);
        match error {
            DialError::Url { reason, .. } => ConnectError::Url { url, reason },
            DialError::Bearer => ConnectError::Url {
                url,
                reason: DialError::Bearer.to_string(),
            },
            DialError::Connect { source, .. } => ConnectError::Unreachable {
                url,
                reason: source.to_string(),
            },
            DialError::Tls { reason, .. } => ConnectError::Unreachable { url, reason },
            DialError::Refused { reason, status, .. } => ConnectError::Refused {
                url,
                reason,
                status,
            },
            DialError::TimedOut { after, .. } => ConnectError::TimedOut { url, after },
        }
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
