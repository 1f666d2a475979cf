//! A node over its sockets: who is refused what, and what the relay does with frames.

use std::sync::Arc;

use bytes::Bytes;
use farstep_protocol::relay::{Frame, Kind};
use farstep_rendezvous::auth::{NewToken, TokenKind};
use farstep_rendezvous::store::CredentialKind;
use farstep_rendezvous::{Quotas, now};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::scene::{Scene, Socket, closed, dial, frame, next, public, refused, send, url};

/// A record of which each byte is the same.
fn data(stream: &str, seq: u32, byte: u8) -> Frame {
    let payload = Bytes::from(vec![byte; 1000]);
    frame(stream, Kind::Data { seq, payload })
}

#[tokio::test]
async fn each_route_wants_its_own_kind_of_credential() {
    let scene = Scene::start().await;
    let executor = scene.token("a", CredentialKind::Executor, "box").await;
    let harness = scene.token("a", CredentialKind::Harness, "box").await;
    let answer = scene.register("box", &executor, 1).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    // Nothing of the credential comes back: a peer that reads it there ends.
    assert!(!answer.body.to_string().contains(&executor));
    let mut changed = executor.clone();
    changed.pop();
    for wrong in ["", "x", &changed, &harness] {
        assert_eq!(scene.register("box", wrong, 1).await.status, 401);
        let validated = scene.validate("box", wrong, &json!({}), 2).await;
        assert_eq!(validated.status, 401);
    }
    for wrong in ["", "x", &executor] {
        assert_eq!(scene.connect("box", wrong, 2).await.status, 401);
    }
    // Whoever took the wrong one of two is told which is right.
    for (swapped, right) in [
        (scene.connect("box", &executor, 2).await, "--kind harness"),
        (scene.register("box", &harness, 2).await, "--kind executor"),
    ] {
        assert!(swapped.text.contains(right), "{}", swapped.text);
    }
    // It is for one environment, and a key has exactly its fields.
    assert_eq!(scene.register("bax", &executor, 1).await.status, 403);
    let profile = json!({"security_profile": "none", "executor_public_key": public(1)});
    let path = "/cloud/environment/box/register";
    assert_eq!(scene.post(path, &executor, &profile).await.status, 400);
    assert_eq!(scene.post(path, &executor, &json!({})).await.status, 400);
    scene
        .store
        .revoke(executor.split('_').nth(1).unwrap(), now())
        .await
        .unwrap();
    assert_eq!(scene.register("box", &executor, 1).await.status, 401);
}

#[tokio::test]
async fn a_tenant_sees_nothing_of_another() {
    let scene = Scene::start().await;
    let ours = scene.token("a", CredentialKind::Executor, "*").await;
    let registered = scene.register("box", &ours, 1).await;
    let mut link = dial(url(&registered)).await;
    let harness = scene.token("a", CredentialKind::Harness, "*").await;
    let bundle = scene.connect("box", &harness, 3).await;
    assert_eq!(bundle.status, 200);

    let foreign_executor = scene.token("b", CredentialKind::Executor, "*").await;
    let foreign_harness = scene.token("b", CredentialKind::Harness, "*").await;
    // What exists elsewhere and what exists nowhere look the same.
    let there = scene.connect("box", &foreign_harness, 3).await;
    let nowhere = scene.connect("bax", &foreign_harness, 3).await;
    assert_eq!((there.status, &there.body), (403, &nowhere.body));
    // Their environment of the same name is another one, and takes nothing over.
    let theirs = scene.register("box", &foreign_executor, 2).await;
    assert_ne!(url(&theirs), url(&registered));
    let validated = scene
        .validate("box", &foreign_executor, &bundle.body, 3)
        .await;
    assert_eq!(validated.body, json!({"valid": false}));
    // The base URL of a tenant is for its own credentials.
    assert_eq!(
        scene.register_under("/t/a", "box", &ours, 1).await.status,
        200
    );
    for path in ["/t/a", "/t/c"] {
        let answer = scene
            .register_under(path, "box", &foreign_executor, 2)
            .await;
        assert_eq!(answer.status, 401, "{path}");
    }
    // A URL of one tenant with the name of the other.
    let altered = url(&theirs).replace("t=b", "t=a");
    assert_eq!(
        refused(&altered).await,
        (401, "invalid_signature".to_owned())
    );
    link.send(Message::Ping(Bytes::new())).await.unwrap();
    let pong = link.next().await.unwrap().unwrap();
    assert!(pong.is_pong(), "{pong:?}");
}

