//! Executors behind proxies, and at which hop a way that leads nowhere is told to end. The proxies
//! are a few lines that know one answer each.

#![expect(
    clippy::expect_used,
    reason = "a test that cannot be set up has failed"
)]

mod common;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use common::{Log, greet};
use farstep_environments::{Conditions, Fact, Hop, LocalExecutor, Probe, Registry, config};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

const PASSWORD: &str = "canary-of-the-proxy";

/// An executor that everybody may reach.
async fn executor() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(greet(socket, Arc::default()));
        }
    });
    address
}

/// What a proxy does with everybody who comes.
#[derive(Clone, Copy)]
enum Manner {
    /// Answers CONNECT with this, and lets through to the executor when it is a yes.
    Http(&'static str, SocketAddr),
    /// Wants this user and password, and answers with this code.
    Socks(&'static str, u8, SocketAddr),
    Silent,
}

type Heard = Arc<Mutex<Vec<String>>>;

/// A proxy, and what it heard.
async fn proxy(manner: Manner) -> (SocketAddr, Heard) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("an address");
    let heard = Heard::default();
    let told = Arc::clone(&heard);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(serve(socket, manner, Arc::clone(&told)));
        }
    });
    (address, heard)
}

async fn serve<S>(mut socket: S, manner: Manner, heard: Heard)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let to = match manner {
        Manner::Http(answer, to) => {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(socket.read_u8().await.expect("a request"));
            }
            tell(&heard, String::from_utf8(request).expect("text"));
            socket.write_all(answer.as_bytes()).await.expect("answered");
            answer.contains(" 200 ").then_some(to)
        }
        Manner::Socks(password, code, to) => {
            socks(&mut socket, password, code, &heard).await;
            (code == 0).then_some(to)
        }
        Manner::Silent => {
            let _ = socket.read_to_end(&mut Vec::new()).await;
            None
        }
    };
    if let Some(to) = to {
        let mut beyond = TcpStream::connect(to).await.expect("reached");
        let _ = copy_bidirectional(&mut socket, &mut beyond).await;
    }
}

/// RFC 1928 and 1929, for a caller who gives a name and a password.
async fn socks<S>(socket: &mut S, password: &str, code: u8, heard: &Heard)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let greeting = sized(socket, 1).await;
    assert_eq!(greeting, [2], "user and password are offered");
    socket.write_all(&[5, 2]).await.expect("answered");
    let user = sized(socket, 1).await;
    let length = socket.read_u8().await.expect("a length");
    let given = exactly(socket, length.into()).await;
    assert_eq!(
        (user.as_slice(), given.as_slice()),
        (&b"me"[..], password.as_bytes())
    );
    socket.write_all(&[1, 0]).await.expect("answered");
    let head = exactly(socket, 4).await;
    assert_eq!(head, [5, 1, 0, 3], "a name to connect to");
    let length = socket.read_u8().await.expect("a length");
    let name = exactly(socket, length.into()).await;
    let port = socket.read_u16().await.expect("a port");
    tell(heard, format!("{}:{port}", String::from_utf8_lossy(&name)));
    let answer = [5, code, 0, 1, 127, 0, 0, 1, 0, 0];
    socket.write_all(&answer).await.expect("answered");
}

/// A version, a length and as many bytes.
async fn sized(socket: &mut (impl AsyncRead + Unpin), version_bytes: usize) -> Vec<u8> {
    exactly(socket, version_bytes).await;
    let length = socket.read_u8().await.expect("a length");
    exactly(socket, length.into()).await
}

async fn exactly(socket: &mut (impl AsyncRead + Unpin), length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    socket.read_exact(&mut bytes).await.expect("bytes");
    bytes
}

fn tell(heard: &Heard, text: String) {
    heard.lock().expect("unpoisoned").push(text);
}

fn only(heard: &Heard) -> String {
    let heard = heard.lock().expect("unpoisoned");
    assert_eq!(heard.len(), 1, "{heard:?}");
    heard[0].clone()
}

/// Probes an executor that only a proxy knows, through the one at `proxy`.
async fn through(scheme: &str, user: &str, proxy: SocketAddr, more: &str) -> Probe {
    // The least that keeps the password out of the configuration.
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("proxy");
    std::fs::write(&path, format!("{scheme}://{user}{proxy}\n")).expect("written");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&path, mode).expect("made private");
    }
    let text = format!(
        "[[environments]]\nid = \"box\"\nurl = \"ws://devbox.example:4500/\"\n{more}\n\
         [environments.farstep]\nproxy = {{ file = \"proxy\" }}\n"
    );
    let registry = registry(&text, folder.path());
    let environment = registry.get("box").expect("configured");
    let probe = environment.probe().await;
    let shown = format!(
        "{registry:?} {environment:?} {:?} {probe:?}",
        environment.entry()
    );
    assert!(!shown.contains(PASSWORD), "{shown}");
    registry.close().await;
    probe
}

