//! The program: command line, log, runtime, exit status.

use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Parser as _;
use farstep_protocol::relay::registry::ALTERNATE_URLS_MAX;
use farstep_rendezvous::admin::Reach;
use farstep_rendezvous::auth::Providers;
use farstep_rendezvous::bus::Local;
use farstep_rendezvous::cli::{Admin, AdminArgs, Cli, Command, Place, Serve};
use farstep_rendezvous::control::{self, Control, GrpcServer};
use farstep_rendezvous::store::Sqlite;
use farstep_rendezvous::{Node, Server, Tls, drain};
use farstep_telemetry::{Exporter, Extra, Service};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

/// Holds the admin token for `admin --server`.
const TOKEN_VARIABLE: &str = "FARSTEP_ADMIN_TOKEN";

/// The database in its folder.
const DATABASE: &str = "rendezvous.sqlite";

/// Whose spans are exported.
const SPANS: Service = Service {
    name: "farstep-rendezvous",
    spans: "farstep_rendezvous",
};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("farstep-rendezvous: {}", told(&error));
            ExitCode::FAILURE
        }
    }
}

/// An error and its causes, each said once: many repeat theirs.
fn told(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        match (text.is_empty(), text.contains(&cause)) {
            (true, _) => text = cause,
            (false, true) => {}
            (false, false) => text = format!("{text}: {cause}"),
        }
    }
    text
}

/// Starts the log, and the export of spans if the environment wants it.
fn start_logging(runtime: &Runtime) -> Option<Exporter> {
    let variable = |name: &str| std::env::var(name).ok();
    let exporter = Exporter::start(SPANS, variable, runtime.handle().clone());
    let spans = exporter
        .as_ref()
        .ok()
        .and_then(|exporter| exporter.as_ref()?.layer());
    let filter = EnvFilter::try_from_env("FARSTEP_LOG");
    let lines: Extra = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_filter(filter.unwrap_or_else(|_| EnvFilter::new("info,sqlx=warn")))
        .boxed();
    let layers: Vec<Extra> = [Some(lines), spans].into_iter().flatten().collect();
    tracing_subscriber::registry().with(layers).init();
    exporter.unwrap_or_else(|error| {
        tracing::warn!(%error, "no spans are exported");
        None
    })
}

fn run(cli: Cli) -> anyhow::Result<()> {
    let runtime = Runtime::new().context("failed to start the runtime")?;
    let exporter = start_logging(&runtime);
    // It starts no programs that would miss core dumps.
    farstep_harden::no_core_dumps();
    farstep_harden::close();
    runtime.block_on(async {
        let done = match cli.command {
            Command::Serve(wanted) => serve(wanted).await,
            Command::Admin(AdminArgs { place, command }) => say(&place, command).await,
        };
        if let Some(exporter) = exporter {
            exporter.finish().await;
        }
        done
    })
}

async fn say(place: &Place, command: Admin) -> anyhow::Result<()> {
    let said = administer(place, command).await?;
    std::io::stdout().write_all(said.as_bytes())?;
    Ok(())
}

async fn administer(place: &Place, command: Admin) -> anyhow::Result<String> {
    match (command, &place.data, &place.server) {
        // It asks nobody.
        (Admin::Attest(attest), ..) => Ok(attest.run()?),
        (Admin::Drain, Some(data), _) => {
            let asked = drain::ask(data);
            asked.with_context(|| format!("failed to ask the node in {}", data.display()))?;
            Ok("the node that runs there, if one does, lets its executors go\n".to_owned())
        }
        (Admin::Backup { to }, Some(data), _) => {
            open(data).await?.backup(&to).await?;
            Ok(format!("{} holds no key and no secret\n", to.display()))
        }
        (command, Some(data), _) => {
            let control = Control::new(Arc::new(open(data).await?));
            Ok(command.run(&Reach::Local(control), place.json).await?)
        }
        (command, None, Some(server)) => {
            let token = match &place.token_file {
                Some(path) => std::fs::read_to_string(path)
                    .with_context(|| format!("failed to read {}", path.display()))?,
                None => std::env::var(TOKEN_VARIABLE).with_context(|| {
                    format!("there is no admin token: set {TOKEN_VARIABLE} or use --token-file")
                })?,
            };
            let ca = place.ca_file.as_deref().map(read).transpose()?;
            let remote = control::connect(server, token.trim(), ca).await;
            let remote = remote.with_context(|| format!("{server} is not reached"))?;
            Ok(command.run(&Reach::Remote(remote), place.json).await?)
        }
        (_, None, None) => bail!("on what? Name a folder with --data or a node with --server"),
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("failed to read {}", path.display()))
}