#[tokio::test]
async fn an_authorization_is_good_once_for_one_key_and_one_registration() {
    let scene = Scene::start().await;
    let executor = scene.token("a", CredentialKind::Executor, "*").await;
    let harness = scene.token("a", CredentialKind::Harness, "*").await;
    let registered = scene.register("box", &executor, 1).await;
    let _link = dial(url(&registered)).await;
    let valid = json!({"valid": true});
    let bundle = || async { scene.connect("box", &harness, 3).await.body };
    let good = bundle().await;
    assert_eq!(scene.validate("box", &executor, &good, 3).await.body, valid);
    let again = scene.validate("box", &executor, &good, 3).await.body;
    assert_ne!(again, valid);
    let other_key = scene.validate("box", &executor, &bundle().await, 4).await;
    assert_ne!(other_key.body, valid);
    let mut foreign = bundle().await;
    foreign["executor_registration_id"] = json!("reg_other");
    let foreign = scene.validate("box", &executor, &foreign, 3).await;
    assert_ne!(foreign.body, valid);
    let _other = dial(url(&scene.register("bax", &executor, 2).await)).await;
    let elsewhere = scene.validate("bax", &executor, &bundle().await, 3).await;
    assert_ne!(elsewhere.body, valid);
}

#[tokio::test]
async fn urls_are_good_for_what_they_say_and_no_more() {
    let scene = Scene::start().await;
    let executor = scene.token("a", CredentialKind::Executor, "*").await;
    let harness = scene.token("a", CredentialKind::Harness, "*").await;
    let first = scene.register("box", &executor, 1).await;
    let old = url(&first).to_owned();
    let mut link = dial(&old).await;
    let bundle = scene.connect("box", &harness, 3).await;
    let once = url(&bundle).to_owned();
    for (from, to, reason) in [
        ("role=harness", "role=environment", "malformed_query"),
        ("exp=", "exp=9", "invalid_signature"),
        ("&sig=", "&more=1&sig=", "extra_query_param"),
        ("/box?", "/bax?", "invalid_signature"),
    ] {
        let altered = once.replace(from, to);
        assert_eq!(refused(&altered).await, (401, reason.to_owned()), "{to}");
    }
    let mut harness = dial(&once).await;
    assert_eq!(refused(&once).await.0, 401);
    // Another executor takes over: the old URL is gone for good, and so is its registration.
    let second = scene.register("box", &executor, 2).await;
    let gone = (410, "unexpected_executor_registration_id".to_owned());
    assert_eq!(refused(&old).await, gone);
    assert_eq!(scene.register("box", &executor, 1).await.status, 409);
    assert_eq!(closed(&mut link).await, 4401);
    assert_eq!(closed(&mut harness).await, 1001);
    let _link = dial(url(&second)).await;
    assert_eq!(scene.register("box", &executor, 2).await.status, 200);
}

