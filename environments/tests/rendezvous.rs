//! A registry, a relay and an executor that say what a test wants, for every row of `rendezvous`
//! section A13 and for whom a bundle is believed.

#![expect(
    clippy::expect_used,
    reason = "a test that cannot be set up has failed"
)]

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use farstep_environments::config;
use farstep_environments::{Conditions, ConnectError, Herald, LocalExecutor, Registry};
use farstep_protocol::noise::{Binding, Channel, Identity, Responder};
use farstep_protocol::relay::attest::{Attested, TenantKey};
use farstep_protocol::relay::registry::{Bundle, Connect};
use farstep_protocol::relay::{Frame, Kind, SECURITY_PROFILE};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;

const WELCOME: &str = r#"{"id":1,"result":{"sessionId":"s","environmentInfo":{"shell":{"name":"sh","path":"/bin/sh"}}}}"#;

/// What becomes of one request for a bundle.
#[derive(Clone, Debug)]
enum Answer {
    Status(u16),
    /// None at all.
    Silence,
    /// A bundle, and what the relay and the executor make of it.
    Bundle(Behind),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Behind {
    /// The upgrade is refused.
    Upgrade(u16),
    /// The stream is reset instead of a handshake.
    Reset,
    /// The executor's own credential is refused.
    Rejected,
    /// It is let in, and the connection ends after the first answer.
    Brief,
    /// It is let in by somebody else than before.
    Other,
    /// It is let in and stays.
    Welcome,
}

struct Service {
    url: String,
    answers: Mutex<VecDeque<Answer>>,
    /// What was behind each bundle, and how often its URL was dialled.
    bundles: Mutex<Vec<(Behind, usize)>>,
    asked: Mutex<Vec<Instant>>,
    /// For how many seconds an executor that is away was to be waited for, each time.
    wishes: Mutex<Vec<u64>>,
    identity: Identity,
    other: Identity,
    attestation: Option<String>,
}

impl Service {
    async fn start(answers: &[Answer], attest: impl Fn(&str) -> Option<String>) -> Arc<Service> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let identity = Identity::generate().expect("a key");
        let service = Arc::new(Service {
            url: format!("http://{address}"),
            answers: Mutex::new(answers.iter().cloned().collect()),
            bundles: Mutex::default(),
            asked: Mutex::default(),
            wishes: Mutex::default(),
            attestation: attest(&identity.public().fingerprint()),
            identity,
            other: Identity::generate().expect("a key"),
        });
        let serving = Arc::clone(&service);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&serving).serve(stream));
            }
        });
        service
    }

    async fn serve(self: Arc<Self>, mut stream: TcpStream) {
        let mut head = vec![0; 16 * 1024];
        let count = loop {
            let count = stream.peek(&mut head).await.expect("peeked");
            if count == 0 || head[..count].windows(4).any(|four| four == b"\r\n\r\n") {
                break count;
            }
            tokio::task::yield_now().await;
        };
        let text = String::from_utf8_lossy(&head[..count]).into_owned();
        match text.strip_prefix("GET /relay/") {
            None => self.registry(&mut stream).await,
            Some(rest) => {
                let number: usize = rest
                    .split(' ')
                    .next()
                    .and_then(|n| n.parse().ok())
                    .expect("n");
                let behind = {
                    let mut bundles = self.bundles.lock().expect("unpoisoned");
                    bundles[number].1 += 1;
                    bundles[number].0
                };
                match behind {
                    Behind::Upgrade(status) => answer(&mut stream, status, "").await,
                    _ => self.relay(stream, behind).await,
                }
            }
        }
    }

    async fn registry(&self, stream: &mut TcpStream) {
        let mut request = Vec::new();
        let body = loop {
            let mut room = [0; 4096];
            let count = stream.read(&mut room).await.expect("read");
            request.extend_from_slice(&room[..count]);
            let text = String::from_utf8_lossy(&request).into_owned();
            let Some((head, body)) = text.split_once("\r\n\r\n") else {
                continue;
            };
            let head = head.to_ascii_lowercase();
            let length = head.split("content-length: ").nth(1).expect("a length");
            let length: usize = length
                .split("\r\n")
                .next()
                .expect("one")
                .parse()
                .expect("n");
            if body.len() >= length {
                let wish = head.split("prefer: wait=").nth(1);
                let wish: Option<u64> =
                    wish.and_then(|rest| rest.split("\r\n").next()?.parse().ok());
                self.wishes.lock().expect("unpoisoned").extend(wish);
                break body.to_owned();
            }
        };
        let _: Connect = serde_json::from_str(&body).expect("what the contract asks for");
        self.asked.lock().expect("unpoisoned").push(Instant::now());
        let next = self.answers.lock().expect("unpoisoned").pop_front();
        let behind = match next.expect("nobody asks again") {
            Answer::Status(status) => {
                let refusal = r#"{"error":{"code":"c","message":"the registry's words"}}"#;
                return answer(stream, status, refusal).await;
            }
            Answer::Silence => return std::future::pending().await,
            Answer::Bundle(behind) => behind,
        };
        let number = {
            let mut bundles = self.bundles.lock().expect("unpoisoned");
            bundles.push((behind, 0));
            bundles.len() - 1
        };
        let identity = match behind {
            Behind::Other => &self.other,
            _ => &self.identity,
        };
        let bundle = Bundle {
            environment_id: "box".to_owned(),
            url: format!("{}/relay/{number}", self.url.replace("http:", "ws:")),
            security_profile: SECURITY_PROFILE.to_owned(),
            executor_registration_id: "r".to_owned(),
            executor_public_key: identity.public().clone(),
            harness_key_authorization: "a".to_owned(),
            key_attestation: self.attestation.clone(),
        };
        answer(stream, 200, &serde_json::to_string(&bundle).expect("json")).await;
    }

    async fn relay(&self, stream: TcpStream, behind: Behind) {
        let mut wire = tokio_tungstenite::accept_async(stream)
            .await
            .expect("a websocket");
        let mut channel: Option<(String, Channel)> = None;
        while let Some(Ok(message)) = wire.next().await {
            let Message::Binary(bytes) = message else {
                continue;
            };
            let frame = Frame::decode(bytes).expect("a frame");
            let reply = match (frame.kind, &mut channel) {
                (Kind::Handshake(first), None) => {
                    if behind == Behind::Reset {
                        Frame::reset(frame.stream, "no")
                    } else {
                        let binding = Binding {
                            environment: "box",
                            registration: "r",
                            stream: &frame.stream,
                        };
                        let identity = &self.identity;
                        let knock = Responder { identity, binding }.read(&first).expect("read");
                        let second = match behind {
                            Behind::Rejected => knock.refuse().expect("refused"),
                            _ => {
                                let (second, admitted) = knock.admit().expect("admitted");
                                channel = Some((frame.stream.clone(), admitted));
                                second
                            }
                        };
                        Frame {
                            stream: frame.stream,
                            kind: Kind::Handshake(second),
                        }
                    }
                }
                (Kind::Data { seq, payload }, Some((stream, channel))) => {
                    channel.handle_record(seq, payload).expect("in order");
                    let Ok(Some(_)) = channel.poll_message() else {
                        continue;
                    };
                    channel.send(WELCOME.as_bytes()).expect("sent");
                    let (seq, payload) = channel
                        .poll_record(std::time::Instant::now())
                        .expect("sealed")
                        .expect("one");
                    Frame {
                        stream: stream.clone(),
                        kind: Kind::Data { seq, payload },
                    }
                }
                _ => continue,
            };
            let is_answer = matches!(reply.kind, Kind::Data { .. });
            let _ = wire.send(Message::Binary(reply.encode())).await;
            if is_answer && behind == Behind::Brief {
                return;
            }
        }
    }

    /// The environments of somebody who knows only this service.
    fn registry_of(&self, more: &str) -> Registry {
        self.patient_registry_of(10, more, None)
    }

    /// The same of somebody who waits for so many seconds, and is told.
    fn patient_registry_of(&self, seconds: u32, more: &str, herald: Option<Herald>) -> Registry {
        let text = format!(
            "[[environments]]\nid = \"box\"\nconnect_timeout_sec = {seconds}\n[environments.farstep]\nrendezvous = \"{}\"\n\
             auth = {{ bearer = {{ env = \"TOKEN\" }} }}\n{more}\n",
            self.url
        );
        let config = config::parse(&text, Path::new("/")).expect("valid");
        let local = LocalExecutor {
            program: "/no/such/executor".into(),
            args: Vec::new(),
            cwd: "/".into(),
        };
        let conditions = Conditions {
            variable: |name| (name == "TOKEN").then(|| "t".into()),
            herald,
            ..Conditions::default()
        };
        Registry::under(conditions, &config, local)
    }

    /// Connects once and closes again; how it went.
    async fn met(&self, more: &str) -> Result<(), ConnectError> {
        let registry = self.registry_of(more);
        let environment = registry.get("box").expect("configured");
        let met = environment.executor().await.map(drop);
        registry.close().await;
        met
    }

    /// Every bundle that was handed out was dialled exactly once, and nothing is left to say.
    fn is_used_up(&self) {
        assert!(self.answers.lock().expect("unpoisoned").is_empty());
        let bundles = self.bundles.lock().expect("unpoisoned");
        assert!(
            bundles.iter().all(|(_, dialled)| *dialled == 1),
            "{bundles:?}"
        );
    }
}

