//! Orchestrators with a token of their tenant's identity provider, and what somebody tries who has
//! none.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, KeyPair as _,
};
use base64_simd::URL_SAFE_NO_PAD;
use farstep_rendezvous::auth::{Providers, ProvidersError};
use farstep_rendezvous::now;
use farstep_rendezvous::store::CredentialKind::{Admin, Executor, Harness};
use farstep_rendezvous::store::{Denial, Store as _};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use crate::scene::{Scene, Socket, closed, dial, kid, next, public, send, url};

struct Key {
    signing: EncodingKey,
    jwk: Value,
    public: Vec<u8>,
}

fn key(kid: &str, curve: &str, algorithm: &'static EcdsaSigningAlgorithm) -> Key {
    let pair = EcdsaKeyPair::generate(algorithm).unwrap();
    let pkcs8 = pair.to_pkcs8v1().unwrap();
    let public = pair.public_key().as_ref().to_vec();
    // A byte that says that it is a point, and its two coordinates.
    let (x, y) = public[1..].split_at(public.len() / 2);
    let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode_to_string(bytes);
    Key {
        signing: EncodingKey::from_ec_der(pkcs8.as_ref()),
        jwk: json!({"kty": "EC", "crv": curve, "kid": kid, "use": "sig", "x": text(x), "y": text(y)}),
        public,
    }
}

/// A provider that signs with `one`, and publishes a key of another curve and a shared secret too.
struct Provider {
    scene: Scene,
    one: Key,
    other: Key,
    jwks: String,
    executor: String,
    link: Socket,
}

const SHARED: &[u8] = b"a secret that should not be in a public set at all";

impl Provider {
    async fn start() -> Provider {
        let scene = Scene::start().await;
        let one = key("one", "P-256", &ECDSA_P256_SHA256_FIXED_SIGNING);
        let other = key("other", "P-384", &ECDSA_P384_SHA384_FIXED_SIGNING);
        let shared = json!({
            "kty": "oct", "kid": "shared", "k": URL_SAFE_NO_PAD.encode_to_string(SHARED),
        });
        let jwks = json!({"keys": [one.jwk, other.jwk, shared, {"kty": "new"}]}).to_string();
        let folder = scene.database.parent().unwrap();
        let set = folder.join("jwks.json");
        std::fs::write(&set, &jwks).unwrap();
        let file = folder.join("providers.toml");
        let text = format!(
            "[[provider]]\ntenant = \"a\"\nissuer = \"https://idp\"\naudience = \"farstep\"\n\
             algorithms = [\"ES256\"]\njwks = {:?}\n",
            set.to_str().unwrap()
        );
        std::fs::write(&file, text).unwrap();
        scene.node.trust(Providers::read(&file).unwrap());
        let executor = scene.token("a", Executor, "*").await;
        let body = json!({
            "security_profile": "noise_hybrid_ik_v1", "executor_public_key": public(1),
            "executor_info": {"labels": {"rack": "7"}},
        });
        let path = "/cloud/environment/box/register";
        let link = dial(url(&scene.post(path, &executor, &body).await)).await;
        Provider {
            scene,
            one,
            other,
            jwks,
            executor,
            link,
        }
    }

    /// A good token, changed.
    fn token(&self, change: impl FnOnce(&mut Value)) -> String {
        self.signed(Algorithm::ES256, Some("one"), &self.one.signing, change)
    }

    fn signed(
        &self,
        algorithm: Algorithm,
        kid: Option<&str>,
        key: &EncodingKey,
        change: impl FnOnce(&mut Value),
    ) -> String {
        let mut claims = json!({
            "iss": "https://idp", "aud": "farstep", "sub": "ann", "exp": now() + 600,
            "environments": ["box"],
        });
        change(&mut claims);
        let header = Header {
            kid: kid.map(str::to_owned),
            ..Header::new(algorithm)
        };
        encode(&header, &claims, key).unwrap()
    }

