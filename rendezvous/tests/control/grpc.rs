//! The gRPC plane, driven by the command line's own code.

use std::sync::Arc;
use std::time::Duration;

use clap::Parser as _;
use farstep_rendezvous::admin::{AdminError, Reach};
use farstep_rendezvous::cli::{Cli, Command};
use farstep_rendezvous::control::{Control, GrpcError, GrpcServer, connect, generated as wire};
use farstep_rendezvous::store::CredentialKind::{Admin, Executor, Harness};
use serde_json::Value;
use tokio::time::timeout;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::scene::{Scene, kid};

async fn open(scene: &Scene) -> String {
    let server = GrpcServer::bind("127.0.0.1:0".parse().unwrap(), None);
    let server = server.await.unwrap();
    let url = format!("http://{}", server.address());
    let (node, stop) = (Arc::clone(&scene.node), scene.stop.clone());
    tokio::spawn(server.serve(node, stop));
    url
}

async fn run(reach: &Reach, line: &str) -> Result<String, AdminError> {
    let words = ["farstep-rendezvous", "admin"]
        .into_iter()
        .chain(line.split(' '));
    let Command::Admin(arguments) = Cli::parse_from(words).command else {
        panic!("{line}");
    };
    arguments.command.run(reach, arguments.place.json).await
}

#[tokio::test]
async fn a_folder_and_a_node_say_the_same() {
    let scene = Scene::start().await;
    let url = open(&scene).await;
    let admin = scene.token("*", Admin, "*").await;
    let node = Reach::Remote(connect(&url, &admin, None).await.unwrap());
    let folder = Reach::Local(Control::new(Arc::clone(&scene.store)));
    let executor = run(&node, "token new --kind executor --environment box").await;
    let executor = executor.unwrap();
    let _link = scene.executor("box", executor.trim(), 1).await;
    // The node notes it behind its answer, and then says so.
    let everything = connect(&url, &admin, None).await.unwrap();
    let named = wire::EnvironmentRef {
        tenant: "default".to_owned(),
        environment_id: "box".to_owned(),
    };
    let mut events = everything.watch_events(named).await.unwrap();
    let online = async { while events.message().await.unwrap().unwrap().name != "online" {} };
    timeout(Duration::from_secs(60), online).await.unwrap();
    for line in [
        "list --json",
        "show box --json",
        "list",
        "token list",
        "token list --json",
        "policy box",
    ] {
        assert_eq!(
            run(&node, line).await.unwrap(),
            run(&folder, line).await.unwrap(),
            "{line}"
        );
    }
    let listed: Value = serde_json::from_str(&run(&node, "list --json").await.unwrap()).unwrap();
    assert_eq!(listed["environments"][0]["online"], true);
    let key = format!("fst1:{}", "a".repeat(26));
    let said = run(&node, &format!("welcome box {key}")).await.unwrap();
    assert!(said.contains(&key), "{said}");
    let code = run(&node, "enroll --environment box").await.unwrap();
    assert!(code.starts_with("fste_"), "{code}");
    let rotate = format!("token rotate {}", kid(&executor));
    let successor = run(&node, &rotate).await.unwrap();
    assert!(successor.starts_with("fstx_"));
    let listed = run(&node, "token list").await.unwrap();
    let made = format!("never used, made of {}", kid(&executor));
    assert!(listed.contains(&made), "{listed}");
    assert_eq!(scene.register("box", successor.trim(), 1).await.status, 200);
    // A third one is refused at each door, in the same words.
    for reach in [&node, &folder] {
        let third = run(reach, &rotate).await.unwrap_err().to_string();
        assert!(third.contains("or revoke it"), "{third}");
    }
    run(&node, "rotate-url-key").await.unwrap();
    run(&node, &format!("token revoke {}", kid(&executor)))
        .await
        .unwrap();
    assert_eq!(scene.register("box", executor.trim(), 1).await.status, 401);
    run(&node, "forget box").await.unwrap();
    let gone = run(&node, "show box").await.unwrap_err().to_string();
    assert!(gone.contains("no such environment"), "{gone}");
}

