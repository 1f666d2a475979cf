//! `farstep env add`: an environment that answers is written down.

use farstep_environments::config::{Change, NewEntry, NewTransport, Os, SecretSource};

use super::change::{self, draft, write};
use super::{AddArgs, INTERRUPTED, milliseconds, probe, registry};
use crate::render::{self, Failure};
use crate::setup::{Setup, Surroundings};
use crate::ssh::bootstrap;
use crate::stop::Stop;

const SSH: &str = "ssh";
/// How long the first exchange may take: logging in is part of it.
const SSH_INITIALIZE: u32 = 30;

pub(super) async fn add(
    args: AddArgs,
    mut setup: Setup,
    surroundings: &Surroundings,
) -> Result<u8, Failure> {
    // Everything that can be refused is, before anybody is bothered.
    let entry = entry(&args)?;
    let mut changes = vec![Change::Add(entry)];
    if args.default {
        changes.push(Change::Default(args.id.clone()));
    }
    let mut draft = draft(&setup, &changes)?;
    if let Some(target) = &args.target {
        let (stop, _listener) = Stop::listen();
        let placed = tokio::select! {
            biased; // What is under way there cleans up behind itself.
            () = stop.softly.cancelled() => return Ok(INTERRUPTED),
            placed = place(target, &args, surroundings) => placed,
        };
        let (transport, machine) = placed?;
        if let Some(Change::Add(entry)) = changes.first_mut() {
            entry.transport = transport;
            entry.machine = machine;
        }
        draft = change::draft(&setup, &changes)?;
    }
    let mut told = format!("added `{}`", args.id);
    if !args.dry_run && !args.no_test {
        setup.config = draft.config.clone();
        match test(&setup, &args.id).await? {
            Some(found) => told = format!("{told} ({found})"),
            None => return Ok(INTERRUPTED),
        }
    }
    write(&draft, args.dry_run, args.json, &format!("{told} to"))
}

fn entry(args: &AddArgs) -> Result<NewEntry, Failure> {
    let transport = match (&args.url, args.command.split_first()) {
        // What `ssh` is to run is known once there is an executor.
        _ if args.target.is_some() => NewTransport::Program {
            program: SSH.to_owned(),
            args: Vec::new(),
        },
        (Some(url), _) => NewTransport::Url(url.clone()),
        (None, Some((program, words))) => NewTransport::Program {
            program: program.clone(),
            args: words.to_vec(),
        },
        // The command line asks for one of them.
        (None, None) => return Err(Failure::Usage("say how to reach it".to_owned())),
    };
    let bearer = match (&args.token_env, &args.token_file) {
        (Some(name), _) => Some(SecretSource::Env(name.clone())),
        (None, Some(path)) => {
            // In the file a relative path is one below the configuration folder.
            let path = std::path::absolute(path).map_err(Failure::NoFolder)?;
            Some(SecretSource::File(path))
        }
        (None, None) => None,
    };
    Ok(NewEntry {
        id: args.id.clone(),
        transport,
        bearer,
        cwd: args.cwd.clone(),
        machine: None,
        initialize_timeout: args.target.is_some().then_some(SSH_INITIALIZE),
    })
}

/// Puts an executor on `target`, and gives what starts it.
async fn place(
    target: &str,
    args: &AddArgs,
    surroundings: &Surroundings,
) -> Result<(NewTransport, Option<(Os, String)>), Failure> {
    if target.starts_with("ws://") || target.starts_with("wss://") {
        let told = format!("an executor that listens is named as `--url {target}`");
        return Err(Failure::Usage(told));
    }
    let mut bootstrap = bootstrap(target, args.executor.clone(), surroundings)?;
    bootstrap.arch.clone_from(&args.arch);
    let shown = bootstrap.target.to_string();
    let failed = |error| Failure::Ssh {
        target: shown.clone(),
        error,
    };
    let placed = if args.dry_run {
        let (placed, file) = bootstrap.look().await.map_err(failed)?;
        let file = file.display();
        render::note(&format!(
            "farstep: {file} would be put on {shown} ({})",
            placed.platform
        ));
        placed
    } else {
        let placed = bootstrap.place().await.map_err(failed)?;
        let did = match placed.is_new {
            true => "was put on",
            false => "is already on",
        };
        render::note(&format!(
            "farstep: the executor {did} {shown}: ~/{}",
            placed.path
        ));
        placed
    };
    if let Some(noise) = &placed.noise {
        render::note(&format!("farstep: {}", noisy(&shown, noise)));
        render::note(&format!("  try: {QUIET_LOGIN}"));
    }
    if placed.platform.is_root {
        render::note(&format!(
            "farstep: you log in to {shown} as root, so every command is root there"
        ));
    }
    let platform = &placed.platform;
    let machine = platform.os().map(|os| (os, platform.arch_name()));
    let transport = NewTransport::Program {
        program: SSH.to_owned(),
        args: placed.arguments(&bootstrap.target),
    };
    Ok((transport, machine))
}

/// What to do about a login that prints.
pub(super) const QUIET_LOGIN: &str = "print it in interactive shells only (`case $- in *i*) ... ;; \
    esac` in ~/.bashrc), or to standard error";

pub(super) fn noisy(place: &str, noise: &str) -> String {
    let first = noise.lines().next().unwrap_or_default();
    format!("{place} prints `{first}` before the protocol begins, which stops other clients")
}

/// Tries the environment as it would be, and tells what it is; `None` when that is not wanted any
/// more.
async fn test(setup: &Setup, id: &str) -> Result<Option<String>, Failure> {
    let registry = registry(setup);
    let environment = setup.one(&registry, Some(id)).await?;
    let (stop, _listener) = Stop::listen();
    let tested = tokio::select! {
        biased; // Nobody waits for a test that is no longer wanted.
        () = stop.softly.cancelled() => None,
        tested = probe::probe(&environment) => Some(tested),
    };
    registry.close().await;
    let Some(tested) = tested else {
        return Ok(None);
    };
    if !tested.ok {
        return Err(Failure::NotAdded {
            id: id.to_owned(),
            problems: tested.problems().map(str::to_owned).collect(),
        });
    }
    let machine = tested.machine.unwrap_or_default();
    Ok(Some(format!(
        "{machine}, {} away",
        milliseconds(tested.latency_ms)
    )))
}
