//! Where no span is exported, because the feature `otel` was left out.

use farstep_protocol::rpc::Trace;
use tokio::runtime::Handle;
use tracing::Span;

use crate::{Extra, Service};

/// What would send spans away.
#[derive(Debug)]
pub struct Exporter;

/// Why spans are not exported although somebody asked for it.
#[derive(Debug, thiserror::Error)]
#[error("OTEL_EXPORTER_OTLP_ENDPOINT is set, but this program was built without the feature otel")]
pub struct ExportError;

impl Exporter {
    /// There is nothing to prepare; it is an error to ask for it.
    pub fn start(
        _service: Service,
        variable: impl Fn(&str) -> Option<String>,
        _runtime: Handle,
    ) -> Result<Option<Exporter>, ExportError> {
        match crate::names_collector(variable) {
            true => Err(ExportError),
            false => Ok(None),
        }
    }

    /// Nobody wants spans.
    pub fn layer(&self) -> Option<Extra> {
        None
    }

    /// Nothing is left to send.
    pub async fn finish(self) {}
}

pub(crate) fn set_parent(_span: &Span, _trace: &Trace) {}

pub(crate) fn trace_of(_span: &Span) -> Option<Trace> {
    None
}
