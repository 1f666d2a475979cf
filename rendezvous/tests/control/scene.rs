//! A node on loopback, and what its peers say to it.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use farstep_protocol::relay::{Frame, Kind, MLKEM768_BYTES, PublicKey, X25519_BYTES};
use farstep_rendezvous::auth::{NewToken, TokenKind};
use farstep_rendezvous::bus::{Bus, Local};
use farstep_rendezvous::store::{Credential, CredentialKind, Sqlite, Store};
use farstep_rendezvous::{Node, Quotas, Server, now};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use tokio_util::sync::CancellationToken;

pub(crate) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

pub(crate) struct Scene {
    pub(crate) address: String,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) node: Arc<Node>,
    pub(crate) database: PathBuf,
    pub(crate) stop: CancellationToken,
    _folder: TempDir,
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
    /// With everything that a caller sees but the date.
    pub(crate) text: String,
}

impl Scene {
    pub(crate) async fn start() -> Scene {
        Scene::on(Arc::new(Local::default())).await
    }

    pub(crate) async fn on(bus: Arc<dyn Bus>) -> Scene {
        Scene::with(bus, Quotas::default()).await
    }

    pub(crate) async fn limited(quotas: Quotas) -> Scene {
        Scene::with(Arc::new(Local::default()), quotas).await
    }

