//! `farstep cp` from an executor that wants to write where it may not.

use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use farstep_integration::Lab;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_util::task::AbortOnDropHandle;

/// `evil`, in every file there is, and its SHA-256.
const CONTENT: &str = "ZXZpbA==";
const DIGEST: &str = "b5c1fb2efc6d6b4674c2fdcc48ce01b43a3b7c03763c0c3355de0099ee0f8c73";

/// What is told about a tree at `file:///srv/tree`.
enum Lie {
    /// That these are its entries, wherever it is asked, and this the digest of every file.
    Entries(Value, String),
    /// That in each directory there is one more link to a directory.
    Endless,
}

impl Lie {
    fn entries(&self, path: &str) -> Value {
        match self {
            Lie::Entries(entries, _) => entries.clone(),
            Lie::Endless => json!([{"path": format!("{path}/l"), "kind": "farstepLink"}]),
        }
    }

    /// Links lead where their names say.
    fn canonical(&self, path: &str) -> String {
        match path.rsplit('/').next() {
            Some("l") => format!("{path}x"),
            Some("to-etc") => "file:///etc".to_owned(),
            Some("to-file") => "file:///srv/tree/ok".to_owned(),
            Some("to-root") => "file:///srv/tree".to_owned(),
            Some("to-up") => "file:///srv/tree/../../up".to_owned(),
            Some("to-beside") => "file:///srv/treetop".to_owned(),
            _ => path.to_owned(),
        }
    }

    fn is_directory(&self, path: &str) -> bool {
        path == "file:///srv/tree" || matches!(self, Lie::Endless)
    }
}

/// Serves such a tree.
struct Hostile {
    url: String,
    _serving: AbortOnDropHandle<()>,
}

impl Hostile {
    async fn serve(entries: Value, digest: &str) -> Result<Hostile> {
        Hostile::tell(Lie::Entries(entries, digest.to_owned())).await
    }

    async fn tell(lie: Lie) -> Result<Hostile> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("ws://{}", listener.local_addr()?);
        let serving = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                // Whoever dials has one connection at a time.
                let _: Result<()> = answer(socket, &lie).await;
            }
        });
        Ok(Hostile {
            url,
            _serving: AbortOnDropHandle::new(serving),
        })
    }
}

async fn answer(socket: TcpStream, lie: &Lie) -> Result<()> {
    let mut wire = tokio_tungstenite::accept_async(socket).await?;
    while let Some(message) = wire.next().await {
        let Message::Text(text) = message? else {
            continue;
        };
        let request: Value = serde_json::from_str(&text)?;
        let Some(id) = request.get("id") else {
            continue;
        };
        let params = &request["params"];
        let path = params["path"].as_str().unwrap_or_default();
        let result = match request["method"].as_str().context("no method")? {
            "initialize" => json!({"sessionId": "s", "environmentInfo": {
                "shell": {"name": "sh", "path": "/bin/sh"}, "cwd": "file:///srv",
                "platformOs": "linux",
                "capabilities": {"farstepFiles": true, "farstepTrees": true, "fileWriteStreaming": true}}}),
            "fs/getMetadata" => {
                let is_tree = lie.is_directory(path);
                json!({"isDirectory": is_tree, "isFile": !is_tree, "isSymlink": false, "size": 4,
                    "createdAtMs": 0, "modifiedAtMs": i64::MAX, "farstepMode": 0o6777})
            }
            "fs/walk" => json!({"entries": lie.entries(path), "errors": [], "truncated": false}),
            "fs/open" => json!({"handleId": params["handleId"]}),
            "fs/readBlock" if params["offset"] == 0 => json!({"chunk": CONTENT, "eof": true}),
            "fs/readBlock" => json!({"chunk": "", "eof": true}),
            "fs/canonicalize" => json!({"path": lie.canonical(path)}),
            "fs/farstepDigest" => match lie {
                Lie::Entries(_, digest) => json!({"sha256": digest, "length": 4}),
                Lie::Endless => json!({"sha256": DIGEST, "length": 4}),
            },
            _ => json!({}),
        };
        let reply = json!({"id": id, "result": result}).to_string();
        wire.send(Message::text(reply)).await?;
    }
    Ok(())
}

