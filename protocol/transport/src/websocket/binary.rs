//! The same websocket for those who carry bytes and no texts.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::Message;

use super::{WebSocket, broken};
use crate::WireError;

/// Binary messages both ways. A text is passed over: peers drop it and go on.
#[derive(Debug)]
pub struct Binary<S> {
    websocket: WebSocket<S>,
    notice: Option<Notice>,
}

/// One text that is not passed over, and whether it came.
#[derive(Clone, Debug)]
pub struct Notice {
    text: &'static str,
    came: Arc<AtomicBool>,
}

impl Notice {
    /// Of that text.
    pub fn new(text: &'static str) -> Notice {
        let came = Arc::default();
        Notice { text, came }
    }

    /// Whether it came.
    pub fn came(&self) -> bool {
        self.came.load(Ordering::Relaxed)
    }

    fn hear(&self, text: &str) {
        if text == self.text {
            self.came.store(true, Ordering::Relaxed);
        }
    }
}

impl<S> Binary<S> {
    /// Has it listen for a text. What came before is not heard.
    #[must_use]
    pub fn noticing(mut self, notice: Notice) -> Binary<S> {
        self.notice = Some(notice);
        self
    }
}

impl<S> From<WebSocket<S>> for Binary<S> {
    fn from(websocket: WebSocket<S>) -> Binary<S> {
        Binary {
            websocket,
            notice: None,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for Binary<S> {
    type Item = Result<Bytes, WireError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            match ready!(this.websocket.poll_message(cx)) {
                Some(Ok(Message::Binary(bytes))) => return Poll::Ready(Some(Ok(bytes))),
                Some(Ok(Message::Text(text))) => {
                    if let Some(notice) = &this.notice {
                        notice.hear(&text);
                    }
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Sink<Bytes> for Binary<S> {
    type Error = WireError;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        let inner = &mut self.get_mut().websocket.inner;
        Pin::new(inner).poll_ready(cx).map_err(broken)
    }

    fn start_send(self: Pin<&mut Self>, bytes: Bytes) -> Result<(), WireError> {
        let inner = &mut self.get_mut().websocket.inner;
        let message = Message::Binary(bytes);
        Pin::new(inner).start_send(message).map_err(broken)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        self.get_mut().websocket.poll_written(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        let inner = &mut self.get_mut().websocket.inner;
        Pin::new(inner).poll_close(cx).map_err(broken)
    }
}
