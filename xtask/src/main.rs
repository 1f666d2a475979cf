//! Tasks of this repository that need more than one cargo call.
//!
//! `cargo demo` builds both programs and runs the demo; `cargo xtask size` prints the footprint of
//! the executor next to its budget; `cargo xtask static` builds the executor that `farstep ssh` puts on
//! machines with another C library; `cargo xtask fuzz` runs the fuzz targets; `cargo xtask proto`
//! makes the Rust of the schemas; `cargo xtask bench-rendezvous` prints what one rendezvous node does
//! next to its targets.

mod footprint;
mod fuzz;
mod proto;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

fn main() -> Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("demo") => demo(&arguments.collect::<Vec<_>>()),
        Some("size") => footprint::check(&build()?.join("farstep-executor")),
        Some("fuzz") => fuzz::run(&arguments.collect::<Vec<_>>()),
        Some("proto") => proto::write(root()?).map(|()| ExitCode::SUCCESS),
        Some("static") => static_executor(),
        Some("bench-rendezvous") => bench_rendezvous(),
        Some("build") => build().map(|_| ExitCode::SUCCESS),
        _ => bail!(
            "no such task; there are:\n  \
             cargo demo         build both programs and run the demo\n  \
             cargo xtask build  build both programs for release, with completions and manual pages\n  \
             cargo xtask size   print the executor's footprint next to its budget\n  \
             cargo xtask static  build an executor for machines with another C library, or none\n  \
             cargo xtask fuzz   run every fuzz target for a minute\n  \
             cargo xtask proto  make the Rust of the schemas\n  \
             cargo xtask bench-rendezvous  print what one rendezvous node does next to its targets"
        ),
    }
}

/// Builds both programs for release and returns the folder they are in.
fn build() -> Result<PathBuf> {
    let root = root()?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // Each by itself: built together, the executor would get what only the other needs of the crates
    // they share.
    for package in ["farstep-orchestrator", "farstep-executor"] {
        let status = Command::new(&cargo)
            .current_dir(root)
            .args(["build", "--release", "--package", package, "--bins"])
            .status()
            .context("cargo could not be started")?;
        if !status.success() {
            bail!("cargo build failed");
        }
    }
    let folder = target(root).join("release");
    document(&folder)?;
    Ok(folder)
}

/// Builds the static executor, puts it where `farstep` beside it looks, and prints that place.
fn static_executor() -> Result<ExitCode> {
    let root = root()?;
    let script = root.join("integration/static/build");
    let built = Command::new(&script)
        .stderr(std::process::Stdio::inherit())
        .output()
        .with_context(|| format!("{} could not be started", script.display()))?;
    if !built.status.success() {
        bail!("{} failed: {}", script.display(), built.status);
    }
    let built = String::from_utf8(built.stdout).context("the path is no text")?;
    let place = target(root)
        .join("release/executors")
        .join("x86_64-unknown-linux-musl");
    std::fs::create_dir_all(&place)?;
    let place = place.join("farstep-executor");
    // One that runs from there goes on running.
    let fresh = place.with_extension("new");
    std::fs::copy(built.trim(), &fresh)
        .with_context(|| format!("{} was not copied", built.trim()))?;
    std::fs::rename(&fresh, &place)?;
    #[expect(clippy::print_stdout, reason = "it is what the caller asks for")]
    {
        println!("{}", place.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds a node for release and loads it.
fn bench_rendezvous() -> Result<ExitCode> {
    let root = root()?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(&cargo)
        .current_dir(root)
        .args([
            "build",
            "--release",
            "--package",
            "farstep-rendezvous",
            "--bins",
        ])
        .status()
        .context("cargo could not be started")?;
    if !built.success() {
        bail!("cargo build failed");
    }
    let program = target(root).join("release/farstep-rendezvous");
    let status = Command::new(&cargo)
        .current_dir(root)
        .args([
            "bench",
            "--package",
            "farstep-integration",
            "--bench",
            "rendezvous",
        ])
        .env("FARSTEP_RENDEZVOUS", program)
        .status()
        .context("cargo could not be started")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Writes beside the programs what a system is given with them.
fn document(folder: &Path) -> Result<()> {
    let program = folder.join("farstep");
    let share = folder.join("share");
    let say = |arguments: &[&std::ffi::OsStr]| -> Result<Vec<u8>> {
        let said = Command::new(&program).args(arguments).output();
        let said = said.with_context(|| format!("{} could not be started", program.display()))?;
        if !said.status.success() {
            bail!("{arguments:?}: {}", String::from_utf8_lossy(&said.stderr));
        }
        Ok(said.stdout)
    };
    let man = share.join("man/man1");
    say(&["man".as_ref(), "--out".as_ref(), man.as_os_str()])?;
    let completions = share.join("completions");
    std::fs::create_dir_all(&completions)?;
    for (shell, file) in COMPLETIONS {
        let script = say(&["completions".as_ref(), shell.as_ref()])?;
        std::fs::write(completions.join(file), script)?;
    }
    Ok(())
}

/// Shells, and the name each looks for.
const COMPLETIONS: [(&str, &str); 5] = [
    ("bash", "farstep"),
    ("elvish", "farstep.elv"),
    ("fish", "farstep.fish"),
    ("powershell", "_farstep.ps1"),
    ("zsh", "_farstep"),
];

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
