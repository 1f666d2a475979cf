//! Executors behind TLS: own authorities, pins, client certificates, and what is told when one of
//! them does not fit. The executor is a few lines; the TLS on both sides is real.

#![expect(
    clippy::expect_used,
    reason = "a test that cannot be set up has failed"
)]
#![cfg(unix)]

mod common;

use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use common::greet;
use farstep_environments::config;
use farstep_environments::{
    Conditions, ConnectError, Fact, Hop, KNOWN_HOSTS, KeyKind, KnownHosts, LocalExecutor, Probe,
    Registry,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::http::HeaderMap;

/// A folder with the configuration and whatever it names.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().expect("a folder"))
    }

    fn write(&self, name: &str, mode: u32, content: &str) {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(self.0.path().join(name))
            .expect("created");
        file.write_all(content.as_bytes()).expect("written");
    }

    fn registry(&self, address: SocketAddr, more: &str) -> Registry {
        let text = format!(
            "[[environments]]\nid = \"box\"\nurl = \"wss://localhost:{}\"\n{more}",
            address.port()
        );
        registry(&text, self.0.path())
    }
}

/// What is known lies beside the configuration, so that it outlives a registry.
fn registry(text: &str, folder: &Path) -> Registry {
    let config = config::parse(text, folder).expect("valid");
    let local = LocalExecutor {
        program: "/no/such/executor".into(),
        args: Vec::new(),
        cwd: "/".into(),
    };
    let conditions = Conditions {
        variable: |name| (name == "BOX_TOKEN").then(|| TOKEN.into()),
        known_hosts: Some(folder.join("state").join(KNOWN_HOSTS)),
        ..Conditions::default()
    };
    Registry::under(conditions, &config, local)
}

/// Secrets that must not be seen anywhere.
const TOKEN: &str = "canary-of-the-token";
const HEADER: &str = "canary-of-the-header";

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("params");
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Authority(CertifiedIssuer::self_signed(params, key).expect("signed"))
    }

    fn issue(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("params");
        (params.signed_by(&key, &self.0).expect("signed"), key)
    }
}

/// What `openssl req -x509` makes: it signed itself and may sign others.
fn self_signed() -> (rcgen::Certificate, KeyPair) {
    let mut params = CertificateParams::new(vec!["devbox".to_owned()]).expect("params");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    (params.self_signed(&key).expect("signed"), key)
}

/// Serves one executor to everybody who comes; the headers of each go to the list.
async fn serve(
    pair: (rcgen::Certificate, KeyPair),
    clients: Option<&Authority>,
) -> (SocketAddr, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("an address");
    let (_, seen) = serve_on(listener, pair, clients);
    (address, seen)
}

type Seen = Arc<Mutex<Vec<HeaderMap>>>;

fn serve_on(
    listener: TcpListener,
    (certificate, key): (rcgen::Certificate, KeyPair),
    clients: Option<&Authority>,
) -> (JoinHandle<()>, Seen) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions");
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.0.der().clone()).expect("a root");
            let roots = Arc::new(roots);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
            builder.with_client_cert_verifier(verifier.expect("a verifier"))
        }
    };
    let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    let chain = vec![certificate.der().clone()];
    let config = builder.with_single_cert(chain, key).expect("a pair");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let seen = Seen::default();
    let list = Arc::clone(&seen);
    let serving = tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            if let Ok(stream) = acceptor.accept(socket).await {
                tokio::spawn(greet(stream, Arc::clone(&list)));
            }
        }
    });
    (serving, seen)
}

async fn probed(registry: &Registry) -> Probe {
    let environment = registry.get("box").expect("configured");
    let probe = environment.probe().await;
    registry.close().await;
    probe
}

async fn failure(registry: &Registry) -> ConnectError {
    probed(registry).await.outcome.expect_err("failed")
}

