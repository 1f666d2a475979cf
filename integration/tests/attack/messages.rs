//! Single messages that are not what they should be (SR-20, SR-21, SR-22).

use anyhow::{Context as _, Result, ensure};
use farstep_integration::{Lab, Wire};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};

use crate::{MIB, is_served};

const MALFORMED: i64 = -32600;

/// The code that answers a text without an id that could be read.
async fn answer_to(wire: &mut Wire, text: &str) -> Result<i64> {
    wire.send_text(text).await?;
    let outcome = wire.reply(-1).await?;
    Ok(outcome.err().context("it was not refused")?.code)
}

#[tokio::test]
async fn a_malformed_message_is_answered_and_disturbs_nobody() -> Result<()> {
    let lab = Lab::new()?;
    let executor = lab.executor("far").await?;
    let (mut other, _) = Wire::open(&executor.url).await?;
    let (mut wire, _) = Wire::open(&executor.url).await?;
    let lone = r#"{"id":1,"method":"environment/status","x":"\ud800","\ud800":1}"#;
    let texts = [
        "",
        " ",
        "{",
        "}",
        "nonsense",
        "[]",
        "[{}]",
        "1",
        "null",
        "\"a\"",
        "{}",
        "{]}",
        "\u{feff}{}",
        "{\"id\":1}",
        "{\"id\":null,\"method\":\"m\"}",
        "{\"id\":1.0,\"method\":\"m\"}",
        "{\"id\":1e3,\"method\":\"m\"}",
        "{\"id\":{},\"method\":\"m\"}",
        "{\"id\":1,\"method\":7}",
        "{\"id\":99999999999999999999,\"method\":\"m\"}",
        "{\"id\":1,\"method\":\"m\",\"trace\":1}",
        "{\"id\":1,\"method\":\"m\"}{}",
        "{\"id\":1,\"id\":2,\"method\":\"m\"}",
        "{\"id\":1,\"method\":\"m\",\"params\":{\"a\":1,\"\\u0061\":2}}",
        "{\"id\":1,\"method\":\"m\",\"params\":[{\"a\":[{\"b\":1,\"b\":1}]}]}",
        "{\"id\":01,\"method\":\"m\"}",
        "{\"id\":1,\"method\":\"m\",}",
        "{\"id\":1 \"method\":\"m\"}",
        "{\"id\":1,\"method\":\"a\nb\"}",
        "{\"id\":1,\"method\":\"\\x\"}",
        lone,
    ];
    for text in texts {
        ensure!(answer_to(&mut wire, text).await? == MALFORMED, "{text:?}");
    }
    is_served(&mut wire).await?;
    is_served(&mut other).await
}

#[tokio::test]
async fn what_is_no_text_is_malformed_too() -> Result<()> {
    let lab = Lab::new()?;
    let executor = lab.executor("far").await?;
    let (wire, _) = Wire::open(&executor.url).await?;
    let (mut out, mut from) = wire.split();
    out.send(Message::binary(vec![0xff, 0xfe])).await?;
    let status = r#"{"id":"after","method":"environment/status"}"#;
    out.send(Message::binary(status.as_bytes().to_vec()))
        .await?;
    for id in [json!(-1), json!("after")] {
        let message = from.next().await.context("it ended")??;
        let answer: Value = serde_json::from_str(message.to_text()?)?;
        ensure!(answer["id"] == id, "{answer}");
    }
    Ok(())
}

