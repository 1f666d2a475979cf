//! Flags of the supervisor.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use zeroize::Zeroizing;

use super::credential::Source;
use crate::logs::LogArgs;
use crate::remote::CREDENTIAL_VARIABLES;

/// What `codex exec-server` itself says when it wants its credential on standard input.
const WANTS_FRAMES: &str = "--executor-credential-stdin";
const WANTS_LINE: &str = "--registration-bearer-stdin";
const ENVIRONMENT: &str = "--environment-id";

/// A command that fails to register takes up to ten seconds for it, and one whose registration is no
/// longer wanted some thirty more; what lasts longer was of use.
const HEALTHY_SECONDS: u64 = 60;
const HEALTHY_SECONDS_MAX: u64 = 24 * 60 * 60;

/// A frame is renewed after half of it, so that a source may fail for as long as the other half.
const CREDENTIAL_SECONDS: u64 = 3600;
const CREDENTIAL_SECONDS_MIN: u64 = 10;
const CREDENTIAL_SECONDS_MAX: u64 = 24 * 60 * 60;

/// As service managers have it, or less: they kill what they told to stop themselves.
const GRACE_SECONDS: u64 = 10;
const GRACE_SECONDS_MAX: u64 = 300;

/// What programs answer to a command line that they do not understand.
const FINAL_STATUS: i32 = 2;

/// Flags of `supervise-codex`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct SuperviseArgs {
    /// How the command gets the credential [default: as its own flags ask for it, and in
    /// CODEX_API_KEY if they do not]
    #[arg(long, value_name = "FORM", value_enum)]
    hand_over: Option<HandOver>,

    /// Read the credential from this file, at each start and when it changes, instead of from
    /// FARSTEP_API_KEY or CODEX_API_KEY
    #[arg(long, value_name = "FILE", conflicts_with = "credential_command")]
    credential_file: Option<PathBuf>,

    /// Run this program, with arguments behind blanks, and read the credential from what it prints,
    /// at each start and when a frame is due
    #[arg(long, value_name = "COMMAND")]
    credential_command: Option<String>,

    /// For how long a frame counts whose credential names no end; half of it later comes the next
    /// (10 to 86400)
    #[arg(long, value_name = "SECONDS", default_value_t = CREDENTIAL_SECONDS)]
    credential_seconds: u64,

    /// A command that ran for so long was healthy: failures are counted anew, and the next pause is
    /// short (1 to 86400)
    #[arg(long, value_name = "SECONDS", default_value_t = HEALTHY_SECONDS)]
    healthy_seconds: u64,

    /// Give up after so many failures in a row [default: never]
    #[arg(long, value_name = "N")]
    max_failures: Option<u32>,

    /// Give up when the command ends with this status without having been healthy (may be repeated)
    #[arg(long, value_name = "STATUS", default_values_t = [FINAL_STATUS])]
    final_status: Vec<i32>,

    /// How long the command may take to end when it is told to stop (0 to 300); a second signal kills
    /// it at once
    #[arg(long, value_name = "SECONDS", default_value_t = GRACE_SECONDS)]
    grace_seconds: u64,

    #[command(flatten)]
    pub(crate) log: LogArgs,

    /// The command, behind `--`: codex exec-server --remote URL --environment-id ID
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// How a command gets its credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum HandOver {
    /// In the variable CODEX_API_KEY
    Variable,
    /// As the first line of standard input
    Line,
    /// In a JSON object a line on standard input, a new one for each new credential
    Frames,
    /// Not at all: it has one of its own
    None,
}

/// The same with what each needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Variable,
    Line,
    Frames {
        environment: String,
        /// For how long a credential counts that does not say.
        life: Duration,
    },
}

/// What the flags say, checked.
#[derive(Debug)]
pub struct Settings {
    /// How the credential gets there and from where, if it does.
    pub(super) credential: Option<(Form, Source)>,
    pub(super) healthy: Duration,
    pub(super) failures_max: Option<u32>,
    pub(super) final_statuses: Vec<i32>,
    pub(super) grace: Duration,
    pub(super) command: Vec<OsString>,
}

