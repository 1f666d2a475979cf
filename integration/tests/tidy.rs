//! Tests of the repository itself.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot read the repository has failed"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

fn manifest(folder: &str) -> toml::Table {
    let path = root().join(folder).join("Cargo.toml");
    std::fs::read_to_string(&path).unwrap().parse().unwrap()
}

/// The crates a member may not do without at run time: its own dependencies, not those of tests.
fn dependencies(folder: &str) -> BTreeSet<String> {
    let manifest = manifest(folder);
    let mut names = BTreeSet::new();
    let targets = manifest.get("target").and_then(toml::Value::as_table);
    let tables = targets
        .into_iter()
        .flat_map(|targets| targets.values())
        .filter_map(toml::Value::as_table)
        .chain([&manifest]);
    for table in tables {
        if let Some(dependencies) = table.get("dependencies").and_then(toml::Value::as_table) {
            names.extend(dependencies.keys().cloned());
        }
    }
    names
}

fn ours(folder: &str) -> BTreeSet<String> {
    dependencies(folder)
        .into_iter()
        .filter(|name| name.starts_with("farstep-"))
        .collect()
}

#[test]
fn who_imports_whom_is_as_drawn() {
    // docs/architecture.md draws it; an arrow that is missing here is missing on purpose.
    let allowed: [(&str, &[&str]); 6] = [
        ("path-uri", &[]),
        ("protocol", &["farstep-path-uri"]),
        ("protocol/transport", &[]),
        (
            "executor",
            &["farstep-path-uri", "farstep-protocol", "farstep-transport"],
        ),
        (
            "environments",
            &["farstep-path-uri", "farstep-protocol", "farstep-transport"],
        ),
        (
            "orchestrator",
            &[
                "farstep-environments",
                "farstep-path-uri",
                "farstep-protocol",
            ],
        ),
    ];
    for (folder, allowed) in allowed {
        let allowed: BTreeSet<String> = allowed.iter().map(|name| (*name).to_owned()).collect();
        let found = ours(folder);
        let surplus: Vec<_> = found.difference(&allowed).collect();
        assert!(surplus.is_empty(), "{folder} imports {surplus:?}");
    }
}

#[test]
fn every_member_is_on_the_list_above_or_stands_aside() {
    let workspace = manifest(".");
    let members = workspace["workspace"]["members"].as_array().unwrap();
    let members: BTreeSet<_> = members.iter().filter_map(toml::Value::as_str).collect();
    let known = [
        "path-uri",
        "protocol",
        "protocol/transport",
        "executor",
        "environments",
        "orchestrator",
        "integration",
        "xtask",
    ];
    assert_eq!(members, known.into_iter().collect());
}

#[test]
fn nobody_imports_the_test_bench() {
    for folder in [
        "path-uri",
        "protocol",
        "protocol/transport",
        "executor",
        "environments",
        "orchestrator",
        "xtask",
    ] {
        assert!(
            !dependencies(folder).contains("farstep-integration"),
            "{folder}"
        );
    }
}

#[test]
fn values_build_without_a_runtime() {
    // The whole closure, not only what the manifest names.
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    for package in ["farstep-path-uri", "farstep-protocol"] {
        let tree = std::process::Command::new(&cargo)
            .current_dir(root())
            .args([
                "tree",
                "--locked",
                "--offline",
                "--edges",
                "normal",
                "--prefix",
                "none",
            ])
            .args(["--package", package])
            .output()
            .unwrap();
        assert!(
            tree.status.success(),
            "{}",
            String::from_utf8_lossy(&tree.stderr)
        );
        let tree = String::from_utf8(tree.stdout).unwrap();
        assert!(tree.contains(package));
        for banned in ["tokio", "mio", "rustls", "hyper", "clap"] {
            let found = tree
                .lines()
                .any(|line| line.split(' ').next() == Some(banned));
            assert!(!found, "{package} builds {banned}");
        }
    }
}

#[test]
fn all_versions_live_in_the_workspace() {
    for folder in [
        "path-uri",
        "protocol",
        "protocol/transport",
        "executor",
        "environments",
        "orchestrator",
        "integration",
        "xtask",
    ] {
        let text = std::fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
        let own_version = text.lines().find(|line| {
            let is_dependency = line.contains(" = \"") || line.contains("version = \"");
            is_dependency
                && line
                    .trim_start()
                    .starts_with(|c: char| c.is_ascii_lowercase())
                && line.contains("= \"")
                && line.split('=').nth(1).is_some_and(|value| {
                    value
                        .trim()
                        .trim_start_matches('"')
                        .starts_with(|c: char| c.is_ascii_digit())
                })
        });
        assert_eq!(own_version, None, "{folder} names a version of its own");
    }
}

fn sources(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            sources(&path, out);
        } else if name.ends_with(".rs") {
            out.push(path);
        }
    }
}

#[test]
fn unsafe_stays_in_the_one_place_for_it() {
    let mut files = Vec::new();
    sources(&root(), &mut files);
    assert!(files.len() > 50);
    let home = root().join("executor/src/os");
    let word = concat!("un", "safe");
    for path in files.iter().filter(|path| !path.starts_with(&home)) {
        let text = std::fs::read_to_string(path).unwrap();
        let found = [
            format!("{word} {{"),
            format!("{word} fn"),
            format!("{word} impl"),
            format!("{word}_code)"),
        ];
        let found = found.iter().find(|pattern| {
            text.contains(pattern.as_str()) && !text.contains(&format!("forbid({word}_code)"))
        });
        assert_eq!(found, None, "{}", path.display());
    }
}

#[test]
fn every_method_of_the_wire_is_documented() {
    let mut names = BTreeSet::new();
    for file in ["process", "fs", "environment", "initialize"] {
        let path = root().join(format!("protocol/src/method/{file}.rs"));
        let text = std::fs::read_to_string(path).unwrap();
        for line in text.lines().filter(|line| line.starts_with("pub const ")) {
            if let Some(name) = line.split('"').nth(1) {
                names.insert(name.to_owned());
            }
        }
    }
    assert!(names.len() > 15, "{names:?}");
    let docs = std::fs::read_to_string(root().join("docs/protocol.md")).unwrap();
    let missing: Vec<_> = names
        .iter()
        .filter(|name| !docs.contains(&format!("`{name}`")))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/protocol.md does not name {missing:?}"
    );
}

#[test]
fn no_test_file_is_forgotten() {
    for suite in ["it", "interop"] {
        let folder = root().join("integration/tests").join(suite);
        let main = std::fs::read_to_string(folder.join("main.rs")).unwrap();
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            if path.extension().is_some_and(|extension| extension == "rs") && name != "main" {
                assert!(
                    main.contains(&format!("mod {name};")),
                    "{suite}/{name}.rs is in no suite"
                );
            }
        }
    }
}

#[test]
fn the_page_on_compatibility_names_every_expected_difference() {
    let path = root().join("integration/tests/interop/expected-differences.toml");
    let listed: toml::Table = std::fs::read_to_string(path).unwrap().parse().unwrap();
    let page = std::fs::read_to_string(root().join("docs/compatibility.md")).unwrap();
    for (list, key) in [("difference", "exchange"), ("member", "name")] {
        for entry in listed[list].as_array().unwrap() {
            let name = entry[key].as_str().unwrap();
            assert!(page.contains(&format!("`{name}`")), "{name} is missing");
        }
    }
}
