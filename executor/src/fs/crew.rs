//! Several workers on one tree of directories.
//!
//! ```text
//!   caller ──▶ takes a directory ──▶ works on it ──▶ adds the directories it found ─┐
//!     ▲            one lock for the list; none while working                        │
//!     └─────────────────────────────────────────────────────────────────────────────┘
//!   helpers: the same loop, started when two directories wait, while there is room for them
//! ```
//!
//! A directory is opened anew from the root by whoever takes it, so workers share nothing but the
//! list. The first failure ends all of them. Helpers end before the call returns.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::error::Failure;
use super::tree::Tree;
use crate::os;

/// Helpers of one call. Creating and removing names gains little beyond three processors, because
/// file systems take turns on what they share.
const HELPERS_MAX: usize = 3;

/// Helpers of all calls together; who finds none left works alone. Each costs a thread and some
/// 200 KiB of buffers while the call lasts.
const HELPERS_IN_ALL: usize = 8;

static HELPERS: AtomicUsize = AtomicUsize::new(0);

/// The directories found in one, not yet in the list.
#[derive(Debug, Default)]
pub(super) struct Found {
    names: Vec<u8>,
    /// Where each name ends, and whether the directory is new.
    ends: Vec<(usize, bool)>,
}

impl Found {
    pub(super) fn add(&mut self, name: &OsStr, new: bool) {
        self.names.extend_from_slice(name.as_encoded_bytes());
        self.ends.push((self.names.len(), new));
    }

    fn hand_over(&mut self, tree: &mut Tree, parent: usize) {
        let mut start = 0;
        for (end, new) in self.ends.drain(..) {
            let name = self.names.get(start..end).unwrap_or_default();
            tree.add(parent, crate::os::files::name_from_bytes(name), new);
            start = end;
        }
        self.names.clear();
    }
}

/// One directory to work on.
pub(super) struct Task<'a> {
    /// From the root's name on.
    pub(super) path: &'a Path,
    /// Whether it was said to be new when it was found.
    pub(super) new: bool,
    pub(super) found: &'a mut Found,
}

struct List<'t> {
    tree: &'t mut Tree,
    /// The first directory nobody has taken.
    next: usize,
    /// How many are being worked on.
    taken: usize,
    failure: Option<Failure>,
}

struct Crew<'t> {
    list: Mutex<List<'t>>,
    changed: Condvar,
}

/// How many helpers a call may have on this machine.
pub(super) fn helpers_max() -> usize {
    HELPERS_MAX.min(os::processors() - 1)
}

