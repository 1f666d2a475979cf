use farstep_environments::ProcessEvent;
use serde_json::json;

use super::*;
use crate::machine::fake::{FakeMachine, FakeSet, exited, output};
use crate::turn::double::{Reply, Scene, calls, patches, runs_in, says};

fn alone(machine: &Arc<FakeMachine>) -> Arc<FakeSet> {
    let set = FakeSet::starting(&[&machine.name]);
    set.up(machine);
    set
}

/// Makes one call in an environment of its own and gives its output.
async fn answer(machine: &Arc<FakeMachine>, call: Value) -> String {
    let mut scene = Scene::blocking(
        &alone(machine),
        [Reply::items([call]), Reply::items([says("ok")])],
    );
    scene.turn("x").await;
    scene.output("c")
}

/// An answer without what differs every time.
fn plain(answer: &str) -> String {
    let varies = |line: &&str| !line.starts_with("Chunk ID: ") && !line.starts_with("Wall time: ");
    answer.lines().filter(varies).collect::<Vec<_>>().join("\n")
}

#[tokio::test(start_paused = true)]
async fn a_finished_command_is_answered_with_its_end_and_its_output() {
    let machine = FakeMachine::named("alpha");
    let answer = answer(&machine, calls("c", "exec_command", json!({"cmd": "ls"}))).await;
    assert!(answer.starts_with("Chunk ID: "), "{answer}");
    assert_eq!(
        plain(&answer),
        "Process exited with code 0\nOriginal token count: 3\nOutput:\nalpha: ls"
    );
}

#[tokio::test(start_paused = true)]
async fn a_start_says_everything_the_executor_must_know() {
    let machine = FakeMachine::named("alpha");
    let call = calls(
        "c",
        "exec_command",
        json!({"cmd": "ls", "workdir": "../up", "tty": true}),
    );
    answer(&machine, call).await;
    let mut params = machine.started().remove(0);
    assert_eq!(params.argv, ["/bin/bash", "-lc", "ls"]);
    assert_eq!(params.cwd.as_str(), "file:///up");
    assert!(params.tty && !params.pipe_stdin);
    assert_eq!(
        params.metadata.take().unwrap().tool_call_id.as_deref(),
        Some("c")
    );
    for (name, value) in [
        ("PAGER", "cat"),
        ("NO_COLOR", "1"),
        ("FARSTEP_TOOL_CALL_ID", "c"),
    ] {
        assert_eq!(params.env[name], value);
    }
    let policy = params.env_policy.unwrap();
    assert_eq!(policy.inherit, farstep_environments::process::Inherit::All);
}

#[tokio::test(start_paused = true)]
async fn the_shell_is_the_executors_own() {
    let windows = FakeMachine::with_info(
        "win",
        r#"{"shell":{"name":"powershell","path":"C:\\ps.exe"},"cwd":"file:///C:/proj",
            "platformOs":"windows"}"#,
    );
    answer(
        &windows,
        calls(
            "c",
            "exec_command",
            json!({"cmd": "dir", "workdir": "sub\\dir"}),
        ),
    )
    .await;
    let login = json!({"cmd": "dir", "login": false, "shell": "C:\\Windows\\PowerShell.exe"});
    answer(&windows, calls("c", "exec_command", login)).await;
    let started = windows.started();
    assert_eq!(started[0].argv, ["C:\\ps.exe", "-Command", "dir"]);
    assert_eq!(started[0].cwd.as_str(), "file:///C:/proj/sub/dir");
    assert_eq!(
        started[1].argv,
        ["C:\\ps.exe", "-NoProfile", "-Command", "dir"]
    );
    let refused = json!({"cmd": "ls", "shell": "zsh"});
    assert_eq!(
        answer(&windows, calls("c", "exec_command", refused)).await,
        "environment `win` only supports `powershell`"
    );
}

#[tokio::test(start_paused = true)]
async fn a_command_that_takes_longer_can_be_followed_until_it_is_forgotten() {
    let machine = FakeMachine::named("alpha");
    machine.hold();
    let set = alone(&machine);
    let mut scene = Scene::blocking(
        &set,
        [
            Reply::items([calls(
                "c",
                "exec_command",
                json!({"cmd": "x", "yield_time_ms": 1}),
            )]),
            Reply::items([says("ok")]),
        ],
    );
    let feed = async {
        machine.started_at_least(1).await;
        machine.feed(0).send(output("tick\n")).await.unwrap();
    };
    tokio::join!(feed, scene.turn("x"));
    let first = scene.output("c");
    assert!(
        plain(&first).ends_with("\nOriginal token count: 2\nOutput:\ntick"),
        "{first}"
    );
    let number = first
        .lines()
        .find_map(|line| line.strip_prefix("Process running with session ID "));
    let look = json!({"session_id": number.unwrap().parse::<u32>().unwrap()});
    for event in [output("tock\n"), exited(7), ProcessEvent::Closed] {
        machine.feed(0).send(event).await.unwrap();
    }
    scene.add([
        Reply::items([calls("look", "write_stdin", look.clone())]),
        Reply::items([calls("again", "write_stdin", look)]),
        Reply::items([says("ok")]),
    ]);
    scene.turn("y").await;
    assert_eq!(
        plain(&scene.output("look")),
        "Process exited with code 7\nOriginal token count: 2\nOutput:\ntock"
    );
    let gone = format!("write_stdin failed: Unknown process id {}", number.unwrap());
    assert_eq!(scene.output("again"), gone);
}

