//! One message per line, as on standard input and output (`exec-protocol` section 1.3).

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::{MESSAGE_BYTES_MAX, Text, Wire, WireError};

/// How much is read at once. The buffer grows only for lines that are longer.
const READ_BYTES: usize = 16 * 1024;
/// With this much unwritten the sink is not ready, so that the sender waits.
const UNWRITTEN_BYTES_MAX: usize = 128 * 1024;
/// A buffer that grew beyond this for one long line is given back when it is empty.
const KEPT_BYTES_MAX: usize = 256 * 1024;

/// Messages as lines over a reader and a writer.
#[derive(Debug)]
pub struct Lines<R, W> {
    reader: R,
    writer: W,
    unread: BytesMut,
    /// How far `unread` was searched for a line end already.
    searched: usize,
    ended: bool,
    unwritten: BytesMut,
    signs: Option<Signs>,
}

/// How long a peer that gives signs of life may be silent.
#[derive(Debug)]
struct Signs {
    within: Duration,
    /// Runs from the last byte that came, once there were signs.
    silence: Option<Pin<Box<Sleep>>>,
}

impl Signs {
    fn heard(&mut self) {
        if let Some(silence) = &mut self.silence {
            silence
                .as_mut()
                .reset(tokio::time::Instant::now() + self.within);
        }
    }
}

impl<R, W> Lines<R, W> {
    /// Lines read from `reader` and written to `writer`.
    pub fn new(reader: R, writer: W) -> Self {
        Lines {
            reader,
            writer,
            unread: BytesMut::new(),
            searched: 0,
            ended: false,
            unwritten: BytesMut::new(),
            signs: None,
        }
    }

    /// Takes a peer for gone that gave signs of life and was then silent for so long. Without it a
    /// peer may be silent for ever.
    #[must_use]
    pub fn with_signs(mut self, within: Duration) -> Self {
        self.signs = Some(Signs {
            within,
            silence: None,
        });
        self
    }

    /// The next line that is not blank, if it is complete.
    fn take_line(&mut self) -> Option<Result<Text, WireError>> {
        loop {
            let rest = self.unread.get(self.searched..).unwrap_or_default();
            let line = match rest.iter().position(|byte| *byte == b'\n') {
                Some(at) => {
                    let line = self.unread.split_to(self.searched + at);
                    self.unread.advance(1);
                    self.searched = 0;
                    line
                }
                None if self.ended && !self.unread.is_empty() => {
                    self.searched = 0;
                    self.unread.split()
                }
                None => {
                    self.searched = self.unread.len();
                    if self.searched > MESSAGE_BYTES_MAX {
                        return Some(Err(WireError::TooLong {
                            limit: MESSAGE_BYTES_MAX,
                        }));
                    }
                    return None;
                }
            };
            if line.len() > MESSAGE_BYTES_MAX {
                return Some(Err(WireError::TooLong {
                    limit: MESSAGE_BYTES_MAX,
                }));
            }
            let content = line.strip_suffix(b"\r").map_or(line.len(), <[u8]>::len);
            let mut line = line.freeze();
            line.truncate(content);
            if line.iter().any(|byte| !byte.is_ascii_whitespace()) {
                return Some(Text::try_from(line).map_err(|_| WireError::LineNotText));
            }
        }
    }
}

impl<R: AsyncRead + Unpin, W: Unpin> Stream for Lines<R, W> {
    type Item = Result<Text, WireError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Some(line) = this.take_line() {
                // After an error the place of the next line is unknown.
                this.ended |= line.is_err();
                return Poll::Ready(Some(line));
            }
            if this.ended {
                return Poll::Ready(None);
            }
            let mut space = [std::mem::MaybeUninit::uninit(); READ_BYTES];
            let mut buffer = ReadBuf::uninit(&mut space);
            if Pin::new(&mut this.reader)
                .poll_read(cx, &mut buffer)?
                .is_pending()
            {
                return this.poll_silence(cx);
            }
            if let Some(signs) = &mut this.signs {
                signs.heard();
            }
            this.ended = buffer.filled().is_empty();
            this.unread.extend_from_slice(buffer.filled());
        }
    }
}