async fn answer(stream: &mut TcpStream, status: u16, body: &str) {
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
    let _ = stream.shutdown().await;
}

fn nobody(_: &str) -> Option<String> {
    None
}

#[tokio::test]
async fn each_attempt_has_a_bundle_of_its_own_until_the_executor_is_reached() {
    let answers = [
        Answer::Status(503),
        Answer::Bundle(Behind::Upgrade(401)),
        Answer::Bundle(Behind::Upgrade(403)),
        Answer::Bundle(Behind::Reset),
        Answer::Bundle(Behind::Reset),
        Answer::Bundle(Behind::Welcome),
    ];
    let service = Service::start(&answers, nobody).await;
    service.met("").await.expect("reached at last");
    service.is_used_up();
    let asked = service.asked.lock().expect("unpoisoned");
    let pause = |at: usize| asked[at].duration_since(asked[at - 1]);
    // The one that is waited for, and the one that is not.
    assert!(pause(1) >= Duration::from_millis(450), "{:?}", pause(1));
    assert!(pause(2) < pause(1) && pause(3) >= Duration::from_millis(300));
}

#[tokio::test]
async fn the_registry_is_asked_to_wait_a_moment_first_and_then_as_long_as_there_is_time() {
    let answers = [Answer::Status(503), Answer::Bundle(Behind::Welcome)];
    let service = Service::start(&answers, nobody).await;
    let registry = service.patient_registry_of(100, "", None);
    let environment = registry.get("box").expect("configured");
    environment.executor().await.expect("reached");
    registry.close().await;
    assert_eq!(*service.wishes.lock().expect("unpoisoned"), [1, 8]);
}

