//! An answer in pieces that are made while it is sent, so that a large one is never in memory and
//! its beginning does not wait for its end.
//!
//! ```text
//!   pool: make ──piece──▶ │ shelf │ ──piece──▶ wire
//!     ▲                       │
//!     └── full: goes home ◀───┴──▶ nearly empty: is called again
//! ```
//!
//! Nobody waits on a thread, however slowly the peer reads.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use farstep_transport::Text;
use tokio::sync::oneshot;

use crate::fs::FsError;

/// Pieces on the shelf at which whoever makes them goes home.
const FULL: usize = 8;

/// Pieces left on it at which somebody is called to make more: sending them takes as long as waking
/// a thread.
const NEARLY_EMPTY: usize = 3;

/// Why the rest of an answer cannot be made. What was sent of it cannot be taken back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TornError {
    #[error("a file failed while it was being sent: {0}")]
    File(#[from] FsError),
    #[error("a file could not be read on")]
    Lost,
}

/// One part of an answer.
pub(crate) struct Piece {
    pub(crate) text: Text,
    pub(crate) is_last: bool,
}

/// What makes the pieces of an answer, one after the other. It may block.
pub(super) trait Make: Send {
    /// The next piece. Not asked for after the last.
    fn next(&mut self) -> Result<Piece, FsError>;
}

/// An answer that is made while it is sent.
pub(crate) struct Pieces {
    shelf: Arc<Shelf>,
    /// Dropped with this.
    _in_use: oneshot::Sender<()>,
    ended: Option<oneshot::Receiver<()>>,
}

struct Shelf(Mutex<State>);

struct State {
    texts: VecDeque<Text>,
    rest: Rest,
    /// Whom a piece is news for.
    waiting: Option<Waker>,
}

/// What is missing of an answer.
enum Rest {
    /// Nobody works on it.
    Idle(Box<dyn Make>),
    InHands,
    /// All of it is on the shelf, or was.
    Nothing,
    Torn(TornError),
    /// Nobody wants it any more.
    Unwanted,
}

impl Pieces {
    /// An answer that begins with `first`. Needs a tokio runtime around it.
    pub(super) fn begun(first: Text, make: impl Make + 'static) -> Pieces {
        Pieces::new(VecDeque::from([first]), Rest::Idle(Box::new(make))).under_way()
    }

    /// An answer of which every piece, at least one, is there.
    pub(super) fn made(texts: Vec<Text>) -> Pieces {
        Pieces::new(texts.into(), Rest::Nothing)
    }

    fn new(texts: VecDeque<Text>, rest: Rest) -> Pieces {
        let (in_use, ended) = oneshot::channel();
        let waiting = None;
        Pieces {
            shelf: Arc::new(Shelf(Mutex::new(State {
                texts,
                rest,
                waiting,
            }))),
            _in_use: in_use,
            ended: Some(ended),
        }
    }

    fn under_way(self) -> Pieces {
        let make = self.shelf.lock().take_up();
        self.call(make);
        self
    }

    /// The next piece, as soon as it is made. Not to be asked again after the last.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, TornError>> {
        let mut state = self.shelf.lock();
        let text = state.texts.pop_front();
        let make = state.take_up();
        let polled = match text {
            Some(text) => Poll::Ready(Ok(Piece {
                text,
                is_last: state.texts.is_empty() && matches!(state.rest, Rest::Nothing),
            })),
            None => match std::mem::replace(&mut state.rest, Rest::Nothing) {
                rest @ (Rest::InHands | Rest::Idle(_)) => {
                    state.rest = rest;
                    state.waiting = Some(cx.waker().clone());
                    Poll::Pending
                }
                Rest::Torn(error) => Poll::Ready(Err(error)),
                Rest::Nothing | Rest::Unwanted => Poll::Ready(Err(TornError::Lost)),
            },
        };
        drop(state);
        self.call(make);
        polled
    }

    /// Has somebody go on making.
    fn call(&self, make: Option<Box<dyn Make>>) {
        if let Some(make) = make {
            let hands = Hands(Arc::clone(&self.shelf));
            tokio::task::spawn_blocking(move || hands.work(make));
        }
    }

    /// Resolves when the answer was sent or given up. Can be asked for once.
    pub(super) fn ended(&mut self) -> impl Future<Output = ()> + use<> {
        let ended = self.ended.take();
        async move {
            if let Some(ended) = ended {
                // Nothing is ever sent: its other end is dropped.
                let _: Result<(), _> = ended.await;
            }
        }
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        let mut state = self.shelf.lock();
        state.texts.clear();
        // What it is made from may take a moment to be closed.
        let rest = std::mem::replace(&mut state.rest, Rest::Unwanted);
        drop(state);
        drop(rest);
    }
}

impl Shelf {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nobody leaves the state half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The rest, if it is time that somebody makes more of it.
    fn take_up(&mut self) -> Option<Box<dyn Make>> {
        if self.texts.len() > NEARLY_EMPTY || !matches!(self.rest, Rest::Idle(_)) {
            return None;
        }
        match std::mem::replace(&mut self.rest, Rest::InHands) {
            Rest::Idle(make) => Some(make),
            _ => None,
        }
    }

    /// Puts a piece on the shelf. Gives `make` back if there is room for another.
    fn put(&mut self, made: Result<Piece, FsError>, make: Box<dyn Make>) -> Option<Box<dyn Make>> {
        let is_last = match made {
            Ok(piece) => {
                self.texts.push_back(piece.text);
                piece.is_last
            }
            Err(error) => {
                self.rest = Rest::Torn(error.into());
                return None;
            }
        };
        if is_last {
            self.rest = Rest::Nothing;
        } else if self.texts.len() >= FULL {
            self.rest = Rest::Idle(make);
        } else {
            return Some(make);
        }
        None
    }
}

/// Whoever makes pieces on the pool. If that comes to nothing the answer is torn.
struct Hands(Arc<Shelf>);

impl Hands {
    fn work(self, make: Box<dyn Make>) {
        let mut working = Some(make);
        while let Some(mut make) = working.take() {
            let made = make.next();
            let mut state = self.0.lock();
            if matches!(state.rest, Rest::Unwanted) {
                return;
            }
            working = state.put(made, make);
            let waiting = state.waiting.take();
            drop(state);
            if let Some(waiting) = waiting {
                waiting.wake();
            }
        }
    }
}

impl Drop for Hands {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        if matches!(state.rest, Rest::InHands) {
            state.rest = Rest::Torn(TornError::Lost);
            if let Some(waiting) = state.waiting.take() {
                waiting.wake();
            }
        }
    }
}

#[cfg(test)]
mod tests;
