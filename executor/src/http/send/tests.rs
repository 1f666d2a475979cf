use std::sync::{Arc, Mutex};

use farstep_protocol::method::http::RequestParams;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::super::prepare::prepare;
use super::*;

/// A host that answers every request with what `answer` makes of it, and remembers the requests.
struct Origin {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<String>>>,
    _serving: AbortOnDropHandle<()>,
}

impl Origin {
    async fn new(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Origin {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let remembered = Arc::clone(&heard);
        let serving = tokio::spawn(async move {
            loop {
                let (mut tcp, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                let mut piece = [0; 4096];
                while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                    match tcp.read(&mut piece).await.unwrap() {
                        0 => break,
                        count => request.extend_from_slice(&piece[..count]),
                    }
                }
                let request = String::from_utf8(request).unwrap();
                let answer = answer(&request);
                remembered.lock().unwrap().push(request);
                let _ = tcp.write_all(answer.as_bytes()).await;
            }
        });
        Origin {
            address,
            heard,
            _serving: AbortOnDropHandle::new(serving),
        }
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

/// A name server that changes its mind: each question takes the next answer.
struct Fickle {
    answers: Mutex<std::collections::VecDeque<Vec<SocketAddr>>>,
}

impl Fickle {
    fn new<const N: usize>(answers: [Vec<SocketAddr>; N]) -> Fickle {
        Fickle {
            answers: Mutex::new(answers.into()),
        }
    }

    fn unasked(&self) -> usize {
        self.answers.lock().unwrap().len()
    }
}

impl Resolve for Fickle {
    async fn resolve(&self, _name: &str, _port: u16) -> io::Result<Vec<SocketAddr>> {
        let next = self.answers.lock().unwrap().pop_front();
        next.ok_or_else(|| io::Error::other("asked once too often"))
    }
}

fn redirect_to(location: &str) -> String {
    format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")
}

const FINE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nX: one\r\nX: two\r\n\r\nfine";

fn prepared(over: Value) -> Prepared {
    let mut params = json!({"method": "GET", "requestId": "r"});
    for (name, value) in over.as_object().unwrap() {
        params[name] = value.clone();
    }
    let text = params.to_string();
    let params: RequestParams<'_> = serde_json::from_str(&text).unwrap();
    prepare(&params, &Settings::default(), |_| Some("ours".into())).unwrap()
}

async fn sent(over: Value) -> Result<(Head, Vec<u8>), SendError> {
    let (head, mut body) = send(prepared(over), &Settings::default()).await?;
    let mut bytes = Vec::new();
    while let Some(piece) = body.next().await {
        bytes.extend_from_slice(&piece.unwrap());
    }
    Ok((head, bytes))
}

#[tokio::test]
async fn what_a_host_says_comes_back_as_it_was_said() {
    let origin = Origin::new(|_| FINE.to_owned()).await;
    let url = format!("http://{}/a%20b?c=d", origin.address);
    let (head, body) = sent(json!({"url": url})).await.unwrap();
    assert_eq!((head.status, &*body), (200, &b"fine"[..]));
    let header = |name: &str, value: &str| ResponseHeader {
        name: name.to_owned(),
        value: value.to_owned(),
    };
    let wanted = [
        header("content-length", "4"),
        header("x", "one"),
        header("x", "two"),
    ];
    assert_eq!(head.headers, wanted);
    let heard = origin.heard().remove(0);
    assert!(heard.starts_with("GET /a%20b?c=d HTTP/1.1\r\n"), "{heard}");
    assert!(
        heard.contains(&format!("host: {}\r\n", origin.address)),
        "{heard}"
    );
}

#[tokio::test]
async fn a_redirect_to_another_host_carries_no_credentials() {
    let other = Origin::new(|_| FINE.to_owned()).await;
    let location = format!("http://{}/there", other.address);
    let first = Origin::new(move |_| redirect_to(&location)).await;
    let headers = json!([
        {"name": "authorization", "value": "secret"},
        {"name": "cookie", "value": "secret"},
        {"name": "X-Api-Key", "value": "secret"},
        {"name": "x-key", "value": "", "valueEnvVar": "KEY"},
        {"name": "x-harmless", "value": "kept"},
    ]);
    let url = format!("http://{}/", first.address);
    sent(json!({"url": url, "headers": headers})).await.unwrap();
    let (to_first, to_other) = (first.heard().remove(0), other.heard().remove(0));
    assert!(
        to_first.contains("secret") && to_first.contains("ours"),
        "{to_first}"
    );
    assert!(
        !to_other.contains("secret") && !to_other.contains("ours"),
        "{to_other}"
    );
    assert!(to_other.contains("x-harmless: kept"), "{to_other}");
    assert!(
        to_other.contains(&format!("host: {}", other.address)),
        "{to_other}"
    );
}

#[tokio::test]
async fn a_redirect_within_a_host_keeps_them_and_a_post_becomes_a_get() {
    let origin = Origin::new(|request| {
        if request.starts_with("POST") {
            redirect_to("/there")
        } else {
            FINE.to_owned()
        }
    })
    .await;
    let url = format!("http://{}/", origin.address);
    let headers = json!([{"name": "authorization", "value": "secret"}]);
    let request = json!({"url": url, "method": "POST", "bodyBase64": "aGk=", "headers": headers});
    sent(request).await.unwrap();
    let second = origin.heard().remove(1);
    assert!(second.starts_with("GET /there HTTP/1.1\r\n"), "{second}");
    assert!(
        second.contains("secret") && !second.contains("content-length"),
        "{second}"
    );
}

#[tokio::test]
async fn redirects_are_counted_and_lead_nowhere_forbidden() {
    let looping = Origin::new(|_| redirect_to("/again")).await;
    let url = format!("http://{}/", looping.address);
    let endless = sent(json!({"url": url})).await;
    assert!(matches!(endless, Err(SendError::Redirects)), "{endless:?}");
    assert_eq!(looping.heard().len(), REDIRECTS_MAX + 1);
    for (location, is_address) in [
        ("http://169.254.169.254/latest/meta-data", true),
        ("http://[::ffff:169.254.169.254]/", true),
        ("http://0251.0376.0251.0376/", true),
        ("http://2852039166/", true),
        ("file:///etc/passwd", false),
        ("http://me:secret@127.0.0.1/", false),
    ] {
        let origin = Origin::new(move |_| redirect_to(location)).await;
        let url = format!("http://{}/", origin.address);
        let refused = sent(json!({"url": url})).await.unwrap_err();
        match refused {
            SendError::OffLimits { .. } => assert!(is_address, "{location}"),
            SendError::Redirect(_) => assert!(!is_address, "{location}"),
            other => panic!("{location}: {other}"),
        }
    }
}

#[tokio::test]
async fn a_name_that_changes_its_mind_is_dialled_as_it_was_judged() {
    let origin = Origin::new(|_| FINE.to_owned()).await;
    let metadata = SocketAddr::from(([169, 254, 169, 254], 80));
    let names = Fickle::new([vec![origin.address], vec![metadata]]);
    let settings = Settings::default();
    let request = || prepared(json!({"url": "http://rebound.example/"}));
    let (head, _) = send_by(request(), &settings, &names).await.unwrap();
    assert_eq!((head.status, origin.heard().len()), (200, 1));
    // One question for the connection that was made: the second answer is still to be given.
    assert_eq!(names.unasked(), 1);
    let refused = send_by(request(), &settings, &names).await.unwrap_err();
    assert!(
        matches!(refused, SendError::OffLimits { .. }),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_redirect_asks_again_where_its_name_leads() {
    let origin = Origin::new(|_| redirect_to("http://rebound.example/token")).await;
    let settings = Settings {
        deny: vec!["127.9.0.0/16".parse().unwrap()],
        ..Settings::default()
    };
    for turned in [
        "169.254.169.254",
        "127.9.9.9",
        "::ffff:169.254.169.254",
        "fd00:ec2::254",
    ] {
        let turned = SocketAddr::new(turned.parse().unwrap(), 80);
        let names = Fickle::new([vec![origin.address], vec![turned]]);
        let request = prepared(json!({"url": "http://rebound.example/"}));
        match send_by(request, &settings, &names).await.unwrap_err() {
            SendError::OffLimits { address, .. } => assert_eq!(address, turned.ip()),
            other => panic!("{turned}: {other}"),
        }
        assert_eq!(names.unasked(), 0);
    }
}

#[tokio::test]
async fn a_name_that_leads_to_a_forbidden_address_too_is_not_dialled_at_all() {
    let origin = Origin::new(|_| FINE.to_owned()).await;
    let metadata = SocketAddr::from(([169, 254, 169, 254], 80));
    let names = Fickle::new([vec![origin.address, metadata]]);
    let request = prepared(json!({"url": "http://both.example/"}));
    let refused = send_by(request, &Settings::default(), &names).await;
    assert!(
        matches!(refused, Err(SendError::OffLimits { .. })),
        "{refused:?}"
    );
    assert!(origin.heard().is_empty());
}

/// Whatever a URL's reader takes for an address is one, and is judged; no name server is asked.
#[tokio::test]
async fn an_address_is_judged_in_every_form_a_url_may_give_it() {
    let settings = Settings {
        is_exposed: true,
        ..Settings::default()
    };
    for (host, address) in [
        ("2130706433", "127.0.0.1"),
        ("0177.0.0.1", "127.0.0.1"),
        ("0x7f.1", "127.0.0.1"),
        ("0x7f000001", "127.0.0.1"),
        ("127.1", "127.0.0.1"),
        ("127.0.0.1.", "127.0.0.1"),
        ("%31%32%37.0.0.1", "127.0.0.1"),
        ("\u{ff11}27.0.0.1", "127.0.0.1"),
        ("0", "0.0.0.0"),
        ("[::]", "::"),
        ("[::1]", "::1"),
        ("[0:0:0:0:0:0:0:1]", "::1"),
        ("[::ffff:7f00:1]", "::ffff:127.0.0.1"),
        ("[::ffff:0.0.0.0]", "::ffff:0.0.0.0"),
        ("2852039166", "169.254.169.254"),
        ("0xa9.0376.43518", "169.254.169.254"),
        ("[64:ff9b::a9fe:a9fe]", "64:ff9b::a9fe:a9fe"),
        ("1684301000", "100.100.100.200"),
    ] {
        let names = Fickle::new([]);
        let request = prepared(json!({"url": format!("http://{host}:1/")}));
        let address: IpAddr = address.parse().unwrap();
        match send_by(request, &settings, &names).await.unwrap_err() {
            SendError::OffLimits {
                address: judged, ..
            } => assert_eq!(judged, address, "{host}"),
            other => panic!("{host}: {other}"),
        }
    }
}

#[tokio::test]
async fn a_redirect_that_is_not_to_be_followed_is_an_answer() {
    let origin = Origin::new(|_| redirect_to("http://169.254.169.254/")).await;
    let url = format!("http://{}/", origin.address);
    let (head, _) = sent(json!({"url": url, "redirectPolicy": "stop"}))
        .await
        .unwrap();
    assert_eq!(head.status, 302);
}

#[tokio::test]
async fn what_the_operator_denies_is_not_even_connected_to() {
    let origin = Origin::new(|_| FINE.to_owned()).await;
    let settings = Settings {
        deny: vec!["127.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()],
        ..Settings::default()
    };
    // A name is judged by where it leads.
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"] {
        let url = format!("http://{host}:{}/", origin.address.port());
        let refused = send(prepared(json!({"url": url})), &settings).await;
        assert!(
            matches!(refused, Err(SendError::OffLimits { .. })),
            "{host}: {refused:?}"
        );
    }
    assert!(origin.heard().is_empty());
}

#[tokio::test]
async fn a_head_that_is_too_large_is_an_error() {
    let long = "y".repeat(2 * HEAD_BYTES_MAX);
    let origin = Origin::new(move |_| format!("HTTP/1.1 200 OK\r\nX: {long}\r\n\r\n")).await;
    let refused = sent(json!({"url": format!("http://{}/", origin.address)})).await;
    assert!(
        matches!(refused, Err(SendError::Exchange(_))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_body_that_ends_early_is_an_error() {
    let origin =
        Origin::new(|_| "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort".to_owned()).await;
    let url = format!("http://{}/", origin.address);
    let (_, mut body) = send(prepared(json!({"url": url})), &Settings::default())
        .await
        .unwrap();
    assert_eq!(body.next().await.unwrap().unwrap(), "short");
    assert!(body.next().await.unwrap().is_err());
}
