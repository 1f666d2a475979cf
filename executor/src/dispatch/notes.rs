//! What a connection's long-running work has to say unasked: the bodies of streamed requests and
//! the end of a watch.
//!
//! The work runs in tasks of its own and speaks through one bounded queue, which the connection
//! takes from when it has room on the wire. So a peer that reads slowly slows the work down, and
//! the work ends with the connection.

use std::collections::HashMap;
use std::task::{Context, Poll};

use farstep_protocol::frame;
use farstep_protocol::method::fs::{
    MISSING_CHANGED, MissingChangedParams, WatchMissingParams, WatchMissingResult,
};
use farstep_protocol::rpc::{RequestId, RpcError};
use farstep_transport::Text;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::files::host;
use super::{Answer, Calls, Effect, Finished, refusal, reply};
use crate::watch::{Awaited, PATHS_MAX};
use crate::{errors, pool};

/// Messages that wait for the connection. Each is bounded itself; beyond it the work waits.
const WAITING_MAX: usize = 4;

/// What the work says.
#[derive(Debug)]
pub(super) enum Note {
    /// A piece of the body of a streamed response.
    Delta(Text),
    /// The last one of this request.
    Last(Box<str>, Text),
    /// The watch of this id has seen what it waited for.
    Changed(u64),
}

/// The work of one connection.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// Made for the first that has something to say: most connections have nobody.
    queue: Option<(mpsc::Sender<Note>, mpsc::Receiver<Note>)>,
    /// The one watch there is; dropping it ends it.
    watch: Option<(u64, AbortOnDropHandle<()>)>,
    /// Streamed requests by their ids, once their bodies are on their way; dropping ends them.
    streams: HashMap<Box<str>, Option<AbortOnDropHandle<()>>>,
}

impl Notes {
    /// Where work says something.
    fn say(&mut self) -> mpsc::Sender<Note> {
        let queue = self.queue.get_or_insert_with(|| mpsc::channel(WAITING_MAX));
        queue.0.clone()
    }

    /// Takes the id of a streamed request; whether it was free.
    pub(super) fn take_id(&mut self, request_id: &str) -> bool {
        let is_free = !self.streams.contains_key(request_id);
        if is_free {
            self.streams.insert(request_id.into(), None);
        }
        is_free
    }

    /// How many streamed requests there are.
    pub(super) fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Gives the id of a request back that has no body after all.
    pub(super) fn free_id(&mut self, request_id: &str) {
        self.streams.remove(request_id);
    }

    /// Lets `work` say the body of a request whose reply is on its way.
    pub(super) fn stream<W>(
        &mut self,
        request_id: Box<str>,
        work: impl FnOnce(mpsc::Sender<Note>) -> W,
    ) where
        W: Future<Output = ()> + Send + 'static,
    {
        let task = tokio::spawn(work(self.say()));
        self.streams
            .insert(request_id, Some(AbortOnDropHandle::new(task)));
    }

    /// Begins to wait, in place of whatever was waited for before.
    pub(super) fn watch(&mut self, id: u64, awaited: Awaited) {
        let say = self.say();
        let task = tokio::spawn(async move {
            awaited.happened().await;
            // A connection that is gone needs no news.
            let _ = say.send(Note::Changed(id)).await;
        });
        self.watch = Some((id, AbortOnDropHandle::new(task)));
    }

    fn is_watched(&self, id: u64) -> bool {
        self.watch
            .as_ref()
            .is_some_and(|(watched, _)| *watched == id)
    }

    fn next(&mut self, cx: &mut Context<'_>) -> Option<Text> {
        loop {
            // Whoever is the first to say something was begun by this task, which looks again.
            let (_, said) = self.queue.as_mut()?;
            let Poll::Ready(Some(note)) = said.poll_recv(cx) else {
                return None;
            };
            match note {
                Note::Delta(text) => return Some(text),
                Note::Last(request_id, text) => {
                    self.free_id(&request_id);
                    return Some(text);
                }
                Note::Changed(id) if self.is_watched(id) => {
                    self.watch = None;
                    let mut text = String::new();
                    let params = MissingChangedParams { watch_id: id };
                    frame::notification(&mut text, MISSING_CHANGED, &params);
                    return Some(text.into());
                }
                // It was replaced in the same moment, and then it says nothing.
                Note::Changed(_) => {}
            }
        }
    }
}

impl Calls {
    /// The next thing to be said unasked; `None` when there is nothing, and then the task is woken
    /// when there is.
    pub(crate) fn next_note(&mut self, cx: &mut Context<'_>) -> Option<Text> {
        self.notes.next(cx)
    }

    pub(super) fn watch_missing(
        &mut self,
        id: RequestId,
        params: WatchMissingParams,
    ) -> Result<Answer, RpcError> {
        let WatchMissingParams {
            watch_id,
            missing,
            present,
        } = params;
        if missing.len() > PATHS_MAX {
            let why = format!("at most {PATHS_MAX} paths are watched at once");
            return Err(errors::invalid_params(why));
        }
        let awaited = Awaited {
            missing: missing.iter().map(host).collect::<Result<_, _>>()?,
            present: present.as_ref().map(host).transpose()?,
        };
        if awaited.missing.is_empty() || self.notes.is_watched(watch_id) {
            let result = WatchMissingResult { watching: false };
            return Ok(Answer::Now(reply(&id, &result)));
        }
        let (places, answered) = (std::sync::Arc::clone(&self.places), id.clone());
        let flight = async move {
            let looked = pool::run(places, move |_place| {
                let outstanding = awaited.is_outstanding();
                outstanding.then_some(awaited)
            });
            let (text, effect) = match looked.await {
                Ok(awaited) => {
                    let result = WatchMissingResult {
                        watching: awaited.is_some(),
                    };
                    let effect = match awaited {
                        Some(awaited) => Effect::Watching(watch_id, awaited),
                        None => Effect::Nothing,
                    };
                    (reply(&answered, &result), effect)
                }
                Err(lost) => (refusal(&answered, &errors::lost(lost)), Effect::Nothing),
            };
            Finished {
                reply: text.into(),
                effect,
            }
        };
        Ok(Answer::Later(Box::pin(flight)))
    }
}
