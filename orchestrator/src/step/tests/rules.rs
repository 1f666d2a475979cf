//! The rules of a step, each by its name, with environments that come and go as a test says.

use super::*;

#[tokio::test(start_paused = true)]
async fn rule_1_one_snapshot_is_what_the_model_reads_is_offered_and_uses() {
    let [alpha, beta] = machines(["alpha", "beta"]);
    let set = FakeSet::starting(&["beta", "alpha"]);
    set.up(&alpha);
    // Everything changes while the model is thinking.
    let upset = {
        let (set, beta) = (Arc::clone(&set), Arc::clone(&beta));
        move || {
            set.up(&beta);
            set.set("alpha", failed("gone"));
        }
    };
    let mut scene = Scene::deferred(
        &set,
        [
            Reply::items([runs("c", "one")]).first(upset),
            Reply::items([says("ok")]),
        ],
    );
    scene.turn("x").await;
    let text = environment_text(&scene, 0);
    assert!(text.contains("id=\"alpha\" primary=\"true\""), "{text}");
    let first = &scene.requests()[0];
    let exec = first
        .tools
        .iter()
        .find(|tool| tool["name"] == "exec_command")
        .unwrap();
    assert!(
        exec["parameters"]["properties"]
            .get("environment_id")
            .is_some()
    );
    assert_eq!((ran(&alpha), ran(&beta)), (vec!["one".to_owned()], vec![]));
}

#[tokio::test(start_paused = true)]
async fn rule_2_a_call_keeps_its_step_however_late_it_runs() {
    let [alpha, beta] = machines(["alpha", "beta"]);
    let set = FakeSet::starting(&["beta", "alpha"]);
    set.up(&alpha);
    alpha.hold();
    let patch = "*** Begin Patch\n*** Add File: late\n+x\n*** End Patch";
    let mut scene = Scene::deferred(
        &set,
        [
            Reply::items([runs("busy", "sleep"), patches("late", patch)]),
            Reply::items([says("ok")]),
        ],
    );
    let meanwhile = async {
        alpha.started_at_least(1).await;
        // The patch waits in line; the environment it must not go to becomes the first choice.
        scene_up(&set, &beta);
        for event in [exited(0), ProcessEvent::Closed] {
            alpha.feed(0).send(event).await.unwrap();
        }
    };
    tokio::join!(meanwhile, async { scene.turn("x").await });
    assert_eq!(alpha.text_of("file:///srv/late").as_deref(), Some("x\n"));
    assert_eq!(beta.text_of("file:///srv/late"), None);
}

fn scene_up(set: &FakeSet, machine: &Arc<FakeMachine>) {
    set.up(machine);
}

#[tokio::test(start_paused = true)]
async fn rule_3_only_the_next_step_sees_a_better_primary() {
    let [alpha, beta] = machines(["alpha", "beta"]);
    let set = FakeSet::starting(&["beta", "alpha"]);
    set.up(&alpha);
    let arrives = {
        let (set, beta) = (Arc::clone(&set), Arc::clone(&beta));
        move || set.up(&beta)
    };
    let mut scene = Scene::deferred(
        &set,
        [
            Reply::items([runs("a", "one")]),
            Reply::items([runs("b", "two"), runs_in("c", "beta", "twob")]).first(arrives),
            Reply::items([runs("d", "three"), runs_in("e", "alpha", "four")]),
            Reply::items([says("ok")]),
        ],
    );
    scene.turn("x").await;
    assert_eq!(ran(&alpha), ["one", "two", "four"]);
    assert_eq!(ran(&beta), ["three"]);
    let refusal = scene.output("c");
    assert!(
        refusal.starts_with("No usable execution environment is available"),
        "{refusal}"
    );
    let text = environment_text(&scene, 2);
    assert!(text.contains("id=\"alpha\" primary=\"false\""), "{text}");
    assert!(text.contains("id=\"beta\" primary=\"true\""), "{text}");
}

#[tokio::test(start_paused = true)]
async fn rule_4_a_wait_does_not_change_its_own_step() {
    let [alpha, beta] = machines(["alpha", "beta"]);
    let set = FakeSet::starting(&["beta", "alpha"]);
    set.up(&alpha);
    let wait = calls(
        "wait",
        "wait_for_environment",
        json!({"environment_id": "beta"}),
    );
    let arrives = {
        let (set, beta) = (Arc::clone(&set), Arc::clone(&beta));
        move || set.up(&beta)
    };
    let mut scene = Scene::deferred(
        &set,
        [
            Reply::items([wait, runs_in("same", "beta", "no"), runs("own", "one")]).first(arrives),
            Reply::items([runs_in("next", "beta", "yes")]),
            Reply::items([says("ok")]),
        ],
    );
    scene.turn("x").await;
    assert_eq!(
        scene.output("wait"),
        r#"{"environment_id":"beta","status":"ready"}"#
    );
    assert!(
        scene
            .output("same")
            .starts_with("No usable execution environment is available")
    );
    assert_eq!(
        (ran(&alpha), ran(&beta)),
        (vec!["one".to_owned()], vec!["yes".to_owned()])
    );
}

#[tokio::test(start_paused = true)]
async fn a_wait_says_why_it_was_for_nothing() {
    let set = FakeSet::starting(&["alpha"]);
    let wait = |id: &str, environment: &str| {
        calls(
            id,
            "wait_for_environment",
            json!({"environment_id": environment}),
        )
    };
    let fails = {
        let set = Arc::clone(&set);
        move || set.set("alpha", failed("refused"))
    };
    let mut scene = Scene::deferred(
        &set,
        [
            Reply::items([wait("a", "alpha"), wait("b", "zzz")]).first(fails),
            Reply::items([says("ok")]),
        ],
    );
    scene.turn("x").await;
    assert_eq!(
        scene.output("a"),
        "environment `alpha` did not become ready: refused"
    );
    assert_eq!(
        scene.output("b"),
        "environment `zzz` is neither ready nor starting"
    );
}

