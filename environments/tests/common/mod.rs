//! What several suites need: the least an executor says, and a log to look into.

use std::sync::{Arc, Mutex, OnceLock};

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderMap;

/// The answer to `initialize`.
const WELCOME: &str = r#"{"id":1,"result":{"sessionId":"s","environmentInfo":{"shell":{"name":"sh","path":"/bin/sh"}}}}"#;

/// Upgrades, answers the handshake and stays until the other side goes.
#[expect(
    clippy::result_large_err,
    reason = "the callback's type is the library's"
)]
pub(crate) async fn greet<S>(stream: S, seen: Arc<Mutex<Vec<HeaderMap>>>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let callback = |request: &Request, response: Response| {
        let mut seen = seen.lock().expect("unpoisoned");
        seen.push(request.headers().clone());
        Ok(response)
    };
    let upgraded = tokio_tungstenite::accept_hdr_async(stream, callback).await;
    let Ok(mut wire) = upgraded else { return };
    if let Some(Ok(_)) = wire.next().await {
        let _ = wire.send(Message::text(WELCOME)).await;
        while let Some(Ok(_)) = wire.next().await {}
    }
}

/// Everything this process logs, at every level.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// The one log of this process.
    pub(crate) fn install() -> Log {
        static LOG: OnceLock<Log> = OnceLock::new();
        LOG.get_or_init(|| {
            let log = Log::default();
            let writer = log.clone();
            tracing_subscriber::fmt()
                .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
                .with_ansi(false)
                .with_writer(move || writer.clone())
                .init();
            log
        })
        .clone()
    }

    pub(crate) fn text(&self) -> String {
        let bytes = self.0.lock().expect("unpoisoned");
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("unpoisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
