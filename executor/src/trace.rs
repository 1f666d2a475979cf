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

#[cfg_attr(feature = "otel", path = "trace/otel.rs")]
#[cfg_attr(not(feature = "otel"), path = "trace/none.rs")]
mod export;

use farstep_protocol::rpc::Trace;
use tracing::Span;

pub use export::{ExportError, Exporter};

/// Bytes of a `traceparent` of the version we know. Later ones may only append to it.
const PARENT_BYTES: usize = 55;

/// Bytes of one a later version may send; what it appends is not handed on.
const PARENT_BYTES_MAX: usize = 256;

/// Bytes of a `tracestate`: what everybody must be able to hand on. A longer one is left out.
const STATE_BYTES_MAX: usize = 512;

/// Members of a `tracestate`, by the standard.
const STATE_MEMBERS_MAX: usize = 32;

const TRACEPARENT: &str = "TRACEPARENT";
const TRACESTATE: &str = "TRACESTATE";

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

/// A trace context that is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TraceContext {
    parent: String,
    state: Option<String>,
}

/// What came of a request's trace context.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Read {
    /// Whatever can be used.
    pub(crate) context: Option<TraceContext>,
    /// A part of it was wrong and is ignored.
    pub(crate) ignored: bool,
}

impl TraceContext {
    /// Reads what a peer sent. A state without a parent belongs to nothing.
    pub(crate) fn read(trace: &Trace) -> Read {
        let Some(text) = &trace.traceparent else {
            return Read {
                context: None,
                ignored: trace.tracestate.is_some(),
            };
        };
        let Some(parent) = parent(text) else {
            return Read {
                context: None,
                ignored: true,
            };
        };
        let sent = trace.tracestate.as_deref().filter(|text| !text.is_empty());
        let state = sent.filter(|text| is_state(text)).map(str::to_owned);
        Read {
            ignored: sent.is_some() && state.is_none(),
            context: Some(TraceContext { parent, state }),
        }
    }

    /// The id that all spans of the trace share.
    pub(crate) fn id(&self) -> &str {
        &self.parent[3..35]
    }

    /// Makes it the parent of a span that has not begun, if anybody collects spans.
    pub(crate) fn adopt(&self, span: &Span) {
        export::set_parent(span, self);
    }

    /// What commands of the call that `span` stands for belong to: the span if it is collected,
    /// else what the call itself belongs to.
    pub(crate) fn for_commands(span: &Span, of_call: Option<TraceContext>) -> Option<TraceContext> {
        export::context_of(span).or(of_call)
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

/// `version-trace-span-flags`, in the version we know.
fn parent(text: &str) -> Option<String> {
    let is_hex = |part: &str| {
        part.bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_zero = |part: &str| part.bytes().all(|byte| byte == b'0');
    let known = text.get(..PARENT_BYTES)?;
    let mut parts = known.split('-');
    let (version, trace, span, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let lengths = [version.len(), trace.len(), span.len(), flags.len()];
    let is_good = parts.next().is_none()
        && lengths == [2, 32, 16, 2]
        && [version, trace, span, flags].into_iter().all(is_hex)
        && version != "ff"
        && !is_zero(trace)
        && !is_zero(span);
    let rest = &text[PARENT_BYTES..];
    let is_ended = if version == "00" {
        rest.is_empty()
    } else {
        text.len() <= PARENT_BYTES_MAX && (rest.is_empty() || rest.starts_with('-'))
    };
    (is_good && is_ended).then(|| format!("00-{trace}-{span}-{flags}"))
}

/// A list of `key=value`, printable and not too long. Vendors give the parts their meaning.
fn is_state(text: &str) -> bool {
    let is_key = |key: &str| {
        (1..=256).contains(&key.len())
            && key.bytes().all(|byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/@".contains(&byte)
            })
    };
    let is_value = |value: &str| {
        (1..=256).contains(&value.len())
            && value
                .bytes()
                .all(|byte| matches!(byte, b' '..=b'~') && !b",=".contains(&byte))
    };
    let mut members = 0;
    text.len() <= STATE_BYTES_MAX
        && text.split(',').all(|member| {
            // Spaces around a member, and empty ones, are allowed.
            let member = member.trim_matches([' ', '\t']);
            members += 1;
            let is_good = member
                .split_once('=')
                .is_some_and(|(key, value)| is_key(key) && is_value(value));
            members <= STATE_MEMBERS_MAX && (member.is_empty() || is_good)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn read(parent: Option<&str>, state: Option<&str>) -> Read {
        TraceContext::read(&Trace {
            traceparent: parent.map(str::to_owned),
            tracestate: state.map(str::to_owned),
        })
    }

    fn good(state: Option<&str>) -> TraceContext {
        TraceContext {
            parent: PARENT.to_owned(),
            state: state.map(str::to_owned),
        }
    }

    #[test]
    fn a_good_context_is_taken_as_it_is() {
        for state in [
            None,
            Some("a=1"),
            Some("rojo=00f067aa0ba902b7, congo@x=t61~ b"),
        ] {
            let found = read(Some(PARENT), state);
            let context = Some(good(state));
            assert_eq!(
                found,
                Read {
                    context,
                    ignored: false
                }
            );
        }
        assert_eq!(good(None).id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(read(None, None), Read::default());
    }

    #[test]
    fn a_parent_that_is_none_is_ignored() {
        let zero_trace = format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32));
        let zero_span = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{}-01", "0".repeat(16));
        let long = format!("01{}-{}", &PARENT[2..], "x".repeat(PARENT_BYTES_MAX));
        let bad = [
            "",
            "00",
            &PARENT[..54],
            &PARENT.to_uppercase(),
            &PARENT.replace("00-4", "ff-4"),
            &PARENT.replace("-01", "-0x"),
            &PARENT.replace("a3c", "a-c"),
            &format!("{PARENT}-more"),
            &format!("{PARENT}\n"),
            &format!(" {PARENT}"),
            &PARENT.replace('4', "é"),
            &zero_trace,
            &zero_span,
            &long,
        ];
        let ignored = Read {
            context: None,
            ignored: true,
        };
        for parent in bad {
            assert_eq!(read(Some(parent), Some("a=1")), ignored, "{parent}");
        }
        assert_eq!(read(None, Some("a=1")), ignored);
    }

    #[test]
    fn a_later_version_is_read_as_the_one_we_know() {
        for later in ["cc", "01"] {
            for rest in ["", "-what comes then"] {
                let parent = format!("{later}{}{rest}", &PARENT[2..]);
                assert_eq!(read(Some(&parent), None).context, Some(good(None)));
            }
            let parent = format!("{later}{}.", &PARENT[2..]);
            assert!(read(Some(&parent), None).ignored);
        }
    }

    #[test]
    fn a_state_that_is_none_is_left_out_and_the_parent_kept() {
        let many = ["a=1"; STATE_MEMBERS_MAX + 1].join(",");
        let long = format!("a={},b={}", "x".repeat(256), "x".repeat(256));
        let bad = [
            "a", "=1", "a=", "A=1", "a=1\n", "a=\u{7f}", "a=b=c", "a=é", &many, &long,
        ];
        for state in bad {
            let wanted = Read {
                context: Some(good(None)),
                ignored: true,
            };
            assert_eq!(read(Some(PARENT), Some(state)), wanted, "{state}");
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
