//! Which filesystem requests of one connection may run at once.
//!
//! A client that sends a write and then a read of the same path without waiting means them in that
//! order, however many requests are served at a time. So requests conflict when at least one of
//! them changes something and their paths overlap, and of two that conflict the later one waits
//! for the earlier one; all others run as they come.
//!
//! ```text
//!   admit ──▶ Now ───────────────▶ run ──▶ finish ──▶ tickets that may run now
//!     └─────▶ Wait ── named by an earlier finish ──▲
//! ```
//!
//! Plain values: no lock, no task, no file system. Paths are compared as spelled, so two names of
//! one file (a link, a mount) are not seen to overlap.

use std::cmp::Ordering;
use std::path::{Path, PathBuf};

/// Names one admitted request. Chosen by the caller, not reused before it is finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// How much of the tree at a path a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The path itself: reading or writing a file, its metadata.
    Path,
    /// The path and everything below: listing, walking, removing, copying, making directories.
    Subtree,
}

/// What a request touches.
#[derive(Clone, Copy, Debug)]
pub struct Access<'a> {
    first: Claim<'a>,
    /// Where a copy goes.
    second: Option<Claim<'a>>,
}

#[derive(Clone, Copy, Debug)]
struct Claim<'a> {
    path: &'a Path,
    reach: Reach,
    changes: bool,
}

impl<'a> Access<'a> {
    /// For requests that change nothing.
    pub fn read(path: &'a Path, reach: Reach) -> Access<'a> {
        let first = Claim {
            path,
            reach,
            changes: false,
        };
        Access {
            first,
            second: None,
        }
    }

    /// For requests that change what is at a path. Whatever makes or removes a directory changes
    /// the subtree.
    ///
    /// A recursive creation changes more than its path says: give it [`super::topmost_missing`].
    pub fn change(path: &'a Path, reach: Reach) -> Access<'a> {
        let first = Claim {
            path,
            reach,
            changes: true,
        };
        Access {
            first,
            second: None,
        }
    }

    /// Changes what is at two paths, and everything below.
    pub fn rename(source: &'a Path, destination: &'a Path) -> Access<'a> {
        let claim = |path| Claim {
            path,
            reach: Reach::Subtree,
            changes: true,
        };
        Access {
            first: claim(source),
            second: Some(claim(destination)),
        }
    }

    /// Reads one tree and changes another. A copy of a tree creates missing parents too: give it
    /// [`super::topmost_missing`] of the destination.
    pub fn copy(source: &'a Path, destination: &'a Path) -> Access<'a> {
        let reach = Reach::Subtree;
        let first = Claim {
            path: source,
            reach,
            changes: false,
        };
        let second = Some(Claim {
            path: destination,
            reach,
            changes: true,
        });
        Access { first, second }
    }

    fn changes(&self) -> bool {
        self.first.changes || self.second.is_some_and(|claim| claim.changes)
    }
}

/// An [`Access`] as it is kept and compared.
#[derive(Debug)]
struct Footprint {
    first: Area,
    second: Option<Area>,
}

#[derive(Debug)]
struct Area {
    /// Without doubled or trailing separators, which is all that varies in a parsed path.
    path: Box<[u8]>,
    reach: Reach,
    changes: bool,
}

impl Footprint {
    fn of(access: &Access<'_>) -> Footprint {
        Footprint {
            first: Area::of(&access.first),
            second: access.second.as_ref().map(Area::of),
        }
    }

    fn areas(&self) -> impl Iterator<Item = &Area> {
        std::iter::once(&self.first).chain(&self.second)
    }

    fn conflicts(&self, other: &Footprint) -> bool {
        self.areas()
            .any(|mine| other.areas().any(|theirs| mine.conflicts(theirs)))
    }
}

impl Area {
    fn of(claim: &Claim<'_>) -> Area {
        let path: PathBuf = claim.path.components().collect();
        let path = path
            .into_os_string()
            .into_encoded_bytes()
            .into_boxed_slice();
        Area {
            path,
            reach: claim.reach,
            changes: claim.changes,
        }
    }

    fn conflicts(&self, other: &Area) -> bool {
        (self.changes || other.changes) && self.overlaps(other)
    }

    fn overlaps(&self, other: &Area) -> bool {
        let (mine, theirs) = (&self.path, &other.path);
        match mine.len().cmp(&theirs.len()) {
            Ordering::Equal => mine == theirs,
            Ordering::Less => self.reach == Reach::Subtree && is_below(theirs, mine),
            Ordering::Greater => other.reach == Reach::Subtree && is_below(mine, theirs),
        }
    }
}

/// Whether a longer path is below a shorter one.
fn is_below(path: &[u8], above: &[u8]) -> bool {
    match path.strip_prefix(above) {
        // The root is the one path that ends with its separator.
        Some(rest) => is_separator(above.last()) || is_separator(rest.first()),
        None => false,
    }
}

fn is_separator(byte: Option<&u8>) -> bool {
    byte.is_some_and(|&byte| std::path::is_separator(char::from(byte)))
}

/// Whether a request may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admit {
    Now,
    /// Later: a [`PathOrder::finish`] will name it.
    Wait,
}

/// The requests of one connection that have not finished.
///
/// It holds as many as the caller admits; the caller's bound on requests in flight is the bound.
#[derive(Debug, Default)]
pub struct PathOrder {
    /// In order of admission.
    live: Vec<Live>,
    /// How many of them change something.
    changing: usize,
}

#[derive(Debug)]
struct Live {
    ticket: Ticket,
    footprint: Footprint,
    changes: bool,
    /// How many earlier ones it still waits for.
    blockers: usize,
}

impl PathOrder {
    pub fn new() -> PathOrder {
        PathOrder::default()
    }

    /// Whether a request could run and be done with at once, without being admitted.
    #[inline]
    pub fn is_free(&self, access: &Access<'_>) -> bool {
        // Mostly nothing is under way, or nothing that changes anything.
        self.is_trivially_free(access) || self.blockers(&Footprint::of(access)) == 0
    }

    pub fn admit(&mut self, ticket: Ticket, access: Access<'_>) -> Admit {
        let (footprint, changes) = (Footprint::of(&access), access.changes());
        let blockers = if self.is_trivially_free(&access) {
            0
        } else {
            self.blockers(&footprint)
        };
        self.changing += usize::from(changes);
        self.live.push(Live {
            ticket,
            footprint,
            changes,
            blockers,
        });
        if blockers == 0 {
            Admit::Now
        } else {
            Admit::Wait
        }
    }

    /// Ends a request, whether it ran or is given up, and names those that may run now, the
    /// longest waiting first.
    pub fn finish(&mut self, ticket: Ticket) -> Vec<Ticket> {
        let Some(place) = self.live.iter().position(|live| live.ticket == ticket) else {
            return Vec::new();
        };
        let done = self.live.remove(place);
        self.changing -= usize::from(done.changes);
        let mut ready = Vec::new();
        for later in self.live.iter_mut().skip(place) {
            // Whatever conflicts and came later has counted it.
            if later.blockers > 0 && later.footprint.conflicts(&done.footprint) {
                later.blockers -= 1;
                if later.blockers == 0 {
                    ready.push(later.ticket);
                }
            }
        }
        ready
    }

    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    fn is_trivially_free(&self, access: &Access<'_>) -> bool {
        self.live.is_empty() || (self.changing == 0 && !access.changes())
    }

    fn blockers(&self, footprint: &Footprint) -> usize {
        self.live
            .iter()
            .filter(|live| live.footprint.conflicts(footprint))
            .count()
    }
}

#[cfg(test)]
mod tests;
