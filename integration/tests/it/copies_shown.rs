//! What `farstep cp` says before it begins.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};
use farstep_integration::Lab;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_util::task::AbortOnDropHandle;

/// An executor that has these capabilities, is a machine of this kind, and notes what it is asked.
struct Poor {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
    _serving: AbortOnDropHandle<()>,
}

impl Poor {
    async fn serve(os: &'static str, cwd: &'static str, capabilities: Value) -> Result<Poor> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("ws://{}", listener.local_addr()?);
        let asked = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&asked);
        let info = json!({"shell": {"name": "sh", "path": "/bin/sh"}, "cwd": cwd, "platformOs": os,
            "capabilities": capabilities});
        let serving = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let _: Result<()> = converse(socket, &info, &notes).await;
            }
        });
        Ok(Poor {
            url,
            asked,
            _serving: AbortOnDropHandle::new(serving),
        })
    }
}

fn note(notes: &Mutex<Vec<String>>, method: &str) {
    let mut asked = notes.lock().unwrap_or_else(PoisonError::into_inner);
    asked.push(method.to_owned());
}

async fn converse(socket: TcpStream, info: &Value, notes: &Mutex<Vec<String>>) -> Result<()> {
    let mut wire = tokio_tungstenite::accept_async(socket).await?;
    while let Some(message) = wire.next().await {
        let Message::Text(text) = message? else {
            continue;
        };
        let request: Value = serde_json::from_str(&text)?;
        let Some(id) = request.get("id") else {
            continue;
        };
        let method = request["method"].as_str().context("no method")?;
        let result = match method {
            "initialize" => json!({"sessionId": "s", "environmentInfo": info}),
            "fs/getMetadata" => json!({"isDirectory": true, "isFile": false}),
            _ => json!({}),
        };
        note(notes, method);
        let reply = json!({"id": id, "result": result}).to_string();
        wire.send(Message::text(reply)).await?;
    }
    Ok(())
}

#[tokio::test]
async fn where_times_cannot_be_set_a_copy_that_wants_them_does_not_begin() -> Result<()> {
    let lab = Lab::new()?;
    std::fs::write(lab.path().join("file"), "content")?;
    // An older one of ours, and a stock one without a POSIX shell.
    for (os, cwd, capabilities) in [
        (
            "linux",
            "file:///srv",
            json!({"farstepFiles": true, "fileWriteStreaming": true}),
        ),
        (
            "windows",
            "file:///C:/srv",
            json!({"fileWriteStreaming": true}),
        ),
    ] {
        let poor = Poor::serve(os, cwd, capabilities).await?;
        lab.websockets(&[("poor", &poor.url)])?;
        let done = lab.run(&["cp", "-p", "file", "poor:file"]).await?;
        ensure!(done.code == Some(1), "{:?} {}", done.code, done.err());
        ensure!(
            done.err().contains("cannot set when a file was changed"),
            "{}",
            done.err()
        );
        let asked = poor.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let changes = asked.iter().find(|method| {
            let reads = [
                "initialize",
                "fs/getMetadata",
                "fs/canonicalize",
                "environment/info",
            ];
            !reads.contains(&method.as_str())
        });
        assert_eq!(changes, None, "{os}");
    }
    Ok(())
}
