//! From a folder: a file, no file, something that is no file.

use std::path::Path;

use serde_json::json;

use super::super::{
    Config, FILE_NAME, LoadError, OVERLAY_NAME, Places, discover, from_variables, load,
};
use super::{places, told};

fn folder_with(bytes: &[u8]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(FILE_NAME), bytes).unwrap();
    folder
}

#[track_caller]
fn fails(folder: &Path, expected: &str) -> LoadError {
    let error = load(folder).unwrap_err();
    let path = folder.join(FILE_NAME);
    assert_eq!(error.path(), path);
    let text = error.to_string();
    let named = expected.replace("{path}", &path.display().to_string());
    assert_eq!(text, named);
    error
}

const NO_VARIABLES: fn(&str) -> Option<String> = |_| None;

fn url_variable(value: &'static str) -> impl Fn(&str) -> Option<String> {
    move |name| (name == "CODEX_EXEC_SERVER_URL").then(|| value.to_owned())
}

fn discover_in(
    folder: &Path,
    variables: impl Fn(&str) -> Option<String>,
) -> Result<Config, LoadError> {
    discover(&Places::only(folder), variables)
}

#[test]
fn no_file_and_an_empty_file_mean_the_local_environment() {
    let local = Config::local_only().to_json();
    assert_eq!(
        local,
        json!({
            "default": {"kind": "environment", "id": "local"},
            "include_local": true,
            "environments": [],
        })
    );
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(load(empty.path()).unwrap().to_json(), local);
    assert_eq!(
        load(&empty.path().join("nowhere")).unwrap().to_json(),
        local
    );
    assert_eq!(load(folder_with(b"").path()).unwrap().to_json(), local);
    assert_eq!(
        load(folder_with(b"\xef\xbb\xbf").path()).unwrap().to_json(),
        local
    );
}

#[test]
fn a_relative_working_folder_lies_below_the_folder_of_the_file() {
    let folder = folder_with(b"environments = [{ id = \"a\", program = \"p\", cwd = \"x\" }]");
    let loaded = load(folder.path()).unwrap().to_json();
    assert_eq!(
        loaded["environments"][0]["transport"]["cwd"],
        json!(folder.path().join("x").display().to_string())
    );
}

#[test]
fn a_folder_in_place_of_the_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join(FILE_NAME)).unwrap();
    fails(
        folder.path(),
        "cannot read {path}: it is a folder; move it away or put a file in its place",
    );
}

#[test]
fn bytes_that_are_not_utf8_are_refused_with_their_line() {
    let folder = folder_with(b"# one\n# two\ndefault = \"\xff\"\n");
    fails(
        folder.path(),
        "cannot read {path}: line 3 is not UTF-8; save the file as UTF-8",
    );
}

#[test]
fn a_file_that_is_far_too_large_is_refused() {
    let mut bytes = b"# ".to_vec();
    bytes.resize(1024 * 1024, b'x');
    assert!(load(folder_with(&bytes).path()).is_ok());
    bytes.push(b'x');
    fails(
        folder_with(&bytes).path(),
        "cannot read {path}: it is larger than 1048576 bytes; make it smaller",
    );
}

#[test]
#[cfg(unix)]
fn a_link_that_leads_nowhere_is_not_a_missing_file() {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("nowhere", folder.path().join(FILE_NAME)).unwrap();
    let error = load(folder.path()).unwrap_err();
    assert!(matches!(error, LoadError::Unreadable { .. }), "{error}");
    assert!(std::error::Error::source(&error).is_some());
}

#[test]
#[cfg(unix)]
fn a_configuration_folder_that_is_a_file_is_not_a_missing_file() {
    let folder = folder_with(b"");
    let error = load(&folder.path().join(FILE_NAME)).unwrap_err();
    assert!(matches!(error, LoadError::Unreadable { .. }), "{error}");
}

#[test]
fn an_invalid_file_names_itself_in_every_complaint() {
    let folder = folder_with(b"nope = 1\ndefault = \"\"\n");
    let path = folder.path().join(FILE_NAME).display().to_string();
    let text = load(folder.path()).unwrap_err().to_string();
    assert!(
        text.starts_with(&format!("{path}:1:1: error[unknown_field]")),
        "{text}"
    );
    assert!(
        text.contains(&format!("\n{path}:2:11: error[default_empty]")),
        "{text}"
    );
}

#[test]
fn without_a_file_a_variable_may_name_one_executor() {
    let empty = tempfile::tempdir().unwrap();
    let found = |value| {
        discover_in(empty.path(), url_variable(value))
            .unwrap()
            .to_json()
    };
    let local = Config::local_only().to_json();
    assert_eq!(
        discover_in(empty.path(), NO_VARIABLES).unwrap().to_json(),
        local
    );
    assert_eq!(found("  "), local);
    assert_eq!(
        found(" None "),
        json!({"default": {"kind": "disabled"}, "include_local": false, "environments": []})
    );
    for url in ["ws://127.0.0.1:1", "garbage", "http://x"] {
        assert_eq!(
            from_variables(url_variable(url)).to_json(),
            json!({
                "default": {"kind": "environment", "id": "remote"},
                "include_local": false,
                "environments": [{
                    "id": "remote",
                    "transport": {
                        "type": "websocket",
                        "url": url,
                        "connect_timeout_ms": 10000,
                        "initialize_timeout_ms": 10000,
                        "bearer": false,
                    },
                    "skills_required": [],
                }],
            })
        );
    }
}

