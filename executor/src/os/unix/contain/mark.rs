//! The mark: two numbers in a resource limit that Linux keeps and nobody reads.
//!
//! `RLIMIT_LOCKS` has limited nothing since Linux 2.5. It is copied to every child, survives
//! `exec`, `setsid` and a cleared environment, can be read of any process we may signal, and its
//! hard half can be lowered but never raised without privilege. So a program cannot take the mark
//! of another session, and one that spoils its own is seen to have done so.
//!
//! ```text
//!   hard   family (32 bits) │ 1 │ session (31 bits)      session 0 is the guardian
//!   soft   family (32 bits) │ 0 │ program (31 bits)
//! ```

use std::mem::MaybeUninit;
use std::ptr;

use rustix::process::Pid;

use super::Branch;

/// Below this there is no room for families; somebody has limited us on purpose.
const FAMILIES_MIN: u64 = 1 << 16;
const FAMILY_SHIFT: u32 = 32;
/// Makes the hard half the larger one, whatever the numbers.
const HARD: u64 = 1 << 31;
/// What a session's or a program's number may be.
pub(super) const NUMBER_MAX: u32 = (1 << 31) - 1;

/// The limits of a process, as far as they carry marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::os::unix) struct Limits {
    pub(super) soft: u64,
    pub(super) hard: u64,
}

/// One executor and all that descends from what it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Family {
    id: u64,
    /// The hard limit of whoever bears no mark of ours: what we were started with.
    unmarked: u64,
}

/// What the limits of a process say about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kin {
    /// Bears no mark, or one of a guardian: not ours.
    Stranger,
    /// A program of ours, or what descends from it.
    Ours(Branch),
    /// Some other limit: of another executor, or ours and spoiled. Its ancestors tell.
    Unclear,
}

impl Family {
    /// One that `random` picks of those that somebody limited to `unmarked` can bear.
    ///
    /// An executor that was itself started by an executor bears a mark already, and picks below
    /// it, because a limit can only be lowered.
    pub(super) fn pick(unmarked: u64, random: u32) -> Option<Family> {
        let end = unmarked >> FAMILY_SHIFT;
        let choice = end - end / 2;
        (end >= FAMILIES_MIN).then(|| Family {
            id: end / 2 + u64::from(random) % choice,
            unmarked,
        })
    }

    /// As the guardian is told.
    pub(super) fn parse(id: &str, unmarked: u64) -> Option<Family> {
        let id = id.parse().ok()?;
        (id >> FAMILY_SHIFT == 0 && id != 0).then_some(Family { id, unmarked })
    }

    /// What [`Family::parse`] reads.
    pub(super) fn id(self) -> u64 {
        self.id
    }

    pub(super) fn mark(self, branch: Branch) -> Limits {
        self.limits(branch.session, branch.program)
    }

    /// What the guardian bears, so that no sweep takes it for one of those it watches.
    pub(super) fn of_guardian(self) -> Limits {
        self.limits(0, 0)
    }

    /// Whether the limits are of this family, a guardian's included.
    pub(super) fn bears(self, limits: Limits) -> bool {
        limits.hard >> FAMILY_SHIFT == self.id && limits.hard & HARD != 0
    }

    pub(super) fn kin(self, limits: Limits) -> Kin {
        if limits.hard == self.unmarked {
            return Kin::Stranger;
        }
        if !self.bears(limits) {
            return Kin::Unclear;
        }
        let number = |half: u64| u32::try_from(half & u64::from(NUMBER_MAX)).unwrap_or_default();
        match number(limits.hard) {
            0 => Kin::Stranger,
            session => Kin::Ours(Branch {
                session,
                // Whoever changed it, which anybody may, is still of its session.
                program: match limits.soft >> FAMILY_SHIFT == self.id {
                    true => number(limits.soft),
                    false => 0,
                },
            }),
        }
    }

    fn limits(self, session: u32, program: u32) -> Limits {
        let family = self.id << FAMILY_SHIFT;
        Limits {
            soft: family | u64::from(program & NUMBER_MAX),
            hard: family | HARD | u64::from(session & NUMBER_MAX),
        }
    }
}

