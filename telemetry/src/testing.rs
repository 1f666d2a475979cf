//! A collector for tests: what spans a program really sends.

#![expect(
    clippy::unwrap_used,
    reason = "for tests, and one that cannot go on has failed"
)]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use prost::Message as _;
use tokio::net::TcpListener;

// The parts of OTLP that are looked at.

#[derive(Clone, PartialEq, prost::Message)]
struct Export {
    #[prost(message, repeated, tag = "1")]
    resources: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ResourceSpans {
    #[prost(message, repeated, tag = "2")]
    scopes: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ScopeSpans {
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Span>,
}

/// A span as it was sent.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Span {
    /// The trace it belongs to, 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub trace: Vec<u8>,
    /// Its own id, 8 bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub id: Vec<u8>,
    /// The id of its parent, empty without one.
    #[prost(bytes = "vec", tag = "4")]
    pub parent: Vec<u8>,
    /// What was done.
    #[prost(string, tag = "5")]
    pub name: String,
}

/// A collector on loopback that keeps what it is sent, for as long as its runtime lives.
#[derive(Debug)]
pub struct Collector {
    /// Where it listens.
    pub address: SocketAddr,
    bodies: Arc<Mutex<Vec<Bytes>>>,
}

impl Collector {
    /// Starts one on a free port.
    pub async fn start() -> Collector {
        let bodies: Arc<Mutex<Vec<Bytes>>> = Arc::default();
        let kept = Arc::clone(&bodies);
        let keep = post(move |body: Bytes| async move { kept.lock().unwrap().push(body) });
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = tcp.local_addr().unwrap();
        let routes = Router::new().route("/v1/traces", keep);
        tokio::spawn(async move { axum::serve(tcp, routes).await });
        Collector { address, bodies }
    }

    /// The last span of each name.
    pub fn spans(&self) -> HashMap<String, Span> {
        let bodies = self.bodies.lock().unwrap();
        bodies
            .iter()
            .flat_map(|body| Export::decode(body.clone()).unwrap().resources)
            .flat_map(|resource| resource.scopes)
            .flat_map(|scope| scope.spans)
            .map(|span| (span.name.clone(), span))
            .collect()
    }

    /// Whether a text stands anywhere in what was sent.
    pub fn names(&self, text: &str) -> bool {
        let named = |body: &Bytes| body.windows(text.len()).any(|at| at == text.as_bytes());
        self.bodies.lock().unwrap().iter().any(named)
    }
}
