//! What a person may type behind `farstep env`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, ValueEnum};

#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("way").required(true).args(["target", "url", "command"]),
    override_usage = "farstep env add [OPTIONS] <ID> ssh://[USER@]HOST[:PORT]\n       \
                      farstep env add [OPTIONS] <ID> --url <URL>\n       \
                      farstep env add [OPTIONS] <ID> -- <PROGRAM> [ARG]...",
    after_help = "It is tried first, as `farstep env test` does, and added when that passes.\n\n\
                  Exit status: 0 added, 1 it did not answer and was not added, 2 wrong usage or \
                  configuration, 130 interrupted, 255 no executor could be put there."
)]
pub struct AddArgs {
    /// The new environment's id: letters, digits, `-` and `_`
    pub id: String,
    /// A machine you can log in to: an executor is put there under ~/.local/share/farstep
    #[arg(value_name = "ssh://HOST")]
    pub target: Option<String>,
    /// An executor that listens
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// A program to start that speaks the protocol on its standard input and output
    #[arg(last = true, value_name = "PROGRAM")]
    pub command: Vec<String>,

    /// The variable the listener's token is read from on each connect
    #[arg(
        long,
        value_name = "NAME",
        requires = "url",
        conflicts_with = "token_file"
    )]
    pub token_env: Option<String>,
    /// The file the listener's token is read from on each connect; yours alone to read
    #[arg(long, value_name = "FILE", requires = "url")]
    pub token_file: Option<PathBuf>,
    /// The executor to put there [default: the one that fits, of FARSTEP_EXECUTORS, of `executors`
    /// beside this program, or the one beside it]
    #[arg(long, value_name = "FILE", requires = "target")]
    pub executor: Option<PathBuf>,
    /// What programs there are built for, such as x86_64 or aarch64 [default: what the machine says]
    #[arg(long, value_name = "ARCH", requires = "target")]
    pub arch: Option<String>,
    /// Where commands start, in that machine's own spelling
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<String>,
    /// Send calls there that name no environment
    #[arg(long)]
    pub default: bool,
    /// Add it whether it answers or not
    #[arg(long)]
    pub no_test: bool,
    /// Show what would change; write nothing, here or there
    #[arg(long)]
    pub dry_run: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct RemoveArgs {
    /// The environment to remove
    pub id: String,
    /// Show what would change; write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct DefaultArgs {
    /// An environment, `local` for this machine, or `none`
    pub id: String,
    /// Show what would change; write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Only keys that were believed because they were the first are kept; \
                        `executor_key`, `pin_sha256` and `ca_file` are what the file says."
)]
pub struct ForgetArgs {
    /// The environment
    pub id: String,
    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "What the other program does not know is left out and told on standard error."
)]
pub struct ExportArgs {
    /// The program that is to read it
    #[arg(long = "for", value_name = "PROGRAM")]
    pub format: ExportFormat,
    /// Write to this new file instead, readable by you alone
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Print one JSON object, which holds the file unless it is written
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// The `codex` client, which refuses keys it does not know
    Codex,
}
