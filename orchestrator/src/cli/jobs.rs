//! The commands about what runs on without us.

use std::time::Duration;

use clap::{Args, ValueEnum};
use jiff::{Span, SpanRelativeTo};

/// A job is kept at least for so long: a client that is merely slow must find it.
const KEEP_MIN: Duration = Duration::from_secs(60);

#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0, or 2 for wrong usage or configuration. A job that is \
                        lost or out of reach is shown as such."
)]
pub struct PsArgs {
    /// Only the jobs of this environment
    #[arg(value_name = "ENV")]
    pub environment: Option<String>,
    /// Forget jobs that have ended or are lost, with what they said
    #[arg(long)]
    pub prune: bool,
    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 whatever became of the job, 2 for wrong usage, 255 when \
                        the executor could not be reached or knows nothing of the job any more, \
                        130 interrupted."
)]
pub struct LogsArgs {
    /// The job, or the beginning of its id
    #[arg(value_name = "JOB")]
    pub job: String,
    /// Go on as the job does, until it has ended; over broken connections too
    #[arg(long, short)]
    pub follow: bool,
    /// Only the last so many lines of what is there
    #[arg(long, value_name = "N", conflicts_with = "since_seq")]
    pub tail: Option<usize>,
    /// Only what came after this position, as `--json` tells it
    #[arg(long, value_name = "SEQ")]
    pub since_seq: Option<u64>,
    /// Pass bytes on unchanged even when the output is a terminal
    #[arg(long, conflicts_with = "json")]
    pub raw: bool,
    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: that of the job, of the last one when there are several; \
                        128+N when signal N ended it, 2 for wrong usage, 255 when the executor \
                        could not be reached or knows nothing of the job any more, 130 \
                        interrupted."
)]
pub struct WaitArgs {
    /// The jobs, or the beginnings of their ids
    #[arg(required = true, value_name = "JOB")]
    pub jobs: Vec<String>,
    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 when each was signalled or had ended already, 2 for wrong \
                        usage, 255 when the executor could not be reached or knows nothing of \
                        the job any more."
)]
pub struct KillArgs {
    /// The jobs, or the beginnings of their ids
    #[arg(required = true, value_name = "JOB")]
    pub jobs: Vec<String>,
    /// What to send; without it, each is told to end, or ended where it cannot be told
    #[arg(long, short, value_name = "SIGNAL")]
    pub signal: Option<KillSignal>,
    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// What a job can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KillSignal {
    /// As Ctrl-C in a terminal
    #[value(alias = "interrupt", alias = "INT", alias = "SIGINT", alias = "2")]
    Int,
    /// Asks it to end in an orderly way
    #[value(alias = "terminate", alias = "TERM", alias = "SIGTERM", alias = "15")]
    Term,
    /// Tells it that its terminal has gone
    #[value(alias = "hangup", alias = "HUP", alias = "SIGHUP", alias = "1")]
    Hup,
    /// As Ctrl-\ in a terminal
    #[value(alias = "QUIT", alias = "SIGQUIT", alias = "3")]
    Quit,
    /// Ends it and everything it started, at once
    #[value(alias = "KILL", alias = "SIGKILL", alias = "9")]
    Kill,
}

/// A time as people write it: `90s`, `15m`, `12h`, `7d`, `1d12h`.
pub(super) fn keep(text: &str) -> Result<Duration, String> {
    let parsed = text.parse::<Span>().and_then(|span| {
        let days = SpanRelativeTo::days_are_24_hours();
        Duration::try_from(span.to_duration(days)?)
    });
    match parsed {
        Ok(keep) if keep < KEEP_MIN => Err("at least a minute".to_owned()),
        Ok(keep) => Ok(keep),
        Err(_) => Err("expected a time such as 15m, 12h or 7d".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_people_write_it() {
        let seconds = |text| keep(text).map(|keep| keep.as_secs());
        for (text, wanted) in [
            ("90s", 90),
            ("15m", 900),
            ("12h", 43_200),
            ("7d", 604_800),
            ("1d12h", 129_600),
            ("1 day", 86_400),
        ] {
            assert_eq!(seconds(text), Ok(wanted), "{text}");
        }
        for bad in ["", "7", "59s", "-1h", "h", "1x", "1mo"] {
            assert!(keep(bad).is_err(), "{bad}");
        }
    }
}
