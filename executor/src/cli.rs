//! The command line as a value. Owns what may be asked for and the words of a refusal; reads no
//! environment, opens nothing and starts nothing.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::audit::{self, AuditArgs, AuditCommand};
use crate::auth::{self, AuthArgs, TokenArgs};
use crate::http::{self, HttpArgs};
use crate::listen::{self, Access, AccessArgs};
use crate::logs::{LogArgs, LogFormat};

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

    /// Where to listen: ws://IP:PORT or wss://IP:PORT (port 0 picks a free one), stdio or stdio://
    #[arg(long, value_name = "WHERE", default_value = "ws://127.0.0.1:0")]
    listen: String,

    /// How many calls of one connection may work at once; waiting polls and control calls are free
    #[arg(long, value_name = "N")]
    concurrent_requests: Option<u16>,

    /// Output kept for each process, in bytes; a process nobody reads pauses when it is full
    #[arg(long, value_name = "BYTES")]
    retain_bytes: Option<usize>,

    /// Seconds a session without a connection, and a closed process, are kept (at least 60)
    #[arg(long, value_name = "SECONDS", default_value_t = DETACHED_SECONDS)]
    detached_seconds: u64,

    /// Seconds between pings to a caller; two unanswered ones end its connection (1 to 300)
    #[arg(long, value_name = "SECONDS", default_value_t = PING_SECONDS)]
    ping_seconds: u64,

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

/// Keeps what stands between us and a caller from forgetting the connection, and frees a session
/// from a caller that vanished within a minute and a half.
const PING_SECONDS: u64 = 30;

/// Beyond this a session would stay with a vanished caller for longer than anybody waits.
const PING_SECONDS_MAX: u64 = 300;

/// Most calls take milliseconds; whoever stops an executor does not want to wait for the others.
const DRAIN_SECONDS: u64 = 5;

/// Longer than this it is not stopping.
const DRAIN_SECONDS_MAX: u64 = 300;

/// Below this a fast command would lose its first output to the first slow poll.
const RETAIN_BYTES_MIN: usize = 64 * 1024;

/// What the executor was asked to do, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where orchestrators reach us.
    pub listen: Listen,
    /// Calls of one connection that may work at once; the server's own bound when absent.
    pub calls_at_once: Option<usize>,
    /// Output retained for each process; the server's own bound when absent.
    pub retain_bytes: Option<usize>,
    /// How long a detached session and a closed process are kept.
    pub detached: Duration,
    /// How peers prove who they are.
    pub auth: auth::Settings,
    /// Who may reach the listener.
    pub access: Access,
    /// Where requests made from here may go.
    pub http: http::Settings,
    /// How often a silent caller is asked for a sign of life.
    pub ping_interval: Duration,
    /// How long calls under way may take to finish when the executor stops.
    pub drain: Duration,
    /// What is recorded of what happens here, and where.
    pub audit: audit::Settings,
}

/// The two transports an executor offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listen {
    /// A websocket listener on a loopback address.
    WebSocket(SocketAddr),
    /// One connection on standard input and output.
    Stdio,
}

impl Settings {
    /// The settings of an executor that was given no flags but where to listen, without an audit
    /// log: only the program keeps one unasked.
    pub fn new(listen: Listen) -> Settings {
        Settings {
            listen,
            calls_at_once: None,
            retain_bytes: None,
            detached: Duration::from_secs(DETACHED_SECONDS),
            auth: auth::Settings::None,
            access: Access::default(),
            http: http::Settings::default(),
            ping_interval: Duration::from_secs(PING_SECONDS),
            drain: Duration::from_secs(DRAIN_SECONDS),
            audit: audit::Settings::off(),
        }
    }

    /// Whether others than this machine can call.
    pub(crate) fn is_exposed(&self) -> bool {
        match self.listen {
            Listen::Stdio => false,
            Listen::WebSocket(address) => !address.ip().to_canonical().is_loopback(),
        }
    }
}

