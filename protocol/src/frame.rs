//! Messages as text, built without a JSON tree.
//!
//! Bytes travel as base64 inside JSON. Sending base64 through a general JSON writer costs more
//! than encoding it, because every character is looked at for escaping. So messages that carry
//! bytes are assembled here: fixed text, SIMD base64 straight into the same buffer, fixed text.
//! Ids and names still go through serde. A property test proves the result equal to serde's.

use base64_simd::STANDARD;
use serde::Serialize;

use crate::method::http;
use crate::method::process::OutputStream;
use crate::method::sandbox::SandboxContext;
use crate::rpc::{RequestId, RpcError, Trace};

/// The reply to request `id`: any result that holds no bytes.
pub fn reply<T: Serialize + ?Sized>(out: &mut String, id: &RequestId, result: &T) {
    reply_with(out, id, |out| write_json(out, result));
}

/// The reply to request `id`, whose result `write` appends as JSON.
pub fn reply_with(out: &mut String, id: &RequestId, write: impl FnOnce(&mut String)) {
    out.push_str("{\"id\":");
    id.write_json(out);
    out.push_str(",\"result\":");
    write(out);
    out.push('}');
}

/// The refusal of request `id`.
pub fn refusal(out: &mut String, id: &RequestId, error: &RpcError) {
    out.push_str("{\"id\":");
    id.write_json(out);
    out.push_str(",\"error\":");
    write_json(out, error);
    out.push('}');
}

/// A request whose params hold no bytes.
pub fn request<T: Serialize + ?Sized>(out: &mut String, id: &RequestId, method: &str, params: &T) {
    request_with(out, id, method, |out| write_json(out, params));
}

/// A request whose params `write` appends as JSON.
pub fn request_with(
    out: &mut String,
    id: &RequestId,
    method: &str,
    write: impl FnOnce(&mut String),
) {
    out.push_str("{\"id\":");
    id.write_json(out);
    out.push_str(",\"method\":");
    write_string(out, method);
    out.push_str(",\"params\":");
    write(out);
    out.push('}');
}

/// Says where the request that was just appended comes from.
pub fn add_trace(out: &mut String, trace: &Trace) {
    // Its last byte closes it.
    if out.pop().is_some() {
        out.push_str(",\"trace\":");
        write_json(out, trace);
        out.push('}');
    }
}

/// A notification whose params hold no bytes.
pub fn notification<T: Serialize + ?Sized>(out: &mut String, method: &str, params: &T) {
    out.push_str("{\"method\":");
    write_string(out, method);
    out.push_str(",\"params\":");
    write_json(out, params);
    out.push('}');
}

/// The notification `process/output`.
pub fn process_output(
    out: &mut String,
    process_id: &str,
    seq: u64,
    stream: OutputStream,
    bytes: &[u8],
) {
    out.reserve(128 + process_id.len() + base64_len(bytes));
    out.push_str("{\"method\":\"process/output\",\"params\":{\"processId\":");
    write_string(out, process_id);
    write_chunk_members(out, seq, stream, bytes);
    out.push_str("}}");
}

/// One element of `chunks` in the result of `process/read`.
pub fn read_chunk(out: &mut String, seq: u64, stream: OutputStream, bytes: &[u8]) {
    out.reserve(64 + base64_len(bytes));
    out.push_str("{\"seq\":");
    write_unsigned(out, seq);
    out.push_str(",\"stream\":\"");
    out.push_str(stream.name());
    out.push_str("\",\"chunk\":\"");
    write_base64(out, bytes);
    out.push_str("\"}");
}

fn write_chunk_members(out: &mut String, seq: u64, stream: OutputStream, bytes: &[u8]) {
    out.push_str(",\"seq\":");
    write_unsigned(out, seq);
    out.push_str(",\"stream\":\"");
    out.push_str(stream.name());
    out.push_str("\",\"chunk\":\"");
    write_base64(out, bytes);
    out.push('"');
}

/// The result of `fs/readFile`.
pub fn read_file_reply(out: &mut String, id: &RequestId, bytes: &[u8]) {
    out.reserve(64 + base64_len(bytes));
    reply_with(out, id, |out| {
        out.push_str("{\"dataBase64\":\"");
        write_base64(out, bytes);
        out.push_str("\"}");
    });
}

