//! The command line as a value. Owns what may be asked for and the words of a refusal; reads no
//! environment, opens nothing and starts nothing.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::audit::{self, AuditArgs, AuditCommand};
use crate::auth::{self, AuthArgs, TokenArgs};
use crate::http::{self, HttpArgs};
use crate::listen::{self, Access, AccessArgs};
use crate::logs::{LogArgs, LogFormat};
use crate::os;
use crate::process;
use crate::remote::{self, RemoteArgs};
use crate::supervise::SuperviseArgs;

/// Serves this machine's files and processes to a farstep orchestrator.
#[derive(Debug, Parser)]
#[command(
    name = "farstep-executor",
    version,
    args_conflicts_with_subcommands = true
)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,

    /// Where to listen: ws://IP:PORT or wss://IP:PORT (port 0 picks a free one), unix:PATH, stdio or
    /// stdio://
    #[arg(long, value_name = "WHERE", default_value = "ws://127.0.0.1:0")]
    listen: String,

    /// With --listen stdio: serve from an executor in the background, which is started if there is
    /// none. Sessions and what runs in them then outlive a broken connection, and detached jobs
    /// outlive it for as long as they are kept
    #[arg(long)]
    durable: bool,

    /// Seconds after which the executor in the background ends when it has neither a connection nor
    /// a session
    #[arg(long, value_name = "SECONDS", default_value_t = IDLE_SECONDS)]
    idle_seconds: u64,

    /// What the executor in the background is started with.
    #[arg(long, value_name = "SOCKET", hide = true)]
    background: Option<PathBuf>,

    /// How many calls of one connection may work at once; waiting polls and control calls are free
    #[arg(long, value_name = "N")]
    concurrent_requests: Option<u16>,

    /// Output kept for each process, in bytes; a process nobody reads pauses when it is full
    #[arg(long, value_name = "BYTES")]
    retain_bytes: Option<usize>,

    /// The same in pieces, each of which is one notification
    #[arg(long, value_name = "N")]
    retain_chunks: Option<usize>,

    /// Output kept for all processes together, in bytes; beyond it the oldest that was delivered
    /// goes, and a process with none pauses
    #[arg(long, value_name = "BYTES", default_value_t = process::RETAINED_IN_ALL)]
    retain_total_bytes: usize,

    /// Seconds a session without a connection, and a closed process, are kept (at least 60)
    #[arg(long, value_name = "SECONDS", default_value_t = DETACHED_SECONDS)]
    detached_seconds: u64,

    /// Seconds a durable session, which is what a detached job runs in, may be kept without a
    /// connection at most; 0 allows none
    #[arg(long, value_name = "SECONDS", default_value_t = SESSION_RETENTION_SECONDS)]
    max_session_retention_seconds: u64,

    /// Seconds between pings to a caller; two unanswered ones end its connection (1 to 300)
    #[arg(long, value_name = "SECONDS", default_value_t = PING_SECONDS)]
    ping_seconds: u64,

    /// Microseconds for which a connection stays awake behind an answer when its caller asks one
    /// question right behind the other, which is quicker than being woken; 0 never does, and where
    /// there are fewer than three processors nobody does (0 to 200)
    #[arg(long, value_name = "MICROSECONDS", default_value_t = BUSY_POLL_MICROSECONDS)]
    busy_poll_us: u64,

    /// Seconds for which calls under way may finish when the executor is told to stop (0 to 300);
    /// a second signal stops it at once
    #[arg(long, value_name = "SECONDS", default_value_t = DRAIN_SECONDS)]
    drain_seconds: u64,

    /// Run as root although this is no container: every command may then do anything here
    #[arg(long)]
    allow_root: bool,

    #[command(flatten)]
    auth: AuthArgs,

    #[command(flatten)]
    access: AccessArgs,

    #[command(flatten)]
    remote: RemoteArgs,

    #[command(flatten)]
    http: HttpArgs,

    #[command(flatten)]
    audit: AuditArgs,

    #[command(flatten)]
    log: LogArgs,
}

/// What the program does besides serving.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Work with audit logs
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Credentials for the listener
    #[command(subcommand)]
    Token(TokenCommand),
    /// Run `codex exec-server --remote`, hand it its credential and start it again when it ends
    SuperviseCodex(Box<SuperviseArgs>),
}