/// A command line that was understood and is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Refused {
    #[error("--listen takes ws://IP:PORT, wss://IP:PORT, stdio or stdio://, not {0:?}")]
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
    #[error("--concurrent-requests must be at least 1")]
    NoConcurrency,
    #[error("--retain-bytes must be at least {RETAIN_BYTES_MIN}")]
    RetainTooLittle,
    #[error("--detached-seconds must be at least {DETACHED_SECONDS_MIN}")]
    DetachedTooShort,
    #[error("--drain-seconds must be at most {DRAIN_SECONDS_MAX}")]
    Drain,
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
            Refused::NotLoopback(_) | Refused::Plaintext(_) | Refused::Root => 2,
            _ => 1,
        }
    }
}

impl TryFrom<Args> for Settings {
    type Error = Refused;

    fn try_from(args: Args) -> Result<Settings, Refused> {
        let (listen, is_tls) = listen(&args.listen)?;
        let auth = auth::Settings::try_from(args.auth)?;
        let access = Access::try_from(args.access)?;
        check(listen, is_tls, &auth, &access)?;
        if args.concurrent_requests == Some(0) {
            return Err(Refused::NoConcurrency);
        }
        if args
            .retain_bytes
            .is_some_and(|bytes| bytes < RETAIN_BYTES_MIN)
        {
            return Err(Refused::RetainTooLittle);
        }
        if args.detached_seconds < DETACHED_SECONDS_MIN {
            return Err(Refused::DetachedTooShort);
        }
        if args.drain_seconds > DRAIN_SECONDS_MAX {
            return Err(Refused::Drain);
        }
        if !(1..=PING_SECONDS_MAX).contains(&args.ping_seconds) {
            return Err(Refused::Ping);
        }
        Ok(Settings {
            listen,
            calls_at_once: args.concurrent_requests.map(usize::from),
            retain_bytes: args.retain_bytes,
            detached: Duration::from_secs(args.detached_seconds),
            auth,
            access,
            http: args.http.try_into()?,
            ping_interval: Duration::from_secs(args.ping_seconds),
            drain: Duration::from_secs(args.drain_seconds),
            audit: args.audit.try_into()?,
        })
    }
}