#[tokio::test(start_paused = true)]
async fn typing_into_a_process_without_a_terminal_says_what_to_do() {
    let machine = FakeMachine::named("alpha");
    machine.hold();
    let mut scene = Scene::blocking(
        &alone(&machine),
        [
            Reply::items([calls(
                "c",
                "exec_command",
                json!({"cmd": "x", "yield_time_ms": 1}),
            )]),
            Reply::items([says("ok")]),
        ],
    );
    scene.turn("x").await;
    let started = scene.output("c");
    let number = started
        .lines()
        .find_map(|line| line.strip_prefix("Process running with session ID "));
    let typed = json!({"session_id": number.unwrap().parse::<u32>().unwrap(), "chars": "y\n"});
    scene.add([
        Reply::items([calls("t", "write_stdin", typed)]),
        Reply::items([says("ok")]),
    ]);
    scene.turn("y").await;
    let answer = scene.output("t");
    assert!(answer.contains("start it again with tty=true"), "{answer}");
}

const TEN: usize = 10;

#[tokio::test(start_paused = true)]
async fn a_patch_over_ten_files_takes_three_rounds() {
    let machine = FakeMachine::named("alpha");
    let mut patch = String::from("*** Begin Patch\n");
    for number in 0..TEN {
        machine.put(&format!("file:///srv/old{number}"), "a\nb\n");
        patch += &format!("*** Update File: old{number}\n@@\n-b\n+c\n");
        patch += &format!("*** Add File: new{number}/f\n+x\n");
    }
    patch += "*** End Patch";
    let before = machine.rounds();
    let mut scene = Scene::blocking(
        &alone(&machine),
        [
            Reply::items([patches("c", &patch)]),
            Reply::items([says("ok")]),
        ],
    );
    scene.turn("x").await;
    // One more for the documents at the start of the turn.
    assert_eq!(machine.rounds() - before, 1 + 3);
    assert!(
        scene.output("c").starts_with("Exit code: 0\n"),
        "{}",
        scene.output("c")
    );
    for number in 0..TEN {
        assert_eq!(
            machine
                .text_of(&format!("file:///srv/old{number}"))
                .unwrap(),
            "a\nc\n"
        );
        assert_eq!(
            machine
                .text_of(&format!("file:///srv/new{number}/f"))
                .unwrap(),
            "x\n"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_patch_that_does_not_fit_changes_nothing() {
    let machine = FakeMachine::named("alpha");
    machine.put("file:///srv/a", "one\n");
    let patch = "*** Begin Patch\n*** Add File: b\n+x\n*** Update File: a\n@@\n-two\n+three\n\
                 *** End Patch";
    let answer = answer(&machine, patches("c", patch)).await;
    assert_eq!(
        answer,
        "apply_patch verification failed: Failed to find expected lines in a:\ntwo"
    );
    assert_eq!(machine.text_of("file:///srv/b"), None);
}

#[tokio::test(start_paused = true)]
async fn a_patch_over_a_lost_connection_is_not_taken_for_missing_files() {
    let machine = FakeMachine::named("alpha");
    let cut = Arc::clone(&machine);
    let patch = "*** Begin Patch\n*** Add File: b\n+x\n*** End Patch";
    let mut scene = Scene::deferred(
        &alone(&machine),
        [
            Reply::items([patches("c", patch)]).first(move || cut.disconnect()),
            Reply::items([says("ok")]),
        ],
    );
    scene.turn("x").await;
    let answer = scene.output("c");
    assert!(
        answer.starts_with("apply_patch failed before anything was changed: "),
        "{answer}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_command_that_is_only_a_patch_is_applied_where_it_would_have_run() {
    let (alpha, beta) = (FakeMachine::named("alpha"), FakeMachine::named("beta"));
    let set = FakeSet::starting(&["alpha", "beta"]);
    set.up(&alpha);
    set.up(&beta);
    let command = "apply_patch <<'EOF'\n*** Begin Patch\n*** Add File: f\n+x\n*** End Patch\nEOF";
    let mut scene = Scene::blocking(
        &set,
        [
            Reply::items([runs_in("c", "beta", command)]),
            Reply::items([says("ok")]),
        ],
    );
    scene.turn("x").await;
    let answer = scene.output("c");
    assert!(
        answer.starts_with("Wall time: 0.0000 seconds\nOutput:\nSuccess."),
        "{answer}"
    );
    assert_eq!(beta.text_of("file:///srv/f").as_deref(), Some("x\n"));
    assert!(alpha.started().is_empty() && beta.started().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_image_is_shown_and_what_is_none_is_said() {
    let machine = FakeMachine::named("alpha");
    machine.put("file:///srv/notes.txt", "no image");
    for (path, complaint) in [
        (
            "missing.png",
            "unable to locate image at /srv/missing.png: ",
        ),
        (".", "image path /srv is not a file"),
        ("notes.txt", "unable to process image: "),
    ] {
        let answer = answer(&machine, calls("c", "view_image", json!({"path": path}))).await;
        assert!(answer.starts_with(complaint), "{answer}");
    }
}

#[test]
fn free_text_is_found_however_it_was_wrapped() {
    let custom = Payload::Custom { input: "p".into() };
    let function = Payload::Function {
        arguments: r#"{"input":"p"}"#.into(),
    };
    let bare = Payload::Function {
        arguments: "p".into(),
    };
    assert_eq!(
        [free_text(&custom), free_text(&function), free_text(&bare)],
        ["p", "p", "p"]
    );
}
