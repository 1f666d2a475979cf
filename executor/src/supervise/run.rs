//! One run of the command, from its start to the end of everything it started.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::args::{Form, is_credential};
use super::credential::Source;
use super::{Credential, Supervisor, output, program};
use crate::os::{
    Child, Command, ExitWatch, Group, Input, Lineage, Notice, SpawnError, Stdio, StopSignal,
    StopSignals,
};
use crate::pause::Pauses;

/// Where codex looks for its credential.
const VARIABLE: &str = "CODEX_API_KEY";

/// How codex says last of all that its registration is refused because of another executor. Where
/// its credential came by standard input it says no more of the answer than this.
const LAST_WORDS: &str = "Error: ";
const SUPERSEDED: &str = "409 Conflict";

/// How long what is killed may take to be gone, and what it said last to be passed on.
const KILLED_MAX: Duration = Duration::from_secs(5);
const SAID_MAX: Duration = Duration::from_secs(2);

/// A command that runs.
#[derive(Debug)]
pub(super) struct Run {
    exit: ExitWatch,
    group: Arc<Group>,
    lineage: Lineage,
    input: Option<Input>,
    credential: Option<Credential>,
    passing: JoinSet<()>,
    superseded: Arc<AtomicBool>,
    began: Instant,
}

/// How a run ended.
#[derive(Debug)]
pub(super) enum End {
    /// We were told to stop, and it did.
    Stopped,
    ByItself(Fate),
}

/// An end that nobody asked for.
#[derive(Debug)]
pub(super) struct Fate {
    /// What it answered, if it ran.
    pub(super) status: Option<i32>,
    pub(super) lived: Duration,
    /// Another executor is in its place.
    pub(super) superseded: bool,
}

impl End {
    /// It did not come to a run.
    pub(super) fn not_at_all() -> End {
        End::ByItself(Fate {
            status: None,
            lived: Duration::ZERO,
            superseded: false,
        })
    }
}

impl Run {
    pub(super) async fn start(
        supervisor: &Supervisor,
        credential: Option<Credential>,
    ) -> Result<Run, SpawnError> {
        let settings = &supervisor.settings;
        let form = settings.credential.as_ref().map(|(form, _)| form);
        let mut env = supervisor.place.variables.clone();
        if form.is_some() {
            env.retain(|(name, _)| !is_credential(name));
        }
        if let Some(credential) = &credential {
            supervisor.secrets.add(&credential.token);
            if form == Some(&Form::Variable) {
                env.push((VARIABLE.into(), credential.token.as_str().into()));
            }
        }
        let stdio = match form {
            Some(Form::Line | Form::Frames { .. }) => Stdio::PipesWithInput,
            Some(Form::Variable) | None => Stdio::Pipes,
        };
        let command = Command {
            argv: settings.command.clone(),
            arg0: None,
            env,
            cwd: supervisor.place.cwd.clone(),
            stdio,
        };
        let lineage = supervisor.spawner.lineage();
        let began = Instant::now();
        let Child {
            input,
            stdout,
            stderr,
            exit,
            group,
        } = supervisor.spawner.spawn(&lineage, command).await?;
        tracing::info!(
            program = program(&settings.command),
            pid = group.id(),
            "started"
        );
        let superseded = Arc::new(AtomicBool::new(false));
        let mut passing = JoinSet::new();
        let secrets = || supervisor.secrets.clone();
        let to = tokio::io::stdout();
        passing.spawn(output::pass_on(stdout, to, secrets(), |_| {}));
        if let Some(stderr) = stderr {
            let heard = Arc::clone(&superseded);
            let listen = move |said: &[u8]| {
                if is_superseded(said) {
                    heard.store(true, Ordering::Relaxed);
                }
            };
            let to = tokio::io::stderr();
            passing.spawn(output::pass_on(stderr, to, secrets(), listen));
        }
        Ok(Run {
            exit,
            group,
            lineage,
            input,
            credential,
            passing,
            superseded,
            began,
        })
    }

    /// Feeds it until it ends or we are told to stop, and sees to it that nothing of it is left.
    pub(super) async fn last(mut self, supervisor: &Supervisor, signals: &mut StopSignals) -> End {
        let (input, credential) = (self.input.take(), self.credential.take());
        let ended = tokio::select! {
            biased; // Stopping beats everything.
            told = signals.recv() => Err(told),
            ended = poll_fn(|cx| self.exit.poll_exit(cx)) => Ok(ended),
            never = feed(supervisor, input, credential) => match never {},
        };
        let lived = self.began.elapsed();
        match ended {
            Ok(status) => {
                let status = known(status);
                self.settle(supervisor).await;
                let program = program(&supervisor.settings.command);
                let seconds = lived.as_secs();
                tracing::warn!(program, status, seconds, "ended by itself");
                End::ByItself(Fate {
                    status: Some(status),
                    lived,
                    superseded: status != 0 && self.superseded.load(Ordering::Relaxed),
                })
            }
            Err(told) => {
                self.stop(told, signals, supervisor.settings.grace).await;
                self.settle(supervisor).await;
                End::Stopped
            }
        }
    }

