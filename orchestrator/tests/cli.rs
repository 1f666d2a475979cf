//! The program as somebody types it: help, usage errors, and the exit code of each.
//!
//! Hermetic: a home of its own, none of this machine's variables, no executor and no model.

#![expect(
    clippy::unwrap_used,
    reason = "whatever goes wrong here should stop the test on the spot"
)]

use std::path::Path;

use assert_cmd::Command;
use tempfile::TempDir;

struct Home(TempDir);

impl Home {
    fn new() -> Home {
        Home(tempfile::tempdir().unwrap())
    }

    fn with(file: &str, text: &str) -> Home {
        let home = Home::new();
        std::fs::write(home.path().join(file), text).unwrap();
        home
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Runs the program; gives its exit code, standard output and standard error.
    fn farstep(&self, args: &[&str]) -> (i32, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_farstep"))
            .args(args)
            .env_clear()
            .env("FARSTEP_HOME", self.path())
            .env("COLUMNS", "100")
            .current_dir(self.path())
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| {
            let text = String::from_utf8(bytes).unwrap();
            text.replace(&self.path().display().to_string(), "[HOME]")
        };
        (
            output.status.code().unwrap(),
            text(output.stdout),
            text(output.stderr),
        )
    }
}

fn help(args: &[&str]) -> String {
    let (code, out, err) = Home::new().farstep(args);
    assert_eq!((code, err.as_str()), (0, ""));
    out
}

#[test]
fn help_says_what_can_be_typed() {
    use clap::CommandFactory as _;
    every_help(&farstep_orchestrator::cli::Cli::command(), &[]);
}

/// The help of a command and of everything below it, each a snapshot of its own.
fn every_help(command: &clap::Command, path: &[&str]) {
    let name = [&["help"], path].concat().join("_");
    insta::assert_snapshot!(name, help(&[path, &["--help"]].concat()));
    for below in command.get_subcommands() {
        every_help(below, &[path, &[below.get_name()]].concat());
    }
}

#[test]
fn wrong_usage_ends_with_two_and_says_so_on_standard_error() {
    for args in [
        &[][..],
        &["nonsense"],
        &["run"],
        &["run", "x", "--cwd", "no-equals-sign"],
        &["run", "x", "--deferred", "--blocking"],
        &["exec"],
        &["exec", "ls"],
        &["env"],
    ] {
        let (code, out, err) = Home::new().farstep(args);
        assert_eq!((code, out.as_str()), (2, ""), "{args:?}: {err}");
        assert!(!err.is_empty(), "{args:?}");
    }
}

#[test]
fn every_failure_ends_with_what_to_try() {
    let none = Home::with("environments.toml", "default = \"none\"\n");
    let broken = Home::with("environments.toml", "[[environments]]\nid = \"a\"\n");
    let typo = Home::with("config.toml", "model = 3\n");
    let local = ["--base-url", "http://127.0.0.1:1", "--model", "m"];
    let with = |args: &[&'static str]| [args, &local[..]].concat();
    let cases = [
        (
            "an unknown environment",
            &none,
            vec!["exec", "-e", "nope", "--", "ls"],
        ),
        ("no default environment", &none, vec!["exec", "--", "ls"]),
        ("a broken environments.toml", &broken, vec!["env", "list"]),
        ("a broken config.toml", &typo, vec!["run", "x"]),
        (
            "no model",
            &none,
            vec!["run", "x", "--base-url", "http://127.0.0.1:1"],
        ),
        (
            "no key",
            &none,
            vec![
                "run",
                "x",
                "--base-url",
                "https://model.example",
                "--model",
                "m",
            ],
        ),
        (
            "a url that is none",
            &none,
            vec!["run", "x", "--base-url", "ftp://h", "--model", "m"],
        ),
        ("an empty prompt", &none, with(&["run", " "])),
        (
            "a folder for an unselected environment",
            &none,
            with(&["run", "x", "--cwd", "a=/"]),
        ),
        (
            "a folder for nothing",
            &none,
            with(&["run", "x", "--cd", "/"]),
        ),
    ];
    let mut told = String::new();
    for (what, home, args) in cases {
        let (code, out, err) = home.farstep(&args);
        assert_eq!((code, out.as_str()), (2, ""), "{what}: {err}");
        assert!(err.contains("  try: "), "{what}: {err}");
        told += &format!("{what}:\n{err}\n");
    }
    insta::assert_snapshot!(told);
}

#[test]
fn a_local_environment_needs_the_executor_and_both_places_are_named() {
    // Only the program itself is there, so that nothing lies beside it.
    let home = Home::new();
    let alone = home.path().join("farstep");
    // A link first: a file that was just written cannot be run while another test forks.
    std::fs::hard_link(env!("CARGO_BIN_EXE_farstep"), &alone)
        .or_else(|_| std::fs::copy(env!("CARGO_BIN_EXE_farstep"), &alone).map(drop))
        .unwrap();
    let output = Command::new(&alone)
        .args(["exec", "--", "ls"])
        .env_clear()
        .env("FARSTEP_HOME", home.path())
        .output()
        .unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{err}");
    assert!(
        err.contains(&home.path().display().to_string()) && err.contains("PATH"),
        "{err}"
    );
}

#[test]
fn an_unreachable_executor_is_255_and_a_failed_test_is_1() {
    // The discard port: nothing listens there.
    let home = Home::with(
        "environments.toml",
        "default = \"far\"\ninclude_local = false\n\
         [[environments]]\nid = \"far\"\nurl = \"ws://127.0.0.1:9\"\n",
    );
    let (code, out, err) = home.farstep(&["exec", "--", "ls"]);
    assert_eq!((code, out.as_str()), (255, ""), "{err}");
    assert!(err.contains("`far`") && err.contains("  try: "), "{err}");
    let (code, out, _) = home.farstep(&["env", "test", "--json"]);
    assert_eq!(code, 1);
    let line: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&line["id"], &line["ok"]), (&"far".into(), &false.into()));
    assert_eq!(line["connect"]["result"], "failed");
}

