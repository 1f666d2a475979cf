//! `farstep ssh`: a command or a shell on a machine that nobody has set up, and what puts executors
//! there.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use farstep_environments::{Bootstrap, ConnectError, Executors, SshTarget};

use crate::cli::{ExecArgs, ShellArgs};
use crate::exec;
use crate::render::{Failure, Upload};
use crate::setup::{Surroundings, find_executor};

/// A folder of executors beside this program, and the variable that names another.
const FOLDER: &str = "executors";
const FOLDER_VARIABLE: &str = "FARSTEP_EXECUTORS";

#[derive(Debug, Args)]
#[command(
    after_help = "The executor is put under ~/.local/share/farstep there with the first login and \
                  found there by the next. Your ssh configuration, keys and agent count.\n\n\
                  Exit status: that of the command, 128+N when signal N ended it, 127 when it could \
                  not be started, 255 when the machine could not be reached or was lost, 2 wrong \
                  usage or configuration."
)]
pub struct SshArgs {
    /// The machine: [ssh://][user@]host[:port]
    #[arg(value_name = "HOST")]
    pub target: String,
    /// The executor to put there [default: the one that fits, of FARSTEP_EXECUTORS, of `executors`
    /// beside this program, or the one beside it]
    #[arg(long, value_name = "FILE")]
    pub executor: Option<PathBuf>,
    /// What programs there are built for, such as x86_64 or aarch64 [default: what the machine says]
    #[arg(long, value_name = "ARCH")]
    pub arch: Option<String>,
    /// The working folder, in the machine's own spelling
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<String>,
    /// Pass bytes on unchanged even when the output is a terminal
    #[arg(long)]
    pub raw: bool,
    /// Run the command on a terminal, and lend it ours; `~.` at the beginning of a line leaves
    #[arg(long, short, requires = "command")]
    pub tty: bool,
    /// The program and its arguments; no shell is involved [default: a shell]
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<std::ffi::OsString>,
}

/// Runs the command, or a shell, and gives its exit code.
pub async fn ssh(args: SshArgs, surroundings: &Surroundings) -> Result<u8, Failure> {
    let mut setup = exec::load(surroundings)?;
    let mut bootstrap = bootstrap(&args.target, args.executor, surroundings)?;
    bootstrap.arch = args.arch;
    let target = bootstrap.target.to_string();
    setup.ssh = Some(bootstrap);
    let SshArgs { cwd, raw, tty, .. } = args;
    let outcome = if args.command.is_empty() {
        let shell = ShellArgs {
            environment: None,
            cwd,
            raw,
            json: false,
        };
        exec::shell_in(setup, shell, surroundings).await
    } else {
        let command = ExecArgs {
            cwd,
            raw,
            tty,
            command: args.command,
            ..ExecArgs::default()
        };
        exec::exec_in(setup, command, surroundings).await
    };
    outcome.map_err(|failure| match failure {
        // What was typed, instead of an id made of it.
        Failure::Connect {
            error: ConnectError::Ssh(error),
            ..
        } => Failure::Ssh { target, error },
        other => other,
    })
}

/// What puts an executor on `target`; progress is shown on a terminal.
pub(crate) fn bootstrap(
    target: &str,
    executor: Option<PathBuf>,
    surroundings: &Surroundings,
) -> Result<Bootstrap, Failure> {
    let target = SshTarget::parse(target).map_err(|error| Failure::Usage(error.to_string()))?;
    let upload = Upload::new(&target.to_string());
    Ok(Bootstrap {
        executors: executors(executor, surroundings),
        arch: None,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        // Whoever sees no question cannot answer it either.
        interactive: std::io::stdin().is_terminal() && std::io::stderr().is_terminal(),
        watcher: Arc::new(move |progress| upload.show(&progress)),
        target,
    })
}

fn executors(file: Option<PathBuf>, surroundings: &Surroundings) -> Executors {
    let named = (surroundings.variable)(FOLDER_VARIABLE).filter(|value| !value.is_empty());
    let program = surroundings.program.as_deref();
    let beside = program.and_then(|program| Some(program.parent()?.join(FOLDER)));
    Executors {
        file,
        folders: named.map(PathBuf::from).into_iter().chain(beside).collect(),
        own: find_executor(surroundings).ok(),
    }
}
