//! The routes under `/v1`.

use farstep_protocol::relay::attest::{Attested, TenantKey};
use farstep_rendezvous::auth::{NewToken, TokenKind};
use farstep_rendezvous::now;
use farstep_rendezvous::store::CredentialKind::{Admin, Executor, Harness};
use farstep_rendezvous::store::{Credential, Enrolment};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::net::TcpStream;

use crate::scene::{Scene, closed, dial, kid, public, url};

#[tokio::test]
async fn a_tenant_sees_where_its_executors_are_and_why_one_is_away() {
    let scene = Scene::start().await;
    let admin = scene.token("a", Admin, "*").await;
    let token = scene.token("a", Executor, "*").await;
    let path = "/cloud/environment/box/register";
    let info = json!({"version": "1.2", "os": "linux", "labels": {"rack": "7"}, "more": 1});
    let body = |info: &Value| {
        json!({
            "security_profile": "noise_hybrid_ik_v1", "executor_public_key": public(1),
            "executor_info": info,
        })
    };
    let registered = scene.post(path, &token, &body(&info)).await;
    let seen = scene.get("/v1/environments/box", &admin).await;
    assert_eq!(seen.status, 200, "{}", seen.text);
    assert_eq!(seen.body["online"], false);
    assert_eq!(seen.body["since"], Value::Null);
    assert_eq!(seen.body["version"], "1.2");
    assert_eq!(seen.body["labels"], json!({"rack": "7"}));
    let loud = json!({"version": "1\u{1b}[2J"});
    assert_eq!(scene.post(path, &token, &body(&loud)).await.status, 400);

    let mut link = dial(url(&registered)).await;
    let harness = scene.token("a", Harness, "*").await;
    let mut harness = scene.harness("box", &harness, "s").await;
    let seen = scene.get("/v1/environments", &admin).await.body;
    let [seen] = seen["environments"].as_array().unwrap().as_slice() else {
        panic!("{seen}");
    };
    assert_eq!(
        (&seen["online"], &seen["streams"]),
        (&json!(true), &json!(1))
    );
    assert!(seen["node"].as_str().unwrap().starts_with("node_"));
    let mut events = follow(&scene, "box", &admin).await;
    assert_eq!(event(&mut events).await.0, "online");

    link.close(None).await.unwrap();
    closed(&mut harness).await;
    let (name, offline) = event(&mut events).await;
    assert_eq!(
        (name.as_str(), &offline["by"]),
        ("offline", &json!("executor"))
    );
    let seen = scene.get("/v1/environments/box", &admin).await.body;
    assert_eq!(seen["online"], false);
    assert_eq!(seen["last_closed"]["code"], 1000);
    assert_eq!(seen["last_closed"]["by"], "executor");

    // Another executor takes it over, and the former is refused: both are told.
    let _newer = scene.executor("box", &token, 2).await;
    assert_eq!(event(&mut events).await.0, "superseded");
    assert_eq!(event(&mut events).await.0, "online");
    assert_eq!(scene.register("box", &token, 1).await.status, 409);
    let seen = scene.get("/v1/environments/box", &admin).await.body;
    assert_eq!(seen["generation"], 2);
    let rejected = seen["last_rejected"]["reason"].as_str().unwrap();
    assert!(
        rejected.contains("took this environment over"),
        "{rejected}"
    );

    // A follower ends with its credential.
    scene.store.revoke(kid(&admin), 0).await.unwrap();
    while events.next_line().await.unwrap().is_some() {}
}

type Events = Lines<BufReader<TcpStream>>;

async fn follow(scene: &Scene, id: &str, admin: &str) -> Events {
    let path = format!("/v1/environments/{id}/events");
    let socket = scene.ask("GET", &path, admin, "").await;
    BufReader::new(socket).lines()
}

