//! The one who remembers what is doomed, and the thread that sees to it.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, getpid};
use tokio::sync::Notify;
use uuid::Uuid;

use super::mark::{Family, Limits, NUMBER_MAX};
use super::sweep::{Here, Programs, Sweep};
use super::{Branch, Doomed, house};

/// A few calls deep, and a buffer that is not on the stack.
const THREAD_STACK: usize = 128 * 1024;
/// After so many rounds somebody does not die: the kernel keeps it, or it forks faster than we
/// kill. It is told once, and from then on there is a pause between rounds.
const ROUNDS: u32 = 400;
const PAUSE: Duration = Duration::from_secs(1);
/// Choices of a family. Two executors of four thousand million meet rarely, three times never.
const CHOICES: u32 = 3;
/// The sweeper gets ahead of what it kills, where it is allowed to.
pub(super) const PRIORITY: i32 = -10;

/// One per [`Spawner`](crate::os::Spawner).
#[derive(Debug, Default)]
pub(in crate::os::unix) struct Keeper {
    /// Chosen with the first start. `None` if this machine has no way to mark.
    family: OnceLock<Option<Family>>,
    numbers: AtomicU32,
    programs: Arc<Programs>,
    orders: Mutex<Orders>,
    ordered: Condvar,
    done: Notify,
}

#[derive(Debug, Default)]
struct Orders {
    /// There is a thread that carries them out.
    served: bool,
    /// Each is given once, when a program or a session ends, so there are no more of them than
    /// there can be programs.
    doomed: Vec<Doomed>,
    sweeping: bool,
    closed: bool,
}

impl Keeper {
    /// Never 0.
    pub(in crate::os::unix) fn next_number(&self) -> u32 {
        // Round after two thousand million starts; whoever still lives from then shares a number.
        self.numbers.fetch_add(1, Ordering::Relaxed) % NUMBER_MAX + 1
    }

    /// What a program is to be marked with, after everything is in place to end it. Blocks, the
    /// first time for as long as the start of a small program takes.
    pub(in crate::os::unix) fn mark(self: &Arc<Self>, branch: Branch) -> Option<Limits> {
        let family = self.family.get_or_init(|| match self.prepare() {
            Ok(family) => family,
            Err(error) => {
                tracing::warn!(%error, "programs that leave their session will not be found");
                None
            }
        });
        family.map(|family| family.mark(branch))
    }

    /// A program runs from now on. Until [`Keeper::forget`] its number means no other one.
    pub(in crate::os::unix) fn remember(&self, pid: Pid, branch: Branch) {
        self.programs().insert(pid, branch);
    }

    /// Somebody else may have the number by now.
    pub(in crate::os::unix) fn forget(&self, pid: Pid, branch: Branch) {
        let mut programs = self.programs();
        if programs.get(&pid) == Some(&branch) {
            programs.remove(&pid);
        }
    }

    /// Hands an order to the sweeper. Without one there is nobody to sweep either.
    pub(in crate::os::unix) fn doom(&self, whom: Doomed) {
        let mut orders = self.orders();
        if orders.served && !orders.closed {
            orders.doomed.push(whom);
            drop(orders);
            self.ordered.notify_one();
        }
    }

    /// The last order: everything. The sweeper ends after it.
    pub(in crate::os::unix) fn close(&self) {
        self.doom(Doomed::Everything);
        self.orders().closed = true;
        self.ordered.notify_one();
    }

    /// Waits until nobody is left who was doomed before.
    pub(in crate::os::unix) async fn settled(&self) {
        loop {
            let done = self.done.notified();
            tokio::pin!(done);
            // Registered before looking, so that nothing falls in between.
            done.as_mut().enable();
            if self.is_settled() {
                return;
            }
            done.await;
        }
    }

    fn is_settled(&self) -> bool {
        let orders = self.orders();
        orders.doomed.is_empty() && !orders.sweeping
    }

    fn prepare(self: &Arc<Self>) -> io::Result<Option<Family>> {
        let unmarked = Limits::of(None).ok_or_else(io::Error::last_os_error)?.hard;
        for _ in 0..CHOICES {
            let Some(family) = Family::pick(unmarked, random()) else {
                tracing::warn!(
                    unmarked,
                    "the limit of file locks leaves no room for marks; programs that leave their \
                     session will not be found"
                );
                return Ok(None);
            };
            let here = Here {
                adopter: house::is_kept().then(getpid),
                programs: Arc::clone(&self.programs),
            };
            let mut sweep = Sweep::new(family, Some(here))?;
            if sweep.is_taken()? {
                continue;
            }
            // All of it before the first program, which might leave no room for anything.
            self.hire(sweep)?;
            house::post_guardian(family);
            return Ok(Some(family));
        }
        Err(io::ErrorKind::AddrInUse.into())
    }

    fn hire(self: &Arc<Self>, mut sweep: Sweep) -> io::Result<()> {
        let keeper = Arc::clone(self);
        thread::Builder::new()
            .name("sweep".to_owned())
            .stack_size(THREAD_STACK)
            .spawn(move || keeper.serve(&mut sweep))?;
        self.orders().served = true;
        Ok(())
    }

    fn serve(&self, sweep: &mut Sweep) {
        // Without the right to it everybody has the same share, and that does too.
        let _ = rustix::process::setpriority_process(None, PRIORITY);
        while let Some(doomed) = self.next_orders() {
            let swept = sweep.run(&doomed, ROUNDS);
            let mut orders = self.orders();
            orders.sweeping = false;
            match swept {
                Ok(true) => {}
                Ok(false) => {
                    tracing::warn!("killed processes do not end; going on");
                    orders.doomed.extend(doomed);
                    drop(orders);
                    thread::sleep(PAUSE);
                    continue;
                }
                Err(error) => tracing::error!(%error, "processes could not be looked through"),
            }
            drop(orders);
            self.done.notify_waiters();
        }
    }

    /// All there are, or `None` when there will be none.
    fn next_orders(&self) -> Option<Vec<Doomed>> {
        let mut orders = self.orders();
        loop {
            if !orders.doomed.is_empty() {
                orders.sweeping = true;
                return Some(std::mem::take(&mut orders.doomed));
            }
            if orders.closed {
                return None;
            }
            orders = self
                .ordered
                .wait(orders)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn programs(&self) -> MutexGuard<'_, HashMap<Pid, Branch>> {
        self.programs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn random() -> u32 {
    // Its last 32 bits are all random.
    let [.., a, b, c, d] = *Uuid::new_v4().as_bytes();
    u32::from_ne_bytes([a, b, c, d])
}