/// Whether what protects the listener fits where it listens (`security` SR-1, SR-2).
fn check(
    listen: Listen,
    is_tls: bool,
    auth: &auth::Settings,
    access: &Access,
) -> Result<(), Refused> {
    let has_auth = *auth != auth::Settings::None;
    let Listen::WebSocket(address) = listen else {
        return match (has_auth, &access.tls) {
            (true, _) => Err(Refused::NotForStdio("--ws-auth")),
            (false, Some(_)) => Err(Refused::NotForStdio("--tls-cert")),
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
mod tests {
    use super::*;

    fn settings(args: &[&str]) -> Result<Settings, Refused> {
        // Without an audit log, which has its own tests.
        let args = ["farstep-executor", "--audit-file=off"].iter().chain(args);
        Settings::try_from(Args::try_parse_from(args).unwrap())
    }

    #[test]
    fn loopback_and_stdio_are_where_an_executor_may_listen() {
        let any = |text: &str| Ok(Settings::new(Listen::WebSocket(text.parse().unwrap())));
        assert_eq!(settings(&[]), any("127.0.0.1:0"));
        assert_eq!(
            settings(&["--listen", "ws://127.0.0.9:4500"]),
            any("127.0.0.9:4500")
        );
        assert_eq!(settings(&["--listen", "ws://[::1]:0"]), any("[::1]:0"));
        for stdio in ["stdio", "stdio://"] {
            assert_eq!(
                settings(&["--listen", stdio]),
                Ok(Settings::new(Listen::Stdio))
            );
        }
    }

    #[test]
    fn an_address_that_is_not_loopback_is_refused_with_status_two() {
        for host in [
            "0.0.0.0:0",
            "[::]:0",
            "[::ffff:0.0.0.0]:80",
            "10.0.0.7:4500",
            "[2001:db8::1]:1",
        ] {
            let refused = settings(&["--listen", &format!("ws://{host}")]).unwrap_err();
            assert_eq!(refused, Refused::NotLoopback(host.parse().unwrap()));
            assert_eq!(refused.status(), 2);
        }
    }

    #[test]
    fn beyond_loopback_it_takes_a_credential_and_encryption_or_a_word() {
        let token = ["--ws-auth", "capability-token", "--ws-token-file", "t"];
        let tls = ["--tls-cert", "c", "--tls-key", "k"];
        let with = |listen: &str, flags: &[&[&str]]| {
            settings(&[&["--listen", listen], &*flags.concat()].concat()).map(|_| ())
        };
        let address = "0.0.0.0:0".parse().unwrap();
        let (plain, secure) = ("ws://0.0.0.0:0", "wss://0.0.0.0:0");
        let no_auth = with(secure, &[&tls]);
        assert_eq!(no_auth, Err(Refused::NotLoopback(address)));
        let readable = with(plain, &[&token]).unwrap_err();
        assert_eq!(
            (&readable, readable.status()),
            (&Refused::Plaintext(address), 2)
        );
        assert_eq!(with(plain, &[&token, &["--allow-plaintext"]]), Ok(()));
        assert_eq!(with(secure, &[&token, &tls]), Ok(()));
        assert_eq!(with(secure, &[&tls, &["--tls-client-ca", "a"]]), Ok(()));
        assert_eq!(with("wss://127.0.0.1:0", &[]), Err(Refused::NoCertificate));
        let unused = with("ws://127.0.0.1:0", &[&tls]);
        assert_eq!(unused, Err(Refused::UnusedCertificate));
        let stdio = with("stdio", &[&token]);
        assert_eq!(stdio, Err(Refused::NotForStdio("--ws-auth")));
    }

    #[test]
    fn pings_are_neither_a_flood_nor_given_up() {
        for seconds in ["0", "301"] {
            assert_eq!(settings(&["--ping-seconds", seconds]), Err(Refused::Ping));
        }
        for seconds in [1, 300] {
            let settings = settings(&["--ping-seconds", &seconds.to_string()]).unwrap();
            assert_eq!(settings.ping_interval, Duration::from_secs(seconds));
        }
    }

    #[test]
    fn anything_else_is_refused_with_status_one() {
        let odd = [
            "ws://127.0.0.1",
            "ws://127.0.0.1:0/",
            "http://127.0.0.1:0",
            "127.0.0.1:0",
            "",
            "ws://[::1]",
            "ws://:0",
        ];
        for text in odd {
            let refused = settings(&["--listen", text]).unwrap_err();
            assert_eq!(
                (&refused, refused.status()),
                (&Refused::Listen(text.to_owned()), 1)
            );
        }
        let name = "ws://localhost:0".to_owned();
        assert_eq!(
            settings(&["--listen", &name]),
            Err(Refused::NotAnAddress(name))
        );
    }

    #[test]
    fn root_of_a_host_needs_a_word_for_it() {
        let args = |more: &[&str]| Args::parse_from([&["farstep-executor"], more].concat());
        assert_eq!(args(&[]).check_root(false), Ok(()));
        assert_eq!(args(&["--allow-root"]).check_root(true), Ok(()));
        let refused = args(&[]).check_root(true).unwrap_err();
        assert_eq!((refused.status(), refused), (2, Refused::Root));
    }

    #[test]
    fn bounds_that_would_break_clients_are_refused() {
        assert_eq!(
            settings(&["--concurrent-requests", "0"]),
            Err(Refused::NoConcurrency)
        );
        assert_eq!(
            settings(&["--retain-bytes", "10"]),
            Err(Refused::RetainTooLittle)
        );
        assert_eq!(
            settings(&["--detached-seconds", "59"]),
            Err(Refused::DetachedTooShort)
        );
        let most = settings(&[
            "--concurrent-requests",
            "16",
            "--retain-bytes",
            "1048576",
            "--detached-seconds",
            "60",
        ]);
        let wanted = Settings {
            listen: Listen::WebSocket("127.0.0.1:0".parse().unwrap()),
            calls_at_once: Some(16),
            retain_bytes: Some(1 << 20),
            detached: Duration::from_secs(60),
            auth: auth::Settings::None,
            access: Access::default(),
            http: http::Settings::default(),
            ping_interval: Duration::from_secs(PING_SECONDS),
            drain: Duration::from_secs(DRAIN_SECONDS),
            audit: audit::Settings::off(),
        };
        assert_eq!(most, Ok(wanted));
    }
}