#[test]
fn beside_a_file_the_variable_counts_for_nothing_and_is_mentioned() {
    let folder = folder_with(b"include_local = false\n");
    let config = discover_in(folder.path(), url_variable("ws://a")).unwrap();
    assert!(config.entries.is_empty());
    assert_eq!(places(&config.warnings), ["legacy_variable_ignored - 1:1"]);
    assert_eq!(
        told(&config.warnings),
        "environments.toml:1:1: warning[legacy_variable_ignored]: CODEX_EXEC_SERVER_URL is set, \
         but this file counts\n  help: add the executor to this file, or unset the variable"
    );
    let config = discover_in(folder.path(), url_variable(" ")).unwrap();
    assert_eq!(places(&config.warnings), [""; 0]);
}

#[test]
fn the_file_of_codex_counts_when_we_have_none_and_ours_is_laid_over_it() {
    let (own, codex) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let places = Places {
        own: own.path().to_owned(),
        codex: Some(codex.path().to_owned()),
    };
    let ids = |config: &Config| -> Vec<String> {
        let ids = config.entries.iter().map(|entry| entry.id.to_string());
        ids.collect()
    };
    let write = |folder: &tempfile::TempDir, name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).unwrap();
    };
    let file =
        |id: &str| format!("[[environments]]\nid = \"{id}\"\nprogram = \"p\"\ncwd = \"x\"\n");
    write(&codex, FILE_NAME, &file("theirs"));
    let overlay = "[overlay.theirs]\ncwd = \"/srv\"\n[overlay.Theirs]\nos = \"linux\"\n\
                   [farstep]\nhot_reload = true\n";
    write(&own, OVERLAY_NAME, overlay);
    let config = discover(&places, NO_VARIABLES).unwrap();
    assert_eq!(ids(&config), ["theirs"]);
    assert_eq!(config.file, Some(codex.path().join(FILE_NAME)));
    assert_eq!(config.farstep.hot_reload, Some(true));
    let cwd = config.entries[0].farstep.cwd.as_ref();
    assert_eq!(cwd.map(|cwd| cwd.as_str()), Some("file:///srv"));
    assert_eq!(
        config.told_warnings(),
        ["environments.farstep.toml:3:10: warning[overlay_unknown]: \
          there is no environment `Theirs` to lay this over\n  \
          3 | [overlay.Theirs]\n    |          ^^^^^^\n  \
          help: did you mean `theirs`? ids are case-sensitive"]
    );

    write(&own, FILE_NAME, &file("ours"));
    assert_eq!(ids(&discover(&places, NO_VARIABLES).unwrap()), ["ours"]);
    let files = places.files();
    assert_eq!(files.len(), 4);
    assert!(files.contains(&codex.path().join(OVERLAY_NAME)));
}

#[test]
fn an_overlay_replaces_key_by_key_under_the_rules_of_the_entry_and_its_errors_have_its_name() {
    let folder = folder_with(
        b"[[environments]]\nid = \"a\"\nurl = \"wss://a\"\nauth_bearer_token = \"x\"\n\
          [environments.farstep]\nos = \"windows\"\narch = \"x86_64\"\n\
          [[environments]]\nid = \"b\"\nprogram = \"p\"\n",
    );
    let path = folder.path().join(OVERLAY_NAME);
    std::fs::write(
        &path,
        "[overlay.a]\narch = \"arm\"\ntls.ca_file = \"ca.pem\"\ncwd = 'C:\\src'\n",
    )
    .unwrap();
    let config = load(folder.path()).unwrap();
    let laid = &config.entries[0].farstep;
    assert_eq!(laid.arch.as_deref(), Some("arm"));
    let ca = laid.tls.as_ref().and_then(|tls| tls.ca_file.clone());
    assert_eq!(ca, Some(folder.path().join("ca.pem")));

    std::fs::write(
        &path,
        "environments = []\n[overlay.a]\ncwd = \"/srv\"\nauth.bearer.env = \"T\"\n\
         [overlay.b]\nproxy = \"none\"\n",
    )
    .unwrap();
    let LoadError::Invalid {
        path: told_of,
        diagnostics,
    } = load(folder.path()).unwrap_err()
    else {
        panic!("not invalid");
    };
    assert_eq!(told_of, path);
    assert_eq!(
        places(&diagnostics),
        [
            "unknown_field environments 1:1",
            "path_convention_mismatch overlay.a.cwd 3:7",
            "secret_source_conflict overlay.a.auth.bearer 4:6",
            "requires_url overlay.b.proxy 6:1",
        ],
        "{}",
        told(&diagnostics)
    );
}