/// Flags that cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error(
        "there is no credential: set FARSTEP_API_KEY, or use --credential-file FILE or \
         --credential-command COMMAND; or --hand-over none for a codex that has its own"
    )]
    NoCredential,
    #[error("--credential-command names no program")]
    NoProgram,
    #[error(
        "{WANTS_FRAMES} takes frames for one environment, and the command names none with \
         {ENVIRONMENT}"
    )]
    NoEnvironment,
    #[error(
        "--credential-seconds must be between {CREDENTIAL_SECONDS_MIN} and {CREDENTIAL_SECONDS_MAX}"
    )]
    CredentialSeconds,
    #[error("--healthy-seconds must be between 1 and {HEALTHY_SECONDS_MAX}")]
    HealthySeconds,
    #[error("--max-failures must be at least 1")]
    MaxFailures,
    #[error("--grace-seconds must be at most {GRACE_SECONDS_MAX}")]
    GraceSeconds,
}

impl SuperviseArgs {
    /// What they say. `variable` reads one of this process.
    pub fn check(self, variable: impl Fn(&str) -> Option<String>) -> Result<Settings, Refused> {
        if !(CREDENTIAL_SECONDS_MIN..=CREDENTIAL_SECONDS_MAX).contains(&self.credential_seconds) {
            return Err(Refused::CredentialSeconds);
        }
        if !(1..=HEALTHY_SECONDS_MAX).contains(&self.healthy_seconds) {
            return Err(Refused::HealthySeconds);
        }
        if self.max_failures == Some(0) {
            return Err(Refused::MaxFailures);
        }
        if self.grace_seconds > GRACE_SECONDS_MAX {
            return Err(Refused::GraceSeconds);
        }
        let form = self.form()?;
        let credential = match form {
            Some(form) => Some((form, self.source(variable)?)),
            None => None,
        };
        Ok(Settings {
            credential,
            healthy: Duration::from_secs(self.healthy_seconds),
            failures_max: self.max_failures,
            final_statuses: self.final_status,
            grace: Duration::from_secs(self.grace_seconds),
            command: self.command,
        })
    }

    fn form(&self) -> Result<Option<Form>, Refused> {
        let wants = |flag: &str| self.command.iter().any(|word| word == flag);
        let hand_over = self.hand_over.unwrap_or_else(|| {
            if wants(WANTS_FRAMES) {
                HandOver::Frames
            } else if wants(WANTS_LINE) {
                HandOver::Line
            } else {
                HandOver::Variable
            }
        });
        Ok(match hand_over {
            HandOver::Variable => Some(Form::Variable),
            HandOver::Line => Some(Form::Line),
            HandOver::Frames => Some(Form::Frames {
                environment: environment(&self.command).ok_or(Refused::NoEnvironment)?,
                life: Duration::from_secs(self.credential_seconds),
            }),
            HandOver::None => None,
        })
    }

    fn source(&self, variable: impl Fn(&str) -> Option<String>) -> Result<Source, Refused> {
        if let Some(path) = &self.credential_file {
            return Ok(Source::File(path.clone()));
        }
        if let Some(line) = &self.credential_command {
            let words: Vec<_> = line.split_whitespace().map(OsString::from).collect();
            return match words.is_empty() {
                true => Err(Refused::NoProgram),
                false => Ok(Source::Command(words)),
            };
        }
        let set = CREDENTIAL_VARIABLES.iter().find_map(|name| variable(name));
        let set = set.filter(|value| !value.is_empty());
        Ok(Source::Variable(Zeroizing::new(
            set.ok_or(Refused::NoCredential)?,
        )))
    }
}

