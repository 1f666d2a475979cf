use super::*;

/// A world in which every call does what it should; a test bends one output.
struct World {
    input: Vec<Value>,
    bent: Option<(&'static str, &'static str)>,
}

impl World {
    fn new(bent: Option<(&'static str, &'static str)>) -> World {
        let told = "<environments><environment id=\"builder\" primary=\"true\">\
            </environment><environment id=\"server\" primary=\"false\"></environment>";
        let content = json!([{"type": "input_text", "text": told}]);
        let input = vec![json!({"type": "message", "role": "user", "content": content})];
        World { input, bent }
    }

    fn request(&self) -> Value {
        let properties = json!({"cmd": {}, "environment_id": {"type": "string"}});
        let tool = json!({"name": "exec_command", "parameters": {"properties": properties}});
        json!({"input": self.input, "tools": [tool]})
    }

    /// Plays until the model stops calling; gives its replies.
    fn play(&mut self) -> Vec<Reply> {
        let mut replies = Vec::new();
        loop {
            let reply = reply(&self.request());
            assert!(replies.len() < 20, "the model does not come to an end");
            for call in reply.calls.clone() {
                let id = call["call_id"].as_str().unwrap().to_owned();
                let text = match self.bent {
                    Some((bent, text)) if bent == id => text.to_owned(),
                    _ => right(&id),
                };
                let kind = format!("{}_output", call["type"].as_str().unwrap());
                let output = json!({"type": kind, "call_id": id, "output": text});
                self.input.extend([call, output]);
            }
            let over = reply.calls.is_empty();
            replies.push(reply);
            if over {
                return replies;
            }
        }
    }
}

fn exited(code: i64, output: &str) -> String {
    format!("Chunk ID: 0\nProcess exited with code {code}\nOutput:\n{output}")
}

fn patched(lines: &str) -> String {
    format!("Exit code: 0\nWall time: 0 seconds\nOutput:\nSuccess.\n{lines}")
}

/// What a call brings when all is well.
fn right(call: &str) -> String {
    match call {
        "look_builder" => exited(0, "/one\n"),
        "look_server" => exited(0, "/two\n"),
        "write" => patched("A roman.sh\nA test.sh\n"),
        "test" => exited(1, "ok    3 = III\nFAIL  4 = IV, got IIII\n"),
        "repair" => patched("M roman.sh\n"),
        "retest" => exited(0, "ok    4 = IV\nok    1994 = MCMXCIV\n"),
        "deliver" => patched("A roman.sh\nA server.sh\nA ask.sh\n"),
        "start" => "Process running with session ID 7\nOutput:\nready\r\n".to_owned(),
        "wait_0" => "Process running with session ID 7\nOutput:\nready\r\n".to_owned(),
        "check" => exited(0, "MCMXCIV\n"),
        "read" => exited(0, "roman() {\n    as it was read\n}\n"),
        other => panic!("no such call: {other}"),
    }
}

fn last(bent: (&'static str, &'static str)) -> Reply {
    World::new(Some(bent)).play().pop().unwrap()
}

#[test]
fn the_whole_task_is_played_step_by_step() {
    let replies = World::new(None).play();
    let reached: Vec<_> = replies.iter().map(|reply| reply.reached).collect();
    let expected: Vec<_> = [None].into_iter().chain(STEPS.map(Some)).collect();
    assert_eq!(reached, expected);
    let told: Vec<String> = replies
        .iter()
        .map(|reply| {
            let call = |call: &Value| {
                let what = call["arguments"].as_str().or(call["input"].as_str());
                format!("    {}: {}", call["name"].as_str().unwrap(), what.unwrap())
            };
            let calls: Vec<String> = reply.calls.iter().map(call).collect();
            format!("{}\n{}", reply.text, calls.join("\n"))
        })
        .collect();
    let told = told.join("\n");
    insta::assert_snapshot!(told);
}

#[test]
fn the_same_request_gets_the_same_reply() {
    let mut world = World::new(None);
    world.play();
    assert_eq!(reply(&world.request()), reply(&world.request()));
}

#[test]
fn what_was_read_is_what_is_carried() {
    let replies = World::new(None).play();
    let deliver = &replies[6].calls[0]["input"];
    let text = deliver.as_str().unwrap();
    assert!(
        text.contains("*** Add File: roman.sh\n+roman() {\n+    as it was read\n+}\n***"),
        "{text}"
    );
}

#[test]
fn a_server_that_needs_time_is_waited_for() {
    let slow = "Process running with session ID 7\nOutput:\n";
    let replies = World::new(Some(("start", slow))).play();
    assert_eq!(replies.len(), 11);
    assert_eq!(replies[8].calls[0]["call_id"], "wait_0");
    assert!(replies[10].text.starts_with("Done."));
}

#[test]
fn a_step_that_did_not_happen_ends_it() {
    let lost = "apply_patch failed before anything was changed: connection lost";
    for (step, bent) in [
        (
            None,
            (
                "look_builder",
                "No usable execution environment is available.",
            ),
        ),
        (
            None,
            ("look_server", "Process exited with code 0\nOutput:\n/one\n"),
        ),
        (Some(Step::Look), ("write", lost)),
        (
            Some(Step::Write),
            (
                "test",
                "Process exited with code 0\nOutput:\nok    4 = IV\n",
            ),
        ),
        (Some(Step::Test), ("repair", lost)),
        (
            Some(Step::Repair),
            ("retest", "Process exited with code 1\nOutput:\nFAIL\n"),
        ),
        (
            Some(Step::Retest),
            ("read", "Process lost; its exit code is unknown\nOutput:\n"),
        ),
        (
            Some(Step::Read),
            (
                "deliver",
                "Exit code: 1\nOutput:\nFailed to write ask.sh: no\n",
            ),
        ),
        (
            Some(Step::Deliver),
            ("start", "Process exited with code 1\nOutput:\nmkfifo: no\n"),
        ),
        (
            Some(Step::Start),
            (
                "check",
                "Process exited with code 0\nOutput:\nMDCCCCLXXXXIIII\n",
            ),
        ),
        (
            Some(Step::Start),
            ("check", "Process running with session ID 8\nOutput:\n"),
        ),
    ] {
        let reply = last(bent);
        assert!(
            reply.text.starts_with("I stop here, because "),
            "{}",
            reply.text
        );
        assert_eq!((reply.reached, reply.calls.len()), (step, 0), "{bent:?}");
    }
}

#[test]
fn a_model_that_is_not_told_of_both_environments_does_not_begin() {
    let mut world = World::new(None);
    world.input.clear();
    let expected = "I stop here, because nobody tells me of an environment `builder`.";
    assert_eq!(world.play()[0].text, expected);
    let mut request = World::new(None).request();
    request["tools"] = json!([]);
    let expected = "I stop here, because I have no tool that runs commands by environment.";
    assert_eq!(reply(&request).text, expected);
}
