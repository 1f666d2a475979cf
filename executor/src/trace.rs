//! Where a call comes from and where its commands belong: W3C trace context.
//!
//! ```text
//!   request.trace ──read──▶ TraceContext ──adopt──▶ parent of the call's span
//!                                └──────variables──▶ TRACEPARENT, TRACESTATE of its commands
//! ```
//!
//! What a peer sends is checked and bounded before anybody else sees it; what is wrong is ignored
//! and counted, as the standard wants, because tracing must never break a call. With the feature
//! `otel` and a collector the commands belong to the call's own span, else to the caller's.

use farstep_protocol::rpc::Trace;
use tracing::Span;

const TRACEPARENT: &str = "TRACEPARENT";
const TRACESTATE: &str = "TRACESTATE";

/// A trace context that is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TraceContext {
    parent: String,
    state: Option<String>,
}

impl TraceContext {
    /// Takes one that was checked.
    pub(crate) fn of(trace: Trace) -> Option<TraceContext> {
        Some(TraceContext {
            parent: trace.traceparent?,
            state: trace.tracestate,
        })
    }

    /// The id that all spans of the trace share.
    pub(crate) fn id(&self) -> &str {
        &self.parent[3..35]
    }

    /// Makes it the parent of a span that has not begun, if anybody collects spans.
    pub(crate) fn adopt(&self, span: &Span) {
        farstep_telemetry::adopt(span, &self.clone().into());
    }

    /// What commands of the call that `span` stands for belong to: the span if it is collected,
    /// else what the call itself belongs to.
    pub(crate) fn for_commands(span: &Span, of_call: Option<TraceContext>) -> Option<TraceContext> {
        farstep_telemetry::trace_of(span)
            .and_then(TraceContext::of)
            .or(of_call)
    }

    /// The variables that tell a command, unless its caller, whose names are `is_set`, did.
    pub(crate) fn variables(self, is_set: impl Fn(&str) -> bool) -> Vec<(String, String)> {
        if is_set(TRACEPARENT) || is_set(TRACESTATE) {
            // Half of one context and half of another would be a lie.
            return Vec::new();
        }
        let state = self.state.map(|state| (TRACESTATE.to_owned(), state));
        let parent = (TRACEPARENT.to_owned(), self.parent);
        [parent].into_iter().chain(state).collect()
    }
}

impl From<TraceContext> for Trace {
    fn from(context: TraceContext) -> Trace {
        Trace {
            traceparent: Some(context.parent),
            tracestate: context.state,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn good(state: Option<&str>) -> TraceContext {
        TraceContext {
            parent: PARENT.to_owned(),
            state: state.map(str::to_owned),
        }
    }

    #[test]
    fn what_a_caller_set_is_left_alone() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let both = good(Some("a=1")).variables(|_| false);
        assert_eq!(both, [pair(TRACEPARENT, PARENT), pair(TRACESTATE, "a=1")]);
        assert_eq!(good(None).variables(|_| false), [pair(TRACEPARENT, PARENT)]);
        for set in [TRACEPARENT, TRACESTATE] {
            assert_eq!(good(Some("a=1")).variables(|name| name == set), []);
        }
    }
}
