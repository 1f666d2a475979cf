//! What all connections of one executor share: its description, its processes, its sessions and
//! its limits.

use std::convert::Infallible;
use std::ffi::OsString;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use farstep_protocol::method::environment::DURABLE_SESSIONS;
use farstep_protocol::method::{fs as fs_method, process as process_method};
use farstep_transport::Budget;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};

use crate::attached::Attached;
use crate::audit::{Audit, Event, Who};
use crate::cli::Settings;
use crate::info::{self, Host};
use crate::metrics::{Levels, Metrics};
use crate::pool::{self, InPlace};
use crate::process::{self, Table};
use crate::session::{ResumeError, Sessions};
use crate::surroundings::Surroundings;
use crate::vigil::Vigil;
use crate::{dispatch, http, limits, os, session};

/// How long children may take to be gone when the executor stops. They are killed, so this is
/// only the kernel's time; beyond it we go, and the parent-death signal is behind us.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// How long nobody may come before what was needed to begin is given back: about ten times what
/// a session takes to be opened.
const PAUSE: Duration = Duration::from_millis(100);

/// How long what opens a session stays in memory behind one. A connection that broke is back in less,
/// and to read all that again would take it longer than the rest of its way.
const COMES_BACK: Duration = Duration::from_secs(60);

/// Messages from here on leave memory behind that is worth giving back.
const LARGE_BYTES_MIN: usize = 64 * 1024;

/// Large messages of all connections together, in bytes. As much again may be decoded from them,
/// which makes the 512 MiB of SR-26. Beyond it a large message is refused and its connection ends.
pub(crate) const MESSAGE_BYTES_IN_ALL_MAX: usize = 256 * 1024 * 1024;

/// One executor.
pub struct Server {
    processes: Arc<process::Host>,
    sessions: Arc<Sessions<Table>>,
    surroundings: Arc<Surroundings>,
    http: Arc<http::Settings>,
    in_place: InPlace,
    vigil: Vigil,
    calls_at_once: usize,
    ping_interval: Duration,
    drain: Duration,
    /// For how long a durable session may be kept; zero when there are none.
    session_retention_max: Duration,
    messages: Budget,
    /// Wakes [`Server::slim_down`].
    news: Notify,
    /// A session was opened or resumed.
    opened: AtomicBool,
    /// Something large was read or written.
    worked: AtomicBool,
    audit: Audit,
    metrics: Metrics,
}

