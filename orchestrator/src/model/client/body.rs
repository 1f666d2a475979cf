//! From the bytes of an answer to the data of its events.
//!
//! The event-stream parser gives up the rest of a chunk at the first line it dislikes. It therefore
//! gets one line at a time, so that a bad line costs that line and nothing else.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use sse_stream::SseStream;

use crate::model::error::{ModelError, ModelErrorKind};

/// One event may be this large: a finished item holds a whole patch or answer, never a file server's
/// worth. A stream that goes beyond counts as broken.
const MAX_EVENT_BYTES: usize = 64 * 1024 * 1024;

/// The data of each event. Silence for `idle` and a broken connection are errors, and the last item.
pub(super) fn events<E>(
    bytes: impl Stream<Item = Result<Bytes, E>> + Send + 'static,
    idle: Duration,
) -> impl Stream<Item = Result<String, ModelError>> + Send
where
    E: std::error::Error + Send + Sync + 'static,
{
    let lines = Lines {
        bytes: Box::pin(bytes),
        idle,
        pieces: VecDeque::new(),
        event_bytes: 0,
        blank_so_far: true,
    };
    let lines = stream::unfold(lines, |mut lines| async {
        let piece = lines.next().await?;
        Some((piece, lines))
    });
    let parsed = SseStream::from_bytes_stream(Box::pin(lines));
    parsed.filter_map(|event| async {
        match event {
            Ok(event) => event.data.map(Ok),
            Err(sse_stream::Error::Body(error)) => Some(Err(body_error(error))),
            Err(error) => {
                tracing::debug!(%error, "skipped a line of the event stream");
                None
            }
        }
    })
}

fn body_error(error: Box<dyn std::error::Error + Send + Sync>) -> ModelError {
    match error.downcast::<ModelError>() {
        Ok(error) => *error,
        Err(error) => cut(&error.to_string()),
    }
}

fn cut(reason: &str) -> ModelError {
    ModelError::new(ModelErrorKind::Cut, format!("the stream broke: {reason}"))
}

/// Cuts chunks after each line feed and keeps watch over time and size.
struct Lines<S> {
    bytes: std::pin::Pin<Box<S>>,
    idle: Duration,
    pieces: VecDeque<Bytes>,
    /// Since the last blank line, which is what ends an event.
    event_bytes: usize,
    /// Whether the line that is arriving is empty until now.
    blank_so_far: bool,
}

impl<S, E> Lines<S>
where
    S: Stream<Item = Result<Bytes, E>>,
    E: std::error::Error + Send + Sync + 'static,
{
    async fn next(&mut self) -> Option<Result<Bytes, ModelError>> {
        loop {
            if let Some(piece) = self.pieces.pop_front() {
                return Some(self.count(piece));
            }
            match tokio::time::timeout(self.idle, self.bytes.next()).await {
                Ok(Some(Ok(chunk))) => self.split(chunk),
                Ok(Some(Err(error))) => return Some(Err(cut(&innermost(&error)))),
                Ok(None) => return None,
                Err(_) => {
                    let message = format!(
                        "the stream was silent for {} seconds",
                        self.idle.as_secs_f64()
                    );
                    return Some(Err(ModelError::new(ModelErrorKind::Silent, message)));
                }
            }
        }
    }

    fn split(&mut self, mut chunk: Bytes) {
        while let Some(feed) = chunk.iter().position(|&byte| byte == b'\n') {
            self.pieces.push_back(chunk.split_to(feed + 1));
        }
        if !chunk.is_empty() {
            self.pieces.push_back(chunk);
        }
    }

    fn count(&mut self, piece: Bytes) -> Result<Bytes, ModelError> {
        let is_blank = matches!(&piece[..], b"\n" | b"\r\n" | b"\r");
        if is_blank && self.blank_so_far {
            self.event_bytes = 0;
        } else {
            self.event_bytes += piece.len();
        }
        self.blank_so_far = piece.ends_with(b"\n");
        if self.event_bytes > MAX_EVENT_BYTES {
            return Err(cut(&format!(
                "an event is larger than {MAX_EVENT_BYTES} bytes"
            )));
        }
        Ok(piece)
    }
}

fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    const IDLE: Duration = Duration::from_secs(300);

    async fn read(chunks: Vec<&'static [u8]>) -> Vec<Result<String, ModelError>> {
        let chunks = chunks
            .into_iter()
            .map(|chunk| Ok::<_, io::Error>(Bytes::from_static(chunk)));
        events(stream::iter(chunks), IDLE).collect().await
    }

    fn data(text: &str) -> Result<String, ModelError> {
        Ok(text.to_owned())
    }

    #[tokio::test]
    async fn events_come_out_however_the_bytes_are_cut() {
        let wire = b"event: x\r\ndata: {\"a\":1}\r\n\r\n: a comment\n\ndata: one\ndata: two\n\n";
        let expected = vec![data("{\"a\":1}"), data("one\ntwo")];
        for size in 1..wire.len() {
            assert_eq!(
                read(wire.chunks(size).collect()).await,
                expected,
                "cut every {size}"
            );
        }
    }

    #[tokio::test]
    async fn a_bad_line_costs_nothing_but_itself() {
        let wire = b"no colon here\nodd: field\ndata: one\n\nretry: soon\ndata: \xff\n\n\
                     event: a\nevent: b\ndata: two\n\ndata: three\n\n";
        assert_eq!(
            read(vec![wire]).await,
            vec![data("one"), data("two"), data("three")]
        );
    }

    #[tokio::test]
    async fn an_event_without_its_blank_line_never_happened() {
        assert_eq!(
            read(vec![b"data: one\n\ndata: tw"]).await,
            vec![data("one")]
        );
    }

    #[tokio::test]
    async fn a_broken_connection_is_the_last_item() {
        let broken = io::Error::new(io::ErrorKind::ConnectionReset, "reset by peer");
        let chunks = stream::iter([Ok(Bytes::from_static(b"data: one\n\ndata")), Err(broken)]);
        let read: Vec<_> = events(chunks, IDLE).collect().await;
        assert_eq!(read, vec![data("one"), Err(cut("reset by peer"))]);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_the_stream_but_comments_are_signs_of_life() {
        let chunks = stream::unfold(0, |n| async move {
            let wait = if n == 3 { IDLE * 2 } else { IDLE / 2 };
            tokio::time::sleep(wait).await;
            Some((
                Ok::<_, io::Error>(Bytes::from_static(b": still here\n\n")),
                n + 1,
            ))
        });
        let first = Box::pin(events(chunks, IDLE)).next().await;
        let message = "the stream was silent for 300 seconds";
        assert_eq!(
            first,
            Some(Err(ModelError::new(ModelErrorKind::Silent, message)))
        );
    }

    #[tokio::test]
    async fn an_endless_event_is_refused() {
        let megabyte = Bytes::from(vec![b'x'; 1024 * 1024]);
        let chunks = stream::iter((0..65).map(move |_| Ok::<_, io::Error>(megabyte.clone())));
        let read: Vec<_> = events(chunks, IDLE).collect().await;
        assert_eq!(
            read,
            vec![Err(cut("an event is larger than 67108864 bytes"))]
        );
    }
}