    async fn status(&self, token: &str) -> u16 {
        self.scene.connect("box", token, 3).await.status
    }
}

#[tokio::test]
async fn a_token_connects_to_what_it_names_and_does_nothing_else() {
    let provider = Provider::start().await;
    let good = provider.token(|_| {});
    let mut stream = provider.scene.harness("box", &good, "s").await;
    for (change, status) in [
        (json!({"environments": ["b*"]}), 200),
        (json!({"environments": [], "labels": {"rack": "7"}}), 200),
        (json!({"aud": ["else", "farstep"]}), 200),
        (json!({"environments": ["bax"]}), 403),
        (json!({"environments": [], "labels": {"rack": "8"}}), 403),
        (json!({"environments": []}), 403),
    ] {
        let token = provider.token(|claims| {
            let change = change.as_object().unwrap().clone();
            claims.as_object_mut().unwrap().extend(change);
        });
        assert_eq!(provider.status(&token).await, status, "{change}");
    }
    let scene = &provider.scene;
    assert_eq!(scene.register("box", &good, 1).await.status, 401);
    assert_eq!(scene.get("/v1/environments", &good).await.status, 401);
    let path = "/t/b/cloud/environment/box/connect";
    assert_eq!(scene.post(path, &good, &json!({})).await.status, 401);
    // Whom the store does not know is not revoked when the node looks.
    scene.store.revoke("nobody", 1).await.unwrap();
    scene
        .store
        .forget(&farstep_rendezvous::store::EnvironmentKey::new("a", "x"))
        .await
        .unwrap();
    let again = scene.register("box", &provider.executor, 1).await;
    assert_eq!(again.status, 200);
    futures_util::SinkExt::close(&mut stream).await.unwrap();
}

#[tokio::test]
async fn a_token_that_is_wrong_in_any_way_is_refused() {
    let provider = Provider::start().await;
    let put = |name: &'static str, value: Value| provider.token(move |claims| claims[name] = value);
    let without = |name: &'static str| {
        provider.token(move |claims| {
            claims.as_object_mut().unwrap().remove(name);
        })
    };
    let shared = |secret: &[u8], kid| {
        let key = EncodingKey::from_secret(secret);
        provider.signed(Algorithm::HS256, Some(kid), &key, |_| {})
    };
    let good = provider.token(|_| {});
    let [_, payload, signature] = good.split('.').collect::<Vec<_>>()[..] else {
        panic!("{good}");
    };
    let header = |json: Value| URL_SAFE_NO_PAD.encode_to_string(json.to_string());
    let none = header(json!({"alg": "none", "kid": "one"}));
    let rsa = header(json!({"alg": "RS256", "kid": "one"}));
    let own = header(json!({"alg": "ES256", "kid": "one", "jwk": provider.other.jwk}));
    let mut other = json!({"environments": ["*"]});
    other["iss"] = json!("https://idp");
    let swapped = URL_SAFE_NO_PAD.encode_to_string(other.to_string());
    let stranger = key("one", "P-256", &ECDSA_P256_SHA256_FIXED_SIGNING);
    let attacks = [
        ("no algorithm", format!("{none}.{payload}.")),
        (
            "no algorithm, signed",
            format!("{none}.{payload}.{signature}"),
        ),
        (
            "the public key as a secret",
            shared(&provider.one.public, "one"),
        ),
        (
            "the set as a secret",
            shared(provider.jwks.as_bytes(), "one"),
        ),
        ("a secret in the set", shared(SHARED, "shared")),
        ("another family", format!("{rsa}.{payload}.{signature}")),
        ("a key of its own", format!("{own}.{payload}.{signature}")),
        (
            "a good key in an algorithm that is not on the list",
            provider.signed(
                Algorithm::ES384,
                Some("other"),
                &provider.other.signing,
                |_| {},
            ),
        ),
        (
            "a key under another's name",
            provider.signed(Algorithm::ES256, Some("one"), &stranger.signing, |_| {}),
        ),
        (
            "an unknown name",
            provider.signed(Algorithm::ES256, Some("two"), &provider.one.signing, |_| {}),
        ),
        (
            "no name where there are several",
            provider.signed(Algorithm::ES256, None, &provider.one.signing, |_| {}),
        ),
        ("expired", put("exp", json!(now() - 60))),
        ("never expires", without("exp")),
        ("not yet", put("nbf", json!(now() + 600))),
        ("for others", put("aud", json!("else"))),
        ("for a list of others", put("aud", json!(["else", "more"]))),
        ("for nobody", without("aud")),
        ("by others", put("iss", json!("https://evil"))),
        ("about nobody", without("sub")),
        ("about too much", put("sub", json!("s".repeat(200)))),
        ("huge", put("more", json!("m".repeat(7000)))),
        ("another payload", good.replace(payload, &swapped)),
        (
            "no signature",
            format!("{}.", good.rsplit_once('.').unwrap().0),
        ),
    ];
    // Fewer than are slowed down.
    assert!(attacks.len() < 30);
    for (attack, token) in attacks {
        assert_eq!(provider.status(&token).await, 401, "{attack}");
    }
    assert_eq!(provider.status(&good).await, 200);
}

