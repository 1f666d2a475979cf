use super::*;
use crate::audit::{Audit, Place, Settings, verify};

/// The records of one executor, without what differs from run to run.
fn records(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    let record = |line: &str| {
        let mut record: Value = serde_json::from_str(line).unwrap();
        let members = record.as_object_mut().unwrap();
        for name in ["t", "seq", "pid", "prev", "argv_sha256"] {
            assert!(members.remove(name).is_some() || name == "argv_sha256");
        }
        record
    };
    text.lines().map(record).collect()
}

async fn finished(server: Arc<Server>, peer: Peer) {
    drop(peer.wire);
    peer.served.await.unwrap();
    server.finish().await;
}

fn log(folder: &Path, change: impl FnOnce(&mut Settings)) -> (Arc<Server>, std::path::PathBuf) {
    let path = folder.join("audit.jsonl");
    let mut settings = Settings::on();
    settings.place = Place::At(path.clone());
    change(&mut settings);
    let audit = Audit::start(&settings, None).unwrap();
    (Server::audited_for_tests(audit), path)
}

#[tokio::test]
async fn what_a_session_does_is_recorded_with_names_and_sizes_only() {
    let folder = tempfile::tempdir().unwrap();
    let (server, path) = log(folder.path(), |_| {});
    let mut peer = Peer::connect(&server);
    let session = peer.handshake(None).await;
    let uri = |name: &str| format!("file://{}/{name}", folder.path().display());
    let write = json!({"path": uri("a"), "dataBase64": "c2VjcmV0IQ=="});
    peer.call("fs/writeFile", write).await.unwrap();
    let copy = json!({"sourcePath": uri("a"), "destinationPath": uri("b"), "recursive": false});
    peer.call("fs/copy", copy).await.unwrap();
    let remove = json!({"path": uri("b"), "recursive": false, "force": true});
    peer.call("fs/remove", remove).await.unwrap();
    peer.call("fs/readFile", json!({"path": uri("a")}))
        .await
        .unwrap();
    let start = json!({
        "processId": "p", "argv": ["/bin/sh", "-c", "exit 7 # secret"], "cwd": "file:///",
        "env": {"WORD": "secret"}, "tty": false, "metadata": {"toolCallId": "call-1"},
    });
    peer.call("process/start", start.clone()).await.unwrap();
    let exit = json!({"processId": "p", "afterSeq": 0, "waitMs": 60_000});
    let read = peer.call("process/read", exit).await.unwrap();
    assert_eq!(read["exitCode"], 7);
    let mut confined = start;
    confined["processId"] = json!("q");
    confined["enforceManagedNetwork"] = json!(true);
    peer.call("process/start", confined).await.unwrap_err();
    finished(server, peer).await;

    let text = std::fs::read_to_string(&path).unwrap();
    assert!(
        !text.contains("secret") && !text.contains(&session),
        "{text}"
    );
    assert!(verify(&[&path]).is_ok());
    let short = &session[..8];
    let wanted = [
        json!({"ev": "start", "version": env!("CARGO_PKG_VERSION")}),
        json!({"ev": "session.new"}),
        json!({"ev": "fs.write", "path": uri("a"), "bytes": 7}),
        json!({"ev": "fs.copy", "from": uri("a"), "to": uri("b"), "recursive": false}),
        json!({"ev": "fs.remove", "path": uri("b"), "recursive": false}),
        json!({
            "ev": "process.start", "process": "p", "argv0": "/bin/sh", "cwd": "file:///",
            "tty": false, "sandbox": "none", "env_names": ["WORD"], "tool_call": "call-1",
        }),
        json!({"ev": "process.exit", "process": "p", "code": 7}),
        json!({
            "ev": "sandbox.refused", "method": "process/start",
            "member": "enforceManagedNetwork",
        }),
        json!({"ev": "session.detach"}),
        json!({"ev": "stop"}),
    ];
    let ours = |mut record: Value| {
        let event = record["ev"].as_str().unwrap();
        if !["start", "stop"].contains(&event) {
            record["session"] = short.into();
        }
        record
    };
    assert_eq!(records(&path), wanted.map(ours));
}

#[tokio::test]
async fn arguments_and_reads_are_recorded_where_the_operator_wants_them() {
    let folder = tempfile::tempdir().unwrap();
    let (server, path) = log(folder.path(), |settings| {
        settings.argv = true;
        settings.reads = true;
    });
    let mut peer = Peer::open(&server).await;
    peer.call("fs/readFile", json!({"path": "file:///etc/none"}))
        .await
        .unwrap_err();
    let start = json!({
        "processId": "p", "argv": ["/does/not/exist", "one"], "cwd": "file:///", "env": {},
        "tty": false,
    });
    peer.call("process/start", start).await.unwrap_err();
    finished(server, peer).await;

    let found = records(&path);
    assert_eq!(found[2]["path"], "file:///etc/none");
    assert_eq!(found[3]["argv"], json!(["/does/not/exist", "one"]));
    assert_eq!(found[4]["failed_to_start"], true);
}

#[tokio::test]
async fn nothing_is_changed_that_must_be_recorded_and_cannot_be() {
    let folder = tempfile::tempdir().unwrap();
    let (server, path) = log(folder.path(), |settings| settings.required = true);
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    let mut peer = Peer::open(&server).await;
    let admitted = async {
        while server.audit().admit().is_ok() {
            tokio::task::yield_now().await
        }
    };
    tokio::time::timeout(Duration::from_secs(30), admitted)
        .await
        .unwrap();

    let file = folder.path().join("a");
    let write = json!({"path": format!("file://{}", file.display()), "dataBase64": ""});
    assert_eq!(peer.call("fs/writeFile", write).await, Err(-32603));
    let start = json!({
        "processId": "p", "argv": ["true"], "cwd": "file:///", "env": {}, "tty": false,
    });
    assert_eq!(peer.call("process/start", start).await, Err(-32603));
    assert!(!file.exists());
    peer.call("environment/status", json!({})).await.unwrap();
}