#[tokio::test]
async fn a_tenants_token_reaches_no_further_than_the_tenant() {
    let scene = Scene::start().await;
    let url = open(&scene).await;
    let ours = scene.token("a", Executor, "*").await;
    scene.register("box", &ours, 1).await;
    let admin = scene.token("b", Admin, "*").await;
    let node = Reach::Remote(connect(&url, &admin, None).await.unwrap());
    assert_eq!(run(&node, "list").await.unwrap(), "");
    let foreign = run(&node, "show box").await.unwrap_err().to_string();
    assert_eq!(
        foreign,
        run(&node, "show bax").await.unwrap_err().to_string()
    );
    let revoked = format!("token revoke {}", kid(&ours));
    let revoked = run(&node, &revoked).await.unwrap_err().to_string();
    let nobody = run(&node, "token revoke 000000000000").await;
    assert_eq!(revoked, nobody.unwrap_err().to_string());
    for beyond in [
        "list --tenant a",
        "token new --tenant a --kind harness --environment *",
        "token new --tenant * --kind admin --environment *",
        "rotate-url-key",
    ] {
        assert!(run(&node, beyond).await.is_err(), "{beyond}");
    }
    // Its own it may.
    let made = run(&node, "token new --kind admin --environment box-*").await;
    let narrow = made.unwrap();
    let narrow = Reach::Remote(connect(&url, narrow.trim(), None).await.unwrap());
    let wider = "token new --kind executor --environment *";
    assert!(run(&narrow, wider).await.is_err());
    // A credential of another kind, or none, administers nothing.
    let harness = scene.token("b", Harness, "*").await;
    for token in [harness.as_str(), "nonsense"] {
        let node = Reach::Remote(connect(&url, token, None).await.unwrap());
        assert!(run(&node, "list").await.is_err());
    }
}

#[tokio::test]
async fn health_is_told_to_everybody() {
    let scene = Scene::start().await;
    let url = open(&scene).await;
    let channel = tonic::transport::Endpoint::from_shared(url).unwrap();
    let mut client = HealthClient::new(channel.connect().await.unwrap());
    let service = "farstep.rendezvous.admin.v1.Admin".to_owned();
    // SERVING is 1, as soon as the node looked at itself.
    loop {
        let request = HealthCheckRequest {
            service: service.clone(),
        };
        match client.check(request).await {
            Ok(told) if told.get_ref().status == 1 => break,
            Ok(_) | Err(_) => tokio::task::yield_now().await,
        }
    }
}

#[tokio::test]
async fn nothing_listens_plain_beyond_loopback() {
    let bound = GrpcServer::bind("0.0.0.0:0".parse().unwrap(), None).await;
    assert!(matches!(bound, Err(GrpcError::Plaintext(_))));
}

#[tokio::test]
async fn events_are_streamed_as_over_http() {
    let scene = Scene::start().await;
    let url = open(&scene).await;
    let admin = scene.token("a", Admin, "box").await;
    let executor = scene.token("a", Executor, "*").await;
    scene.register("box", &executor, 1).await;
    let node = connect(&url, &admin, None).await.unwrap();
    let named = |id: &str| wire::EnvironmentRef {
        tenant: String::new(),
        environment_id: id.to_owned(),
    };
    let mut events = node.watch_events(named("box")).await.unwrap();
    let mut next = async || events.message().await.unwrap();
    let first = next().await.unwrap();
    let state = first.environment.unwrap();
    assert_eq!((&*first.name, state.online), ("offline", false));
    let mut link = scene.executor("box", &executor, 1).await;
    let online = next().await.unwrap();
    assert_eq!((&*online.name, online.generation), ("online", Some(1)));
    assert!(online.node.unwrap().starts_with("node_"));
    link.close(None).await.unwrap();
    let offline = next().await.unwrap();
    let closed = offline.closed.unwrap();
    assert_eq!(
        (&*offline.name, closed.code, &*closed.by),
        ("offline", 1000, "executor")
    );
    let _newer = scene.executor("box", &executor, 2).await;
    let superseded = next().await.unwrap();
    assert_eq!(
        (&*superseded.name, superseded.generation),
        ("superseded", Some(2))
    );
    assert_eq!(next().await.unwrap().name, "online");

    // What it may not see and what does not exist look alike, and nobody follows without a token.
    scene.register("bax", &executor, 1).await;
    let forbidden = node.watch_events(named("bax")).await.unwrap_err();
    let missing = node.watch_events(named("nobody")).await.unwrap_err();
    assert_eq!(forbidden.code(), tonic::Code::NotFound);
    assert_eq!(forbidden.message(), missing.message());
    let harness = scene.token("a", Harness, "*").await;
    let stranger = connect(&url, &harness, None).await.unwrap();
    let refused = stranger.watch_events(named("box")).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unauthenticated);
    // It ends with its token.
    scene.store.revoke(kid(&admin), 0).await.unwrap();
    assert!(next().await.is_none());
}
