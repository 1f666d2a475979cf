//! Executors that are started: a program whose standard input and output speak the protocol.

use std::time::Duration;

use farstep_transport::lines::Lines;
use futures_util::future::BoxFuture;

use super::child::{self, Program};
use super::{ConnectError, Dial, Tasks, Withheld, attach};
use crate::client::Executor;

/// A program to start.
#[derive(Debug)]
pub(crate) struct Stdio {
    pub(crate) program: Program,
    pub(crate) withheld: Withheld,
    pub(crate) initialize_timeout: Duration,
}

impl Dial for Stdio {
    fn dial<'a>(&'a self, tasks: &'a Tasks) -> BoxFuture<'a, Result<Executor, ConnectError>> {
        Box::pin(async move {
            let (child, stdout, stdin) = child::spawn(&self.program, &self.withheld)
                .map_err(|error| self.explain(&error))?;
            let wire = Lines::new(stdout, stdin);
            attach(wire, Some(child), self.initialize_timeout, tasks, None).await
        })
    }

    fn label(&self) -> String {
        // Arguments may hold secrets; the program and what it is for do not.
        format!("stdio: {}", self.program.program.display())
    }
}

impl Stdio {
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
