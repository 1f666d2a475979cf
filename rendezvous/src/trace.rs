//! What a request of a registry belongs to: a trace of its caller, and a stream.
//!
//! A span stands around each answer, so what is logged on the way names them too. With the feature
//! `otel` and a collector the span continues the caller's trace.

use axum::http::{HeaderMap, Method, Request};
use farstep_protocol::relay::registry::STREAM_HEADER;
use farstep_protocol::rpc::Trace;
use tracing::Span;
use tracing::field::Empty;
use uuid::Uuid;

/// What is asked, by the end of its path.
const ACTIONS: [&str; 4] = ["register", "connect", "validate", "enroll"];

/// The span of a request; none is opened for what is no question to the registry.
pub(crate) fn span<B>(request: &Request<B>) -> Span {
    let Some(action) = action(request) else {
        return Span::none();
    };
    let span = tracing::info_span!("request", otel.name = action, action, stream = Empty);
    if let Some(stream) = stream(request.headers()) {
        span.record("stream", tracing::field::display(stream));
    }
    if let Some(trace) = trace(request.headers()) {
        farstep_telemetry::adopt(&span, &trace);
    }
    span
}

fn action<B>(request: &Request<B>) -> Option<&'static str> {
    let last = request.uri().path().rsplit('/').next()?;
    let known = ACTIONS.into_iter().find(|action| *action == last);
    known.filter(|_| request.method() == Method::POST)
}

/// The stream that a validation is about. It is only named when it is a UUID.
fn stream(headers: &HeaderMap) -> Option<Uuid> {
    Uuid::try_parse(text(headers, STREAM_HEADER)?).ok()
}

/// Checked and bounded; what is wrong is ignored, as the standard wants.
fn trace(headers: &HeaderMap) -> Option<Trace> {
    let owned = |name| text(headers, name).map(str::to_owned);
    let said = Trace {
        traceparent: owned("traceparent"),
        tracestate: owned("tracestate"),
    };
    said.checked().trace
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    #[test]
    fn a_question_to_the_registry_is_told_from_everything_else() {
        let path = "/t/acme/cloud/environment/box/validate";
        assert_eq!(action(&request("POST", path, &[])), Some("validate"));
        assert_eq!(action(&request("GET", path, &[])), None);
        assert_eq!(action(&request("POST", "/metrics", &[])), None);
    }

    #[test]
    fn what_a_caller_makes_up_is_neither_a_stream_nor_a_trace() {
        let id = "09f1cd6a-0570-47b5-b312-bb4aa134314a";
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let good = request("POST", "/", &[(STREAM_HEADER, id), ("traceparent", parent)]);
        assert_eq!(stream(good.headers()).unwrap().to_string(), id);
        let kept = trace(good.headers()).unwrap();
        assert_eq!(kept.traceparent.as_deref(), Some(parent));
        let bad = request(
            "POST",
            "/",
            &[(STREAM_HEADER, "s 1"), ("traceparent", "00-x")],
        );
        assert_eq!(stream(bad.headers()), None);
        assert_eq!(trace(bad.headers()), None);
    }
}
