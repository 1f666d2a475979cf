use tokio::io::AsyncReadExt as _;
use tokio::task::JoinHandle;

use super::*;
use crate::auth;

/// A listener that is being served.
struct Served {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

async fn served() -> Served {
    served_behind(&Access::default(), &auth::Settings::None).await
}

async fn served_behind(access: &Access, authentication: &auth::Settings) -> Served {
    let gate = Gate::load(access, authentication).unwrap();
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), gate).await;
    serve(listener.unwrap())
}

fn serve(listener: Listener) -> Served {
    let (address, stop) = (listener.address(), CancellationToken::new());
    let stopped = stop.clone();
    let task = tokio::spawn(async move {
        listener.serve(&Server::for_tests(), &stopped).await;
    });
    Served {
        address,
        stop,
        task,
    }
}

impl Served {
    /// Sends one request and returns the status line's number and what follows the head, once the
    /// listener has closed or, for an upgrade, as soon as the head is there.
    async fn ask(&self, request_line: &str, headers: &str) -> (u16, String) {
        let mut tcp = TcpStream::connect(self.address).await.unwrap();
        let host = if headers.contains("Host:") {
            String::new()
        } else {
            format!("Host: {}\r\n", self.address)
        };
        let request = format!("{request_line} HTTP/1.1\r\n{host}{headers}\r\n");
        tcp.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let mut piece = [0; 1024];
        while !answer.starts_with("HTTP/1.1 101") || !answer.contains("\r\n\r\n") {
            // Who was cut off for saying too much may find the connection reset.
            match tcp.read(&mut piece).await.unwrap_or(0) {
                0 => break,
                count => answer.push_str(std::str::from_utf8(&piece[..count]).unwrap()),
            }
        }
        let Some((head, body)) = answer.split_once("\r\n\r\n") else {
            return (0, answer);
        };
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body.to_owned())
    }
}

const UPGRADE: &str = "Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

#[tokio::test]
async fn the_port_says_little_to_plain_http() {
    let listener = served().await;
    for (request, status) in [
        ("GET /readyz", 200),
        ("HEAD /readyz", 200),
        ("POST /readyz", 405),
        ("HEAD /", 405),
        ("POST /", 405),
        ("GET /healthz", 200),
        ("GET /readyz/", 404),
    ] {
        assert_eq!(
            listener.ask(request, "").await,
            (status, String::new()),
            "{request}"
        );
    }
    assert_eq!(listener.ask("GET /", "").await.0, 400);
}

#[tokio::test]
async fn the_upgrade_is_served_at_the_root_and_nothing_is_negotiated() {
    let listener = served().await;
    let offers = format!(
        "{UPGRADE}Sec-WebSocket-Protocol: x\r\nSec-WebSocket-Extensions: permessage-deflate\r\n"
    );
    assert_eq!(listener.ask("GET /", &offers).await, (101, String::new()));
    assert_eq!(listener.ask("GET /elsewhere", UPGRADE).await.0, 404);
    assert_eq!(listener.ask("POST /", UPGRADE).await.0, 405);
    let old = UPGRADE.replace("13", "8");
    assert_eq!(listener.ask("GET /", &old).await.0, 400);
}

#[tokio::test]
async fn beyond_so_many_connections_an_upgrade_is_put_off_and_nobody_is_hung_up_on() {
    let gate = Gate::load(&Access::default(), &auth::Settings::None).unwrap();
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), gate).await;
    let listener = serve(Listener {
        connections_max: 1,
        ..listener.unwrap()
    });
    let mut first = TcpStream::connect(listener.address).await.unwrap();
    let upgrade = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{UPGRADE}\r\n");
    first.write_all(upgrade.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    first.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 101");
    assert_eq!(listener.ask("GET /", UPGRADE).await.0, 503);
    // Its place is free when it has gone.
    drop(first);
    while listener.ask("GET /", UPGRADE).await.0 == 503 {}
}

#[tokio::test]
async fn whoever_sends_an_origin_is_refused_before_everything_else() {
    let listener = served().await;
    for origin in ["http://evil.example", "null", ""] {
        let headers = format!("{UPGRADE}Origin: {origin}\r\n");
        for request in ["GET /", "GET /readyz", "GET /nowhere", "DELETE /readyz"] {
            assert_eq!(listener.ask(request, &headers).await.0, 403, "{request}");
        }
    }
}

