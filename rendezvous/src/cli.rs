//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::quotas::Quotas;
use crate::store::CredentialKind;

/// Where executors without an open port are reached.
#[derive(Debug, Parser)]
#[command(name = "farstep-rendezvous", version)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What the program does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serves a registry and a relay
    Serve(Serve),
    /// Works with what a node knows: on its folder, while it runs or not, or over gRPC
    Admin(AdminArgs),
}

/// Where everything is kept.
#[derive(Clone, Debug, Args)]
pub struct Data {
    /// Folder with the database; it is made if there is none, readable by nobody else
    #[arg(long, value_name = "FOLDER")]
    pub data: PathBuf,
}

/// `serve`
#[derive(Debug, Args)]
pub struct Serve {
    /// Where everything is kept
    #[command(flatten)]
    pub data: Data,

    /// Where to listen; beyond loopback with TLS, or behind something that speaks it
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8787")]
    pub listen: SocketAddr,

    /// The https URL under which peers reach this node, if that is another one
    #[arg(long, value_name = "URL")]
    pub public_url: Option<String>,

    /// Another https URL under which executors reach this node when that one is not reached (may be
    /// repeated, up to 8)
    #[arg(long, value_name = "URL")]
    pub alternate_url: Vec<String>,

    /// Certificate chain (PEM) to speak TLS with; read again when it changes
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// Private key (PEM) of --tls-cert; only you may be able to read it
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// Listen beyond loopback without TLS: something in front encrypts
    #[arg(long, conflicts_with = "tls_cert")]
    pub behind_proxy: bool,

    /// When asked to stop, let the executors go one after the other over so many seconds; on a
    /// node without others beside it, a few are better
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub drain_seconds: u32,

    /// What callers may do at most
    #[command(flatten)]
    pub quotas: Quotas,

    /// Whose tokens connect orchestrators as well, in TOML: [[provider]] with tenant, issuer,
    /// audience, algorithms and jwks (a path or an https URL)
    #[arg(long, value_name = "FILE")]
    pub identity_providers: Option<PathBuf>,

    /// Where to listen for `admin --server` and other gRPC clients
    #[arg(long, value_name = "IP:PORT")]
    pub grpc: Option<SocketAddr>,

    /// The certificate chain for --grpc, in PEM; beyond loopback it must have one
    #[arg(long, value_name = "FILE", requires_all = ["grpc", "grpc_tls_key"])]
    pub grpc_tls_cert: Option<PathBuf>,

    /// The key of --grpc-tls-cert, in PEM
    #[arg(long, value_name = "FILE", requires = "grpc_tls_cert")]
    pub grpc_tls_key: Option<PathBuf>,
}

/// Whose.
#[derive(Clone, Debug, Args)]
pub struct Tenant {
    /// Whose it is [default: default, or the admin token's]
    #[arg(
        long,
        value_name = "TENANT",
        default_value = "",
        hide_default_value = true
    )]
    pub tenant: String,
}

/// `admin`
#[derive(Debug, Args)]
pub struct AdminArgs {
    /// On what
    #[command(flatten)]
    pub place: Place,
    /// What to do
    #[command(subcommand)]
    pub command: Admin,
}

/// On what an administrator works.
#[derive(Clone, Debug, Args)]
pub struct Place {
    /// Folder with the database; it is made if there is none, readable by nobody else
    #[arg(long, global = true, value_name = "FOLDER", conflicts_with = "server")]
    pub data: Option<PathBuf>,

    /// The gRPC address of a node instead: http://127.0.0.1:PORT or https://HOST:PORT. The admin token
    /// is in FARSTEP_ADMIN_TOKEN or --token-file
    #[arg(long, global = true, value_name = "URL")]
    pub server: Option<String>,

    /// The file with the admin token
    #[arg(long, global = true, value_name = "FILE")]
    pub token_file: Option<PathBuf>,

    /// Who signed the certificate of --server, in PEM
    #[arg(long, global = true, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,

    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
}