impl Server {
    /// Prepares an executor. `variables` is its own environment, from which that of its children
    /// is made. What happens is recorded in `audit`.
    pub fn new(
        settings: &Settings,
        host: &Host,
        audit: Audit,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Arc<Server> {
        let for_processes = process_settings(settings);
        let limits = limits::in_force(settings, &for_processes);
        audit.record(&Who::default(), Event::Start);
        let durable = !settings.session_retention_max().is_zero();
        let durable = durable.then_some(DURABLE_SESSIONS);
        let signals = os::HAS_NOTICES.then_some(process_method::SIGNALS);
        let capabilities = CAPABILITIES.into_iter().chain(durable).chain(signals);
        let capabilities: Vec<_> = capabilities.collect();
        let info = info::describe(host, &capabilities, &limits);
        let processes = process::Host::new(for_processes, variables);
        let surroundings = Surroundings::new(Arc::clone(processes.base()), info);
        Arc::new(Server {
            processes,
            sessions: Arc::new(Sessions::new(settings.detached)),
            surroundings: Arc::new(surroundings),
            http: Arc::new(http::Settings {
                is_exposed: settings.is_exposed(),
                ..settings.http.clone()
            }),
            in_place: InPlace::new(pool::WORKERS),
            vigil: Vigil::new(settings.busy_poll),
            calls_at_once: settings.calls_at_once.unwrap_or(pool::CALLS_AT_ONCE),
            ping_interval: settings.ping_interval,
            drain: settings.drain,
            session_retention_max: settings.session_retention_max(),
            messages: Budget::new(MESSAGE_BYTES_IN_ALL_MAX),
            news: Notify::new(),
            opened: AtomicBool::new(false),
            worked: AtomicBool::new(false),
            audit,
            metrics: Metrics::new(dispatch::methods()),
        })
    }

    /// Ends sessions that nobody came back to, until the executor stops.
    pub(crate) async fn reap(&self) -> Infallible {
        loop {
            for (session, processes) in self.sessions.expired().await {
                tracing::info!(%session, "session expired");
                let who = Who {
                    session: Some(session.to_string().into()),
                    ..Who::default()
                };
                self.audit
                    .record(&who, Event::SessionEnd { why: "expired" });
                drop(processes);
            }
        }
    }

    /// Gives back what the start took of memory for reading this program, and what large messages
    /// took, as soon as nobody comes with any, and what the opening of sessions took later, until the
    /// executor stops.
    pub async fn slim_down(&self) -> Infallible {
        let mut due = Some(Instant::now());
        loop {
            while timeout(PAUSE, self.news.notified()).await.is_ok() {}
            if self.worked.swap(false, Ordering::Relaxed) {
                // Whoever is still at it says so again.
                continue;
            }
            match due {
                Some(at) if at <= Instant::now() => {
                    due = None;
                    self.opened.store(false, Ordering::Relaxed);
                    os::give_back_program();
                }
                Some(_) => {}
                None if self.opened.swap(false, Ordering::Relaxed) => {
                    due = Some(Instant::now() + COMES_BACK);
                }
                None => {}
            }
            os::give_back_memory();
            match due {
                Some(at) => timeout_at(at, self.news.notified())
                    .await
                    .unwrap_or_default(),
                None => self.news.notified().await,
            }
        }
    }

    /// A session was opened or resumed.
    pub(crate) fn attached(&self) {
        if !self.opened.swap(true, Ordering::Relaxed) {
            self.news.notify_one();
        }
    }

    /// A message of so many bytes was read or written.
    pub(crate) fn carried(&self, bytes: usize) {
        // Looked at first: it is true nearly always where it matters, and then nothing is shared.
        if bytes >= LARGE_BYTES_MIN
            && !self.worked.load(Ordering::Relaxed)
            && !self.worked.swap(true, Ordering::Relaxed)
        {
            self.news.notify_one();
        }
    }

    /// Kills every process, waits until they are gone, within a grace, and then for the audit log.
    pub async fn finish(&self) {
        drop(self.sessions.take_all());
        if timeout(STOP_GRACE, self.processes.finished())
            .await
            .is_err()
        {
            tracing::warn!("some processes were still ending when the executor went");
        }
        self.audit.record(&Who::default(), Event::Stop);
        self.audit.finish().await;
    }

    pub(crate) fn open(&self, who: &Who, surroundings: &Surroundings) -> Attached {
        let base = Arc::clone(surroundings.base());
        let processes = Table::new(Arc::clone(&self.processes), base);
        Attached::opened(self.sessions.open(who.principal.clone(), processes))
    }

    /// Opens a durable session, kept for as long as is wished and allowed.
    pub(crate) fn open_durable(
        &self,
        who: &Who,
        surroundings: &Surroundings,
        retention: Duration,
    ) -> Result<Attached, DurableRefused> {
        if self.session_retention_max.is_zero() {
            return Err(DurableRefused::Never);
        }
        let retention = retention.min(self.session_retention_max);
        let base = Arc::clone(surroundings.base());
        let processes = Table::durable(Arc::clone(&self.processes), base);
        let (attachment, displaced) = self.sessions.open_durable(
            who.principal.clone(),
            processes,
            retention,
            Table::is_idle,
        )?;
        if displaced.is_some() {
            tracing::info!("a finished durable session made room");
        }
        Ok(Attached::opened(attachment))
    }

    pub(crate) fn resume(&self, id: &str, who: &Who, peek: bool) -> Result<Attached, ResumeError> {
        let resumed = self.sessions.resume(id, who.principal.as_deref(), peek);
        resumed.map(Attached::resumed)
    }

    /// Whether there is a session of this id for `who`.
    pub(crate) fn has_session(&self, id: &str, who: &Who) -> bool {
        self.sessions.has(id, who.principal.as_deref())
    }

    /// How many sessions there are, attached or not.
    pub(crate) fn sessions(&self) -> usize {
        self.sessions.count()
    }

    /// Where requests made from here may go.
    pub(crate) fn http(&self) -> &Arc<http::Settings> {
        &self.http
    }

    pub(crate) fn audit(&self) -> &Audit {
        &self.audit
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// What was counted, in Prometheus' text format.
    pub(crate) fn metrics_page(&self, connections: usize) -> String {
        self.metrics.page(Levels {
            connections,
            sessions: self.sessions.count(),
            processes: self.processes.running(),
            retained: self.processes.retained(),
        })
    }

    /// What sessions find that come without any of their own.
    pub(crate) fn surroundings(&self) -> &Arc<Surroundings> {
        &self.surroundings
    }

    pub(crate) fn in_place(&self) -> &InPlace {
        &self.in_place
    }

    /// Who may stay awake.
    pub(crate) fn vigil(&self) -> &Vigil {
        &self.vigil
    }

    /// What all connections together may hold of messages that came in.
    pub(crate) fn messages(&self) -> &Budget {
        &self.messages
    }

    /// How long calls that are under way may take to end when the executor stops.
    pub(crate) fn drain(&self) -> Duration {
        self.drain
    }

    pub(crate) fn ping_interval(&self) -> Duration {
        self.ping_interval
    }

    pub(crate) fn calls_at_once(&self) -> usize {
        self.calls_at_once
    }
}

#[cfg(test)]
impl Server {
    /// An executor with the defaults, on a machine nobody looks at.
    pub(crate) fn for_tests() -> Arc<Server> {
        Server::audited_for_tests(Audit::off())
    }

    /// The same with a listener, so that there is something to come back to.
    pub(crate) fn listening_for_tests() -> Arc<Server> {
        let anywhere = (std::net::Ipv4Addr::LOCALHOST, 0).into();
        Server::of_tests(crate::cli::Listen::WebSocket(anywhere), Audit::off())
    }

    pub(crate) fn audited_for_tests(audit: Audit) -> Arc<Server> {
        Server::of_tests(crate::cli::Listen::Stdio, audit)
    }

    /// One where a connection may stay awake for so long, on any machine.
    #[cfg(unix)]
    pub(crate) fn wakeful_for_tests(moment: Duration) -> Arc<Server> {
        let mut server = Server::for_tests();
        if let Some(server) = Arc::get_mut(&mut server) {
            server.vigil = Vigil::on(crate::vigil::PROCESSORS_MIN, moment);
        }
        server
    }

    fn of_tests(listen: crate::cli::Listen, audit: Audit) -> Arc<Server> {
        let host = Host {
            cwd: "/".into(),
            home: None,
            temp: std::env::temp_dir(),
            temp_chosen: None,
            shell: crate::os::Shell {
                name: "sh".into(),
                path: "/bin/sh".into(),
            },
        };
        Server::new(&Settings::new(listen), &host, audit, [])
    }
}

/// What can be used beyond the core of the protocol.
const CAPABILITIES: [&str; 6] = [
    "fileWriteStreaming",
    "fsWatchMissing",
    "httpHeaderEnvVars",
    fs_method::FILES,
    fs_method::TREES,
    process_method::CONTROL,
];

/// Why no durable session was opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DurableRefused {
    #[error("this executor keeps nothing beyond a connection")]
    Never,
    #[error(transparent)]
    TooMany(#[from] session::TooMany),
}

fn process_settings(settings: &Settings) -> process::Settings {
    let mut chosen = process::Settings {
        remembered_for: settings.detached,
        ..process::Settings::default()
    };
    chosen.output.retained_bytes = settings
        .retain_bytes
        .unwrap_or(chosen.output.retained_bytes);
    chosen.output.retained_chunks = settings
        .retain_chunks
        .unwrap_or(chosen.output.retained_chunks);
    chosen.retained_in_all = settings.retain_total_bytes;
    chosen
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("sessions", &self.sessions)
            .finish_non_exhaustive()
    }
}
