//! Answers as texts.

use std::cell::Cell;

use farstep_protocol::frame;
use farstep_protocol::rpc::{RequestId, RpcError};
use farstep_transport::Text;
use serde::Serialize;

use super::Outcome;
use crate::errors;

pub(super) fn settle(id: &RequestId, outcome: Outcome) -> Text {
    outcome.unwrap_or_else(|error| refusal(id, &error))
}

/// The longest text of a refusal, in bytes. It may quote what was sent, and is no way to have it
/// sent back: a path fits, the rest is cut.
pub(crate) const REFUSAL_BYTES_MAX: usize = 16 * 1024;

pub(crate) fn refusal(id: &RequestId, error: &RpcError) -> Text {
    let mut out = String::new();
    match error.message.len() <= REFUSAL_BYTES_MAX {
        true => frame::refusal(&mut out, id, error),
        false => {
            let end = error.message.floor_char_boundary(REFUSAL_BYTES_MAX);
            let message = error.message.get(..end).unwrap_or_default().to_owned();
            let data = error.data.clone();
            let code = error.code;
            frame::refusal(
                &mut out,
                id,
                &RpcError {
                    code,
                    message,
                    data,
                },
            );
        }
    }
    out.into()
}

pub(crate) fn reply<T: Serialize + ?Sized>(id: &RequestId, result: &T) -> Text {
    small(|out| frame::reply(out, id, result))
}

/// A reply whose result is JSON already.
pub(super) fn raw_reply(id: &RequestId, result: &str) -> Text {
    small(|out| frame::reply_with(out, id, |out| out.push_str(result)))
}

/// A short text, in memory of exactly its size: it is put together where the one before was.
fn small(write: impl FnOnce(&mut String)) -> Text {
    /// What is kept of it.
    const SCRATCH_BYTES_MAX: usize = 4 * 1024;
    thread_local! {
        static SCRATCH: Cell<String> = const { Cell::new(String::new()) };
    }
    let mut out = SCRATCH.take();
    out.clear();
    write(&mut out);
    if out.capacity() > SCRATCH_BYTES_MAX {
        return out.into();
    }
    let text = Text::from(out.as_str());
    SCRATCH.set(out);
    text
}

/// A reply whose result `write` appends as JSON.
pub(super) fn written(id: &RequestId, write: impl FnOnce(&mut Vec<u8>)) -> Outcome {
    let mut head = String::new();
    frame::reply_with(&mut head, id, |_| {});
    let mut out = head.into_bytes();
    let tail = out.pop();
    write(&mut out);
    out.extend(tail);
    Text::try_from(out).map_err(|_| errors::not_json())
}