#[tokio::test]
async fn providers_that_share_a_secret_are_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("providers.toml");
    let read = |algorithms: &str, jwks: &str| {
        let text = format!(
            "[[provider]]\ntenant = \"a\"\nissuer = \"i\"\naudience = \"f\"\n\
             algorithms = {algorithms}\njwks = {jwks:?}\n"
        );
        std::fs::write(&path, text).unwrap();
        Providers::read(&path)
    };
    assert!(read("[\"EdDSA\"]", "/keys.json").is_ok());
    assert!(read("[\"EdDSA\"]", "https://idp/keys").is_ok());
    for algorithms in ["[]", "[\"HS256\"]", "[\"ES256\", \"HS512\"]"] {
        let refused = read(algorithms, "/keys.json");
        assert!(matches!(refused, Err(ProvidersError::Algorithms { .. })));
    }
    assert!(matches!(
        read("[\"none\"]", "/keys.json"),
        Err(ProvidersError::Content { .. })
    ));
    assert!(matches!(
        read("[\"ES256\"]", "http://idp/keys"),
        Err(ProvidersError::Jwks { .. })
    ));
}

/// Waits for what the promise of C10 gives two seconds.
async fn within_the_promise<T>(happens: impl Future<Output = T>) -> T {
    let happened = tokio::time::timeout(std::time::Duration::from_secs(2), happens).await;
    happened.expect("within two seconds")
}

