//! A node of a rendezvous as its operator meets it: certificates, draining, limits.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use farstep_integration::{Lab, PATIENCE, Rendezvous, Running};
use farstep_protocol::noise::Identity;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::{Duration, Instant};

/// An authority, its certificate in a file.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    file: PathBuf,
}

impl Authority {
    fn new(folder: &Path, name: &str) -> Result<Authority> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let file = folder.join(name);
        fs::write(&file, issuer.pem())?;
        Ok(Authority { issuer, file })
    }

    /// Writes a certificate for this machine, and its key.
    fn certify(&self, certificate: &Path, key: &Path) -> Result<()> {
        let pair = KeyPair::generate()?;
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = CertificateParams::new(names)?.signed_by(&pair, &self.issuer)?;
        // Whole or not at all, as a program that renews certificates does it.
        for (path, content) in [(key, pair.serialize_pem()), (certificate, made.pem())] {
            let new = path.with_extension("new");
            fs::write(&new, content)?;
            fs::set_permissions(&new, fs::Permissions::from_mode(0o600))?;
            fs::rename(&new, path)?;
        }
        Ok(())
    }
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is no text")
}

#[tokio::test]
async fn a_node_speaks_tls_and_reads_a_renewed_certificate_while_it_runs() -> Result<()> {
    let lab = Lab::new()?;
    let first = Authority::new(lab.path(), "first.pem")?;
    let (certificate, key) = (lab.path().join("cert.pem"), lab.path().join("key.pem"));
    first.certify(&certificate, &key)?;
    let flags = ["--tls-cert", text(&certificate)?, "--tls-key", text(&key)?];
    let mut node = Rendezvous::start_with(&lab, &flags).await?;
    ensure!(node.url.starts_with("https://"), "{}", node.url);
    let second = Authority::new(lab.path(), "second.pem")?;
    let both = lab.path().join("both.pem");
    fs::write(
        &both,
        [fs::read(&first.file)?, fs::read(&second.file)?].concat(),
    )?;
    node.vouched_by(both);
    let token = node.token("executor").await?;
    let (_executor, _) = node.executor(&lab, "box", &token).await?;
    let entry = node.entry("box", "");
    lab.environments(&format!(
        "include_local = false\ndefault = \"box\"\n{entry}"
    ))?;
    let token = node.token("harness").await?;
    let farstep = async |believing: &Path, arguments: &[&str]| {
        let mut command = lab.farstep(arguments);
        command
            .env("RDV_TOKEN", &token)
            .env("SSL_CERT_FILE", believing);
        Running::start(&mut command)?.finish().await
    };
    let done = farstep(&first.file, &["exec", "--", "echo", "through"]).await?;
    ensure!(done.out() == "through\n", "{}\n{}", done.out(), done.err());
    let seen = farstep(&first.file, &["env", "doctor", "box"]).await?;
    ensure!(
        seen.out().to_lowercase().contains("tls"),
        "{}\n{}",
        seen.out(),
        seen.err()
    );
    ensure!(seen.code == Some(0), "{}\n{}", seen.out(), seen.err());

    // Somebody else vouches from now on; the executor's websocket stays as it is.
    second.certify(&certificate, &key)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let done = farstep(&second.file, &["exec", "--", "echo", "again"]).await?;
        if done.out() == "again\n" {
            break;
        }
        // It looks at its files once a second.
        ensure!(Instant::now() < deadline, "{}\n{}", done.out(), done.err());
    }
    let done = farstep(&first.file, &["exec", "--", "true"]).await?;
    ensure!(done.code != Some(0), "the former authority is believed");
    Ok(())
}

