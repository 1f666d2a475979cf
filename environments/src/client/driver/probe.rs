//! A driver that asks whether anybody is still there, on a wire that can lose something unseen.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use farstep_protocol::frame;
use farstep_protocol::method::environment;
use farstep_transport::Wire;
use tokio::time::{Instant, Sleep};

use super::super::stall::{Next, Seen, Stall};
use super::{Driver, Ending, Pending};

/// The watch over one wire.
#[derive(Debug)]
pub(super) struct Watch {
    stall: Stall,
    look: Pin<Box<Sleep>>,
}

impl Watch {
    /// None over a wire that tells when it breaks.
    pub(super) fn over<W: Wire>(wire: &W) -> Option<Watch> {
        wire.arrived().map(|_| {
            let now = Instant::now();
            Watch {
                stall: Stall::new(now),
                look: Box::pin(tokio::time::sleep_until(now)),
            }
        })
    }
}

impl<W: Wire> Driver<W> {
    /// Looks whether anything will still come. Ready when nothing will.
    pub(super) fn poll_watch(&mut self, cx: &mut Context<'_>) -> Poll<Ending> {
        loop {
            let arrived = self.wire.as_ref().and_then(Wire::arrived);
            let (Some(watch), Some(arrived)) = (&mut self.watch, arrived) else {
                return Poll::Pending;
            };
            let now = Instant::now();
            if self.held_back.is_some() {
                // The silence is our own.
                watch.stall.rest(now);
            }
            let seen = Seen {
                arrived,
                sent: self.sent,
                newest: self.last_ticket,
                awaited: !self.session.streams.is_empty(),
                unsent: !self.own.is_empty(),
            };
            let waiting = &self.waiting;
            match watch
                .stall
                .look(now, seen, || waiting.keys().min().copied())
            {
                Next::At(at) => {
                    watch.look.as_mut().reset(at);
                    if watch.look.as_mut().poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                }
                Next::Probe => self.probe(),
                Next::Stalled => {
                    let reason = "the stream has stalled: not even a probe is answered".to_owned();
                    return Poll::Ready(Ending::Lost { reason });
                }
            }
        }
    }

    fn probe(&mut self) {
        self.last_ticket += 1;
        // Without room for one more call there is nothing to learn from one either.
        let Ok(request) = self.caller.register(self.last_ticket) else {
            return;
        };
        tracing::debug!("nothing is heard, asking for a sign of life");
        self.waiting.insert(self.last_ticket, Pending::Probe);
        let mut text = String::new();
        frame::request(&mut text, &request, environment::STATUS, &());
        self.say(text);
    }

    /// The probe was answered: the stream is in order, so nothing in front of it is missing.
    pub(super) fn probed(&mut self) {
        if let Some(watch) = &mut self.watch {
            watch.stall.rest(Instant::now());
        }
    }
}
