//! What a person may type.
//!
//! This module owns names, help texts and the shape of arguments. It refuses to know what a
//! command does: each subcommand hands a struct of plain values to the module of its name.

mod files;
mod jobs;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::connect::ConnectArgs;
use crate::demo::DemoArgs;
use crate::env_cmd::{AddArgs, DefaultArgs, ExportArgs, ForgetArgs, RemoveArgs};
use crate::ssh::SshArgs;

pub use files::{CatArgs, CpArgs, Links, LsArgs, MkdirArgs, RmArgs};
pub use jobs::{KillArgs, KillSignal, LogsArgs, PsArgs, WaitArgs};

#[derive(Debug, Parser)]
#[command(
    name = "farstep",
    version,
    about = "Drives a model's tools on machines near and far",
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Give a task to a model and let it work in your environments
    Run(RunArgs),
    /// Run one command in an environment, without a model
    Exec(ExecArgs),
    /// Open an environment's own shell on this terminal
    Shell(ShellArgs),
    /// Run one command, or a shell, on a machine you can log in to, without setting it up
    Ssh(SshArgs),
    /// Copy files between this machine and environments, or between two of them
    Cp(CpArgs),
    /// List a directory of an environment
    Ls(LsArgs),
    /// Show files of an environment
    Cat(CatArgs),
    /// Remove files and directories of an environment
    Rm(RmArgs),
    /// Make directories in an environment
    Mkdir(MkdirArgs),
    /// List the commands that run on without us
    Ps(PsArgs),
    /// Show what a detached command has said
    Logs(LogsArgs),
    /// Wait until detached commands have ended
    Wait(WaitArgs),
    /// End detached commands
    Kill(KillArgs),
    /// Look at the configured environments, add some, find out why one does not work
    Env(EnvArgs),
    /// Offer environments as plain websockets on this machine, to codex and other clients
    Connect(ConnectArgs),
    /// Print what a shell needs to complete these commands
    Completions(CompletionsArgs),
    /// Write a manual page for each command
    Man(ManArgs),
    /// Watch a whole task run on two executors, without a key and with a scripted model
    Demo(DemoArgs),
}

#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 the turn completed, 1 it failed, 2 wrong usage or \
                        configuration, 130 interrupted."
)]
pub struct RunArgs {
    /// The task, or `-` to read it from standard input
    pub prompt: String,

    /// Where the Responses API lives, up to and including its version
    #[arg(long, value_name = "URL")]
    pub base_url: Option<String>,
    /// The model's name, as the provider knows it
    #[arg(long, short, value_name = "NAME")]
    pub model: Option<String>,
    /// How hard the model should think, as the provider spells it
    #[arg(long, value_name = "LEVEL")]
    pub effort: Option<String>,
    /// The variable that holds the API key [default: OPENAI_API_KEY]
    #[arg(long, value_name = "NAME")]
    pub api_key_env: Option<String>,

    /// Select an environment; repeat for more, the first is the primary
    #[arg(long = "environment", short = 'e', value_name = "ID")]
    pub environments: Vec<String>,
    #[command(flatten)]
    pub folders: Folders,
    /// Start while environments are still connecting [default with several environments]
    #[arg(long, conflicts_with = "blocking")]
    pub deferred: bool,
    /// Wait for every environment first [default with one environment]
    #[arg(long)]
    pub blocking: bool,

    /// Print the event stream, one JSON object a line
    #[arg(long)]
    pub json: bool,

    /// How often a broken sampling request is tried again
    #[arg(long, value_name = "N")]
    pub stream_max_retries: Option<u32>,
    /// How often one HTTP request is tried again
    #[arg(long, value_name = "N")]
    pub request_max_retries: Option<u32>,
    /// How long a stream may stay silent
    #[arg(long, value_name = "MS")]
    pub stream_idle_timeout_ms: Option<u64>,
}

/// Where calls run inside an environment.
#[derive(Debug, Args, Default)]
pub struct Folders {
    /// The working folder of the primary environment, in its own spelling
    #[arg(long = "cd", value_name = "DIR")]
    pub cd: Option<String>,
    /// The working folder of one environment; repeat for more
    #[arg(long = "cwd", value_name = "ID=DIR", value_parser = id_and_folder)]
    pub cwd: Vec<(String, String)>,
}

