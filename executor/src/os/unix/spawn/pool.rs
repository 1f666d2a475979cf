//! The threads that start programs.
//!
//! A child is killed when the *thread* that started it ends, so starts never happen on a thread
//! that comes and goes. The threads are made when they are first needed and stay until the
//! [`Spawner`] is dropped; dropping it therefore ends every program that still runs.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::{Child, Command, SpawnError, image};
use crate::os::processors;
use crate::os::unix::contain::{Keeper, Lineage, Origin};

/// Several starts at a time gain half as much again as one; more than the cores gain nothing.
const THREADS_MAX: usize = 4;
/// Starts that may wait for a thread. Further callers wait their turn before they are queued.
const QUEUED_MAX: usize = 256;
/// Building the strings for the kernel needs little stack; the child has one of its own.
const THREAD_STACK: usize = 128 * 1024;

/// Starts programs from its own threads.
#[derive(Debug)]
pub struct Spawner {
    shared: Arc<Shared>,
    keeper: Arc<Keeper>,
    threads_max: usize,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    work: Condvar,
    room: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Queue {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
    closed: bool,
}

#[derive(Debug)]
struct Job {
    command: Command,
    origin: Origin,
    reply: oneshot::Sender<Result<Child, SpawnError>>,
    _room: OwnedSemaphorePermit,
}

impl Default for Spawner {
    fn default() -> Self {
        Spawner::new()
    }
}

impl Spawner {
    /// Makes no thread yet.
    pub fn new() -> Spawner {
        Spawner {
            shared: Arc::new(Shared {
                queue: Mutex::new(Queue::default()),
                work: Condvar::new(),
                room: Arc::new(Semaphore::new(QUEUED_MAX)),
            }),
            keeper: Arc::default(),
            threads_max: processors().min(THREADS_MAX),
        }
    }

    /// A new lineage, for the programs of one session.
    pub fn lineage(&self) -> Lineage {
        Lineage::new(Arc::clone(&self.keeper))
    }

    /// Waits until everything is gone that was to be ended, descendants that moved elsewhere
    /// included.
    pub async fn settled(&self) {
        self.keeper.settled().await;
    }

    /// Starts a program of a lineage; on return it is being executed. Dropping the future gives
    /// the start up: if the program runs by then, it is killed.
    pub async fn spawn(&self, lineage: &Lineage, command: Command) -> Result<Child, SpawnError> {
        let program = command
            .argv
            .first()
            .map(|program| image::shown(program))
            .unwrap_or_default();
        let shutting_down = || SpawnError::ShuttingDown {
            program: program.clone(),
        };
        let room = Arc::clone(&self.shared.room);
        let room = room.acquire_owned().await.map_err(|_| shutting_down())?;
        let (reply, answer) = oneshot::channel();
        let job = Job {
            command,
            origin: lineage.origin(),
            reply,
            _room: room,
        };
        self.enqueue(job)
            .map_err(|source| SpawnError::NoResources {
                program: program.clone(),
                what: "start a thread",
                source,
            })?;
        answer.await.unwrap_or_else(|_| Err(shutting_down()))
    }

    fn enqueue(&self, job: Job) -> io::Result<()> {
        let mut queue = self.shared.lock();
        if queue.idle <= queue.jobs.len() && queue.threads < self.threads_max {
            let shared = Arc::clone(&self.shared);
            let made = thread::Builder::new()
                .name("spawn".to_owned())
                .stack_size(THREAD_STACK)
                .spawn(move || shared.serve());
            match made {
                Ok(_detached) => queue.threads += 1,
                Err(error) if queue.threads == 0 => return Err(error),
                // The others will get to it.
                Err(error) => tracing::warn!(%error, "no further thread for starts"),
            }
        }
        queue.jobs.push_back(job);
        drop(queue);
        self.shared.work.notify_one();
        Ok(())
    }
}

impl Drop for Spawner {
    fn drop(&mut self) {
        self.shared.room.close();
        let mut queue = self.shared.lock();
        queue.closed = true;
        queue.jobs.clear();
        drop(queue);
        self.shared.work.notify_all();
        self.keeper.close();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self) {
        let mut starter = Starter::new();
        while let Some(job) = self.next_job() {
            // The caller may be gone: then there is nothing to start, or nobody to own it.
            if !job.reply.is_closed() {
                let started = patiently(|| starter.start(&job.command, &job.origin));
                let _ = job.reply.send(started);
            }
        }
    }

    fn next_job(&self) -> Option<Job> {
        let mut queue = self.lock();
        queue.idle += 1;
        let job = loop {
            if queue.closed {
                break None;
            }
            if let Some(job) = queue.jobs.pop_front() {
                break Some(job);
            }
            queue = self
                .work
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        };
        queue.idle -= 1;
        job
    }
}

#[cfg(not(target_os = "linux"))]
use super::portable::Starter;
#[cfg(target_os = "linux")]
use super::vfork::Starter;

/// A program whose file is busy is tried this many times more.
const BUSY_RETRIES: u32 = 5;
/// How long to wait before the first of them; doubled each time, 31 ms in all.
const BUSY_PAUSE: Duration = Duration::from_millis(1);

/// Starts a program, and again while its file is open for writing.
///
/// Until it becomes its own program, a new process holds copies of all our descriptors, so also
/// of a file that a caller has just written. Who executes that file in this moment is told "text
/// file busy", though everybody has closed it.
pub(super) fn patiently(
    mut start: impl FnMut() -> Result<Child, SpawnError>,
) -> Result<Child, SpawnError> {
    let mut pause = BUSY_PAUSE;
    for _ in 0..BUSY_RETRIES {
        match start() {
            Err(SpawnError::InChild { source, .. })
                if source.kind() == io::ErrorKind::ExecutableFileBusy =>
            {
                thread::sleep(pause);
                pause *= 2;
            }
            done => return done,
        }
    }
    start()
}