/// What an administrator does.
#[derive(Debug, Subcommand)]
pub enum Admin {
    /// Makes a code that enrols an executor within ten minutes, once
    Enroll {
        /// Whose
        #[command(flatten)]
        tenant: Tenant,
        /// The environment it may be; `box-*` is every one that begins so
        #[arg(long, value_name = "ID")]
        environment: String,
        /// The executor's credential counts for so many days, and the executor renews it before
        /// [default: for ever]
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u16).range(1..))]
        days: Option<u16>,
    },
    /// Works with credentials
    #[command(subcommand)]
    Token(Token),
    /// Lists the environments, and why one is away
    List {
        /// Whose
        #[command(flatten)]
        tenant: Tenant,
    },
    /// Shows one environment
    Show {
        /// Whose
        #[command(flatten)]
        tenant: Tenant,
        /// Which one
        #[arg(value_name = "ID")]
        environment: String,
    },
    /// Forgets an environment and whom it superseded, so that any executor may have it
    Forget {
        /// Whose
        #[command(flatten)]
        tenant: Tenant,
        /// Which one
        #[arg(value_name = "ID")]
        environment: String,
    },
    /// Says which orchestrators' keys may connect to an environment; none is everybody with a token
    Welcome {
        /// Whose
        #[command(flatten)]
        tenant: Tenant,
        /// Which one
        #[arg(value_name = "ID")]
        environment: String,
        /// Fingerprints: fst1:...
        #[arg(value_name = "FINGERPRINT")]
        keys: Vec<String>,
    },
    /// Shows who may connect to an environment and be its executor, or replaces it
    Policy {
        /// Whose
        #[command(flatten)]
        tenant: Tenant,
        /// Which one
        #[arg(value_name = "ID")]
        environment: String,
        /// A file with the new policy: {"harness_keys": [], "executor_keys": [], "credentials": [],
        /// "streams_max": 8}
        #[arg(long, value_name = "FILE")]
        set: Option<PathBuf>,
    },
    /// Has the node that runs on --data let its executors go and stop, as SIGTERM does
    Drain,
    /// Makes a new key sign websocket URLs; those of the key before stay good
    RotateUrlKey,
    /// Copies the database of --data without its keys, while a node uses it or not
    Backup {
        /// Where to; there must be nothing
        #[arg(value_name = "FILE")]
        to: PathBuf,
    },
    /// Signs with a tenant's key, which no service sees; works on no node
    #[command(subcommand)]
    Attest(Attest),
}

/// `admin attest`
#[derive(Debug, Subcommand)]
pub enum Attest {
    /// Makes a key, keeps its secret half in a file and prints the public one
    Key {
        /// The file to make
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Signs that an executor's key is the one of an environment
    Executor {
        /// The file with the secret key
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// The environment
        #[arg(long, value_name = "ID")]
        environment: String,
        /// The executor's key: fst1:...
        #[arg(long, value_name = "FINGERPRINT")]
        executor_key: String,
        /// After so many days it counts no more
        #[arg(long, value_name = "DAYS", default_value_t = 90)]
        days: u32,
    },
    /// Signs the list of orchestrators that executors let in
    Harnesses {
        /// The file with the secret key
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// The environment; `box-*` is every one that begins so, `*` every one
        #[arg(long, value_name = "ID")]
        environment: String,
        /// After so many days it counts no more
        #[arg(long, value_name = "DAYS", default_value_t = 90)]
        days: u32,
        /// Fingerprints: fst1:...
        #[arg(value_name = "FINGERPRINT")]
        keys: Vec<String>,
    },
}

/// `admin token`
#[derive(Debug, Subcommand)]
pub enum Token {
    /// Makes a credential and prints it, the only time it is shown
    New {
        /// Whose
        #[command(flatten)]
        tenant: Tenant,
        /// What it is for
        #[arg(long, value_name = "KIND", value_enum)]
        kind: Kind,
        /// The environment it is for; `box-*` is every one that begins so, `*` every one
        #[arg(long, value_name = "ID")]
        environment: String,
        /// After so many days it counts no more
        #[arg(long, value_name = "DAYS")]
        days: Option<u32>,
    },
    /// Lists credentials, without their secrets
    List {
        /// Whose
        #[command(flatten)]
        tenant: Tenant,
    },
    /// Takes a credential back; its connections end within two seconds
    Revoke {
        /// Whose
        #[command(flatten)]
        tenant: Tenant,
        /// The part between the first two underscores; or of an identity provider's tokens
        /// `jwt:ISSUER:SUBJECT` for all of a subject and `jti:ISSUER:ID` for one
        #[arg(value_name = "KID")]
        kid: String,
        /// For an identity provider's: forget it after so many days, 0 being at once
        #[arg(long, value_name = "DAYS")]
        days: Option<u32>,
    },
    /// Makes a successor and lets the credential end after a while; of one and its successors two
    /// count at a time
    Rotate {
        /// Whose
        #[command(flatten)]
        tenant: Tenant,
        /// The part between the first two underscores
        #[arg(value_name = "KID")]
        kid: String,
        /// For so many hours both count
        #[arg(long, value_name = "HOURS", default_value_t = 24)]
        overlap_hours: u16,
    },
}

/// What a credential is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Registers an executor.
    Executor,
    /// Connects an orchestrator.
    Harness,
    /// Administers what belongs to its tenant; with `--tenant '*'` everything.
    Admin,
}

impl From<Kind> for CredentialKind {
    fn from(kind: Kind) -> CredentialKind {
        match kind {
            Kind::Executor => CredentialKind::Executor,
            Kind::Harness => CredentialKind::Harness,
            Kind::Admin => CredentialKind::Admin,
        }
    }
}
