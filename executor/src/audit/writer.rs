//! The thread that writes: gathers for a moment, appends, and keeps what cannot be written.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::oneshot;

use super::chain::Chain;
use super::line::Entry;
use super::{Event, Place, Shared, Who};

/// How long a record waits for others to share its write. A command that kills us is recorded all
/// the same, because starts do not wait.
const GATHER: Duration = Duration::from_millis(20);

/// How long after a write even an urgent record waits, so that many commands at once share one.
const PAUSE: Duration = Duration::from_millis(2);

/// How long a disk that failed is left alone.
const RETRY: Duration = Duration::from_secs(1);

/// The thread formats lines and calls the kernel, nothing deep.
const STACK_BYTES: usize = 256 * 1024;

/// Memory kept for the next batch; what a flood needed is given back.
const KEPT_ENTRIES: usize = 256;

pub(super) fn start(shared: Arc<Shared>, chain: Chain, end: oneshot::Sender<()>) {
    let writer = Writer {
        shared: Arc::clone(&shared),
        chain,
        batch: VecDeque::new(),
        tried: false,
        reported: 0,
        last_write: None,
    };
    let run = move || {
        writer.run();
        drop(end);
    };
    let thread = std::thread::Builder::new()
        .name("audit".to_owned())
        .stack_size(STACK_BYTES);
    if let Err(error) = thread.spawn(run) {
        tracing::warn!(%error, "no thread for the audit log");
        shared.failing.store(true, Ordering::Relaxed);
        shared.given_up.store(true, Ordering::Relaxed);
    }
}

struct Writer {
    shared: Arc<Shared>,
    chain: Chain,
    /// Taken from the queue, not written yet.
    batch: VecDeque<Entry>,
    /// The place was found usable once.
    tried: bool,
    /// How many of the lost were reported in the file.
    reported: u64,
    last_write: Option<Instant>,
}

impl Writer {
    fn run(mut self) {
        loop {
            let stopping = self.gather();
            if !self.shared.given_up.load(Ordering::Relaxed) {
                self.write();
            }
            if stopping {
                let left = self.batch.len() as u64;
                self.shared.lost.fetch_add(left, Ordering::Relaxed);
                return;
            }
        }
    }

    /// Waits for records and for company for them. Says whether these were the last.
    fn gather(&mut self) -> bool {
        let shared = &*self.shared;
        let mut queue = shared.queue();
        while queue.entries.is_empty() && self.batch.is_empty() && !queue.stopping {
            queue = shared
                .news
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let now = Instant::now();
        let until = now + if self.batch.is_empty() { GATHER } else { RETRY };
        let soon = self.last_write.map_or(now, |last| last + PAUSE);
        while !queue.stopping {
            if self.batch.is_empty() && queue.is_half_full() {
                break;
            }
            let until = match self.batch.is_empty() && queue.urgent {
                true => soon,
                false => until,
            };
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = shared.news.wait_timeout(queue, left);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        // What failed before is a full queue's worth at most; until it is written, the rest stays
        // in the queue, which is what makes it full.
        if self.batch.is_empty() {
            std::mem::swap(&mut self.batch, &mut queue.entries);
            queue.bytes = 0;
            queue.urgent = false;
        }
        queue.stopping
    }

    fn write(&mut self) {
        self.report_losses();
        self.last_write = Some(Instant::now());
        let done = if self.tried {
            Ok(())
        } else {
            self.chain.try_out()
        };
        match done.and_then(|()| self.chain.append(&mut self.batch)) {
            Ok(()) => {
                self.tried = true;
                self.batch.shrink_to(KEPT_ENTRIES);
                if self.shared.failing.swap(false, Ordering::Relaxed) {
                    let lost = self.shared.lost.load(Ordering::Relaxed);
                    tracing::warn!(lost, "the audit log can be written again");
                }
            }
            Err(error) => self.failed(&error),
        }
    }

    fn failed(&mut self, error: &std::io::Error) {
        let path = self.chain.path().display();
        let settings = &self.shared.settings;
        if settings.place == Place::Default && !settings.required && !self.tried {
            // Nobody asked for it, so nobody is bothered twice.
            tracing::warn!(%path, %error, "no audit log: its place cannot be used");
            self.shared.given_up.store(true, Ordering::Relaxed);
            self.batch.clear();
        } else if !self.shared.failing.swap(true, Ordering::Relaxed) {
            tracing::warn!(%path, %error, "the audit log cannot be written");
        }
    }

    /// Puts what was lost into the file, at the place where it is missing.
    fn report_losses(&mut self) {
        let lost = self.shared.lost.load(Ordering::Relaxed);
        if lost > self.reported && !self.shared.failing.load(Ordering::Relaxed) {
            self.batch.push_back(Entry {
                at: Timestamp::now(),
                who: Who::default(),
                event: Event::Lost {
                    count: lost - self.reported,
                },
            });
            self.reported = lost;
        }
    }
}
