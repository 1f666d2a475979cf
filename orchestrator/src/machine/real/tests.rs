//! The executors are shells that answer by rote: what they do in each of their lives is a line.

#![expect(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

use std::path::Path;
use std::time::Duration;

use farstep_environments::config::Config;
use farstep_environments::{LocalExecutor, Registry, Status, config};

use super::*;

/// Answers the handshake.
const HELLO: &str = r#"read -r _; read -r _; printf '%s\n' '{"id":1,"result":{"sessionId":"s","environmentInfo":{"shell":{"name":"sh","path":"/bin/sh"}}}}'"#;

/// Lives until [`Bench::lose`]: what ends right behind the handshake may count as never connected.
const UNTIL_LOST: &str = "until [ -e leave ]; do sleep 0.01; done; exit 3";

/// An environment whose program lives as often as there are lines, and as each says.
struct Bench {
    folder: tempfile::TempDir,
    registry: Registry,
    set: Arc<Configured>,
    environment: Arc<Environment>,
}

impl Bench {
    fn new(lives: &[&str]) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let cases: Vec<String> = lives
            .iter()
            .enumerate()
            .map(|(life, script)| format!("{}) {script};;", life + 1))
            .collect();
        let script = format!(
            "echo born >> lives; {HELLO}; case $(($(wc -l < lives))) in {} esac",
            cases.join(" ")
        );
        let file = format!(
            "[[environments]]\nid = \"box\"\nprogram = \"sh\"\nargs = [\"-c\", '''{script}''']\n\
             cwd = \".\"\n"
        );
        let config = config::parse(&file, folder.path()).unwrap();
        let local = LocalExecutor {
            program: "/no/such/executor".into(),
            args: Vec::new(),
            cwd: "/".into(),
        };
        let registry = Registry::new(&config, local);
        let environment = registry.get("box").unwrap();
        let set = Configured::new(vec![Arc::clone(&environment)]);
        Bench {
            folder,
            registry,
            set,
            environment,
        }
    }

    async fn machine(&self) -> Arc<dyn Machine> {
        match self.set.settle().await.remove(0).presence {
            Presence::Available(machine) => machine,
            other => panic!("{other:?}"),
        }
    }

    /// Has the program end, and waits until that is known.
    async fn lose(&self) {
        std::fs::write(self.folder.path().join("leave"), "").unwrap();
        let mut watch = self.environment.watch();
        let lost = watch.wait_for(|status| match status {
            Status::Ready(executor) => !executor.is_connected(),
            other => matches!(other, Status::Disconnected { .. }),
        });
        let lost = tokio::time::timeout(Duration::from_secs(20), lost).await;
        lost.unwrap().unwrap();
    }

    fn lines(&self, file: &str) -> usize {
        let path = self.folder.path().join(file);
        std::fs::read_to_string(path).map_or(0, |text| text.lines().count())
    }
}

fn path(folder: &Path) -> PathUri {
    PathUri::from_host(folder).unwrap()
}

#[tokio::test]
async fn a_call_that_was_not_sent_is_made_once_on_the_next_session() {
    let answers = r#"read -r call; echo "$call" >> calls; echo '{"id":2,"result":{}}'; read -r _"#;
    let bench = Bench::new(&[UNTIL_LOST, answers]);
    let machine = bench.machine().await;
    bench.lose().await;
    machine.remove(&path(bench.folder.path())).await.unwrap();
    assert_eq!((bench.lines("lives"), bench.lines("calls")), (2, 1));
    assert!(!machine.is_connected(), "what the step saw is gone");
    bench.registry.close().await;
}

#[tokio::test]
async fn a_call_that_was_sent_is_not_made_again_and_its_caller_learns_that_it_may_be_done() {
    let bench = Bench::new(&[r#"read -r call; echo "$call" >> calls; exit 3"#]);
    let machine = bench.machine().await;
    let error = machine
        .remove(&path(bench.folder.path()))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("may have been done"), "{error}");
    assert_eq!((bench.lines("lives"), bench.lines("calls")), (1, 1));
    bench.registry.close().await;
}

#[tokio::test]
async fn a_call_that_cannot_be_sent_again_either_fails_as_it_did() {
    let bench = Bench::new(&[UNTIL_LOST, "exit 4"]);
    let machine = bench.machine().await;
    bench.lose().await;
    let error = machine
        .remove(&path(bench.folder.path()))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, CallError::NotSent { .. } | CallError::Lost { .. }),
        "{error}"
    );
    assert_eq!(bench.lines("lives"), 2);
    bench.registry.close().await;
}

/// A folder with a configuration that is followed.
struct Followed {
    folder: tempfile::TempDir,
    /// Closes them all and holds none.
    registry: Registry,
    set: Arc<Configured>,
}

