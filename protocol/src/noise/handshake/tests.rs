use sha2::Digest as _;

use super::*;
use crate::noise::channel::tests::now;

const BINDING: Binding<'static> = Binding {
    environment: "env-one",
    registration: "registration-1",
    stream: "09f1cd6a-0570-47b5-b312-bb4aa134314a",
};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

struct Pair {
    harness: Identity,
    executor: Identity,
}

impl Pair {
    fn new() -> Pair {
        Pair {
            harness: Identity::generate().unwrap(),
            executor: Identity::generate().unwrap(),
        }
    }

    fn start(&self, binding: &Binding<'_>) -> (Initiator, Bytes) {
        let peer = self.executor.public();
        Initiator::start(&self.harness, peer, binding, "welcome").unwrap()
    }

    fn read(&self, binding: Binding<'_>, message: &[u8]) -> Result<Knock, HandshakeError> {
        let identity = &self.executor;
        Responder { identity, binding }.read(message)
    }
}

#[test]
fn the_transcript_begins_as_the_peers_does() {
    let name = Handshake::build_name(&noise_hybrid_ik());
    assert_eq!(name.as_str(), "Noise_hybridIK_25519+MLKEM768_AESGCM_SHA256");
    let h = sha2::Sha256::digest(name.as_bytes());
    assert_eq!(
        hex(&h),
        "646856ce6fda9f9f037c69557c3c9f5ada7d1bc70b0c4beea72befcaf862edfa"
    );
    let prologue = BINDING.prologue();
    assert_eq!(prologue.len(), 121);
    let h = sha2::Sha256::new().chain_update(h).chain_update(prologue);
    assert_eq!(
        hex(&h.finalize()),
        "fe27191038e1c9a216f359480b982411105b6239bcb0c016229d458f8c0431b0"
    );
}

#[test]
fn both_ends_learn_who_the_other_is_and_carry_messages() {
    let pair = Pair::new();
    let (initiator, first) = pair.start(&BINDING);
    assert_eq!(first.len(), FIRST_BYTES + "welcome".len());
    let knock = pair.read(BINDING, &first).unwrap();
    assert_eq!(knock.peer(), pair.harness.public());
    assert_eq!(knock.authorization(), "welcome");
    let (second, mut executor) = knock.admit().unwrap();
    assert_eq!(second.len(), SECOND_BYTES);
    let mut harness = initiator.finish(&second).unwrap();
    for (from, to) in [(true, "there"), (false, "and back")] {
        let (from, into) = match from {
            true => (&mut harness, &mut executor),
            false => (&mut executor, &mut harness),
        };
        from.send(to.as_bytes()).unwrap();
        let (seq, record) = from.poll_record(now()).unwrap().unwrap();
        into.handle_record(seq, record).unwrap();
        assert_eq!(into.poll_message().unwrap().unwrap(), to.as_bytes());
    }
}

#[test]
fn a_refusal_reaches_the_orchestrator_alone() {
    let pair = Pair::new();
    let (initiator, first) = pair.start(&BINDING);
    let second = pair.read(BINDING, &first).unwrap().refuse().unwrap();
    assert_eq!(second.len(), SECOND_BYTES + REJECTED.len());
    assert!(!second.windows(REJECTED.len()).any(|part| part == REJECTED));
    assert_eq!(
        initiator.finish(&second).unwrap_err(),
        HandshakeError::Rejected
    );
}

#[test]
fn a_message_made_for_something_else_is_worth_nothing() {
    let pair = Pair::new();
    let (_, first) = pair.start(&BINDING);
    for binding in [
        Binding {
            environment: "env-two",
            ..BINDING
        },
        Binding {
            registration: "registration-2",
            ..BINDING
        },
        Binding {
            stream: "other",
            ..BINDING
        },
        // The parts cannot be shifted into each other.
        Binding {
            environment: "env-oner",
            registration: "egistration-1",
            ..BINDING
        },
    ] {
        assert_eq!(
            pair.read(binding, &first).unwrap_err(),
            HandshakeError::Authentic
        );
    }
    let other = Pair::new();
    assert_eq!(
        other.read(BINDING, &first).unwrap_err(),
        HandshakeError::Authentic
    );
}

#[test]
fn a_message_that_was_changed_or_cut_is_refused() {
    let pair = Pair::new();
    let (initiator, first) = pair.start(&BINDING);
    for at in [0, 1087, 1088, 1120, 2304, 2400, first.len() - 1] {
        let mut changed = first.to_vec();
        changed[at] ^= 1;
        assert!(pair.read(BINDING, &changed).is_err(), "byte {at}");
    }
    for size in [0, 1, FIRST_BYTES - 1] {
        assert_eq!(
            pair.read(BINDING, &first[..size]).unwrap_err(),
            HandshakeError::Size(size)
        );
    }
    let long = vec![0; HANDSHAKE_BYTES_MAX + 1];
    assert_eq!(
        pair.read(BINDING, &long).unwrap_err(),
        HandshakeError::Size(long.len())
    );
    assert_eq!(
        initiator.finish(&long).unwrap_err(),
        HandshakeError::Size(long.len())
    );
}

#[test]
fn an_authorization_has_its_limit() {
    let pair = Pair::new();
    let peer = pair.executor.public();
    let start = |length: usize| {
        Initiator::start(&pair.harness, peer, &BINDING, &"a".repeat(length))
            .map(|started| started.1)
    };
    let first = start(AUTHORIZATION_BYTES_MAX).unwrap();
    let knock = pair.read(BINDING, &first).unwrap();
    assert_eq!(knock.authorization().len(), AUTHORIZATION_BYTES_MAX);
    assert_eq!(
        start(AUTHORIZATION_BYTES_MAX + 1).unwrap_err(),
        HandshakeError::Authorization
    );
}

/// A message 1 that another implementation made (`integration/peer/sealed.py`).
#[test]
fn a_message_of_another_implementation_is_read() {
    let vectors: serde_json::Value = serde_json::from_str(include_str!("vectors.json")).unwrap();
    let text = |name: &str| vectors[name].as_str().unwrap();
    let bytes = |name: &str| {
        let digits = text(name).as_bytes().chunks(2);
        let digits = digits.map(|pair| std::str::from_utf8(pair).unwrap());
        digits
            .map(|pair| u8::from_str_radix(pair, 16).unwrap())
            .collect::<Vec<u8>>()
    };
    let kept = [
        b"farstep-identity-1\n".as_slice(),
        &bytes("executorX25519"),
        &bytes("executorMlkem768"),
    ];
    let responder = Responder {
        identity: &Identity::from_bytes(&kept.concat()).unwrap(),
        binding: Binding {
            environment: text("environment"),
            registration: text("registration"),
            stream: text("stream"),
        },
    };
    let knock = responder.read(&bytes("message1")).unwrap();
    assert_eq!(knock.authorization(), text("authorization"));
    let peer = knock.peer();
    assert_eq!(peer.x25519().as_slice(), bytes("harnessX25519Public"));
    assert_eq!(peer.mlkem768().as_slice(), bytes("harnessMlkem768Public"));
}
