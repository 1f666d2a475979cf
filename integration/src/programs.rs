//! Where the programs under test are.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context as _, Result, bail};

/// The two programs, built.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The orchestrator.
    pub farstep: PathBuf,
    /// The executor.
    pub executor: PathBuf,
}

impl Programs {
    /// Builds them once per test binary, so that no test runs a stale one.
    pub fn get() -> Result<&'static Programs> {
        static PROGRAMS: OnceLock<std::result::Result<Programs, String>> = OnceLock::new();
        match PROGRAMS.get_or_init(|| build().map_err(|error| format!("{error:#}"))) {
            Ok(programs) => Ok(programs),
            Err(error) => bail!("{error}"),
        }
    }
}

fn build() -> Result<Programs> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("the crate has no parent folder")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .current_dir(root)
        .args([
            "build",
            "--quiet",
            "--locked",
            "--bin",
            "farstep",
            "--bin",
            "farstep-executor",
        ])
        .output()
        .context("cargo could not be started")?;
    if !built.status.success() {
        bail!(
            "cargo build failed:\n{}",
            String::from_utf8_lossy(&built.stderr)
        );
    }
    // This test program lies in target/debug/deps, the programs two folders up.
    let own = std::env::current_exe().context("this program has no path")?;
    let folder = own
        .parent()
        .and_then(Path::parent)
        .context("this program lies in no target folder")?;
    let suffix = std::env::consts::EXE_SUFFIX;
    Ok(Programs {
        farstep: folder.join(format!("farstep{suffix}")),
        executor: folder.join(format!("farstep-executor{suffix}")),
    })
}
