//! The flags of the audit log, and what they mean.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Where there is one, the file and its older ones take this much together, in bytes.
const BYTES_MAX: u64 = 100 * 1024 * 1024;

/// Less would rotate away what happened a moment ago.
const BYTES_MIN: u64 = 1024 * 1024;

/// Flags of the audit log.
#[derive(Clone, Debug, Args)]
pub struct AuditArgs {
    /// Audit log: a file, or `off` [default: audit.jsonl in the state folder of the user]
    #[arg(long, value_name = "PATH|off")]
    audit_file: Option<PathBuf>,

    /// Refuse commands and changes while the audit log cannot be written
    #[arg(long)]
    audit_required: bool,

    /// Record all arguments of commands, not only their digest (arguments may hold secrets)
    #[arg(long)]
    audit_argv: bool,

    /// Record which files are read, too
    #[arg(long)]
    audit_reads: bool,

    /// What the audit log and its three older files take together, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = BYTES_MAX)]
    audit_bytes: u64,
}

/// What can be done with an audit log.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum AuditCommand {
    /// Check that nothing in a log was changed, taken out or put in
    Verify {
        /// The files that follow each other, the oldest first
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
}

/// What the flags mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub place: Place,
    /// Commands and changes are refused while they cannot be recorded.
    pub required: bool,
    /// All arguments are recorded.
    pub argv: bool,
    /// Reads are recorded.
    pub reads: bool,
    /// Of all files together.
    pub bytes_max: u64,
}

/// Where the records are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Nowhere.
    Off,
    /// In the folder for the state of this user's programs, if it can be used.
    Default,
    At(PathBuf),
}

/// Flags that contradict each other or break the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("--audit-required needs an audit log, and --audit-file off is none")]
    RequiredAndOff,
    #[error("--audit-bytes must be at least {BYTES_MIN}")]
    TooFewBytes,
}

impl Settings {
    /// No log, as for tests and embedders.
    pub fn off() -> Settings {
        Settings {
            place: Place::Off,
            ..Settings::on()
        }
    }

    /// What an executor does that was given no flags.
    pub fn on() -> Settings {
        Settings {
            place: Place::Default,
            required: false,
            argv: false,
            reads: false,
            bytes_max: BYTES_MAX,
        }
    }
}

impl TryFrom<AuditArgs> for Settings {
    type Error = Refused;

    fn try_from(args: AuditArgs) -> Result<Settings, Refused> {
        let place = match args.audit_file {
            None => Place::Default,
            Some(path) if path.as_os_str() == "off" => Place::Off,
            Some(path) => Place::At(path),
        };
        if args.audit_required && place == Place::Off {
            return Err(Refused::RequiredAndOff);
        }
        if args.audit_bytes < BYTES_MIN {
            return Err(Refused::TooFewBytes);
        }
        Ok(Settings {
            place,
            required: args.audit_required,
            argv: args.audit_argv,
            reads: args.audit_reads,
            bytes_max: args.audit_bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        audit: AuditArgs,
    }

    fn settings(flags: &[&str]) -> Result<Settings, Refused> {
        let line = Line::try_parse_from(["x"].iter().chain(flags)).unwrap();
        Settings::try_from(line.audit)
    }

    #[test]
    fn an_executor_keeps_a_log_unless_it_is_told_not_to() {
        assert_eq!(settings(&[]), Ok(Settings::on()));
        assert_eq!(settings(&["--audit-file", "off"]), Ok(Settings::off()));
        let all = [
            "--audit-file=/var/log/farstep",
            "--audit-required",
            "--audit-argv",
            "--audit-reads",
            "--audit-bytes=2000000",
        ];
        let wanted = Settings {
            place: Place::At("/var/log/farstep".into()),
            required: true,
            argv: true,
            reads: true,
            bytes_max: 2_000_000,
        };
        assert_eq!(settings(&all), Ok(wanted));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let none = ["--audit-file=off", "--audit-required"];
        assert_eq!(settings(&none), Err(Refused::RequiredAndOff));
        assert_eq!(settings(&["--audit-bytes=9"]), Err(Refused::TooFewBytes));
    }
}
