//! The file methods on drive paths.

use anyhow::{Context as _, Result};
use farstep_integration::{Lab, Wire, decode, encode};
use serde_json::{Value, json};

use crate::machine::Windows;

/// Bytes that are no text, and more than a page.
fn content(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 31 + at / 256) as u8).collect()
}

async fn write(wire: &mut Wire, path: &str, bytes: &[u8]) -> Result<()> {
    let params = json!({"path": path, "dataBase64": encode(bytes)});
    wire.done("fs/writeFile", params).await.map(drop)
}

async fn read(wire: &mut Wire, path: &str) -> Result<Vec<u8>> {
    let result = wire.done("fs/readFile", json!({"path": path})).await?;
    let mut bytes = Vec::new();
    decode(
        result["dataBase64"].as_str().context("no content")?,
        &mut bytes,
    )?;
    Ok(bytes)
}

#[tokio::test]
async fn a_file_is_made_replaced_described_and_removed() -> Result<()> {
    let Some(windows) = Windows::find().await? else {
        return Ok(());
    };
    let (_executor, mut wire) = windows.listen(&Lab::new()?).await?;
    let (uri, folder) = windows.folder()?;
    let path = format!("{uri}/one%20file.bin");
    for len in [0, 10, 100_000, 3, 2_000_000, 2_000_001] {
        write(&mut wire, &path, &content(len)).await?;
        assert_eq!(read(&mut wire, &path).await?, content(len));
        assert!(std::fs::read(folder.join("one file.bin"))? == content(len));
    }
    // Nothing that was on the way is left.
    assert_eq!(std::fs::read_dir(&folder)?.count(), 1);
    let found = wire.done("fs/getMetadata", json!({"path": path})).await?;
    assert_eq!(
        (
            &found["isFile"],
            &found["isDirectory"],
            &found["isSymlink"],
            &found["size"]
        ),
        (
            &json!(true),
            &json!(false),
            &json!(false),
            &json!(2_000_001)
        )
    );
    assert!(
        found["modifiedAtMs"].as_i64() > Some(1_600_000_000_000),
        "{found}"
    );
    // As the file system spells it, whatever the letters of the question.
    let asked = path.replace("one%20file", "ONE%20File");
    assert_eq!(read(&mut wire, &asked).await?.len(), 2_000_001);
    let real = wire.done("fs/canonicalize", json!({"path": path})).await?;
    assert_eq!(real["path"], path);
    let remove = json!({"path": path, "recursive": false, "force": false});
    wire.done("fs/remove", remove.clone()).await?;
    assert_eq!(wire.refused("fs/remove", remove).await?, -32004);
    assert_eq!(
        wire.refused("fs/readFile", json!({"path": path})).await?,
        -32004
    );
    Ok(())
}

#[tokio::test]
async fn a_file_somebody_holds_open_or_protects_is_written_or_refused_never_halved() -> Result<()> {
    let Some(windows) = Windows::find().await? else {
        return Ok(());
    };
    let (_executor, mut wire) = windows.listen(&Lab::new()?).await?;
    let (uri, _) = windows.folder()?;
    let path = format!("{uri}/held");
    write(&mut wire, &path, &content(50_000)).await?;
    let open = json!({"handleId": "h", "path": path, "mode": "read"});
    wire.done("fs/open", open).await?;
    let params = json!({"path": path, "dataBase64": encode(&content(60_000))});
    if wire.call("fs/writeFile", params).await?.is_ok() {
        assert_eq!(read(&mut wire, &path).await?, content(60_000));
    } else {
        assert_eq!(read(&mut wire, &path).await?, content(50_000));
    }
    wire.done("fs/close", json!({"handleId": "h"})).await?;
    Ok(())
}

#[tokio::test]
async fn blocks_are_read_and_written_wherever_they_lie() -> Result<()> {
    let Some(windows) = Windows::find().await? else {
        return Ok(());
    };
    let (_executor, mut wire) = windows.listen(&Lab::new()?).await?;
    let (uri, folder) = windows.folder()?;
    let path = format!("{uri}/blocks");
    let bytes = content(300_000);
    let open = json!({"handleId": "w", "path": path, "mode": "replace"});
    wire.done("fs/open", open).await?;
    // The last first, and one of them twice.
    for start in [200_000, 0, 100_000, 100_000_usize] {
        let chunk = encode(&bytes[start..start + 100_000]);
        let block = json!({"handleId": "w", "offset": start, "chunk": chunk});
        wire.done("fs/writeBlock", block).await?;
    }
    wire.done("fs/close", json!({"handleId": "w"})).await?;
    assert!(std::fs::read(folder.join("blocks"))? == bytes);

    wire.done("fs/open", json!({"handleId": "r", "path": path}))
        .await?;
    let mut collected = Vec::new();
    loop {
        let block = json!({"handleId": "r", "offset": collected.len(), "len": 70_000});
        let block = wire.done("fs/readBlock", block).await?;
        decode(block["chunk"].as_str().context("no chunk")?, &mut collected)?;
        if block["eof"] == true {
            break;
        }
    }
    assert!(collected == bytes);
    wire.done("fs/close", json!({"handleId": "r"})).await?;
    Ok(())
}

