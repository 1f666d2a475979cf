//! A relay that answers nothing any more.

use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::accept_async;

use super::*;

/// By when a relay that is silent is given up (`rendezvous` section A5).
const GONE_MAX: Duration = Duration::from_secs(90);

/// An executor that never registered, and a relay for it.
async fn scene() -> (Remote, Registered, TcpListener) {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        base: "http://127.0.0.1:1".to_owned(),
        environment: "box".to_owned(),
        name: None,
        credential: CredentialSource::Variable,
        identity_file: Some(folder.path().join("key")),
        allowed: Vec::new(),
        harness_keys: None,
        key_attestation: None,
        padding: PaddingWish::IfAsked,
        labels: Default::default(),
    };
    let credential = |_: &str| Some("secret".to_owned());
    let remote = Remote::prepare(&settings, credential).await.unwrap();
    let relay = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let registered = Registered {
        environment_id: settings.environment,
        url: format!("ws://{}/relay", relay.local_addr().unwrap()),
        security_profile: String::new(),
        executor_registration_id: "registration".to_owned(),
        features: Vec::new(),
        rotate_after: None,
        alternate_urls: Vec::new(),
    };
    (remote, registered, relay)
}

/// The executor's next websocket, of which nothing is read from here on: no ping is answered.
async fn silent(relay: &TcpListener) -> TcpStream {
    let (stream, _) = relay.accept().await.unwrap();
    accept_async(stream).await.unwrap().into_inner()
}

#[tokio::test]
async fn a_relay_that_answers_nothing_any_more_is_left_and_dialled_again() {
    let (remote, registered, relay) = scene().await;
    let server = Server::for_tests();
    let context = remote.context(&server, &registered);
    let stop = CancellationToken::new();
    let mut pauses = Pauses::default();
    let linked = remote.keep_linked(&context, &registered, &mut pauses, &stop);
    let silence = async {
        let _first = silent(&relay).await;
        tokio::time::pause();
        let second = tokio::time::timeout(GONE_MAX, silent(&relay)).await;
        second.expect("it was left in time");
    };
    tokio::select! {
        () = linked => unreachable!("nobody wants a new registration"),
        () = silence => {}
    }
}
