//! What a thief of the store's file has: names and digests.

use std::os::unix::fs::PermissionsExt as _;

use farstep_rendezvous::auth::{NewToken, TokenKind};
use farstep_rendezvous::store::CredentialKind::{Admin, Executor, Harness};
use farstep_rendezvous::store::{Enrolment, Sqlite, Store as _};
use farstep_rendezvous::{new_url_key, now};

use crate::scene::{Scene, dial, refused, url};

fn has(bytes: &[u8], part: &str) -> bool {
    bytes
        .windows(part.len())
        .any(|window| window == part.as_bytes())
}

/// The secret part alone, which must not be there in any surroundings.
fn secret(token: &str) -> &str {
    token.split('_').nth(2).unwrap()
}

#[tokio::test]
async fn the_file_and_its_backup_hold_no_token() {
    let scene = Scene::start().await;
    let executor = scene.token("a", Executor, "*").await;
    let harness = scene.token("a", Harness, "*").await;
    let admin = scene.token("a", Admin, "*").await;
    let code = NewToken::make(TokenKind::Enrolment).unwrap();
    let enrolment = Enrolment {
        tenant: "a".to_owned(),
        scope: "box".to_owned(),
        lifetime: None,
    };
    let kept = scene
        .store
        .add_enrolment(code.digest, &enrolment, now() + 600);
    kept.await.unwrap();
    let _link = scene.executor("box", &executor, 1).await;
    // One bundle is used, the other lies there.
    let used = scene.connect("box", &harness, 3).await;
    let _stream = dial(url(&used)).await;
    scene.validate("box", &executor, &used.body, 3).await;
    let lying = scene.connect("box", &harness, 3).await;
    let mut secrets = vec![
        secret(&executor).to_owned(),
        secret(&harness).to_owned(),
        secret(&admin).to_owned(),
        secret(&code.text).to_owned(),
    ];
    for bundle in [&used, &lying] {
        let nonce = url(bundle).split("&n=").nth(1).unwrap();
        secrets.push(nonce.split('&').next().unwrap().to_owned());
        let shown = &bundle.body["harness_key_authorization"];
        secrets.push(shown.as_str().unwrap().to_owned());
    }
    let backup = scene.database.with_file_name("backup");
    scene.elsewhere().await.backup(&backup).await.unwrap();
    let mode = std::fs::metadata(&backup).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let again = scene.elsewhere().await.backup(&backup).await;
    assert!(again.is_err(), "what is there is not written over");
    let keys = scene.store.url_keys().await.unwrap();
    let mut files = Vec::new();
    for entry in std::fs::read_dir(scene.database.parent().unwrap()).unwrap() {
        let path = entry.unwrap().path();
        files.push((path.clone(), std::fs::read(&path).unwrap()));
    }
    assert!(files.len() >= 3, "database, log and backup");
    // It is the right file, and it knows who there is.
    assert!(files.iter().any(|(_, bytes)| has(bytes, "box")));
    for (path, bytes) in &files {
        for secret in &secrets {
            assert!(!has(bytes, secret), "{secret} in {}", path.display());
        }
    }
    // Keys of URLs must be somewhere, and that is not the backup.
    let copy = std::fs::read(&backup).unwrap();
    let key = keys[0].secret.as_slice();
    assert!(!copy.windows(key.len()).any(|window| window == key));
    let copy = Sqlite::open(&backup).await.unwrap();
    assert_eq!(copy.credentials(None).await.unwrap().len(), 3);
    assert!(copy.url_keys().await.unwrap().is_empty());
}

#[tokio::test]
async fn urls_of_the_key_before_are_good_and_those_of_the_one_before_that_are_not() {
    let scene = Scene::start().await;
    let executor = scene.token("a", Executor, "*").await;
    let registered = scene.register("box", &executor, 1).await;
    let admin = scene.token("*", Admin, "*").await;
    let mut numbers = vec![number(url(&registered))];
    for _ in 0..2 {
        drop(dial(url(&registered)).await);
        new_url_key(scene.store.as_ref()).await.unwrap();
        // The node signs with it as soon as it has seen it.
        loop {
            let again = scene.register("box", &executor, 1).await;
            let number = number(url(&again));
            if !numbers.contains(&number) {
                numbers.push(number);
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    let refused = refused(url(&registered)).await;
    assert_eq!(refused, (401, "invalid_secret".to_owned()));
    // Operator's or not, an admin token signs nothing.
    assert_eq!(scene.register("box", &admin, 1).await.status, 401);
}

fn number(url: &str) -> String {
    let version = url.split("&v=").nth(1).unwrap();
    version.split('&').next().unwrap().to_owned()
}

#[tokio::test]
async fn whoever_guesses_is_slowed_and_the_right_credential_is_not() {
    let scene = Scene::start().await;
    let executor = scene.token("a", Executor, "*").await;
    let mut statuses = Vec::new();
    // Thirty a minute are answered, and some more if they take their time.
    while statuses.last() != Some(&429) && statuses.len() < 300 {
        let wrong = NewToken::make(TokenKind::Credential(Executor)).unwrap();
        statuses.push(scene.register("box", &wrong.text, 1).await.status);
    }
    let last = statuses.pop();
    assert_eq!(last, Some(429));
    assert!(statuses.len() >= 30, "{statuses:?}");
    assert!(statuses.iter().all(|status| *status == 401), "{statuses:?}");
    assert_eq!(scene.register("box", &executor, 1).await.status, 200);
}
