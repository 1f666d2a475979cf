//! `http/request`: one request at a time in its own flight, its body in the reply or behind it.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use farstep_protocol::frame;
use farstep_protocol::method::http::RequestParams;
use farstep_protocol::rpc::{RequestId, RpcError};
use farstep_transport::Text;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::notes::Note;
use super::{Answer, Calls, Effect, Finished, Pieces, Reply, refusal};
use crate::audit::Event;
use crate::errors;
use crate::http::{self, BODY_BYTES_MAX, Body, Head, Prepared, SendError};

/// Requests of one connection that are being made at once; more wait. Each may hold a whole body.
pub(crate) const REQUESTS_AT_ONCE: usize = 16;

/// Streamed requests of one connection at once; more are refused.
pub(crate) const STREAMS_MAX: usize = 64;

/// Bytes in one piece of a streamed body: below the 1 MiB the protocol allows, so that other
/// output is not held up for long.
pub(crate) const DELTA_BYTES_MAX: usize = 256 * 1024;

/// An answer of at most this size is small for whoever writes it, and overtakes bodies.
const OVERTAKES_MAX: usize = 8 * 1024;

/// A larger answer is sent in frames of this size, since a frame has a largest size.
const PART_BYTES: usize = 128 * 1024;

/// Longest id of a request.
pub(crate) const REQUEST_ID_BYTES_MAX: usize = 256;

/// How long a streamed body whose caller named no deadline may say nothing.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(300);

