//! One process's output through pushes, takes, reads, losses and resumes in any order.
//!
//! The model keeps all output there ever was, and plays a client that follows notifications, loses
//! some of them with its connection, resumes and reads what it lacks. As long as it loses no more
//! than a connection can hold, it gets everything; what is dropped it can always see.

#![no_main]

use arbitrary::Arbitrary;
use farstep_protocol::method::process::OutputStream;
use farstep_protocol::output::{Chunk, Event, Exit, Limits, OutputLog, ReadPage, Seq};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Step {
    /// New output. A reader asks first whether it fits; a rude one does not care.
    Push {
        len: u8,
        rude: bool,
    },
    /// The connection takes events, and they arrive for now.
    Take {
        times: u8,
    },
    /// The client reads on from what it has.
    Read {
        max_bytes: Option<u8>,
    },
    /// The same, but the answer and the connection are lost.
    ReadAndLose {
        max_bytes: Option<u8>,
    },
    /// Somebody reads from anywhere.
    ReadAnywhere {
        after: u16,
        max_bytes: Option<u64>,
    },
    /// The connection breaks, and with it up to so many of the last events.
    Lose {
        events: u8,
    },
    Resume,
    ReleasePins,
    Shrink {
        bytes: u8,
    },
    Exit,
    Close,
}

#[derive(Arbitrary, Debug)]
struct Story {
    retained_bytes: u16,
    few_chunks: Option<u8>,
    backlog_bytes: u8,
    in_flight_bytes: u16,
    steps: Vec<Step>,
}

/// The longest output of one step.
const CHUNK_MAX: usize = 256;

const DONE: Exit = Exit {
    code: 3,
    sandbox_denied: false,
};

/// What really happened, and what the client knows of it.
struct Truth {
    /// Every event so far; the exit and the close are no output.
    all: Vec<Option<Vec<u8>>>,
    exit: Option<Seq>,
    close: Option<Seq>,
    attached: bool,
    /// Everything up to here was handed to the connection.
    taken: Seq,
    /// The client has everything up to here.
    knows: Seq,
    /// Whether the client has said on this connection what it has.
    has_caught_up: bool,
    /// What a connection may lose without harm, in bytes.
    may_lose: usize,
    /// Somebody asked for less to be kept, or gave up on what is older.
    is_released: bool,
    /// Output was pushed that did not fit.
    is_overfull: bool,
}

fuzz_target!(|story: Story| {
    let retained_bytes = usize::from(story.retained_bytes % 2048);
    let backlog_bytes = usize::from(story.backlog_bytes);
    let in_flight_bytes = usize::from(story.in_flight_bytes % 2048);
    let limits = Limits {
        retained_bytes,
        retained_chunks: story
            .few_chunks
            .map_or(50_000, |few| usize::from(few % 16) + 1),
        backlog_bytes,
        in_flight_bytes,
    };
    let mut log = OutputLog::new(limits);
    let beside_backlog = retained_bytes.saturating_sub(backlog_bytes.max(CHUNK_MAX));
    let mut truth = Truth {
        all: Vec::new(),
        exit: None,
        close: None,
        attached: true,
        taken: 0,
        knows: 0,
        has_caught_up: true,
        may_lose: in_flight_bytes.min(retained_bytes / 2).min(beside_backlog),
        // With few chunks the count decides before the bytes do.
        is_released: story.few_chunks.is_some(),
        is_overfull: false,
    };
    for step in &story.steps {
        truth.apply(&mut log, step);
        truth.check(&mut log, &limits);
    }
});

impl Truth {
    fn apply(&mut self, log: &mut OutputLog, step: &Step) {
        match *step {
            Step::Push { len, rude } if self.close.is_none() => {
                let len = usize::from(len) + 1;
                if log.can_accept(len) || rude {
                    self.is_overfull |= !log.can_accept(len);
                    // What was read without room pushes older output out.
                    self.is_released |= self.is_overfull;
                    let bytes: Vec<u8> = (0..len)
                        .map(|at| (self.all.len() * 31 + at) as u8)
                        .collect();
                    self.all.push(Some(bytes.clone()));
                    assert_eq!(log.push(OutputStream::Stdout, bytes.into()), self.last());
                }
            }
            Step::Take { times } => {
                for _ in 0..times {
                    let Some(event) = log.take() else { break };
                    assert!(self.attached);
                    assert_eq!(event.seq(), self.taken + 1, "live events have no gap");
                    self.event(&event);
                    self.taken += 1;
                    if self.knows + 1 == self.taken {
                        self.knows = self.taken;
                    }
                }
            }
            Step::Read { max_bytes } => {
                let page = log.read(self.knows, max_bytes.map(u64::from));
                self.page(&page, self.knows);
                if self.attached {
                    self.knows = self.knows.max(page.next_seq - 1);
                    self.has_caught_up |= self.knows == self.last();
                }
            }
            Step::ReadAndLose { max_bytes } if self.attached => {
                let page = log.read(self.knows, max_bytes.map(u64::from));
                self.page(&page, self.knows);
                self.is_released |= self.bytes_between(self.knows, self.last()) > self.may_lose;
                self.lose(log);
            }
            Step::ReadAnywhere { after, max_bytes } => {
                let page = log.read(after.into(), max_bytes);
                self.is_released |= self.attached;
                self.page(&page, after.into());
            }
            Step::Lose { events } if self.attached => {
                for _ in 0..events {
                    let lost = self.knows.saturating_sub(1);
                    if self.bytes_between(lost, self.taken.max(self.knows)) <= self.may_lose {
                        self.knows = lost;
                    }
                }
                self.lose(log);
            }
            Step::Resume if !self.attached => {
                log.attach();
                self.attached = true;
                self.taken = self.last();
            }
            Step::ReleasePins => {
                log.release_pins();
                self.is_released |= self.attached;
            }
            Step::Shrink { bytes } => {
                log.shrink(bytes.into());
                self.is_released = true;
            }
            Step::Exit if self.exit.is_none() && self.close.is_none() => {
                log.exited(DONE);
                self.all.push(None);
                self.exit = Some(self.last());
            }
            Step::Close if self.exit.is_some() && self.close.is_none() => {
                log.closed();
                self.all.push(None);
                self.close = Some(self.last());
            }
            _ => {}
        }
    }

