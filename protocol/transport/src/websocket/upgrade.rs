//! The calling end: an HTTP request over a byte stream that is there already, and its answer.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderMap;
use tokio_tungstenite::tungstenite::{self};

use super::{Options, WebSocket};

/// What to ask for.
#[derive(Clone)]
pub struct Upgrade<'a> {
    /// A `ws://` or `wss://` URL: its host, path and query are sent.
    pub url: &'a str,
    /// Sent beside those a websocket needs, which win.
    pub headers: HeaderMap,
    /// How the connection is set up.
    pub options: Options,
}

/// Headers may hold credentials, and so may the URL.
impl std::fmt::Debug for Upgrade<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upgrade")
            .field("headers", &self.headers.len())
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// Why there is no websocket.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// No request can be made of the URL.
    #[error("{0}")]
    Url(String),
    /// The stream broke.
    #[error("{0}")]
    Io(io::Error),
    /// Somebody answered, but not with a websocket.
    #[error("{reason}")]
    Refused {
        /// The HTTP status, or what was wrong with the answer.
        reason: String,
        /// The HTTP status, if there was one.
        status: Option<u16>,
    },
}

/// Opens a websocket over `stream`. Costs one round trip.
pub async fn upgrade<S>(upgrade: Upgrade<'_>, stream: S) -> Result<WebSocket<S>, UpgradeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let request = upgrade.url.into_client_request();
    let mut request = request.map_err(|error| UpgradeError::Url(error.to_string()))?;
    for (name, value) in &upgrade.headers {
        if !request.headers().contains_key(name) {
            request.headers_mut().append(name, value.clone());
        }
    }
    let config = Some(upgrade.options.config());
    match client_async_with_config(request, stream, config).await {
        Ok((inner, _response)) => Ok(WebSocket::over(inner, &upgrade.options)),
        Err(tungstenite::Error::Http(response)) => Err(UpgradeError::Refused {
            reason: format!("HTTP status {}", response.status()),
            status: Some(response.status().as_u16()),
        }),
        Err(tungstenite::Error::Io(source)) => Err(UpgradeError::Io(source)),
        Err(error) => Err(UpgradeError::Refused {
            reason: error.to_string(),
            status: None,
        }),
    }
}
