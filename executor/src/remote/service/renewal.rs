//! Renewing a credential that came of an enrolment code, when the rendezvous says that it is due.
//!
//! The successor is on the disk before it is shown, and is shown at once by registering with it: from
//! then on the rendezvous takes the former one back. When an answer is lost, the next rotation replaces
//! the successor that nobody knows. The websocket stays what it is throughout.

use std::time::Duration;

use farstep_protocol::relay::PublicKey;
use tokio::time::sleep;

use super::registry::{Registry, Rotated};
use super::welcome::now;

/// How often the clock is looked at: it may be set, or the machine may have slept.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);

/// After an attempt that came to nothing. A credential is due when a third of its life is left.
const AGAIN: Duration = Duration::from_secs(60);

/// Between two renewals, however short the life of a credential.
const PAUSE: Duration = Duration::from_secs(1);

/// Renews whenever that is due, first at `due`.
pub(super) async fn keep(registry: &Registry, key: &PublicKey, mut due: Option<i64>) -> ! {
    loop {
        let Some(at) = due.filter(|_| registry.credentials().are_ours()) else {
            std::future::pending().await
        };
        let left = u64::try_from(at.saturating_sub(now())).unwrap_or(0);
        if left > 0 {
            sleep(Duration::from_secs(left).min(LOOK_INTERVAL)).await;
            continue;
        }
        match registry.rotate().await {
            Rotated::Yes => {
                tracing::info!("the credential was renewed");
                match registry.register(key, None).await {
                    Ok(registered) => due = registered.rotate_after,
                    // The next registration says why.
                    Err(error) => {
                        tracing::warn!(%error, "the new credential was not shown");
                        due = None;
                    }
                }
                sleep(PAUSE).await;
            }
            Rotated::NotNow(reason) => {
                tracing::warn!(reason, "the credential was not renewed");
                sleep(AGAIN).await;
            }
            Rotated::Never(reason) => {
                tracing::error!(
                    reason,
                    "the credential is not renewed; enrol this executor anew"
                );
                due = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;

    use super::super::credential::Credentials;
    use super::super::enrolled::place;
    use super::*;
    use crate::remote::{CredentialSource, Settings};
    use farstep_protocol::noise::Identity;
    use farstep_transport::PaddingWish;

    /// The path and the bearer of a request, and then what is answered.
    async fn answer(listener: &TcpListener, status: &str, body: &str) -> (String, String) {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut asked = Vec::new();
        loop {
            let mut part = [0; 4096];
            let read = socket.read(&mut part).await.unwrap();
            asked.extend_from_slice(&part[..read]);
            let text = String::from_utf8_lossy(&asked).into_owned();
            let Some((head, rest)) = text.split_once("\r\n\r\n") else {
                continue;
            };
            let value = |name: &str| {
                let line = head.lines().find_map(|line| line.strip_prefix(name));
                line.unwrap_or_default().trim().to_owned()
            };
            if rest.len() < value("content-length:").parse().unwrap() {
                continue;
            }
            let length = body.len();
            let said = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}");
            socket.write_all(said.as_bytes()).await.unwrap();
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            return (path, value("authorization: Bearer"));
        }
    }

    #[tokio::test]
    async fn what_is_due_is_replaced_on_the_disk_and_then_shown() {
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let settings = Settings {
            base: format!("http://{}", listener.local_addr().unwrap()),
            environment: "box".to_owned(),
            name: None,
            credential: CredentialSource::Code("fste_code".to_owned()),
            identity_file: None,
            allowed: Vec::new(),
            harness_keys: None,
            key_attestation: None,
            padding: PaddingWish::default(),
            labels: Default::default(),
        };
        let enrolled = json!({"credential": "one"}).to_string();
        let state = Some(folder.path());
        let (credentials, asked) = tokio::join!(
            Credentials::take_up(&settings, state, |_| None),
            answer(&listener, "200 OK", &enrolled),
        );
        assert_eq!(asked.0, "/v1/enroll");
        let path = place(&settings, state).unwrap();
        let kept = || std::fs::read_to_string(&path).unwrap();
        assert!(kept().contains("\"one\""));
        let registry = Registry::new(&settings, credentials.unwrap());
        let identity = Identity::generate().unwrap();
        let (told, mut heard) = mpsc::channel(8);
        let node = async {
            let successor = json!({"text": "two", "token": {}}).to_string();
            told.send(answer(&listener, "200 OK", &successor).await)
                .await
                .unwrap();
            let registered = json!({
                "environment_id": "box", "url": "ws://h", "executor_registration_id": "r",
                "security_profile": "noise_hybrid_ik_v1",
            });
            let registered = answer(&listener, "200 OK", &registered.to_string()).await;
            told.send(registered).await.unwrap();
            std::future::pending::<()>().await;
        };
        let hear = async {
            let rotate = "/v1/environments/box/credentials/rotate".to_owned();
            assert_eq!(heard.recv().await.unwrap(), (rotate, "one".to_owned()));
            let register = "/cloud/environment/box/register".to_owned();
            assert_eq!(heard.recv().await.unwrap(), (register, "two".to_owned()));
        };
        tokio::select! {
            never = keep(&registry, identity.public(), Some(now() - 1)) => never,
            () = node => {}
            () = hear => {}
        }
        assert!(kept().contains("\"two\"") && !kept().contains("\"one\""));
        // The next start finds it, with the flag that used the code up and without.
        let again = Credentials::take_up(&settings, state, |_| None).await;
        assert_eq!(again.unwrap().current().unwrap().as_str(), "two");
        let settings = Settings {
            credential: CredentialSource::Variable,
            ..settings
        };
        let again = Credentials::take_up(&settings, state, |_| None).await;
        assert_eq!(again.unwrap().current().unwrap().as_str(), "two");
    }
}