#[tokio::test]
async fn frames_cross_as_they_are_and_the_end_of_one_side_is_told_to_the_other() {
    let scene = Scene::start().await;
    let executor = scene.token("a", CredentialKind::Executor, "*").await;
    let token = scene.token("a", CredentialKind::Harness, "*").await;
    let mut link = dial(url(&scene.register("box", &executor, 1).await)).await;
    let bundle = || async { scene.connect("box", &token, 3).await };
    let mut one = dial(url(&bundle().await)).await;
    let mut two = dial(url(&bundle().await)).await;
    send(&mut one, frame("s1", Kind::Resume { next_seq: 0 })).await;
    let hello = frame("s1", Kind::Handshake(Bytes::from_static(b"hello")));
    send(&mut one, hello.clone()).await;
    assert_eq!(next(&mut link).await.unwrap(), hello);
    for seq in 0..300 {
        send(&mut link, data("s1", seq, 1)).await;
    }
    for seq in 0..300 {
        assert_eq!(next(&mut one).await.unwrap(), data("s1", seq, 1));
    }
    // What is no frame is dropped, and nobody speaks on a stream of somebody else.
    one.send(Message::Binary(Bytes::from_static(b"\xff")))
        .await
        .unwrap();
    one.send(Message::text("text")).await.unwrap();
    send(&mut two, data("s1", 0, 2)).await;
    assert_eq!(closed(&mut two).await, 4400);
    send(&mut one, data("s1", 0, 3)).await;
    assert_eq!(next(&mut link).await.unwrap(), data("s1", 0, 3));
    // The orchestrator goes, and the executor hears of it at once; and when it goes on talking.
    drop(one);
    let told = next(&mut link).await.unwrap();
    assert_eq!((told.stream.as_str(), is_reset(&told)), ("s1", true));
    send(&mut link, data("s1", 300, 1)).await;
    assert!(is_reset(&next(&mut link).await.unwrap()));
    // The executor goes, and its orchestrators are told.
    let mut three = dial(url(&bundle().await)).await;
    send(&mut three, frame("s3", Kind::Resume { next_seq: 0 })).await;
    drop(link);
    assert_eq!(closed(&mut three).await, 1001);
}

fn is_reset(frame: &Frame) -> bool {
    matches!(frame.kind, Kind::Reset { .. })
}

#[tokio::test]
async fn a_message_that_is_too_long_ends_the_websocket() {
    let scene = Scene::start().await;
    let executor = scene.token("a", CredentialKind::Executor, "*").await;
    let mut link = dial(url(&scene.register("box", &executor, 1).await)).await;
    let long = Bytes::from(vec![0; 300_050]);
    link.send(Message::Binary(long)).await.unwrap();
    assert_eq!(closed(&mut link).await, 1009);
}

#[tokio::test]
async fn a_code_enrols_once() {
    let scene = Scene::start().await;
    let code = NewToken::make(TokenKind::Enrolment).unwrap();
    let enrolment = farstep_rendezvous::store::Enrolment {
        tenant: "a".to_owned(),
        scope: "box".to_owned(),
        lifetime: None,
    };
    let until = now() + 600;
    let kept = scene.store.add_enrolment(code.digest, &enrolment, until);
    kept.await.unwrap();
    let body = json!({"code": code.text});
    let enrolled = scene.post("/v1/enroll", "", &body).await;
    assert_eq!(enrolled.status, 200);
    let credential = enrolled.body["credential"].as_str().unwrap();
    assert_eq!(scene.register("box", credential, 1).await.status, 200);
    assert_eq!(scene.register("bax", credential, 1).await.status, 403);
    assert_eq!(scene.post("/v1/enroll", "", &body).await.status, 401);
}

#[tokio::test]
async fn each_limit_answers_as_its_flag_says() {
    let scene = Scene::limited(Quotas {
        streams_per_executor: 3,
        streams_per_token: 2,
        executors_per_tenant: 2,
        ..Quotas::default()
    })
    .await;
    let executor = scene.token("a", CredentialKind::Executor, "*").await;
    let _link = dial(url(&scene.register("box", &executor, 1).await)).await;
    assert_eq!(scene.register("bax", &executor, 1).await.status, 200);
    let full = scene.register("bux", &executor, 1).await;
    assert_eq!(full.status, 403);
    assert_eq!(full.body["error"]["code"], "too_many_environments");
    let one = scene.token("a", CredentialKind::Harness, "*").await;
    let two = scene.token("a", CredentialKind::Harness, "*").await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let bundle = scene.connect("box", &one, 3).await;
        held.push(dial(url(&bundle)).await);
    }
    // That is all for one credential; another has one left at the executor.
    assert_eq!(scene.connect("box", &one, 3).await.status, 429);
    let bundle = scene.connect("box", &two, 3).await;
    held.push(dial(url(&bundle)).await);
    let full = scene.connect("box", &two, 3).await;
    assert_eq!(full.body["error"]["code"], "too_many_streams");
    assert_eq!(full.status, 429);
}