#[tokio::test]
async fn the_time_for_connecting_is_all_there_is_and_who_waits_is_told_once() {
    let answers = [Answer::Status(503), Answer::Silence];
    let service = Service::start(&answers, nobody).await;
    let told = Arc::new(Mutex::new(Vec::new()));
    let telling = Arc::clone(&told);
    let herald = Herald::new(move |id, waiting| {
        let news = (id.to_string(), waiting.because.clone());
        telling.lock().expect("unpoisoned").push(news);
    });
    let registry = service.patient_registry_of(4, "", Some(herald));
    let environment = registry.get("box").expect("configured");
    // However many wait.
    let (one, other) = tokio::join!(environment.executor(), environment.executor());
    for outcome in [one, other] {
        let error = outcome.expect_err("nobody answers").to_string();
        for words in [
            "`box`",
            "within 4s",
            "HTTP status 503",
            "the registry's words",
        ] {
            assert!(error.contains(words), "{words}: {error}");
        }
    }
    registry.close().await;
    let because = Some("the registry's words".to_owned());
    assert_eq!(
        *told.lock().expect("unpoisoned"),
        [("box".to_owned(), because)]
    );
    // The time that the registry itself would take is not added to it.
    let service = Service::start(&[Answer::Silence], nobody).await;
    let registry = service.patient_registry_of(1, "", None);
    let environment = registry.get("box").expect("configured");
    let error = environment.executor().await.expect_err("nobody answers");
    let words = "timed out connecting to the rendezvous";
    assert!(error.to_string().starts_with(words), "{error}");
    assert!(
        error
            .to_string()
            .contains("after 1s, while waiting for the registry"),
        "{error}"
    );
    registry.close().await;
}