#[tokio::test]
async fn an_executor_enrols_itself_once_and_keeps_what_it_got() -> Result<()> {
    let lab = Lab::new()?;
    let node = Rendezvous::start(&lab).await?;
    let enroll = ["enroll", "--environment", "box", "--days", "90"];
    let code = node.admin(&enroll).await?;
    for flags in [vec!["--enroll", &code], vec!["--enroll", &code], vec![]] {
        let mut command = node.executor_command(&lab, "box")?;
        let mut running = Running::start(command.args(&flags))?;
        ensure!(running.line().await?.starts_with("box"), "{flags:?}");
        running.signal(rustix::process::Signal::TERM)?;
        running.finish().await?;
    }
    let kept = lab.state().join("farstep/credentials/box.json");
    let mode = fs::metadata(&kept)?.permissions().mode();
    ensure!(mode & 0o777 == 0o600, "{mode:o}");
    ensure!(
        fs::read_to_string(&kept)?.contains("fstx_"),
        "no credential"
    );
    // A code is good once, wherever it is tried.
    fs::remove_file(&kept)?;
    let mut command = node.executor_command(&lab, "box")?;
    let refused = Running::start(command.args(["--enroll", &code]))?;
    let done = refused.finish().await?;
    ensure!(done.code == Some(1), "{:?}", done.code);
    ensure!(done.err().contains("enrolment code"), "{}", done.err());
    Ok(())
}

#[tokio::test]
async fn an_executor_tries_the_other_urls_of_a_node_that_it_does_not_reach() -> Result<()> {
    let lab = Lab::new()?;
    let mut node = Rendezvous::start(&lab).await?;
    let token = node.token("executor").await?;
    // Nothing listens there.
    node.hide_behind("http://127.0.0.1:1").await?;
    let (_executor, _) = node.executor(&lab, "box", &token).await?;
    let deadline = Instant::now() + PATIENCE;
    while !node.admin(&["list"]).await?.contains("online") {
        ensure!(Instant::now() < deadline, "it never came");
    }
    Ok(())
}

#[tokio::test]
async fn a_key_that_others_may_read_and_a_plain_port_for_everybody_are_refused() -> Result<()> {
    let lab = Lab::new()?;
    let authority = Authority::new(lab.path(), "ca.pem")?;
    let (certificate, key) = (lab.path().join("cert.pem"), lab.path().join("key.pem"));
    authority.certify(&certificate, &key)?;
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644))?;
    let serve = async |flags: &[&str]| {
        let mut command = Command::new(&lab.programs().rendezvous);
        command.args(["serve", "--data", "rdv"]).args(flags);
        let running = Running::start(command.current_dir(lab.path()))?;
        running.finish_within(PATIENCE).await
    };
    let (certificate, key) = (text(&certificate)?, text(&key)?);
    let listen = ["--listen", "127.0.0.1:0"];
    let flags = [
        listen[0],
        listen[1],
        "--tls-cert",
        certificate,
        "--tls-key",
        key,
    ];
    let done = serve(&flags).await?;
    ensure!(
        done.code == Some(1) && done.err().contains("chmod 600"),
        "{}",
        done.err()
    );
    let done = serve(&["--listen", "0.0.0.0:0"]).await?;
    ensure!(
        done.code == Some(1) && done.err().contains("--tls-cert"),
        "{}",
        done.err()
    );
    let done = serve(&["--listen", "127.0.0.1:0", "--tls-cert", certificate]).await?;
    ensure!(
        done.code == Some(2) && done.err().contains("--tls-key"),
        "{}",
        done.err()
    );
    Ok(())
}

#[tokio::test]
async fn a_node_that_drains_amid_numbered_lines_costs_none_of_them() -> Result<()> {
    let lab = Lab::new()?;
    let mut node = Rendezvous::start_with(&lab, &["--drain-seconds", "1"]).await?;
    let token = node.token("executor").await?;
    let (_executor, _) = node.executor(&lab, "box", &token).await?;
    let entry = node.entry("box", "");
    lab.environments(&format!(
        "include_local = false\ndefault = \"box\"\n{entry}"
    ))?;
    let script = "i=0; while [ $i -lt 400 ]; do i=$((i+1)); echo $i; sleep 0.01; done";
    let mut command = lab.farstep(&["exec", "--", "sh", "-c", script]);
    let token = node.token("harness").await?;
    let mut running = Running::start(command.env("RDV_TOKEN", &token))?;
    for expected in 1..=50 {
        assert_eq!(running.line().await?, expected.to_string());
    }
    // By the command this time, by the signal below.
    node.admin(&["drain"]).await?;
    node.ended().await?;
    let restarted = Instant::now();
    node.restart().await?;
    for expected in 51..=200 {
        assert_eq!(running.line().await?, expected.to_string());
    }
    node.drain().await?;
    node.restart().await?;
    for expected in 201..=400 {
        assert_eq!(running.line().await?, expected.to_string());
    }
    let took = restarted.elapsed();
    ensure!(
        took < Duration::from_secs(60),
        "driven again after {took:?}"
    );
    let done = running.finish().await?;
    ensure!(done.code == Some(0), "{}", done.err());
    Ok(())
}

