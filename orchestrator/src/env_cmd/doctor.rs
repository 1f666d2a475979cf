//! `farstep env doctor`: what is wrong on the way to an environment, and what to do about it.
//!
//! ```text
//!   the file ─▶ each environment: ssh ─▶ hop by hop ─▶ version, clock, files, process, round trip
//!                                  └──────────┴──▶ once one has failed, what is behind is not tried
//! ```

mod clock;
mod finding;
mod login;
pub(crate) mod remedy;

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use farstep_environments::config::{self, Config, Transport};
use farstep_environments::{Environment, Executor, Fact, Tried};
use farstep_protocol::method::environment::DURABLE_SESSIONS;
use farstep_protocol::method::fs;
use futures_util::future::join_all;

use super::add::{QUIET_LOGIN, noisy};
use super::probe::{self, Outcome};
use super::{FAILED, INTERRUPTED, milliseconds, registry};
use crate::render::Failure;
use crate::setup::{Setup, Surroundings};
use crate::stop::Stop;
use finding::{Finding, Verdict};

/// A certificate that ends sooner is worth a word: renewing one may take a person.
const EXPIRES_SOON_SECONDS: u64 = 14 * SECONDS_A_DAY;
const SECONDS_A_DAY: u64 = 24 * 60 * 60;

pub(super) async fn doctor(
    ids: &[String],
    json: bool,
    surroundings: &Surroundings,
) -> Result<u8, Failure> {
    let setup = match Setup::load(surroundings) {
        Ok(setup) => setup,
        Err(Failure::Environments(error)) => {
            let found = Finding::failed("file", error.to_string())
                .try_this("correct the file; each complaint says where and how");
            return finding::show(&[(None, vec![found])], json).map_err(Failure::Output);
        }
        Err(other) => return Err(other),
    };
    let registry = registry(&setup);
    let environments = setup.every(&registry, ids)?;
    let mut report = vec![(None, of_file(&setup.config))];
    let (stop, _listener) = Stop::listen();
    let examined = tokio::select! {
        biased; // Nobody waits for findings that are no longer wanted.
        () = stop.softly.cancelled() => None,
        examined = join_all(environments.iter().map(|one| examine(one))) => Some(examined),
    };
    registry.close().await;
    let Some(examined) = examined else {
        return Ok(INTERRUPTED);
    };
    for (environment, findings) in environments.iter().zip(examined) {
        let name = (environment.id().to_string(), environment.transport_label());
        report.push((Some(name), findings));
    }
    finding::show(&report, json).map_err(Failure::Output)
}

fn of_file(config: &Config) -> Vec<Finding> {
    let Some(path) = &config.file else {
        return vec![Finding::ok(
            "file",
            "there is none, which is fine".to_owned(),
        )];
    };
    let shown = path.display();
    let count = config.entries.len();
    let entries = if count == 1 { "entry" } else { "entries" };
    let mut findings = vec![Finding::ok("file", format!("{shown}, {count} {entries}"))];
    let overlaid = config
        .overlay_warnings
        .iter()
        .map(|one| (config::OVERLAY_NAME, one));
    let warnings = config.warnings.iter().map(|one| (config::FILE_NAME, one));
    findings.extend(warnings.chain(overlaid).map(|(name, warning)| {
        let (line, column) = (warning.line, warning.column);
        let told = format!("{name}:{line}:{column}: {}", warning.message);
        let found = Finding::warning("file", told);
        match &warning.help {
            Some(help) => found.try_this(help),
            None => found,
        }
    }));
    if holds_secret(path) && is_readable_by_others(path) {
        let told = format!("{shown} holds a secret, and others can read it");
        findings
            .push(Finding::failed("secrets", told).try_this(&format!("run `chmod 600 {shown}`")));
    }
    findings
}

/// Of the file alone, without what is laid over it.
fn holds_secret(path: &Path) -> bool {
    let folder = path.parent().unwrap_or(Path::new(""));
    let text = config::read_text(folder).ok().flatten().unwrap_or_default();
    config::parse(&text, folder).is_ok_and(|config| config.holds_secret())
}

#[cfg(unix)]
fn is_readable_by_others(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(path).map(|file| file.permissions().mode());
    mode.is_ok_and(|mode| mode & 0o077 != 0)
}

#[cfg(not(unix))]
fn is_readable_by_others(_: &Path) -> bool {
    false
}

