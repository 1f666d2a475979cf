//! The calls of one connection in flight.
//!
//! What holds them asks to be polled again whenever it has polled all there are, as a courtesy to
//! others. For a connection with one call in flight that is a second turn of its task for every
//! call, on a worker that is woken for it. So what is asked for during a poll is done there and
//! then, and what comes after it wakes the task:
//!
//! ```text
//!   a call ─▶ Shield ─┬─ nobody polls ─▶ the task
//!                     └─ in a poll ────▶ one more round of it
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use futures_util::task::AtomicWaker;

use crate::dispatch::{Finished, Flight};

/// Rounds of one poll. Calls that want to be polled for ever get their next round from the runtime.
const ROUNDS_MAX: usize = 3;

/// Calls in flight, in no order.
pub(super) struct Flights {
    flights: FuturesUnordered<Flight>,
    shield: Arc<Shield>,
    /// The shield in the shape that futures know.
    waker: Waker,
}

/// Stands between the calls and the task.
#[derive(Default)]
struct Shield {
    task: AtomicWaker,
    is_polled: AtomicBool,
    woken: AtomicBool,
}

impl Flights {
    pub(super) fn new() -> Flights {
        let shield = Arc::<Shield>::default();
        Flights {
            flights: FuturesUnordered::new(),
            waker: Waker::from(Arc::clone(&shield)),
            shield,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.flights.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }

    pub(super) fn push(&mut self, flight: Flight) {
        self.flights.push(flight);
    }

    pub(super) fn extend(&mut self, flights: Vec<Flight>) {
        self.flights.extend(flights);
    }

    pub(super) fn clear(&mut self) {
        self.flights.clear();
    }

    /// A call that has finished. To be asked until it is pending.
    pub(super) fn poll_finished(&mut self, cx: &mut Context<'_>) -> Poll<Finished> {
        if self.flights.is_empty() {
            return Poll::Pending;
        }
        self.shield.task.register(cx.waker());
        let mut shielded = Context::from_waker(&self.waker);
        for _ in 0..ROUNDS_MAX {
            // What was asked for until now is in this round.
            self.shield.woken.store(false, Ordering::SeqCst);
            self.shield.is_polled.store(true, Ordering::SeqCst);
            let polled = self.flights.poll_next_unpin(&mut shielded);
            self.shield.is_polled.store(false, Ordering::SeqCst);
            match polled {
                Poll::Ready(Some(finished)) => return Poll::Ready(finished),
                Poll::Ready(None) => return Poll::Pending,
                Poll::Pending if self.shield.woken.load(Ordering::SeqCst) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Wake for Shield {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // In this order, and the poll in the other: one of the two sees what the other has done.
        self.woken.store(true, Ordering::SeqCst);
        if !self.is_polled.load(Ordering::SeqCst) {
            self.task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Mutex;
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::dispatch;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn poll(flights: &mut Flights, task: &Arc<Count>) -> bool {
        let waker = Waker::from(Arc::clone(task));
        flights
            .poll_finished(&mut Context::from_waker(&waker))
            .is_ready()
    }

    #[test]
    fn a_call_that_waits_wakes_its_task_once_and_only_when_it_goes_on() {
        let (task, held) = (Arc::<Count>::default(), Arc::new(Mutex::new(None)));
        let mut flights = Flights::new();
        let holder = Arc::clone(&held);
        let mut is_over = false;
        flights.push(Box::pin(poll_fn(move |cx| {
            if std::mem::replace(&mut is_over, true) {
                return Poll::Ready(dispatch::finished_for_tests());
            }
            *holder.lock().unwrap() = Some(cx.waker().clone());
            Poll::Pending
        })));
        assert!(!poll(&mut flights, &task));
        assert_eq!(task.0.load(Ordering::Relaxed), 0);
        held.lock().unwrap().take().unwrap().wake();
        assert_eq!(task.0.load(Ordering::Relaxed), 1);
        assert!(poll(&mut flights, &task));
        assert!(!poll(&mut flights, &task) && flights.is_empty());
    }

    #[test]
    fn a_call_that_never_rests_is_left_to_the_runtime() {
        let task = Arc::<Count>::default();
        let mut flights = Flights::new();
        flights.push(Box::pin(poll_fn(|cx| {
            cx.waker().wake_by_ref();
            Poll::Pending
        })));
        assert!(!poll(&mut flights, &task));
        assert_eq!(task.0.load(Ordering::Relaxed), 1);
    }
}