/// Has `work` done on every directory of `tree`, parents before children; it may find more. Each
/// worker makes its own `W` to work with.
pub(super) fn work_through<W: Default>(
    tree: &mut Tree,
    work: impl Fn(&mut W, Task<'_>) -> Result<(), Failure> + Sync,
) -> Result<(), Failure> {
    let crew = Crew {
        list: Mutex::new(List {
            tree,
            next: 0,
            taken: 0,
            failure: None,
        }),
        changed: Condvar::new(),
    };
    thread::scope(|scope| {
        let mut helpers = 0;
        let most = helpers_max();
        crew.run(&work, |waiting| {
            while helpers < most.min(waiting.saturating_sub(1)) {
                let Some(place) = Place::take() else { return };
                let helper = thread::Builder::new().name("files".to_owned());
                let (crew, work) = (&crew, &work);
                let started = helper.spawn_scoped(scope, move || {
                    let _place = place;
                    crew.run(work, |_| {});
                });
                if started.is_err() {
                    return;
                }
                helpers += 1;
            }
        });
    });
    match crew
        .list
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
        .failure
    {
        Some(failure) => Err(failure),
        None => Ok(()),
    }
}

impl<'t> Crew<'t> {
    /// Works until nothing is left or somebody failed. `before` hears how many directories wait.
    fn run<W: Default>(
        &self,
        work: &impl Fn(&mut W, Task<'_>) -> Result<(), Failure>,
        mut before: impl FnMut(usize),
    ) {
        let (mut own, mut found) = (W::default(), Found::default());
        while let Some((index, path, new, waiting)) = self.take() {
            before(waiting);
            let turn = Turn(self);
            let task = Task {
                path: &path,
                new,
                found: &mut found,
            };
            let done = work(&mut own, task);
            let mut list = self.lock();
            found.hand_over(list.tree, index);
            if let Err(failure) = done {
                list.failure.get_or_insert(failure);
            }
            drop(list);
            drop(turn);
        }
    }

    /// The next directory and how many wait, that one included; `None` at the end.
    fn take(&self) -> Option<(usize, PathBuf, bool, usize)> {
        let mut list = self.lock();
        loop {
            if list.failure.is_some() {
                return None;
            }
            let (index, len) = (list.next, list.tree.len());
            if index < len {
                list.next += 1;
                list.taken += 1;
                let (path, new) = (list.tree.path(index), list.tree.is_new(index));
                return Some((index, path, new, len - index));
            }
            if list.taken == 0 {
                return None;
            }
            list = self
                .changed
                .wait(list)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, List<'t>> {
        // Nobody leaves the list half changed.
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One directory in somebody's hands. Ends even when the work panics, so that nobody waits for it.
struct Turn<'a, 't>(&'a Crew<'t>);

impl Drop for Turn<'_, '_> {
    fn drop(&mut self) {
        self.0.lock().taken -= 1;
        self.0.changed.notify_all();
    }
}

/// One of the helpers of all calls.
pub(super) struct Place;

impl Place {
    pub(super) fn take() -> Option<Place> {
        let place = Place;
        if HELPERS.fetch_add(1, Ordering::Relaxed) < HELPERS_IN_ALL {
            Some(place)
        } else {
            None
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        HELPERS.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::AtomicBool;

    use super::super::error::Cause;
    use super::*;

    fn tree() -> Tree {
        Tree::new(OsStr::new("root"), false)
    }

    #[test]
    fn every_directory_is_worked_on_once_and_after_its_parent() {
        let (mut tree, seen) = (tree(), Mutex::new(BTreeMap::new()));
        let worked = work_through(&mut tree, |_: &mut (), task| {
            let mut seen = seen.lock().unwrap();
            let parent = task.path.parent().unwrap();
            assert!(parent.as_os_str().is_empty() || seen.contains_key(parent));
            assert_eq!(seen.insert(task.path.to_path_buf(), task.new), None);
            if task.path.components().count() < 5 {
                for name in ["a", "b", "c", "d"] {
                    task.found.add(name.as_ref(), name == "a");
                }
            }
            Ok(())
        });
        assert!(worked.is_ok());
        let seen = seen.into_inner().unwrap();
        assert_eq!(seen.len(), 1 + 4 + 16 + 64 + 256);
        assert!(seen.iter().all(|(path, new)| *new == path.ends_with("a")));
        assert_eq!(tree.len(), seen.len());
    }

    #[test]
    fn a_failure_ends_the_work() {
        let (mut tree, count) = (tree(), AtomicUsize::new(0));
        // There is always more to do, so that it returns at all is what is shown.
        let worked = work_through(&mut tree, |_: &mut (), task| {
            if count.fetch_add(1, Ordering::Relaxed) == 100 {
                return Err(Failure::at(Path::new("here"), Cause::Overdue));
            }
            for name in ["a", "b"] {
                task.found.add(name.as_ref(), false);
            }
            Ok(())
        });
        assert_eq!(
            worked.unwrap_err().of("x", Path::new("y")).path(),
            Path::new("here")
        );
    }

    #[test]
    fn a_panic_reaches_the_caller_and_leaves_nobody_waiting() {
        let panicked = AtomicBool::new(false);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            work_through(&mut tree(), |_: &mut (), task| {
                for name in ["a", "b", "c"] {
                    task.found.add(name.as_ref(), false);
                }
                let depth = task.path.components().count();
                assert!(
                    depth < 4 || panicked.swap(true, Ordering::Relaxed),
                    "as a test wants"
                );
                if depth >= 4 {
                    *task.found = Found::default();
                }
                Ok(())
            })
        }));
        assert!(outcome.is_err());
    }
}
