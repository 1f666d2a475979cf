//! Files in blocks.

use farstep_protocol::method::fs::OpenMode;

use super::*;
use crate::client::{Block, OpenFile};

async fn opened(executor: &Executor, peer: &mut Peer, mode: OpenMode) -> (OpenFile, Value) {
    let target = path("file:///f");
    let script = async {
        let (id, params) = peer.request("fs/open").await;
        let handle = params["handleId"].clone();
        peer.reply(&id, json!({"handleId": handle})).await;
        handle
    };
    let (file, handle) = tokio::join!(executor.open(&target, mode, None), script);
    (file.expect("opened"), handle)
}

#[tokio::test]
async fn blocks_are_read_where_they_are_asked_for_and_a_handle_is_used_under_its_id() {
    let (executor, mut peer, _tasks) = connected().await;
    let (file, handle) = opened(&executor, &mut peer, OpenMode::Read).await;
    let script = async {
        let (id, params) = peer.request("fs/readBlock").await;
        // This executor announces nothing, so nothing of ours is asked for.
        assert_eq!(params, json!({"handleId": handle, "offset": 5, "len": 3}));
        peer.reply(&id, json!({"chunk": "aGk=", "eof": true})).await;
    };
    let (block, ()) = tokio::join!(file.read_block(5, 3), script);
    assert_eq!(block.expect("read"), Block::Bytes("hi".into()));
    let script = async {
        let (id, params) = peer.request("fs/close").await;
        assert_eq!(params, json!({"handleId": handle}));
        peer.reply(&id, json!({})).await;
    };
    let (closed, ()) = tokio::join!(file.close(), script);
    closed.expect("closed");
}

#[tokio::test]
async fn a_block_that_is_not_what_was_asked_for_is_no_block() {
    let (executor, mut peer, _tasks) = connected().await;
    let (file, _) = opened(&executor, &mut peer, OpenMode::Read).await;
    for (chunk, zeros) in [("aGVsbG8=", 0), ("?", 0), ("", 2), ("aGk=", 2)] {
        let script = async {
            let (id, _) = peer.request("fs/readBlock").await;
            peer.reply(
                &id,
                json!({"chunk": chunk, "eof": false, "farstepZeros": zeros}),
            )
            .await;
        };
        let (block, ()) = tokio::join!(file.read_block(0, 3), script);
        assert!(
            matches!(block, Err(CallError::Protocol { .. })),
            "{chunk:?} {zeros}: {block:?}"
        );
    }
}

#[tokio::test]
async fn blocks_are_written_in_base64_at_their_offset() {
    let (executor, mut peer, _tasks) = connected().await;
    let (file, handle) = opened(&executor, &mut peer, OpenMode::Replace).await;
    let script = async {
        let (id, params) = peer.request("fs/writeBlock").await;
        assert_eq!(
            params,
            json!({"handleId": handle, "offset": 1_u64 << 40, "chunk": "aGk="})
        );
        peer.reply(&id, json!({})).await;
    };
    let bytes = Bytes::from_static(b"hi");
    let (written, ()) = tokio::join!(file.write_block(1_u64 << 40, bytes), script);
    written.expect("written");
}