#[tokio::test]
async fn a_certificate_that_signed_itself_works_once_the_pin_that_is_told_is_written_down() {
    let (address, _) = serve(self_signed(), None).await;
    let folder = Folder::new();
    let told = failure(&folder.registry(address, "")).await.to_string();
    assert!(told.contains("its certificate signed itself"), "{told}");
    let (_, advice) = told.split_once('`').expect("advice");
    let (_, advice) = advice.split_once('`').expect("advice");
    let pin = advice.split('`').nth(1).expect("the line to write");
    let pinned = format!("[environments.farstep.tls]\n{pin}\n");
    let probe = probed(&folder.registry(address, &pinned)).await;
    assert!(probe.outcome.is_ok(), "{:?}", probe.outcome);
    let hops: Vec<Hop> = probe.hops.iter().map(|tried| tried.at.hop).collect();
    let way = [
        Hop::Secrets,
        Hop::Name,
        Hop::Tcp,
        Hop::Tls,
        Hop::Upgrade,
        Hop::Initialize,
    ];
    assert_eq!(hops, way);
    assert!(probe.hops.iter().all(|tried| tried.passed));
    let Some(Fact::Tls(facts)) = &probe.hops[3].fact else {
        panic!("{:?}", probe.hops);
    };
    assert!(pin.contains(&facts.pin.expect("a pin").to_string()));
    assert!(facts.not_after.is_some());

    let other = "pin_sha256 = [\"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\"]";
    let other = format!("[environments.farstep.tls]\n{other}\n");
    let probe = probed(&folder.registry(address, &other)).await;
    let told = probe.outcome.expect_err("refused").to_string();
    assert!(
        told.contains("its key is not the one that is pinned"),
        "{told}"
    );
    let last = probe.hops.last().expect("hops");
    assert_eq!((last.at.hop, last.passed), (Hop::Tls, false));
}

#[tokio::test]
async fn the_first_key_is_believed_if_the_entry_says_so_and_another_one_gets_nothing() {
    let folder = Folder::new();
    let first_use = "[environments.farstep.auth]\nbearer = { env = \"BOX_TOKEN\" }\n\
                     [environments.farstep.tls]\ntrust = \"first-use\"\n";
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("an address");
    let (first, _) = serve_on(listener, self_signed(), None);
    for _ in 0..2 {
        let probe = probed(&folder.registry(address, first_use)).await;
        assert!(probe.outcome.is_ok(), "{:?}", probe.outcome);
    }
    let hosts = KnownHosts::at(folder.0.path().join("state").join(KNOWN_HOSTS));
    let known = hosts.all().expect("readable");
    assert_eq!(known.len(), 1);
    assert_eq!(known[0].kind, KeyKind::Tls);
    assert_eq!(known[0].place, format!("localhost:{}", address.port()));

    // Somebody else at the same place.
    first.abort();
    let _ = first.await;
    let listener = TcpListener::bind(address).await.expect("bound again");
    let (_second, seen) = serve_on(listener, self_signed(), None);
    let error = failure(&folder.registry(address, first_use)).await;
    let told = error.to_string();
    assert!(told.contains(&known[0].key), "{told}");
    assert!(told.contains("`farstep env forget box`"), "{told}");
    assert!(!error.may_pass());
    assert!(
        seen.lock().expect("unpoisoned").is_empty(),
        "it got the token"
    );

    hosts.forget("box").expect("forgotten");
    let probe = probed(&folder.registry(address, first_use)).await;
    assert!(probe.outcome.is_ok(), "{:?}", probe.outcome);
    let now = hosts.all().expect("readable")[0].key.clone();
    assert!(
        told.contains(&now),
        "{told} names both, and {now} is the new one"
    );

    // What the file says wins, and needs no memory.
    hosts.forget("box").expect("forgotten");
    let pinned = format!("{first_use}pin_sha256 = [\"{now}\"]\n");
    let probe = probed(&folder.registry(address, &pinned)).await;
    assert!(probe.outcome.is_ok(), "{:?}", probe.outcome);
    assert_eq!(hosts.all().expect("readable"), []);
}

