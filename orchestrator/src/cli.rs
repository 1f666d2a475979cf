//! What a person may type.
//!
//! This module owns names, help texts and the shape of arguments. It refuses to know what a
//! command does: each subcommand hands a struct of plain values to the module of its name.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::demo::DemoArgs;

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
    /// Look at the configured environments
    Env(EnvArgs),
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

#[derive(Debug, Args)]
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
    /// The program and its arguments; no shell is involved
    #[arg(required = true, last = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct EnvArgs {
    #[command(subcommand)]
    pub command: EnvCommand,
}

#[derive(Debug, Subcommand)]
pub enum EnvCommand {
    /// List the environments; connects to none of them
    List {
        /// Print one JSON object a line
        #[arg(long)]
        json: bool,
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
}