fn registry(text: &str, folder: &Path) -> Registry {
    let config = config::parse(text, folder).expect("valid");
    let local = LocalExecutor {
        program: "/no/such/executor".into(),
        args: Vec::new(),
        cwd: "/".into(),
    };
    Registry::under(Conditions::default(), &config, local)
}

/// The hops of a connection through a proxy.
const WAY: [Hop; 5] = [
    Hop::Secrets,
    Hop::ProxyTcp,
    Hop::Proxy,
    Hop::Upgrade,
    Hop::Initialize,
];

fn hops(probe: &Probe) -> Vec<Hop> {
    probe.hops.iter().map(|tried| tried.at.hop).collect()
}

#[tokio::test]
async fn an_http_proxy_is_asked_to_connect_with_its_password_and_looks_the_name_up_itself() {
    let log = Log::install();
    let manner = Manner::Http("HTTP/1.1 200 Go\r\n\r\n", executor().await);
    let (address, heard) = proxy(manner).await;
    let probe = through("http", &format!("me:{PASSWORD}@"), address, "").await;
    assert!(probe.outcome.is_ok(), "{:?}", probe.outcome);
    assert_eq!(hops(&probe), WAY);
    assert_eq!(
        probe.hops[2].fact,
        Some(Fact::Proxy(format!("http://{address}")))
    );
    let request = only(&heard).to_lowercase();
    let (line, headers) = request.split_once("\r\n").expect("lines");
    assert_eq!(line, "connect devbox.example:4500 http/1.1");
    assert!(
        headers.contains("host: devbox.example:4500\r\n"),
        "{headers}"
    );
    assert!(headers.contains("proxy-authorization: basic "), "{headers}");
    assert!(!log.text().contains(PASSWORD));
}

#[tokio::test]
async fn a_socks_proxy_gets_the_password_and_the_name() {
    let (address, heard) = proxy(Manner::Socks(PASSWORD, 0, executor().await)).await;
    let probe = through("socks5h", &format!("me:{PASSWORD}@"), address, "").await;
    assert!(probe.outcome.is_ok(), "{:?}", probe.outcome);
    assert_eq!(hops(&probe), WAY);
    assert_eq!(only(&heard), "devbox.example:4500");
}

#[tokio::test]
async fn a_way_that_ends_at_the_proxy_says_so_and_where() {
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
    let start = |address: SocketAddr, scheme: &str| {
        format!(
            "failed to connect to exec-server websocket `ws://devbox.example:4500` \
             through the proxy `{scheme}://{address}`: "
        )
    };
    let (gone, _) = {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        (listener.local_addr().expect("an address"), drop(listener))
    };
    let refusal = |answer| Manner::Http(answer, nowhere);
    let cases = [
        (
            proxy(refusal("HTTP/1.1 407 No\r\n\r\n")).await.0,
            "http",
            "it answered 407 Proxy Authentication Required; put user and password into its URL, \
             in the variable that names it",
            Hop::Proxy,
        ),
        (
            proxy(refusal("HTTP/1.1 502 No\r\n\r\n")).await.0,
            "http",
            "it answered 502 Bad Gateway; it could not reach the executor itself",
            Hop::Proxy,
        ),
        (
            proxy(Manner::Socks("x", 5, nowhere)).await.0,
            "socks5h",
            "it refused: connection refused",
            Hop::Proxy,
        ),
        (
            gone,
            "http",
            "it cannot be reached: Connection refused (os error 111)",
            Hop::ProxyTcp,
        ),
    ];
    for (address, scheme, reason, hop) in cases {
        let user = if scheme == "http" { "" } else { "me:x@" };
        let probe = through(scheme, user, address, "").await;
        let told = probe.outcome.expect_err("refused").to_string();
        assert_eq!(told, start(address, scheme) + reason);
        let last = probe.hops.last().expect("hops");
        assert_eq!((last.at.hop, last.passed), (hop, false));
    }
}

#[tokio::test]
async fn a_proxy_that_says_nothing_times_out_as_itself() {
    let (address, _) = proxy(Manner::Silent).await;
    let probe = through("http", "", address, "connect_timeout_sec = 0.2").await;
    assert_eq!(
        probe.outcome.expect_err("too late").to_string(),
        "timed out connecting to exec-server websocket `ws://devbox.example:4500` after 200ms, \
         while waiting for the proxy's answer"
    );
}

#[tokio::test]
async fn an_executor_that_is_not_there_behind_a_proxy_is_told_from_the_proxy() {
    // What listens there is no websocket.
    let other = Manner::Http(
        "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
        executor().await,
    );
    let (other, _) = proxy(other).await;
    let (address, _) = proxy(Manner::Http("HTTP/1.1 200 Go\r\n\r\n", other)).await;
    let probe = through("http", "", address, "").await;
    assert_eq!(
        probe.outcome.expect_err("refused").to_string(),
        "exec-server websocket `ws://devbox.example:4500` refused the connection: \
         HTTP status 404 Not Found; executors serve the path `/` only"
    );
    assert_eq!(
        probe.hops.last().map(|tried| tried.at.hop),
        Some(Hop::Upgrade)
    );
}