#[tokio::test]
async fn a_node_whose_queues_are_full_takes_nobody_until_there_is_room() {
    let scene = Scene::limited(Quotas {
        // A quarter of it is one record and a bit.
        memory: Some(320_000),
        ..Quotas::default()
    })
    .await;
    let executor = scene.token("a", CredentialKind::Executor, "*").await;
    let token = scene.token("a", CredentialKind::Harness, "*").await;
    let mut link = dial(url(&scene.register("box", &executor, 1).await)).await;
    let mut one = dial(url(&scene.connect("box", &token, 3).await)).await;
    send(&mut one, data("s", 0, 1)).await;
    assert_eq!(next(&mut link).await.unwrap(), data("s", 0, 1));
    // Nobody reads, so what sockets do not hold waits here.
    let big = |seq| {
        let payload = Bytes::from(vec![1; 61_456]);
        frame("s", Kind::Data { seq, payload })
    };
    let mut sent = 0;
    while scene
        .get("/metrics", "")
        .await
        .text
        .contains("rdv_queue_bytes 0\n")
    {
        send(&mut link, big(sent)).await;
        sent += 1;
        assert!(sent < 1_000, "nothing waits");
    }
    for _ in 0..3 {
        send(&mut link, big(sent)).await;
        sent += 1;
    }
    let other = scene.register("bax", &executor, 2).await;
    let reason = "route_unavailable".to_owned();
    assert_eq!(refused(url(&other)).await, (503, reason));
    for seq in 0..sent {
        assert_eq!(next(&mut one).await.unwrap(), big(seq));
    }
    let _other = dial(url(&other)).await;
}

#[tokio::test]
async fn a_node_that_drains_says_so_lets_its_executors_go_and_takes_nobody() {
    let scene = Scene::start().await;
    let executor = scene.token("a", CredentialKind::Executor, "*").await;
    let token = scene.token("a", CredentialKind::Harness, "*").await;
    let registered = scene.register("box", &executor, 1).await;
    let mut told = with_features(url(&registered), "other, restart_notice_v1").await;
    let other = scene.register("bax", &executor, 2).await;
    let mut untold = dial(url(&other)).await;
    let bundle = scene.connect("box", &token, 3).await;
    assert_eq!(scene.get("/readyz", "").await.status, 200);
    let node = Arc::clone(&scene.node);
    let draining = tokio::spawn(async move {
        let over = std::time::Duration::from_millis(500);
        node.drain(over).await;
    });
    let notice = told.next().await.unwrap().unwrap();
    assert_eq!(notice, Message::text("{\"notice\":\"restart\"}"));
    assert_eq!(scene.get("/readyz", "").await.status, 503);
    assert!(
        scene
            .get("/metrics", "")
            .await
            .text
            .contains("rdv_executors{state=\"draining\"}")
    );
    assert_eq!(scene.connect("box", &token, 3).await.status, 503);
    let reason = "pod_draining".to_owned();
    assert_eq!(refused(url(&bundle)).await, (503, reason));
    // An executor that registers is answered: the peer's would end.
    assert_eq!(scene.register("box", &executor, 1).await.status, 200);
    assert_eq!(closed(&mut told).await, 1012);
    assert_eq!(closed(&mut untold).await, 1012);
    draining.await.unwrap();
}

async fn with_features(url: &str, features: &str) -> Socket {
    let mut request = url.into_client_request().unwrap();
    let value = features.parse().unwrap();
    request.headers_mut().insert("x-farstep-features", value);
    connect_async(request).await.unwrap().0
}