/// What can be done about tokens.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum TokenCommand {
    /// Makes a token of 256 random bits for --ws-auth capability-token
    New(TokenArgs),
}

impl Args {
    /// What to do instead of serving.
    pub fn take_command(&mut self) -> Option<Command> {
        self.command.take()
    }

    /// Refuses to be root of a host, which the caller has found out, unless that is wanted.
    pub fn check_root(&self, is_root_of_a_host: bool) -> Result<(), Refused> {
        match is_root_of_a_host && !self.allow_root {
            true => Err(Refused::Root),
            false => Ok(()),
        }
    }

    /// How to log, which is known before anything can be refused.
    pub fn log_format(&self) -> LogFormat {
        self.log.log_format
    }
}

/// How long a session outlives its connection: above the window in which the clients in the
/// field try to come back (25 s for old ones, more for newer ones).
const DETACHED_SECONDS: u64 = 80;

/// Below this a client that is still trying to recover would find its session gone.
const DETACHED_SECONDS_MIN: u64 = 60;

/// A job that was started on a Friday can be looked at on the Friday after.
const SESSION_RETENTION_SECONDS: u64 = 7 * 24 * 60 * 60;

/// Beyond a year a clock is no longer what limits a job.
const SESSION_RETENTION_SECONDS_MAX: u64 = 366 * 24 * 60 * 60;

/// The least for an executor at a rendezvous: longer than any pause of a peer.
const REMOTE_DETACHED_SECONDS_MIN: u64 = 120;

/// Somebody who works on a machine comes back within ten minutes, and then nothing has to be
/// started.
const IDLE_SECONDS: u64 = 600;

/// Beyond a day it is no longer about being quick.
const IDLE_SECONDS_MAX: u64 = 24 * 60 * 60;

/// Keeps what stands between us and a caller from forgetting the connection, and frees a session
/// from a caller that vanished within a minute and a half.
const PING_SECONDS: u64 = 30;

/// Beyond this a session would stay with a vanished caller for longer than anybody waits.
const PING_SECONDS_MAX: u64 = 300;

/// About as long as it takes to be woken, so that it costs at most as much again as it may save.
const BUSY_POLL_MICROSECONDS: u64 = 50;

/// Whatever else is ready on the same worker waits as long.
const BUSY_POLL_MICROSECONDS_MAX: u64 = 200;

/// Most calls take milliseconds; whoever stops an executor does not want to wait for the others.
const DRAIN_SECONDS: u64 = 5;

/// Longer than this it is not stopping.
const DRAIN_SECONDS_MAX: u64 = 300;

/// Below this a fast command would lose its first output to the first slow poll.
const RETAIN_BYTES_MIN: usize = 64 * 1024;

/// Below this it would be the number of lines that counts, and not their length.
const RETAIN_CHUNKS_MIN: usize = 100;

/// Below this as many processes as there may be could hardly go on side by side.
const RETAIN_TOTAL_BYTES_MIN: usize = 64 * 1024 * 1024;

/// What the executor was asked to do, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where orchestrators reach us.
    pub listen: Listen,
    /// Calls of one connection that may work at once; the server's own bound when absent.
    pub calls_at_once: Option<usize>,
    /// Output retained for each process; the server's own bound when absent.
    pub retain_bytes: Option<usize>,
    /// The same in chunks.
    pub retain_chunks: Option<usize>,
    /// Output retained for all processes together, in bytes.
    pub retain_total_bytes: usize,
    /// How long a detached session and a closed process are kept.
    pub detached: Duration,
    /// For how long a durable session may be kept at most; zero allows none.
    pub max_session_retention: Duration,
    /// How peers prove who they are.
    pub auth: auth::Settings,
    /// Who may reach the listener.
    pub access: Access,
    /// Where requests made from here may go.
    pub http: http::Settings,
    /// How often a silent caller is asked for a sign of life.
    pub ping_interval: Duration,
    /// How long a connection may stay awake behind an answer; zero for never.
    pub busy_poll: Duration,
    /// How long calls under way may take to finish when the executor stops.
    pub drain: Duration,
    /// What is recorded of what happens here, and where.
    pub audit: audit::Settings,
    /// Where to register, with [`Listen::Rendezvous`].
    pub remote: Option<remote::Settings>,
    /// How long an executor in the background stays when nobody needs it.
    pub idle: Duration,
}