async fn examine(environment: &Environment) -> Vec<Finding> {
    let mut findings = Vec::new();
    let transport = environment.entry().map(|entry| &entry.transport);
    if let Some(Transport::Stdio {
        program, args, env, ..
    }) = transport
        && let Some(login) = login::Login::of(program, args)
    {
        findings.extend(login.try_it(env).await);
        if findings.iter().any(|one| one.result == Verdict::Failed) {
            return findings;
        }
    }
    let probe = environment.probe().await;
    let failure = probe.outcome.as_ref().err().map(|error| {
        let remedy = remedy::of(error);
        move |check| Finding::failed(check, error.without_remedy()).try_this(&remedy)
    });
    for tried in &probe.hops {
        let check = tried.at.as_str();
        let found = match &failure {
            Some(failure) if !tried.passed => failure(check),
            _ => of_hop(environment.id().as_str(), tried),
        };
        findings.push(found.took(tried.took));
    }
    match (&probe.outcome, &failure) {
        (Ok(executor), _) => {
            let listens = !matches!(transport, None | Some(Transport::Stdio { .. }));
            findings.extend(of_executor(executor, listens, environment.may_write()).await);
        }
        // What is refused before the first hop.
        (Err(_), Some(failure)) if probe.hops.iter().all(|tried| tried.passed) => {
            findings.push(failure("connect"));
        }
        (Err(_), _) => {}
    }
    findings
}

/// A hop that was passed.
fn of_hop(id: &str, tried: &Tried) -> Finding {
    let check = tried.at.as_str();
    match &tried.fact {
        Some(Fact::Noise(noise)) => {
            Finding::warning(check, noisy(&format!("`{id}`"), noise)).try_this(QUIET_LOGIN)
        }
        Some(Fact::Status(status)) => Finding::ok(check, format!("HTTP status {status}")),
        Some(Fact::Key(key)) => Finding::ok(check, key.clone()),
        Some(Fact::Peer(peer)) => Finding::ok(check, peer.to_string()),
        Some(Fact::Addresses(addresses)) => {
            let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            Finding::ok(check, addresses.join(", "))
        }
        Some(Fact::Tls(facts)) => {
            let found = format!(
                "{}, certificate for {}",
                facts.version,
                facts.names.join(", ")
            );
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default();
            match facts.not_after.map(|end| end.saturating_sub(now.as_secs())) {
                Some(left) if left < EXPIRES_SOON_SECONDS => {
                    let days = left / SECONDS_A_DAY;
                    Finding::warning(check, format!("{found}, which expires in {days} days"))
                        .try_this("renew the certificate there")
                }
                _ => Finding::ok(check, found),
            }
        }
        _ => Finding::ok(check, String::new()),
    }
}

async fn of_executor(executor: &Executor, listens: bool, may_write: bool) -> Vec<Finding> {
    let mut findings = vec![version(executor), capabilities(executor, listens)];
    let (mut files, mut clock) = (Outcome::NotTried, None);
    if may_write {
        clock = Some(clock::skew(executor).await);
        files = probe::check(probe::files(executor)).await;
    }
    findings.extend(clock);
    for (check, outcome) in [
        ("files", files),
        ("process", probe::check(probe::process(executor)).await),
    ] {
        findings.push(match outcome {
            Outcome::NotTried => Finding::ok(
                check,
                "not tried: `permission_profile` lets nothing be written".to_owned(),
            ),
            Outcome::Failed { reason } => Finding::failed(check, reason)
                .try_this("look at that machine's disk, limits and permissions"),
            _ => Finding::ok(check, String::new()),
        });
    }
    findings.push(match probe::latency(executor).await {
        Ok(median) => Finding::ok("round_trip", "in the median".to_owned()).took(median),
        Err(error) => Finding::failed("round_trip", error.to_string())
            .try_this("try again; the connection was lost meanwhile"),
    });
    findings
}

fn version(executor: &Executor) -> Finding {
    let info = executor.info();
    let words = [&info.platform_os, &info.arch, &info.executor_version];
    let machine: Vec<&str> = words.into_iter().flatten().map(String::as_str).collect();
    let found = machine.join(" ");
    let ours = env!("CARGO_PKG_VERSION");
    // Only an executor of ours tells its architecture.
    let is_ours = info.arch.is_some();
    match info.executor_version.as_deref() {
        Some(theirs) if is_ours && theirs != ours => {
            Finding::warning("version", format!("{found}, and this is {ours}"))
                .try_this("put this version's executor there; over ssh, add the environment anew")
        }
        _ => Finding::ok("version", found),
    }
}

/// What is used where it is announced, and what one does without where it is not.
fn capabilities(executor: &Executor, listens: bool) -> Finding {
    let can = |name: &str| executor.info().can(name);
    let mut lacks = Vec::new();
    // An executor behind a pipe ends with it, so nobody expects that of it.
    if listens && !can(DURABLE_SESSIONS) {
        lacks.push("commands that run on without us");
    }
    if !can(fs::FILES) {
        lacks.push("copies that are resumed");
    }
    match lacks.as_slice() {
        [] => Finding::ok("capabilities", "all that can be used".to_owned()),
        lacks => Finding::warning(
            "capabilities",
            format!("it offers no {}", lacks.join(", no ")),
        )
        .try_this("all else works; a farstep-executor of this version offers that too"),
    }
}
