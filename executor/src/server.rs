//! What all connections of one executor share: its description, its processes, its sessions and
//! its limits.

use std::convert::Infallible;
use std::ffi::OsString;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use farstep_protocol::frame;
use farstep_protocol::method::environment::EnvironmentInfo;
use farstep_protocol::rpc;
use farstep_transport::{Budget, FRAME_BYTES_MAX, MESSAGE_BYTES_MAX};

use crate::attached::Attached;
use crate::audit::{Audit, Event, Who};
use crate::cli::Settings;
use crate::info::{self, Host};
use crate::metrics::{Levels, Metrics};
use crate::pool::{self, InPlace};
use crate::process::{self, Table};
use crate::session::{ResumeError, Sessions};
use crate::{connection, dispatch, fs, os};
use crate::{http, listen, session, watch};

/// How long children may take to be gone when the executor stops. They are killed, so this is
/// only the kernel's time; beyond it we go, and the parent-death signal is behind us.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// Large messages of all connections together, in bytes. As much again may be decoded from them,
/// which makes the 512 MiB of SR-26. Beyond it a large message is refused and its connection ends.
const MESSAGE_BYTES_IN_ALL_MAX: usize = 256 * 1024 * 1024;

/// One executor.
pub struct Server {
    processes: Arc<process::Host>,
    sessions: Arc<Sessions<Table>>,
    info: EnvironmentInfo,
    info_json: String,
    http: Arc<http::Settings>,
    in_place: InPlace,
    calls_at_once: usize,
    ping_interval: Duration,
    drain: Duration,
    messages: Budget,
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
        let limits = limits(settings, &for_processes);
        audit.record(&Who::default(), Event::Start);
        let info = info::describe(host, &CAPABILITIES, &limits);
        let mut info_json = String::new();
        frame::write_json(&mut info_json, &info);
        Arc::new(Server {
            processes: process::Host::new(for_processes, variables),
            sessions: Arc::new(Sessions::new(settings.detached)),
            info,
            info_json,
            http: Arc::new(http::Settings {
                is_exposed: settings.is_exposed(),
                ..settings.http.clone()
            }),
            in_place: InPlace::new(pool::WORKERS),
            calls_at_once: settings.calls_at_once.unwrap_or(pool::CALLS_AT_ONCE),
            ping_interval: settings.ping_interval,
            drain: settings.drain,
            messages: Budget::new(MESSAGE_BYTES_IN_ALL_MAX),
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

    /// Kills every process, waits until they are gone, within a grace, and then for the audit log.
    pub async fn finish(&self) {
        drop(self.sessions.take_all());
        if tokio::time::timeout(STOP_GRACE, self.processes.finished())
            .await
            .is_err()
        {
            tracing::warn!("some processes were still ending when the executor went");
        }
        self.audit.record(&Who::default(), Event::Stop);
        self.audit.finish().await;
    }

    pub(crate) fn open(&self, who: &Who) -> Attached {
        let processes = Table::new(Arc::clone(&self.processes));
        Attached::opened(self.sessions.open(who.principal.clone(), processes))
    }

    pub(crate) fn resume(&self, id: &str, who: &Who) -> Result<Attached, ResumeError> {
        let resumed = self.sessions.resume(id, who.principal.as_deref());
        resumed.map(Attached::resumed)
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
        })
    }

    pub(crate) fn info(&self) -> &EnvironmentInfo {
        &self.info
    }

    pub(crate) fn info_json(&self) -> &str {
        &self.info_json
    }

    pub(crate) fn in_place(&self) -> &InPlace {
        &self.in_place
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

    pub(crate) fn audited_for_tests(audit: Audit) -> Arc<Server> {
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
        Server::new(&Settings::new(crate::cli::Listen::Stdio), &host, audit, [])
    }
}

/// What can be used beyond the core of the protocol.
const CAPABILITIES: [&str; 3] = ["fileWriteStreaming", "fsWatchMissing", "httpHeaderEnvVars"];

fn process_settings(settings: &Settings) -> process::Settings {
    let mut chosen = process::Settings {
        remembered_for: settings.detached,
        ..process::Settings::default()
    };
    if let Some(bytes) = settings.retain_bytes {
        chosen.output.retained_bytes = bytes;
    }
    chosen
}

/// The limits in force, as `environment/info` names them.
fn limits(settings: &Settings, processes: &process::Settings) -> Vec<(&'static str, u64)> {
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    vec![
        ("messageBytes", count(MESSAGE_BYTES_MAX)),
        ("frameBytes", count(FRAME_BYTES_MAX)),
        ("messageBytesInAll", count(MESSAGE_BYTES_IN_ALL_MAX)),
        ("messageDepth", count(rpc::Limits::default().depth_max)),
        ("messageValues", count(rpc::Limits::default().values_max)),
        ("requestIdBytes", count(rpc::ID_BYTES_MAX)),
        ("requestsInFlight", count(connection::IN_FLIGHT_MAX)),
        (
            "callsAtOnce",
            count(settings.calls_at_once.unwrap_or(pool::CALLS_AT_ONCE)),
        ),
        ("answersQueued", count(connection::ANSWERS_MAX)),
        ("answerBytesQueued", count(connection::ANSWER_BYTES_MAX)),
        ("processIdBytes", count(dispatch::PROCESS_ID_BYTES_MAX)),
        ("writeIdBytes", count(dispatch::WRITE_ID_BYTES_MAX)),
        ("processesPerSession", count(processes.per_session)),
        ("processes", count(processes.in_all)),
        ("argumentsAndVariables", count(os::STRINGS_MAX)),
        ("unreadStdinBytes", count(process::UNREAD_STDIN_MAX)),
        ("rememberedProcesses", count(processes.remembered_max)),
        ("retainedBytes", count(processes.output.retained_bytes)),
        ("retainedChunks", count(processes.output.retained_chunks)),
        ("readFileBytes", fs::READ_FILE_BYTES_MAX),
        ("fileHandles", count(fs::HANDLES_MAX)),
        ("fileHandleIdBytes", count(fs::HANDLE_ID_BYTES_MAX)),
        ("fileBlockBytes", count(fs::BLOCK_BYTES_MAX)),
        ("readDirectoryEntries", count(fs::DIRECTORY_ENTRIES_MAX)),
        ("walkDepth", fs::WALK_DEPTH_MAX),
        ("walkDirectories", fs::WALK_DIRECTORIES_MAX),
        ("walkEntries", fs::WALK_ENTRIES_MAX),
        ("walkBytes", count(fs::WALK_BYTES_MAX)),
        ("treeEntries", fs::TREE_ENTRIES_MAX),
        ("treeSeconds", fs::TREE_TIME_MAX.as_secs()),
        ("watchedPaths", count(watch::PATHS_MAX)),
        ("httpBodyBytes", count(http::BODY_BYTES_MAX)),
        ("httpRedirects", count(http::REDIRECTS_MAX)),
        ("httpHeadBytes", count(http::HEAD_BYTES_MAX)),
        ("httpRequestsAtOnce", count(dispatch::REQUESTS_AT_ONCE)),
        ("httpStreams", count(dispatch::STREAMS_MAX)),
        ("detachedSeconds", settings.detached.as_secs()),
        ("detachedSessions", count(session::DETACHED_OF_OWNER_MAX)),
        ("connections", count(listen::CONNECTIONS_MAX)),
        ("unknownConnections", count(listen::UNKNOWN_MAX)),
        ("pingSeconds", settings.ping_interval.as_secs()),
    ]
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("sessions", &self.sessions)
            .finish_non_exhaustive()
    }
}
