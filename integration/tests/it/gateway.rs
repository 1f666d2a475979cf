//! `farstep connect`: environments as plain websockets, for clients that cannot reach them
//! themselves.

use anyhow::{Context as _, Result, ensure};
use farstep_integration::{Lab, Rendezvous, Running};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;

/// Two executors behind one node, a gateway to each, and clients that know only the gateways.
struct Scene {
    lab: Lab,
    node: Rendezvous,
    _executors: [Running; 2],
    gateways: Running,
}

impl Scene {
    async fn start() -> Result<Scene> {
        let lab = Lab::new()?;
        let node = Rendezvous::start(&lab).await?;
        let token = node.token("executor").await?;
        let (one, _) = node.executor(&lab, "one", &token).await?;
        let (two, _) = node.executor(&lab, "two", &token).await?;
        let entries = [node.entry("one", ""), node.entry("two", "")].concat();
        lab.environments(&entries)?;
        let mut command = lab.farstep(&["connect", "-e", "one", "-e", "two"]);
        let token = node.token("harness").await?;
        let mut gateways = Running::start(command.env("RDV_TOKEN", token))?;
        let mut urls = Vec::new();
        for id in ["one", "two"] {
            let line = gateways.line().await?;
            let url = line.strip_prefix(&format!("{id} "));
            urls.push(url.with_context(|| line.clone())?.to_owned());
        }
        // From now on clients know nothing else.
        let clients = [("one", urls[0].as_str()), ("two", urls[1].as_str())];
        lab.websockets(&clients)?;
        Ok(Scene {
            lab,
            node,
            _executors: [one, two],
            gateways,
        })
    }

    fn client(&self, environment: &str, script: &str) -> Result<Running> {
        let arguments = ["exec", "-e", environment, "--", "sh", "-c", script];
        Running::start(&mut self.lab.farstep(&arguments))
    }
}

#[tokio::test]
async fn two_environments_are_driven_through_two_gateways() -> Result<()> {
    let scene = Scene::start().await?;
    let script = "pwd; head -c 3000000 /dev/urandom | tee sent; exit 7";
    // Several clients of each at once.
    let mut clients = Vec::new();
    for environment in ["one", "two"] {
        for _ in 0..2 {
            clients.push((environment, scene.client(environment, "cat; exit 3")?));
        }
        let done = scene.client(environment, script)?.finish().await?;
        ensure!(done.code == Some(7), "{:?} {}", done.code, done.err());
        let folder = scene.lab.path().join(environment);
        let mut expected = format!("{}\n", folder.display()).into_bytes();
        expected.extend(std::fs::read(folder.join("sent"))?);
        assert!(done.stdout == expected, "{} bytes came", done.stdout.len());
    }
    for (environment, mut client) in clients {
        client.say(&format!("to {environment}")).await?;
        let done = client.finish().await?;
        ensure!(done.code == Some(3), "{}", done.err());
        assert_eq!(done.out(), format!("to {environment}"));
    }
    Ok(())
}

#[tokio::test]
async fn a_node_that_is_killed_behind_a_gateway_costs_no_line() -> Result<()> {
    let mut scene = Scene::start().await?;
    let script = "i=0; while [ $i -lt 400 ]; do i=$((i+1)); echo $i; sleep 0.01; done";
    let mut client = scene.client("one", script)?;
    for expected in 1..=100 {
        assert_eq!(client.line().await?, expected.to_string());
    }
    scene.node.kill().await?;
    scene.node.restart().await?;
    for expected in 101..=400 {
        assert_eq!(client.line().await?, expected.to_string());
    }
    let done = client.finish().await?;
    ensure!(done.code == Some(0), "{}", done.err());
    Ok(())
}

#[tokio::test]
async fn a_gateway_that_is_stopped_says_goodbye_and_ends() -> Result<()> {
    let scene = Scene::start().await?;
    let mut client = scene.client("one", "echo up; sleep 60")?;
    assert_eq!(client.line().await?, "up");
    scene.gateways.signal(rustix::process::Signal::TERM)?;
    let done = scene.gateways.finish().await?;
    ensure!(done.code == Some(0), "{:?} {}", done.code, done.err());
    Ok(())
}