/// Asks for a bundle as an orchestrator does: the status, and what `Retry-After` says.
async fn connect(node: &Rendezvous, token: &str, key: &str) -> Result<(u16, Option<String>)> {
    let address = node.url.trim_start_matches("http://");
    let request = format!(
        "POST /cloud/environment/box/connect HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer \
         {token}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: \
         {}\r\n\r\n{key}",
        key.len()
    );
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let status = answer.split(' ').nth(1).context("a status")?.parse()?;
    let said = |line: &str| {
        line.to_ascii_lowercase()
            .strip_prefix("retry-after: ")
            .map(str::to_owned)
    };
    Ok((status, answer.lines().find_map(said)))
}

#[tokio::test]
async fn a_credential_that_asks_too_often_waits_as_told_and_gets_through() -> Result<()> {
    const AT_ONCE: usize = 5;
    let lab = Lab::new()?;
    let flags = ["--connects-per-second", "1", "--connects-at-once", "5"];
    let node = Rendezvous::start_with(&lab, &flags).await?;
    let token = node.token("executor").await?;
    let (_executor, _) = node.executor(&lab, "box", &token).await?;
    let (greedy, modest) = (node.token("harness").await?, node.token("harness").await?);
    let key = Identity::generate()?;
    let key = serde_json::json!({"harness_public_key": key.public()}).to_string();
    for _ in 0..AT_ONCE {
        assert_eq!(connect(&node, &greedy, &key).await?.0, 200);
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (status, after) = connect(&node, &greedy, &key).await?;
        if status == 429 {
            let after: u64 = after.context("no Retry-After")?.parse()?;
            ensure!((1..=10).contains(&after), "{after}");
            break;
        }
        ensure!(status == 200 && Instant::now() < deadline, "{status}");
    }
    // It is for each credential.
    assert_eq!(connect(&node, &modest, &key).await?.0, 200);

    lab.environments(&format!("default = \"box\"\n{}", node.entry("box", "")))?;
    loop {
        let mut command = lab.farstep(&["exec", "--", "echo", "through"]);
        command
            .env("RDV_TOKEN", &greedy)
            .env("FARSTEP_LOG", "farstep_environments=debug")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn()?;
        let mut log = BufReader::new(child.stderr.take().context("no stderr")?).lines();
        let mut told = false;
        // Nothing is left for it for as long as somebody else with its credential goes on asking.
        let refused = async {
            while let Some(line) = log.next_line().await? {
                if line.contains("trying again") && line.contains("429") {
                    told = true;
                    let seconds = line.split("seconds=").nth(1).context("no pause")?;
                    let seconds: f64 = seconds.split(' ').next().unwrap_or_default().parse()?;
                    ensure!(seconds >= 1.0, "{line}");
                    break;
                }
            }
            anyhow::Ok(())
        };
        let asking = async {
            loop {
                connect(&node, &greedy, &key).await?;
            }
        };
        tokio::select! {
            refused = refused => refused?,
            failed = asking => return failed,
        }
        let rest = async { while let Ok(Some(_)) = log.next_line().await {} };
        let (done, ()) = tokio::join!(child.wait_with_output(), rest);
        let done = done?;
        ensure!(done.status.success(), "{:?}", done.status);
        assert_eq!(done.stdout, b"through\n");
        if told {
            return Ok(());
        }
        // It was lucky.
        ensure!(Instant::now() < deadline, "it was never refused");
    }
}
