//! The processes of one session, by the ids their caller chose.

mod sweep;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use farstep_protocol::output::OutputLog;
use tokio::sync::{OwnedSemaphorePermit, watch};

use self::sweep::Closed;
use super::actor::{Actor, WhenEnded};
use super::env::{BaseEnv, EnvPolicy, environment};
use super::{Host, Process, ReadyQueue};
use crate::os::{Child, Command, Lineage, SpawnError, Stdio, WindowSize};

/// What to start. Paths are this machine's by now.
#[derive(Clone)]
pub struct StartRequest {
    pub argv: Vec<String>,
    pub arg0: Option<String>,
    pub cwd: PathBuf,
    pub env: Vec<(String, String)>,
    pub env_policy: Option<EnvPolicy>,
    pub stdio: Stdio,
}

impl fmt::Debug for StartRequest {
    /// Without arguments and values: both may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StartRequest")
            .field("cwd", &self.cwd)
            .field("stdio", &self.stdio)
            .finish_non_exhaustive()
    }
}

impl StartRequest {
    /// What the two flags of the wire mean together: a terminal wins.
    pub fn stdio(tty: bool, pipe_stdin: bool, window: Option<WindowSize>) -> Stdio {
        match (tty, pipe_stdin) {
            (true, _) => Stdio::Terminal(window.unwrap_or_default()),
            (false, true) => Stdio::PipesWithInput,
            (false, false) => Stdio::Pipes,
        }
    }
}

/// Why an id was not given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReserveError {
    #[error("process id {id} is in use")]
    InUse { id: String },
    #[error("this session has {max} processes already")]
    SessionFull { max: usize },
    #[error("this executor runs {max} processes already")]
    ExecutorFull { max: usize },
}

/// Why a program was not started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The caller is wrong; everything else is the world's doing.
    #[error("argv is empty")]
    EmptyArgv,
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// The session ended while the program was being started.
    #[error("the session is gone")]
    SessionGone,
}

/// What an id stands for.
#[derive(Debug)]
pub enum Lookup {
    Unknown,
    /// The start is under way.
    Starting(Starting),
    Known(Arc<Process>),
}

/// A start under way that others may wait for.
#[derive(Debug)]
pub struct Starting {
    table: Arc<Inner>,
    id: Arc<str>,
    done: watch::Receiver<()>,
}

impl Starting {
    /// The process, unless its start fails.
    pub async fn started(mut self) -> Option<Arc<Process>> {
        // Nothing is ever sent: the start is over when its reservation is.
        let _ = self.done.changed().await;
        match self.table.slots().by_id.get(&self.id) {
            Some(Slot::Known(process)) => Some(Arc::clone(process)),
            Some(Slot::Starting(_)) | None => None,
        }
    }
}

/// The processes of one session. Dropping it kills those that run.
#[derive(Debug)]
pub struct Table {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    host: Arc<Host>,
    /// What programs inherit.
    base: Arc<BaseEnv>,
    /// No connection is ever told anything, no process waits for one, and all of them are
    /// remembered for as long as the table lives.
    durable: bool,
    lineage: Lineage,
    ready: Arc<ReadyQueue>,
    slots: Mutex<Slots>,
}

#[derive(Debug, Default)]
struct Slots {
    by_id: HashMap<Arc<str>, Slot>,
    /// How many of them are not closed yet.
    open: usize,
    closed: Closed,
    detached: bool,
    gone: bool,
}

#[derive(Debug)]
enum Slot {
    Starting(watch::Receiver<()>),
    Known(Arc<Process>),
}

impl Table {
    /// With a connection attached.
    pub fn new(host: Arc<Host>, base: Arc<BaseEnv>) -> Table {
        Table::of(host, base, false)
    }

    /// For a durable session: what its processes say is read and never announced. The oldest
    /// output goes when there is too much of it, and no process is forgotten before the table is.
    pub fn durable(host: Arc<Host>, base: Arc<BaseEnv>) -> Table {
        Table::of(host, base, true)
    }

    fn of(host: Arc<Host>, base: Arc<BaseEnv>, durable: bool) -> Table {
        let slots = Slots {
            detached: durable,
            ..Slots::default()
        };
        Table {
            inner: Arc::new(Inner {
                lineage: host.spawner.lineage(),
                host,
                base,
                durable,
                ready: Arc::default(),
                slots: Mutex::new(slots),
            }),
        }
    }

    /// Takes an id, or says why not.
    pub fn reserve(&self, id: &str) -> Result<Reservation, ReserveError> {
        let settings = &self.inner.host.settings;
        let mut slots = self.inner.slots();
        if slots.by_id.contains_key(id) {
            return Err(ReserveError::InUse { id: id.to_owned() });
        }
        let counted = match self.inner.durable {
            true => slots.by_id.len(),
            false => slots.open,
        };
        if counted >= settings.per_session {
            let max = settings.per_session;
            return Err(ReserveError::SessionFull { max });
        }
        let running = self.inner.host.place().ok_or(ReserveError::ExecutorFull {
            max: settings.in_all,
        })?;
        let id: Arc<str> = id.into();
        let (done, under_way) = watch::channel(());
        slots
            .by_id
            .insert(Arc::clone(&id), Slot::Starting(under_way));
        slots.open += 1;
        Ok(Reservation {
            table: Arc::clone(&self.inner),
            id,
            running: Some(running),
            when_ended: None,
            _done: done,
        })
    }