#[tokio::test]
async fn a_subject_that_is_taken_back_is_out_and_so_is_a_single_token() {
    let provider = Provider::start().await;
    let scene = &provider.scene;
    let named = |name: &'static str| provider.token(move |claims| claims["jti"] = json!(name));
    let (one, two) = (named("1"), named("2"));
    let other = provider.token(|claims| claims["sub"] = json!("bob"));
    let mut of_one = scene.harness("box", &one, "s1").await;
    let mut of_two = scene.harness("box", &two, "s2").await;
    let mut of_other = scene.harness("box", &other, "s3").await;
    let given_out = scene.connect("box", &one, 3).await;

    // One token, by another process on the same folder.
    let elsewhere = scene.elsewhere().await;
    let denial = Denial {
        tenant: "a".to_owned(),
        name: "jti:https://idp:1".to_owned(),
        revoked_at: now(),
        until: None,
    };
    elsewhere.deny(&denial).await.unwrap();
    assert_eq!(within_the_promise(closed(&mut of_one)).await, 4401);
    assert_eq!(provider.status(&one).await, 401);
    assert_eq!(provider.status(&two).await, 200);
    // What it was given before is worth nothing either.
    assert_eq!(
        crate::scene::refused(url(&given_out)).await,
        (401, "invalid_secret".to_owned())
    );

    // The whole subject, over HTTP. A tenant's own denials are its own.
    let path = "/v1/environments/box/credentials/jwt:https:%2F%2Fidp:ann";
    let (ours, theirs) = (
        scene.token("a", Admin, "*").await,
        scene.token("b", Admin, "*").await,
    );
    let delete = async |token: &str| scene.request("DELETE", path, token, &Value::Null).await;
    assert_eq!(delete(&theirs).await.status, 200);
    assert_eq!(provider.status(&two).await, 200);
    let narrow = scene.token("a", Admin, "box").await;
    assert_eq!(delete(&narrow).await.status, 403);
    let deleted = delete(&ours).await;
    assert_eq!(
        deleted.body["kid"], "jwt:https://idp:ann",
        "{}",
        deleted.text
    );
    assert_eq!(within_the_promise(closed(&mut of_two)).await, 4401);
    assert_eq!(provider.status(&two).await, 401);
    let fresh = provider.token(|claims| claims["exp"] = json!(now() + 3600));
    assert_eq!(provider.status(&fresh).await, 401);
    // Nobody else is.
    assert_eq!(provider.status(&other).await, 200);
    send(&mut of_other, crate::scene::data("s3", 0)).await;

    // It is lifted by saying that it is over.
    let lifted = Denial {
        name: "jwt:https://idp:ann".to_owned(),
        until: Some(now()),
        ..denial
    };
    elsewhere.deny(&lifted).await.unwrap();
    assert_eq!(provider.status(&two).await, 200);
}

/// Skips what comes before the reset of a stream, and returns its reason.
async fn reset(socket: &mut Socket) -> String {
    loop {
        let frame = next(socket).await.expect("a reset");
        if let farstep_protocol::relay::Kind::Reset { reason } = frame.kind {
            return reason;
        }
    }
}

#[tokio::test]
async fn what_a_token_opened_ends_with_it_and_says_why() {
    let mut provider = Provider::start().await;
    let short = provider.token(|claims| claims["exp"] = json!(now() + 2));
    let long = provider.token(|_| {});
    let mut of_short = provider.scene.harness("box", &short, "short").await;
    let mut of_long = provider.scene.harness("box", &long, "long").await;
    assert_eq!(reset(&mut of_short).await, "credential_expired");
    assert_eq!(closed(&mut of_short).await, 4403);
    assert_eq!(
        provider.status(&short).await,
        401,
        "there is no leeway behind the end"
    );
    // The executor is told at once; and another token of the same subject goes on.
    while next(&mut provider.link).await.unwrap().stream != "short" {}
    send(&mut of_long, crate::scene::data("long", 0)).await;
    while next(&mut provider.link).await.unwrap() != crate::scene::data("long", 0) {}

    // A token of ours likewise, when its end was put forward while the stream was open.
    let ours = provider.scene.token("a", Harness, "*").await;
    let mut of_ours = provider.scene.harness("box", &ours, "ours").await;
    provider
        .scene
        .store
        .expire(kid(&ours), now() + 1)
        .await
        .unwrap();
    assert_eq!(reset(&mut of_ours).await, "credential_expired");
    assert_eq!(closed(&mut of_ours).await, 4403);
}

#[tokio::test]
async fn an_executors_websocket_ends_with_its_credential_unless_it_showed_another() {
    let scene = Scene::start().await;
    let (first, second) = (
        scene.token("a", Executor, "*").await,
        scene.token("a", Executor, "*").await,
    );
    let mut stays = scene.executor("stays", &first, 1).await;
    let mut goes = scene.executor("goes", &first, 2).await;
    // The same executor again: its websocket stays what it is.
    assert_eq!(scene.register("stays", &second, 1).await.status, 200);
    scene.store.expire(kid(&first), now() + 1).await.unwrap();
    assert_eq!(closed(&mut goes).await, 4403);
    let harness = scene.token("a", Harness, "*").await;
    let _stream = scene.harness("stays", &harness, "s").await;
    assert_eq!(next(&mut stays).await.unwrap().stream, "s");
}