/// Everything that is secret crosses and reaches the executor; none of it is in a log, an error
/// or a debug form.
#[tokio::test]
async fn own_authority_client_certificate_token_and_headers_work_together_and_stay_secret() {
    let log = common::Log::install();
    let (authority, clients) = (Authority::new("servers"), Authority::new("clients"));
    let (address, seen) = serve(authority.issue("devbox.internal"), Some(&clients)).await;
    let (me, key) = clients.issue("me");
    let folder = Folder::new();
    folder.write("ca.pem", 0o644, &authority.0.pem());
    folder.write("me.pem", 0o644, &me.pem());
    let secret = key.serialize_pem();
    folder.write("me.key", 0o600, &secret);
    folder.write("open.key", 0o640, &secret);
    let table = |key: &str| {
        format!(
            "[environments.farstep]\n\
             auth.bearer.env = \"BOX_TOKEN\"\n\
             headers = {{ X-Team = \"{HEADER}\" }}\n\
             [environments.farstep.tls]\n\
             ca_file = \"ca.pem\"\nclient_cert_file = \"me.pem\"\n\
             client_key_file = \"{key}\"\nserver_name = \"devbox.internal\"\n"
        )
    };
    let registry = folder.registry(address, &table("me.key"));
    let environment = registry.get("box").expect("configured");
    let executor = environment.executor().await.expect("connected");
    assert_eq!(executor.info().shell.name, "sh");
    let headers = seen.lock().expect("unpoisoned").pop().expect("seen");
    assert_eq!(headers["x-team"], HEADER);
    assert_eq!(headers["authorization"], format!("Bearer {TOKEN}").as_str());
    let mut shown = vec![format!("{registry:?} {environment:?} {executor:?}")];
    shown.push(format!("{:?}", environment.entry()));
    registry.close().await;

    let open = failure(&folder.registry(address, &table("open.key"))).await;
    assert!(open.to_string().contains("chmod 600"), "{open}");
    let anonymous = table("me.key")
        .replace("client_cert_file = \"me.pem\"\n", "")
        .replace("client_key_file = \"me.key\"\n", "");
    let unknown = failure(&folder.registry(address, &anonymous)).await;
    assert!(
        unknown.to_string().contains("client_cert_file"),
        "{unknown}"
    );
    let misnamed = table("me.key").replace("server_name = \"devbox.internal\"\n", "");
    let misnamed = failure(&folder.registry(address, &misnamed)).await;
    assert!(
        misnamed.to_string().contains("is for `devbox.internal`"),
        "{misnamed}"
    );
    for error in [&open, &unknown, &misnamed] {
        shown.push(format!("{error} {error:?}"));
    }
    shown.push(log.text());
    let middle_of_the_key = secret.lines().nth(1).expect("a line").to_owned();
    for shown in shown {
        for canary in [TOKEN, HEADER, middle_of_the_key.as_str()] {
            assert!(!shown.contains(canary), "{canary} in {shown}");
        }
    }
    assert!(log.text().contains("connected"), "the log was read");
}

/// A certificate with a common name alone is for nobody, and no name to write would help.
#[tokio::test]
async fn a_certificate_without_a_name_is_to_be_pinned() {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(Vec::new()).expect("params");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).expect("signed");
    let folder = Folder::new();
    folder.write("own.pem", 0o644, &certificate.pem());
    let (address, _) = serve((certificate, key), None).await;
    let named = "[environments.farstep.tls]\nca_file = \"own.pem\"\n";
    let told = failure(&folder.registry(address, named)).await.to_string();
    assert!(
        told.contains("for no name at all") && told.contains("pin_sha256"),
        "{told}"
    );
}

#[tokio::test]
async fn an_executor_without_tls_is_told_as_that() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("an address");
    let served = tokio::spawn(async move {
        let (socket, _) = listener.accept().await.expect("accepted");
        // What an HTTP server says to bytes that are none of its own.
        let answer = b"HTTP/1.1 400 Bad Request\r\n\r\n";
        socket.writable().await.expect("writable");
        socket.try_write(answer).expect("written");
        socket
    });
    let told = failure(&Folder::new().registry(address, ""))
        .await
        .to_string();
    assert!(
        told.contains("does not speak TLS") && told.contains("ws://"),
        "{told}"
    );
    drop(served.await);
}
