//! Who is primary, why a call is refused, which tools there are, and where environments are placed.

use super::*;

/// A snapshot with these states, in this order.
fn snapshot(states: &[(&str, StepState)], rule: OnPrimaryFailure) -> StepSnapshot {
    let environments = states.iter().map(|(id, state)| StepEnvironment {
        id: Arc::from(*id),
        cwd: None,
        os: None,
        declared: Arc::default(),
        state: state.clone(),
    });
    StepSnapshot::new(
        1,
        turn(true, rule),
        environments.collect(),
        Arc::new(Documents::default()),
    )
}

fn up(name: &str) -> StepState {
    let cwd = PathUri::parse("file:///srv").unwrap();
    StepState::Available {
        machine: FakeMachine::named(name),
        cwd,
        problem: None,
    }
}

fn down() -> StepState {
    StepState::Failed {
        reason: "refused".into(),
    }
}

#[test]
fn a_failed_first_choice_is_never_replaced_unless_somebody_asked_for_it() {
    let strict = snapshot(&[("a", down()), ("b", up("b"))], OnPrimaryFailure::Error);
    assert_eq!(
        strict.route(None).unwrap_err(),
        RouteError::Failed {
            id: "a".into(),
            reason: "refused".into()
        }
    );
    let today = Today {
        date: "d".into(),
        timezone: "z".into(),
    };
    let text = strict.section(&today).text();
    assert!(
        text.contains("id=\"a\" primary=\"true\"") && !text.contains("id=\"b\" primary=\"true\"")
    );
    assert_eq!(&*strict.route(Some("b")).unwrap().id, "b");
    let lenient = snapshot(
        &[("a", down()), ("b", up("b"))],
        OnPrimaryFailure::NextReady,
    );
    assert_eq!(&*lenient.route(None).unwrap().id, "b");
}

#[test]
fn a_first_choice_that_is_starting_may_be_overtaken_unless_calls_are_to_wait_for_it() {
    let states = [("a", StepState::Starting), ("b", up("b"))];
    let usual = snapshot(&states, OnPrimaryFailure::Error);
    assert_eq!(&*usual.route(None).unwrap().id, "b");
    let waiting = snapshot(&states, OnPrimaryFailure::Wait);
    assert_eq!(
        waiting.route(None).unwrap_err(),
        RouteError::Starting("a".into())
    );
}

#[test]
fn a_refusal_names_what_is_wrong() {
    let none = snapshot(&[], OnPrimaryFailure::Error);
    assert_eq!(none.route(None).unwrap_err(), RouteError::NoneSelected);
    let some = snapshot(&[("a", up("a"))], OnPrimaryFailure::Error);
    for unknown in ["x", "", "A"] {
        assert_eq!(
            some.route(Some(unknown)).unwrap_err().to_string(),
            format!("unknown turn environment id `{unknown}`")
        );
    }
    let starting = [("a", StepState::Starting), ("b", StepState::Starting)];
    let starting = snapshot(&starting, OnPrimaryFailure::Error);
    assert_eq!(starting.route(None).unwrap_err(), RouteError::AllStarting);
}

#[test]
fn the_tools_depend_on_what_is_selected_and_not_on_what_is_available() {
    let names = |step: &StepSnapshot| -> Vec<String> {
        let tools = tools::advertised(step);
        tools
            .iter()
            .map(|tool| tool["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        names(&snapshot(&[], OnPrimaryFailure::Error)),
        Vec::<String>::new()
    );
    let all = [
        "exec_command",
        "write_stdin",
        "apply_patch",
        "view_image",
        "wait_for_environment",
    ];
    let one = snapshot(&[("a", StepState::Starting)], OnPrimaryFailure::Error);
    assert_eq!(names(&one), all);
    let has_id = |step: &StepSnapshot| {
        let tools = tools::advertised(step);
        let exec = tools[0]["parameters"]["properties"]
            .get("environment_id")
            .is_some();
        let patch = tools[2].to_string().contains("Environment ID");
        (exec, patch)
    };
    assert_eq!(has_id(&one), (false, false));
    let two = snapshot(
        &[("a", StepState::Starting), ("b", down())],
        OnPrimaryFailure::Error,
    );
    assert_eq!(has_id(&two), (true, true));
    let ready = snapshot(&[("a", up("a")), ("b", up("b"))], OnPrimaryFailure::Error);
    assert_eq!(tools::advertised(&two), tools::advertised(&ready));
}

#[test]
fn a_working_folder_is_the_first_that_is_known() {
    let info = |text: &str| serde_json::from_str(text).unwrap();
    let uri = |text: &str| PathUri::parse(text).unwrap();
    let linux = info(
        r#"{"shell":{"name":"sh","path":"/bin/sh"},"cwd":"file:///exec","userHomeDir":"file:///home"}"#,
    );
    let bare = info(r#"{"shell":{"name":"sh","path":"/bin/sh"}}"#);
    let windows = info(
        r#"{"shell":{"name":"cmd","path":"C:\\cmd.exe"},"cwd":"file:///C:/proj","platformOs":"windows"}"#,
    );
    let (configured, own) = (uri("file:///conf"), uri("file:///own"));
    let folder = |given, configured, own, info| {
        working_folder(given, configured, own, info).map(|uri: PathUri| uri.to_string())
    };
    let ok = |text: &str| Ok(text.to_owned());
    assert_eq!(
        folder(Some("/given"), Some(&configured), Some(&own), &linux),
        ok("file:///given")
    );
    assert_eq!(
        folder(Some("sub"), Some(&configured), None, &linux),
        ok("file:///conf/sub")
    );
    assert_eq!(
        folder(None, Some(&configured), Some(&own), &linux),
        ok("file:///conf")
    );
    assert_eq!(folder(None, None, Some(&own), &linux), ok("file:///own"));
    assert_eq!(folder(None, None, None, &linux), ok("file:///exec"));
    assert_eq!(
        folder(Some("file:///x"), None, None, &linux),
        ok("file:///x")
    );
    assert_eq!(
        folder(Some("sub\\dir"), None, None, &windows),
        ok("file:///C:/proj/sub/dir")
    );
    assert_eq!(
        folder(Some("D:\\other"), None, None, &windows),
        ok("file:///D:/other")
    );
    assert_eq!(folder(Some("/abs"), None, None, &bare), ok("file:///abs"));
    assert!(
        folder(Some("rel"), None, None, &bare)
            .unwrap_err()
            .contains("absolute")
    );
    assert!(
        folder(None, None, None, &bare)
            .unwrap_err()
            .contains("--cwd")
    );
}

#[tokio::test(start_paused = true)]
async fn a_working_folder_that_does_not_exist_is_told_at_the_start() {
    let [usual] = machines(["alpha"]);
    let astray = FakeMachine::with_info(
        "alpha",
        r#"{"shell":{"name":"sh","path":"/bin/sh"},"cwd":"file:///nowhere"}"#,
    );
    let set = FakeSet::starting(&["alpha"]);
    for (machine, error) in [
        (usual, None),
        (
            astray,
            Some("<error>the working folder /nowhere cannot be used: "),
        ),
    ] {
        set.up(&machine);
        let mut scene = Scene::deferred(&set, [Reply::items([says("ok")])]);
        scene.turn("x").await;
        let text = environment_text(&scene, 0);
        assert!(text.contains(error.unwrap_or("<cwd>/srv</cwd>")), "{text}");
        assert_eq!(text.contains("<error>"), error.is_some(), "{text}");
    }
}
