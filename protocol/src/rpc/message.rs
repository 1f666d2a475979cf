//! Messages: what arrived, told apart, with its params still unread.

use std::borrow::Cow;

use serde::Deserialize;

use super::scan::{Limits, Long, Malformed, members};
use super::trace::Trace;
use super::{ErrorCode, RequestId, RpcError};

/// A message as it arrived, borrowing from its text.
pub enum Message<'a> {
    /// Wants exactly one reply.
    Request(Request<'a>),
    /// Wants none.
    Notification {
        /// What happened.
        method: Cow<'a, str>,
        /// Its details.
        params: Params<'a>,
    },
    /// The reply to a request of ours, or its refusal.
    Reply {
        /// The id our request carried.
        id: RequestId,
        /// The result as JSON text, or the error.
        outcome: Result<&'a str, RpcError>,
    },
}

/// A request that wants its one reply.
#[derive(Debug)]
pub struct Request<'a> {
    /// To be echoed in the reply.
    pub id: RequestId,
    /// What is wanted.
    pub method: Cow<'a, str>,
    /// Its details.
    pub params: Params<'a>,
    /// Where the request comes from, if its sender traces.
    pub trace: Option<Trace>,
}

/// The params of a request or notification as JSON text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Params<'a> {
    text: Option<&'a str>,
    long: Option<Long<'a>>,
}

impl<'a> Params<'a> {
    /// Parses them into their type. Absent params count as `null`.
    pub fn parse<T: Deserialize<'a>>(self) -> Result<T, RpcError> {
        typed(self.text.unwrap_or("null"))
    }

    /// Parses them into their type when one of them, `name`, may be long: a long string is not read
    /// again but put into `field` as it is. `rest` holds the others.
    pub fn parse_around<'s, T: Deserialize<'s>>(
        self,
        rest: &'s mut String,
        name: &str,
        field: impl FnOnce(&mut T) -> &mut Cow<'s, str>,
    ) -> Result<T, RpcError>
    where
        'a: 's,
    {
        let cut = self.long.filter(|long| long.name == name).and_then(|long| {
            let text = self.text?;
            let (before, behind) = (text.get(..long.start)?, text.get(long.end..)?);
            Some((before, text.get(long.start..long.end)?, behind))
        });
        let Some((before, long, behind)) = cut else {
            return self.parse();
        };
        rest.clear();
        rest.push_str(before);
        rest.push_str(behind);
        let mut parsed = typed(rest)?;
        *field(&mut parsed) = Cow::Borrowed(long);
        Ok(parsed)
    }

    /// Checks that a method without parameters was given none: absent, `null` or `{}`.
    pub fn none(self) -> Result<(), RpcError> {
        let text = self.text.unwrap_or("null").trim();
        let is_empty_object = text
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'))
            .is_some_and(|inside| inside.trim().is_empty());
        if text == "null" || is_empty_object {
            return Ok(());
        }
        Err(RpcError::new(
            ErrorCode::InvalidParams,
            "invalid params: this method takes none",
        ))
    }

    /// The JSON text, if there is any.
    pub fn text(self) -> Option<&'a str> {
        self.text
    }
}

fn typed<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, RpcError> {
    serde_json::from_str(text).map_err(|error| {
        let shape = shape(&error.to_string());
        RpcError::new(ErrorCode::InvalidParams, format!("invalid params: {shape}"))
    })
}

/// Reads one message. The text of params and results stays unparsed, but is known to be JSON
/// within `limits`.
pub fn parse<'a>(text: &'a str, limits: &Limits) -> Result<Message<'a>, Malformed> {
    let members = members(text, limits)?;
    let id = match members.id {
        Some(text) => Some(RequestId::from_json(text).ok_or(Malformed::NotAnEnvelope(
            "id must be a 64-bit integer or a string of at most 1 KiB",
        ))?),
        None => None,
    };
    if let Some(method) = members.method {
        let method = string(method).ok_or(Malformed::NotAnEnvelope("method must be a string"))?;
        let params = Params {
            text: members.params,
            long: members.long,
        };
        let trace = members.trace.map(trace).transpose()?.flatten();
        return Ok(match id {
            Some(id) => Message::Request(Request {
                id,
                method,
                params,
                trace,
            }),
            None => Message::Notification { method, params },
        });
    }
    let id = id.ok_or(Malformed::NotAnEnvelope("neither method nor id"))?;
    let outcome = match (members.result, members.error) {
        (Some(result), _) => Ok(result),
        (None, Some(error)) => Err(serde_json::from_str(error).map_err(|_| {
            Malformed::NotAnEnvelope("error must be an object with code and message")
        })?),
        (None, None) => {
            return Err(Malformed::NotAnEnvelope("neither method, result nor error"));
        }
    };
    Ok(Message::Reply { id, outcome })
}

