//! The executor's first thread, which does nothing but look after those nobody else does.
//!
//! Processes whose parent ended come to us, because we said so to the kernel, and there to the
//! first thread; programs are children of the threads that started them. So the first thread can
//! wait for *its* children only: it collects every orphan at its end, is never woken by the end
//! of a program, and takes no program's exit code away from the task that waits for it.
//!
//! It also keeps the guardian: if somebody ends or stops that, it is there again at once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{self, ExitCode};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, wait};

use super::guardian::Guardian;
use super::mark::Family;

/// The service has its own thread; this is what a first thread usually has.
const SERVICE_STACK: usize = 2 * 1024 * 1024;
/// What a program answers that panicked.
const PANICKED: u8 = 101;
/// Only children of the calling thread; the safe interface has no name for it.
const OWN_CHILDREN: WaitOptions = WaitOptions::from_bits_retain(0x2000_0000);
/// A guardian that was there for less is not replaced at once: it cannot live here.
const LIFE_MIN: Duration = Duration::from_secs(1);

static HOUSE: House = House {
    post: Mutex::new(Post::NoHouse),
    changed: Condvar::new(),
};

/// Where a start asks the first thread for a guardian.
struct House {
    post: Mutex<Post>,
    changed: Condvar,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Post {
    NoHouse,
    Vacant,
    Wanted(Family),
    /// Somebody is on it, or nobody can be.
    Settled,
}

/// Serves on a thread of its own and keeps house on this one, which must be the first. Does not
/// come back: the service's answer is the program's exit status.
pub fn keep_house(serve: impl FnOnce() -> u8 + Send + 'static) -> ExitCode {
    if let Err(error) = set_child_subreaper(Some(getpid())) {
        tracing::warn!(%error, "orphans of programs will not come to us");
    }
    HOUSE.set(Post::Vacant);
    let service = thread::Builder::new()
        .name("service".to_owned())
        .stack_size(SERVICE_STACK)
        .spawn(|| {
            let status = catch_unwind(AssertUnwindSafe(serve)).unwrap_or(PANICKED);
            process::exit(status.into())
        });
    if let Err(error) = service {
        tracing::error!(%error, "no thread for the service");
        return ExitCode::FAILURE;
    }
    let family = HOUSE.wait_for_wanted();
    let mut guardian = Guardian::post(family);
    HOUSE.set(Post::Settled);
    loop {
        let since = Instant::now();
        match &guardian {
            Ok(guardian) => look_after(guardian),
            Err(error) => {
                tracing::warn!(%error, "no guardian, so sudden death would leave orphans");
                // Nobody to wait for, so the orphans are collected now and then.
                while let Ok(Some(_)) = wait(OWN_CHILDREN | WaitOptions::NOHANG) {}
            }
        }
        if since.elapsed() < LIFE_MIN {
            thread::sleep(LIFE_MIN);
        }
        tracing::debug!("posting another guardian");
        guardian = Guardian::post(family);
    }
}

/// Whether orphans come to this process.
pub(super) fn is_kept() -> bool {
    *HOUSE.post() != Post::NoHouse
}

/// Asks for a guardian and waits until it is there, or there cannot be one. Nothing is asked
/// where no house is kept.
pub(super) fn post_guardian(family: Family) {
    let mut post = HOUSE.post();
    if *post != Post::Vacant {
        return;
    }
    *post = Post::Wanted(family);
    HOUSE.changed.notify_all();
    while *post != Post::Settled {
        post = HOUSE
            .changed
            .wait(post)
            .unwrap_or_else(PoisonError::into_inner);
    }
}

/// Collects orphans for as long as the guardian lives.
fn look_after(guardian: &Guardian) {
    loop {
        match wait(OWN_CHILDREN | WaitOptions::UNTRACED) {
            Ok(Some((pid, status))) if pid == guardian.pid() => {
                if !status.stopped() {
                    return;
                }
                // Whoever stopped it wants to do something it would not like.
                go_on(pid);
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

fn go_on(pid: Pid) {
    if let Err(error) = kill_process(pid, Signal::CONT) {
        tracing::debug!(%error, "the guardian stays stopped");
    }
}

impl House {
    fn set(&self, new: Post) {
        *self.post() = new;
        self.changed.notify_all();
    }

    fn wait_for_wanted(&self) -> Family {
        let mut post = self.post();
        loop {
            if let Post::Wanted(family) = *post {
                return family;
            }
            post = self
                .changed
                .wait(post)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn post(&self) -> MutexGuard<'_, Post> {
        self.post.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