fn listed(names: &[(&str, &str)]) -> Value {
    let entries = names
        .iter()
        .map(|(path, kind)| json!({"path": path, "kind": kind}));
    Value::Array(entries.collect())
}

/// Every path below a folder, links not followed.
fn all(folder: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_dir() {
            let inner = all(&entry.path())?;
            found.extend(inner.into_iter().map(|inner| format!("{name}/{inner}")));
        }
        found.push(name);
    }
    found.sort();
    Ok(found)
}

#[tokio::test]
async fn nothing_is_written_outside_of_the_destination_whatever_is_listed() -> Result<()> {
    let long = format!("file:///srv/tree/{}", "x".repeat(300));
    let entries = listed(&[
        ("file:///srv/tree/ok", "file"),
        ("file:///srv/tree/../up", "file"),
        ("file:///srv/tree/%2e%2e/%2e%2e/up", "file"),
        ("file:///srv/tree/..%2Fup", "file"),
        ("file:///srv/tree/a%2F..%2F..%2Fup", "file"),
        ("file:///srv/tree/d", "directory"),
        ("file:///srv/tree/d/fine", "file"),
        ("file:///srv/tree", "file"),
        ("file:///srv/treetop", "file"),
        ("file:///etc/up", "file"),
        ("file:///up", "file"),
        ("file:///C:/up", "file"),
        ("file://server/share/up", "file"),
        (&long, "file"),
        // Where links of the destination would lead.
        ("file:///srv/tree/link", "directory"),
        ("file:///srv/tree/link/up", "file"),
        ("file:///srv/tree/replaced", "file"),
        ("file:///srv/tree/trap", "file"),
        ("file:///srv/tree/shared", "file"),
        // Two things of one name.
        ("file:///srv/tree/twice", "file"),
        ("file:///srv/tree/twice", "directory"),
        ("file:///srv/tree/twice/below", "file"),
    ]);
    let lab = Lab::new()?;
    let hostile = Hostile::serve(entries, DIGEST).await?;
    lab.websockets(&[("far", &hostile.url)])?;
    let (outside, out) = (lab.folder("outside")?, lab.folder("in/out")?);
    std::fs::write(outside.join("kept"), "kept")?;
    symlink(&outside, out.join("link"))?;
    symlink(outside.join("kept"), out.join("replaced"))?;
    symlink(outside.join("kept"), out.join(".trap.farstep-partial"))?;
    std::fs::hard_link(outside.join("kept"), out.join(".shared.farstep-partial"))?;
    let done = lab.run(&["cp", "-r", "far:tree/.", "in/out"]).await?;
    assert_eq!(done.code, Some(1), "{}", done.err());
    assert_eq!(
        all(&lab.path().join("in"))?,
        [
            "out",
            "out/.shared.farstep-partial",
            "out/.trap.farstep-partial",
            "out/d",
            "out/d/fine",
            "out/link",
            "out/ok",
            "out/replaced",
            "out/twice",
            "out/twice/below"
        ]
    );
    assert_eq!(all(&outside)?, ["kept"]);
    assert_eq!(std::fs::read_to_string(outside.join("kept"))?, "kept");
    for name in ["ok", "d/fine", "replaced"] {
        assert_eq!(std::fs::read_to_string(out.join(name))?, "evil", "{name}");
    }
    // Rights of another user do not come along.
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(
        out.join("ok").metadata()?.permissions().mode() & 0o7777,
        0o777
    );
    ensure!(!lab.path().join("up").exists() && !lab.path().join("in/up").exists());
    Ok(())
}

