//! The public keys of an identity provider, from a file or over https, for a bounded time.
//!
//! Keys are looked up anew when they are old, and when a token names one that is not known: a
//! provider that rotates is followed. Neither happens often, whoever asks. Keys that could not be
//! looked up for longer than a limit count no more, because a provider takes keys back by leaving
//! them out.

use std::path::PathBuf;
use std::time::Duration;

use futures_util::StreamExt as _;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, PublicKeyUse};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Keys are looked up anew when they are older.
const FRESH: Duration = Duration::from_secs(5 * 60);

/// Keys that are older count no more.
const AGE_MAX: Duration = Duration::from_secs(60 * 60);

/// Two look-ups lie so far apart at least, whatever tokens name.
const PAUSE: Duration = Duration::from_secs(10);

/// How long a look-up may take.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// A set of keys, in bytes and in keys.
const SET_BYTES_MAX: usize = 256 * 1024;
const KEYS_MAX: usize = 100;

/// Where the keys are.
#[derive(Debug)]
pub(super) enum Source {
    File(PathBuf),
    Https(Box<(reqwest::Client, String)>),
}

/// The keys, looked up when they are needed.
pub(super) struct Keys {
    source: Source,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    keys: Vec<(Jwk, DecodingKey)>,
    read: Option<Instant>,
    tried: Option<Instant>,
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<serde_json::Value>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.source.fmt(f)
    }
}

impl Source {
    /// A path or an https URL; http is for whoever tests on this machine.
    pub(super) fn parse(text: &str) -> Option<Source> {
        let is_here = ["http://127.0.0.1:", "http://[::1]:", "http://localhost:"]
            .iter()
            .any(|start| text.starts_with(start));
        if text.starts_with("https://") || is_here {
            let client = reqwest::Client::builder()
                // Nobody else speaks for the provider.
                .redirect(reqwest::redirect::Policy::none())
                .timeout(ANSWER_MAX)
                .build();
            return Some(Source::Https(Box::new((client.ok()?, text.to_owned()))));
        }
        (!text.contains("://")).then(|| Source::File(text.into()))
    }

    async fn read(&self) -> Result<Vec<u8>, String> {
        let bytes = match self {
            Source::File(path) => tokio::fs::read(path)
                .await
                .map_err(|error| error.to_string())?,
            Source::Https(at) => {
                let (client, url) = at.as_ref();
                let answered = client.get(url).send().await;
                let answered = answered.map_err(|error| error.to_string())?;
                if !answered.status().is_success() {
                    return Err(format!("HTTP status {}", answered.status()));
                }
                let mut body = answered.bytes_stream();
                let mut bytes = Vec::new();
                while let Some(chunk) = body.next().await {
                    bytes.extend_from_slice(&chunk.map_err(|error| error.to_string())?);
                    if bytes.len() > SET_BYTES_MAX {
                        break;
                    }
                }
                bytes
            }
        };
        match bytes.len() <= SET_BYTES_MAX {
            true => Ok(bytes),
            false => Err(format!("above {SET_BYTES_MAX} bytes")),
        }
    }
}

impl Keys {
    pub(super) fn new(source: Source) -> Keys {
        Keys {
            source,
            known: Mutex::default(),
        }
    }

    /// The key of that name; without a name the only one there is.
    pub(super) async fn find(&self, kid: Option<&str>) -> Option<(Jwk, DecodingKey)> {
        let mut known = self.known.lock().await;
        let is_fresh = known.read.is_some_and(|read| read.elapsed() < FRESH);
        if !is_fresh || known.find(kid).is_none() {
            self.look_up(&mut known).await;
        }
        let counts = known.read.is_some_and(|read| read.elapsed() < AGE_MAX);
        counts.then(|| known.find(kid)).flatten()
    }

    async fn look_up(&self, known: &mut Known) {
        if known.tried.is_some_and(|tried| tried.elapsed() < PAUSE) {
            return;
        }
        known.tried = Some(Instant::now());
        let read = self.source.read().await;
        let parsed = read.and_then(|bytes| keys(&bytes));
        match parsed {
            Ok(keys) => {
                known.keys = keys;
                known.read = Some(Instant::now());
            }
            Err(error) => {
                tracing::warn!(source = ?self.source, error, "an identity provider's keys are not read");
            }
        }
    }
}