async fn open(folder: &Path) -> anyhow::Result<Sqlite> {
    let mut builder = std::fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(folder);
    made.with_context(|| format!("failed to make {}", folder.display()))?;
    let path = folder.join(DATABASE);
    let opened = Sqlite::open(&path).await;
    opened.with_context(|| {
        let shown = path.display();
        format!("failed to open {shown} (is it yours to read and write, and has its disk room?)")
    })
}

/// Every executor and orchestrator is a descriptor, and what a process gets unasked is often a
/// thousand.
fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, current = ?limit.current, "the limit of descriptors stays as it is");
    }
}

async fn serve(wanted: Serve) -> anyhow::Result<()> {
    raise_descriptors();
    let tls = match (&wanted.tls_cert, &wanted.tls_key) {
        (Some(certificates), Some(key)) => Some(Tls::load(certificates, key)?),
        _ => None,
    };
    let is_here = wanted.listen.ip().to_canonical().is_loopback();
    if !is_here && tls.is_none() && !wanted.behind_proxy {
        bail!(
            "--listen {}: refused, because credentials would cross the network readable. Add \
             --tls-cert FILE and --tls-key FILE; or listen on 127.0.0.1:PORT behind something that \
             speaks TLS and name it with --public-url; or add --behind-proxy if that is on another \
             machine",
            wanted.listen
        );
    }
    let store = open(&wanted.data.data).await?;
    let server = Server::bind(wanted.listen).await?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let public = match wanted.public_url {
        Some(url) if url.starts_with("https://") || url.starts_with("http://") => url,
        Some(url) => bail!("--public-url takes an https:// URL, not {url:?}"),
        None => format!("{scheme}://{}", server.address()),
    };
    let is_url = |url: &String| url.starts_with("https://") || url.starts_with("http://");
    if let Some(wrong) = wanted.alternate_url.iter().find(|url| !is_url(url)) {
        bail!("--alternate-url takes an https:// URL, not {wrong:?}");
    }
    if wanted.alternate_url.len() > ALTERNATE_URLS_MAX {
        bail!("--alternate-url is taken {ALTERNATE_URLS_MAX} times");
    }
    let (store, bus) = (Arc::new(store), Arc::new(Local::default()));
    let node = Node::start_limited(store, bus, &public, wanted.quotas).await?;
    node.also_at(&wanted.alternate_url);
    if let Some(path) = &wanted.identity_providers {
        node.trust(Providers::read(path)?);
    }
    let grpc = match wanted.grpc {
        Some(address) => {
            let tls = match (&wanted.grpc_tls_cert, &wanted.grpc_tls_key) {
                (Some(certificate), Some(key)) => Some((read(certificate)?, read(key)?)),
                _ => None,
            };
            Some(GrpcServer::bind(address, tls).await?)
        }
        None => None,
    };
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tracing::info!(address = %server.address(), public, "listening");
    // Who started us waits for it to know the port.
    writeln!(std::io::stdout(), "{public}")?;
    if let Some(grpc) = &grpc {
        let scheme = if wanted.grpc_tls_cert.is_some() {
            "https"
        } else {
            "http"
        };
        writeln!(std::io::stdout(), "{scheme}://{}", grpc.address())?;
    }
    let server = match tls {
        Some(tls) => server.secured(tls),
        None => server,
    };
    let (served, administered) = (Arc::clone(&node), Arc::clone(&node));
    let told = stop.clone();
    let grpc = async move {
        let Some(grpc) = grpc else { return Ok(()) };
        tracing::info!(address = %grpc.address(), "listening for gRPC");
        grpc.serve(administered, told).await
    };
    let serving = async {
        let served = async { Ok(server.serve(served, stop.clone()).await?) };
        let administered = async { anyhow::Ok(grpc.await?) };
        tokio::try_join!(served, administered).map(|_| ())
    };
    tokio::pin!(serving);
    let gently = tokio::select! {
        served = &mut serving => return served,
        _ = terminate.recv() => true,
        () = drain::asked(&wanted.data.data) => true,
        _ = interrupt.recv() => false,
    };
    if gently {
        tokio::select! {
            served = &mut serving => return served,
            () = node.drain(Duration::from_secs(wanted.drain_seconds.into())) => {}
            // Asked twice is asked to hurry.
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
    stop.cancel();
    serving.await
}
