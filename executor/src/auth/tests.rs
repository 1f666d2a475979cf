use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Parser;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

use super::args::{SignedSettings, TokenSource};
use super::*;
use crate::audit;

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    auth: AuthArgs,
}

fn settings(flags: &[&str]) -> Result<Settings, Refused> {
    let flags = ["x"].iter().chain(flags);
    Settings::try_from(Flags::try_parse_from(flags).unwrap().auth)
}

#[test]
fn flags_that_do_not_fit_together_are_refused() {
    let digest = "ab".repeat(32);
    for (flags, refused) in [
        (&["--ws-auth", "capability-token"][..], Refused::NoToken),
        (&["--ws-auth", "signed-bearer-token"], Refused::NoSecret),
        (
            &["--ws-token-file", "f"],
            Refused::WithoutMode("--ws-token-file", "capability-token"),
        ),
        (
            &["--ws-issuer", "me"],
            Refused::WithoutMode("--ws-issuer", "signed-bearer-token"),
        ),
        (
            &[
                "--ws-auth",
                "capability-token",
                "--ws-token-file",
                "f",
                "--ws-token-sha256",
                &digest,
            ],
            Refused::TwoTokens,
        ),
        (
            &[
                "--ws-auth",
                "capability-token",
                "--ws-token-file",
                "f",
                "--ws-audience",
                "you",
            ],
            Refused::OtherMode("--ws-audience", "capability-token"),
        ),
        (
            &["--ws-auth", "signed-bearer-token", "--ws-token-file", "f"],
            Refused::OtherMode("--ws-token-file", "signed-bearer-token"),
        ),
        (
            &[
                "--ws-auth",
                "capability-token",
                "--ws-token-sha256",
                &digest[1..],
            ],
            Refused::Digest,
        ),
        (
            &[
                "--ws-auth",
                "capability-token",
                "--ws-token-sha256",
                &"g".repeat(64),
            ],
            Refused::Digest,
        ),
        (
            &[
                "--ws-auth",
                "signed-bearer-token",
                "--ws-shared-secret-file",
                "f",
                "--ws-max-clock-skew-seconds",
                "301",
            ],
            Refused::Skew,
        ),
    ] {
        assert_eq!(settings(flags), Err(refused), "{flags:?}");
    }
    assert_eq!(settings(&[]), Ok(Settings::None));
}

#[test]
fn a_bearer_credential_is_read_as_the_wire_has_it() {
    for header in ["Bearer t", "bearer t", "BEARER   t  ", " Bearer t"] {
        assert_eq!(bearer(Some(header.as_bytes())), Ok("t"), "{header:?}");
    }
    let long = format!("Bearer {}", "t".repeat(8 * 1024));
    for header in ["", "t", "Bearer", "Bearer ", "Basic t", "Bearert", &long] {
        assert!(bearer(Some(header.as_bytes())).is_err(), "{header:?}");
    }
    assert!(bearer(Some(b"Bearer \xff")).is_err());
    assert!(bearer(None).is_err());
}

async fn allows(authentication: &Authentication, token: &str) -> bool {
    let header = format!("Bearer {token}");
    authentication.check(Some(header.as_bytes())).await.is_ok()
}

fn secret(folder: &Path, content: &[u8]) -> PathBuf {
    let path = folder.join("secret");
    std::fs::write(&path, content).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    path
}

fn capability(path: &Path) -> Settings {
    Settings::Capability(TokenSource::File {
        path: path.to_owned(),
        overlap: Duration::from_secs(60),
    })
}

