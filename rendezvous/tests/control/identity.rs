//! Orchestrators with a token of their tenant's identity provider, and what somebody tries who has
//! none.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, KeyPair as _,
};
use base64_simd::URL_SAFE_NO_PAD;
use farstep_rendezvous::auth::{Providers, ProvidersError};
use farstep_rendezvous::now;
use farstep_rendezvous::store::CredentialKind::Executor;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use crate::scene::{Scene, Socket, dial, public, url};

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
    _link: Socket,
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
            _link: link,
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
