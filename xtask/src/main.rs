//! Tasks of this repository that need more than one cargo call.
//!
//! `cargo demo` builds both programs and runs the demo; `cargo xtask size` prints the footprint of
//! the executor next to its budget; `cargo xtask fuzz` runs the fuzz targets.

mod footprint;
mod fuzz;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

fn main() -> Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("demo") => demo(&arguments.collect::<Vec<_>>()),
        Some("size") => footprint::check(&build()?.join("farstep-executor")),
        Some("fuzz") => fuzz::run(&arguments.collect::<Vec<_>>()),
        Some("build") => build().map(|_| ExitCode::SUCCESS),
        _ => bail!(
            "no such task; there are:\n  \
             cargo demo         build both programs and run the demo\n  \
             cargo xtask build  build both programs for release\n  \
             cargo xtask size   print the executor's footprint next to its budget\n  \
             cargo xtask fuzz   run every fuzz target for a minute"
        ),
    }
}

/// Builds both programs for release and returns the folder they are in.
fn build() -> Result<PathBuf> {
    let root = root()?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(root)
        .args([
            "build",
            "--release",
            "--bin",
            "farstep",
            "--bin",
            "farstep-executor",
        ])
        .status()
        .context("cargo could not be started")?;
    if !status.success() {
        bail!("cargo build failed");
    }
    Ok(target(root).join("release"))
}

/// The repository.
fn root() -> Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("the xtask crate has no parent folder")
}

/// Where cargo puts what it builds.
fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

fn demo(arguments: &[String]) -> Result<ExitCode> {
    let program = build()?.join("farstep");
    let status = Command::new(&program)
        .arg("demo")
        .args(arguments)
        .status()
        .with_context(|| format!("{} could not be started", program.display()))?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
