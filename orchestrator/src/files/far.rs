//! An environment as a place of files.
//!
//! A connection may be lost between two calls, and its session with it: then the environment is
//! connected anew, and what may be repeated is. How long that is tried is the recovery window.

use std::sync::Arc;
use std::time::Duration;

use farstep_environments::{CallError, Environment, Executor, ProcessEvent, fs};
use farstep_path_uri::{Convention, LegacyPath, PathUri};
use tokio::time::Instant;

use super::error::FileCause;
use crate::declared::Declared;
use crate::render::Failure;
use crate::step::working_folder;

/// Between two attempts to connect anew.
const PAUSE: Duration = Duration::from_millis(200);

/// One environment, connected.
#[derive(Debug)]
pub(crate) struct Far {
    id: String,
    environment: Arc<Environment>,
    /// Where relative paths begin.
    cwd: Option<PathUri>,
    home: Option<PathUri>,
    /// How executors of this kind are asked for what the peer's wire has not.
    ways: Ways,
    /// Whether it lists everything and sets times.
    has_trees: bool,
    /// For how long a lost connection is waited for.
    window: Duration,
}

/// What there is beside the peer's own calls on files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ways {
    /// It is one of ours.
    Announced,
    /// It has a POSIX shell.
    Shell,
    /// Nothing.
    None,
}

impl Far {
    /// Connects, so that paths can be resolved.
    pub(crate) async fn connect(
        environment: Arc<Environment>,
        own: Option<&PathUri>,
        window: Duration,
    ) -> Result<Far, Failure> {
        let id = environment.id().to_string();
        let executor = environment
            .executor()
            .await
            .map_err(|error| Failure::Connect {
                id: id.clone(),
                error,
            })?;
        let info = executor.info();
        let own = own.filter(|_| environment.is_local());
        let declared = Declared::of(&environment);
        let configured = declared.folder(own.or(info.cwd.as_ref()));
        let cwd = working_folder(None, configured, own, info).ok();
        let posix = match info.platform_os.as_deref() {
            Some(os) => os != "windows",
            None => cwd.as_ref().and_then(PathUri::convention) == Some(Convention::Posix),
        };
        let ways = match (info.can(fs::FILES), posix) {
            (true, _) => Ways::Announced,
            (false, true) => Ways::Shell,
            (false, false) => Ways::None,
        };
        let has_trees = info.can(fs::FILES) && info.can(fs::TREES);
        let home = info.user_home_dir.clone();
        drop(executor);
        Ok(Far {
            id,
            environment,
            cwd,
            home,
            ways,
            has_trees,
            window,
        })
    }

    /// Whether its walks list everything, and times can be set by a call.
    pub(crate) fn has_trees(&self) -> bool {
        self.has_trees
    }

    /// Whether it can be told when a file was changed last.
    pub(crate) fn keeps_times(&self) -> bool {
        match self.ways {
            Ways::Announced => self.has_trees,
            Ways::Shell => true,
            Ways::None => false,
        }
    }

    pub(crate) fn ways(&self) -> Ways {
        self.ways
    }

    pub(crate) fn cwd(&self) -> Option<&PathUri> {
        self.cwd.as_ref()
    }

    /// Whether both are the same environment.
    pub(crate) fn is_same(&self, other: &Far) -> bool {
        Arc::ptr_eq(&self.environment, &other.environment)
    }

    /// What a person meant by `text`.
    pub(crate) fn resolve(&self, text: &str) -> Result<PathUri, FileCause> {
        let unusable =
            |error: farstep_path_uri::PathUriError| FileCause::Unusable(error.to_string());
        if text.starts_with("file:") {
            return PathUri::parse_strict(text).map_err(unusable);
        }
        let path = LegacyPath::new(text);
        match &self.cwd {
            Some(cwd) => path.resolve(cwd, self.home.as_ref()).map_err(unusable),
            None => path.to_uri().ok_or_else(|| {
                FileCause::Unusable(
                    "the executor reports no working folder, so the path must be absolute".into(),
                )
            }),
        }
    }

    /// The place of a path, as a person would type it.
    pub(crate) fn show(&self, path: &PathUri) -> String {
        format!("{}:{}", self.id, path.display_native())
    }

    /// The place of a text that is no path.
    pub(crate) fn show_text(&self, text: &str) -> String {
        format!("{}:{text}", self.id)
    }

    /// Makes a call that does no harm when it is made twice, on another connection if need be.
    pub(crate) async fn call<T>(
        &self,
        call: impl AsyncFn(&Executor) -> Result<T, CallError>,
    ) -> Result<T, FileCause> {
        let mut patience = self.patience();
        loop {
            let executor = self.executor(&mut patience).await?;
            match call(&executor).await {
                Err(error) if is_loss(&error, &executor) => patience.wait(error).await?,
                outcome => return Ok(outcome?),
            }
        }
    }

    /// Makes a call once.
    pub(crate) async fn call_once<T>(
        &self,
        call: impl AsyncFnOnce(&Executor) -> Result<T, CallError>,
    ) -> Result<T, FileCause> {
        let executor = self.executor(&mut self.patience()).await?;
        Ok(call(&executor).await?)
    }

