use std::path::Path;

use serde_json::json;

use super::*;
use crate::config;
use crate::testing::start_params;

fn terms(entry: &str) -> Terms {
    let text = format!("[[environments]]\nid = \"box\"\nurl = \"ws://box\"\n{entry}");
    let config = config::parse(&text, Path::new("/")).unwrap();
    Terms::of(&config.entries[0])
}

fn info(more: serde_json::Value) -> EnvironmentInfo {
    let mut info = json!({
        "shell": {"name": "sh", "path": "/bin/sh"}, "cwd": "file:///srv",
        "userHomeDir": "file:///home/me", "platformOs": "linux", "farstepArch": "x86_64",
        "capabilities": {"farstepFiles": true},
    });
    for (name, value) in more.as_object().unwrap() {
        info[name] = value.clone();
    }
    serde_json::from_value(info).unwrap()
}

fn agreed(entry: &str, more: serde_json::Value) -> Result<Manner, ConnectError> {
    terms(entry).agree(&mut info(more))
}

#[test]
fn another_system_or_architecture_than_the_entry_says_is_no_connection() {
    let of = |key: &str| format!("farstep = {{ {key} }}\n");
    for (said, told) in [
        (
            "os = \"windows\"",
            "`farstep.os` is \"windows\", and the executor there runs on linux",
        ),
        (
            "arch = \"arm64\"",
            "`farstep.arch` is \"arm64\", and the executor there runs on x86_64",
        ),
    ] {
        let error = agreed(&of(said), json!({})).unwrap_err();
        assert!(error.to_string().ends_with(told), "{error}");
        assert!(!error.may_pass());
    }
    for said in ["os = \"linux\"", "arch = \"amd64\"", "arch = \"x86_64\""] {
        agreed(&of(said), json!({})).unwrap();
    }
    // Who does not say is not held to it.
    let silent = json!({"platformOs": null, "farstepArch": null});
    agreed(&of("os = \"windows\", arch = \"arm\""), silent).unwrap();
}

#[test]
fn variables_of_a_url_entry_reach_every_process() {
    let entry = "[environments.farstep.env]\nset = { LANG = \"C\", HOME = \"/x\" }\n\
                 pass = [\"PATH\"]\nunset = [\"SECRET\"]\n";
    let manner = agreed(entry, json!({})).unwrap();
    let mut params = start_params("p");
    params.env_policy = Some(serde_json::from_value(json!({
        "inherit": "all", "ignoreDefaultExcludes": true, "exclude": ["ours"], "set": {}, "includeOnly": [],
    })).unwrap());
    params.env.insert("LANG".to_owned(), "de".to_owned());
    let started = manner.apply(params.clone());
    assert_eq!(started.env["LANG"], "C");
    assert_eq!(started.env["HOME"], "/x");
    let policy = started.env_policy.unwrap();
    assert_eq!(policy.include_only, ["PATH"]);
    assert_eq!(policy.exclude, ["ours", "SECRET"]);
    assert!(policy.inherit == Inherit::All);

    let nothing = agreed("farstep = { env = { pass = [] } }\n", json!({})).unwrap();
    let policy = nothing.apply(params).env_policy.unwrap();
    assert!(policy.inherit == Inherit::None && policy.include_only.is_empty());
}

#[test]
fn a_started_program_has_its_variables_from_its_start() {
    let text = "[[environments]]\nid = \"box\"\nprogram = \"x\"\n\
                farstep = { env = { set = { A = \"b\" } } }\n";
    let config = config::parse(text, Path::new("/")).unwrap();
    let manner = Terms::of(&config.entries[0]).agree(&mut info(json!({})));
    assert!(manner.unwrap().apply(start_params("p")).env.is_empty());
}

#[test]
fn a_profile_that_cannot_be_enforced_is_no_connection() {
    for profile in ["read-only", ":workspace"] {
        let entry = format!("farstep = {{ permission_profile = \"{profile}\" }}\n");
        let error = agreed(&entry, json!({})).unwrap_err();
        assert!(error.to_string().contains("does not announce"), "{error}");
    }
    let full = "farstep = { permission_profile = \":danger-full-access\" }\n";
    assert_eq!(agreed(full, json!({})).unwrap().sandbox(), None);
}

#[test]
fn a_profile_travels_with_every_call_where_it_can_be_enforced() {
    let can = json!({"capabilities": {"sandboxedFileStreaming": true, "farstepFiles": true}});
    let entry = "farstep = { permission_profile = \"workspace-write\", roots = [\"/srv/a\", \"/srv/b\"] }\n";
    let terms = terms(entry);
    let mut info = info(can);
    let sandbox = terms
        .agree(&mut info)
        .unwrap()
        .apply(start_params("p"))
        .sandbox
        .unwrap();
    assert!(
        !info.can(fs::FILES),
        "calls without a sandbox are not offered"
    );
    let told = serde_json::to_value(&sandbox).unwrap();
    assert_eq!(told["cwd"], "file:///srv/a");
    assert_eq!(
        told["workspaceRoots"],
        json!(["file:///srv/a", "file:///srv/b"])
    );
    assert_eq!(told["windowsSandboxLevel"], "disabled");
    assert_eq!(told["permissions"]["network"], "restricted");
    let entries = told["permissions"]["file_system"]["entries"]
        .as_array()
        .unwrap();
    let special = |value: serde_json::Value, access: &str| json!({"path": {"type": "special", "value": value}, "access": access});
    assert_eq!(entries[0], special(json!({"kind": "root"}), "read"));
    assert_eq!(
        entries[1],
        special(json!({"kind": "project_roots"}), "write")
    );
    assert!(entries.contains(&json!({
        "path": {"type": "special", "value": {"kind": "project_roots", "subpath": ".git"}},
        "access": "read", "missing_path_behavior": "skip",
    })));
    assert!(entries.contains(&json!({
        "path": {"type": "path", "path": "file:///home/me/.ssh"},
        "access": "deny", "missing_path_behavior": "skip",
    })));
}
