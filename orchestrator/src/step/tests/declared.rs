//! What entries declare: folders to keep to, labels to be chosen by, what may be done.

use std::collections::BTreeMap;

use farstep_environments::config::Profile;

use super::*;
use crate::declared::Declared;

fn uri(text: &str) -> PathUri {
    PathUri::parse(text).unwrap()
}

fn rooted(roots: &[&str]) -> Declared {
    Declared {
        roots: roots.iter().map(|root| uri(root)).collect(),
        ..Declared::default()
    }
}

fn labelled(name: &str, value: &str) -> Declared {
    Declared {
        labels: BTreeMap::from([(name.to_owned(), value.to_owned())]),
        ..Declared::default()
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_outside_of_the_roots_is_touched_and_the_model_reads_which_they_are() {
    let [alpha] = machines(["alpha"]);
    let set = FakeSet::starting(&["alpha"]);
    set.up(&alpha);
    alpha.put("file:///etc/passwd", "x\n");
    let patch = |path: &str| format!("*** Begin Patch\n*** Add File: {path}\n+x\n*** End Patch");
    let moved =
        "*** Begin Patch\n*** Update File: a\n*** Move to: ../../etc/a\n@@\n-a\n+b\n*** End Patch";
    alpha.put("file:///srv/app/a", "a\n");
    let workdir = |call: &str, folder: &str| {
        calls(
            call,
            "exec_command",
            json!({"cmd": call, "workdir": folder}),
        )
    };
    let mut scene = Scene::declared(
        &set,
        [("alpha", rooted(&["file:///srv/app", "file:///srv/lib"]))],
        [
            Reply::items([
                workdir("out", "/etc"),
                workdir("up", "../application"),
                workdir("in", "sub"),
                workdir("lib", "/srv/lib/x"),
                patches("p-out", &patch("../../etc/new")),
                patches("p-in", &patch("new")),
                patches("p-moved", moved),
                calls("v-out", "view_image", json!({"path": "/etc/passwd"})),
            ]),
            Reply::items([says("ok")]),
        ],
    );
    scene.turn("x").await;
    let reason = |path: &str| {
        format!(
            "`{path}` is outside of the workspace roots of `alpha` (/srv/app, /srv/lib), and \
             nobody can be asked to allow it"
        )
    };
    let said = |call: &str| scene.output(call);
    assert_eq!(
        said("out"),
        format!("exec_command rejected: workdir {}", reason("/etc"))
    );
    assert!(
        said("up").ends_with(&reason("/srv/application")),
        "{}",
        said("up")
    );
    assert_eq!(
        said("p-out"),
        format!("patch rejected: {}", reason("/etc/new"))
    );
    assert_eq!(
        said("p-moved"),
        format!("patch rejected: {}", reason("/etc/a"))
    );
    assert_eq!(
        said("v-out"),
        format!("view_image rejected: {}", reason("/etc/passwd"))
    );
    assert_eq!(ran(&alpha), ["in", "lib"]);
    assert_eq!(alpha.text_of("file:///srv/app/new").as_deref(), Some("x\n"));
    assert_eq!(alpha.text_of("file:///srv/app/a").as_deref(), Some("a\n"));
    // The executor would start elsewhere; the first root is inside.
    let text = environment_text(&scene, 0);
    assert!(text.contains("<cwd>/srv/app</cwd>"), "{text}");
    let told = "<workspace_roots><root>/srv/app</root><root>/srv/lib</root></workspace_roots>";
    assert!(text.contains(told), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_label_chooses_the_first_that_is_available_in_the_step() {
    let [beta, gamma] = machines(["beta", "gamma"]);
    let set = FakeSet::starting(&["alpha", "beta", "gamma"]);
    set.set("alpha", failed("gone"));
    set.up(&beta);
    set.up(&gamma);
    let ci = || labelled("tier", "ci");
    let mut scene = Scene::declared(
        &set,
        [
            ("alpha", ci()),
            ("beta", ci()),
            ("gamma", labelled("tier", "prod")),
        ],
        [
            Reply::items([
                runs_in("ci", "label:tier=ci", "one"),
                runs_in("prod", "label:tier=prod", "two"),
                runs_in("none", "label:tier=dev", "three"),
                runs_in("gone", "alpha", "four"),
                calls(
                    "wait",
                    "wait_for_environment",
                    json!({"environment_id": "label:tier=ci"}),
                ),
            ]),
            Reply::items([says("ok")]),
        ],
    );
    scene.turn("x").await;
    assert_eq!(ran(&beta), ["one"]);
    assert_eq!(ran(&gamma), ["two"]);
    let said = |call: &str| scene.output(call);
    assert_eq!(said("none"), "unknown turn environment id `label:tier=dev`");
    assert!(
        said("gone").contains("`alpha` could not be reached"),
        "{}",
        said("gone")
    );
    assert!(said("wait").contains("\"beta\""), "{}", said("wait"));
    let text = environment_text(&scene, 0);
    assert!(text.contains("<labels>tier=ci</labels>"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn the_model_reads_what_a_profile_lets_it_do() {
    let [alpha] = machines(["alpha"]);
    let set = FakeSet::starting(&["alpha"]);
    set.up(&alpha);
    let confined = Declared {
        profile: Some(Profile::Workspace),
        ..Declared::default()
    };
    let mut scene = Scene::declared(&set, [("alpha", confined)], [Reply::items([says("ok")])]);
    scene.turn("x").await;
    let text = environment_text(&scene, 0);
    for told in [
        "<permission_profile type=\"managed\"><file_system type=\"restricted\">",
        "<entry access=\"read\"><special>:root</special></entry>",
        "<entry access=\"write\"><path>/srv</path></entry>",
    ] {
        assert!(text.contains(told), "{told}: {text}");
    }
    let requests = scene.requests();
    let messages = requests[0]
        .input
        .iter()
        .filter_map(|item| item.as_message());
    let rules: Vec<String> = messages.map(|message| message.text.clone()).collect();
    assert!(
        rules
            .iter()
            .any(|text| text.contains("refuses what is not allowed: alpha (workspace-write)")),
        "{rules:?}"
    );
    assert!(
        !rules
            .iter()
            .any(|text| text.contains("There is no sandbox"))
    );
}
