//! The directories of a walk, in order, and listed by several workers.
//!
//! ```text
//!   the walk ── push ──▶ │ waiting │ taken │ listed │ ... ── next ──▶ the walk, one after the other
//!                             └── helpers list what is near the front, in any order
//! ```
//!
//! What a walk finds does not depend on who lists: the walk takes the listings in the order of its
//! queue and lists whatever nobody has begun itself. Helpers end before the walk does.

use std::collections::VecDeque;
use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Scope};

use super::super::crew::{self, Place};
use super::super::names::Names;
use crate::os::files::{Directory, Kind, ListBuffer};

/// How far ahead of the walk helpers list. Each may hold an open file if a name's kind is unknown.
const AHEAD_MAX: usize = 32;

/// Names held for the walk at which helpers wait: what the largest walk finds in all.
const NAMES_MAX: usize = super::WALK_ENTRIES_MAX as usize;

/// A directory to enter.
pub(super) struct Pending {
    pub(super) relative: PathBuf,
    /// Which of the result's directories it is.
    pub(super) index: usize,
    /// How deep its entries are.
    pub(super) depth: u64,
}

/// What is in a directory, sorted.
pub(super) struct Listed {
    pub(super) names: Names,
    /// Still open if a name has to be looked up.
    pub(super) directory: Option<Directory>,
    /// Whether these are all.
    pub(super) end: io::Result<()>,
}

/// Lists a directory, of which `allowed` names may be examined. It stays open where links are
/// followed.
pub(super) fn list(
    directory: Directory,
    buffer: &mut ListBuffer,
    mut names: Names,
    allowed: usize,
    follows: bool,
) -> Listed {
    names.clear();
    let mut is_known = !follows;
    let end = directory.list(buffer, |name, kind| {
        is_known &= kind != Kind::Unknown;
        // One name more than may be examined shows that there are more.
        names.push_smallest(name, kind, allowed.saturating_add(1));
        ControlFlow::Continue(())
    });
    names.sort();
    Listed {
        names,
        directory: (!is_known).then_some(directory),
        end,
    }
}

enum Progress {
    Waiting,
    Taken,
    /// What could not be opened is an error.
    Listed(io::Result<Listed>),
}

struct Slot {
    pending: Pending,
    progress: Progress,
}

#[derive(Default)]
struct State {
    slots: VecDeque<Slot>,
    /// How many slots were taken out at the front: a slot's number is this and its place.
    gone: usize,
    /// The first number that no helper has looked at.
    next: usize,
    /// Names in listings that the walk has not taken.
    names: usize,
    /// Names that may still be examined.
    allowed: usize,
    /// Room of earlier listings.
    spare: Vec<Names>,
    helpers: usize,
    is_over: bool,
}

/// The queue of one walk.
pub(super) struct Ahead {
    state: Mutex<State>,
    /// For helpers: something waits, or nothing ever will again.
    work: Condvar,
    /// For the walk: a listing is there.
    listed: Condvar,
}

impl Ahead {
    pub(super) fn new(first: Pending) -> Ahead {
        let ahead = Ahead {
            state: Mutex::default(),
            work: Condvar::new(),
            listed: Condvar::new(),
        };
        ahead.push(vec![first]);
        ahead
    }

    /// Puts directories at the end of the queue.
    pub(super) fn push(&self, found: Vec<Pending>) {
        if found.is_empty() {
            return;
        }
        let mut state = self.lock();
        state.slots.extend(found.into_iter().map(|pending| Slot {
            pending,
            progress: Progress::Waiting,
        }));
        if state.helpers > 0 {
            drop(state);
            self.work.notify_all();
        }
    }

    /// The next directory, and its listing if somebody has made it. One that is being made is
    /// waited for.
    pub(super) fn next(&self, allowed: usize) -> Option<(Pending, Option<io::Result<Listed>>)> {
        let mut state = self.lock();
        state.allowed = allowed;
        while matches!(state.slots.front(), Some(slot) if matches!(slot.progress, Progress::Taken))
        {
            state = self
                .listed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let slot = state.slots.pop_front()?;
        state.gone += 1;
        state.next = state.next.max(state.gone);
        let listed = match slot.progress {
            Progress::Listed(listed) => Some(listed),
            Progress::Waiting | Progress::Taken => None,
        };
        if let Some(Ok(listed)) = &listed {
            state.names -= listed.names.len();
        }
        if state.helpers > 0 {
            drop(state);
            self.work.notify_one();
        }
        Some((slot.pending, listed))
    }

    /// Gives back the room of a listing, for the next.
    pub(super) fn give_back(&self, names: Names) {
        let mut state = self.lock();
        if state.spare.len() <= state.helpers {
            state.spare.push(names);
        }
    }

    /// Room for a listing.
    pub(super) fn room(&self) -> Names {
        self.lock().spare.pop().unwrap_or_default()
    }

    /// Has helpers list what waits below `root`, if there is enough of it and room for them.
    pub(super) fn call_help<'s, 'e>(&'s self, scope: &'s Scope<'s, 'e>, root: &'s Directory) {
        let mut state = self.lock();
        while state.helpers < crew::helpers_max() && state.slots.len() > state.helpers + 1 {
            let Some(place) = Place::take() else { return };
            let helper = thread::Builder::new().name("files".to_owned());
            let started = helper.spawn_scoped(scope, move || {
                let _place = place;
                self.help(root);
            });
            if started.is_err() {
                return;
            }
            state.helpers += 1;
        }
    }

    fn help(&self, root: &Directory) {
        let mut buffer = ListBuffer::new();
        while let Some((mut turn, relative, names, allowed)) = self.take() {
            let listed = root
                .descend(&relative)
                .map(|directory| list(directory, &mut buffer, names, allowed, false));
            turn.listed = Some(listed);
        }
    }

    /// The next directory for a helper; `None` at the end.
    fn take(&self) -> Option<(Turn<'_>, PathBuf, Names, usize)> {
        let mut state = self.lock();
        loop {
            if state.is_over {
                return None;
            }
            let (number, place) = (state.next, state.next - state.gone);
            let may_take = place < AHEAD_MAX && state.names < NAMES_MAX;
            if let Some(slot) = state.slots.get_mut(place).filter(|_| may_take) {
                slot.progress = Progress::Taken;
                let relative = slot.pending.relative.clone();
                state.next += 1;
                let names = state.spare.pop().unwrap_or_default();
                let turn = Turn {
                    ahead: self,
                    number,
                    listed: None,
                };
                return Some((turn, relative, names, state.allowed));
            }
            state = self
                .work
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nobody leaves the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the work of the helpers when the walk ends, however it does.
pub(super) struct End<'a>(pub(super) &'a Ahead);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.lock().is_over = true;
        self.0.work.notify_all();
    }
}

/// One directory in a helper's hands. If it comes to nothing, the walk lists it itself.
struct Turn<'a> {
    ahead: &'a Ahead,
    number: usize,
    listed: Option<io::Result<Listed>>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.ahead.lock();
        let place = self.number - state.gone;
        let held = match &self.listed {
            Some(Ok(listed)) => listed.names.len(),
            _ => 0,
        };
        if let Some(slot) = state.slots.get_mut(place) {
            slot.progress = self
                .listed
                .take()
                .map_or(Progress::Waiting, Progress::Listed);
            state.names += held;
        }
        drop(state);
        // The walk waits for none but the first.
        if place == 0 {
            self.ahead.listed.notify_one();
        }
    }
}