#[tokio::test(start_paused = true)]
async fn rule_5_environments_are_looked_at_between_steps_and_nowhere_else() {
    let [alpha] = machines(["alpha"]);
    let set = FakeSet::starting(&["alpha"]);
    set.up(&alpha);
    let busy = ["a", "b", "c", "d"].map(|id| runs(id, "ls"));
    let mut scene = Scene::deferred(&set, [Reply::items(busy), Reply::items([says("ok")])]);
    scene.turn("x").await;
    // Once for each of the two sampling requests, whatever the calls did.
    assert_eq!(set.looks(), 2);
}

#[tokio::test(start_paused = true)]
async fn rule_6_without_deferred_start_a_turn_resolves_its_environments_once() {
    let [alpha, beta] = machines(["alpha", "beta"]);
    let set = FakeSet::starting(&["alpha", "beta"]);
    set.up(&alpha);
    set.set("beta", failed("refused"));
    let recovers = {
        let (set, beta) = (Arc::clone(&set), Arc::clone(&beta));
        move || set.up(&beta)
    };
    let mut scene = Scene::blocking(
        &set,
        [
            Reply::items([runs("a", "ls")]).first(recovers),
            Reply::items([runs_in("b", "beta", "ls")]),
            Reply::items([says("ok")]),
            Reply::items([runs_in("c", "beta", "ls")]),
            Reply::items([says("ok")]),
        ],
    );
    scene.turn("x").await;
    assert!(
        scene
            .output("b")
            .contains("`beta` could not be reached: refused")
    );
    assert_eq!(set.looks(), 1);
    scene.turn("y").await;
    assert_eq!(ran(&beta), ["ls"]);
    assert_eq!(set.looks(), 2);
}

#[tokio::test(start_paused = true)]
async fn rule_6_a_blocking_turn_waits_for_every_environment() {
    let [alpha, beta] = machines(["alpha", "beta"]);
    let set = FakeSet::starting(&["alpha", "beta"]);
    set.up(&alpha);
    let mut scene = Scene::blocking(&set, [Reply::items([says("ok")])]);
    let arrives = {
        let set = Arc::clone(&set);
        async move {
            tokio::task::yield_now().await;
            set.up(&beta);
        }
    };
    tokio::join!(scene.turn("x"), arrives);
    assert!(!environment_text(&scene, 0).contains("starting"));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_ended_is_looked_for_again_by_the_next_step() {
    let [first, second] = [FakeMachine::named("alpha"), FakeMachine::named("alpha")];
    let set = FakeSet::starting(&["alpha"]);
    set.up(&first);
    let restarts = {
        let (set, first, second) = (Arc::clone(&set), Arc::clone(&first), Arc::clone(&second));
        move || {
            first.disconnect();
            set.up(&second);
        }
    };
    let mut scene = Scene::blocking(
        &set,
        [
            Reply::items([runs("a", "one")]).first(restarts),
            Reply::items([runs("b", "two")]),
            Reply::items([says("ok")]),
        ],
    );
    scene.turn("x").await;
    assert!(
        scene.output("a").contains("the test cut the link"),
        "{}",
        scene.output("a")
    );
    assert_eq!(ran(&second), ["two"]);
}

#[tokio::test(start_paused = true)]
async fn rule_7_a_session_remembers_the_environment_of_its_process() {
    let [alpha, beta] = machines(["alpha", "beta"]);
    let set = FakeSet::starting(&["alpha", "beta"]);
    set.up(&alpha);
    set.up(&beta);
    beta.hold();
    let mut scene = Scene::deferred(
        &set,
        [
            Reply::items([calls(
                "start",
                "exec_command",
                json!({"cmd": "cat", "tty": true, "environment_id": "beta", "yield_time_ms": 300}),
            )]),
            Reply::items([says("started")]),
        ],
    );
    scene.turn("x").await;
    let started = scene.output("start");
    let number: u32 = started
        .lines()
        .find_map(|line| line.strip_prefix("Process running with session ID "))
        .unwrap()
        .parse()
        .unwrap();
    let session = scene.toolbox.sessions().get(number).unwrap();
    assert_eq!(&**session.environment(), "beta");
    // The environment is gone from the selection's view; the session is not.
    set.set("beta", failed("deselected"));
    session.write(b"hello\n".to_vec()).await.unwrap();
    assert_eq!(
        (beta.written(), alpha.written()),
        ("hello\n".to_owned(), String::new())
    );
}

#[tokio::test]
async fn rule_8_a_snapshot_holds_its_machines_until_its_last_user_is_done() {
    let [alpha] = machines(["alpha"]);
    let set = FakeSet::starting(&["alpha"]);
    set.up(&alpha);
    let (events, _signals) = crate::events::Events::channel();
    let mut selection = Selection::new(Arc::clone(&set) as _, SelectionOptions::default(), events);
    let step = selection
        .capture(&turn(false, OnPrimaryFailure::Error))
        .await;
    drop(selection);
    set.set("alpha", failed("removed from the configuration"));
    let watched = Arc::downgrade(&alpha);
    drop(alpha);
    let route = step.route(None).unwrap();
    assert!(route.machine.metadata(&route.cwd).await.is_ok());
    drop(step);
    assert!(watched.upgrade().is_some(), "a call still uses it");
    drop(route);
    assert!(watched.upgrade().is_none(), "nobody uses it any more");
}