impl Limits {
    /// Those of a process; `None` if there is none of this number, or it is not ours to look at.
    pub(super) fn of(pid: Option<Pid>) -> Option<Limits> {
        let number = pid.map_or(0, |pid| pid.as_raw_nonzero().get());
        let mut limits = MaybeUninit::<libc::rlimit64>::uninit();
        // Why at all: there is no safe call that asks for the limits of another process.
        // Why sound: the kernel writes one `rlimit64`, and only then is it read.
        #[expect(unsafe_code, reason = "the limits of another process")]
        let limits = unsafe {
            let status =
                libc::prlimit64(number, libc::RLIMIT_LOCKS, ptr::null(), limits.as_mut_ptr());
            (status == 0).then(|| limits.assume_init())
        }?;
        Some(Limits {
            soft: limits.rlim_cur,
            hard: limits.rlim_max,
        })
    }

    pub(in crate::os::unix) fn for_kernel(self) -> libc::rlimit64 {
        libc::rlimit64 {
            rlim_cur: self.soft,
            rlim_max: self.hard,
        }
    }

    /// Puts them on this process.
    pub(super) fn bear(self) -> std::io::Result<()> {
        let limits = self.for_kernel();
        // Why at all: the safe call writes "infinite" as no number, and must not be relied on for
        // numbers this large on every target. Why sound: the kernel reads one `rlimit64`.
        #[expect(unsafe_code, reason = "a limit of 64 bits on every target")]
        let status =
            unsafe { libc::prlimit64(0, libc::RLIMIT_LOCKS, &raw const limits, ptr::null_mut()) };
        match status {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BRANCH: Branch = Branch {
        session: 7,
        program: NUMBER_MAX,
    };

    #[test]
    fn a_mark_tells_the_branch_and_only_to_its_family() {
        let family = Family::pick(u64::MAX, 5).unwrap();
        let other = Family::pick(u64::MAX, 6).unwrap();
        let mark = family.mark(BRANCH);
        assert!(mark.soft < mark.hard && mark.hard < u64::MAX);
        assert_eq!(family.kin(mark), Kin::Ours(BRANCH));
        assert_eq!(other.kin(mark), Kin::Unclear);
    }

    #[test]
    fn who_bears_no_mark_or_guards_is_a_stranger() {
        let family = Family::pick(u64::MAX, u32::MAX).unwrap();
        let unmarked = Limits {
            soft: 10,
            hard: u64::MAX,
        };
        assert_eq!(family.kin(unmarked), Kin::Stranger);
        assert_eq!(family.kin(family.of_guardian()), Kin::Stranger);
        assert!(family.bears(family.of_guardian()));
        assert_eq!(
            Family::parse(&family.id().to_string(), u64::MAX),
            Some(family)
        );
        assert_eq!(Family::parse("0", u64::MAX), None);
        assert_eq!(Family::parse("x", u64::MAX), None);
    }

    #[test]
    fn a_spoiled_soft_half_keeps_its_session_and_a_spoiled_hard_half_is_noticed() {
        let family = Family::pick(u64::MAX, 1).unwrap();
        let mark = family.mark(BRANCH);
        let soft = Limits { soft: 3, ..mark };
        let nobody = Branch {
            program: 0,
            ..BRANCH
        };
        assert_eq!(family.kin(soft), Kin::Ours(nobody));
        let hard = Limits { soft: 0, hard: 3 };
        assert_eq!(family.kin(hard), Kin::Unclear);
    }

    #[test]
    fn an_executor_below_an_executor_still_finds_marks_that_it_may_set() {
        let mut unmarked = u64::MAX;
        for random in [0, u32::MAX, 1, 77, u32::MAX, 12, 13, 14] {
            let family = Family::pick(unmarked, random).unwrap();
            let mark = family.mark(BRANCH);
            assert!(mark.hard < unmarked, "{unmarked:x} {mark:x?}");
            unmarked = mark.hard;
        }
        assert_eq!(Family::pick(1000, 0), None);
    }
}
