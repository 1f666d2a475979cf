//! Spans for a collector, over OTLP. Nothing is dialled, and nothing is started, unless the
//! variables of the OpenTelemetry standard name an endpoint.
//!
//! Spans carry names, ids and numbers, as logs do, and no events: what is said in logs stays in
//! logs. They gather in a bounded queue; a collector that is slow or gone costs spans, not calls.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{TraceContextExt as _, TracerProvider as _};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tokio::runtime::Handle;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::filter_fn;

use farstep_protocol::rpc::Trace;

use crate::{Extra, Service};

/// The variables that give the service a name of the operator's choice.
const NAMES: [&str; 2] = ["OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"];

/// How long one batch may take, unless `OTEL_EXPORTER_OTLP_TIMEOUT` says less. Later batches wait
/// in the queue, and what finds it full is dropped.
const EXPORT_MAX: Duration = Duration::from_secs(10);

/// How long the end of a program waits for the last spans.
const FLUSH_MAX: Duration = Duration::from_secs(2);

/// What sends spans away. [`Exporter::finish`] sends the last.
pub struct Exporter {
    service: Service,
    provider: SdkTracerProvider,
}

/// Why spans are not exported although somebody asked for it.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("OTEL_EXPORTER_OTLP_PROTOCOL {0:?} is not spoken here; use http/protobuf")]
    Protocol(String),
    #[error("failed to prepare the export of spans: {0}")]
    Client(#[from] reqwest::Error),
    #[error("failed to prepare the export of spans: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
}

impl Exporter {
    /// Prepares the export if a collector is named. `variable` reads the environment, and the
    /// requests are made on `runtime`.
    pub fn start(
        service: Service,
        variable: impl Fn(&str) -> Option<String>,
        runtime: Handle,
    ) -> Result<Option<Exporter>, ExportError> {
        let set = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        if !crate::names_collector(&variable) {
            return Ok(None);
        }
        let protocol = set("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
            .or_else(|| set("OTEL_EXPORTER_OTLP_PROTOCOL"));
        if let Some(other) = protocol.filter(|name| name != "http/protobuf") {
            return Err(ExportError::Protocol(other));
        }
        let client = reqwest::Client::builder()
            .timeout(EXPORT_MAX)
            // A collector that sends us elsewhere is not the one that was named.
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(OnRuntime { client, runtime })
            .build()?;
        let mut resource = Resource::builder();
        if !NAMES.iter().any(|name| set(name).is_some()) {
            resource = resource.with_service_name(service.name);
        }
        let provider = SdkTracerProvider::builder()
            .with_resource(resource.build())
            .with_batch_exporter(exporter)
            .build();
        Ok(Some(Exporter { service, provider }))
    }

    /// The part of a subscriber that gives it our spans, whatever level logs are at.
    pub fn layer(&self) -> Option<Extra> {
        let Service { name, spans } = self.service;
        let tracer: SdkTracer = self.provider.tracer(name);
        let layer = tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false);
        let ours =
            filter_fn(move |metadata| metadata.is_span() && metadata.target().starts_with(spans))
                .with_max_level_hint(tracing::Level::DEBUG);
        Some(layer.with_filter(ours).boxed())
    }

    /// Sends what is left, but not for long.
    pub async fn finish(self) {
        let provider = self.provider;
        let flushed =
            tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH_MAX));
        match tokio::time::timeout(FLUSH_MAX, flushed).await {
            Ok(Ok(Ok(()))) => {}
            _ => tracing::warn!("the last spans did not reach the collector"),
        }
    }
}

/// Makes the requests of the exporter's own thread where sockets are served.
#[derive(Debug)]
struct OnRuntime {
    client: reqwest::Client,
    runtime: Handle,
}

impl HttpClient for OnRuntime {
    fn send_bytes<'this, 'sent>(
        &'this self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'sent>>
    where
        'this: 'sent,
        Self: 'sent,
    {
        let client = self.client.clone();
        let sending = self
            .runtime
            .spawn(async move { client.send_bytes(request).await });
        Box::pin(async move { sending.await? })
    }
}

pub(crate) fn set_parent(span: &Span, trace: &Trace) {
    let parts = [
        ("traceparent", &trace.traceparent),
        ("tracestate", &trace.tracestate),
    ];
    let carrier: HashMap<String, String> = parts
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value.clone()?)))
        .collect();
    let parent = TraceContextPropagator::new().extract(&carrier);
    // Without a collector there is nobody to set it for.
    let _ = span.set_parent(parent);
}

pub(crate) fn trace_of(span: &Span) -> Option<Trace> {
    if span.is_none() {
        return None;
    }
    let context = span.context();
    if !context.span().span_context().is_valid() {
        return None;
    }
    let mut carrier = HashMap::new();
    TraceContextPropagator::new().inject_context(&context, &mut carrier);
    let state = carrier.remove("tracestate").filter(|it| !it.is_empty());
    Some(Trace {
        traceparent: Some(carrier.remove("traceparent")?),
        tracestate: state,
    })
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exporter")
    }
}
