//! What a valid account of one tenant can do to another: nothing, and it learns nothing either
//! (`rendezvous` section C10, one test for each item of its list).

use std::time::{Duration, Instant};

use bytes::Bytes;
use farstep_protocol::relay::Kind;
use farstep_rendezvous::store::CredentialKind::{Admin, Executor, Harness};
use farstep_rendezvous::store::EnvironmentKey;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::scene::{Scene, Socket, data, dial, frame, kid, next, refused, send, url};

/// Tenant `a` has an executor `box`; tenant `b` has every kind of credential, each for everything.
struct Two {
    scene: Scene,
    link: Socket,
    ours: String,
    our_harness: String,
    executor: String,
    harness: String,
    admin: String,
}

impl Two {
    async fn start() -> Two {
        let scene = Scene::start().await;
        let ours = scene.token("a", Executor, "*").await;
        Two {
            link: scene.executor("box", &ours, 1).await,
            our_harness: scene.token("a", Harness, "*").await,
            executor: scene.token("b", Executor, "*").await,
            harness: scene.token("b", Harness, "*").await,
            admin: scene.token("b", Admin, "*").await,
            ours,
            scene,
        }
    }

    /// Ours is as it was.
    async fn undisturbed(mut self) {
        self.link.send(Message::Ping(Bytes::new())).await.unwrap();
        let pong = self.link.next().await.unwrap().unwrap();
        assert!(pong.is_pong(), "{pong:?}");
        let environment = EnvironmentKey::new("a", "box");
        let route = self.scene.store.route(&environment).await.unwrap();
        assert_eq!(route.unwrap().generation, 1);
    }
}

#[tokio::test]
async fn registering_the_same_id_is_another_environment() {
    let two = Two::start().await;
    let theirs = two.scene.register("box", &two.executor, 2).await;
    let _theirs = dial(url(&theirs)).await;
    let path = "/t/a/cloud/environment/box/register";
    assert_eq!(
        two.scene.post(path, &two.executor, &json!({})).await.status,
        401
    );
    two.undisturbed().await;
}

#[tokio::test]
async fn connecting_finds_nothing() {
    let two = Two::start().await;
    let there = two.scene.connect("box", &two.harness, 3).await;
    let nowhere = two.scene.connect("bax", &two.harness, 3).await;
    assert_eq!((there.status, there.text), (403, nowhere.text));
    let path = "/t/a/cloud/environment/box/connect";
    assert_eq!(
        two.scene.post(path, &two.harness, &json!({})).await.status,
        401
    );
    two.undisturbed().await;
}

#[tokio::test]
async fn validating_says_no() {
    let two = Two::start().await;
    two.scene.register("box", &two.executor, 2).await;
    let bundle = two.scene.connect("box", &two.our_harness, 3).await.body;
    let validated = two.scene.validate("box", &two.executor, &bundle, 3).await;
    assert_eq!(validated.body, json!({"valid": false}));
    two.undisturbed().await;
}

#[tokio::test]
async fn a_url_of_one_tenant_does_not_bear_the_id_or_the_name_of_another() {
    let two = Two::start().await;
    let theirs = two.scene.register("bax", &two.executor, 2).await;
    let good = url(&theirs);
    for altered in [
        good.replace("t=b", "t=a"),
        good.replace("/bax?", "/box?"),
        good.replace("/bax?", "/box?").replace("t=b", "t=a"),
    ] {
        let reason = "invalid_signature".to_owned();
        assert_eq!(refused(&altered).await, (401, reason));
    }
    two.undisturbed().await;
}

#[tokio::test]
async fn guessing_a_stream_id_reaches_nobody() {
    let mut two = Two::start().await;
    let mut theirs = two.scene.executor("box", &two.executor, 2).await;
    let mut ours = two.scene.harness("box", &two.our_harness, "stream-1").await;
    next(&mut two.link).await.unwrap();
    // The same id is another stream at another tenant's executor.
    let mut guess = two.scene.harness("box", &two.harness, "stream-1").await;
    next(&mut theirs).await.unwrap();
    send(&mut guess, data("stream-1", 0)).await;
    send(&mut theirs, data("stream-1", 7)).await;
    let reset = Kind::Reset {
        reason: "x".to_owned(),
    };
    send(&mut theirs, frame("stream-1", reset)).await;
    while next(&mut guess).await.is_some() {}
    // What we hear first is from our own executor, and what it hears is from us.
    send(&mut two.link, data("stream-1", 0)).await;
    assert_eq!(next(&mut ours).await.unwrap(), data("stream-1", 0));
    send(&mut ours, data("stream-1", 1)).await;
    assert_eq!(next(&mut two.link).await.unwrap(), data("stream-1", 1));
    two.undisturbed().await;
}

