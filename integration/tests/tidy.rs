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
    let allowed: [(&str, &[&str]); 9] = [
        ("path-uri", &[]),
        ("harden", &[]),
        ("protocol", &["farstep-path-uri"]),
        ("protocol/transport", &["farstep-protocol"]),
        (
            "executor",
            &[
                "farstep-harden",
                "farstep-path-uri",
                "farstep-protocol",
                "farstep-telemetry",
                "farstep-transport",
            ],
        ),
        (
            "environments",
            &["farstep-path-uri", "farstep-protocol", "farstep-transport"],
        ),
        (
            "orchestrator",
            &[
                "farstep-environments",
                "farstep-harden",
                "farstep-path-uri",
                "farstep-protocol",
                "farstep-telemetry",
            ],
        ),
        ("telemetry", &["farstep-protocol"]),
        // Without `protocol::noise`: a relay that cannot decrypt needs no promise not to.
        (
            "rendezvous",
            &[
                "farstep-harden",
                "farstep-protocol",
                "farstep-telemetry",
                "farstep-transport",
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
        "rendezvous",
        "telemetry",
        "harden",
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
        "rendezvous",
        "telemetry",
        "harden",
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

/// What does the work of the commands a person types, and could do it for anybody else.
const FREE_OF_THE_TERMINAL: [&str; 10] = [
    "files/copy/claim.rs",
    "files/copy/pump.rs",
    "files/copy/root.rs",
    "files/copy/seal.rs",
    "files/copy/transfer.rs",
    "files/copy/tree/here.rs",
    "files/copy/tree/there.rs",
    "files/file.rs",
    "jobs/follow.rs",
    "jobs/store.rs",
];

#[test]
fn what_does_the_work_knows_no_terminal() {
    let folder = root().join("orchestrator/src");
    for name in FREE_OF_THE_TERMINAL {
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        for word in [
            "render::note",
            "render::print",
            "println!",
            "stdout()",
            "stderr()",
            "is_terminal",
        ] {
            assert!(!text.contains(word), "{name} has {word}");
        }
    }
    let mut sources_of_calls = Vec::new();
    sources(
        &root().join("environments/src/client"),
        &mut sources_of_calls,
    );
    for path in sources_of_calls {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains("println!"), "{}", path.display());
    }
}

#[test]
fn no_test_file_is_forgotten() {
    for suite in ["it", "interop", "attack", "sim"] {
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

/// The arguments of every log statement and span in a text.
fn log_statements(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for name in ["trace", "debug", "info", "warn", "error"] {
        for end in ["!(", "_span!("] {
            let call = format!("tracing::{name}{end}");
            for (at, _) in text.match_indices(&call) {
                let rest = &text[at + call.len()..];
                let mut depth = 1;
                let closes = |character: char| {
                    match character {
                        '(' => depth += 1,
                        ')' => depth -= 1,
                        _ => {}
                    }
                    depth == 0
                };
                found.push(&rest[..rest.find(closes).unwrap()]);
            }
        }
    }
    found
}

#[test]
fn no_log_statement_prints_a_whole_value() {
    // `?value` and `{value:?}` print whatever is in it, today and after the next change of its
    // type; what is logged is named field by field (security, SR-70).
    let mut files = Vec::new();
    for folder in ["protocol", "executor/src", "environments/src"] {
        sources(&root().join(folder), &mut files);
    }
    let mut seen = 0;
    for path in files {
        // Tests of the formatter itself say what they like.
        if path.ends_with("executor/src/logs/line.rs") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        for statement in log_statements(&text) {
            seen += 1;
            let prints_debug = statement.contains('?');
            assert!(!prints_debug, "{}: {statement}", path.display());
        }
    }
    assert!(seen > 20, "{seen}");
}

#[test]
fn types_that_hold_contents_do_not_print_them() {
    // Members with these names are what a peer entrusts to us. A type that has one says in its own
    // `Debug` what may be seen of it (protocol/src/redacted.rs, or beside the type).
    let contents = [
        "argv",
        "env",
        "set",
        "chunk",
        "bytes",
        "body",
        "data_base64",
        "token",
        "headers",
    ];
    let mut files = Vec::new();
    for folder in ["protocol/src", "executor/src"] {
        sources(&root().join(folder), &mut files);
    }
    let mut forgot = Vec::new();
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        for (at, _) in text.match_indices("#[derive(") {
            let item = &text[at..text[at..].find("\n}").map_or(text.len(), |end| at + end)];
            let mut lines = item.lines();
            let derives_debug = lines.next().is_some_and(|line| line.contains("Debug"));
            // Only the derive line, its attributes, and a struct with members.
            let head: Vec<_> = lines
                .by_ref()
                .take_while(|line| line.starts_with("#["))
                .collect();
            let declaration = item.lines().nth(head.len() + 1).unwrap_or_default();
            let is_struct = declaration.contains("struct ") && declaration.ends_with('{');
            let holds = |line: &str| {
                let member = line.trim().trim_start_matches("pub(crate) ");
                let member = member
                    .trim_start_matches("pub(super) ")
                    .trim_start_matches("pub ");
                let held = |name: &&str| {
                    member.starts_with(&format!("{name}: "))
                        // Numbers and flags of that name are sizes and choices, and the last
                        // one prints how many it has.
                        && !["bool,", "usize,", "u64,", "Option<u64>,", "Strings,", "Vec<ResponseHeader>,"]
                            .iter()
                            .any(|kind| member.ends_with(kind))
                };
                contents.iter().find(|name| held(name)).copied()
            };
            if derives_debug
                && is_struct
                && let Some(name) = item.lines().find_map(holds)
            {
                forgot.push(format!("{}: {declaration} {name}", path.display()));
            }
        }
    }
    assert!(forgot.is_empty(), "{forgot:#?}");
}

#[test]
fn what_is_recorded_and_the_flags_for_it_are_documented() {
    let page = std::fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let mut names = BTreeSet::new();
    let events = std::fs::read_to_string(root().join("executor/src/audit/event.rs")).unwrap();
    for line in events
        .lines()
        .filter(|line| line.contains("Event::") && line.contains("=> \""))
    {
        names.extend(line.split('"').nth(1).map(|name| format!("`{name}`")));
    }
    assert!(names.len() > 20, "{names:?}");
    for (file, fields) in [("audit/args.rs", "    audit_"), ("logs.rs", "    pub log_")] {
        let text = std::fs::read_to_string(root().join("executor/src").join(file)).unwrap();
        for line in text.lines().filter(|line| line.starts_with(fields)) {
            let field = line
                .trim()
                .trim_start_matches("pub ")
                .split(':')
                .next()
                .unwrap();
            names.insert(format!("--{}", field.replace('_', "-")));
        }
    }
    assert!(
        names.contains("--audit-required") && names.contains("--log-format"),
        "{names:?}"
    );
    let missing: Vec<_> = names.iter().filter(|name| !page.contains(*name)).collect();
    assert!(
        missing.is_empty(),
        "docs/operations.md does not name {missing:?}"
    );
}