impl Followed {
    fn new(named: &[&str], text: &str) -> Followed {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(config::FILE_NAME);
        std::fs::write(path, text).unwrap();
        let follower = Follower::new(config::Places::only(folder.path()));
        let config = config::load(folder.path()).unwrap();
        let local = LocalExecutor {
            program: "/no/such/executor".into(),
            args: Vec::new(),
            cwd: "/".into(),
        };
        let registry = Registry::new(&config, local);
        let selection = match named {
            [] => registry.selection(),
            ids => ids.iter().filter_map(|id| registry.get(id)).collect(),
        };
        let closing = registry.reconfigured(&Config::nothing());
        let following = Following {
            follower,
            registry,
            named: named.iter().map(|id| (*id).to_owned()).collect(),
            variables: |_| None,
            wanted: true,
        };
        Followed {
            set: Configured::following(selection, following),
            folder,
            registry: closing,
        }
    }

    fn write(&self, text: &str) {
        let path = self.folder.path().join(config::FILE_NAME);
        std::fs::write(path, text).unwrap();
    }

    fn ids(&self) -> Vec<String> {
        let selection = self.set.selection();
        let ids = selection.iter().map(|one| one.id().to_string());
        ids.collect()
    }
}

const TOP: &str = "default = \"a\"\ninclude_local = false\n[farstep]\nhot_reload = true\n";

fn entry(id: &str, program: &str) -> String {
    format!("[[environments]]\nid = \"{id}\"\nprogram = \"{program}\"\nfarstep.cwd = \"/srv\"\n")
}

#[tokio::test]
async fn a_changed_file_changes_the_set_and_keeps_what_is_the_same() {
    let followed = Followed::new(&[], &format!("{TOP}{}{}", entry("a", "p"), entry("b", "p")));
    assert!(followed.set.refresh().await.change.is_none());
    let before = followed.set.selection();
    let text = format!(
        "{TOP}{}{}{}",
        entry("a", "p"),
        entry("b", "q"),
        entry("c", "p")
    );
    followed.write(&text);
    let change = followed.set.refresh().await.change.unwrap();
    assert_eq!(followed.ids(), ["a", "b", "c"]);
    assert_eq!(change.replaced, ["b".into()]);
    assert_eq!(change.declared.len(), 3);
    let after = followed.set.selection();
    assert!(Arc::ptr_eq(&before[0], &after[0]));
    assert!(!Arc::ptr_eq(&before[1], &after[1]));

    followed.write(&format!(
        "{TOP}{}[[environments]]\nid = \"a\"\n",
        entry("a", "p")
    ));
    let refused = followed.set.refresh().await;
    assert!(refused.change.is_none());
    let problem = refused.problem.unwrap();
    assert!(problem.contains("environments.toml:"), "{problem}");
    assert!(problem.contains("duplicate_id"), "{problem}");
    assert_eq!(followed.ids(), ["a", "b", "c"]);
    assert!(followed.set.refresh().await.problem.is_none(), "told once");

    followed.write(&format!(
        "{}{}",
        TOP.replace("true", "false"),
        entry("a", "p")
    ));
    assert!(followed.set.refresh().await.change.is_some());
    followed.write(&format!("{TOP}{}{}", entry("a", "p"), entry("d", "p")));
    assert!(
        followed.set.refresh().await.change.is_none(),
        "not wanted any more"
    );
    followed.registry.close().await;
}

#[tokio::test]
async fn what_was_chosen_by_name_stays_chosen_and_goes_with_its_entry() {
    let followed = Followed::new(
        &["b", "a"],
        &format!("{TOP}{}{}", entry("a", "p"), entry("b", "p")),
    );
    let text = format!(
        "{TOP}{}{}{}",
        entry("c", "p"),
        entry("a", "p"),
        entry("b", "p")
    );
    followed.write(&text);
    assert!(
        followed
            .set
            .refresh()
            .await
            .change
            .unwrap()
            .replaced
            .is_empty()
    );
    assert_eq!(followed.ids(), ["b", "a"]);
    followed.write(&format!("{TOP}{}", entry("a", "p")));
    let change = followed.set.refresh().await.change.unwrap();
    assert_eq!(change.replaced, ["b".into()]);
    assert_eq!(followed.ids(), ["a"]);
    followed.registry.close().await;
}

#[tokio::test]
async fn what_the_file_drops_ends_with_the_last_step_that_holds_it() {
    let script = format!("{HELLO}; while read -r _; do :; done; echo bye > gone");
    let dropped = format!(
        "[[environments]]\nid = \"a\"\nprogram = \"sh\"\nargs = [\"-c\", '''{script}''']\n\
         cwd = \".\"\n"
    );
    let followed = Followed::new(&[], &format!("{TOP}{dropped}{}", entry("b", "p")));
    let step = followed.set.settle().await;
    let Presence::Available(machine) = &step[0].presence else {
        panic!("{step:?}");
    };
    followed.write(&format!(
        "{}{}",
        TOP.replace("\"a\"", "\"b\""),
        entry("b", "p")
    ));
    assert!(followed.set.refresh().await.change.is_some());
    assert_eq!(followed.ids(), ["b"]);
    assert!(machine.is_connected(), "the step under way still has it");
    drop(step);
    let gone = followed.folder.path().join("gone");
    let ended = async {
        while !gone.exists() {
            tokio::task::yield_now().await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(20), ended).await;
    assert!(in_time.is_ok(), "its program still runs");
    followed.registry.close().await;
}
