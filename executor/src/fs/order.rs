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

use std::borrow::Cow;
use std::path::Path;

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
#[derive(Clone, Debug)]
pub struct Access<'a> {
    first: Claim<'a>,
    /// Where a copy goes.
    second: Option<Claim<'a>>,
}

#[derive(Clone, Debug)]
struct Claim<'a> {
    path: Cow<'a, [u8]>,
    reach: Reach,
    changes: bool,
}

impl<'a> Access<'a> {
    /// For requests that change nothing.
    pub fn read(path: &'a Path, reach: Reach) -> Access<'a> {
        Access {
            first: Claim::new(path, reach, false),
            second: None,
        }
    }

    /// For requests that change what is at a path.
    ///
    /// A recursive creation changes more than its path says: give it [`super::topmost_missing`].
    pub fn change(path: &'a Path, reach: Reach) -> Access<'a> {
        Access {
            first: Claim::new(path, reach, true),
            second: None,
        }
    }

    /// Reads one tree and changes another, whose missing parents may be created too.
    pub fn copy(source: &'a Path, destination: &'a Path) -> Access<'a> {
        let second = Some(Claim::new(destination, Reach::Subtree, true));
        Access {
            first: Claim::new(source, Reach::Subtree, false),
            second,
        }
    }

    fn changes(&self) -> bool {
        self.claims().any(|claim| claim.changes)
    }

    fn claims(&self) -> impl Iterator<Item = &Claim<'a>> {
        std::iter::once(&self.first).chain(&self.second)
    }

    fn conflicts(&self, other: &Access<'_>) -> bool {
        self.claims()
            .any(|mine| other.claims().any(|theirs| mine.conflicts(theirs)))
    }

    fn into_owned(self) -> Access<'static> {
        Access {
            first: self.first.into_owned(),
            second: self.second.map(Claim::into_owned),
        }
    }
}

impl<'a> Claim<'a> {
    fn new(path: &'a Path, reach: Reach, changes: bool) -> Claim<'a> {
        let given = path.as_os_str().as_encoded_bytes();
        // Paths come from parsed URIs; a doubled or trailing separator is all that can vary.
        let plain = path.components().as_path().as_os_str().len() == given.len()
            && !given.windows(2).any(|pair| pair == b"//");
        let path = if plain {
            Cow::Borrowed(given)
        } else {
            Cow::Owned(
                path.components()
                    .collect::<std::path::PathBuf>()
                    .into_os_string()
                    .into_encoded_bytes(),
            )
        };
        Claim {
            path,
            reach,
            changes,
        }
    }

    fn conflicts(&self, other: &Claim<'_>) -> bool {
        (self.changes || other.changes) && self.overlaps(other)
    }

    fn overlaps(&self, other: &Claim<'_>) -> bool {
        let (mine, theirs) = (self.path.as_ref(), other.path.as_ref());
        match mine.len().cmp(&theirs.len()) {
            std::cmp::Ordering::Equal => mine == theirs,
            std::cmp::Ordering::Less => self.reach == Reach::Subtree && is_below(theirs, mine),
            std::cmp::Ordering::Greater => other.reach == Reach::Subtree && is_below(mine, theirs),
        }
    }

    fn into_owned(self) -> Claim<'static> {
        Claim {
            path: Cow::Owned(self.path.into_owned()),
            reach: self.reach,
            changes: self.changes,
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
    access: Access<'static>,
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
        self.live.is_empty()
            || (self.changing == 0 && !access.changes())
            || self.blockers(access) == 0
    }

    pub fn admit(&mut self, ticket: Ticket, access: Access<'_>) -> Admit {
        let blockers = if self.is_free(&access) {
            0
        } else {
            self.blockers(&access)
        };
        self.changing += usize::from(access.changes());
        self.live.push(Live {
            ticket,
            access: access.into_owned(),
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
        self.changing -= usize::from(done.access.changes());
        let mut ready = Vec::new();
        for later in self.live.iter_mut().skip(place) {
            // Whatever conflicts and came later has counted it.
            if later.blockers > 0 && later.access.conflicts(&done.access) {
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

    fn blockers(&self, access: &Access<'_>) -> usize {
        self.live
            .iter()
            .filter(|live| live.access.conflicts(access))
            .count()
    }
}

#[cfg(test)]
mod tests;
