//! Where the programs under test are.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context as _, Result, bail};

use crate::need;

/// The programs, built.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The orchestrator.
    pub farstep: PathBuf,
    /// The executor.
    pub executor: PathBuf,
    /// The rendezvous.
    pub rendezvous: PathBuf,
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
    // This test program lies in target/PROFILE/deps, the programs two folders up. They are built
    // where it lies and as it was: built elsewhere, the tests would run what was left here before.
    let own = std::env::current_exe().context("this program has no path")?;
    let folder = own
        .parent()
        .and_then(Path::parent)
        .context("this program lies in no target folder")?;
    let target = folder.parent().context("there is no target folder")?;
    let profile = folder.file_name().context("there is no profile")?;
    let profile = match profile.to_str() {
        Some("debug") => "dev".as_ref(),
        _ => profile,
    };
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
            "--bin",
            "farstep-rendezvous",
            "--target-dir",
        ])
        .arg(target)
        .arg("--profile")
        .arg(profile)
        .output()
        .context("cargo could not be started")?;
    if !built.status.success() {
        bail!(
            "cargo build failed:\n{}",
            String::from_utf8_lossy(&built.stderr)
        );
    }
    let suffix = std::env::consts::EXE_SUFFIX;
    Ok(Programs {
        farstep: folder.join(format!("farstep{suffix}")),
        executor: folder.join(format!("farstep-executor{suffix}")),
        rendezvous: folder.join(format!("farstep-rendezvous{suffix}")),
    })
}

/// The executor that runs whatever C library is there, if it was built.
pub fn static_executor() -> Option<PathBuf> {
    let named = std::env::var_os("FARSTEP_STATIC_EXECUTOR").map(PathBuf::from);
    need(
        named.filter(|program| program.is_file()),
        "the static executor: FARSTEP_STATIC_EXECUTOR names no program",
    )
}

/// What a recipe of `docs/environments.md` starts: the program and its arguments.
pub fn recipe(id: &str) -> Result<Vec<String>> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/environments.md");
    let page = std::fs::read_to_string(page)?;
    let (_, recipes) = page.split_once("\n## Recipes\n").context("no recipes")?;
    let block = recipes.split_once("```toml\n").map(|(_, rest)| rest);
    let (block, _) = block
        .and_then(|rest| rest.split_once("\n```"))
        .context("no block of recipes")?;
    let file: toml::Table = toml::from_str(block)?;
    let entries = file["environments"].as_array().context("no entries")?;
    let entry = entries
        .iter()
        .find(|entry| entry["id"].as_str() == Some(id));
    let entry = entry.with_context(|| format!("no recipe `{id}`"))?;
    let arguments = entry["args"].as_array().context("no arguments")?;
    let words = std::iter::once(&entry["program"]).chain(arguments);
    let words = words.map(|word| Some(word.as_str()?.to_owned()));
    words
        .collect::<Option<_>>()
        .context("a word that is no text")
}
