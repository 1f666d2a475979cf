//! An orchestrator that comes while the executor is away: who is waited for, and what is said.

use farstep_rendezvous::store::CredentialKind::{Admin, Executor, Harness};
use serde_json::json;

use crate::scene::{Scene, closed, dial, url};

#[tokio::test]
async fn who_comes_before_the_executor_ever_did_is_waited_with_when_it_is_expected() {
    let scene = Scene::start().await;
    let executor = scene.token("a", Executor, "box").await;
    let harness = scene.token("a", Harness, "box").await;
    let asked = scene.connect_within("box", &harness, 3, 0).await;
    assert_eq!(asked.status, 503, "{}", asked.text);
    let told = "the environment's executor is not connected: it has not registered yet";
    assert_eq!(
        asked.body["error"],
        json!({"code": "executor_away", "message": told})
    );
    // It comes while somebody waits.
    let (bundle, _link) = tokio::join!(
        scene.connect("box", &harness, 3),
        scene.executor("box", &executor, 1)
    );
    url(&bundle);
}

#[tokio::test]
async fn a_wish_is_followed_and_the_answer_says_why_the_executor_is_away() {
    let scene = Scene::start().await;
    let executor = scene.token("a", Executor, "*").await;
    let harness = scene.token("a", Harness, "*").await;
    let registered = scene.register("box", &executor, 1).await;
    let asked = scene.connect_within("box", &harness, 3, 0).await;
    assert_eq!(asked.status, 503);
    assert!(
        asked.text.contains("preference-applied: wait=0"),
        "{}",
        asked.text
    );
    assert!(asked.text.contains("retry-after: 1"), "{}", asked.text);
    assert!(
        asked.text.contains("registered and has not connected"),
        "{}",
        asked.text
    );
    let mut link = dial(url(&registered)).await;
    url(&scene.connect_within("box", &harness, 3, 0).await);
    scene
        .store
        .revoke(crate::scene::kid(&executor), 1)
        .await
        .unwrap();
    closed(&mut link).await;
    let message = loop {
        let asked = scene.connect_within("box", &harness, 3, 0).await;
        if asked.status == 503 {
            break asked.body["error"]["message"].as_str().unwrap().to_owned();
        }
    };
    let (before, after) = message.split_once(" away for ").unwrap();
    assert_eq!(before, "the environment's executor is not connected:");
    assert!(
        after.contains("(closed by the rendezvous, code "),
        "{message}"
    );
}

#[tokio::test]
async fn what_nobody_is_expected_for_and_what_is_forbidden_are_refused_alike_and_at_once() {
    let scene = Scene::start().await;
    // For all of them, and so for none in particular.
    scene.token("a", Executor, "*").await;
    // Of another tenant.
    scene.token("b", Executor, "box").await;
    scene.token("a", Executor, "closed").await;
    let admin = scene.token("a", Admin, "*").await;
    let path = "/v1/environments/closed/policy";
    let policy = json!({"credentials": ["nobody"]});
    let set = scene.request("PUT", path, &admin, &policy).await;
    assert_eq!(set.status, 200, "{}", set.text);
    let harness = scene.token("a", Harness, "*").await;
    let nowhere = scene.connect("box", &harness, 3).await;
    assert_eq!(nowhere.status, 403);
    let wished = scene.connect_within("box", &harness, 3, 8).await;
    let forbidden = scene.connect("closed", &harness, 3).await;
    let wished_there = scene.connect_within("closed", &harness, 3, 8).await;
    for other in [wished, forbidden, wished_there] {
        assert_eq!(other.text, nowhere.text);
    }
}
