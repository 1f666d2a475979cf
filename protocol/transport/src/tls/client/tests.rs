use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::tls::Facts;

/// When certificates expire here: on 1 January 2100.
const NOT_AFTER: u64 = 4_102_444_800;

/// Somebody who signs certificates.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate that was issued, and its key.
struct Issued {
    pem: String,
    der: CertificateDer<'static>,
    key: KeyPair,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn issue(&self, params: CertificateParams) -> Issued {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Issued {
            pem: certificate.pem(),
            der: certificate.der().clone(),
            key,
        }
    }

    fn server(&self) -> Issued {
        self.issue(named("devbox.internal"))
    }

    fn pem(&self) -> String {
        self.0.pem()
    }
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2100, 1, 1);
    params
}

/// As `openssl req -x509` makes them: a certificate that signed itself and may sign others.
fn self_signed() -> Issued {
    let mut params = named("devbox.internal");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    Issued {
        pem: certificate.pem(),
        der: certificate.der().clone(),
        key,
    }
}

/// Connects with `settings` to a server that shows `issued`, and has a byte cross both ways.
async fn connected(
    settings: &Settings<'_>,
    host: &str,
    issued: &Issued,
    wants: Option<&Authority>,
) -> Result<(Facts, u8), TlsError> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match wants {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.0.der().clone()).unwrap();
            let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
            builder.with_client_cert_verifier(clients.build().unwrap())
        }
    };
    let key = PrivatePkcs8KeyDer::from(issued.key.serialize_der()).into();
    let config = builder
        .with_single_cert(vec![issued.der.clone()], key)
        .unwrap();
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let served = async {
        let mut stream: tokio_rustls::server::TlsStream<DuplexStream> =
            TlsAcceptor::from(Arc::new(config)).accept(theirs).await?;
        let byte = stream.read_u8().await?;
        stream.write_u8(byte).await?;
        stream.flush().await
    };
    let called = async {
        let client = Client::new(settings)?;
        let mut stream = client.connect(host, ours).await?;
        let facts = Facts::of(&stream);
        stream.write_u8(7).await.map_err(TlsError::sorted)?;
        let byte = stream.read_u8().await.map_err(TlsError::sorted)?;
        Ok((facts, byte))
    };
    tokio::join!(called, served).0
}