impl<R, W> Lines<R, W> {
    /// Waits until it has been silent for too long, if that can be.
    fn poll_silence<T>(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T, WireError>>> {
        let Some(signs) = &mut self.signs else {
            return Poll::Pending;
        };
        let Some(silence) = &mut signs.silence else {
            return Poll::Pending;
        };
        ready!(silence.as_mut().poll(cx));
        self.ended = true;
        let after = signs.within;
        Poll::Ready(Some(Err(WireError::Silent { after })))
    }
}

impl<R: Unpin, W: AsyncWrite + Unpin> Lines<R, W> {
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        while !self.unwritten.is_empty() {
            let written = ready!(Pin::new(&mut self.writer).poll_write(cx, &self.unwritten))?;
            if written == 0 {
                return Poll::Ready(Err(WireError::Closed));
            }
            self.unwritten.advance(written);
        }
        if self.unwritten.capacity() > KEPT_BYTES_MAX {
            self.unwritten = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<R: Unpin, W: AsyncWrite + Unpin> Sink<Text> for Lines<R, W> {
    type Error = WireError;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        let this = self.get_mut();
        if this.unwritten.len() >= UNWRITTEN_BYTES_MAX {
            ready!(this.poll_drain(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    fn start_send(self: Pin<&mut Self>, text: Text) -> Result<(), WireError> {
        let this = self.get_mut();
        this.unwritten.reserve(text.len() + 1);
        this.unwritten.extend_from_slice(text.as_bytes());
        this.unwritten.extend_from_slice(b"\n");
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        ready!(Pin::new(&mut this.writer).poll_flush(cx))?;
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        // The standard output of a program is written by another thread, and a shutdown does not
        // wait for it.
        ready!(self.as_mut().poll_flush(cx))?;
        ready!(Pin::new(&mut self.writer).poll_shutdown(cx))?;
        Poll::Ready(Ok(()))
    }
}

impl<R, W> Wire for Lines<R, W>
where
    R: AsyncRead + Send + Unpin,
    W: AsyncWrite + Send + Unpin,
{
    fn start_part(&mut self, part: Text, is_last: bool) -> Result<(), WireError> {
        self.unwritten.extend_from_slice(part.as_bytes());
        if is_last {
            self.unwritten.extend_from_slice(b"\n");
        }
        Ok(())
    }

    fn expect_signs(&mut self) {
        if let Some(signs) = &mut self.signs
            && signs.silence.is_none()
        {
            signs.silence = Some(Box::pin(tokio::time::sleep(signs.within)));
        }
    }

    /// Lines cannot say why they end.
    fn set_farewell(&mut self, _reason: &'static str) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{SinkExt, StreamExt};

    async fn read_all(input: &[u8]) -> Vec<Result<String, String>> {
        Lines::new(input, Vec::<u8>::new())
            .map(|line| match line {
                Ok(text) => Ok(text.to_string()),
                Err(error) => Err(error.to_string()),
            })
            .collect()
            .await
    }

    #[tokio::test]
    async fn blank_lines_and_carriage_returns_vanish_and_the_last_line_needs_no_end() {
        let lines = read_all(b"{1}\r\n\n  \t\r\n{2}\n{3}").await;
        assert_eq!(
            lines,
            [Ok("{1}".into()), Ok("{2}".into()), Ok("{3}".into())]
        );
    }

    #[tokio::test]
    async fn a_line_that_is_no_text_ends_the_connection() {
        let lines = read_all(b"{1}\n\xff\n{2}\n").await;
        assert_eq!(
            lines[..2],
            [Ok("{1}".into()), Err("line is not UTF-8 text".into())]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_gave_signs_of_life_and_gives_none_any_more_is_gone() {
        let within = Duration::from_secs(25);
        let (left, right) = tokio::io::duplex(64);
        let (read, write) = tokio::io::split(left);
        let mut lines = Lines::new(read, write).with_signs(within);
        let (_read, write) = tokio::io::split(right);
        let mut peer = Lines::new(tokio::io::empty(), write);
        let never = tokio::time::timeout(10 * within, lines.next()).await;
        assert!(never.is_err(), "it promised nothing: {never:?}");
        lines.expect_signs();
        tokio::time::advance(within - Duration::from_secs(1)).await;
        peer.send(Text::from("sign")).await.unwrap();
        assert_eq!(lines.next().await.unwrap().unwrap().as_str(), "sign");
        let heard = tokio::time::Instant::now();
        let gone = lines.next().await.unwrap().unwrap_err();
        assert!(matches!(gone, WireError::Silent { .. }), "{gone}");
        assert_eq!(heard.elapsed(), within);
        assert!(lines.next().await.is_none());
    }

    /// Like the standard output of a program: written is what was flushed.
    #[derive(Debug, Default)]
    struct Behind {
        taken: Vec<u8>,
        written: Vec<u8>,
    }

    impl AsyncWrite for Behind {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<std::io::Result<usize>> {
            self.taken.extend_from_slice(bytes);
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            let taken = std::mem::take(&mut self.taken);
            self.written.extend(taken);
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn what_was_sent_is_written_when_the_connection_is_closed() {
        let mut lines = Lines::new(tokio::io::empty(), Behind::default());
        lines.feed(Text::from("last words")).await.unwrap();
        lines.close().await.unwrap();
        assert_eq!(lines.writer.written, b"last words\n");
    }

    #[tokio::test]
    async fn messages_of_megabytes_cross_in_both_directions() {
        let (mut left, mut right) = crate::memory(4096);
        let long = "x".repeat(3_000_000);
        let sent = Text::from(long.clone());
        let (_, received) = tokio::join!(
            async {
                left.send(sent).await.unwrap();
                left.send(Text::from("after")).await.unwrap();
            },
            async {
                (
                    right.next().await.unwrap().unwrap(),
                    right.next().await.unwrap().unwrap(),
                )
            }
        );
        assert_eq!(received.0.as_str(), long);
        assert_eq!(received.1.as_str(), "after");
        drop(left);
        assert!(right.next().await.is_none());
    }
}