    async fn with(bus: Arc<dyn Bus>, quotas: Quotas) -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("db");
        let store: Arc<dyn Store> = Arc::new(Sqlite::open(&database).await.unwrap());
        let server = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = server.address().to_string();
        let public = format!("http://{address}");
        let node = Node::start_limited(Arc::clone(&store), bus, &public, quotas);
        let node = node.await.unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(server.serve(Arc::clone(&node), stop.clone()));
        Scene {
            address,
            store,
            node,
            database,
            stop,
            _folder: folder,
        }
    }

    /// The same file from another process, as far as it can tell.
    pub(crate) async fn elsewhere(&self) -> Sqlite {
        Sqlite::open(&self.database).await.unwrap()
    }

    pub(crate) async fn token(&self, tenant: &str, kind: CredentialKind, scope: &str) -> String {
        let made = NewToken::make(TokenKind::Credential(kind)).unwrap();
        let credential = Credential {
            subject: made.kid.clone(),
            kid: made.kid,
            tenant: tenant.to_owned(),
            kind,
            scope: scope.to_owned(),
            digest: made.digest,
            created_at: now(),
            expires_at: None,
            revoked_at: None,
            used_at: None,
            token_id: None,
            renews: false,
            former: None,
        };
        self.store.add_credential(&credential).await.unwrap();
        made.text
    }

    /// Writes a request and leaves the connection open.
    pub(crate) async fn ask(&self, method: &str, path: &str, token: &str, body: &str) -> TcpStream {
        let line = format!("{method} {path}");
        self.ask_with(&line, token, "", body).await
    }

    /// The same with more headers, each with its line's end.
    async fn ask_with(&self, line: &str, token: &str, headers: &str, body: &str) -> TcpStream {
        let request = format!(
            "{line} HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {token}\r\ncontent-type: \
             application/json\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut socket = TcpStream::connect(&self.address).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        socket
    }

    pub(crate) async fn request(
        &self,
        method: &str,
        path: &str,
        token: &str,
        body: &Value,
    ) -> Answer {
        let body = match body {
            Value::Null => String::new(),
            body => body.to_string(),
        };
        Self::answer(self.ask(method, path, token, &body).await).await
    }

    async fn answer(mut socket: TcpStream) -> Answer {
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let seen = answer.lines().filter(|line| !line.starts_with("date:"));
        Answer {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            body: serde_json::from_str(body).unwrap_or_default(),
            text: seen.collect::<Vec<_>>().join("\n"),
        }
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> Answer {
        self.request("GET", path, token, &Value::Null).await
    }

    pub(crate) async fn post(&self, path: &str, token: &str, body: &Value) -> Answer {
        self.request("POST", path, token, body).await
    }

    pub(crate) async fn register(&self, id: &str, token: &str, key: u8) -> Answer {
        self.register_under("", id, token, key).await
    }

    /// At a base URL with such a path.
    pub(crate) async fn register_under(
        &self,
        base: &str,
        id: &str,
        token: &str,
        key: u8,
    ) -> Answer {
        let path = format!("{base}/cloud/environment/{id}/register");
        let body = json!({
            "security_profile": "noise_hybrid_ik_v1", "executor_public_key": public(key),
        });
        self.post(&path, token, &body).await
    }

    pub(crate) async fn connect(&self, id: &str, token: &str, key: u8) -> Answer {
        let path = format!("/cloud/environment/{id}/connect");
        let body = json!({"harness_public_key": public(key)});
        self.post(&path, token, &body).await
    }

    /// As somebody who wishes an executor that is away to be waited for so many seconds.
    pub(crate) async fn connect_within(
        &self,
        id: &str,
        token: &str,
        key: u8,
        seconds: u8,
    ) -> Answer {
        let line = format!("POST /cloud/environment/{id}/connect");
        let body = json!({"harness_public_key": public(key)}).to_string();
        let wish = format!("prefer: wait={seconds}\r\n");
        Self::answer(self.ask_with(&line, token, &wish, &body).await).await
    }

    pub(crate) async fn validate(&self, id: &str, token: &str, bundle: &Value, key: u8) -> Answer {
        let path = format!("/cloud/environment/{id}/validate");
        let body = json!({
            "executor_registration_id": bundle["executor_registration_id"],
            "harness_public_key": public(key),
            "harness_key_authorization": bundle["harness_key_authorization"],
        });
        self.post(&path, token, &body).await
    }

    /// An executor that is there.
    pub(crate) async fn executor(&self, id: &str, token: &str, key: u8) -> Socket {
        dial(url(&self.register(id, token, key).await)).await
    }

    /// An orchestrator that claimed a stream.
    pub(crate) async fn harness(&self, id: &str, token: &str, stream: &str) -> Socket {
        let mut socket = dial(url(&self.connect(id, token, 3).await)).await;
        send(&mut socket, frame(stream, Kind::Resume { next_seq: 0 })).await;
        let hello = Kind::Handshake(Bytes::from_static(b"hello"));
        send(&mut socket, frame(stream, hello)).await;
        socket
    }
}

pub(crate) fn kid(token: &str) -> &str {
    token.split('_').nth(1).unwrap()
}

pub(crate) fn public(fill: u8) -> PublicKey {
    PublicKey::new([fill; X25519_BYTES], Box::new([fill; MLKEM768_BYTES]))
}

pub(crate) fn url(answer: &Answer) -> &str {
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body["url"].as_str().unwrap()
}

pub(crate) async fn dial(url: &str) -> Socket {
    connect_async(url).await.unwrap().0
}

/// The status and the reason of a refused upgrade.
pub(crate) async fn refused(url: &str) -> (u16, String) {
    match connect_async(url).await {
        Err(tungstenite::Error::Http(response)) => {
            let reason = &response.headers()["x-codex-rendezvous-rejection-reason"];
            let reason = reason.to_str().unwrap().to_owned();
            (response.status().as_u16(), reason)
        }
        other => panic!("{other:?}"),
    }
}

pub(crate) fn frame(stream: &str, kind: Kind) -> Frame {
    Frame {
        stream: stream.to_owned(),
        kind,
    }
}

pub(crate) fn data(stream: &str, seq: u32) -> Frame {
    let payload = Bytes::from(vec![7; 1000]);
    frame(stream, Kind::Data { seq, payload })
}

pub(crate) async fn send(socket: &mut Socket, frame: Frame) {
    let message = Message::Binary(frame.encode());
    socket.send(message).await.unwrap();
}

/// The next frame; `None` when the websocket was closed.
pub(crate) async fn next(socket: &mut Socket) -> Option<Frame> {
    loop {
        match socket.next().await? {
            Ok(Message::Binary(bytes)) => return Some(Frame::decode(bytes).unwrap()),
            Ok(Message::Close(_)) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}

/// The code with which a websocket is closed, whatever comes before.
pub(crate) async fn closed(socket: &mut Socket) -> u16 {
    loop {
        if let Message::Close(close) = socket.next().await.unwrap().unwrap() {
            return close.unwrap().code.into();
        }
    }
}