fn distrust(outcome: Result<(Facts, u8), TlsError>) -> (Distrust, Option<Pin>) {
    match outcome {
        Err(TlsError::Distrusted { distrust, pin }) => (distrust, pin),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn only_the_named_authority_is_believed_and_the_name_must_fit() {
    let authority = Authority::new();
    let server = authority.server();
    let pem = authority.pem();
    let settings = Settings {
        authorities: Some(pem.as_bytes()),
        ..Settings::default()
    };
    let host = "devbox.internal";
    let (facts, byte) = connected(&settings, host, &server, None).await.unwrap();
    assert_eq!((facts.version, byte), ("TLS 1.3", 7));
    assert_eq!(facts.pin, Pin::of(&server.der));
    assert_eq!(facts.names, [host]);
    assert_eq!(facts.not_after, Some(NOT_AFTER));

    let (why, _) = distrust(connected(&settings, "10.0.0.1", &server, None).await);
    assert!(matches!(why, Distrust::WrongName { .. }), "{why:?}");
    let called = Settings {
        server_name: Some(host),
        ..settings.clone()
    };
    assert!(connected(&called, "10.0.0.1", &server, None).await.is_ok());

    let stranger = Authority::new().server();
    let (why, pin) = distrust(connected(&settings, host, &stranger, None).await);
    assert_eq!(
        (why, pin),
        (Distrust::UnknownIssuer, Pin::of(&stranger.der))
    );
}

#[tokio::test]
async fn a_pinned_key_is_enough_and_another_key_never_is() {
    let server = self_signed();
    let pinned = |pins| Settings {
        pins,
        ..Settings::default()
    };
    let pin = Pin::of(&server.der).unwrap();
    let known = pinned(vec![Pin::of(&self_signed().der).unwrap(), pin]);
    assert!(connected(&known, "10.0.0.1", &server, None).await.is_ok());
    let other = pinned(vec![Pin::of(&self_signed().der).unwrap()]);
    let told = distrust(connected(&other, "10.0.0.1", &server, None).await);
    assert_eq!(told, (Distrust::OtherKey, Some(pin)));
}

#[tokio::test]
async fn a_pin_beside_an_authority_does_not_replace_it() {
    let (authority, other) = (Authority::new(), Authority::new());
    let server = authority.server();
    let settings = |pem: &'static str| Settings {
        authorities: Some(pem.as_bytes()),
        pins: vec![Pin::of(&server.der).unwrap()],
        ..Settings::default()
    };
    let (right, wrong) = (authority.pem().leak(), other.pem().leak());
    let host = "devbox.internal";
    assert!(
        connected(&settings(right), host, &server, None)
            .await
            .is_ok()
    );
    let (why, _) = distrust(connected(&settings(wrong), host, &server, None).await);
    assert_eq!(why, Distrust::UnknownIssuer);
}

#[tokio::test]
async fn a_certificate_that_signed_itself_is_told_as_that_and_believed_when_it_is_named() {
    let server = self_signed();
    let own = server.pem.clone();
    let named = Settings {
        authorities: Some(own.as_bytes()),
        ..Settings::default()
    };
    assert!(
        connected(&named, "devbox.internal", &server, None)
            .await
            .is_ok()
    );
    let (why, _) = distrust(connected(&named, "other.internal", &server, None).await);
    assert!(matches!(why, Distrust::WrongName { .. }), "{why:?}");
    let another = self_signed().pem;
    let stranger = Settings {
        authorities: Some(another.as_bytes()),
        ..Settings::default()
    };
    let (why, _) = distrust(connected(&stranger, "devbox.internal", &server, None).await);
    assert_eq!(why, Distrust::SelfSigned);
}

#[tokio::test]
async fn a_certificate_that_expired_is_told_with_its_age() {
    let authority = Authority::new();
    let mut params = named("devbox.internal");
    params.not_before = rcgen::date_time_ymd(2019, 1, 1);
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let server = authority.issue(params);
    let pem = authority.pem();
    let settings = Settings {
        authorities: Some(pem.as_bytes()),
        ..Settings::default()
    };
    let (why, _) = distrust(connected(&settings, "devbox.internal", &server, None).await);
    assert!(
        matches!(why, Distrust::Expired { days } if days > 1000),
        "{why:?}"
    );
}

#[tokio::test]
async fn a_server_that_wants_to_know_us_gets_the_certificate_or_its_refusal_is_told() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let server = authority.server();
    let pem = authority.pem();
    let unknown = Settings {
        authorities: Some(pem.as_bytes()),
        ..Settings::default()
    };
    let host = "devbox.internal";
    let refused = connected(&unknown, host, &server, Some(&clients)).await;
    assert!(matches!(refused, Err(TlsError::Refused(_))), "{refused:?}");
    let me = clients.issue(named("me"));
    let key = me.key.serialize_pem();
    let known = Settings {
        identity: Some(Identity {
            certificates: me.pem.as_bytes(),
            key: key.as_bytes(),
        }),
        ..unknown
    };
    let welcome = connected(&known, host, &server, Some(&clients)).await;
    assert!(welcome.is_ok(), "{welcome:?}");
}

#[tokio::test]
async fn settings_that_cannot_be_used_are_named_and_no_key_is_told() {
    let (one, other) = (self_signed(), self_signed());
    let key = other.key.serialize_pem();
    let identity = |key| Settings {
        identity: Some(Identity {
            certificates: one.pem.as_bytes(),
            key,
        }),
        ..Settings::default()
    };
    let authorities = Settings {
        authorities: Some(b"hunter2"),
        ..Settings::default()
    };
    for (settings, said) in [
        (authorities, "the authorities cannot be used"),
        (identity(b"hunter2"), "no private key in PEM form"),
        (identity(key.as_bytes()), "cannot be used together"),
    ] {
        let told = Client::new(&settings).unwrap_err().to_string();
        assert!(told.contains(said) && !told.contains("hunter2"), "{told}");
    }
}

#[tokio::test]
async fn an_answer_that_is_no_tls_is_told_as_that() {
    let (ours, mut theirs) = tokio::io::duplex(1 << 16);
    theirs
        .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        .await
        .unwrap();
    let client = Client::new(&Settings {
        pins: vec![Pin::of(&self_signed().der).unwrap()],
        ..Settings::default()
    });
    let outcome = client.unwrap().connect("devbox.internal", ours).await;
    assert!(matches!(outcome, Err(TlsError::NotTls)), "{outcome:?}");
}
