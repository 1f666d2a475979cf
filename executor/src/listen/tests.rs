use tokio::io::AsyncReadExt as _;
use tokio::task::JoinHandle;

use super::*;

/// A listener that is being served.
struct Served {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

async fn served() -> Served {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
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
        let request = format!(
            "{request_line} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n",
            self.address
        );
        tcp.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let mut piece = [0; 1024];
        while !answer.starts_with("HTTP/1.1 101") || !answer.contains("\r\n\r\n") {
            match tcp.read(&mut piece).await.unwrap() {
                0 => break,
                count => answer.push_str(std::str::from_utf8(&piece[..count]).unwrap()),
            }
        }
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
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
        ("GET /healthz", 404),
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