#[derive(Debug, Default, Args)]
#[command(
    after_help = "Exit status: that of the command, 128+N when signal N ended it, 127 when \
                        it could not be started, 255 when the executor could not be reached or \
                        was lost, 2 wrong usage or configuration."
)]
pub struct ExecArgs {
    /// The environment to run in [default: the configured default]
    #[arg(long, short, value_name = "ID")]
    pub environment: Option<String>,
    /// The working folder, in the environment's own spelling
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<String>,
    /// Pass bytes on unchanged even when the output is a terminal
    #[arg(long)]
    pub raw: bool,
    /// Run the command on a terminal, and lend it ours; `~.` at the beginning of a line leaves
    #[arg(long, short)]
    pub tty: bool,
    /// Pass nothing of our standard input on
    #[arg(long, short)]
    pub no_stdin: bool,
    /// Let the command run on without us and print the id of the job it is; it reads nothing
    #[arg(long, short)]
    pub detach: bool,
    /// How long a job is kept after the last look at it, such as 90m, 12h or 7d
    #[arg(long, value_name = "TIME", default_value = "1d", value_parser = jobs::keep,
          requires = "detach")]
    pub keep: Duration,
    /// Print one JSON object a line
    #[arg(long, conflicts_with_all = ["raw", "tty"])]
    pub json: bool,
    /// The program and its arguments; no shell is involved
    #[arg(required = true, last = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "`~.` at the beginning of a line leaves, and ends the shell; `~~` types one `~`. \
                        Exit status: that of the shell; 255 when the executor could not be \
                        reached, was lost or left, 2 wrong usage or configuration."
)]
pub struct ShellArgs {
    /// The environment [default: the configured default]
    #[arg(value_name = "ENV")]
    pub environment: Option<String>,
    /// The working folder, in the environment's own spelling
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<String>,
    /// Let the far side write our clipboard and ask our terminal for its title and settings
    #[arg(long)]
    pub raw: bool,
    /// Print one JSON object a line; the shell reads a script from us, and gets no terminal
    #[arg(long, conflicts_with = "raw")]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// Which shell
    #[arg(value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub struct ManArgs {
    /// The folder for the pages; it is made where it is missing
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct EnvArgs {
    #[command(subcommand)]
    pub command: EnvCommand,
}

#[derive(Debug, Subcommand)]
pub enum EnvCommand {
    /// List the environments; connects to none of them unless told to
    List {
        /// Connect to each, and show how that went
        #[arg(long)]
        connect: bool,
        /// Print one JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Add an environment to environments.toml, once it answers
    Add(AddArgs),
    /// Remove an environment from environments.toml
    Remove(RemoveArgs),
    /// Choose where calls go that name no environment
    Default(DefaultArgs),
    /// Forget whose key was met first, so that the next one is believed
    Forget(ForgetArgs),
    /// Print environments.toml for another program
    Export(ExportArgs),
    /// Look at the file and at every hop on the way, and say what to do about what is wrong
    #[command(
        after_help = "Exit status: 0 nothing failed, 1 something did, 2 wrong usage, 130 \
                            interrupted."
    )]
    Doctor {
        /// The environments to look at [default: all]
        #[arg(value_name = "ID")]
        ids: Vec<String>,
        /// Print one JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Print the JSON Schema of environments.toml, for an editor
    Schema {
        /// Of environments.farstep.toml, the file laid over it
        #[arg(long)]
        overlay: bool,
    },
    /// Connect, and try files, a process and the round trip
    #[command(
        after_help = "Exit status: 0 all passed, 1 at least one failed, 2 wrong usage or \
                            configuration."
    )]
    Test {
        /// The environments to test [default: all]
        #[arg(value_name = "ID")]
        ids: Vec<String>,
        /// Print one JSON object a line
        #[arg(long)]
        json: bool,
    },
}

impl Command {
    /// Whether standard output is for a program, which reads of a failure there too. A run tells of
    /// its own in its events.
    pub fn json(&self) -> bool {
        match self {
            Command::Exec(args) => args.json,
            Command::Shell(args) => args.json,
            Command::Cp(args) => args.json,
            Command::Ls(args) => args.json,
            Command::Cat(args) => args.json,
            Command::Rm(args) => args.json,
            Command::Mkdir(args) => args.json,
            Command::Ps(args) => args.json,
            Command::Logs(args) => args.json,
            Command::Wait(args) => args.json,
            Command::Kill(args) => args.json,
            Command::Env(args) => args.command.json(),
            Command::Run(_)
            | Command::Ssh(_)
            | Command::Connect(_)
            | Command::Completions(_)
            | Command::Man(_)
            | Command::Demo(_) => false,
        }
    }

    /// Whether a person is meant to read along.
    pub fn wants_words(&self) -> bool {
        match self {
            Command::Run(args) => !args.json,
            other => !other.json(),
        }
    }
}

