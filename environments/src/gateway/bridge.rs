//! Messages from a client to its executor and back, as they are.
//!
//! Each direction holds one message and takes the next when that has gone, so who does not read
//! stops who sends.

use std::fmt;
use std::future::{Future as _, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use farstep_transport::{Text, Wire, WireError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::keeper::{Keeper, Verdict};
use super::watch::Watch;
use crate::client::Next;
use crate::dial::Passage;

/// Messages of one direction before the other has its turn.
const BATCH: usize = 64;

/// How long the goodbye to either side may take.
const CLOSE_WAIT: Duration = Duration::from_secs(1);

/// Why a client and its executor were parted.
#[derive(Debug)]
pub(super) enum End {
    /// It was told to.
    Stopped,
    /// The client closed, or its connection broke.
    Client(String),
    /// The executor closed, or the way there broke.
    Executor(String),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Stopped => f.write_str("it was stopped"),
            End::Client(reason) => write!(f, "the client: {reason}"),
            End::Executor(reason) => write!(f, "the executor: {reason}"),
        }
    }
}

/// Carries until one of the two ends, then ends the other.
pub(super) async fn carry<N: Wire>(
    mut near: N,
    passage: Passage,
    keeper: Option<Keeper>,
    stop: &CancellationToken,
) -> End {
    let Passage { mut wire, child } = passage;
    let end = {
        let mut there = Direction::default();
        let mut back = Direction::default();
        let mut between = Between {
            watch: wire.arrived().map(|_| Watch::new(Instant::now())),
            keeper,
        };
        let mut look = pin!(tokio::time::sleep(Duration::ZERO));
        let carried = poll_fn(|cx| {
            // What the executor says first: it may be the last it says.
            let said = |text| between.said(text);
            if let Poll::Ready(end) = back.poll(cx, &mut wire, &mut near, said) {
                return Poll::Ready(end.told(End::Executor, End::Client));
            }
            loop {
                let asked = |text| between.asked(text);
                if let Poll::Ready(end) = there.poll(cx, &mut near, &mut wire, asked) {
                    return Poll::Ready(end.told(End::Client, End::Executor));
                }
                // Whoever is answered by us is not heard before he took the answer.
                if back.own.is_none()
                    && let Some(answer) = there.answer.take()
                {
                    back.own = Some(answer);
                    cx.waker().wake_by_ref();
                }
                let watch = between.watch.as_mut();
                let (Some(watch), Some(arrived)) = (watch, wire.arrived()) else {
                    return Poll::Pending;
                };
                let now = Instant::now();
                if back.held.is_some() {
                    watch.rest(now);
                }
                match watch.look(now, arrived, there.own.is_some()) {
                    Next::At(at) => {
                        look.as_mut().reset(at);
                        if look.as_mut().poll(cx).is_pending() {
                            return Poll::Pending;
                        }
                    }
                    Next::Probe => there.own = Some(watch.probe()),
                    Next::Stalled => {
                        let reason = "the stream has stalled: not even a probe is answered";
                        return Poll::Ready(End::Executor(reason.to_owned()));
                    }
                }
            }
        });
        tokio::select! {
            biased; // Stopping beats carrying.
            () = stop.cancelled() => End::Stopped,
            end = carried => end,
        }
    };
    if let End::Stopped = end {
        near.set_farewell("the gateway is stopping");
    }
    let closed = async {
        // What was said last arrives only if nothing is left unread.
        let _ = close(&mut near).await;
        while let Some(Ok(_)) = next(&mut near).await {}
    };
    let (_, _) = tokio::join!(
        tokio::time::timeout(CLOSE_WAIT, closed),
        tokio::time::timeout(CLOSE_WAIT, close(&mut wire)),
    );
    drop(wire);
    if let Some(child) = child {
        child.finish().await;
    }
    end
}

async fn close<W: Wire>(wire: &mut W) -> Result<(), WireError> {
    poll_fn(|cx| Pin::new(&mut *wire).poll_close(cx)).await
}

async fn next<W: Wire>(wire: &mut W) -> Option<Result<Text, WireError>> {
    poll_fn(|cx| Pin::new(&mut *wire).poll_next(cx)).await
}

/// How one direction ended, and on which side.
enum Ended {
    From(String),
    To(String),
}

impl Ended {
    fn told(self, from: fn(String) -> End, to: fn(String) -> End) -> End {
        match self {
            Ended::From(reason) => from(reason),
            Ended::To(reason) => to(reason),
        }
    }
}

/// Who looks at what is said.
struct Between {
    watch: Option<Watch>,
    keeper: Option<Keeper>,
}

impl Between {
    fn asked(&mut self, text: Text) -> Fate {
        let text = match &mut self.keeper {
            Some(keeper) => match keeper.asked(text) {
                Verdict::Pass(text) => text,
                Verdict::Answer(answer) => return Fate::Answered(answer),
            },
            None => text,
        };
        if let Some(watch) = &mut self.watch {
            watch.asked(&text);
        }
        Fate::Passes(text)
    }

    fn said(&mut self, text: Text) -> Fate {
        let is_ours = |watch: &mut Watch| !watch.answered(&text, Instant::now());
        if self.watch.as_mut().is_some_and(is_ours) {
            return Fate::Ends;
        }
        Fate::Passes(match &mut self.keeper {
            Some(keeper) => keeper.answered(text),
            None => text,
        })
    }
}

/// What becomes of a message.
enum Fate {
    Passes(Text),
    /// It was for us.
    Ends,
    /// It is not passed on, and this is what its sender hears.
    Answered(Text),
}

/// One direction.
#[derive(Default)]
struct Direction {
    held: Option<Text>,
    /// What we say ourselves, behind what is held.
    own: Option<Text>,
    /// What the sender of this direction is to hear. Until it is on its way, nothing more is read.
    answer: Option<Text>,
}

impl Direction {
    /// Moves what can be moved. Ready when nothing will any more.
    fn poll<F: Wire, T: Wire>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut F,
        to: &mut T,
        mut fate: impl FnMut(Text) -> Fate,
    ) -> Poll<Ended> {
        let failed = |error: WireError| Ended::To(error.to_string());
        for _ in 0..BATCH {
            if self.held.is_none() {
                self.held = self.own.take();
            }
            if self.held.is_none() {
                let next = match self.answer {
                    None => Pin::new(&mut *from).poll_next(cx),
                    Some(_) => Poll::Pending,
                };
                match next {
                    Poll::Ready(Some(Ok(text))) => match fate(text) {
                        Fate::Passes(text) => self.held = Some(text),
                        Fate::Ends => continue,
                        Fate::Answered(answer) => {
                            self.answer = Some(answer);
                            continue;
                        }
                    },
                    Poll::Ready(Some(Err(error))) if error.is_survivable() => continue,
                    Poll::Ready(Some(Err(error))) => {
                        return Poll::Ready(Ended::From(error.to_string()));
                    }
                    Poll::Ready(None) => {
                        return Poll::Ready(Ended::From("it closed the connection".to_owned()));
                    }
                    Poll::Pending => {
                        return match Pin::new(&mut *to).poll_flush(cx) {
                            Poll::Ready(Err(error)) => Poll::Ready(failed(error)),
                            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
                        };
                    }
                }
            }
            if let Err(error) = ready!(Pin::new(&mut *to).poll_ready(cx)) {
                return Poll::Ready(failed(error));
            }
            if let Some(text) = self.held.take()
                && let Err(error) = Pin::new(&mut *to).start_send(text)
            {
                return Poll::Ready(failed(error));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