/// The kernel's sign for "not to be dumped or attached to": nobody's process is root's.
#[cfg(target_os = "linux")]
#[test]
fn nobody_of_the_same_user_can_look_into_it() {
    use std::os::unix::fs::MetadataExt as _;
    use std::os::unix::process::CommandExt as _;

    const NOBODY: u32 = 65534;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let home = Home::with(
        "environments.toml",
        &format!(
            "default = \"far\"\ninclude_local = false\n[[environments]]\nid = \"far\"\n\
             url = \"ws://{}\"\n",
            listener.local_addr().unwrap()
        ),
    );
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_farstep"));
    command
        .args(["env", "test"])
        .env_clear()
        .env("FARSTEP_HOME", home.path())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null());
    if std::fs::metadata(home.path()).unwrap().uid() == 0 {
        let all = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(home.path(), all).unwrap();
        command.uid(NOBODY).gid(NOBODY);
    }
    let mut child = command.spawn().unwrap();
    // It dials, so its start is behind it, and waits for an answer that does not come.
    let connection = listener.accept().unwrap();
    let of_child = format!("/proc/{}", child.id());
    let status = std::fs::read_to_string(format!("{of_child}/status")).unwrap();
    let environ = std::fs::metadata(format!("{of_child}/environ")).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    drop(connection);
    let uid = status.lines().find(|line| line.starts_with("Uid:"));
    assert!(!uid.unwrap().contains("\t0\t"), "{uid:?}");
    assert_eq!(environ.uid(), 0);
}

#[test]
fn the_list_of_environments_dials_nobody() {
    let home = Home::with(
        "environments.toml",
        "default = \"far\"\n\
         [[environments]]\nid = \"far\"\nurl = \"ws://user:secret@far.example:1\"\n",
    );
    let (code, out, _) = home.farstep(&["env", "list"]);
    assert_eq!(code, 0);
    assert!(
        out.contains("far") && out.contains("local") && !out.contains("secret"),
        "{out}"
    );
    let (code, out, _) = home.farstep(&["env", "list", "--json"]);
    assert_eq!(code, 0);
    let ids: Vec<String> = out
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|line| line["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids, ["local", "far"]);
}

#[test]
fn a_provider_that_is_not_there_fails_the_turn_after_its_retries() {
    let home = Home::with("environments.toml", "default = \"none\"\n");
    let args = [
        "run",
        "x",
        "--base-url",
        "http://127.0.0.1:9",
        "--model",
        "m",
        "--json",
        "--request-max-retries",
        "0",
        "--stream-max-retries",
        "1",
    ];
    let (code, out, _) = home.farstep(&args);
    assert_eq!(code, 1);
    let kinds: Vec<String> = out
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|line| line["type"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        kinds,
        [
            "thread.started",
            "turn.started",
            "error",
            "error",
            "turn.failed"
        ]
    );
}