/// The result of `fs/readBlock`.
pub fn read_block_reply(out: &mut String, id: &RequestId, bytes: &[u8], eof: bool) {
    out.reserve(64 + base64_len(bytes));
    reply_with(out, id, |out| {
        out.push_str("{\"chunk\":\"");
        write_base64(out, bytes);
        out.push_str(if eof {
            "\",\"eof\":true}"
        } else {
            "\",\"eof\":false}"
        });
    });
}

/// The result of `fs/readBlock`, when it is so many zeros and whoever asked wants to be told so.
pub fn read_zeros_reply(out: &mut String, id: &RequestId, zeros: u64, eof: bool) {
    reply_with(out, id, |out| {
        out.push_str("{\"chunk\":\"\",\"eof\":");
        out.push_str(if eof { "true" } else { "false" });
        out.push_str(",\"farstepZeros\":");
        write_unsigned(out, zeros);
        out.push('}');
    });
}

/// The request `fs/writeBlock`.
pub fn write_block_request(
    out: &mut String,
    id: &RequestId,
    handle_id: &str,
    offset: u64,
    bytes: &[u8],
) {
    out.reserve(128 + handle_id.len() + base64_len(bytes));
    request_with(out, id, crate::method::fs::WRITE_BLOCK, |out| {
        out.push_str("{\"handleId\":");
        write_string(out, handle_id);
        out.push_str(",\"offset\":");
        write_unsigned(out, offset);
        out.push_str(",\"chunk\":\"");
        write_base64(out, bytes);
        out.push_str("\"}");
    });
}

/// The request `fs/writeFile`.
pub fn write_file_request(
    out: &mut String,
    id: &RequestId,
    path: &str,
    bytes: &[u8],
    sandbox: Option<&SandboxContext>,
) {
    out.reserve(128 + path.len() + base64_len(bytes));
    request_with(out, id, crate::method::fs::WRITE_FILE, |out| {
        out.push_str("{\"path\":");
        write_string(out, path);
        out.push_str(",\"dataBase64\":\"");
        write_base64(out, bytes);
        out.push_str("\",\"sandbox\":");
        write_json(out, &sandbox);
        out.push('}');
    });
}

/// The request `process/write`.
pub fn process_write_request(
    out: &mut String,
    id: &RequestId,
    process_id: &str,
    write_id: &str,
    bytes: &[u8],
) {
    out.reserve(128 + process_id.len() + base64_len(bytes));
    request_with(out, id, crate::method::process::WRITE, |out| {
        out.push_str("{\"processId\":");
        write_string(out, process_id);
        out.push_str(",\"chunk\":\"");
        write_base64(out, bytes);
        out.push_str("\",\"writeId\":");
        write_string(out, write_id);
        out.push('}');
    });
}

/// Appends the reply of an [`http::REQUEST`].
pub fn http_reply(
    out: &mut String,
    id: &RequestId,
    status: u16,
    headers: &[http::ResponseHeader],
    body: &[u8],
) {
    out.reserve(128 + 64 * headers.len() + base64_len(body));
    reply_with(out, id, |out| {
        out.push_str("{\"status\":");
        write_json(out, &status);
        out.push_str(",\"headers\":");
        write_json(out, headers);
        out.push_str(",\"bodyBase64\":\"");
        write_base64(out, body);
        out.push_str("\"}");
    });
}

/// Appends a [`http::BODY_DELTA`].
pub fn http_body_delta(
    out: &mut String,
    request_id: &str,
    seq: u64,
    bytes: &[u8],
    end: Option<Result<(), &str>>,
) {
    out.reserve(128 + request_id.len() + base64_len(bytes));
    out.push_str("{\"method\":\"http/request/bodyDelta\",\"params\":{\"requestId\":");
    write_string(out, request_id);
    out.push_str(",\"seq\":");
    write_json(out, &seq);
    out.push_str(",\"deltaBase64\":\"");
    write_base64(out, bytes);
    out.push_str("\",\"done\":");
    out.push_str(if end.is_some() { "true" } else { "false" });
    out.push_str(",\"error\":");
    match end {
        Some(Err(error)) => write_string(out, error),
        Some(Ok(())) | None => out.push_str("null"),
    }
    out.push_str("}}");
}