/// What is wrong with the shape of params, without the value that is: it may be a secret in the
/// wrong place, and errors are shown and logged by whoever gets them.
fn shape(words: &str) -> String {
    const EXPECTED: &str = ", expected ";
    for kind in ["invalid type", "invalid value", "unknown variant"] {
        if let Some(rest) = words.strip_prefix(kind)
            && let Some(at) = rest.rfind(EXPECTED)
        {
            return format!("{kind}{}", &rest[at..]);
        }
    }
    words.to_owned()
}

fn string(json: &str) -> Option<Cow<'_, str>> {
    let inside = json.strip_prefix('"')?.strip_suffix('"')?;
    if inside.contains('\\') {
        serde_json::from_str(json).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inside))
    }
}

fn trace(json: &str) -> Result<Option<Trace>, Malformed> {
    if json == "null" {
        return Ok(None);
    }
    if !json.starts_with('{') {
        return Err(Malformed::NotAnEnvelope("trace must be an object"));
    }
    Ok(serde_json::from_str(json).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Message<'_>, Malformed> {
        parse(text, &Limits::default())
    }

    fn params(text: Option<&str>) -> Params<'_> {
        Params { text, long: None }
    }

    #[test]
    fn a_request_is_told_from_a_notification_by_its_id() {
        let Ok(Message::Request(request)) =
            read(r#"{"id":7,"method":"a/b","params":{"x":1},"jsonrpc":3,"result":1}"#)
        else {
            panic!("no request");
        };
        assert_eq!(request.id, RequestId::Number(7));
        assert_eq!(request.method, "a/b");
        assert_eq!(request.params, params(Some(r#"{"x":1}"#)));
        assert!(matches!(
            read(r#"{"method":"n"}"#),
            Ok(Message::Notification {
                params: Params { text: None, .. },
                ..
            })
        ));
    }

    #[test]
    fn ids_are_strings_or_integers_of_64_bits() {
        for id in [
            "null",
            "1.0",
            "1e3",
            "-0",
            "true",
            "{}",
            "[]",
            "9223372036854775808",
        ] {
            let text = format!(r#"{{"id":{id},"method":"m"}}"#);
            assert!(read(&text).is_err(), "{id}");
        }
        for id in ["0", "-9223372036854775808", r#""""#, r#""\u0061""#] {
            let text = format!(r#"{{"id":{id},"method":"m"}}"#);
            assert!(read(&text).is_ok(), "{id}");
        }
    }

    #[test]
    fn an_id_that_is_echoed_is_short() {
        let message = |id: &str| format!(r#"{{"id":"{id}","method":"m"}}"#);
        let longest = "\\u00e9".repeat(super::super::ID_BYTES_MAX / 2);
        assert!(read(&message(&longest)).is_ok());
        assert!(read(&message(&format!("{longest}x"))).is_err());
    }

    #[test]
    fn replies_carry_a_result_or_an_error() {
        assert!(matches!(
            read(r#"{"error":{"code":-32600,"message":"no"},"id":1}"#),
            Ok(Message::Reply {
                outcome: Err(_),
                ..
            })
        ));
        assert!(matches!(
            read(r#"{"id":"x","result":null}"#),
            Ok(Message::Reply {
                outcome: Ok("null"),
                ..
            })
        ));
        assert!(read(r#"{"id":1}"#).is_err());
        assert!(read(r#"{"result":1}"#).is_err());
        assert!(read(r#"{}"#).is_err());
    }

    #[test]
    fn a_trace_that_is_no_object_is_malformed_and_bad_contents_are_ignored() {
        assert!(read(r#"{"id":1,"method":"m","trace":"x"}"#).is_err());
        let Ok(Message::Request(request)) =
            read(r#"{"id":1,"method":"m","trace":{"traceparent":3}}"#)
        else {
            panic!("no request");
        };
        assert_eq!(request.trace, None);
    }

    #[test]
    fn a_value_in_the_wrong_place_is_not_repeated() {
        #[derive(Debug, Deserialize)]
        #[expect(dead_code, reason = "only its shape matters")]
        struct Shape {
            names: Vec<String>,
            kind: Option<Kind>,
        }
        #[derive(Debug, Deserialize)]
        enum Kind {
            One,
        }
        for (text, wanted) in [
            (
                r#"{"names":"secret, expected by nobody"}"#,
                "invalid type, expected a sequence at line 1 column 37",
            ),
            (
                r#"{"names":[],"kind":"secret"}"#,
                "unknown variant, expected `One` at line 1 column 27",
            ),
            ("{}", "missing field `names` at line 1 column 2"),
        ] {
            let error = params(Some(text)).parse::<Shape>().unwrap_err();
            assert_eq!(error.message, format!("invalid params: {wanted}"));
        }
    }

    #[test]
    fn methods_without_params_take_absence_null_and_the_empty_object() {
        for text in [None, Some("null"), Some("{}"), Some("{ }")] {
            assert_eq!(params(text).none(), Ok(()));
        }
        for text in [Some("[]"), Some(r#"{"a":1}"#), Some("1")] {
            assert!(params(text).none().is_err(), "{text:?}");
        }
    }

    #[derive(Deserialize)]
    struct Shape<'a> {
        #[serde(borrow)]
        id: Cow<'a, str>,
        #[serde(borrow)]
        long: Cow<'a, str>,
    }

    fn long<'p, 'a>(params: &'p mut Shape<'a>) -> &'p mut Cow<'a, str> {
        &mut params.long
    }

    /// The id and the long string that are read, and whether the latter was cut out.
    fn around(message: &str) -> (Result<(String, String), RpcError>, bool) {
        let Ok(Message::Notification { params, .. }) = read(message) else {
            panic!("no notification: {message}");
        };
        let owned = |Shape { id, long }: Shape<'_>| (id.into_owned(), long.into_owned());
        let mut rest = String::new();
        let parsed = params.parse_around(&mut rest, "long", long).map(owned);
        let whole = params.parse().map(owned);
        assert_eq!(parsed.as_ref().ok(), whole.as_ref().ok(), "{message}");
        (parsed, !rest.is_empty())
    }

    #[test]
    fn a_long_string_is_cut_out_where_it_is_looked_for_and_nowhere_else() {
        let long = "x".repeat(5000);
        let escaped = format!("{long}\\n");
        for (members, is_cut) in [
            (format!(r#""id":"a","long":"{long}""#), true),
            (format!(r#" "long" : "{long}" , "id" : "\u0061" "#), true),
            (
                format!(r#""long":"{long}","id":"a","else":"{long}""#),
                false,
            ),
            (format!(r#""long":"short","id":"{long}""#), false),
            (format!(r#""long":"{escaped}","id":"a""#), false),
            (format!(r#""\u006cong":"{long}","id":"a""#), false),
            (
                format!(r#""id":"a","long":"short","in":{{"long":"{long}"}}"#),
                false,
            ),
        ] {
            let (parsed, was_cut) = around(&format!(r#"{{"method":"m","params":{{{members}}}}}"#));
            assert!(parsed.is_ok(), "{members}");
            assert_eq!(was_cut, is_cut, "{members}");
        }
    }

    #[test]
    fn a_long_string_outside_the_params_is_none_of_theirs() {
        let long = "x".repeat(5000);
        for message in [
            format!(
                r#"{{"trace":{{"long":"{long}"}},"method":"m","params":{{"id":"a","long":"b"}}}}"#
            ),
            format!(
                r#"{{"method":"m","params":{{"id":"a","long":"b"}},"else":{{"long":"{long}"}}}}"#
            ),
        ] {
            let (parsed, is_cut) = around(&message);
            assert_eq!(parsed, Ok(("a".into(), "b".into())));
            assert!(!is_cut);
        }
        let (refused, _) = around(&format!(r#"{{"method":"m","params":{{"long":"{long}"}}}}"#));
        assert!(refused.is_err(), "the id is missing");
    }
}