#[tokio::test]
async fn what_will_not_pass_is_asked_once() {
    for status in [401, 403, 404, 409] {
        let service = Service::start(&[Answer::Status(status)], nobody).await;
        let error = service.met("").await.expect_err("refused").to_string();
        assert!(error.contains("the registry's words"), "{error}");
        assert!(error.contains(&status.to_string()), "{error}");
    }
    // The executor says that its own credential is refused.
    let rejected = [Answer::Bundle(Behind::Rejected)];
    let service = Service::start(&rejected, nobody).await;
    let error = service.met("").await.expect_err("refused").to_string();
    assert!(error.contains("credential"), "{error}");
    service.is_used_up();
}

#[tokio::test]
async fn an_executor_that_lets_nobody_in_is_tried_three_times() {
    let answers = vec![Answer::Bundle(Behind::Reset); 3];
    let service = Service::start(&answers, nobody).await;
    let error = service.met("").await.expect_err("refused").to_string();
    assert!(error.contains("did not let us in"), "{error}");
    service.is_used_up();
}

#[tokio::test]
async fn a_session_is_not_taken_up_with_somebody_else() {
    let answers = [
        Answer::Bundle(Behind::Brief),
        Answer::Status(500),
        Answer::Bundle(Behind::Upgrade(503)),
        Answer::Bundle(Behind::Other),
    ];
    let service = Service::start(&answers, nobody).await;
    let registry = service.registry_of("");
    let environment = registry.get("box").expect("configured");
    let mut status = environment.watch();
    environment.connect();
    let lost = |status: &farstep_environments::Status| status.word() == "disconnected";
    let limit = Duration::from_secs(30);
    let lost = tokio::time::timeout(limit, status.wait_for(lost)).await;
    let reason = lost.expect("in time").expect("a status").reason();
    let reason = reason.unwrap_or_default();
    assert!(reason.contains("key changed"), "{reason}");
    registry.close().await;
}

#[tokio::test]
async fn with_a_tenants_key_only_executors_it_signed_for_are_talked_to() {
    let tenant = TenantKey::from_seed(&[7; 32]).expect("a key");
    let more = format!("attestation_key = \"{}\"", tenant.public());
    let sign = |environment: &str, fingerprint: &str, not_after| {
        let attested = Attested {
            environment,
            fingerprint,
        };
        Some(tenant.attest(attested, not_after))
    };
    let welcome = [Answer::Bundle(Behind::Welcome)];
    let service = Service::start(&welcome, |key| sign("box", key, i64::MAX)).await;
    service.met(&more).await.expect("it was signed for");

    let refused = async |service: Arc<Service>| {
        let error = service.met(&more).await.expect_err("refused").to_string();
        let bundles = service.bundles.lock().expect("unpoisoned");
        assert_eq!(bundles[0].1, 0, "it was dialled: {error}");
        error
    };
    let missing = refused(Service::start(&welcome, nobody).await).await;
    assert!(missing.contains("nobody signed"), "{missing}");
    let expired = refused(Service::start(&welcome, |key| sign("box", key, 1)).await).await;
    assert!(expired.contains("it ended at 1"), "{expired}");
    let of_another = Service::start(&welcome, |key| sign("other", key, i64::MAX)).await;
    let foreign = refused(of_another).await;
    assert!(foreign.contains("did not sign it"), "{foreign}");
    let of_another = Service::start(&welcome, |_| sign("box", "fst1:x", i64::MAX)).await;
    let foreign = refused(of_another).await;
    assert!(foreign.contains("did not sign it"), "{foreign}");
    let junk = refused(Service::start(&welcome, |_| Some("junk".to_owned())).await).await;
    assert!(junk.contains("no attestation"), "{junk}");
}