#[tokio::test]
async fn an_environment_behind_a_pipe_can_be_offered_and_its_program_ends_with_the_client()
-> Result<()> {
    let lab = Lab::new()?;
    let program = lab.programs().executor.display().to_string();
    lab.environments(&format!(
        "[[environments]]\nid = \"piped\"\nprogram = '{program}'\n\
         args = [\"--listen\", \"stdio\", \"--allow-root\", \"--audit-file\", \"off\"]\n"
    ))?;
    let mut gateway = Running::start(&mut lab.farstep(&["connect", "-e", "piped"]))?;
    let line = gateway.line().await?;
    let url = line.strip_prefix("piped ").context("an address")?;
    lab.websockets(&[("far", url)])?;
    let done = lab
        .run(&["exec", "-e", "far", "--", "sh", "-c", "echo $PPID"])
        .await?;
    ensure!(done.code == Some(0), "{}", done.err());
    let parent: i32 = done.out().trim().parse()?;
    let parent = rustix::process::Pid::from_raw(parent).context("a process")?;
    let deadline = tokio::time::Instant::now() + farstep_integration::PATIENCE;
    while rustix::process::test_kill_process(parent).is_ok() {
        ensure!(tokio::time::Instant::now() < deadline, "it still runs");
        // There is nothing to await of a program that is not ours.
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    Ok(())
}

/// What makes a request an upgrade.
const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// The status and the body of an answer.
async fn ask(url: &str, target: &str, headers: &str) -> Result<(u16, String)> {
    let address = url.trim_start_matches("ws://");
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {target} HTTP/1.1\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    let mut room = [0; 4096];
    while !answer.windows(4).any(|four| four == b"\r\n\r\n") {
        let count = stream.read(&mut room).await?;
        ensure!(count > 0, "it closed");
        answer.extend_from_slice(&room[..count]);
    }
    if !answer.starts_with(b"HTTP/1.1 101") {
        stream.read_to_end(&mut answer).await?;
    }
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.get(9..12).context("a status")?.parse()?;
    let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
    Ok((status, body.to_owned()))
}

#[tokio::test]
async fn a_gateway_lets_nobody_in_whom_an_executor_would_not_let_in() -> Result<()> {
    let lab = Lab::new()?;
    let far = lab.executor("far").await?;
    lab.websockets(&[("far", &far.url)])?;
    let token = lab.path().join("token");
    std::fs::write(&token, "sesame\n")?;
    std::fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    let flag = token.display().to_string();
    let start = |more: &[&str]| {
        let arguments = [&["connect", "-e", "far"], more].concat();
        Running::start(&mut lab.farstep(&arguments))
    };
    let mut gateway = start(&["--ws-token-file", &flag])?;
    let line = gateway.line().await?;
    let url = line.strip_prefix("far ").context("an address")?;
    let here = "Host: 127.0.0.1\r\n";
    let right = "Authorization: Bearer sesame\r\n";
    for (expected, target, headers) in [
        (101, "/", format!("{here}{UPGRADE}{right}")),
        (401, "/", format!("{here}{UPGRADE}")),
        (
            401,
            "/",
            format!("{here}{UPGRADE}Authorization: Bearer sesam\r\n"),
        ),
        (401, "/", format!("{here}{UPGRADE}{right}{right}")),
        (
            403,
            "/",
            format!("{here}{UPGRADE}{right}Origin: http://x\r\n"),
        ),
        (403, "/", format!("Host: evil.example\r\n{UPGRADE}{right}")),
        (400, "/?token=sesame", format!("{here}{UPGRADE}")),
        (400, "/", format!("{here}{right}")),
        (404, "/other", format!("{here}{UPGRADE}{right}")),
        (200, "/readyz", here.to_owned()),
    ] {
        let (status, body) = ask(url, target, &headers).await?;
        ensure!(status == expected, "{target} {headers}: {status} {body}");
    }
    // A rotated token counts at once.
    std::fs::write(&token, "open\n")?;
    let (status, _) = ask(url, "/", &format!("{here}{UPGRADE}{right}")).await?;
    ensure!(status == 401, "the old token: {status}");

    for (arguments, said) in [
        (&["--listen", "0.0.0.0:0"][..], "--ws-token-file"),
        (
            &["--listen", "[::]:0", "--ws-token-file", &flag],
            "--allow-plaintext",
        ),
        (&["--listen", "[::ffff:0.0.0.0]:0"], "--ws-token-file"),
        (
            &["--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0"],
            "--listen of its own",
        ),
        (&["--ws-token-file", "/no/such/file"], "/no/such/file"),
    ] {
        let done = start(arguments)?.finish().await?;
        ensure!(done.code == Some(2), "{arguments:?}: {:?}", done.code);
        ensure!(done.err().contains(said), "{}", done.err());
    }
    Ok(())
}

#[tokio::test]
async fn a_client_hears_why_the_environment_is_not_reached() -> Result<()> {
    let lab = Lab::new()?;
    let node = Rendezvous::start(&lab).await?;
    lab.environments(&node.entry("one", ""))?;
    let mut command: Command = lab.farstep(&["connect", "-e", "one"]);
    let mut gateway = Running::start(command.env("RDV_TOKEN", "fsth_no_such_token"))?;
    let line = gateway.line().await?;
    let url = line.strip_prefix("one ").context("an address")?;
    let (status, body) = ask(url, "/", &format!("Host: localhost\r\n{UPGRADE}")).await?;
    ensure!(status == 503 && body.contains("401"), "{status} {body}");
    Ok(())
}

#[tokio::test]
async fn what_an_entry_says_about_its_machine_holds_for_the_clients_of_a_gateway() -> Result<()> {
    let lab = Lab::new()?;
    let executor = lab.executor("far").await?;
    let inside = lab.folder("inside")?;
    let folder = inside.display();
    lab.environments(&format!(
        "[[environments]]\nid = \"one\"\nurl = \"{}\"\n[environments.farstep]\n\
         os = \"linux\"\ncwd = \"{folder}\"\nroots = [\"{folder}\"]\n\
         env = {{ set = {{ GREETING = \"hello\" }} }}\n\
         [[environments]]\nid = \"two\"\nurl = \"{}\"\nfarstep = {{ os = \"windows\" }}\n",
        executor.url, executor.url
    ))?;
    let mut gateways = Running::start(&mut lab.farstep(&["connect", "-e", "one", "-e", "two"]))?;
    let (one, two) = (gateways.line().await?, gateways.line().await?);
    let url = |line: &str| line.split(' ').next_back().unwrap_or_default().to_owned();
    // Clients whose own files say nothing of it.
    lab.websockets(&[("one", &url(&one)), ("two", &url(&two))])?;
    let script = "pwd; echo $GREETING";
    let done = lab
        .run(&["exec", "-e", "one", "--", "sh", "-c", script])
        .await?;
    ensure!(
        done.out() == format!("{folder}\nhello\n"),
        "{}{}",
        done.out(),
        done.err()
    );
    std::fs::write(lab.path().join("outside"), "secret")?;
    let outside = lab.path().display().to_string();
    let arguments = [
        "exec", "-e", "one", "--cwd", &outside, "--", "touch", "made",
    ];
    for arguments in [
        &arguments[..],
        &["cat", &format!("one:{outside}/outside")],
        &["mkdir", &format!("one:{outside}/made")],
    ] {
        let done = lab.run(arguments).await?;
        let told = done.err();
        ensure!(done.code != Some(0), "{arguments:?}");
        ensure!(
            told.contains("is outside of the workspace roots of `one`") && !told.contains("secret"),
            "{arguments:?}: {told}"
        );
    }
    ensure!(!lab.path().join("made").exists(), "it was made");
    let done = lab.run(&["exec", "-e", "two", "--", "true"]).await?;
    ensure!(
        done.code == Some(255) && done.err().contains("`farstep.os` is \"windows\""),
        "{:?} {}",
        done.code,
        done.err()
    );
    Ok(())
}