#[tokio::test]
async fn what_happens_is_counted_under_the_names_that_are_documented() {
    let scene = Scene::start().await;
    let executor = scene.token("a", CredentialKind::Executor, "*").await;
    let token = scene.token("a", CredentialKind::Harness, "*").await;
    let registered = scene.register("box", &executor, 1).await;
    let link = dial(url(&registered)).await;
    drop(link);
    // Who comes before the end is noticed takes over, and was never away.
    let gone = "rdv_executors{state=\"online\"} 0";
    while !scene.get("/metrics", "").await.text.contains(gone) {}
    let away = "rdv_executors{state=\"away\"} 1";
    while !scene.get("/metrics", "").await.text.contains(away) {}
    let mut link = dial(url(&registered)).await;
    let bundle = scene.connect("box", &token, 3).await;
    let mut one = dial(url(&bundle)).await;
    send(&mut one, data("s", 0, 1)).await;
    assert_eq!(next(&mut link).await.unwrap(), data("s", 0, 1));
    send(&mut link, data("s", 0, 2)).await;
    assert_eq!(next(&mut one).await.unwrap(), data("s", 0, 2));
    scene.validate("box", &executor, &bundle.body, 3).await;
    refused(&url(&registered).replace("sig=", "sig=x")).await;
    drop(one);
    next(&mut link).await.unwrap();
    let page = scene.get("/metrics", "").await.text;
    for line in [
        "rdv_executors{state=\"online\"} 1",
        "rdv_executors{state=\"draining\"} 0",
        "rdv_executors{state=\"away\"} 0",
        "rdv_streams 0",
        "rdv_register_total{result=\"ok\"} 1",
        "rdv_connect_total{result=\"ok\"} 1",
        "rdv_validate_seconds_count 1",
        "rdv_upgrade_rejected_total{role=\"environment\",reason=\"invalid_signature\"} 1",
        "rdv_relay_bytes_total{direction=\"up\",hop=\"local\"} 1",
        "rdv_relay_bytes_total{direction=\"down\",hop=\"local\"} 1",
        "rdv_relay_seconds_count{hop=\"local\"} ",
        "rdv_queue_bytes 0",
        "rdv_stream_resets_total{by=\"relay\",reason=\"left\"} 1",
        "rdv_reconnect_seconds_count 1",
        "rdv_lease_conflicts_total 0",
        "rdv_bus_gap_total 0",
    ] {
        assert!(page.contains(line), "{line}\n{page}");
    }
    // Nothing that a peer made up is a label.
    assert!(!page.contains("box") && !page.contains(&token));
}

#[tokio::test]
async fn tenants_are_named_in_metrics_where_that_is_wanted_and_only_so_many() {
    let scene = Scene::limited(Quotas {
        metrics_tenants: Some(1),
        ..Quotas::default()
    })
    .await;
    let first = scene.token("first", CredentialKind::Executor, "*").await;
    let _link = dial(url(&scene.register("box", &first, 1).await)).await;
    let mut links = Vec::new();
    for tenant in ["second", "third"] {
        let token = scene.token(tenant, CredentialKind::Executor, "*").await;
        links.push(dial(url(&scene.register("box", &token, 1).await)).await);
        scene.register("away", &token, 2).await;
    }
    // One of a link that is just being opened is away for another moment.
    let away = "rdv_executors{state=\"away\",tenant=\"other\"} 2";
    let online = "rdv_executors{state=\"online\",tenant=\"other\"} 2";
    let page = loop {
        let page = scene.get("/metrics", "").await.text;
        if page.contains(away) && page.contains(online) {
            break page;
        }
    };
    for line in [
        "rdv_executors{state=\"online\",tenant=\"first\"} 1",
        "rdv_register_total{result=\"ok\",tenant=\"first\"} 1",
        "rdv_register_total{result=\"ok\",tenant=\"other\"} 4",
        "rdv_streams{tenant=\"first\"} 0",
    ] {
        assert!(page.contains(line), "{line}\n{page}");
    }
    let named = |tenant: &str| page.contains(&format!("\"{tenant}\""));
    assert!(!named("second") && !named("third"), "{page}");
    // Nothing is counted twice.
    assert!(!page.contains("rdv_executors{state=\"online\"} "), "{page}");
}