    /// What an id stands for right now.
    pub fn lookup(&self, id: &str) -> Lookup {
        let slots = self.inner.slots();
        match slots.by_id.get_key_value(id) {
            None => Lookup::Unknown,
            Some((_, Slot::Known(process))) => Lookup::Known(Arc::clone(process)),
            Some((id, Slot::Starting(done))) => Lookup::Starting(Starting {
                table: Arc::clone(&self.inner),
                id: Arc::clone(id),
                done: done.clone(),
            }),
        }
    }

    /// The processes with something to tell, for the attached connection.
    pub fn ready(&self) -> &Arc<ReadyQueue> {
        &self.inner.ready
    }

    /// The connection is gone: everything goes on, and what it says is kept.
    pub fn detach(&self) {
        let mut slots = self.inner.slots();
        slots.detached = true;
        slots.known().for_each(|process| process.detach());
        drop(slots);
        self.inner.ready.clear();
    }

    /// A connection is back: it is told what happens from now on.
    pub fn attach(&self) {
        self.inner.ready.clear();
        let mut slots = self.inner.slots();
        slots.detached = false;
        slots.known().for_each(|process| process.attach());
    }

    /// The resumed client has had its time to read what it missed.
    pub fn release_pins(&self) {
        self.inner
            .slots()
            .known()
            .for_each(|process| process.release_pins());
    }

    /// Kills everything that runs. Each process is closed soon after.
    pub fn kill_all(&self) {
        for process in self.inner.slots().known() {
            process.terminate();
        }
    }

    /// Whether no process of this session runs or is being started.
    pub fn is_idle(&self) -> bool {
        self.open() == 0
    }

    /// How many processes of this session run or are being started.
    pub(super) fn open(&self) -> usize {
        self.inner.slots().open
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        self.inner.slots().gone = true;
        self.kill_all();
        // What earlier programs left behind ends with the session too.
        self.inner.lineage.end();
        self.inner.ready.clear();
    }
}

/// An id that is taken, and a process to be started under it.
#[derive(Debug)]
pub struct Reservation {
    table: Arc<Inner>,
    id: Arc<str>,
    running: Option<OwnedSemaphorePermit>,
    when_ended: Option<WhenEnded>,
    /// Whoever waits for the start learns from its end that it is over.
    _done: watch::Sender<()>,
}

impl Reservation {
    /// Has somebody told when the program has ended, if it is started at all.
    pub fn when_ended(&mut self, tell: impl FnOnce(i32) + Send + Sync + 'static) {
        self.when_ended = Some(WhenEnded::new(tell));
    }

    /// Starts the program; on return it is being executed. If that fails, or the future is
    /// dropped, nothing runs and the id is free again.
    pub async fn start(mut self, request: StartRequest) -> Result<Arc<Process>, StartError> {
        if request.argv.is_empty() {
            return Err(StartError::EmptyArgv);
        }
        let host = Arc::clone(&self.table.host);
        let command = Command {
            argv: request.argv.into_iter().map(Into::into).collect(),
            arg0: request.arg0.map(Into::into),
            env: environment(&self.table.base, request.env_policy.as_ref(), request.env),
            cwd: request.cwd,
            stdio: request.stdio,
        };
        let child = host.spawner.spawn(&self.table.lineage, command).await?;
        self.adopt(&host, child)
    }

    /// From here on the process belongs to the table, and its child to an actor.
    fn adopt(&mut self, host: &Host, child: Child) -> Result<Arc<Process>, StartError> {
        let mut slots = self.table.slots();
        if slots.gone {
            return Err(StartError::SessionGone);
        }
        let process = Arc::new(Process::new(
            Arc::clone(&self.id),
            child.group,
            child.input,
            Arc::clone(&self.table.ready),
            match self.table.durable {
                true => OutputLog::rolling(host.settings.output),
                false => OutputLog::new(host.settings.output),
            },
            Arc::clone(&host.retention),
            self.running.take(),
        ));
        host.retention.started(&process);
        if slots.detached {
            process.detach();
        }
        let known = Slot::Known(Arc::clone(&process));
        slots.by_id.insert(Arc::clone(&self.id), known);
        drop(slots);

        let actor = Actor::new(
            Arc::clone(&process),
            child.exit,
            child.stdout,
            child.stderr,
            self.when_ended.take(),
        );
        let table = Arc::downgrade(&self.table);
        let (closed, retention) = (Arc::clone(&process), Arc::clone(&host.retention));
        let _tracked = host.actors.spawn(async move {
            actor.run().await;
            retention.closed(&closed);
            if let Some(table) = table.upgrade() {
                table.closed(&closed);
            }
        });
        Ok(process)
    }
}

impl Drop for Reservation {
    /// Frees the id, unless a process has it now.
    fn drop(&mut self) {
        let mut slots = self.table.slots();
        if let Entry::Occupied(slot) = slots.by_id.entry(Arc::clone(&self.id))
            && matches!(slot.get(), Slot::Starting(_))
        {
            slot.remove();
            slots.open -= 1;
        }
    }
}

impl Inner {
    fn closed(self: &Arc<Self>, process: &Arc<Process>) {
        let mut slots = self.slots();
        slots.open -= 1;
        if !self.durable {
            slots.remember(self, process);
        }
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slots {
    fn known(&self) -> impl Iterator<Item = &Arc<Process>> {
        self.by_id.values().filter_map(|slot| match slot {
            Slot::Known(process) => Some(process),
            Slot::Starting(_) => None,
        })
    }
}
