use serde_json::{Value, json};

use super::double::{Reply, Scene, calls, output_of, patches, runs, runs_in, says};
use super::*;
use crate::events::{Detail, Status};
use crate::machine::fake::{FakeMachine, FakeSet, exited, output};
use crate::model::ModelErrorKind;
use farstep_environments::ProcessEvent;

fn one(machine: &Arc<FakeMachine>) -> Arc<FakeSet> {
    let set = FakeSet::starting(&[&machine.name]);
    set.up(machine);
    set
}

/// The kinds of the items, for the order of a history.
fn shape(history: &[Item]) -> Vec<String> {
    let name = |item: &Item| {
        let value: Value = serde_json::from_str(item.json()).unwrap();
        let kind = value["type"].as_str().unwrap();
        let about = value["call_id"]
            .as_str()
            .or(value["role"].as_str())
            .unwrap_or_default();
        format!("{kind} {about}")
    };
    history.iter().map(name).collect()
}

#[tokio::test]
async fn a_turn_ends_with_a_message_and_counts_what_it_cost() {
    let alpha = FakeMachine::named("alpha");
    let mut scene = Scene::blocking(
        &one(&alpha),
        [Reply::items([runs("c", "ls")]), Reply::items([says("ok")])],
    );
    let turn = scene.turn("do it").await;
    assert_eq!(turn.outcome, Ok(()));
    assert_eq!((turn.usage.input, turn.usage.output), (20, 2));
    let events = scene.events();
    assert_eq!(events.first(), Some(&Event::TurnStarted));
    assert!(
        matches!(events.last(), Some(Event::TurnCompleted { .. })),
        "{events:?}"
    );
    assert_eq!(
        shape(scene.conversation.history()),
        [
            "message developer",
            "message user",
            "message user",
            "function_call c",
            "function_call_output c",
            "message assistant",
        ]
    );
}

#[tokio::test]
async fn end_turn_decides_only_when_no_call_is_open() {
    for (replies, requests) in [
        (vec![Reply::items([says("a")])], 1),
        (vec![Reply::end_turn([says("a")], true)], 1),
        (
            vec![
                Reply::end_turn([says("a")], false),
                Reply::items([says("b")]),
            ],
            2,
        ),
        (
            vec![
                Reply::end_turn([runs("c", "ls")], true),
                Reply::items([says("b")]),
            ],
            2,
        ),
        (vec![Reply::items([])], 1),
    ] {
        let alpha = FakeMachine::named("alpha");
        let mut scene = Scene::blocking(&one(&alpha), replies);
        assert_eq!(scene.turn("x").await.outcome, Ok(()));
        assert_eq!(scene.requests().len(), requests);
    }
}

#[tokio::test]
async fn a_model_that_never_finishes_is_stopped_after_fifty_idle_steps() {
    let alpha = FakeMachine::named("alpha");
    let replies = (0..60).map(|_| Reply::end_turn([says("not yet")], false));
    let mut scene = Scene::blocking(&one(&alpha), replies);
    assert_eq!(scene.turn("x").await.outcome, Err(TurnError::Idle));
    assert_eq!(scene.requests().len(), 51);
}

