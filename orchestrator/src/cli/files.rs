//! What may be typed about files.

use std::ffi::OsString;

use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
#[command(
    after_help = "A PLACE is ENV:PATH, or a PATH of the environment of -e. A path that is not \
                  absolute begins at the environment's working folder, `~/` at its home; write \
                  ./a:b for a name with a colon.\n\nExit status: 0 all was listed, 1 something \
                  was not, 2 wrong usage or configuration, 255 the executor could not be reached \
                  or was lost."
)]
pub struct LsArgs {
    /// What to list [default: the working folder]
    #[arg(value_name = "PLACE")]
    pub places: Vec<String>,
    /// The environment of places that name none [default: the configured default]
    #[arg(long, short, value_name = "ID")]
    pub environment: Option<String>,
    /// Show mode, size and time of change too
    #[arg(short = 'l')]
    pub long: bool,
    /// Show names that begin with a dot too
    #[arg(short, long)]
    pub all: bool,
    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "A PLACE is ENV:PATH, or a PATH of the environment of -e.\n\nExit status: 0 all \
                  was shown, 1 something was not, 2 wrong usage or configuration, 255 the \
                  executor could not be reached or was lost."
)]
pub struct CatArgs {
    /// What to show, one after the other
    #[arg(required = true, value_name = "PLACE")]
    pub places: Vec<String>,
    /// The environment of places that name none [default: the configured default]
    #[arg(long, short, value_name = "ID")]
    pub environment: Option<String>,
    /// Pass bytes on unchanged even when the output is a terminal
    #[arg(long)]
    pub raw: bool,
    /// Print one JSON object for each block, a line each
    #[arg(long, conflicts_with = "raw")]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "A PLACE is ENV:PATH, or a PATH of the environment of -e. Links are removed \
                  themselves and never followed.\n\nExit status: 0 all is gone, 1 something is \
                  not, 2 wrong usage or configuration, 255 the executor could not be reached or \
                  was lost."
)]
pub struct RmArgs {
    /// What to remove
    #[arg(required = true, value_name = "PLACE")]
    pub places: Vec<String>,
    /// The environment of places that name none [default: the configured default]
    #[arg(long, short, value_name = "ID")]
    pub environment: Option<String>,
    /// Remove directories and everything in them
    #[arg(short, visible_short_alias = 'R', long)]
    pub recursive: bool,
    /// What is not there is fine
    #[arg(short, long)]
    pub force: bool,
    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "A PLACE is ENV:PATH, or a PATH of the environment of -e.\n\nExit status: 0 all \
                  are there, 1 something is not, 2 wrong usage or configuration, 255 the executor \
                  could not be reached or was lost."
)]
pub struct MkdirArgs {
    /// The directories to make
    #[arg(required = true, value_name = "PLACE")]
    pub places: Vec<String>,
    /// The environment of places that name none [default: the configured default]
    #[arg(long, short, value_name = "ID")]
    pub environment: Option<String>,
    /// Make missing parents too; what exists is fine
    #[arg(short, long)]
    pub parents: bool,
    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "A place is ENV:PATH, or the path of a file here. A path that is not absolute \
                  begins at the environment's working folder, `~/` at its home; write ./a:b for a \
                  name with a colon here. A Windows drive comes after the environment: \
                  win:C:\\x.\n\nExit status: 0 all was copied, 1 something was not, 2 wrong usage \
                  or configuration, 130 interrupted, 255 an executor could not be reached or was \
                  lost."
)]
pub struct CpArgs {
    /// What to copy
    #[arg(required = true, value_name = "SRC")]
    pub sources: Vec<OsString>,
    /// Where to: a name for the copy, or a directory to put it into
    #[arg(required = true, value_name = "DST")]
    pub destination: OsString,
    /// Copy directories with everything in them
    #[arg(short, visible_short_alias = 'R', long)]
    pub recursive: bool,
    /// Let the copies be as old as what they are copied from
    #[arg(short, long)]
    pub preserve: bool,
    /// What to do about symbolic links in directories
    #[arg(long, value_name = "WHAT", default_value = "skip")]
    pub links: Links,
    /// Begin anew where an earlier copy broke off
    #[arg(long)]
    pub no_resume: bool,
    /// Print one JSON object for each file, a line each
    #[arg(long)]
    pub json: bool,
}

/// What a copy does about symbolic links inside of what is copied. None is ever made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Links {
    /// Leave them out, and say so
    Skip,
    /// Copy what they lead to, as long as that is in the directory that is copied
    Follow,
}
