//! Frames built by hand against frames built by serde, and read back.

#![no_main]

use arbitrary::Arbitrary;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use farstep_protocol::frame;
use farstep_protocol::method::process::{OutputParams, OutputStream, WriteParams};
use farstep_protocol::rpc::{ErrorCode, Limits, Message, RequestId, RpcError, parse};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

#[derive(Arbitrary, Debug)]
struct Parts<'a> {
    number: Option<i64>,
    text: &'a str,
    name: &'a str,
    seq: u64,
    stream: u8,
    eof: bool,
    bytes: &'a [u8],
}

fuzz_target!(|parts: Parts<'_>| {
    let Parts {
        text,
        name,
        seq,
        bytes,
        eof,
        ..
    } = parts;
    let id = parts
        .number
        .map_or_else(|| RequestId::Text(text.into()), RequestId::Number);
    let stream = [
        OutputStream::Stdout,
        OutputStream::Stderr,
        OutputStream::Pty,
    ][usize::from(parts.stream) % 3];
    let chunk = STANDARD.encode(bytes);

    let params = json!({"processId": name, "seq": seq, "stream": stream, "chunk": chunk});
    let built = build(|out| frame::process_output(out, name, seq, stream, bytes));
    same(
        &built,
        json!({"method": "process/output", "params": params}),
    );
    let Ok(Message::Notification { params, .. }) = parse(&built, &Limits::default()) else {
        panic!("{built}");
    };
    let read: OutputParams<'_> = params.parse().expect("what we build we read");
    assert_eq!(
        (&*read.process_id, read.seq, read.stream),
        (name, seq, stream)
    );
    assert_eq!(frame::read_base64(&read.chunk).as_deref(), Some(bytes));

    same(
        &build(|out| frame::read_chunk(out, seq, stream, bytes)),
        json!({"seq": seq, "stream": stream, "chunk": chunk}),
    );
    same(
        &build(|out| frame::read_file_reply(out, &id, bytes)),
        json!({"id": id, "result": {"dataBase64": chunk}}),
    );
    same(
        &build(|out| frame::read_block_reply(out, &id, bytes, eof)),
        json!({"id": id, "result": {"chunk": chunk, "eof": eof}}),
    );
    same(
        &build(|out| frame::write_file_request(out, &id, name, bytes, None)),
        json!({"id": id, "method": "fs/writeFile", "params": {"path": name, "dataBase64": chunk, "sandbox": null}}),
    );
    let built = build(|out| frame::process_write_request(out, &id, name, text, bytes));
    same(
        &built,
        json!({"id": id, "method": "process/write", "params": {"processId": name, "chunk": chunk, "writeId": text}}),
    );
    let Ok(Message::Request(request)) = parse(&built, &Limits::default()) else {
        panic!("{built}");
    };
    let read: WriteParams<'_> = request.params.parse().expect("what we build we read");
    assert_eq!(
        (request.id, &*read.process_id, &*read.write_id),
        (id.clone(), name, text)
    );

    let error = RpcError::new(ErrorCode::InvalidRequest, text);
    same(
        &build(|out| frame::refusal(out, &id, &error)),
        json!({"id": id, "error": {"code": -32600, "message": text}}),
    );
    same(
        &build(|out| frame::notification(out, name, text)),
        json!({"method": name, "params": text}),
    );
    same(
        &build(|out| frame::request(out, &id, name, &seq)),
        json!({"id": id, "method": name, "params": seq}),
    );
});

fn build(write: impl FnOnce(&mut String)) -> String {
    let mut out = String::new();
    write(&mut out);
    out
}

/// As serde writes it, the order of members aside.
fn same(built: &str, expected: Value) {
    let read: Value = serde_json::from_str(built).expect("a frame is JSON");
    assert_eq!(read, expected);
    assert_eq!(built.len(), expected.to_string().len(), "{built}");
}