/// Appends `bytes` as standard padded base64. Its alphabet needs no escaping in JSON.
pub fn write_base64(out: &mut String, bytes: &[u8]) {
    STANDARD.encode_append(bytes, out);
}

/// Reads standard padded base64, the only kind the wire knows. `None` when it is anything else.
pub fn read_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode_to_vec(text).ok()
}

/// Whether `text` is the base64 of some bytes.
pub fn is_base64(text: &str) -> bool {
    STANDARD.check(text.as_bytes()).is_ok()
}

/// Shows the bytes that `text` is the base64 of, piece by piece, until `visit` fails. Of a text
/// that [`is_base64`] refuses it may show some, and is `None` then.
///
/// A piece is decoded into room that stays in the processor's cache, and is used there.
pub fn visit_base64<E>(
    text: &str,
    mut visit: impl FnMut(&[u8]) -> Result<(), E>,
) -> Option<Result<(), E>> {
    let mut room = Vec::new();
    let mut is_padded = false;
    for piece in text.as_bytes().chunks(BASE64_PIECE) {
        // Only the end of the whole may be.
        if is_padded {
            return None;
        }
        room.clear();
        STANDARD.decode_append(piece, &mut room).ok()?;
        is_padded = piece.last() == Some(&b'=');
        if let Err(error) = visit(&room) {
            return Some(Err(error));
        }
    }
    Some(Ok(()))
}

/// Characters of one piece; a multiple of four, so that each stands for itself. Half as large ones
/// wrote files more slowly.
const BASE64_PIECE: usize = 256 * 1024;

/// Appends `text` as a JSON string.
pub fn write_string(out: &mut String, text: &str) {
    let plain = |byte: &u8| *byte >= 0x20 && *byte != b'"' && *byte != b'\\';
    if text.as_bytes().iter().all(plain) {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        write_json(out, text);
    }
}

/// Appends `value` as JSON.
///
/// Our own types always serialise; the one way to fail would be a map with keys that are no
/// strings, and then `null` is written so that the text stays JSON.
pub fn write_json<T: Serialize + ?Sized>(out: &mut String, value: &T) {
    match serde_json::to_string(value) {
        Ok(text) => out.push_str(&text),
        Err(_) => out.push_str("null"),
    }
}

pub(crate) fn write_integer(out: &mut String, number: i64) {
    if number < 0 {
        out.push('-');
    }
    write_unsigned(out, number.unsigned_abs());
}

/// Appends a number in decimal.
pub fn write_unsigned(out: &mut String, mut number: u64) {
    // u64::MAX has 20 digits.
    let mut digits = [b'0'; 20];
    let mut first = digits.len();
    loop {
        first -= 1;
        if let Some(digit) = digits.get_mut(first) {
            *digit = b'0' + u8::try_from(number % 10).unwrap_or_default();
        }
        number /= 10;
        if number == 0 {
            break;
        }
    }
    let text = digits.get(first..).unwrap_or_default();
    out.push_str(std::str::from_utf8(text).unwrap_or_default());
}