impl Known {
    fn find(&self, kid: Option<&str>) -> Option<(Jwk, DecodingKey)> {
        let found = match (kid, self.keys.as_slice()) {
            (Some(kid), keys) => keys
                .iter()
                .find(|(jwk, _)| jwk.common.key_id.as_deref() == Some(kid)),
            (None, [only]) => Some(only),
            (None, _) => None,
        };
        found.cloned()
    }
}

/// The public keys of a set. What is none that we know, or a shared secret, is passed over.
fn keys(bytes: &[u8]) -> Result<Vec<(Jwk, DecodingKey)>, String> {
    let set: Set = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if set.keys.len() > KEYS_MAX {
        return Err(format!("above {KEYS_MAX} keys"));
    }
    let parsed = set.keys.into_iter().filter_map(|key| {
        let jwk: Jwk = serde_json::from_value(key).ok()?;
        let is_public = !matches!(jwk.algorithm, AlgorithmParameters::OctetKey(_));
        let uses = jwk.common.public_key_use.as_ref();
        let signs = uses.is_none_or(|uses| *uses == PublicKeyUse::Signature);
        let key = DecodingKey::from_jwk(&jwk).ok()?;
        (is_public && signs).then_some((jwk, key))
    });
    Ok(parsed.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(kids: &[&str]) -> String {
        let key = |kid: &&str| {
            serde_json::json!({
                "kty": "OKP", "crv": "Ed25519", "kid": kid,
                "x": "6kpsY-KcUgq-9VB7Ey7F-ZVHdq6-vnuSQh7qaRRG0iw",
            })
        };
        let keys: Vec<_> = kids.iter().map(key).collect();
        serde_json::json!({ "keys": keys }).to_string()
    }

    #[tokio::test(start_paused = true)]
    async fn a_provider_that_rotates_is_followed_and_one_that_is_silent_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jwks");
        std::fs::write(&path, set(&["old"])).unwrap();
        let keys = Keys::new(Source::File(path.clone()));
        assert!(keys.find(Some("old")).await.is_some());
        assert!(keys.find(None).await.is_some());
        std::fs::write(&path, set(&["old", "new"])).unwrap();
        // Whoever names keys that nobody knows does not have them looked up each time.
        assert!(keys.find(Some("new")).await.is_none());
        tokio::time::advance(PAUSE).await;
        assert!(keys.find(Some("new")).await.is_some());
        assert!(keys.find(None).await.is_none());
        // What the provider leaves out is gone when it is looked up next.
        std::fs::write(&path, set(&["new"])).unwrap();
        assert!(keys.find(Some("old")).await.is_some());
        tokio::time::advance(FRESH).await;
        assert!(keys.find(Some("old")).await.is_none());
        std::fs::remove_file(&path).unwrap();
        tokio::time::advance(AGE_MAX - FRESH).await;
        assert!(keys.find(Some("new")).await.is_some());
        tokio::time::advance(FRESH).await;
        assert!(keys.find(Some("new")).await.is_none());
    }

    #[tokio::test]
    async fn a_url_is_asked_and_sends_nobody_elsewhere() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

        for (answer, is_taken) in [
            (
                format!(
                    "200 OK\r\ncontent-length: {}\r\n\r\n{}",
                    set(&["a"]).len(),
                    set(&["a"])
                ),
                true,
            ),
            (
                "302 Found\r\nlocation: /keys\r\ncontent-length: 0\r\n\r\n".to_owned(),
                false,
            ),
            (
                format!(
                    "200 OK\r\ncontent-length: 300000\r\n\r\n{}",
                    " ".repeat(300_000)
                ),
                false,
            ),
        ] {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}/keys", listener.local_addr().unwrap());
            let serving = tokio::spawn(async move {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut request = [0; 1024];
                assert!(socket.read(&mut request).await.unwrap() > 0);
                let answer = format!("HTTP/1.1 {answer}");
                // Whoever does not want all of it goes away.
                let _: std::io::Result<()> = socket.write_all(answer.as_bytes()).await;
            });
            let keys = Keys::new(Source::parse(&url).unwrap());
            assert_eq!(keys.find(Some("a")).await.is_some(), is_taken);
            serving.await.unwrap();
        }
        assert!(Source::parse("http://idp.example/keys").is_none());
    }

    #[test]
    fn a_set_without_an_end_is_not_taken() {
        let many: Vec<String> = (0..KEYS_MAX + 1).map(|kid| kid.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(keys(set(&many).as_bytes()).is_err());
        assert!(keys(b"[]").is_err());
        assert_eq!(keys(set(&["a"]).as_bytes()).unwrap().len(), 1);
    }
}