/// The name of the next event and what it says.
async fn event(events: &mut Events) -> (String, Value) {
    let mut name = None;
    loop {
        let line = events.next_line().await.unwrap().unwrap();
        if let Some(found) = line.strip_prefix("event: ") {
            name = Some(found.to_owned());
        }
        if let Some(data) = line.strip_prefix("data: ") {
            return (name.unwrap(), serde_json::from_str(data).unwrap());
        }
    }
}

#[tokio::test]
async fn followers_are_bounded_and_give_their_places_back() {
    let scene = Scene::start().await;
    let admin = scene.token("a", Admin, "*").await;
    let token = scene.token("a", Executor, "*").await;
    scene.register("box", &token, 1).await;
    let mut all = Vec::new();
    for _ in 0..64 {
        let mut events = follow(&scene, "box", &admin).await;
        event(&mut events).await;
        all.push(events);
    }
    let path = "/v1/environments/box/events";
    assert_eq!(scene.get(path, &admin).await.status, 429);
    all.pop();
    loop {
        let mut events = follow(&scene, "box", &admin).await;
        if events.next_line().await.unwrap().unwrap().contains("200") {
            break;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_policy_says_who_comes_in() {
    let scene = Scene::start().await;
    let admin = scene.token("a", Admin, "box").await;
    let executor = scene.token("a", Executor, "*").await;
    let one = scene.token("a", Harness, "*").await;
    let two = scene.token("a", Harness, "*").await;
    let path = "/v1/environments/box/policy";
    let set = |policy: Value| scene_put(&scene, path, &admin, policy);
    let executor_keys = json!({"executor_keys": [public(1).fingerprint()]});
    assert_eq!(set(executor_keys).await, 200);
    let _link = scene.executor("box", &executor, 1).await;
    assert_eq!(scene.register("box", &executor, 2).await.status, 403);
    let seen = scene.get("/v1/environments/box", &admin).await.body;
    assert_eq!(seen["generation"], 1);
    assert!(
        seen["last_rejected"]["reason"]
            .as_str()
            .unwrap()
            .contains("policy")
    );

    assert_eq!(set(json!({"credentials": [kid(&one)]})).await, 200);
    assert_eq!(scene.connect("box", &one, 3).await.status, 200);
    assert_eq!(scene.connect("box", &two, 3).await.status, 403);
    let harness_keys = json!({"harness_keys": [public(3).fingerprint()], "streams_max": 1});
    assert_eq!(set(harness_keys).await, 200);
    assert_eq!(scene.connect("box", &two, 4).await.status, 403);
    let _stream = scene.harness("box", &two, "s").await;
    // The place is taken when the websocket is there.
    while scene.connect("box", &one, 3).await.status != 429 {}

    for wrong in [
        json!({"harness_key": []}),
        json!({"harness_keys": ["fst1:x"]}),
        json!([]),
    ] {
        assert_eq!(set(wrong).await, 400);
    }
    let kept = scene.get(path, &admin).await.body;
    assert_eq!(kept["streams_max"], 1);
    // An admin token is for what its scope says.
    assert_eq!(
        scene
            .get("/v1/environments/bax/policy", &admin)
            .await
            .status,
        403
    );
}

async fn scene_put(scene: &Scene, path: &str, admin: &str, policy: Value) -> u16 {
    scene.request("PUT", path, admin, &policy).await.status
}

#[tokio::test]
async fn a_credential_is_rotated_and_both_count_for_a_while() {
    let scene = Scene::start().await;
    let admin = scene.token("a", Admin, "*").await;
    let old = scene.token("a", Executor, "box").await;
    let path = "/v1/environments/box/credentials/rotate";
    let body = json!({"kid": kid(&old), "overlap_seconds": 3600});
    let rotated = scene.post(path, &admin, &body).await;
    assert_eq!(rotated.status, 200, "{}", rotated.text);
    let new = rotated.body["text"].as_str().unwrap();
    let answer = scene.register("box", &old, 1).await;
    // The old one is told that its time is coming.
    assert!(answer.body["rotate_after"].is_i64(), "{}", answer.body);
    let answer = scene.register("box", new, 1).await;
    assert_eq!(answer.body["rotate_after"], Value::Null);

    // Two count and both are in use: neither of them is ended for a third.
    for in_use in [&old, new] {
        let body = json!({"kid": kid(in_use), "overlap_seconds": 0});
        let third = scene.post(path, &admin, &body).await;
        assert_eq!(third.status, 409, "{}", third.text);
        assert_eq!(third.body["error"]["code"], "two_credentials");
        assert_eq!(scene.register("box", in_use, 1).await.status, 200);
    }
    scene.store.revoke(kid(&old), now()).await.unwrap();
    assert_eq!(scene.register("box", &old, 1).await.status, 401);
    let body = json!({"kid": kid(new), "overlap_seconds": 0});
    let rotated = scene.post(path, &admin, &body).await;
    assert_eq!(scene.register("box", new, 1).await.status, 401);
    let new = rotated.body["text"].as_str().unwrap();
    let path = format!("/v1/environments/box/credentials/{}", kid(new));
    let deleted = scene.request("DELETE", &path, &admin, &Value::Null).await;
    assert_eq!(deleted.body["in_force"], false);
    assert_eq!(scene.register("box", new, 1).await.status, 401);
    // Nothing of an executor's or an orchestrator's credential administers.
    let harness = scene.token("a", Harness, "*").await;
    for token in ["", &harness] {
        assert_eq!(scene.get("/v1/environments", token).await.status, 401);
    }
}

#[tokio::test]
async fn a_successor_whose_text_was_lost_is_replaced() {
    let scene = Scene::start().await;
    let admin = scene.token("a", Admin, "*").await;
    let harness = scene.token("a", Harness, "box").await;
    let path = "/v1/environments/box/credentials/rotate";
    let body = json!({"kid": kid(&harness)});
    let rotate = async || {
        let rotated = scene.post(path, &admin, &body).await;
        assert_eq!(rotated.status, 200, "{}", rotated.text);
        rotated.body["text"].as_str().unwrap().to_owned()
    };
    let lost = rotate().await;
    let kept = rotate().await;
    let executor = scene.token("a", Executor, "box").await;
    let _link = scene.executor("box", &executor, 1).await;
    assert_eq!(scene.connect("box", &lost, 3).await.status, 401);
    assert_eq!(scene.connect("box", &harness, 3).await.status, 200);
    // However many ask at once: each replaces the one before.
    let all = futures_util::future::join_all((0..8).map(|_| rotate())).await;
    assert_eq!(scene.connect("box", &kept, 3).await.status, 401);
    let listed = scene.store.credentials(Some("a")).await.unwrap();
    let of_subject = |credential: &&Credential| {
        credential.subject == kid(&harness) && credential.is_valid(now())
    };
    // Both may be of the same second, so the list has them in any order.
    let (former, successors): (Vec<_>, Vec<_>) = listed
        .iter()
        .filter(of_subject)
        .partition(|credential| credential.kid == kid(&harness));
    let ([_], [successor]) = (&former[..], &successors[..]) else {
        panic!("{former:?} {successors:?}");
    };
    assert_eq!(successor.used_at, None);
    assert!(all.iter().any(|text| kid(text) == successor.kid));
}

#[tokio::test]
async fn an_executor_renews_what_it_enrolled_with_and_nothing_else() {
    let scene = Scene::start().await;
    let code = NewToken::make(TokenKind::Enrolment).unwrap();
    let enrolment = Enrolment {
        tenant: "a".to_owned(),
        scope: "box".to_owned(),
        lifetime: Some(3000),
    };
    let kept = scene
        .store
        .add_enrolment(code.digest, &enrolment, now() + 600);
    kept.await.unwrap();
    let enrolled = scene
        .post("/v1/enroll", "", &json!({"code": code.text}))
        .await;
    let first = enrolled.body["credential"].as_str().unwrap().to_owned();
    let registered = scene.register("box", &first, 1).await;
    assert!(registered.body["rotate_after"].as_i64().unwrap() > now() + 1000);
    let mut link = dial(url(&registered)).await;

    let path = "/v1/environments/box/credentials/rotate";
    let admin = scene.token("a", Admin, "*").await;
    let shared = scene.token("a", Executor, "box").await;
    let harness = scene.token("a", Harness, "box").await;
    for (token, body, status) in [
        // What several executors may share is not for one of them to rotate.
        (&shared, json!({}), 403),
        (&first, json!({"kid": kid(&shared)}), 403),
        (&first, json!({"overlap_seconds": 900_000}), 403),
        (&harness, json!({}), 401),
        (&admin, json!({}), 400),
    ] {
        assert_eq!(
            scene.post(path, token, &body).await.status,
            status,
            "{body}"
        );
    }
    let elsewhere = "/v1/environments/bax/credentials/rotate";
    assert_eq!(scene.post(elsewhere, &first, &json!({})).await.status, 403);

    // An answer that was lost costs nothing.
    scene.post(path, &first, &json!({})).await;
    let renewed = scene.post(path, &first, &json!({})).await;
    assert_eq!(renewed.status, 200, "{}", renewed.text);
    assert!(!renewed.text.contains(&first));
    let second = renewed.body["text"].as_str().unwrap().to_owned();
    // Both count until the successor registers; the websocket stays.
    assert_eq!(scene.register("box", &first, 1).await.status, 200);
    assert_eq!(scene.register("box", &second, 1).await.status, 200);
    assert_eq!(scene.register("box", &first, 1).await.status, 401);
    let _stream = scene.harness("box", &harness, "s").await;
    assert_eq!(crate::scene::next(&mut link).await.unwrap().stream, "s");

    // Whoever has the first one's name takes back what it became, and nothing can be made of it.
    let third = scene.post(path, &second, &json!({})).await;
    let third = third.body["text"].as_str().unwrap();
    let revoke = format!("/v1/environments/box/credentials/{}", kid(&second));
    let revoked = scene.request("DELETE", &revoke, &admin, &Value::Null).await;
    assert_eq!(revoked.status, 200);
    assert_eq!(closed(&mut link).await, 4401);
    for gone in [&first, &second, third] {
        assert_eq!(scene.register("box", gone, 1).await.status, 401);
        assert_eq!(scene.post(path, gone, &json!({})).await.status, 401);
    }
}

#[tokio::test]
async fn what_a_tenant_signed_reaches_the_orchestrator_as_it_is() {
    let scene = Scene::start().await;
    let executor = scene.token("a", Executor, "*").await;
    let harness = scene.token("a", Harness, "*").await;
    let key = TenantKey::from_seed(&[7; 32]).unwrap();
    let fingerprint = public(1).fingerprint();
    let attested = Attested {
        environment: "box",
        fingerprint: &fingerprint,
    };
    let statement = key.attest(attested, 2000);
    let body = json!({
        "security_profile": "noise_hybrid_ik_v1", "executor_public_key": public(1),
        "key_attestation": statement,
    });
    let path = "/cloud/environment/box/register";
    let _link = dial(url(&scene.post(path, &executor, &body).await)).await;
    let bundle = scene.connect("box", &harness, 3).await.body;
    let shown = bundle["key_attestation"].as_str().unwrap();
    assert_eq!(key.public().verify(attested, shown, 1999), Ok(()));
    let long = json!({
        "security_profile": "noise_hybrid_ik_v1", "executor_public_key": public(1),
        "key_attestation": "x".repeat(129),
    });
    assert_eq!(scene.post(path, &executor, &long).await.status, 400);
    // An executor that shows none has none.
    scene.register("box", &executor, 1).await;
    let bundle = scene.connect("box", &harness, 3).await.body;
    assert_eq!(bundle.get("key_attestation"), None);
}