    /// Tells it to stop, and makes it.
    async fn stop(&mut self, told: StopSignal, signals: &mut StopSignals, grace: Duration) {
        let heard = match told {
            StopSignal::Terminate => self.group.notify(Notice::Terminate),
            StopSignal::Interrupt => false,
        };
        if !heard {
            self.group.interrupt();
        }
        let why = tokio::select! {
            biased; // Its end beats our patience.
            ended = poll_fn(|cx| self.exit.poll_exit(cx)) => {
                return tracing::info!(status = known(ended), "ended, as it was told");
            }
            _ = signals.recv() => "told to stop a second time, so it is killed",
            () = sleep(grace) => "it does not end when it is told to, so it is killed",
        };
        tracing::warn!("{why}");
        self.group.kill();
        let ended = poll_fn(|cx| self.exit.poll_exit(cx));
        if timeout(KILLED_MAX, ended).await.is_err() {
            tracing::warn!("a killed command does not end");
        }
    }

    /// Ends what it left behind, and passes on what it said last.
    async fn settle(&mut self, supervisor: &Supervisor) {
        self.lineage.end();
        if timeout(KILLED_MAX, supervisor.spawner.settled())
            .await
            .is_err()
        {
            tracing::warn!("what the command left behind does not end");
        }
        let said = async { while self.passing.join_next().await.is_some() {} };
        // Somebody who does not read what it said does not keep it from being started again.
        let _ = timeout(SAID_MAX, said).await;
        self.passing.abort_all();
    }
}

fn known(status: io::Result<i32>) -> i32 {
    status.unwrap_or_else(|error| {
        tracing::warn!(%error, "how it ended is not known");
        1
    })
}

fn is_superseded(said: &[u8]) -> bool {
    let said = String::from_utf8_lossy(said);
    said.lines()
        .any(|line| line.starts_with(LAST_WORDS) && line.contains(SUPERSEDED))
}

/// Hands the credential over by standard input, and as frames each one that follows. The input stays
/// open: its end would be codex's.
async fn feed(
    supervisor: &Supervisor,
    input: Option<Input>,
    credential: Option<Credential>,
) -> Infallible {
    if let (Some(input), Some(credential), Some((form, source))) =
        (input, credential, &supervisor.settings.credential)
    {
        let _open = match form {
            Form::Variable => Ok(input),
            Form::Line => line(input, &credential).await,
            Form::Frames { environment, life } => {
                let frames = Frames {
                    supervisor,
                    source,
                    environment,
                    life: *life,
                };
                frames.feed(input, credential).await
            }
        }
        .inspect_err(|error| tracing::warn!(%error, "the command takes no credential"));
        return std::future::pending().await;
    }
    std::future::pending().await
}

async fn line(mut input: Input, credential: &Credential) -> io::Result<Input> {
    write(&mut input, credential.token.as_bytes()).await?;
    write(&mut input, b"\n").await?;
    Ok(input)
}

/// Frames, and what they are made from.
struct Frames<'a> {
    supervisor: &'a Supervisor,
    source: &'a Source,
    environment: &'a str,
    life: Duration,
}

impl Frames<'_> {
    /// Writes one frame after the other for as long as they are taken.
    async fn feed(&self, mut input: Input, mut credential: Credential) -> io::Result<Input> {
        loop {
            let frame = credential.frame(self.environment, self.life);
            write(&mut input, &frame.map_err(io::Error::other)?).await?;
            credential = loop {
                let next = self.next(&credential).await;
                if next.token != credential.token {
                    tracing::info!("the credential changed, and is handed over");
                    self.supervisor.secrets.add(&next.token);
                    break next;
                }
                // One that names its own end says nothing new by being said again.
                if next.expires_at.is_none() || next.expires_at != credential.expires_at {
                    break next;
                }
                credential = next;
            };
        }
    }

    /// The credential as it is when it changed, or when another frame is due.
    async fn next(&self, last: &Credential) -> Credential {
        tokio::select! {
            () = sleep(last.due_in(self.life)) => {}
            () = self.source.changed(&last.stamp) => {}
        }
        let Supervisor { spawner, place, .. } = self.supervisor;
        let mut pauses = Pauses::default();
        loop {
            match self.source.read(spawner, place).await {
                Ok(next) => return next,
                Err(error) => tracing::warn!(%error, "there is no new credential"),
            }
            sleep(pauses.pick()).await;
        }
    }
}

async fn write(input: &mut Input, bytes: &[u8]) -> io::Result<()> {
    let mut left = bytes;
    while !left.is_empty() {
        let written = poll_fn(|cx| input.poll_write(cx, left)).await?;
        left = left.get(written..).unwrap_or_default();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_words_about_another_executor_are_final() {
        let said =
            b"WARNING: x\nError: environment registry request failed (409 Conflict, superseded)\n";
        assert!(is_superseded(said));
        for other in [
            &b"Error: environment registry request failed (503 Service Unavailable): x\n"[..],
            b"validate was answered 409 Conflict\n",
            b"",
        ] {
            assert!(!is_superseded(other));
        }
    }
}