#[tokio::test]
async fn an_admin_token_sees_and_changes_only_its_own() {
    let two = Two::start().await;
    let scene = &two.scene;
    let listed = scene.get("/v1/environments", &two.admin).await;
    assert_eq!(listed.body, json!({"environments": []}));
    for (method, there, nowhere, body) in [
        (
            "GET",
            "/v1/environments/box".to_owned(),
            "/v1/environments/bax".to_owned(),
            Value::Null,
        ),
        (
            "GET",
            "/v1/environments/box/events".to_owned(),
            "/v1/environments/bax/events".to_owned(),
            Value::Null,
        ),
        (
            "DELETE",
            format!("/v1/environments/box/credentials/{}", kid(&two.ours)),
            "/v1/environments/box/credentials/000000000000".to_owned(),
            Value::Null,
        ),
    ] {
        let there = scene.request(method, &there, &two.admin, &body).await;
        let nowhere = scene.request(method, &nowhere, &two.admin, &body).await;
        assert_eq!((there.status, there.text), (403, nowhere.text), "{method}");
    }
    let rotate = "/v1/environments/box/credentials/rotate";
    let there = scene
        .post(rotate, &two.admin, &json!({"kid": kid(&two.ours)}))
        .await;
    let nowhere = scene
        .post(rotate, &two.admin, &json!({"kid": "000000000000"}))
        .await;
    assert_eq!((there.status, there.text), (403, nowhere.text));
    // A policy for the same name is another one's.
    let closed = json!({"credentials": ["nobody"]});
    let path = "/v1/environments/box/policy";
    assert_eq!(
        scene.request("PUT", path, &two.admin, &closed).await.status,
        200
    );
    assert_eq!(scene.connect("box", &two.our_harness, 3).await.status, 200);
    let path = "/t/a/v1/environments";
    assert_eq!(scene.get(path, &two.admin).await.status, 401);
    two.undisturbed().await;
}

#[tokio::test]
async fn metrics_name_no_tenant_and_no_environment() {
    let scene = Scene::start().await;
    let executor = scene.token("tenant-of-ours", Executor, "*").await;
    let harness = scene.token("tenant-of-ours", Harness, "*").await;
    let _link = scene.executor("box-of-ours", &executor, 1).await;
    let _stream = scene
        .harness("box-of-ours", &harness, "stream-of-ours")
        .await;
    scene.connect("box-of-nobody", &harness, 3).await;
    let page = scene.get("/metrics", "").await.text;
    let counts = |line: &str| line.starts_with("rdv_executors") && line.ends_with(" 1");
    assert!(page.lines().any(counts), "{page}");
    assert!(
        !page.contains("of-ours") && !page.contains("of-nobody"),
        "{page}"
    );
}

/// How long what exists and what does not take to be refused may differ by a factor that no look at
/// the store explains.
#[tokio::test]
async fn refusals_take_as_long_for_what_exists_as_for_what_does_not() {
    let two = Two::start().await;
    let wrong = |token: &str| {
        let (body, _) = token.rsplit_once('_').unwrap();
        body.to_owned()
    };
    let unknown = format!("{}_x", wrong(&two.harness));
    let (mut there, mut nowhere) = (Vec::new(), Vec::new());
    for _ in 0..60 {
        for (id, times) in [("box", &mut there), ("bax", &mut nowhere)] {
            let began = Instant::now();
            two.scene.connect(id, &two.harness, 3).await;
            times.push(began.elapsed());
            // Between two bundles, so that the limit on them plays no part.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    let median = |times: &mut Vec<Duration>| {
        times.sort();
        times[times.len() / 2]
    };
    let (there, nowhere) = (median(&mut there), median(&mut nowhere));
    let ratio = there.as_secs_f64() / nowhere.as_secs_f64();
    assert!((0.33..3.0).contains(&ratio), "{there:?} and {nowhere:?}");
    let missing = two.scene.connect("box", &unknown, 3).await;
    let guessed = two.scene.connect("box", &wrong(&two.our_harness), 3).await;
    assert_eq!((missing.status, missing.text), (401, guessed.text));
    two.undisturbed().await;
}
