//! A real sshd on loopback, for one test.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Child;

use crate::{Backgrounds, Lab, PATIENCE};

/// How often another port is tried when somebody was faster.
const PORTS_TRIED: usize = 5;

/// An sshd with a key, a configuration and a port of its own. It lets in whoever runs the test, as
/// that user, with a home folder of its own. Its end is that of this value.
#[derive(Debug)]
pub struct Sshd {
    folder: PathBuf,
    port: u16,
    _child: Child,
    /// They outlive every login, but not the test.
    _backgrounds: Backgrounds,
}

impl Sshd {
    /// Whether one can be started here, and what is missing otherwise.
    pub fn is_here() -> bool {
        daemon().is_some() && find("ssh").is_some() && find("ssh-keygen").is_some()
    }

    /// Starts one. `force`, if it says something, is run instead of what is asked for, which it
    /// finds in `SSH_ORIGINAL_COMMAND`.
    pub async fn start(lab: &Lab, name: &str, force: &str) -> Result<Sshd> {
        let folder = lab.folder(name)?;
        let home = folder.join("home");
        std::fs::create_dir_all(&home)?;
        for key in ["host", "me", "stranger"] {
            let file = folder.join(key);
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(&file)
                .status()?;
            ensure!(made.success(), "ssh-keygen failed");
        }
        std::fs::copy(folder.join("me.pub"), folder.join("authorized"))?;
        if rustix::process::geteuid().is_root() {
            // Where root's sshd wants to lock itself in; no service has made it here.
            std::fs::create_dir_all("/run/sshd")?;
        }
        for _ in 0..PORTS_TRIED {
            let port = std::net::TcpListener::bind("127.0.0.1:0")?
                .local_addr()?
                .port();
            if let Some(child) = listen(&folder, &home, port, force).await? {
                let sshd = Sshd {
                    _backgrounds: Backgrounds::below(&home),
                    folder,
                    port,
                    _child: child,
                };
                sshd.client()?;
                return Ok(sshd);
            }
        }
        bail!("no port was free for sshd")
    }

    /// The home folder of whoever logs in.
    pub fn home(&self) -> PathBuf {
        self.folder.join("home")
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A folder to put in front of `PATH`: its `ssh` knows this sshd as `box`, as `stranger` with
    /// a key that is not let in, and as `unknown` whose own key nobody has seen.
    pub fn bin(&self) -> PathBuf {
        self.folder.join("bin")
    }

    fn client(&self) -> Result<()> {
        let Sshd { folder, port, .. } = self;
        let shown = folder.display();
        let host_key = std::fs::read_to_string(folder.join("host.pub"))?;
        std::fs::write(
            folder.join("known"),
            format!("[127.0.0.1]:{port} {host_key}"),
        )?;
        std::fs::write(
            folder.join("ssh_config"),
            format!(
                "Host stranger\n  IdentityFile {shown}/stranger\n\
                 Host unknown\n  UserKnownHostsFile /dev/null\n\
                 Host box unknown\n  IdentityFile {shown}/me\n\
                 Host box stranger unknown\n  HostName 127.0.0.1\n  Port {port}\n\
                 Host *\n  IdentitiesOnly yes\n  IdentityAgent none\n  \
                 UserKnownHostsFile {shown}/known\n  GlobalKnownHostsFile /dev/null\n"
            ),
        )?;
        let bin = self.bin();
        std::fs::create_dir_all(&bin)?;
        let ssh = find("ssh").context("there is no ssh")?;
        script(
            &bin.join("ssh"),
            &format!("exec {} -F {shown}/ssh_config \"$@\"", ssh.display()),
        )
    }
}

/// Writes an executable shell script.
pub fn script(path: &Path, text: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, format!("#!/bin/sh\n{text}\n"))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Starts it and waits until it listens; `None` when the port is taken.
async fn listen(folder: &Path, home: &Path, port: u16, force: &str) -> Result<Option<Child>> {
    let shown = folder.display();
    let force = match force {
        "" => String::new(),
        force => format!("ForceCommand {force}\n"),
    };
    let config = folder.join("sshd_config");
    std::fs::write(
        &config,
        format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {shown}/host\n\
             AuthorizedKeysFile {shown}/authorized\nStrictModes no\nUsePAM no\n\
             PasswordAuthentication no\nPidFile none\nSetEnv HOME={}\n{force}",
            home.display()
        ),
    )?;
    let sshd = daemon().context("there is no sshd")?;
    let mut child = tokio::process::Command::new(sshd)
        .args(["-D", "-e", "-f"])
        .arg(&config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let stderr = child.stderr.take().context("standard error is not piped")?;
    let mut lines = BufReader::new(stderr).lines();
    let listens = async {
        while let Some(line) = lines.next_line().await? {
            if line.starts_with("Server listening") {
                return Ok(true);
            }
            if !line.contains("in use") && line.contains("rror") {
                bail!("sshd: {line}");
            }
        }
        Ok(false)
    };
    let listens = tokio::time::timeout(PATIENCE, listens).await;
    if !listens.context("sshd did not start in time")?? {
        return Ok(None);
    }
    // It stops when nobody reads what it says.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Ok(Some(child))
}

/// It must be started by its full path.
fn daemon() -> Option<PathBuf> {
    let usual = ["/usr/sbin/sshd", "/usr/local/sbin/sshd"].map(PathBuf::from);
    usual.into_iter().find(|path| path.is_file())
}

/// A program of the search path.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut candidates = std::env::split_paths(&path).map(|folder| folder.join(name));
    candidates.find(|candidate| candidate.is_file())
}