    /// Runs a POSIX shell script there; gives its exit code and what it says. What it does must do
    /// no harm when it is done twice.
    pub(crate) async fn script(
        &self,
        script: &str,
        arguments: &[&str],
    ) -> Result<(i64, Vec<u8>), FileCause> {
        self.script_saying(script, arguments, SAID_BYTES_MAX).await
    }

    /// The same, for a script that may say up to so many bytes.
    pub(crate) async fn script_saying(
        &self,
        script: &str,
        arguments: &[&str],
        said_max: usize,
    ) -> Result<(i64, Vec<u8>), FileCause> {
        let words = ["sh", "-c", script, "farstep"];
        let argv: Vec<String> = words
            .iter()
            .chain(arguments)
            .map(|word| (*word).to_owned())
            .collect();
        let cwd = self.cwd.clone().or_else(|| self.home.clone());
        let cwd = cwd.ok_or_else(|| {
            FileCause::Unusable("the executor reports no folder to work in".to_owned())
        })?;
        self.call(async |to: &Executor| run(to, argv.clone(), cwd.clone(), said_max).await)
            .await
    }

    /// The connection, or the next one.
    pub(crate) async fn executor(&self, patience: &mut Patience) -> Result<Executor, FileCause> {
        loop {
            match self.environment.executor().await {
                Ok(executor) => return Ok(executor),
                Err(error) => patience.wait(error).await?,
            }
        }
    }

    pub(crate) fn patience(&self) -> Patience {
        Patience::of(self.window)
    }
}

async fn run(
    to: &Executor,
    argv: Vec<String>,
    cwd: PathUri,
    said_max: usize,
) -> Result<(i64, Vec<u8>), CallError> {
    let mut process = to.start(crate::exec::params(argv, cwd)).await?;
    let (mut said, mut exit) = (Vec::new(), None);
    loop {
        match process.next().await {
            Some(ProcessEvent::Output { bytes, .. }) => {
                let room = said_max.saturating_sub(said.len());
                said.extend(bytes.iter().take(room));
            }
            Some(ProcessEvent::Exited { code, .. }) => exit = Some(code),
            Some(ProcessEvent::Truncated { .. } | ProcessEvent::Missed { .. }) => {}
            Some(ProcessEvent::Closed) | None => break,
            Some(ProcessEvent::Lost { reason }) => return Err(CallError::Lost { reason }),
        }
    }
    match exit {
        Some(code) => Ok((code, said)),
        None => Err(CallError::Lost {
            reason: "the executor did not say how a program ended".to_owned(),
        }),
    }
}

/// How much of what a script says is kept; ours say a line or two.
const SAID_BYTES_MAX: usize = 16 << 10;

/// For how long losses are put up with, from the first one on: a call that was under way for long
/// before it was lost has as much of it as any other.
#[derive(Debug)]
pub(crate) struct Patience {
    window: Duration,
    until: Option<Instant>,
    tries: u32,
}

/// Losses that are put up with however long each took to be noticed: the window of the connection
/// may be over by then, and the next one has had no chance yet.
const TRIES_MIN: u32 = 3;

impl Patience {
    fn of(window: Duration) -> Patience {
        Patience {
            window,
            until: None,
            tries: 0,
        }
    }

    /// Waits a little, or gives up.
    pub(crate) async fn wait(&mut self, error: impl std::fmt::Display) -> Result<(), FileCause> {
        let until = *self
            .until
            .get_or_insert_with(|| Instant::now() + self.window);
        self.tries += 1;
        if self.tries > TRIES_MIN && Instant::now() >= until {
            return Err(FileCause::Lost(error.to_string()));
        }
        tracing::debug!(%error, "trying again");
        tokio::time::sleep(PAUSE).await;
        Ok(())
    }
}

/// Whether the connection ended before the reply. What was not sent for another reason would not
/// be the next time either.
pub(crate) fn is_loss(error: &CallError, executor: &Executor) -> bool {
    match error {
        CallError::Lost { .. } => true,
        CallError::NotSent { .. } => !executor.is_connected(),
        CallError::Refused(_)
        | CallError::TimedOut
        | CallError::Unconfined
        | CallError::Protocol { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn patience_begins_with_the_first_loss_and_ends_with_the_window() {
        let mut patience = Patience::of(Duration::from_secs(45));
        tokio::time::advance(Duration::from_secs(300)).await;
        let began = Instant::now();
        while patience.wait("lost").await.is_ok() {}
        let waited = began.elapsed();
        assert!(
            (Duration::from_secs(45)..Duration::from_secs(46)).contains(&waited),
            "{waited:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_takes_longer_than_the_window_to_be_noticed_is_still_tried_again() {
        let mut patience = Patience::of(Duration::from_secs(45));
        for _ in 0..TRIES_MIN {
            patience.wait("lost").await.unwrap();
            tokio::time::advance(Duration::from_secs(60)).await;
        }
        assert!(patience.wait("lost").await.is_err());
    }
}
