//! What the program says about itself, on standard error: one line an event, for people or, on
//! request, one JSON object.
//!
//! Owns which lines are wanted and what a line may hold (`security` SR-70 and SR-72): texts are
//! made harmless and cut, lines are bounded, and of other crates only warnings get through, since
//! nobody promised for them that their traces hold no secrets.

mod line;

use clap::{Args, ValueEnum};
use tracing::Level;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{FilterExt as _, Targets, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::Registry;
use tracing_subscriber::util::SubscriberInitExt as _;

use line::Line;

/// Which logs are wanted: `debug`, or `info,farstep_executor::listen=trace`.
pub const LOG_VARIABLE: &str = "FARSTEP_LOG";

/// Flags of the log.
#[derive(Clone, Copy, Debug, Args)]
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

/// Something else that wants our spans.
pub type Extra = Box<dyn Layer<Registry> + Send + Sync>;

/// Starts the log of this process. `wanted` is what [`LOG_VARIABLE`] says.
pub fn start(format: LogFormat, wanted: &str, extra: Option<Extra>) {
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
        .with_writer(std::io::stderr)
        .with_filter(filter.unwrap_or_else(|_| info()).and(filter_fn(|metadata| {
            is_ours(metadata.target()) || *metadata.level() <= Level::WARN
        })));
    tracing_subscriber::registry()
        .with(extra)
        .with(lines)
        .init();
    if let Some(error) = refused {
        tracing::warn!(error, "{LOG_VARIABLE} is not understood; logging at info");
    }
}

fn info() -> Targets {
    Targets::new().with_default(Level::INFO)
}

fn is_ours(target: &str) -> bool {
    target.starts_with("farstep")
}
