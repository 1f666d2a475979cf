//! The log against a model that remembers everything, whatever happens in which order.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Push(usize),
    Take(usize),
    Detach,
    Attach,
    Read(Seq, Option<u64>),
    ReleasePins,
    Move(usize),
    Exit,
    Close,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (1usize..25).prop_map(Step::Push),
        5 => (1usize..6).prop_map(Step::Take),
        1 => Just(Step::Detach),
        1 => Just(Step::Attach),
        3 => (0u64..80, prop::option::of(0u64..90)).prop_map(|(after, max)| Step::Read(after, max)),
        1 => Just(Step::ReleasePins),
        2 => (0usize..60).prop_map(Step::Move),
        1 => Just(Step::Exit),
        1 => Just(Step::Close),
    ];
    prop::collection::vec(step, 0..160)
}

/// Remembers everything, and says in plain words what must still be there.
#[derive(Default)]
struct Model {
    chunks: Vec<(Seq, usize)>,
    last: Seq,
    exited: Option<Seq>,
    closed: Option<Seq>,
    taken: Seq,
    detached: bool,
    /// Set at a break: output behind this position may not have arrived.
    doubtful_after: Option<Seq>,
    /// Set at a resume: the doubt ends here.
    doubtful_until: Seq,
    /// Whoever read the page that ended the doubt said that everything up to here had arrived.
    asked_behind: Seq,
}

impl Model {
    fn must_be_there(&self, seq: Seq) -> bool {
        let in_doubt = self
            .doubtful_after
            .is_some_and(|after| seq > after && (self.detached || seq <= self.doubtful_until));
        in_doubt || (!self.detached && seq > self.taken) || self.in_the_tail(seq)
    }

    /// The promise that holds whatever was delivered: the newest output, up to the limits.
    fn in_the_tail(&self, seq: Seq) -> bool {
        let (mut bytes, mut count) = (0, 0);
        for (at, len) in self.chunks.iter().rev() {
            bytes += len;
            count += 1;
            if bytes > SMALL.retained_bytes || count > SMALL.retained_chunks {
                return false;
            }
            if *at == seq {
                return true;
            }
        }
        false
    }

    fn detach(&mut self) {
        if self.detached {
            return;
        }
        self.detached = true;
        let (mut bytes, mut count) = (0, 0);
        let mut after = 0;
        for (seq, len) in self
            .chunks
            .iter()
            .rev()
            .filter(|(seq, _)| *seq <= self.taken)
        {
            bytes += len;
            count += 1;
            if bytes > SMALL.in_flight_bytes || count > SMALL.retained_chunks / 2 {
                after = *seq;
                break;
            }
        }
        let after = self.doubtful_after.map_or(after, |old| old.min(after));
        self.doubtful_after = Some(after.max(self.asked_behind));
    }

    /// A page behind `after` that ends before `next` was read.
    fn read(&mut self, after: Seq, next: Seq) {
        let ends_the_doubt = next > self.doubtful_until;
        if !self.detached && self.doubtful_after.is_some() && ends_the_doubt {
            self.asked_behind = self.asked_behind.max(after.min(self.last));
        }
        self.arrived(if ends_the_doubt {
            self.doubtful_until
        } else {
            after
        });
    }

    fn arrived(&mut self, seq: Seq) {
        if self.detached {
            return;
        }
        if let Some(after) = self.doubtful_after {
            let after = after.max(seq);
            self.doubtful_after = (after < self.doubtful_until).then_some(after);
        }
    }
}

proptest! {
    #[test]
    fn the_log_behaves_like_one_that_remembers_everything(steps in steps()) {
        let (mut log, mut model) = (OutputLog::new(SMALL), Model::default());
        for step in steps {
            match step {
                Step::Push(len) if model.closed.is_none() && log.can_accept(len) => {
                    model.last += 1;
                    model.chunks.push((model.last, len));
                    let seq = log.push(OutputStream::Stderr, Bytes::from(vec![model.last as u8; len]));
                    prop_assert_eq!(seq, model.last);
                }
                Step::Push(_) => {}
                Step::Take(count) => for _ in 0..count {
                    let got = log.take().map(|event| event.seq());
                    let expected = (!model.detached && model.taken < model.last).then_some(model.taken + 1);
                    prop_assert_eq!(got, expected);
                    model.taken = expected.unwrap_or(model.taken);
                },
                Step::Detach => { log.detach(); model.detach(); }
                Step::Attach => {
                    log.attach();
                    if model.detached {
                        model.detached = false;
                        model.doubtful_until = model.last;
                    }
                    model.taken = model.last;
                    model.arrived(0);
                }
                Step::Read(after, max) => {
                    let page = log.read(after, max);
                    let mut bytes = 0;
                    let mut previous = after;
                    for chunk in &page.chunks {
                        bytes += chunk.bytes.len() as u64;
                        let known = model.chunks.iter().find(|(seq, _)| *seq == chunk.seq);
                        prop_assert_eq!(known, Some(&(chunk.seq, chunk.bytes.len())));
                        prop_assert!(chunk.seq > previous);
                        prop_assert!(model.chunks.iter().all(|(seq, _)| *seq <= previous || *seq >= chunk.seq)
                            || previous == after, "a hole inside a page");
                        previous = chunk.seq;
                    }
                    prop_assert!(page.chunks.len() <= 1 || bytes <= max.unwrap_or(u64::MAX));
                    let whole = model.last + 1;
                    let next = match (max, page.chunks.last()) {
                        (Some(_), Some(last)) => last.seq + 1,
                        _ => whole,
                    };
                    prop_assert_eq!(page.next_seq, next);
                    prop_assert_eq!((page.exit.is_some(), page.closed), (model.exited.is_some(), model.closed.is_some()));
                    model.read(after, next);
                }
                Step::ReleasePins => { log.release_pins(); model.arrived(model.doubtful_until); }
                Step::Move(keep) => {
                    let chunks: Vec<_> = log.movable(keep).cloned().collect();
                    log.moved(chunks.into_iter().map(|chunk| (chunk.seq, chunk.bytes)));
                    prop_assert!(log.unmoved_bytes() <= log.retained_bytes());
                    prop_assert_eq!(log.movable(keep).count(), 0);
                }
                Step::Exit => if model.exited.is_none() {
                    model.last += 1;
                    model.exited = Some(model.last);
                    log.exited(DONE);
                },
                Step::Close => if model.exited.is_some() && model.closed.is_none() {
                    model.last += 1;
                    model.closed = Some(model.last);
                    log.closed();
                },
            }
            // What is retained is a suffix of the output, and nothing that matters is missing.
            let first = log.first_retained().unwrap_or(Seq::MAX);
            for (seq, _) in &model.chunks {
                prop_assert!(*seq >= first || !model.must_be_there(*seq), "{} is gone", seq);
            }
            prop_assert!(log.retained_bytes() <= SMALL.retained_bytes + 25 + SMALL.backlog_bytes);
            prop_assert_eq!(log.last_seq(), model.last);
            prop_assert_eq!(log.has_untaken(), !model.detached && model.taken < model.last);
        }
    }
}