impl EnvCommand {
    fn json(&self) -> bool {
        match self {
            EnvCommand::List { json, .. }
            | EnvCommand::Doctor { json, .. }
            | EnvCommand::Test { json, .. } => *json,
            EnvCommand::Add(args) => args.json,
            EnvCommand::Remove(args) => args.json,
            EnvCommand::Default(args) => args.json,
            EnvCommand::Forget(args) => args.json,
            EnvCommand::Export(args) => args.json,
            EnvCommand::Schema { .. } => false,
        }
    }
}

impl RunArgs {
    /// What the flags say about waiting; `None` leaves it to the configuration.
    pub fn deferred(&self) -> Option<bool> {
        match (self.deferred, self.blocking) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            _ => None,
        }
    }
}

fn id_and_folder(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((id, folder)) if !id.is_empty() && !folder.is_empty() => {
            Ok((id.to_owned(), folder.to_owned()))
        }
        _ => Err("expected ID=DIR, such as `builder=/srv/app`".to_owned()),
    }
}

/// The folder that holds `config.toml` and `environments.toml`.
///
/// `FARSTEP_HOME` wins; otherwise it is `farstep` in the XDG configuration folder. `None` when
/// the process has neither that nor a home.
pub fn config_dir(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let non_empty = |name: &str| variable(name).filter(|value| !value.is_empty());
    if let Some(home) = non_empty("FARSTEP_HOME") {
        return Some(PathBuf::from(home));
    }
    // The XDG rule: a relative value is to be ignored.
    let xdg = non_empty("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    let base = xdg.or_else(|| non_empty("HOME").map(|home| PathBuf::from(home).join(".config")))?;
    Some(base.join("farstep"))
}

/// The folder for what this machine remembers between two commands.
///
/// `farstep` in the XDG state folder; where that is not named, `state` in `FARSTEP_HOME`. `None`
/// when the process has neither those nor a home.
pub fn state_dir(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let named = |name: &str| {
        let value = variable(name).filter(|value| !value.is_empty());
        value.map(PathBuf::from)
    };
    // The XDG rule: a relative value is to be ignored.
    let xdg = named("XDG_STATE_HOME").filter(|path| path.is_absolute());
    let ours = || named("FARSTEP_HOME").map(|home| home.join("state"));
    let usual = || named("HOME").map(|home| home.join(".local/state/farstep"));
    xdg.map(|base| base.join("farstep"))
        .or_else(ours)
        .or_else(usual)
}

/// The folder of a `codex` client, whose `environments.toml` counts when we have none: what
/// `CODEX_HOME` names, else `.codex` in the home.
pub fn codex_dir(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let non_empty = |name: &str| variable(name).filter(|value| !value.is_empty());
    let named = non_empty("CODEX_HOME").map(PathBuf::from);
    named.or_else(|| Some(PathBuf::from(non_empty("HOME")?).join(".codex")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(pairs: &'static [(&str, &str)]) -> Option<PathBuf> {
        config_dir(|name| {
            pairs
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn the_configuration_folder_is_named_by_the_first_variable_that_can() {
        assert_eq!(
            with(&[
                ("FARSTEP_HOME", "/f"),
                ("XDG_CONFIG_HOME", "/x"),
                ("HOME", "/h")
            ]),
            Some(PathBuf::from("/f"))
        );
        assert_eq!(
            with(&[
                ("FARSTEP_HOME", ""),
                ("XDG_CONFIG_HOME", "/x"),
                ("HOME", "/h")
            ]),
            Some(PathBuf::from("/x/farstep"))
        );
        assert_eq!(
            with(&[("XDG_CONFIG_HOME", "relative"), ("HOME", "/h")]),
            Some(PathBuf::from("/h/.config/farstep"))
        );
        assert_eq!(with(&[]), None);
    }

    #[test]
    fn a_folder_flag_needs_both_halves() {
        assert_eq!(id_and_folder("a=/b=c"), Ok(("a".into(), "/b=c".into())));
        for bad in ["a", "=b", "a=", ""] {
            assert!(id_and_folder(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_that_prints_has_the_flag() {
        use clap::CommandFactory as _;
        // Schemas are JSON; the others print nothing for a program, or pass on what another prints.
        const WITHOUT: [&str; 6] = ["ssh", "connect", "completions", "man", "demo", "schema"];
        fn visit(command: &clap::Command) {
            for inner in command.get_subcommands() {
                visit(inner);
            }
            let is_leaf = !command.has_subcommands();
            let has = command.get_arguments().any(|one| one.get_id() == "json");
            let is_excepted = WITHOUT.contains(&command.get_name());
            assert!(!is_leaf || has != is_excepted, "{}", command.get_name());
        }
        visit(&Cli::command());
    }
}
