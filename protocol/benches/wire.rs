//! What a message costs to make and to read, and output to retain: `just bench`.
//!
//! Each has its counterpart the plain way, by serde alone, so that the gain shows in one run.

use bytes::Bytes;
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use farstep_protocol::frame;
use farstep_protocol::method::fs::PathParams;
use farstep_protocol::method::process::OutputStream;
use farstep_protocol::output::{Limits, OutputLog};
use farstep_protocol::rpc::{self, Message, RequestId};
use serde_json::json;

fn main() {
    divan::main();
}

/// A line, a read of a pipe, a block of a file.
const SIZES: [usize; 3] = [200, 8 << 10, 128 << 10];

fn content(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at * 31) as u8).collect()
}

#[divan::bench(args = SIZES)]
fn output_frame(bencher: Bencher<'_, '_>, size: usize) {
    let bytes = content(size);
    let mut out = String::new();
    bencher.counter(BytesCount::new(size)).bench_local(|| {
        out.clear();
        frame::process_output(&mut out, "p", 7, OutputStream::Stdout, black_box(&bytes));
        black_box(out.len())
    });
}

#[divan::bench(args = SIZES)]
fn output_frame_by_serde(bencher: Bencher<'_, '_>, size: usize) {
    let bytes = content(size);
    bencher.counter(BytesCount::new(size)).bench_local(|| {
        let chunk = base64_simd::STANDARD.encode_to_string(black_box(&bytes));
        let message = json!({"method": "process/output",
            "params": {"processId": "p", "seq": 7, "stream": "stdout", "chunk": chunk}});
        black_box(message.to_string().len())
    });
}

#[divan::bench(args = SIZES)]
fn base64_decoded(bencher: Bencher<'_, '_>, size: usize) {
    let text = base64_simd::STANDARD.encode_to_string(content(size));
    bencher
        .counter(BytesCount::new(size))
        .bench_local(|| frame::read_base64(black_box(&text)));
}

fn request() -> String {
    let mut text = String::new();
    let params = json!({"path": "file:///srv/app/src/main.rs", "sandbox": null});
    frame::request(&mut text, &RequestId::Number(41), "fs/getMetadata", &params);
    text
}

#[divan::bench]
fn request_parsed(bencher: Bencher<'_, '_>) {
    let (text, limits) = (request(), rpc::Limits::default());
    bencher.bench_local(|| match rpc::parse(black_box(&text), &limits) {
        Ok(Message::Request(request)) => request.params.parse::<PathParams>().is_ok(),
        _ => false,
    });
}

#[divan::bench]
fn request_parsed_as_a_tree(bencher: Bencher<'_, '_>) {
    let text = request();
    bencher.bench_local(|| {
        let tree: serde_json::Value = serde_json::from_str(black_box(&text)).unwrap_or_default();
        serde_json::from_value::<PathParams>(tree["params"].clone()).is_ok()
    });
}

/// Pushed, taken by a connection that keeps up, and evicted in the end.
#[divan::bench(args = SIZES)]
fn output_retained(bencher: Bencher<'_, '_>, size: usize) {
    let bytes = Bytes::from(content(size));
    let mut log = OutputLog::new(Limits::default());
    bencher.counter(BytesCount::new(size)).bench_local(|| {
        log.push(OutputStream::Stdout, bytes.clone());
        black_box(log.take())
    });
}
