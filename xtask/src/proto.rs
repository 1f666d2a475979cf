//! `cargo xtask proto`: makes the Rust of our `.proto` files, without protoc.
//!
//! What it makes is checked in, so that building needs neither this nor the crates behind it; a test
//! below holds the two together.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// What describes the admin plane of a rendezvous, and the Rust of it.
const SCHEMA: &str = "rendezvous/proto/admin.proto";
const GENERATED: &str = "rendezvous/src/control/generated.rs";

/// The package of the schema, which names the file that is made.
const PACKAGE: &str = "farstep.rendezvous.admin.v1";

/// Writes it.
pub(crate) fn write(root: &Path) -> Result<()> {
    Ok(std::fs::write(root.join(GENERATED), generate(root)?)?)
}

fn generate(root: &Path) -> Result<String> {
    let schema = root.join(SCHEMA);
    let folder = schema.parent().context("a file is in a folder")?;
    let set = protox::compile([&schema], [folder]);
    let set = set.with_context(|| format!("{SCHEMA} is wrong"))?;
    let out = scratch()?;
    let messages = "#[derive(serde::Serialize, serde::Deserialize)] #[serde(default)]";
    let made = tonic_prost_build::configure()
        .out_dir(&out)
        .btree_map(".")
        .message_attribute(".", messages)
        // A policy with a name that is not known would be wider than it was meant.
        .message_attribute("Policy", "#[serde(deny_unknown_fields)]")
        .compile_fds(set);
    made.context("the Rust could not be made")?;
    let made = std::fs::read_to_string(out.join(format!("{PACKAGE}.rs")));
    std::fs::remove_dir_all(&out)?;
    let made = made.context("nothing was made")?;
    ensure!(
        made.starts_with("// This file is @generated"),
        "it looks different"
    );
    Ok(made)
}

/// A folder of this process alone.
fn scratch() -> Result<PathBuf> {
    let name = format!("farstep-proto-{}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    std::fs::create_dir(&folder)?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_checked_in_is_what_the_schema_says() {
        let root = crate::root().unwrap();
        let found = std::fs::read_to_string(root.join(GENERATED)).unwrap();
        assert!(
            found == generate(root).unwrap(),
            "{GENERATED} is not of {SCHEMA}; `cargo xtask proto` makes it"
        );
    }
}