fn names(entries: &Value, field: &str) -> Vec<String> {
    let entries = entries.as_array().cloned().unwrap_or_default();
    let mut names: Vec<String> = entries
        .iter()
        .filter_map(|entry| entry[field].as_str().map(str::to_owned))
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn trees_are_made_listed_walked_copied_and_removed() -> Result<()> {
    let Some(windows) = Windows::find().await? else {
        return Ok(());
    };
    let (_executor, mut wire) = windows.listen(&Lab::new()?).await?;
    let (uri, folder) = windows.folder()?;
    let make = |path: &str, recursive| json!({"path": path, "recursive": recursive});
    let deep = format!("{uri}/tree/a/b");
    assert_eq!(
        wire.refused("fs/createDirectory", make(&deep, false))
            .await?,
        -32004
    );
    wire.done("fs/createDirectory", make(&deep, true)).await?;
    wire.done("fs/createDirectory", make(&deep, true)).await?;
    assert_eq!(
        wire.refused("fs/createDirectory", make(&deep, false))
            .await?,
        -32603
    );
    let mut strictly = make(&format!("{uri}/tree/a/c/d"), true);
    strictly["followSymlinks"] = json!(false);
    wire.done("fs/createDirectory", strictly).await?;
    for name in ["one", "two.txt", "a/three", "a/b/\u{e4}%20\u{1f600}"] {
        write(&mut wire, &format!("{uri}/tree/{name}"), name.as_bytes()).await?;
    }
    std::fs::write(folder.join("tree/a/.hidden"), "h")?;

    let listed = wire
        .done("fs/readDirectory", json!({"path": format!("{uri}/tree")}))
        .await?;
    assert_eq!(
        names(&listed["entries"], "fileName"),
        ["a", "one", "two.txt"]
    );
    let options = json!({
        "maxDepth": 10, "maxDirectories": 100, "maxEntries": 1000,
        "followDirectorySymlinks": false, "pruneHiddenDirectories": false,
    });
    let params = json!({"path": format!("{uri}/tree"), "options": options});
    let walked = wire.done("fs/walk", params).await?;
    let expected: Vec<String> = [
        "a",
        "a/.hidden",
        "a/b",
        "a/b/%C3%A4%20%F0%9F%98%80",
        "a/c",
        "a/c/d",
        "a/three",
        "one",
        "two.txt",
    ]
    .iter()
    .map(|name| format!("{uri}/tree/{name}"))
    .collect();
    assert_eq!(names(&walked["entries"], "path"), expected, "{walked}");

    let copy = |from: &str, to: &str, recursive| {
        json!({
            "sourcePath": format!("{uri}/{from}"), "destinationPath": format!("{uri}/{to}"),
            "recursive": recursive,
        })
    };
    assert_eq!(
        wire.refused("fs/copy", copy("tree", "x", false)).await?,
        -32600
    );
    assert_eq!(
        wire.refused("fs/copy", copy("tree", "tree/a/inside", true))
            .await?,
        -32600
    );
    wire.done("fs/copy", copy("tree", "copy", true)).await?;
    wire.done("fs/copy", copy("tree/one", "copy/one", false))
        .await?;
    assert_eq!(std::fs::read(folder.join("copy/a/three"))?, b"a/three");
    assert_eq!(std::fs::read(folder.join("copy/one"))?, b"one");

    let remove = |path: &str, recursive| json!({"path": format!("{uri}/{path}"), "recursive": recursive, "force": false});
    assert_eq!(
        wire.refused("fs/remove", remove("copy", false)).await?,
        -32603
    );
    wire.done("fs/remove", remove("copy", true)).await?;
    assert!(!folder.join("copy").exists());
    assert_eq!(std::fs::read(folder.join("tree/one"))?, b"one");
    Ok(())
}

#[tokio::test]
async fn the_root_of_a_drive_is_listed_and_walked_with_its_slash() -> Result<()> {
    let Some(windows) = Windows::find().await? else {
        return Ok(());
    };
    let (_executor, mut wire) = windows.listen(&Lab::new()?).await?;
    for root in ["file:///C:/", "file:///C:", "file:///c:/"] {
        let listed = wire.done("fs/readDirectory", json!({"path": root})).await?;
        let names = names(&listed["entries"], "fileName");
        assert!(names.contains(&"windows".to_owned()), "{root}: {names:?}");
    }
    let options = json!({
        "maxDepth": 0, "maxDirectories": 1, "maxEntries": 1000,
        "followDirectorySymlinks": false, "pruneHiddenDirectories": false,
    });
    let params = json!({"path": "file:///C:/", "options": options});
    let walked = wire.done("fs/walk", params).await?;
    let names = names(&walked["entries"], "path");
    assert!(names.contains(&"file:///C:/windows".to_owned()), "{walked}");
    Ok(())
}

#[tokio::test]
async fn a_path_that_appears_is_noticed() -> Result<()> {
    let Some(windows) = Windows::find().await? else {
        return Ok(());
    };
    let (_executor, mut wire) = windows.listen(&Lab::new()?).await?;
    let (uri, folder) = windows.folder()?;
    let marker = format!("{uri}/marker");
    let watch = json!({"watchId": 1, "missing": [&marker], "present": null});
    let watching = wire.done("fs/watchMissing", watch).await?;
    assert_eq!(watching["watching"], true);
    std::fs::write(folder.join("marker"), "")?;
    let news = wire.notification().await?.context("the connection ended")?;
    assert_eq!(news["method"], "fs/missingChanged");
    Ok(())
}