fn base64_len(bytes: &[u8]) -> usize {
    STANDARD.encoded_length(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn id() -> impl Strategy<Value = RequestId> {
        prop_oneof![
            any::<i64>().prop_map(RequestId::Number),
            ".*".prop_map(|text| RequestId::Text(text.into())),
        ]
    }

    fn base64(bytes: &[u8]) -> String {
        STANDARD.encode_to_string(bytes)
    }

    /// Byte for byte what serde writes; the tree below keeps no order, so texts are compared as
    /// values and the text is checked to be compact.
    fn same(text: &str, value: &Value) {
        let read: Value = serde_json::from_str(text).unwrap();
        assert_eq!(&read, value);
        assert_eq!(text.len(), value.to_string().len());
    }

    proptest! {
        #[test]
        fn frames_with_bytes_equal_what_serde_writes(
            id in id(), process in ".*", seq in any::<u64>(),
            bytes in prop::collection::vec(any::<u8>(), 0..500), write_id in ".*", eof in any::<bool>(),
        ) {
            let chunk = base64(&bytes);
            let mut out = String::new();
            process_output(&mut out, &process, seq, OutputStream::Pty, &bytes);
            same(&out, &json!({"method": "process/output", "params":
                {"processId": process, "seq": seq, "stream": "pty", "chunk": chunk}}));

            out.clear();
            read_chunk(&mut out, seq, OutputStream::Stderr, &bytes);
            same(&out, &json!({"seq": seq, "stream": "stderr", "chunk": chunk}));

            out.clear();
            read_file_reply(&mut out, &id, &bytes);
            same(&out, &json!({"id": id, "result": {"dataBase64": chunk}}));

            out.clear();
            read_block_reply(&mut out, &id, &bytes, eof);
            same(&out, &json!({"id": id, "result": {"chunk": chunk, "eof": eof}}));

            out.clear();
            read_zeros_reply(&mut out, &id, seq, eof);
            same(&out, &json!({"id": id, "result":
                {"chunk": "", "eof": eof, "farstepZeros": seq}}));

            out.clear();
            write_block_request(&mut out, &id, &process, seq, &bytes);
            same(&out, &json!({"id": id, "method": "fs/writeBlock", "params":
                {"handleId": process, "offset": seq, "chunk": chunk}}));

            out.clear();
            let header = http::ResponseHeader { name: "x".to_owned(), value: process.clone() };
            http_reply(&mut out, &id, 404, std::slice::from_ref(&header), &bytes);
            same(&out, &json!({"id": id, "result":
                {"status": 404, "headers": [header], "bodyBase64": chunk}}));

            out.clear();
            let end = eof.then_some(Err(&*process));
            http_body_delta(&mut out, &process, seq, &bytes, end);
            same(&out, &json!({"method": "http/request/bodyDelta", "params":
                {"requestId": process, "seq": seq, "deltaBase64": chunk, "done": eof,
                 "error": eof.then_some(&process)}}));

            out.clear();
            write_file_request(&mut out, &id, &process, &bytes, None);
            same(&out, &json!({"id": id, "method": "fs/writeFile", "params":
                {"path": process, "dataBase64": chunk, "sandbox": null}}));

            out.clear();
            process_write_request(&mut out, &id, &process, &write_id, &bytes);
            same(&out, &json!({"id": id, "method": "process/write", "params":
                {"processId": process, "chunk": chunk, "writeId": write_id}}));
        }

        #[test]
        fn base64_that_was_written_reads_back(bytes in prop::collection::vec(any::<u8>(), 0..5000)) {
            let mut text = String::new();
            write_base64(&mut text, &bytes);
            prop_assert_eq!(read_base64(&text), Some(bytes));
        }
    }

    #[test]
    fn numbers_are_written_in_decimal() {
        for number in [0, 7, 10, -1, i64::MAX, i64::MIN] {
            let mut out = String::new();
            write_integer(&mut out, number);
            assert_eq!(out, number.to_string());
        }
    }

    #[test]
    fn base64_is_shown_in_pieces_only_if_it_is_base64() {
        let whole = base64(&vec![7; BASE64_PIECE]);
        let (mut padded, mut foreign) = (whole.clone().into_bytes(), whole.clone().into_bytes());
        padded[BASE64_PIECE - 1] = b'=';
        foreign[BASE64_PIECE + 9] = b'-';
        for (text, is_sound) in [
            (whole.as_str(), true),
            (&whole[..whole.len() - 1], false),
            (std::str::from_utf8(&padded).unwrap(), false),
            (std::str::from_utf8(&foreign).unwrap(), false),
        ] {
            let mut shown = Vec::new();
            let visited = visit_base64(text, |piece| {
                shown.extend_from_slice(piece);
                Ok::<(), ()>(())
            });
            assert_eq!((visited.is_some(), is_base64(text)), (is_sound, is_sound));
            assert!(!is_sound || shown == vec![7; BASE64_PIECE]);
        }
    }

    #[test]
    fn only_padded_standard_base64_is_read() {
        assert_eq!(read_base64("+/A="), Some(vec![0xfb, 0xf0]));
        for text in ["-_A=", "+/A", "+/A=\n", "a", "=", "+/B=", " "] {
            assert_eq!(read_base64(text), None, "{text:?}");
        }
    }
}