/// How orchestrators reach an executor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// A websocket listener on a loopback address.
    WebSocket(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
    /// One connection on standard input and output.
    Stdio,
    /// The same, passed on to the executor in the background.
    Durable,
    /// That executor, on its own socket.
    Background(PathBuf),
    /// Nowhere: the rendezvous of [`Settings::remote`] is dialled.
    Rendezvous,
}

impl Settings {
    /// The settings of an executor that was given no flags but where to listen, without an audit
    /// log: only the program keeps one unasked.
    pub fn new(listen: Listen) -> Settings {
        Settings {
            listen,
            calls_at_once: None,
            retain_bytes: None,
            retain_chunks: None,
            retain_total_bytes: process::RETAINED_IN_ALL,
            detached: Duration::from_secs(DETACHED_SECONDS),
            max_session_retention: Duration::from_secs(SESSION_RETENTION_SECONDS),
            auth: auth::Settings::None,
            access: Access::default(),
            http: http::Settings::default(),
            ping_interval: Duration::from_secs(PING_SECONDS),
            busy_poll: Duration::from_micros(BUSY_POLL_MICROSECONDS),
            drain: Duration::from_secs(DRAIN_SECONDS),
            audit: audit::Settings::off(),
            remote: None,
            idle: Duration::from_secs(IDLE_SECONDS),
        }
    }

    /// For how long a durable session may really be kept: nothing outlives standard input.
    pub(crate) fn session_retention_max(&self) -> Duration {
        match self.listen {
            Listen::Stdio | Listen::Durable => Duration::ZERO,
            Listen::WebSocket(_) | Listen::Unix(_) | Listen::Background(_) | Listen::Rendezvous => {
                self.max_session_retention
            }
        }
    }

    /// Whether others than this machine can call.
    pub(crate) fn is_exposed(&self) -> bool {
        match &self.listen {
            Listen::Stdio | Listen::Durable | Listen::Unix(_) | Listen::Background(_) => false,
            Listen::Rendezvous => true,
            Listen::WebSocket(address) => !address.ip().to_canonical().is_loopback(),
        }
    }
}