#[tokio::test]
async fn a_token_is_the_content_of_its_file_without_the_line_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = secret(folder.path(), b"sesame\r\n");
    let authentication = Authentication::load(&capability(&path)).unwrap();
    assert!(allows(&authentication, "sesame").await);
    for wrong in ["sesam", "sesame1", "Sesame", "sesame\t1"] {
        assert!(!allows(&authentication, wrong).await, "{wrong:?}");
    }
    assert!(authentication.check(None).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_rotated_token_and_the_one_before_it_are_both_valid_for_a_while() {
    let folder = tempfile::tempdir().unwrap();
    let path = secret(folder.path(), b"old");
    let authentication = Authentication::load(&capability(&path)).unwrap();
    assert!(allows(&authentication, "old").await);
    let log = folder.path().join("audit.jsonl");
    let mut kept = audit::Settings::on();
    kept.place = audit::Place::At(log.clone());
    let audit = Audit::start(&kept, None).unwrap();
    authentication.report_to(&audit);
    secret(folder.path(), b"new token");
    tokio::time::advance(Duration::from_secs(2)).await;
    assert!(allows(&authentication, "new token").await);
    assert!(allows(&authentication, "old").await);
    tokio::time::advance(Duration::from_secs(60)).await;
    assert!(allows(&authentication, "new token").await);
    assert!(!allows(&authentication, "old").await);

    tokio::time::resume();
    audit.finish().await;
    let records = std::fs::read_to_string(log).unwrap();
    let change = format!(r#""ev":"config.change","pid":{}"#, std::process::id());
    assert_eq!(records.matches(&change).count(), 1, "{records}");
    assert!(!records.contains("new token"));
}

#[tokio::test(start_paused = true)]
async fn a_token_file_that_went_bad_leaves_the_token_in_force() {
    let folder = tempfile::tempdir().unwrap();
    let path = secret(folder.path(), b"sesame");
    let authentication = Authentication::load(&capability(&path)).unwrap();
    std::fs::remove_file(&path).unwrap();
    tokio::time::advance(Duration::from_secs(2)).await;
    assert!(allows(&authentication, "sesame").await);
}

#[test]
fn a_secret_that_is_none_is_said_with_the_file_and_not_the_content() {
    let folder = tempfile::tempdir().unwrap();
    let refusal = |settings: &Settings| Authentication::load(settings).unwrap_err().to_string();
    let missing = refusal(&capability(&folder.path().join("missing")));
    assert!(
        missing.contains("failed to open") && missing.contains("missing"),
        "{missing}"
    );
    let path = secret(folder.path(), b" \n");
    assert!(refusal(&capability(&path)).contains("is empty"));
    let path = secret(folder.path(), b"short");
    let short = refusal(&signed(&path));
    assert!(short.contains("5 bytes; 32 are needed"), "{short}");
    let path = secret(folder.path(), &[b'x'; 70_000]);
    assert!(refusal(&capability(&path)).contains("longer than"));
}

const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";

fn signed(path: &Path) -> Settings {
    Settings::Signed(SignedSettings {
        secret: path.to_owned(),
        overlap: Duration::from_secs(60),
        issuer: Some("me".to_owned()),
        audience: Some("you".to_owned()),
        skew: Duration::from_secs(5),
    })
}

fn token(algorithm: jsonwebtoken::Algorithm, key: &[u8], claims: &Value) -> String {
    let header = Header::new(algorithm);
    jsonwebtoken::encode(&header, claims, &EncodingKey::from_secret(key)).unwrap()
}

#[tokio::test]
async fn a_signed_token_proves_its_issuer_and_subject() {
    use jsonwebtoken::Algorithm::{HS256, HS512};
    let folder = tempfile::tempdir().unwrap();
    let path = secret(folder.path(), KEY);
    let authentication = Authentication::load(&signed(&path)).unwrap();
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let good = json!({"iss": "me", "aud": ["other", "you"], "exp": now + 60, "sub": "box"});
    let header = format!("Bearer {}", token(HS256, KEY, &good));
    let principal = authentication.check(Some(header.as_bytes())).await.unwrap();
    assert_eq!(&**principal.name(), "jwt:me:box");
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims
    };
    assert!(
        allows(
            &authentication,
            &token(HS256, KEY, &with("exp", json!(now - 2)))
        )
        .await
    );
    for wrong in [
        with("exp", json!(now - 60)),
        with("exp", Value::Null),
        with("exp", json!(format!("{}", now + 60))),
        with("exp", json!(now as f64 + 60.5)),
        with("nbf", json!(now + 60)),
        with("iss", json!("x")),
        with("iss", Value::Null),
        with("aud", json!("x")),
        with("aud", Value::Null),
    ] {
        assert!(
            !allows(&authentication, &token(HS256, KEY, &wrong)).await,
            "{wrong}"
        );
    }
    assert!(!allows(&authentication, &token(HS512, KEY, &good)).await);
    assert!(!allows(&authentication, &token(HS256, &[b'x'; 32], &good)).await);
    // Unsigned, as the algorithm `none` has it.
    let signed = token(HS256, KEY, &good);
    let claims = signed.split('.').nth(1).unwrap();
    let unsigned = format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{claims}.");
    assert!(!allows(&authentication, &unsigned).await);
}

#[test]
fn a_new_token_has_its_prefix_and_check_and_no_two_are_alike() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("keys/token");
    let make = |out: Option<&Path>| {
        let mut flags = vec!["x".to_owned()];
        flags.extend(out.map(|out| format!("--out={}", out.display())));
        NewTokenFlags::try_parse_from(flags).unwrap().token.run()
    };
    let (one, two) = (make(None).unwrap(), make(None).unwrap());
    let (one, two) = (one.token.unwrap(), two.token.unwrap());
    assert_ne!(*one, *two);
    assert!(
        one.starts_with("fst1_") && one.len() == 77,
        "{} bytes",
        one.len()
    );
    let made = make(Some(&out)).unwrap();
    assert!(made.token.is_none() && made.sha256.len() == 64);
    let authentication = Authentication::load(&capability(&out)).unwrap();
    assert!(authentication.is_required());
    assert!(matches!(make(Some(&out)), Err(TokenError::Exists { .. })));
}

#[derive(Parser)]
struct NewTokenFlags {
    #[command(flatten)]
    token: TokenArgs,
}