#[tokio::test]
async fn nesting_and_the_number_of_values_are_bounded_to_the_one() -> Result<()> {
    let lab = Lab::new()?;
    let executor = lab.executor("far").await?;
    let (mut wire, _) = Wire::open(&executor.url).await?;
    // The message itself is one container and holds three values beside the member.
    let nested = |depth: usize| {
        let (open, close) = ("[".repeat(depth - 1), "]".repeat(depth - 1));
        format!(r#"{{"id":-1,"method":"environment/status","x":{open}{close}}}"#)
    };
    let many = |values: usize| {
        let zeros = vec!["0"; values - 4].join(",");
        format!(r#"{{"id":-1,"method":"environment/status","x":[{zeros}]}}"#)
    };
    for fits in [nested(127), many(262_144)] {
        wire.send_text(fits).await?;
        ensure!(wire.reply(-1).await?.is_ok());
    }
    for exceeds in [
        nested(128),
        many(262_145),
        nested(1_000_000),
        many(5_000_000),
    ] {
        ensure!(answer_to(&mut wire, &exceeds).await? == MALFORMED);
    }
    is_served(&mut wire).await
}

#[tokio::test]
async fn an_id_is_echoed_with_its_type_and_only_when_it_is_short() -> Result<()> {
    let lab = Lab::new()?;
    let executor = lab.executor("far").await?;
    let (mut wire, _) = Wire::open(&executor.url).await?;
    let ids = [
        json!(i64::MIN),
        json!(i64::MAX),
        json!(0),
        json!(""),
        json!("0"),
        json!("\u{0}\u{1f600}\""),
        json!("x".repeat(1024)),
    ];
    for id in ids {
        wire.send(&json!({"id": id, "method": "environment/status"}))
            .await?;
        let answer = wire.arrival().await?.context("it ended")?;
        ensure!(
            answer["id"] == id && answer["result"]["status"] == "ready",
            "{answer}"
        );
    }
    for long in ["x".repeat(1025), "x".repeat(1_000_000), "é".repeat(513)] {
        let message = json!({"id": long, "method": "environment/status"}).to_string();
        ensure!(answer_to(&mut wire, &message).await? == MALFORMED);
    }
    Ok(())
}

#[tokio::test]
async fn unknown_methods_and_members_do_no_harm_and_nothing_long_is_sent_back() -> Result<()> {
    let lab = Lab::new()?;
    let executor = lab.executor("far").await?;
    let (mut wire, _) = Wire::open(&executor.url).await?;
    let extra = json!({"id": 1000, "method": "environment/status", "jsonrpc": 7, "result": 1, "error": [],
        "params": null, "unknown": {"deep": [1, {"a": null}]}});
    wire.send(&extra).await?;
    ensure!(wire.reply(1000).await? == Ok(json!({"status": "ready"})));
    let long = "m".repeat(1_000_000);
    let refusals = [
        ("no/such", json!({}), -32601),
        ("", json!({}), -32601),
        (&*long, json!({}), -32601),
        ("process/read", json!({"processId": long}), -32600),
        (
            "process/signal",
            json!({"processId": "p", "signal": long}),
            -32602,
        ),
        ("process/start", json!({"processId": long}), -32602),
        ("fs/readFile", json!({"path": long}), -32602),
        (
            "fs/readFile",
            json!({"path": format!("file:///{long}")}),
            -32602,
        ),
        (
            "fs/readBlock",
            json!({"handleId": long, "offset": 0, "len": 1}),
            -32600,
        ),
    ];
    for (method, params, code) in refusals {
        let refusal = wire
            .call(method, params)
            .await?
            .err()
            .context("it was not refused")?;
        let method: String = method.chars().take(20).collect();
        ensure!(refusal.code == code, "{method}: {}", refusal.code);
        ensure!(
            refusal.message.len() < 20_000,
            "{method}: {} bytes",
            refusal.message.len()
        );
    }
    is_served(&mut wire).await
}

#[tokio::test]
async fn a_message_of_64_mib_is_served_and_a_larger_one_ends_its_connection_only() -> Result<()> {
    let lab = Lab::new()?;
    let executor = lab.executor("far").await?;
    let (mut other, _) = Wire::open(&executor.url).await?;
    let head = r#"{"id":7,"method":"environment/status","x":""#;
    for (bytes, fits) in [(64 * MIB, true), (64 * MIB + 1, false)] {
        let (wire, _) = Wire::open(&executor.url).await?;
        let (mut out, mut from) = wire.split();
        let padding = usize::try_from(bytes)? - head.len() - 2;
        let text = format!("{head}{}\"}}", "x".repeat(padding)).into_bytes();
        // In frames of 8 MiB; the last one is shorter.
        let pieces: Vec<&[u8]> = text.chunks(8 << 20).collect();
        for (at, piece) in pieces.iter().enumerate() {
            let kind = if at == 0 { Data::Text } else { Data::Continue };
            let is_last = at + 1 == pieces.len();
            let frame = Frame::message(piece.to_vec(), OpCode::Data(kind), is_last);
            if out.send(Message::Frame(frame)).await.is_err() {
                ensure!(!fits, "it was refused early");
            }
        }
        match from.next().await {
            Some(Ok(Message::Text(text))) => ensure!(fits && text.contains("ready"), "{text}"),
            Some(Ok(Message::Close(Some(why)))) => {
                ensure!(!fits && why.code == CloseCode::Policy, "{why}")
            }
            // The reason may be lost with what was still being sent.
            gone => ensure!(!fits, "{gone:?}"),
        }
    }
    is_served(&mut other).await
}

#[tokio::test]
async fn a_length_that_is_only_declared_costs_nothing() -> Result<()> {
    const CONNECTIONS: u64 = 60;
    let lab = Lab::new()?;
    let executor = lab.executor("far").await?;
    let (mut other, _) = Wire::open(&executor.url).await?;
    let before = executor.memory()?.now;
    let address = executor.url.trim_start_matches("ws://").to_owned();
    let mut parked = Vec::new();
    for length in (0..CONNECTIONS).map(|at| if at % 2 == 0 { 16 * MIB } else { u64::MAX >> 1 }) {
        let mut socket = TcpStream::connect(&address).await?;
        let upgrade = format!(
            "GET / HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        socket.write_all(upgrade.as_bytes()).await?;
        let mut answer = [0; 1024];
        let read = socket.read(&mut answer).await?;
        ensure!(answer[..read].starts_with(b"HTTP/1.1 101"), "no upgrade");
        let mut frame = vec![0x81, 0x80 | 127];
        frame.extend(length.to_be_bytes());
        frame.extend([0; 4]);
        frame.extend([b'x'; 100]);
        socket.write_all(&frame).await?;
        parked.push(socket);
    }
    for _ in 0..20 {
        is_served(&mut other).await?;
    }
    let grown = executor.memory()?.at_most.saturating_sub(before);
    ensure!(
        grown < CONNECTIONS * MIB,
        "{grown} bytes for {CONNECTIONS} connections"
    );
    Ok(())
}
