//! W3C trace context, as a request carries it.
//!
//! Whoever hands one on checks it first: what comes from elsewhere may be anything, and ends up in
//! headers, variables and logs. What is wrong is left out, as the standard wants, because tracing
//! must never break a call.

use serde::{Deserialize, Serialize};

/// Bytes of a `traceparent` of the version we know. Later ones may only append to it.
const PARENT_BYTES: usize = 55;

/// Bytes of one a later version may send; what it appends is not handed on.
const PARENT_BYTES_MAX: usize = 256;

/// Bytes of a `tracestate`: what everybody must be able to hand on. A longer one is left out.
const STATE_BYTES_MAX: usize = 512;

/// Members of a `tracestate`, by the standard.
const STATE_MEMBERS_MAX: usize = 32;

/// W3C trace context of a request. Invalid contents are ignored, as the peer does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// The `traceparent` header's value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// The `tracestate` header's value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracestate: Option<String>,
}

/// What came of checking a trace context.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Whatever can be used: a parent in the version we know, and a state if that is one too.
    pub trace: Option<Trace>,
    /// A part of it was wrong and is left out.
    pub ignored: bool,
}

impl Trace {
    /// Keeps what is a trace context. A state without a parent belongs to nothing.
    pub fn checked(&self) -> Checked {
        let Some(text) = &self.traceparent else {
            return Checked {
                trace: None,
                ignored: self.tracestate.is_some(),
            };
        };
        let Some(parent) = parent(text) else {
            return Checked {
                trace: None,
                ignored: true,
            };
        };
        let sent = self.tracestate.as_deref().filter(|text| !text.is_empty());
        let state = sent.filter(|text| is_state(text)).map(str::to_owned);
        Checked {
            ignored: sent.is_some() && state.is_none(),
            trace: Some(Trace {
                traceparent: Some(parent),
                tracestate: state,
            }),
        }
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

    fn read(parent: Option<&str>, state: Option<&str>) -> Checked {
        let trace = Trace {
            traceparent: parent.map(str::to_owned),
            tracestate: state.map(str::to_owned),
        };
        trace.checked()
    }

    fn good(state: Option<&str>) -> Trace {
        Trace {
            traceparent: Some(PARENT.to_owned()),
            tracestate: state.map(str::to_owned),
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
            let trace = Some(good(state));
            assert_eq!(
                found,
                Checked {
                    trace,
                    ignored: false
                }
            );
        }
        assert_eq!(read(None, None), Checked::default());
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
        let ignored = Checked {
            trace: None,
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
                assert_eq!(read(Some(&parent), None).trace, Some(good(None)));
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
            let wanted = Checked {
                trace: Some(good(None)),
                ignored: true,
            };
            assert_eq!(read(Some(PARENT), Some(state)), wanted, "{state}");
        }
    }
}
