//! Where no span is exported, because the feature `otel` was left out.

use tokio::runtime::Handle;
use tracing::Span;

use super::TraceContext;
use crate::logs::Extra;

/// What would send spans away.
#[derive(Debug)]
pub struct Exporter;

/// Why spans are not exported although somebody asked for it.
#[derive(Debug, thiserror::Error)]
#[error("OTEL_EXPORTER_OTLP_ENDPOINT is set, but this executor was built without the feature otel")]
pub struct ExportError;

impl Exporter {
    /// There is nothing to prepare; it is an error to ask for it.
    pub fn start(
        variable: impl Fn(&str) -> Option<String>,
        _runtime: Handle,
    ) -> Result<Option<Exporter>, ExportError> {
        match super::names_collector(variable) {
            true => Err(ExportError),
            false => Ok(None),
        }
    }

    pub fn layer(&self) -> Option<Extra> {
        None
    }

    pub async fn finish(self) {}
}

pub(super) fn set_parent(_span: &Span, _context: &TraceContext) {}

pub(super) fn context_of(_span: &Span) -> Option<TraceContext> {
    None
}
