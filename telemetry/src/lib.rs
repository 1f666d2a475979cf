//! Spans for a collector, by OpenTelemetry's own variables, the same way in every program.
//!
//! ```text
//!   variables ──▶ Exporter ──layer──▶ the subscriber of a program ──spans──▶ OTLP
//!
//!   Trace of a request ──adopt──▶ parent of a span
//!   Trace for a request ◀──trace_of── span
//! ```
//!
//! It knows spans and trace context; it refuses to know what the spans are about, and what is said
//! in logs stays in logs. Without the feature `otel` it is a few lines that say so: the client it
//! needs would be a large part of an executor.

#[cfg_attr(feature = "otel", path = "otel.rs")]
#[cfg_attr(not(feature = "otel"), path = "none.rs")]
mod export;
#[cfg(feature = "testing")]
pub mod testing;

use farstep_protocol::rpc::Trace;
use tracing::Span;
use tracing_subscriber::Layer;
use tracing_subscriber::registry::Registry;

pub use export::{ExportError, Exporter};

/// A part of a subscriber.
pub type Extra = Box<dyn Layer<Registry> + Send + Sync>;

/// Whose spans are exported.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    /// What collectors call it, unless the environment gives it another name.
    pub name: &'static str,
    /// What the targets of its spans begin with.
    pub spans: &'static str,
}

/// The variables that name a collector. Without one nothing is sent anywhere.
const ENDPOINTS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
];

/// Whether the environment wants spans exported, by the variables of the OpenTelemetry standard.
fn names_collector(variable: impl Fn(&str) -> Option<String>) -> bool {
    let set = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
    let is_disabled = set("OTEL_SDK_DISABLED").is_some_and(|value| value.trim() == "true");
    !is_disabled && ENDPOINTS.iter().any(|name| set(name).is_some())
}

/// Makes a trace, which was checked, the parent of a span that has not begun, if anybody collects
/// spans.
pub fn adopt(span: &Span, trace: &Trace) {
    export::set_parent(span, trace);
}

/// What belongs to a span, if it is collected: its own context.
pub fn trace_of(span: &Span) -> Option<Trace> {
    export::trace_of(span)
}