/// Why a request has no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    #[error(transparent)]
    Send(#[from] SendError),
    #[error(transparent)]
    Body(#[from] http::BodyError),
    #[error("it took longer than {0:?}")]
    TimedOut(Duration),
    #[error("the host said nothing for {SILENCE_MAX:?}")]
    Silent,
    #[error("the body is larger than {BODY_BYTES_MAX} bytes; ask for it with streamResponse")]
    LargeBody,
}

/// A body on its way, and until when.
pub(super) struct Streamed {
    request_id: Box<str>,
    body: Body,
    deadline: Option<Deadline>,
}

/// What the caller gave the whole request.
#[derive(Clone, Copy)]
struct Deadline {
    limit: Duration,
    at: Instant,
}

impl Calls {
    pub(super) fn http_request(
        &mut self,
        id: RequestId,
        params: &RequestParams<'_>,
    ) -> Result<Answer, RpcError> {
        if params.request_id.len() > REQUEST_ID_BYTES_MAX {
            let why = format!("requestId is longer than {REQUEST_ID_BYTES_MAX} bytes");
            return Err(errors::invalid_params(why));
        }
        let settings = Arc::clone(self.server.http());
        let prepared = http::prepare(params, &settings, |name| std::env::var_os(name))
            .map_err(errors::invalid_params)?;
        self.server.audit().admit().map_err(errors::unrecorded)?;
        if params.stream_response {
            self.take_stream(&params.request_id)?;
        }
        let streamed = params
            .stream_response
            .then(|| Box::from(&*params.request_id));
        let (places, audit) = (Arc::clone(&self.requests), self.server.audit().clone());
        let who = self.who.clone();
        let flight = async move {
            // The semaphore is never closed.
            let place = places.acquire_owned().await;
            let host = prepared.host();
            let outcome = match &streamed {
                None => buffered(&id, prepared, &settings).await,
                Some(request_id) => begun(&id, request_id, prepared, &settings).await,
            };
            let (status, refused) = match &outcome {
                Ok(done) => (Some(done.status), None),
                Err(RequestError::Send(error)) => (None, error.refusal()),
                Err(_) => (None, None),
            };
            let event = Event::HttpRequest {
                host,
                status,
                refused,
            };
            audit.record(&who, event);
            match (outcome, streamed) {
                (Ok(done), _) => Finished {
                    reply: in_order(done.reply),
                    // A whole answer keeps its place until it is sent: those that nobody reads
                    // are not made without end.
                    effect: match (done.effect, place) {
                        (Effect::Nothing, Ok(place)) => Effect::Held(place),
                        (effect, _) => effect,
                    },
                },
                (Err(error), streamed) => Finished {
                    reply: refusal(&id, &errors::http(&error)).into(),
                    effect: streamed.map_or(Effect::Nothing, Effect::Unstreamed),
                },
            }
        };
        Ok(Answer::Later(Box::pin(flight)))
    }

    fn take_stream(&mut self, request_id: &str) -> Result<(), RpcError> {
        if self.notes.streams() >= STREAMS_MAX {
            return Err(errors::overloaded(&format!(
                "{STREAMS_MAX} responses are being streamed already"
            )));
        }
        if !self.notes.take_id(request_id) {
            let why = format!("requestId `{request_id}` is being streamed already");
            return Err(errors::invalid_params(why));
        }
        Ok(())
    }

    /// The reply is queued: now its body may follow.
    pub(super) fn stream(&mut self, streamed: Streamed) {
        let request_id = streamed.request_id.clone();
        self.notes.stream(request_id, |say| streamed.say(say));
    }
}

/// A reply, and what its sending means.
struct Done {
    status: u16,
    reply: Text,
    effect: Effect,
}

async fn buffered(
    id: &RequestId,
    prepared: Prepared,
    settings: &http::Settings,
) -> Result<Done, RequestError> {
    let limit = prepared.deadline_or_default();
    let whole = async {
        let (head, mut body) = http::send(prepared, settings).await?;
        let mut bytes = BytesMut::new();
        while let Some(piece) = body.next().await {
            let piece = piece?;
            if bytes.len() + piece.len() > BODY_BYTES_MAX {
                return Err(RequestError::LargeBody);
            }
            bytes.extend_from_slice(&piece);
        }
        Ok((head, bytes))
    };
    let whole = tokio::time::timeout(limit, whole).await;
    let (head, bytes) = whole.unwrap_or(Err(RequestError::TimedOut(limit)))?;
    Ok(Done {
        status: head.status,
        reply: reply(id, &head, &bytes),
        effect: Effect::Nothing,
    })
}

async fn begun(
    id: &RequestId,
    request_id: &str,
    prepared: Prepared,
    settings: &http::Settings,
) -> Result<Done, RequestError> {
    let limit = prepared.deadline_or_default();
    let deadline = prepared.deadline.map(|limit| Deadline {
        limit,
        at: Instant::now() + limit,
    });
    let head = tokio::time::timeout(limit, http::send(prepared, settings)).await;
    let (head, body) = head.map_err(|_| RequestError::TimedOut(limit))??;
    let streamed = Streamed {
        request_id: request_id.into(),
        body,
        deadline,
    };
    Ok(Done {
        status: head.status,
        reply: reply(id, &head, &[]),
        effect: Effect::Streaming(Box::new(streamed)),
    })
}

/// An answer that is on its way before its effect is. A small one overtakes whatever follows; of a
/// large one the effect comes when it is sent.
fn in_order(text: Text) -> Reply {
    match text.len() <= OVERTAKES_MAX {
        true => Reply::Whole(text),
        false => Reply::Pieces(Box::new(Pieces::made(cut(&text)))),
    }
}

/// A text in parts that a wire takes one at a time.
fn cut(text: &str) -> Vec<Text> {
    let mut parts = Vec::with_capacity(text.len() / PART_BYTES + 1);
    let mut rest = text;
    while rest.len() > PART_BYTES {
        let (part, after) = rest.split_at(rest.floor_char_boundary(PART_BYTES));
        parts.push(Text::from(part.to_owned()));
        rest = after;
    }
    parts.push(Text::from(rest.to_owned()));
    parts
}

fn reply(id: &RequestId, head: &Head, body: &[u8]) -> Text {
    let mut out = String::new();
    frame::http_reply(&mut out, id, head.status, &head.headers, body);
    out.into()
}

impl Streamed {
    /// Says the body to its end. Waits where nobody takes it, and then the host does too.
    async fn say(mut self, say: mpsc::Sender<Note>) {
        let mut seq = 0;
        let error = loop {
            let mut piece = match self.next().await {
                None => break None,
                Some(Err(error)) => break Some(error.to_string()),
                Some(Ok(piece)) => piece,
            };
            while !piece.is_empty() {
                seq += 1;
                let part = piece.split_to(piece.len().min(DELTA_BYTES_MAX));
                let mut text = String::new();
                frame::http_body_delta(&mut text, &self.request_id, seq, &part, None);
                if say.send(Note::Delta(text.into())).await.is_err() {
                    return; // The connection is gone.
                }
            }
        };
        let mut text = String::new();
        let end = error.as_deref().map_or(Ok(()), Err);
        frame::http_body_delta(&mut text, &self.request_id, seq + 1, &[], Some(end));
        // As above.
        let _ = say.send(Note::Last(self.request_id, text.into())).await;
    }

    async fn next(&mut self) -> Option<Result<Bytes, RequestError>> {
        let until = match self.deadline {
            Some(deadline) => deadline.at,
            None => Instant::now() + SILENCE_MAX,
        };
        match tokio::time::timeout_at(until, self.body.next()).await {
            Ok(piece) => piece.map(|piece| piece.map_err(RequestError::from)),
            Err(_) => Some(Err(match self.deadline {
                Some(deadline) => RequestError::TimedOut(deadline.limit),
                None => RequestError::Silent,
            })),
        }
    }
}