#[tokio::test]
async fn a_token_does_not_go_unencrypted_through_a_proxy_elsewhere() {
    let text = "[[environments]]\nid = \"box\"\nurl = \"ws://127.0.0.1:1\"\n\
                auth_bearer_token = \"hunter2\"\n\
                [environments.farstep]\nproxy = \"http://192.0.2.1:3128\"\n";
    let registry = registry(text, Path::new("/"));
    let probe = registry.get("box").expect("configured").probe().await;
    let told = probe.outcome.as_ref().expect_err("refused").to_string();
    assert!(told.contains("would travel unencrypted"), "{told}");
    assert_eq!(hops(&probe), [Hop::Secrets]);
}

/// Proxies behind TLS are believed when the system says so, and what the system believes is read once
/// in a process: so this one is started anew for each case.
#[cfg(target_os = "linux")]
mod https {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use tokio_rustls::TlsAcceptor;

    use super::*;

    /// Names the folder with the proxy's certificate, in the process that is started anew.
    const FOLDER: &str = "FARSTEP_TEST_HTTPS_PROXY";

    #[tokio::test]
    async fn an_https_proxy_is_spoken_to_through_tls_if_the_system_believes_it() {
        if std::env::var_os(FOLDER).is_some() {
            return match std::env::var_os("SSL_CERT_FILE") {
                Some(_) => believed().await,
                None => not_believed().await,
            };
        }
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let mut params = CertificateParams::new(Vec::new()).expect("params");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_key = KeyPair::generate().expect("a key");
        let authority = CertifiedIssuer::self_signed(params, authority_key).expect("signed");
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("params");
        let certificate = params.signed_by(&key, &authority).expect("signed");
        std::fs::write(at("ca.pem"), authority.pem()).expect("written");
        std::fs::write(at("cert.pem"), certificate.pem()).expect("written");
        std::fs::write(at("key.pem"), key.serialize_pem()).expect("written");
        for is_believed in [true, false] {
            let mut again = tokio::process::Command::new(std::env::current_exe().expect("a path"));
            again
                .args([
                    "--exact",
                    "https::an_https_proxy_is_spoken_to_through_tls_if_the_system_believes_it",
                    "--nocapture",
                ])
                .env(FOLDER, folder.path())
                .env_remove("SSL_CERT_FILE");
            if is_believed {
                again.env("SSL_CERT_FILE", at("ca.pem"));
            }
            let output = again.output().await.expect("run");
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(
                output.status.success() && said.contains("1 passed"),
                "believed: {is_believed}: {said}{}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }

    async fn believed() {
        let (address, heard) = tls_proxy(executor().await).await;
        let probe = through("https", &format!("me:{PASSWORD}@"), address, "").await;
        assert!(probe.outcome.is_ok(), "{:?}", probe.outcome);
        let way = [
            Hop::Secrets,
            Hop::ProxyTcp,
            Hop::ProxyTls,
            Hop::Proxy,
            Hop::Upgrade,
            Hop::Initialize,
        ];
        assert_eq!(hops(&probe), way);
        let request = only(&heard).to_lowercase();
        assert!(
            request.starts_with("connect devbox.example:4500 http/1.1\r\n"),
            "{request}"
        );
        assert!(request.contains("proxy-authorization: basic "), "{request}");
    }

    async fn not_believed() {
        let (address, heard) = tls_proxy(executor().await).await;
        let probe = through("https", &format!("me:{PASSWORD}@"), address, "").await;
        let told = probe.outcome.expect_err("refused").to_string();
        assert!(
            told.contains(&format!(
                "through the proxy `https://{address}`: it is not trusted: "
            )),
            "{told}"
        );
        let last = probe.hops.last().expect("hops");
        assert_eq!((last.at.hop, last.passed), (Hop::ProxyTls, false));
        assert!(heard.lock().expect("unpoisoned").is_empty(), "it was asked");
    }

    async fn tls_proxy(to: SocketAddr) -> (SocketAddr, Heard) {
        let folder = std::env::var_os(FOLDER).expect("the test above");
        let at = |name: &str| Path::new(&folder).join(name);
        let chain = vec![CertificateDer::from_pem_file(at("cert.pem")).expect("a certificate")];
        let key = PrivateKeyDer::from_pem_file(at("key.pem")).expect("a key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a pair");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("an address");
        let heard = Heard::default();
        let told = Arc::clone(&heard);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                if let Ok(secured) = acceptor.accept(socket).await {
                    let manner = Manner::Http("HTTP/1.1 200 Go\r\n\r\n", to);
                    tokio::spawn(serve(secured, manner, Arc::clone(&told)));
                }
            }
        });
        (address, heard)
    }
}
