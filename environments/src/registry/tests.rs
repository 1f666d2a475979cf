use std::path::Path;

use super::*;
use crate::config;
use crate::environment::Status;

const FILE: &str = r#"
default = "b"
[[environments]]
id = "a"
url = "ws://127.0.0.1:1"
[[environments]]
id = "b"
program = "no-such-program-anywhere"
[[environments]]
id = "c"
url = "wss://user:hunter2@executor.example/?token=hunter2"
"#;

fn configured(text: &str) -> Config {
    config::parse(text, Path::new("/srv")).expect("valid")
}

fn registry(text: &str) -> Registry {
    let local = LocalExecutor {
        program: PathBuf::from("/no/such/executor"),
        args: vec!["--listen".to_owned(), "stdio".to_owned()],
        cwd: PathBuf::from("/"),
    };
    Registry::new(&configured(text), local)
}

fn ids(environments: &[Arc<Environment>]) -> Vec<&str> {
    let ids = environments.iter();
    ids.map(|environment| environment.id().as_str()).collect()
}

#[test]
fn the_default_comes_first_and_the_others_keep_the_order_of_the_file() {
    let registry = registry(FILE);
    assert_eq!(ids(&registry.all()), ["local", "a", "b", "c"]);
    assert_eq!(ids(&registry.selection()), ["b", "local", "a", "c"]);
    assert_eq!(registry.default_id().map(EnvironmentId::as_str), Some("b"));
    assert!(registry.get("A").is_none());
    assert!(registry.get("local").is_some_and(|local| local.is_local()));
    assert!(registry.get("a").is_some_and(|a| !a.is_local()));
}

#[test]
fn without_a_default_nothing_is_selected() {
    let registry = registry("default = \"none\"\n[[environments]]\nid = \"a\"\nurl = \"ws://h\"");
    assert_eq!(ids(&registry.selection()), [""; 0]);
    assert_eq!(ids(&registry.all()), ["local", "a"]);
}

#[test]
fn a_file_may_select_the_default_alone() {
    let registry = registry(
        "[farstep]\nnew_thread = \"default-only\"\n[[environments]]\nid = \"a\"\nurl = \"ws://h\"",
    );
    assert_eq!(ids(&registry.selection()), ["local"]);
}

#[test]
fn one_that_connects_by_hand_alone_is_selected_by_its_name_or_as_the_default() {
    let file = |default: &str| {
        format!(
            "default = \"{default}\"\n[[environments]]\nid = \"a\"\nurl = \"ws://h\"\n\
             farstep.connect = \"manual\"\n[[environments]]\nid = \"b\"\nurl = \"ws://h\""
        )
    };
    let registry_of = |default| registry(&file(default));
    assert_eq!(ids(&registry_of("local").selection()), ["local", "b"]);
    assert_eq!(ids(&registry_of("a").selection()), ["a", "local", "b"]);
    assert!(registry_of("local").get("a").is_some());
}

#[test]
fn transports_are_shown_without_their_secrets() {
    let registry = registry(FILE);
    let labels: Vec<_> = registry
        .all()
        .iter()
        .map(|environment| environment.transport_label())
        .collect();
    assert_eq!(
        labels,
        [
            "stdio: /no/such/executor",
            "ws://127.0.0.1:1",
            "stdio: no-such-program-anywhere",
            "wss://executor.example"
        ]
    );
    assert!(!format!("{registry:?}").contains("hunter2"));
}

#[tokio::test]
async fn only_executors_that_listen_are_connected_before_their_first_use() {
    let registry = registry(FILE);
    Registry::connect_eagerly(&registry.all());
    let started: Vec<_> = registry
        .all()
        .iter()
        .map(|environment| !matches!(environment.status(), Status::Configured))
        .collect();
    assert_eq!(started, [false, true, false, true]);
    registry.close().await;
}

#[tokio::test]
async fn a_failure_names_what_was_tried() {
    let registry = registry(FILE);
    let environment = registry.get("b").expect("configured");
    assert_eq!(
        environment
            .executor()
            .await
            .expect_err("missing")
            .to_string(),
        "failed to spawn exec-server: No such file or directory (os error 2) \
         (program `no-such-program-anywhere`)"
    );
    registry.close().await;
}

#[tokio::test]
async fn a_new_configuration_keeps_what_is_the_same_and_replaces_what_is_not() {
    let old = registry(FILE);
    let new = old.reconfigured(&configured(
        &FILE.replace("ws://127.0.0.1:1", "ws://127.0.0.1:2"),
    ));
    let same = |id: &str| match (old.get(id), new.get(id)) {
        (Some(old), Some(new)) => Some(Arc::ptr_eq(&old, &new)),
        _ => None,
    };
    assert_eq!(same("local"), Some(true));
    assert_eq!(same("a"), Some(false));
    assert_eq!(same("b"), Some(true));
    assert_eq!(same("c"), Some(true));
    let fewer = new.reconfigured(&configured("include_local = false"));
    assert_eq!(ids(&fewer.all()), [""; 0]);
    assert_eq!(ids(&old.all()), ["local", "a", "b", "c"]);
}
