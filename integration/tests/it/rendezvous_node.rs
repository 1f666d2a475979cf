//! A node of a rendezvous as its operator meets it: certificates, draining, limits.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use farstep_integration::{Lab, PATIENCE, Rendezvous, Running};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
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
