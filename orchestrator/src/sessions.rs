//! Processes that tool calls have started, and what they have said.
//!
//! *Theory of operation.* Each process has one owner, a task that starts it, takes its output and
//! passes on what is typed; see [`actor`]. A [`Session`] is a handle on that task. The table maps
//! the numbers a model knows to sessions. A session that leaves the table takes its process with
//! it: the task ends, and the executor is asked to end the process. The route is not kept here and
//! cannot change: a process runs where it was started.

mod actor;
mod table;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use farstep_protocol::method::process::StartParams;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

use crate::events::{Events, Item};
use crate::machine::Machine;
use crate::text::HeadTail;

use actor::Command;
pub use table::Sessions;

/// Typing that may wait for a process to be ready for it. When full, typing waits.
const COMMANDS: usize = 16;

/// What a process is to be, and how it is shown.
#[derive(Debug)]
pub struct Opening {
    pub environment: Arc<str>,
    pub machine: Arc<dyn Machine>,
    pub params: StartParams,
    /// Its item as it begins; a command execution in progress.
    pub item: Item,
}

/// A handle on a process. See the module for what dropping the last one does.
pub struct Session {
    number: u32,
    environment: Arc<str>,
    /// Whether anything can be typed.
    input: bool,
    commands: mpsc::Sender<Command>,
    heard: Arc<Heard>,
    progress: watch::Receiver<Progress>,
    item: Item,
    /// Held, not read: the owner ends with the last handle.
    _task: AbortOnDropHandle<()>,
}

/// How far a process has come.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Progress {
    Starting,
    Running,
    Over(End),
}

/// How a process ended. Its output is complete by then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It never began.
    NotStarted {
        reason: String,
    },
    Exited {
        code: i64,
    },
    /// The executor is out of reach; how the process ended is unknown.
    Lost {
        reason: String,
    },
}

/// What a look at a process brings.
#[derive(Debug)]
pub struct Look {
    /// Its output since the last look.
    pub output: HeadTail,
    /// Present once it is over, and then nothing more will come.
    pub end: Option<End>,
    pub waited: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteError {
    NoInput,
    Failed(String),
}

/// Output, kept twice: what nobody has looked at yet, and everything for the item.
#[derive(Default)]
struct Heard(Mutex<(HeadTail, HeadTail)>);

impl Session {
    fn open(number: u32, opening: Opening, events: Events) -> Self {
        let (commands, queue) = mpsc::channel(COMMANDS);
        let (told, progress) = watch::channel(Progress::Starting);
        let heard = Arc::<Heard>::default();
        let environment = Arc::clone(&opening.environment);
        let input = opening.params.tty || opening.params.pipe_stdin;
        let item = opening.item.clone();
        let actor = actor::Actor::new(opening, queue, told, Arc::clone(&heard), events);
        // What is done for a process belongs to the call that started it.
        let task = AbortOnDropHandle::new(tokio::spawn(actor.run().in_current_span()));
        Self {
            number,
            environment,
            input,
            commands,
            heard,
            progress,
            item,
            _task: task,
        }
    }

    /// The number a model knows it by.
    pub fn number(&self) -> u32 {
        self.number
    }

    pub fn environment(&self) -> &Arc<str> {
        &self.environment
    }

    /// Its item as it is now.
    pub fn item(&self) -> Item {
        actor::as_of_now(&self.item, &self.heard, self.end().as_ref())
    }

    fn end(&self) -> Option<End> {
        match &*self.progress.borrow() {
            Progress::Over(end) => Some(end.clone()),
            _ => None,
        }
    }

    fn is_over(&self) -> bool {
        self.end().is_some()
    }

    /// Waits until it is over, but only so long, and takes what it has said. The time does not
    /// count before the process runs.
    pub async fn look(&self, at_most: Duration) -> Look {
        let began = Instant::now();
        let mut progress = self.progress.clone();
        // The actor tells how it ends before it does, so a closed channel means a panic there.
        let over = |progress: &Progress| matches!(progress, Progress::Over(_));
        if progress
            .wait_for(|progress| *progress != Progress::Starting)
            .await
            .is_ok()
        {
            let _ = tokio::time::timeout(at_most, progress.wait_for(over)).await;
        }
        // First how it stands, then what it said: what is over says nothing more.
        let end = self.end();
        Look {
            output: self.heard.take_unseen(),
            end,
            waited: began.elapsed(),
        }
    }

    /// Types. Returns once the executor has taken it.
    pub async fn write(&self, bytes: Vec<u8>) -> Result<(), WriteError> {
        if !self.input {
            return Err(WriteError::NoInput);
        }
        let (reply, answer) = oneshot::channel();
        let over = || WriteError::Failed("the process has ended".to_owned());
        self.commands
            .send(Command::Write { bytes, reply })
            .await
            .map_err(|_| over())?;
        answer.await.map_err(|_| over())?
    }

    /// Ends the process and waits until its owner has nothing more to say.
    async fn terminate(self: Arc<Self>) {
        if self.commands.send(Command::Terminate).await.is_ok() {
            let mut progress = self.progress.clone();
            while progress.changed().await.is_ok() {}
        }
        tracing::debug!(
            process = self.number,
            over = self.is_over(),
            "process ended"
        );
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("number", &self.number)
            .field("environment", &self.environment)
            .field("progress", &*self.progress.borrow())
            .finish_non_exhaustive()
    }
}

impl Heard {
    fn push(&self, bytes: &[u8]) {
        let mut heard = self.lock();
        heard.0.push(bytes);
        heard.1.push(bytes);
    }

    fn take_unseen(&self) -> HeadTail {
        std::mem::take(&mut self.lock().0)
    }

    fn everything(&self) -> HeadTail {
        self.lock().1.clone()
    }

    fn lock(&self) -> MutexGuard<'_, (HeadTail, HeadTail)> {
        // Both collections are whole between any two statements above.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
