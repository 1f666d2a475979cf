//! Executors that are started: a program whose standard input and output speak the protocol.

use std::sync::Arc;
use std::time::Duration;

use farstep_transport::lines::Lines;
use futures_util::future::BoxFuture;
use tokio::process::{ChildStdin, ChildStdout};

use super::child::{self, Program};
use super::{ConnectError, Dial, Hop, Passage, Reached, Redial, Tasks, Trail, Withheld, attach};
use crate::client::Executor;

/// How long a program that was started to come back is left alone when it failed.
pub(super) const PAUSE: Duration = Duration::from_secs(1);

type Wire = Lines<ChildStdout, ChildStdin>;

/// A program to start.
#[derive(Debug)]
pub(crate) struct Stdio {
    pub(crate) start: Arc<Start>,
    pub(crate) initialize_timeout: Duration,
}

/// How to start it, once or, when what it leads to outlives it, again.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) program: Program,
    pub(crate) withheld: Withheld,
}

impl Dial for Stdio {
    fn dial<'a>(
        &'a self,
        tasks: &'a Tasks,
        trail: &'a mut Trail,
    ) -> BoxFuture<'a, Result<Executor, ConnectError>> {
        Box::pin(async move {
            let (wire, child) = self.start.redial(trail).await?;
            let way_back: Arc<dyn Redial<Wire>> = Arc::clone(&self.start) as _;
            let limit = self.initialize_timeout;
            attach(wire, child, limit, tasks, trail, Some(way_back)).await
        })
    }

    fn open<'a>(&'a self, trail: &'a mut Trail) -> BoxFuture<'a, Result<Passage, ConnectError>> {
        Box::pin(async move {
            let (wire, child) = self.start.redial(trail).await?;
            Ok(Passage {
                wire: Box::new(wire),
                child,
            })
        })
    }

    fn label(&self) -> String {
        // Arguments may hold secrets; the program and what it is for do not.
        format!("stdio: {}", self.start.program.program.display())
    }
}

impl Redial<Wire> for Start {
    fn redial<'a>(
        &'a self,
        trail: &'a mut Trail,
    ) -> BoxFuture<'a, Result<Reached<Wire>, ConnectError>> {
        Box::pin(async move {
            trail.begin(Hop::Spawn);
            let (child, stdout, stdin) = child::spawn(&self.program, &self.withheld)
                .map_err(|error| self.explain(&error))?;
            trail.pass(None);
            Ok((Lines::new(stdout, stdin), Some(child)))
        })
    }

    fn needs_durability(&self) -> bool {
        true
    }

    fn pause(&self) -> Duration {
        PAUSE
    }
}

impl Start {
    /// The system reports a missing program and a missing working folder alike.
    fn explain(&self, error: &std::io::Error) -> ConnectError {
        let Program { program, cwd, .. } = &self.program;
        let object = match cwd {
            Some(cwd) if !cwd.is_dir() => format!("working folder `{}`", cwd.display()),
            _ => format!("program `{}`", program.display()),
        };
        ConnectError::Spawn {
            reason: error.to_string(),
            object,
        }
    }
}