    fn lose(&mut self, log: &mut OutputLog) {
        log.detach();
        self.attached = false;
        self.has_caught_up = false;
        assert_eq!(log.take(), None);
    }

    /// A page holds the truth, without a gap but the one in front that the client can see.
    fn page(&self, page: &ReadPage, after: Seq) {
        assert_eq!(
            (page.exit.is_some(), page.closed),
            (self.exit.is_some(), self.close.is_some())
        );
        let mut at = after;
        for chunk in &page.chunks {
            assert!(chunk.seq > at);
            self.chunk(chunk);
            let skipped = self.outputs_between(at, chunk.seq - 1);
            assert!(skipped == 0 || at == after && page.first_retained == Some(chunk.seq));
            assert!(
                skipped == 0 || self.is_released || after < self.knows,
                "{skipped} lost behind {after}"
            );
            at = chunk.seq;
        }
        if page.next_seq > at + 1 {
            let skipped = self.outputs_between(at, page.next_seq - 1);
            assert!(skipped == 0 || page.chunks.is_empty() && page.first_retained.is_none());
            assert!(
                skipped == 0 || self.is_released || after < self.knows,
                "{skipped} lost behind {after}"
            );
        }
    }

    fn check(&self, log: &mut OutputLog, limits: &Limits) {
        assert_eq!(log.last_seq(), self.last());
        assert_eq!(
            (log.is_closed(), log.exit().is_some()),
            (self.close.is_some(), self.exit.is_some())
        );
        assert_eq!(log.has_untaken(), self.attached && self.taken < self.last());
        assert_eq!(
            log.is_finished(),
            self.close.is_some_and(|seq| self.taken >= seq)
        );
        // What is kept is the end of the output, counted to the byte.
        let kept = log
            .first_retained()
            .map_or(0, |first| self.bytes_between(first - 1, self.last()));
        assert_eq!(log.retained_bytes(), kept);
        if !self.is_overfull {
            assert!(
                kept <= limits.retained_bytes.max(limits.backlog_bytes) + CHUNK_MAX,
                "{kept}"
            );
        }
        // What nobody needs any more makes room: a process never stops for ever.
        if self.has_caught_up && self.taken == self.last() {
            assert!(log.can_accept(1) || limits.backlog_bytes == 0);
        }
        let evicted: usize = log.take_evicted().map(|bytes| bytes.len()).sum();
        assert!(evicted == 0 || self.close.is_none());
    }

    fn event(&self, event: &Event) {
        match event {
            Event::Output(chunk) => self.chunk(chunk),
            Event::Exited { seq, exit } => assert_eq!((Some(*seq), *exit), (self.exit, DONE)),
            Event::Closed { seq } => assert_eq!(Some(*seq), self.close),
        }
    }

    fn chunk(&self, chunk: &Chunk) {
        let truth = self.all[(chunk.seq - 1) as usize].as_deref();
        assert_eq!(truth, Some(&*chunk.bytes), "{}", chunk.seq);
    }

    fn between(&self, after: Seq, last: Seq) -> impl Iterator<Item = &Vec<u8>> {
        let last = (last as usize).min(self.all.len());
        self.all[(after as usize).min(last)..last].iter().flatten()
    }

    fn bytes_between(&self, after: Seq, last: Seq) -> usize {
        self.between(after, last).map(Vec::len).sum()
    }

    fn outputs_between(&self, after: Seq, last: Seq) -> usize {
        self.between(after, last).count()
    }

    fn last(&self) -> Seq {
        self.all.len() as Seq
    }
}