/// A command line that was understood and is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Refused {
    #[error("--listen takes ws://IP:PORT, wss://IP:PORT, unix:PATH, stdio or stdio://, not {0:?}")]
    Listen(String),
    #[error("--listen {0:?}: the host must be an IP address, not a name (try ws://127.0.0.1:0)")]
    NotAnAddress(String),
    #[error(
        "--listen {0}: refused, because it is not a loopback address and whoever reaches the port \
         could run commands here. Add --ws-auth capability-token --ws-token-file FILE \
         (`farstep-executor token new --out FILE` makes one) or --tls-client-ca FILE; or listen on \
         ws://127.0.0.1:PORT and forward the port (ssh -L)"
    )]
    NotLoopback(SocketAddr),
    #[error(
        "--listen {0}: refused, because credentials and everything else would cross the network \
         readable. Use wss:// with --tls-cert FILE --tls-key FILE; or add --allow-plaintext if \
         something else encrypts the way"
    )]
    Plaintext(SocketAddr),
    #[error("--listen wss:// needs --tls-cert FILE and --tls-key FILE")]
    NoCertificate,
    #[error("--tls-cert is for --listen wss://IP:PORT, and this listener is not one")]
    UnusedCertificate,
    #[error("{0} is for a websocket listener and means nothing with --listen stdio")]
    NotForStdio(&'static str),
    #[error(
        "{0} is for a websocket listener; who may open a socket of files is decided by its folder"
    )]
    NotForUnix(&'static str),
    #[error(
        "--listen unix:PATH and --durable need sockets that are files of their owner alone, which \
         this system does not have. Use --listen ws://127.0.0.1:PORT"
    )]
    NoLocalSockets,
    #[error("--durable is for --listen stdio; every other listener keeps sessions by itself")]
    DurableElsewhere,
    #[error("--idle-seconds must be between 1 and {IDLE_SECONDS_MAX}")]
    Idle,
    #[error("{0} is for a websocket listener, and with --remote there is none")]
    NotForRemote(&'static str),
    #[error(transparent)]
    Remote(#[from] remote::Refused),
    #[error("--concurrent-requests must be at least 1")]
    NoConcurrency,
    #[error("--retain-bytes must be at least {RETAIN_BYTES_MIN}")]
    RetainTooLittle,
    #[error("--retain-chunks must be at least {RETAIN_CHUNKS_MIN}")]
    RetainTooFew,
    #[error("--retain-total-bytes must be at least {RETAIN_TOTAL_BYTES_MIN}")]
    RetainTooLittleInAll,
    #[error("--retain-total-bytes must be at least --retain-bytes, which is {0}")]
    RetainMoreThanAll(usize),
    #[error("--detached-seconds must be at least {DETACHED_SECONDS_MIN}")]
    DetachedTooShort,
    #[error("--max-session-retention-seconds must be at most {SESSION_RETENTION_SECONDS_MAX}")]
    RetentionTooLong,
    #[error("--drain-seconds must be at most {DRAIN_SECONDS_MAX}")]
    Drain,
    #[error("--busy-poll-us must be at most {BUSY_POLL_MICROSECONDS_MAX}")]
    BusyPoll,
    #[error("--ping-seconds must be between 1 and {PING_SECONDS_MAX}")]
    Ping,
    #[error(
        "refused, because commands would be root on this machine. Run it as a user made for it, or \
         in a container; or add --allow-root"
    )]
    Root,
    #[error(transparent)]
    Auth(#[from] auth::Refused),
    #[error(transparent)]
    Access(#[from] listen::RefusedAccess),
    #[error(transparent)]
    Http(#[from] http::Refused),
    #[error(transparent)]
    Audit(#[from] audit::Refused),
}

impl Refused {
    /// The exit status: 2 for what would be unsafe, 1 for what makes no sense.
    pub fn status(&self) -> u8 {
        match self {
            Refused::NotLoopback(_)
            | Refused::Plaintext(_)
            | Refused::Root
            | Refused::Remote(remote::Refused::Plaintext(_)) => 2,
            _ => 1,
        }
    }
}

impl TryFrom<Args> for Settings {
    type Error = Refused;

    fn try_from(args: Args) -> Result<Settings, Refused> {
        check_retention(&args)?;
        let remote = args.remote.check()?;
        let (listen, is_tls) = match &remote {
            Some(_) => (Listen::Rendezvous, false),
            None => listen(&args.listen)?,
        };
        let listen = in_background(listen, args.durable, args.background)?;
        if !(1..=IDLE_SECONDS_MAX).contains(&args.idle_seconds) {
            return Err(Refused::Idle);
        }
        // Registering anew may take a while, and nobody can resume meanwhile.
        let detached_seconds = match &remote {
            Some(_) => args.detached_seconds.max(REMOTE_DETACHED_SECONDS_MIN),
            None => args.detached_seconds,
        };
        let auth = auth::Settings::try_from(args.auth)?;
        let access = Access::try_from(args.access)?;
        check(&listen, is_tls, &auth, &access)?;
        if args.concurrent_requests == Some(0) {
            return Err(Refused::NoConcurrency);
        }
        if args.detached_seconds < DETACHED_SECONDS_MIN {
            return Err(Refused::DetachedTooShort);
        }
        if args.max_session_retention_seconds > SESSION_RETENTION_SECONDS_MAX {
            return Err(Refused::RetentionTooLong);
        }
        if args.drain_seconds > DRAIN_SECONDS_MAX {
            return Err(Refused::Drain);
        }
        if !(1..=PING_SECONDS_MAX).contains(&args.ping_seconds) {
            return Err(Refused::Ping);
        }
        if args.busy_poll_us > BUSY_POLL_MICROSECONDS_MAX {
            return Err(Refused::BusyPoll);
        }
        Ok(Settings {
            listen,
            calls_at_once: args.concurrent_requests.map(usize::from),
            retain_bytes: args.retain_bytes,
            retain_chunks: args.retain_chunks,
            retain_total_bytes: args.retain_total_bytes,
            detached: Duration::from_secs(detached_seconds),
            max_session_retention: Duration::from_secs(args.max_session_retention_seconds),
            auth,
            access,
            http: args.http.try_into()?,
            ping_interval: Duration::from_secs(args.ping_seconds),
            busy_poll: Duration::from_micros(args.busy_poll_us),
            drain: Duration::from_secs(args.drain_seconds),
            audit: args.audit.try_into()?,
            remote,
            idle: Duration::from_secs(args.idle_seconds),
        })
    }
}

/// Who it is that serves standard input and output.
fn in_background(
    listen: Listen,
    durable: bool,
    background: Option<PathBuf>,
) -> Result<Listen, Refused> {
    if !os::HAS_LOCAL_SOCKETS && (durable || matches!(listen, Listen::Unix(_))) {
        return Err(Refused::NoLocalSockets);
    }
    match (listen, durable, background) {
        (listen, false, _) => Ok(listen),
        (Listen::Stdio, true, None) => Ok(Listen::Durable),
        (Listen::Stdio, true, Some(socket)) => Ok(Listen::Background(socket)),
        (_, true, _) => Err(Refused::DurableElsewhere),
    }
}

/// Whether what is retained is enough to work with.
fn check_retention(args: &Args) -> Result<(), Refused> {
    let bytes = args.retain_bytes;
    if bytes.is_some_and(|bytes| bytes < RETAIN_BYTES_MIN) {
        return Err(Refused::RetainTooLittle);
    }
    if args
        .retain_chunks
        .is_some_and(|chunks| chunks < RETAIN_CHUNKS_MIN)
    {
        return Err(Refused::RetainTooFew);
    }
    if args.retain_total_bytes < RETAIN_TOTAL_BYTES_MIN {
        return Err(Refused::RetainTooLittleInAll);
    }
    match bytes.filter(|bytes| *bytes > args.retain_total_bytes) {
        Some(bytes) => Err(Refused::RetainMoreThanAll(bytes)),
        None => Ok(()),
    }
}

/// Whether what protects the listener fits where it listens (`security` SR-1, SR-2).
fn check(
    listen: &Listen,
    is_tls: bool,
    auth: &auth::Settings,
    access: &Access,
) -> Result<(), Refused> {
    let has_auth = *auth != auth::Settings::None;
    let Listen::WebSocket(address) = *listen else {
        let refused = match listen {
            Listen::Rendezvous => Refused::NotForRemote,
            Listen::Unix(_) => Refused::NotForUnix,
            _ => Refused::NotForStdio,
        };
        return match (has_auth, &access.tls) {
            (true, _) => Err(refused("--ws-auth")),
            (false, Some(_)) => Err(refused("--tls-cert")),
            (false, None) => Ok(()),
        };
    };
    match (&access.tls, is_tls) {
        (None, true) => return Err(Refused::NoCertificate),
        (Some(_), false) => return Err(Refused::UnusedCertificate),
        (Some(_), true) | (None, false) => {}
    }
    // An IPv4 address in IPv6 clothes is judged by what it reaches.
    if address.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    let has_certificates = access
        .tls
        .as_ref()
        .is_some_and(|tls| tls.client_authorities.is_some());
    if !has_auth && !has_certificates {
        return Err(Refused::NotLoopback(address));
    }
    if !is_tls && !access.allow_plaintext {
        return Err(Refused::Plaintext(address));
    }
    Ok(())
}

/// Where to listen, and whether with TLS.
fn listen(text: &str) -> Result<(Listen, bool), Refused> {
    if matches!(text, "stdio" | "stdio://") {
        return Ok((Listen::Stdio, false));
    }
    if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
        return Ok((Listen::Unix(path.into()), false));
    }
    let (authority, is_tls) = match (text.strip_prefix("ws://"), text.strip_prefix("wss://")) {
        (Some(authority), _) => (authority, false),
        (None, Some(authority)) => (authority, true),
        (None, None) => return Err(Refused::Listen(text.to_owned())),
    };
    let address: SocketAddr = authority
        .parse()
        .map_err(|_| match authority.rsplit_once(':') {
            Some((host, port)) if is_a_name(host) && port.parse::<u16>().is_ok() => {
                Refused::NotAnAddress(text.to_owned())
            }
            _ => Refused::Listen(text.to_owned()),
        })?;
    Ok((Listen::WebSocket(address), is_tls))
}

fn is_a_name(host: &str) -> bool {
    !host.is_empty()
        && host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
}

#[cfg(test)]
mod tests;
