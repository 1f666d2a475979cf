//! What the program says about itself, on standard error: one line an event, for people or, on
//! request, one JSON object.
//!
//! Owns which lines are wanted and what a line may hold (`security` SR-70 and SR-72): texts are
//! made harmless and cut, lines are bounded, and of other crates only warnings get through, since
//! nobody promised for them that their traces hold no secrets.

mod line;
mod outlet;

use clap::{Args, ValueEnum};
use farstep_telemetry::Extra;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Level, Metadata};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Filter, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

pub(crate) use line::LINE_BYTES_MAX;
use line::Line;
use outlet::{Outlet, Stderr};

use crate::background::Log;

/// Which logs are wanted: `debug`, or `info,farstep_executor::listen=trace`.
pub const LOG_VARIABLE: &str = "FARSTEP_LOG";

/// Flags of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Args)]
pub struct LogArgs {
    /// What a line of the log on standard error looks like
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Human)]
    pub log_format: LogFormat,
}

/// What a line looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Human,
    /// For programs.
    Json,
}

/// Starts the log of this process. `wanted` is what [`LOG_VARIABLE`] says, `file` what standard error
/// is, if it is one of ours.
pub fn start(format: LogFormat, wanted: &str, file: Option<Log>, extra: Option<Extra>) {
    let filter = if wanted.is_empty() {
        Ok(info())
    } else {
        wanted.parse()
    };
    let refused = filter.as_ref().err().map(ToString::to_string);
    let line = Line::new(format);
    let lines = tracing_subscriber::fmt::layer()
        .fmt_fields(line)
        .event_format(line)
        .with_ansi(false)
        // Standard error, because stdout is the protocol or the line that says where we listen.
        .with_writer(Outlet::new(format, Stderr::new(file)))
        .with_filter(Wanted(filter.unwrap_or_else(|_| info())));
    let layers: Vec<Extra> = extra.into_iter().chain([lines.boxed()]).collect();
    tracing_subscriber::registry().with(layers).init();
    if let Some(error) = refused {
        tracing::warn!(error, "{LOG_VARIABLE} is not understood; logging at info");
    }
}

fn info() -> Targets {
    Targets::new().with_default(Level::INFO)
}

/// What the operator wants, as far as it is safe.
///
/// It answers by what is known of a statement when it is first met, and names its highest level, so
/// that whatever nobody wants costs one comparison afterwards. (A filter made of functions does
/// neither: it doubled the cost of a small call.)
struct Wanted(Targets);

impl Wanted {
    fn wants(&self, target: &str, level: &Level) -> bool {
        let is_safe = is_ours(target) || *level <= Level::WARN;
        is_safe && self.0.would_enable(target, level)
    }
}

impl<S> Filter<S> for Wanted {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        self.wants(metadata.target(), metadata.level())
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.wants(metadata.target(), metadata.level()) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Filter::<S>::max_level_hint(&self.0)
    }
}

fn is_ours(target: &str) -> bool {
    target.starts_with("farstep")
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::registry::Registry;

    use super::*;

    #[test]
    fn of_other_crates_only_warnings_get_through() {
        let wanted = Wanted("trace".parse().unwrap());
        assert!(wanted.wants("farstep_executor::fs", &Level::TRACE));
        assert!(wanted.wants("h2::frame", &Level::WARN));
        assert!(!wanted.wants("h2::frame", &Level::INFO));
    }

    #[test]
    fn what_nobody_wants_is_known_before_it_is_asked_for() {
        for (wanted, level) in [
            ("", LevelFilter::INFO),
            ("farstep_executor=debug", LevelFilter::DEBUG),
        ] {
            let targets = if wanted.is_empty() {
                info()
            } else {
                wanted.parse().unwrap()
            };
            let hint = Filter::<Registry>::max_level_hint(&Wanted(targets));
            assert_eq!(hint, Some(level));
        }
    }
}
