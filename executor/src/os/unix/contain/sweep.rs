//! Finding and killing everything that descends from what is doomed, until nobody is left.
//!
//! A fork storm is outrun because a killed process cannot fork any more, and because a scan goes
//! through the numbers in the direction in which new ones are given out. One empty scan proves
//! little, since a process may have moved behind it; a second one has to find nobody either.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::Pid;

use super::mark::{Family, Kin, Limits};
use super::processes::{Processes, kill, parent, wait_for_end};
use super::{Branch, Doomed};

/// Scans in a row that must find nobody.
const EMPTY_SCANS: u32 = 2;
/// How long the killed of one scan are waited for before the next: death takes a moment.
const DEATH: Duration = Duration::from_millis(20);
/// How many of them are waited for. Those beyond are found again by the next scan.
const WAITED_FOR_MAX: usize = 64;
/// Ancestors looked at; deeper trees than this are no accident, and their upper part is found.
const ANCESTORS_MAX: usize = 64;

/// The programs that were started here and not yet collected.
pub(super) type Programs = Mutex<HashMap<Pid, Branch>>;

/// One who sweeps.
#[derive(Debug)]
pub(super) struct Sweep {
    family: Family,
    processes: Processes,
    here: Option<Here>,
}

/// What only the executor itself knows.
#[derive(Debug)]
pub(super) struct Here {
    /// Who adopts orphans, if we do.
    pub(super) adopter: Option<Pid>,
    pub(super) programs: Arc<Programs>,
}

/// What one scan found.
#[derive(Debug, Default)]
struct Found {
    alive: usize,
    dying: Vec<OwnedFd>,
}

impl Sweep {
    pub(super) fn new(family: Family, here: Option<Here>) -> io::Result<Sweep> {
        Ok(Sweep {
            family,
            processes: Processes::open()?,
            here,
        })
    }

    /// Whether a process bears a mark of this family already, a guardian included: then another
    /// executor chose the same.
    pub(super) fn is_taken(&mut self) -> io::Result<bool> {
        let family = self.family;
        let mut taken = false;
        self.processes.each(|pid| {
            taken |= Limits::of(Some(pid)).is_some_and(|limits| family.bears(limits));
        })?;
        Ok(taken)
    }

    /// Kills until nobody is left, or `rounds` have not been enough; says which.
    pub(super) fn run(&mut self, doomed: &[Doomed], rounds: u32) -> io::Result<bool> {
        let mut empty = 0;
        for _ in 0..rounds {
            let found = self.round(doomed)?;
            empty = if found.alive == 0 { empty + 1 } else { 0 };
            if empty == EMPTY_SCANS {
                return Ok(true);
            }
            wait_for_end(found.dying, DEATH);
        }
        Ok(false)
    }

    fn round(&mut self, doomed: &[Doomed]) -> io::Result<Found> {
        let mut found = Found::default();
        let mut failed = None;
        let judge = Judge {
            family: self.family,
            here: self.here.as_ref(),
            doomed,
        };
        self.processes.each(|pid| {
            if !judge.is_doomed(pid) {
                return;
            }
            match kill(pid, |pid| judge.is_doomed(pid)) {
                Ok(None) => {}
                Ok(Some(dying)) => {
                    found.alive += 1;
                    if found.dying.len() < WAITED_FOR_MAX {
                        found.dying.push(dying);
                    }
                }
                Err(error) => {
                    found.alive += 1;
                    failed = Some(error);
                }
            }
        })?;
        if let Some(error) = failed {
            // Out of descriptors, most likely: the next round has those of the killed.
            tracing::debug!(%error, "a process could not be killed yet");
        }
        Ok(found)
    }
}

/// Who decides about one process.
struct Judge<'a> {
    family: Family,
    here: Option<&'a Here>,
    doomed: &'a [Doomed],
}

impl Judge<'_> {
    fn is_doomed(&self, pid: Pid) -> bool {
        match self.kin(pid) {
            Kin::Stranger => false,
            Kin::Ours(branch) => self.condemns(branch),
            Kin::Unclear => self.descends(pid),
        }
    }

    fn kin(&self, pid: Pid) -> Kin {
        Limits::of(Some(pid)).map_or(Kin::Stranger, |limits| self.family.kin(limits))
    }

    fn condemns(&self, branch: Branch) -> bool {
        self.doomed.iter().any(|doomed| match doomed {
            Doomed::Program(program) => *program == branch,
            Doomed::Session(session) => *session == branch.session,
            Doomed::Everything => true,
        })
    }

    /// For a process without a readable mark, which says nothing by itself: below an executor that
    /// one of our programs runs, or one that spoiled its mark. Whose it is, its ancestors tell.
    fn descends(&self, pid: Pid) -> bool {
        let mut at = pid;
        for _ in 0..ANCESTORS_MAX {
            if let Some(branch) = self.program(at) {
                return self.condemns(branch);
            }
            let Some(above) = parent(at) else {
                return false;
            };
            if self.here.and_then(|here| here.adopter) == Some(above) {
                // An orphan that came to us, and what it came from is no longer to be known.
                // Only a program of ours can have been its origin.
                return true;
            }
            match self.kin(above) {
                Kin::Ours(branch) => return self.condemns(branch),
                Kin::Stranger | Kin::Unclear => at = above,
            }
        }
        false
    }

    /// The branch of a program that we started, whatever it did to its mark.
    fn program(&self, pid: Pid) -> Option<Branch> {
        let programs = &self.here?.programs;
        let programs = programs.lock().unwrap_or_else(PoisonError::into_inner);
        programs.get(&pid).copied()
    }
}