#[tokio::test]
async fn a_file_that_is_not_what_its_digest_says_does_not_appear() -> Result<()> {
    let lab = Lab::new()?;
    let hostile = Hostile::serve(json!([]), &"0".repeat(64)).await?;
    lab.websockets(&[("far", &hostile.url)])?;
    let done = lab.run(&["cp", "far:f", "f"]).await?;
    assert_eq!(done.code, Some(1), "{}", done.err());
    ensure!(done.err().contains("copy it again"), "{}", done.err());
    ensure!(!lab.path().join("f").exists());
    ensure!(!lab.path().join(".f.farstep-partial").exists());
    Ok(())
}

#[tokio::test]
async fn a_listing_with_a_path_that_is_none_is_no_listing() -> Result<()> {
    let lab = Lab::new()?;
    let hostile = Hostile::serve(listed(&[("file:///srv/tree/a%00b", "file")]), DIGEST).await?;
    lab.websockets(&[("far", &hostile.url)])?;
    let done = lab.run(&["cp", "-r", "far:tree", "out"]).await?;
    assert_eq!(done.code, Some(255), "{}", done.err());
    ensure!(!lab.path().join("out").exists());
    Ok(())
}

#[tokio::test]
async fn links_of_a_hostile_executor_lead_nowhere_either() -> Result<()> {
    let links = ["to-etc", "to-file", "to-root", "to-up", "to-beside"];
    let paths = links.map(|name| format!("file:///srv/tree/{name}"));
    let mut entries: Vec<_> = paths
        .iter()
        .map(|path| (path.as_str(), "farstepLink"))
        .collect();
    entries.extend([
        ("file:///srv/tree/ok", "file"),
        ("file:///etc/link", "farstepLink"),
        ("file:///srv/tree/../link", "farstepLink"),
        ("file:///srv/tree/..%2Flink", "farstepOther"),
    ]);
    let lab = Lab::new()?;
    let hostile = Hostile::serve(listed(&entries), DIGEST).await?;
    lab.websockets(&[("far", &hostile.url)])?;
    let cp = ["cp", "-r", "--links", "follow", "far:tree/.", "in/out"];
    lab.folder("in")?;
    let done = lab.run(&cp).await?;
    // Three names are no names of anything in the tree.
    assert_eq!(done.code, Some(1), "{}", done.err());
    assert_eq!(
        all(lab.path().join("in").as_path())?,
        ["out", "out/ok", "out/to-file"]
    );
    ensure!(
        done.err()
            .contains("left out 3 links that lead out of the directory"),
        "{}",
        done.err()
    );
    ensure!(
        done.err()
            .contains("left out 1 link to a directory it is in"),
        "{}",
        done.err()
    );
    Ok(())
}

#[tokio::test]
async fn a_tree_without_an_end_comes_to_one() -> Result<()> {
    let lab = Lab::new()?;
    let hostile = Hostile::tell(Lie::Endless).await?;
    lab.websockets(&[("far", &hostile.url)])?;
    let done = lab
        .run(&["cp", "-r", "--links", "follow", "far:tree", "out"])
        .await?;
    assert_eq!(done.code, Some(1), "{}", done.err());
    ensure!(done.err().contains("inside each other"), "{}", done.err());
    ensure!(!lab.path().join("out").exists());
    Ok(())
}

#[tokio::test]
async fn a_time_that_no_clock_has_known_is_an_error_and_not_a_panic() -> Result<()> {
    let lab = Lab::new()?;
    let hostile = Hostile::serve(json!([]), DIGEST).await?;
    lab.websockets(&[("far", &hostile.url)])?;
    let done = lab.run(&["cp", "-p", "far:f", "f"]).await?;
    ensure!(
        matches!(done.code, Some(0 | 1)),
        "{:?} {}",
        done.code,
        done.err()
    );
    ensure!(!done.err().contains("panicked"), "{}", done.err());
    Ok(())
}
