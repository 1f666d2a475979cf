use super::*;

#[tokio::test]
async fn a_read_sent_right_behind_a_write_sees_what_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut peer = Peer::open(&Server::for_tests()).await;
    // Large contents go to the pool, so only order can make the small read wait for them.
    let contents = ["QUFB".repeat(100_000), "QkJC".repeat(10)];
    for round in 0..20 {
        let path = uri(&folder.path().join(format!("f{round}")));
        for (index, content) in contents.iter().enumerate() {
            let write = json!({"path": path, "dataBase64": content});
            peer.post(&format!("w{round}.{index}"), "fs/writeFile", write)
                .await;
            let read = json!({"path": path});
            peer.post(&format!("r{round}.{index}"), "fs/readFile", read)
                .await;
        }
        for (index, content) in contents.iter().enumerate() {
            assert_eq!(
                peer.reply(&format!("w{round}.{index}")).await,
                Ok(json!({}))
            );
            let read = peer.reply(&format!("r{round}.{index}")).await;
            assert_eq!(read, Ok(json!({ "dataBase64": content })));
        }
    }
}

#[tokio::test]
async fn what_is_asked_right_behind_a_new_directory_sees_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut peer = Peer::open(&Server::for_tests()).await;
    std::fs::create_dir(folder.path().join("source")).unwrap();
    std::fs::write(folder.path().join("source/f"), "x").unwrap();
    let at = |name: &str| uri(&folder.path().join(name));
    for round in 0..20 {
        let (made, top) = (format!("m{round}"), format!("t{round}"));
        let post = [
            // A large write keeps the pool busy, so that what comes next cannot run in place.
            (
                "fs/createDirectory",
                json!({"path": at(&made), "recursive": false}),
            ),
            (
                "fs/writeFile",
                json!({"path": at(&format!("{made}/f")), "dataBase64": "QUFB".repeat(50_000)}),
            ),
            // Makes its missing parents, which are listed right behind it.
            (
                "fs/copy",
                json!({"sourcePath": at("source"), "destinationPath": at(&format!("{top}/a/b")), "recursive": true}),
            ),
            ("fs/readDirectory", json!({"path": at(&top)})),
            (
                "fs/getMetadata",
                json!({"path": at(&format!("{top}/a/b/f"))}),
            ),
            ("fs/remove", json!({"path": at(&made), "recursive": true})),
            (
                "fs/createDirectory",
                json!({"path": at(&made), "recursive": false}),
            ),
        ];
        for (index, (method, params)) in post.into_iter().enumerate() {
            peer.post(&format!("{round}.{index}"), method, params).await;
        }
        for index in 0..7 {
            let reply = peer.reply(&format!("{round}.{index}")).await;
            assert!(reply.is_ok(), "{index}: {reply:?}");
        }
    }
}

#[tokio::test]
async fn what_is_opened_right_behind_a_write_is_what_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut peer = Peer::open(&Server::for_tests()).await;
    let path = uri(&folder.path().join("f"));
    for round in 0..20_u8 {
        let content = vec![round; 400_000];
        let data = base64_simd::STANDARD.encode_to_string(&content);
        peer.post(
            "w",
            "fs/writeFile",
            json!({"path": path, "dataBase64": data}),
        )
        .await;
        peer.post(
            "o",
            "fs/open",
            json!({"handleId": "h", "path": path, "mode": "read"}),
        )
        .await;
        peer.reply("w").await.unwrap();
        peer.reply("o").await.unwrap();
        let block = json!({"handleId": "h", "offset": 399_999, "len": 10});
        let block = peer.call("fs/readBlock", block).await.unwrap();
        let last = base64_simd::STANDARD.encode_to_string([round]);
        assert_eq!(block, json!({"chunk": last, "eof": true}), "{round}");
        peer.call("fs/close", json!({"handleId": "h"}))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn files_of_any_size_arrive_whole_with_other_answers_between_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut peer = Peer::open(&Server::for_tests()).await;
    let kib = 1024;
    let sizes = [
        0,
        1,
        64 * kib + 1,
        256 * kib,
        256 * kib + 1,
        384 * kib,
        768 * kib,
        768 * kib + 2,
        3_000_001,
    ];
    let content = |size: usize| (0..size).map(|at| (at % 251) as u8).collect::<Vec<_>>();
    for size in sizes {
        std::fs::write(folder.path().join(size.to_string()), content(size)).unwrap();
        let read = json!({"path": uri(&folder.path().join(size.to_string()))});
        peer.post(&size.to_string(), "fs/readFile", read).await;
        peer.post(&format!("s{size}"), "environment/status", json!({}))
            .await;
    }
    for size in sizes {
        assert!(peer.reply(&format!("s{size}")).await.is_ok());
        let reply = peer.reply(&size.to_string()).await.unwrap();
        let data = reply["dataBase64"].as_str().unwrap();
        let bytes = farstep_protocol::frame::read_base64(data).unwrap();
        assert!(bytes == content(size), "{size} bytes, {} came", bytes.len());
    }
}

#[tokio::test]
async fn a_large_file_is_not_changed_while_it_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f");
    std::fs::write(&path, vec![b'a'; 2_000_000]).unwrap();
    let mut peer = Peer::open(&Server::for_tests()).await;
    for round in ["1", "2"] {
        peer.post(round, "fs/readFile", json!({"path": uri(&path)}))
            .await;
        let write = json!({"path": uri(&path), "dataBase64": "QUFB"});
        peer.post(&format!("w{round}"), "fs/writeFile", write).await;
    }
    let first = peer.reply("1").await.unwrap();
    let bytes = farstep_protocol::frame::read_base64(first["dataBase64"].as_str().unwrap());
    assert!(bytes.unwrap() == vec![b'a'; 2_000_000]);
    assert_eq!(peer.reply("2").await, Ok(json!({"dataBase64": "QUFB"})));
    for round in ["w1", "w2"] {
        assert_eq!(peer.reply(round).await, Ok(json!({})));
    }
}