#[tokio::test]
async fn stopping_says_goodbye_to_who_is_connected_and_does_not_wait_for_who_is_silent() {
    let listener = served().await;
    let mut silent = TcpStream::connect(listener.address).await.unwrap();
    let url = format!("ws://{}/", listener.address);
    let (mut peer, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    listener.stop.cancel();
    let farewell = peer.next().await.unwrap().unwrap();
    assert_eq!(
        farewell.into_text().unwrap().as_str(),
        "the executor is stopping"
    );
    assert!(peer.next().await.is_none());
    assert_eq!(silent.read(&mut [0]).await.unwrap(), 0);
    listener.task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_asks_is_hung_up_on() {
    let listener = served().await;
    let mut silent = TcpStream::connect(listener.address).await.unwrap();
    let began = tokio::time::Instant::now();
    assert_eq!(silent.read(&mut [0]).await.unwrap(), 0);
    assert!(began.elapsed() >= HANDSHAKE_DEADLINE);
}

#[tokio::test]
async fn a_foreign_host_name_and_a_credential_in_a_url_are_refused() {
    let access = Access {
        hosts: vec!["box.example".to_owned()],
        ..Access::default()
    };
    let listener = served_behind(&access, &auth::Settings::None).await;
    for (host, status) in [
        ("evil.example", 403),
        ("127.0.0.1.evil.example:80", 403),
        ("box.example", 101),
        ("localhost:1", 101),
        ("executor", 101),
    ] {
        let headers = format!("Host: {host}\r\n{UPGRADE}");
        assert_eq!(listener.ask("GET /", &headers).await.0, status, "{host}");
    }
    let twice = format!("Host: localhost\r\nHost: localhost\r\n{UPGRADE}");
    assert_eq!(listener.ask("GET /", &twice).await.0, 403);
    for (target, status) in [
        ("/?token=x", 400),
        ("/?a=b&Access_Token=x", 400),
        ("/?role=harness", 101),
    ] {
        let asked = listener.ask(&format!("GET {target}"), UPGRADE).await;
        assert_eq!(asked.0, status, "{target}");
    }
}

#[tokio::test]
async fn headers_are_bounded_in_number_and_in_bytes() {
    let listener = served().await;
    let many = |count: usize| "X: y\r\n".repeat(count);
    assert_eq!(listener.ask("GET /readyz", &many(90)).await.0, 200);
    assert_eq!(listener.ask("GET /readyz", &many(120)).await.0, 431);
    let long = format!("X: {}\r\n", "y".repeat(HEAD_BYTES_MAX));
    let cut_off = listener.ask("GET /readyz", &long).await.0;
    assert!(matches!(cut_off, 0 | 431), "{cut_off}");
}

fn token() -> auth::Settings {
    use sha2::Digest as _;
    auth::Settings::Capability(auth::TokenSource::Digest(
        sha2::Sha256::digest(b"sesame").into(),
    ))
}

#[tokio::test]
async fn only_who_has_the_token_gets_in_and_all_others_hear_the_same() {
    let listener = served_behind(&Access::default(), &token()).await;
    let with = |header: &str| format!("{UPGRADE}{header}\r\n");
    let right = with("Authorization: Bearer sesame");
    assert_eq!(listener.ask("GET /", &right).await.0, 101);
    for wrong in [
        "X: y",
        "Authorization: Bearer sesam",
        "Authorization: Basic sesame",
        "Authorization: sesame",
        "Authorization: Bearer sesame\r\nAuthorization: Bearer sesame",
    ] {
        let answer = listener.ask("GET /", &with(wrong)).await;
        assert_eq!(answer, (401, "unauthorized\n".to_owned()), "{wrong}");
    }
    assert_eq!(listener.ask("GET /readyz", "").await.0, 200);
    let from_a_page = with("Authorization: Bearer sesame\r\nOrigin: http://x");
    assert_eq!(listener.ask("GET /", &from_a_page).await.0, 403);
}

#[tokio::test]
async fn who_guesses_too_often_is_not_heard_for_a_while() {
    let listener = served_behind(&Access::default(), &token()).await;
    let wrong = format!("{UPGRADE}Authorization: Bearer guess\r\n");
    let mut statuses = Vec::new();
    for _ in 0..60 {
        statuses.push(listener.ask("GET /", &wrong).await.0);
    }
    assert_eq!(statuses.first(), Some(&401));
    assert!(statuses.iter().filter(|status| **status == 429).count() > 20);
    // Probes are not guesses.
    assert_eq!(listener.ask("GET /readyz", "").await.0, 200);
}

#[tokio::test]
async fn who_dribbles_makes_room_for_who_comes() {
    let listener = served().await;
    let mut first = TcpStream::connect(listener.address).await.unwrap();
    first.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let mut others = Vec::new();
    for _ in 0..UNKNOWN_MAX {
        others.push(TcpStream::connect(listener.address).await.unwrap());
    }
    assert_eq!(first.read(&mut [0]).await.unwrap_or(0), 0);
    assert_eq!(listener.ask("GET /", UPGRADE).await.0, 101);
}

/// A certificate authority, and what it signed.
struct Pki {
    folder: tempfile::TempDir,
    authority: rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
}

impl Pki {
    fn new() -> Pki {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let authority = rcgen::CertifiedIssuer::self_signed(params, key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
        Pki { folder, authority }
    }

    /// The paths of a new certificate for `name` and its key.
    fn issue(&self, name: &str) -> (std::path::PathBuf, std::path::PathBuf) {
        use std::os::unix::fs::PermissionsExt;
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        let path = |kind: &str| self.folder.path().join(format!("{name}.{kind}"));
        std::fs::write(path("pem"), certificate.pem()).unwrap();
        std::fs::write(path("key"), key.serialize_pem()).unwrap();
        std::fs::set_permissions(path("key"), PermissionsExt::from_mode(0o600)).unwrap();
        (path("pem"), path("key"))
    }

    fn authorities(&self) -> std::path::PathBuf {
        self.folder.path().join("ca.pem")
    }

    fn access(&self, wants_certificates: bool) -> Access {
        let (certificates, key) = self.issue("localhost");
        Access {
            tls: Some(TlsSettings {
                certificates,
                key,
                client_authorities: wants_certificates.then(|| self.authorities()),
            }),
            ..Access::default()
        }
    }

    /// Connects with TLS and upgrades; the status, or none when TLS refuses.
    async fn ask(&self, address: SocketAddr, own: Option<&str>) -> Option<u16> {
        use rustls::pki_types::pem::PemObject;
        use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
        let mut roots = rustls::RootCertStore::empty();
        let authority = CertificateDer::from_pem_file(self.authorities()).unwrap();
        roots.add(authority).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match own {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let (certificate, key) = self.issue(name);
                let certificate = CertificateDer::from_pem_file(certificate).unwrap();
                let key = PrivateKeyDer::from_pem_file(key).unwrap();
                builder
                    .with_client_auth_cert(vec![certificate], key)
                    .unwrap()
            }
        };
        let tcp = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let mut tls = connector.connect(name, tcp).await.ok()?;
        let request = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{UPGRADE}\r\n");
        tls.write_all(request.as_bytes()).await.ok()?;
        let mut line = [0; 12];
        tls.read_exact(&mut line).await.ok()?;
        let line = std::str::from_utf8(&line).unwrap();
        line.strip_prefix("HTTP/1.1 ")?.parse().ok()
    }
}

#[tokio::test]
async fn with_tls_the_same_is_served_and_plain_text_is_not_understood() {
    let pki = Pki::new();
    let listener = served_behind(&pki.access(false), &auth::Settings::None).await;
    assert_eq!(pki.ask(listener.address, None).await, Some(101));
    let mut plain = TcpStream::connect(listener.address).await.unwrap();
    plain
        .write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"));
}

#[tokio::test]
async fn a_listener_that_wants_certificates_lets_nobody_in_without_one() {
    let (pki, strangers) = (Pki::new(), Pki::new());
    let listener = served_behind(&pki.access(true), &auth::Settings::None).await;
    assert_eq!(pki.ask(listener.address, None).await, None);
    assert_eq!(pki.ask(listener.address, Some("me")).await, Some(101));
    // Of another authority.
    std::fs::copy(pki.authorities(), strangers.folder.path().join("both.pem")).unwrap();
    assert_eq!(strangers.ask(listener.address, Some("me")).await, None);
}

#[tokio::test]
async fn counts_are_for_whoever_may_connect() {
    let listener = served_behind(&Access::default(), &token()).await;
    let (refused, _) = listener.ask("GET /metrics", "").await;
    assert_eq!(refused, 401);
    let authorized = "Authorization: Bearer sesame\r\n";
    let (shown, page) = listener.ask("GET /metrics", authorized).await;
    assert_eq!(shown, 200);
    for line in [
        "farstep_connections_accepted_total 2",
        "farstep_authentication_failures_total 1",
        "farstep_sessions 0",
    ] {
        assert!(page.contains(line), "{line} in\n{page}");
    }
}
