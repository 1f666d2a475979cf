//! `--listen unix:PATH`: an executor for its own user, on a socket in the file system.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::{Result, ensure};
use farstep_integration::{Finished, Lab, PATIENCE, Running, SESSION_ATTACHED, find, need, script};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::process::Command;

/// Passes standard input and output on to a socket: what stands behind `ssh` there.
const BRIDGE: &str = "import os,socket,sys,threading\n\
    s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n\
    def inwards():\n\
    \x20while True:\n\
    \x20 b=os.read(0,65536)\n\
    \x20 if not b: s.shutdown(socket.SHUT_WR); return\n\
    \x20 s.sendall(b)\n\
    threading.Thread(target=inwards,daemon=True).start()\n\
    while True:\n\
    \x20b=s.recv(65536)\n\
    \x20if not b: break\n\
    \x20os.write(1,b)\n";

fn listener(lab: &Lab, socket: &Path) -> Result<Command> {
    let mut command = Command::new(&lab.programs().executor);
    command
        .args(["--allow-root", "--listen"])
        .arg(format!("unix:{}", socket.display()))
        .current_dir(lab.folder("far")?)
        .env("XDG_STATE_HOME", lab.state());
    Ok(command)
}

async fn listening(lab: &Lab, socket: &Path) -> Result<Running> {
    let mut running = Running::start(&mut listener(lab, socket)?)?;
    let line = running.line().await?;
    ensure!(line == format!("unix:{}", socket.display()), "{line}");
    Ok(running)
}

async fn refused(lab: &Lab, socket: &Path) -> Result<String> {
    let done: Finished = Running::start(&mut listener(lab, socket)?)?
        .finish()
        .await?;
    ensure!(
        done.code == Some(1) && done.out().is_empty(),
        "{:?}",
        done.code
    );
    Ok(done.err())
}

/// A connection that spoke its first words; what was answered.
async fn hello(socket: &Path, resume: Option<&str>) -> Result<(BufReader<UnixStream>, Value)> {
    let mut stream = BufReader::new(UnixStream::connect(socket).await?);
    let mut params = json!({"clientName": "a test"});
    if let Some(session) = resume {
        params["resumeSessionId"] = session.into();
    }
    let mut id = 1;
    let answer = loop {
        let answer = reply(&mut stream, id, "initialize", &params).await?;
        // There is no event to wait for: the end of a connection is noticed over there.
        if answer["error"]["code"] != SESSION_ATTACHED {
            break result(answer)?;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        id += 1;
    };
    let initialized = json!({"method": "initialized", "params": {}});
    stream
        .write_all(format!("{initialized}\n").as_bytes())
        .await?;
    Ok((stream, answer))
}

async fn call(
    stream: &mut BufReader<UnixStream>,
    id: u64,
    method: &str,
    params: Value,
) -> Result<Value> {
    result(reply(stream, id, method, &params).await?)
}

fn result(reply: Value) -> Result<Value> {
    ensure!(reply.get("result").is_some(), "{reply}");
    Ok(reply["result"].clone())
}

async fn reply(
    stream: &mut BufReader<UnixStream>,
    id: u64,
    method: &str,
    params: &Value,
) -> Result<Value> {
    let request = json!({"id": id, "method": method, "params": params});
    stream.write_all(format!("{request}\n").as_bytes()).await?;
    loop {
        let mut line = String::new();
        ensure!(stream.read_line(&mut line).await? > 0, "it ended");
        let message: Value = serde_json::from_str(&line)?;
        if message["id"] == id {
            return Ok(message);
        }
    }
}

#[tokio::test]
async fn an_executor_on_a_socket_is_driven_and_takes_the_socket_with_it() -> Result<()> {
    let Some(python) = need(find("python3"), "python3") else {
        return Ok(());
    };
    let lab = Lab::new()?;
    let socket = lab.folder("sockets")?.join("executor");
    let running = listening(&lab, &socket).await?;
    let found = fs::metadata(&socket)?;
    ensure!(found.file_type().is_socket(), "no socket");
    assert_eq!(found.permissions().mode() & 0o777, 0o600);
    lab.environments(&format!(
        "include_local = false\ndefault = \"far\"\n[[environments]]\nid = \"far\"\n\
         program = {python:?}\nargs = [\"-c\", {BRIDGE:?}, {socket:?}]\n"
    ))?;
    let done = lab.run(&["exec", "--", "sh", "-c", "pwd; exit 7"]).await?;
    let folder = lab.folder("far")?;
    ensure!(done.code == Some(7), "{:?} {}", done.code, done.err());
    assert_eq!(done.out(), format!("{}\n", folder.display()));
    running.signal(Signal::TERM)?;
    let done = running.finish().await?;
    ensure!(done.code == Some(0), "{}", done.err());
    ensure!(!socket.exists(), "the socket is left");
    Ok(())
}

#[tokio::test]
async fn a_session_on_a_socket_outlives_its_connection() -> Result<()> {
    let lab = Lab::new()?;
    let socket = lab.folder("sockets")?.join("executor");
    let _running = listening(&lab, &socket).await?;
    let (mut stream, answer) = hello(&socket, None).await?;
    let session = answer["sessionId"].as_str().unwrap_or_default().to_owned();
    let start = script("p", "echo here; exec sleep 1000");
    call(&mut stream, 2, "process/start", start).await?;
    drop(stream);
    let resumed = tokio::time::timeout(PATIENCE, hello(&socket, Some(&session)));
    let (mut stream, again) = resumed.await??;
    assert_eq!(again["sessionId"], session.as_str());
    let read = json!({"processId": "p", "waitMs": 60_000});
    let read = call(&mut stream, 2, "process/read", read).await?;
    ensure!(
        read["chunks"]
            .as_array()
            .is_some_and(|some| !some.is_empty()),
        "{read}"
    );
    Ok(())
}

#[tokio::test]
async fn a_socket_that_nobody_listens_on_is_replaced_and_anything_else_is_not() -> Result<()> {
    let lab = Lab::new()?;
    let folder = lab.folder("sockets")?;
    let socket = folder.join("executor");
    let running = listening(&lab, &socket).await?;
    let error = refused(&lab, &socket).await?;
    ensure!(error.contains("somebody listens there already"), "{error}");
    running.signal(Signal::KILL)?;
    running.finish().await?;
    ensure!(socket.exists(), "a killed one takes nothing with it");
    let running = listening(&lab, &socket).await?;
    hello(&socket, None).await?;
    drop(running);

    let file = folder.join("file");
    fs::write(&file, "precious")?;
    let error = refused(&lab, &file).await?;
    ensure!(error.contains("no socket has that name"), "{error}");
    assert_eq!(fs::read(&file)?, b"precious");
    let error = refused(&lab, &lab.path().join("no/such/executor")).await?;
    ensure!(error.contains("No such file"), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_socket_where_others_could_put_one_is_refused() -> Result<()> {
    let lab = Lab::new()?;
    let folder = lab.folder("open")?;
    for mode in [0o777, 0o775, 0o1777] {
        fs::set_permissions(&folder, fs::Permissions::from_mode(mode))?;
        let error = refused(&lab, &folder.join("executor")).await?;
        let said = "other users may write to the folder (chmod go-w it)";
        ensure!(error.contains(said), "{mode:o}: {error}");
        ensure!(
            fs::read_dir(&folder)?.next().is_none(),
            "something was made"
        );
    }
    // Others may look in: the socket itself is closed to them.
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
    listening(&lab, &folder.join("executor")).await?;
    Ok(())
}