/// The environment that a command is to be.
fn environment(command: &[OsString]) -> Option<String> {
    let words: Vec<_> = command.iter().filter_map(|word| word.to_str()).collect();
    let joined = words.iter().find_map(|word| {
        let value = word.strip_prefix(ENVIRONMENT)?;
        value.strip_prefix('=')
    });
    let apart = || {
        let at = words.iter().position(|word| *word == ENVIRONMENT)?;
        words.get(at + 1).copied()
    };
    let found = joined.or_else(apart)?;
    (!found.is_empty()).then(|| found.to_owned())
}

/// Whether a variable holds a credential, which is for whom it is handed to and nobody else.
pub(super) fn is_credential(name: &OsStr) -> bool {
    CREDENTIAL_VARIABLES
        .iter()
        .any(|credential| match crate::os::VARIABLES_IGNORE_CASE {
            true => name.eq_ignore_ascii_case(credential),
            false => name == *credential,
        })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: SuperviseArgs,
    }

    fn settings(flags: &[&str], command: &[&str]) -> Result<Settings, Refused> {
        let words = ["x"].iter().chain(flags).chain(&["--"]).chain(command);
        let line = Line::try_parse_from(words).unwrap();
        line.args
            .check(|name| (name == "CODEX_API_KEY").then(|| "from the variable".to_owned()))
    }

    fn form(flags: &[&str], command: &[&str]) -> Result<Option<Form>, Refused> {
        let settings = settings(flags, command)?;
        Ok(settings.credential.map(|(form, _)| form))
    }

    #[test]
    fn a_command_gets_its_credential_the_way_it_asks_for() {
        let frames = Form::Frames {
            environment: "box".to_owned(),
            life: Duration::from_secs(3600),
        };
        for (command, expected) in [
            (&["codex", "exec-server"][..], Form::Variable),
            (&["codex", WANTS_LINE], Form::Line),
            (&["codex", WANTS_FRAMES, ENVIRONMENT, "box"], frames.clone()),
            (&["codex", "--environment-id=box", WANTS_FRAMES], frames),
        ] {
            assert_eq!(form(&[], command), Ok(Some(expected)));
        }
        assert_eq!(
            form(&["--hand-over", "line"], &["wrapper"]),
            Ok(Some(Form::Line))
        );
        assert_eq!(form(&["--hand-over", "none"], &["codex"]), Ok(None));
        for nameless in [&[WANTS_FRAMES][..], &[WANTS_FRAMES, ENVIRONMENT]] {
            assert_eq!(form(&[], nameless), Err(Refused::NoEnvironment));
        }
    }

    #[test]
    fn a_credential_comes_from_one_place() {
        let source = |flags: &[&str]| settings(flags, &["codex"]).unwrap().credential.unwrap().1;
        assert!(matches!(source(&[]), Source::Variable(value) if *value == "from the variable"));
        let file = source(&["--credential-file", "f"]);
        assert!(matches!(file, Source::File(path) if path.as_os_str() == "f"));
        let command = source(&["--credential-command", " vault  read x "]);
        let Source::Command(words) = command else {
            panic!("{command:?}");
        };
        assert_eq!(words, ["vault", "read", "x"]);
        let none = settings(&["--credential-command", " "], &["codex"]);
        assert_eq!(none.unwrap_err(), Refused::NoProgram);
    }

    #[test]
    fn what_cannot_be_followed_is_refused() {
        for (flags, refused) in [
            (["--credential-seconds", "9"], Refused::CredentialSeconds),
            (["--healthy-seconds", "0"], Refused::HealthySeconds),
            (["--max-failures", "0"], Refused::MaxFailures),
            (["--grace-seconds", "301"], Refused::GraceSeconds),
        ] {
            assert_eq!(settings(&flags, &["codex"]).unwrap_err(), refused);
        }
        let line = Line::try_parse_from(["x", "--", "codex"]).unwrap();
        assert_eq!(
            line.args.check(|_| None).unwrap_err(),
            Refused::NoCredential
        );
        // Without `--` it would be guessed whose flags they are.
        assert!(Line::try_parse_from(["x", "codex"]).is_err());
    }
}
