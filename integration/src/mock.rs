//! The scripted model server that lies beside the checkout, with scripts of its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::process::Command;

use crate::{Finished, Lab, PATIENCE, Running};

/// A running `mock_responses.py`.
#[derive(Debug)]
pub struct MockModel {
    /// To be given as the base URL.
    pub url: String,
    /// Where it writes down each request.
    pub record: PathBuf,
    running: Running,
}

/// The folder beside the checkout that holds suites and scripts. `FARSTEP_SHARED` names another.
fn shared() -> PathBuf {
    std::env::var_os("FARSTEP_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
        PathBuf::from,
    )
}

impl MockModel {
    /// The server, if it is on this machine.
    pub fn find() -> Option<PathBuf> {
        let path = shared().join("tools/mock_responses.py");
        path.is_file().then_some(path)
    }

    /// Plays the script `name` of those beside the server, in strict mode.
    pub async fn play(lab: &Lab, name: &str, variables: &[(&str, &str)]) -> Result<MockModel> {
        MockModel::start(lab, &shared().join("tools/scripts").join(name), variables).await
    }

    /// Plays the script at `path`, in strict mode.
    pub async fn start(lab: &Lab, path: &Path, variables: &[(&str, &str)]) -> Result<MockModel> {
        let server = MockModel::find().context("the mock model server is not there")?;
        let python = std::env::var_os("FARSTEP_PYTHON").unwrap_or_else(|| "python3".into());
        let record = lab.path().join("requests.jsonl");
        let port_file = lab.path().join("port.txt");
        let mut command = Command::new(python);
        command
            .arg(server)
            .arg("--script")
            .arg(path)
            .arg("--record")
            .arg(&record)
            .args(["--port", "0", "--strict", "--port-file"])
            .arg(&port_file);
        for (name, value) in variables {
            command.args(["--var", &format!("{name}={value}")]);
        }
        let running = Running::start(&mut command)?;
        let port = appears(&port_file).await?;
        Ok(MockModel {
            url: format!("http://127.0.0.1:{}/v1", port.trim()),
            record,
            running,
        })
    }

    /// Stops it and says how the script went: exit code 0 when every check held, and all
    /// replies were asked for.
    pub async fn verdict(self) -> Result<Finished> {
        self.running.signal(rustix::process::Signal::TERM)?;
        self.running.finish().await
    }
}

/// Waits for another program to write a file. There is nothing to await but the file itself.
pub(crate) async fn appears(path: &Path) -> Result<String> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut look = tokio::time::interval(Duration::from_millis(10));
    loop {
        look.tick().await;
        match tokio::fs::read_to_string(path).await {
            Ok(text) if !text.is_empty() => return Ok(text),
            _ if tokio::time::Instant::now() > deadline => bail!("{} never came", path.display()),
            _ => {}
        }
    }
}
