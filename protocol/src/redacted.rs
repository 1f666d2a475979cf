//! `Debug` for what holds contents: names and sizes, so that no slip of a log statement, a panic or
//! a failed test prints an environment, an argument, input, output or a file (`security` SR-70).
//!
//! The types are listed here, in one place, and not where they are defined: whoever adds one that
//! holds contents finds what it has to do in the list, and a test finds who forgot.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use crate::method::fs::{ReadBlockResult, ReadFileResult, WriteBlockParams, WriteFileParams};
use crate::method::http::{
    BodyDeltaParams, RequestHeader, RequestParams, RequestResult, ResponseHeader,
};
use crate::method::process::{EnvPolicy, OutputParams, ReadChunk, StartParams, WriteParams};
use crate::output::{Body, Chunk};
use crate::rpc::{Message, Params};

/// Something whose size may be told and nothing else.
trait Secret {
    fn size(&self) -> usize;
}

impl Secret for Cow<'_, str> {
    fn size(&self) -> usize {
        self.len()
    }
}

impl Secret for Vec<String> {
    fn size(&self) -> usize {
        self.len()
    }
}

impl Secret for String {
    fn size(&self) -> usize {
        self.len()
    }
}

impl Secret for Vec<RequestHeader> {
    fn size(&self) -> usize {
        self.len()
    }
}

impl Secret for Vec<ResponseHeader> {
    fn size(&self) -> usize {
        self.len()
    }
}

impl<S: Secret> Secret for Option<S> {
    fn size(&self) -> usize {
        self.as_ref().map_or(0, Secret::size)
    }
}

impl Secret for BTreeMap<String, String> {
    fn size(&self) -> usize {
        self.len()
    }
}

/// Stands for a secret.
struct Hidden(usize);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", self.0)
    }
}

/// `redacted!(Type { shown, members } hides { secret, members })`
macro_rules! redacted {
    ($($type:ident $(<$life:lifetime>)? { $($shown:ident),* } hides { $($secret:ident),* })*) => {
        $(impl fmt::Debug for $type $(<$life>)? {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($type))
                    $(.field(stringify!($shown), &self.$shown))*
                    $(.field(stringify!($secret), &Hidden(Secret::size(&self.$secret))))*
                    .finish_non_exhaustive()
            }
        })*
    };
}

redacted! {
    BodyDeltaParams<'_> { request_id, seq, done } hides { delta_base64 }
    RequestHeader { name, value_env_var } hides { value }
    RequestParams<'_> { method, request_id, timeout_ms, redirect_policy, stream_response }
        hides { url, headers, body_base64 }
    RequestResult<'_> { status } hides { headers, body_base64 }
    ResponseHeader { name } hides { value }
    StartParams { process_id, cwd, env_policy, tty, pipe_stdin } hides { argv, env }
    EnvPolicy { inherit, ignore_default_excludes, exclude, include_only } hides { set }
    OutputParams<'_> { process_id, seq, stream } hides { chunk }
    ReadChunk<'_> { seq, stream } hides { chunk }
    WriteParams<'_> { process_id, write_id } hides { chunk }
    ReadFileResult<'_> { } hides { data_base64 }
    ReadBlockResult<'_> { eof, zeros } hides { chunk }
    WriteFileParams<'_> { path, follow_symlinks } hides { data_base64 }
    WriteBlockParams<'_> { handle_id, offset } hides { chunk }
}

impl<B: Body> fmt::Debug for Chunk<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunk")
            .field("seq", &self.seq)
            .field("stream", &self.stream)
            .field("bytes", &Hidden(self.bytes.size()))
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Message::Request(request) => f.debug_tuple("Request").field(request).finish(),
            Message::Notification { method, params } => f
                .debug_struct("Notification")
                .field("method", method)
                .field("params", params)
                .finish(),
            Message::Reply { id, outcome } => f
                .debug_struct("Reply")
                .field("id", id)
                .field("outcome", &outcome.as_ref().map(|text| Hidden(text.len())))
                .finish(),
        }
    }
}

impl fmt::Debug for Params<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = self.text().map(str::len);
        f.debug_tuple("Params").field(&size.map(Hidden)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_holds_names_and_sizes() {
        let text = r#"{"processId":"p","argv":["sh","secret"],"cwd":"file:///","tty":false,
            "env":{"A":"secret"},"envPolicy":{"inherit":"all","ignoreDefaultExcludes":true,
            "exclude":[],"set":{"B":"secret"},"includeOnly":[]},"arg0":"secret",
            "managedNetwork":"secret"}"#;
        let start: StartParams = serde_json::from_str(text).unwrap();
        let printed = format!("{start:?}");
        assert!(!printed.contains("secret"), "{printed}");
        assert!(printed.contains("argv: <2>, env: <1>"), "{printed}");

        let write = r#"{"processId":"p","chunk":"c2VjcmV0","writeId":"w"}"#;
        let write: WriteParams<'_> = serde_json::from_str(write).unwrap();
        let wanted = r#"WriteParams { process_id: "p", write_id: "w", chunk: <8>, .. }"#;
        assert_eq!(format!("{write:?}"), wanted);
    }
}