#[tokio::test(start_paused = true)]
async fn a_retry_never_repeats_finished_work() {
    let alpha = FakeMachine::named("alpha");
    let mut scene = Scene::blocking(
        &one(&alpha),
        [
            Reply::cut([runs("kept", "once")]),
            Reply::cut([]),
            Reply::items([says("recovered")]),
        ],
    );
    assert_eq!(scene.turn("x").await.outcome, Ok(()));
    assert_eq!(alpha.started().len(), 1);
    let requests = scene.requests();
    for request in &requests[1..] {
        let tail = shape(&request.input);
        assert_eq!(
            tail[tail.len() - 2..],
            ["function_call kept", "function_call_output kept"]
        );
    }
    let told = scene.events().into_iter().filter_map(|event| match event {
        Event::Error { message } => Some(message),
        _ => None,
    });
    assert_eq!(
        told.collect::<Vec<_>>(),
        ["Reconnecting... 1/3 (cut)", "Reconnecting... 2/3 (cut)"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_model_that_stays_broken_fails_the_turn() {
    let alpha = FakeMachine::named("alpha");
    let mut scene = Scene::blocking(&one(&alpha), (0..4).map(|_| Reply::cut([])));
    assert!(matches!(
        scene.turn("x").await.outcome,
        Err(TurnError::Model(_))
    ));
    assert!(matches!(
        scene.events().last(),
        Some(Event::TurnFailed { .. })
    ));
}

#[tokio::test]
async fn outputs_are_recorded_in_the_order_of_the_calls() {
    let alpha = FakeMachine::named("alpha");
    alpha.hold();
    let set = one(&alpha);
    let mut scene = Scene::blocking(
        &set,
        [
            Reply::items([runs("first", "slow"), runs("second", "fast")]),
            Reply::items([says("ok")]),
        ],
    );
    let feeds = {
        let alpha = Arc::clone(&alpha);
        async move {
            // The second to start ends first.
            alpha.started_at_least(2).await;
            for index in [1, 0] {
                let feed = alpha.feed(index);
                for event in [output("done"), exited(0), ProcessEvent::Closed] {
                    feed.send(event).await.unwrap();
                }
            }
        }
    };
    tokio::join!(feeds, async {
        assert_eq!(scene.turn("x").await.outcome, Ok(()))
    });
    let history = shape(scene.conversation.history());
    assert_eq!(
        history[3..7],
        [
            "function_call first",
            "function_call second",
            "function_call_output first",
            "function_call_output second",
        ]
    );
}

#[tokio::test]
async fn a_call_starts_before_the_rest_of_the_stream_has_come() {
    let alpha = FakeMachine::named("alpha");
    let mut scene = Scene::blocking(&one(&alpha), [Reply::hanging([runs("c", "ls")])]);
    let stop = scene.stop.clone();
    let seen = async {
        alpha.started_at_least(1).await;
        stop.cancel();
    };
    let ((), turn) = tokio::join!(seen, scene.turn("x"));
    assert_eq!(turn.outcome, Err(TurnError::Interrupted));
}

#[tokio::test]
async fn an_interrupt_answers_every_call_and_records_that_it_happened() {
    let alpha = FakeMachine::named("alpha");
    alpha.hold();
    let mut scene = Scene::blocking(
        &one(&alpha),
        [Reply::items([
            runs("a", "sleep"),
            calls("b", "no_such_tool", json!({})),
        ])],
    );
    let stop = scene.stop.clone();
    let seen = async {
        alpha.started_at_least(1).await;
        stop.cancel();
    };
    let ((), turn) = tokio::join!(seen, scene.turn("x"));
    assert_eq!(turn.outcome, Err(TurnError::Interrupted));
    let aborted = scene.output("a");
    assert!(
        aborted.starts_with("Wall time: ") && aborted.ends_with("aborted by user"),
        "{aborted}"
    );
    assert!(output_of(scene.conversation.history(), "b").is_some());
    assert!(scene.told().last().unwrap().starts_with("<turn_aborted>"));
    // The process itself lives until somebody ends it.
    assert_eq!(alpha.terminated(), 0);
    scene.toolbox.sessions().terminate_all().await;
    assert_eq!(alpha.terminated(), 1);
}

#[tokio::test]
async fn calls_that_make_no_sense_are_answered_and_the_turn_goes_on() {
    let alpha = FakeMachine::named("alpha");
    let namespaced = json!({"type": "function_call", "call_id": "c", "name": "read",
                            "namespace": "mcp__files", "arguments": "{}"});
    let mut scene = Scene::blocking(
        &one(&alpha),
        [
            Reply::items([
                calls("a", "no_such_tool", json!({})),
                calls("b", "exec_command", json!({"command": "ls"})),
                namespaced,
                calls("d", "exec_command", json!({"cmd": "ls", "unknown": 1})),
                patches("e", "not a patch"),
            ]),
            Reply::items([says("ok")]),
        ],
    );
    assert_eq!(scene.turn("x").await.outcome, Ok(()));
    assert_eq!(scene.output("a"), "unsupported call: no_such_tool");
    let complaint = scene.output("b");
    assert!(complaint.contains("missing field `cmd`"), "{complaint}");
    assert_eq!(scene.output("c"), "unsupported call: mcp__files.read");
    assert!(scene.output("d").contains("Process exited with code 0"));
    assert!(
        scene
            .output("e")
            .starts_with("apply_patch verification failed: invalid patch")
    );
    let refused = scene.events().into_iter().filter(|event| {
        matches!(event, Event::ItemCompleted { item }
            if matches!(item.detail, Detail::ToolCall { status: Status::Failed, .. }))
    });
    assert_eq!(refused.count(), 4);
}

#[tokio::test]
async fn a_second_turn_tells_only_what_is_new() {
    let (alpha, beta) = (FakeMachine::named("alpha"), FakeMachine::named("beta"));
    let set = FakeSet::starting(&["alpha", "beta"]);
    set.up(&alpha);
    set.up(&beta);
    let mut scene = Scene::deferred(&set, [Reply::items([says("1")]), Reply::items([says("2")])]);
    scene.turn("first").await;
    let before = scene.told().len();
    scene.set.set(
        "beta",
        crate::machine::Presence::Disconnected {
            reason: "cut".into(),
        },
    );
    scene.turn("second").await;
    let told = &scene.told()[before..];
    let [update, input] = told else {
        panic!("{told:?}")
    };
    assert_eq!(
        update,
        "<environment_context>\n  <environments>\n    <environment id=\"beta\" \
         primary=\"false\">\n      <cwd>/srv</cwd>\n      <status>disconnected</status>\n      <error>cut</error>\n    \
         </environment>\n  </environments>\n</environment_context>"
    );
    assert_eq!(input, "second");
}

#[tokio::test]
async fn a_patch_in_one_environment_does_not_hold_up_a_command_in_another() {
    let (alpha, beta) = (FakeMachine::named("alpha"), FakeMachine::named("beta"));
    let set = FakeSet::starting(&["alpha", "beta"]);
    set.up(&alpha);
    set.up(&beta);
    alpha.hold();
    let patch = "*** Begin Patch\n*** Environment ID: alpha\n*** Add File: f\n+x\n*** End Patch";
    let mut scene = Scene::blocking(
        &set,
        [
            Reply::items([
                runs_in("busy", "alpha", "sleep"),
                patches("patch", patch),
                runs_in("free", "beta", "ls"),
            ]),
            Reply::items([says("ok")]),
        ],
    );
    let watched = async {
        beta.started_at_least(1).await;
        // The patch waits for the command in front of it; beta did not.
        assert_eq!(alpha.text_of("file:///srv/f"), None);
        let feed = alpha.feed(0);
        for event in [exited(0), ProcessEvent::Closed] {
            feed.send(event).await.unwrap();
        }
    };
    tokio::join!(watched, async {
        assert_eq!(scene.turn("x").await.outcome, Ok(()))
    });
    assert_eq!(alpha.text_of("file:///srv/f").as_deref(), Some("x\n"));
    assert!(scene.output("patch").contains("A f"));
}

#[tokio::test]
async fn an_image_the_provider_cannot_use_is_left_out_and_the_step_repeated() {
    let alpha = FakeMachine::named("alpha");
    alpha.put_bytes("file:///srv/p.png", &one_pixel());
    let refusal = |kind| {
        Reply::broken(ModelError {
            kind,
            message: "bad image".into(),
            retry_after: None,
        })
    };
    let mut scene = Scene::blocking(
        &one(&alpha),
        [
            Reply::items([calls("c", "view_image", json!({"path": "p.png"}))]),
            refusal(ModelErrorKind::InvalidImage),
            Reply::items([says("ok")]),
        ],
    );
    assert_eq!(scene.turn("x").await.outcome, Ok(()));
    assert!(scene.output("c").contains("left out"));
    let before = output_of(&scene.requests()[1].input, "c").unwrap();
    assert!(before.contains("data:image/png;base64,"), "{before}");
    // With no image to leave out, the refusal counts.
    scene.add([refusal(ModelErrorKind::InvalidImage)]);
    assert!(matches!(
        scene.turn("y").await.outcome,
        Err(TurnError::Model(_))
    ));
}

fn one_pixel() -> Vec<u8> {
    let mut file = std::io::Cursor::new(Vec::new());
    image::DynamicImage::new_rgb8(1, 1)
        .write_to(&mut file, image::ImageFormat::Png)
        .unwrap();
    file.into_inner()
}
