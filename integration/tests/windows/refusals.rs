//! Names that mean something else to Windows than they say: every one is refused, by every method.

use anyhow::Result;
use farstep_integration::{Lab, Wire};
use serde_json::json;

use crate::machine::{Windows, start};

/// The code of a path that is not one of this machine.
const INVALID: i64 = -32600;

/// Tries everything that takes a path.
async fn is_refused_everywhere(wire: &mut Wire, path: &str) -> Result<()> {
    let ok = "file:///C:/windows/win.ini";
    let options = json!({
        "maxDepth": 1, "maxDirectories": 10, "maxEntries": 10,
        "followDirectorySymlinks": false, "pruneHiddenDirectories": false,
    });
    for (method, params) in [
        ("fs/readFile", json!({"path": path})),
        ("fs/writeFile", json!({"path": path, "dataBase64": ""})),
        (
            "fs/createDirectory",
            json!({"path": path, "recursive": true}),
        ),
        ("fs/getMetadata", json!({"path": path})),
        ("fs/canonicalize", json!({"path": path})),
        ("fs/readDirectory", json!({"path": path})),
        ("fs/walk", json!({"path": path, "options": options})),
        (
            "fs/remove",
            json!({"path": path, "recursive": true, "force": true}),
        ),
        (
            "fs/copy",
            json!({"sourcePath": path, "destinationPath": ok, "recursive": true}),
        ),
        (
            "fs/copy",
            json!({"sourcePath": ok, "destinationPath": path, "recursive": true}),
        ),
        ("fs/open", json!({"handleId": "h", "path": path})),
        (
            "fs/open",
            json!({"handleId": "h", "path": path, "mode": "replace"}),
        ),
    ] {
        let code = wire.refused(method, params).await?;
        assert_eq!(code, INVALID, "{method} {path}");
    }
    let mut params = start("p", &["cmd", "/c", "cd"]);
    params["cwd"] = json!(path);
    let code = wire.refused("process/start", params).await?;
    assert!(code < 0, "process/start {path}");
    Ok(())
}

#[tokio::test]
async fn reserved_names_are_refused_in_every_spelling() -> Result<()> {
    let Some(windows) = Windows::find().await? else {
        return Ok(());
    };
    let (_executor, mut wire) = windows.listen(&Lab::new()?).await?;
    let mut names: Vec<String> = ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"]
        .map(str::to_owned)
        .to_vec();
    for port in ["COM", "LPT"] {
        names.extend((0..=9).map(|number| format!("{port}{number}")));
        names.extend(["%C2%B9", "%C2%B2", "%C2%B3"].map(|number| format!("{port}{number}")));
    }
    for name in names {
        is_refused_everywhere(&mut wire, &format!("file:///C:/{name}")).await?;
        let lower = name.to_lowercase();
        for spelling in [
            format!("file:///C:/{lower}"),
            format!("file:///C:/{name}.txt"),
            format!("file:///C:/{lower}.tar.gz"),
            format!("file:///C:/folder/{name}/below"),
        ] {
            let code = wire
                .refused("fs/writeFile", json!({"path": spelling, "dataBase64": ""}))
                .await?;
            assert_eq!(code, INVALID, "{spelling}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn streams_devices_and_names_that_windows_respells_are_refused() -> Result<()> {
    let Some(windows) = Windows::find().await? else {
        return Ok(());
    };
    let (_executor, mut wire) = windows.listen(&Lab::new()?).await?;
    let (uri, folder) = windows.folder()?;
    std::fs::write(folder.join("file"), "content")?;
    for name in [
        // Alternate streams, and the drive-relative path that is spelled like one (D1, D2).
        "file:stream",
        "file%3Astream",
        "file::$DATA",
        "z:file",
        "c:",
        // Trailing dots and blanks (D10).
        "file.",
        "file...",
        "file%20",
        "file.%20",
        "folder./file",
        // Wildcards and controls.
        "fi*",
        "fi%3F",
        "%22file%22",
        "fi%3Ce",
        "fi%7Ce",
        "fi%01e",
        // Encoded separators (D4).
        "..%5Cfile",
        "a%2Ffile",
    ] {
        is_refused_everywhere(&mut wire, &format!("{uri}/{name}")).await?;
    }
    for path in [
        // A NUL is no part of any path, here or elsewhere.
        &format!("{uri}/fi%00e"),
        // Other systems' paths, and those no drive and no share leads to.
        "file:///usr/bin",
        "file:///%00/bad/path/L3g",
        "file:///%00/bad/path/XFxcLlxDT00x",
        "file://./COM1",
        "file://%3F/C:/windows/win.ini",
    ] {
        let read = wire.call("fs/readFile", json!({"path": path})).await?;
        assert!(read.is_err(), "{path}");
        let write = json!({"path": path, "dataBase64": ""});
        assert!(wire.call("fs/writeFile", write).await?.is_err(), "{path}");
    }
    // Nothing of all that has touched the file, or made another.
    assert_eq!(std::fs::read(folder.join("file"))?, b"content");
    assert_eq!(std::fs::read_dir(&folder)?.count(), 1);
    Ok(())
}
