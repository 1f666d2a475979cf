//! What every [`Store`] and every [`Bus`] must do, whatever it is made of. The embedded ones run
//! through it here; another one needs a line of its own at the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use farstep_protocol::relay::registry::ExecutorInfo;
use farstep_rendezvous::bus::{BEHIND_MAX, Bus, Heard, Local, Notice, Subscription};
use farstep_rendezvous::store::{
    Arrival, Authorization, Closed, Credential, CredentialKind, Denial, Enrolment, EnvironmentKey,
    NodeLease, Policy, RegisterOutcome, Registration, RotateOutcome, Route, Shown, Sqlite, Store,
};
use farstep_rendezvous::{ExecutorLink, Limits, Linked, Quotas};
use futures_util::future::BoxFuture;
use tokio::time::timeout;

use crate::scene::public;

fn environment() -> EnvironmentKey {
    EnvironmentKey::new("a", "box")
}

fn registration(key: u8) -> Registration {
    Registration {
        environment: environment(),
        key: public(key),
        kid: "kid".to_owned(),
        environments_max: 1,
        info: ExecutorInfo::default(),
        attestation: None,
    }
}

async fn registered(store: &dyn Store, key: u8) -> Route {
    match store.register(&registration(key), 1).await.unwrap() {
        RegisterOutcome::Registered(route) => route,
        other => panic!("{other:?}"),
    }
}

fn arrival(generation: u64, node: &str, connection: u64) -> Arrival {
    Arrival {
        environment: environment(),
        generation,
        node: node.to_owned(),
        connection,
    }
}

fn lease(node: &str, until: i64) -> NodeLease {
    NodeLease {
        id: node.to_owned(),
        address: "ws://h".to_owned(),
        version: "1".to_owned(),
        executors: 0,
        until,
    }
}

fn closed(at: i64) -> Closed {
    Closed {
        at,
        code: 1000,
        by: "executor".to_owned(),
        reason: "closed".to_owned(),
    }
}

/// Generations grow with each takeover, and whoever was taken over stays out.
async fn generations(store: &dyn Store) {
    let first = registered(store, 1).await;
    assert_eq!(first.generation, 1);
    let before = store.changes().await.unwrap();
    // The same executor again: everything it and orchestrators hold stays good.
    assert_eq!(registered(store, 1).await, first);
    assert_eq!(store.changes().await.unwrap(), before);
    let second = registered(store, 2).await;
    assert_eq!(second.generation, 2);
    assert_ne!(second.registration, first.registration);
    assert!(store.changes().await.unwrap() > before);
    let former = store.register(&registration(1), 1).await.unwrap();
    assert_eq!(former, RegisterOutcome::Superseded);
    assert_eq!(store.route(&environment()).await.unwrap(), Some(second));
    let mut other = registration(3);
    other.environment = EnvironmentKey::new("a", "bax");
    let full = store.register(&other, 1).await.unwrap();
    assert_eq!(full, RegisterOutcome::Full);
    // Another tenant's quota and generations are its own.
    other.environment = EnvironmentKey::new("b", "box");
    let theirs = store.register(&other, 1).await.unwrap();
    assert!(matches!(theirs, RegisterOutcome::Registered(route) if route.generation == 1));
    assert!(store.forget(&environment()).await.unwrap());
    assert!(!store.forget(&environment()).await.unwrap());
    assert_eq!(registered(store, 1).await.generation, 1);
    store.forget(&environment()).await.unwrap();
}

/// A place is taken by comparing generations, and counts while its node's lease lives.
async fn leases(store: &dyn Store) {
    registered(store, 1).await;
    store.hold_lease(&lease("n1", 15)).await.unwrap();
    store.hold_lease(&lease("n2", 30)).await.unwrap();
    let node = async |now| {
        let state = store.environment(&environment(), now).await.unwrap();
        state.unwrap().node
    };
    assert_eq!(node(10).await, None);
    assert!(store.came(&arrival(1, "n1", 1), 10).await.unwrap());
    assert_eq!(node(10).await.as_deref(), Some("n1"));
    assert_eq!(node(15).await, None, "its lease is over");
    store.hold_lease(&lease("n1", 30)).await.unwrap();
    assert_eq!(node(15).await.as_deref(), Some("n1"));
    // The same executor at another node: allowed at once, and the farewell of the former is late.
    assert!(store.came(&arrival(1, "n2", 1), 16).await.unwrap());
    assert!(!store.went(&arrival(1, "n1", 1), &closed(17)).await.unwrap());
    assert_eq!(node(17).await.as_deref(), Some("n2"));
    // An earlier connection of the same node is late as well.
    assert!(store.came(&arrival(1, "n2", 5), 18).await.unwrap());
    assert!(!store.came(&arrival(1, "n2", 4), 18).await.unwrap());
    assert!(!store.went(&arrival(1, "n2", 4), &closed(18)).await.unwrap());
    // Told twice is told once.
    assert!(store.came(&arrival(1, "n2", 5), 18).await.unwrap());
    // A generation that is over, or that nobody had, gets no place.
    registered(store, 2).await;
    assert!(!store.came(&arrival(1, "n1", 9), 19).await.unwrap());
    assert!(!store.came(&arrival(3, "n1", 9), 19).await.unwrap());
    assert!(store.went(&arrival(1, "n2", 5), &closed(20)).await.unwrap());
    assert!(!store.went(&arrival(1, "n2", 5), &closed(21)).await.unwrap());
    let state = store
        .environment(&environment(), 22)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((state.since(), state.node), (Some(20), None));
    assert!(!store.came(&arrival(1, "n", 1), 0).await.unwrap());
    let missing = EnvironmentKey::new("a", "nobody");
    assert_eq!(store.environment(&missing, 0).await.unwrap(), None);
    // A node that ends takes what it had along; the others stay.
    store.came(&arrival(2, "n1", 10), 23).await.unwrap();
    store.drop_lease("n1").await.unwrap();
    assert_eq!(node(23).await, None);
    let left = store.leases(23).await.unwrap();
    assert_eq!(left, [lease("n2", 30)]);
    assert!(store.leases(30).await.unwrap().is_empty());
    store.forget(&environment()).await.unwrap();
}

/// What is worth something once is worth nothing twice, however many ask at once.
async fn once(store: Arc<dyn Store>) {
    let authorization = Authorization {
        environment: environment(),
        registration: "reg".to_owned(),
        fingerprint: "fst1:x".to_owned(),
        kid: "kid".to_owned(),
        expires_at: 100,
    };
    let shown = Shown {
        tenant: "a".to_owned(),
        kid: "jwt:i:ann".to_owned(),
        token_id: Some("jti:i:7".to_owned()),
        ends_at: Some(70),
    };
    for round in 0..5 {
        let given = store.give_out([round; 32], &authorization, [round; 32], &shown);
        given.await.unwrap();
        let asking = (0..8).map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let taken = store.take_authorization([round; 32], 99).await.unwrap();
                let ticket = store.take_ticket([round; 32], 99).await.unwrap();
                (taken.is_some(), ticket.is_some())
            })
        });
        let mut counts = (0, 0);
        for asked in asking.collect::<Vec<_>>() {
            let (taken, ticket) = asked.await.unwrap();
            counts = (counts.0 + u32::from(taken), counts.1 + u32::from(ticket));
        }
        assert_eq!(counts, (1, 1));
    }
    store
        .give_out([9; 32], &authorization, [9; 32], &shown)
        .await
        .unwrap();
    assert_eq!(store.take_authorization([9; 32], 100).await.unwrap(), None);
    assert_eq!(store.take_ticket([9; 32], 100).await.unwrap(), None);
    assert_eq!(store.take_ticket([9; 32], 99).await.unwrap(), Some(shown));
    assert_eq!(store.take_ticket([9; 32], 99).await.unwrap(), None);
}

/// Credentials and policies, and that nodes are told to look.
async fn rights(store: &dyn Store) {
    let credential = Credential {
        kid: "one".to_owned(),
        tenant: "a".to_owned(),
        kind: CredentialKind::Admin,
        scope: "*".to_owned(),
        digest: [1; 32],
        created_at: 1,
        expires_at: None,
        revoked_at: None,
        subject: "one".to_owned(),
        used_at: None,
        token_id: None,
        renews: false,
        former: None,
    };
    store.add_credential(&credential).await.unwrap();
    assert!(
        store.add_credential(&credential).await.is_err(),
        "a name twice"
    );
    assert_eq!(store.credential("one").await.unwrap(), Some(credential));
    assert_eq!(store.credentials(Some("b")).await.unwrap(), []);
    let before = store.changes().await.unwrap();
    assert!(store.expire("one", 50).await.unwrap());
    assert!(store.expire("one", 90).await.unwrap());
    let kept = store.credential("one").await.unwrap().unwrap();
    assert_eq!(kept.expires_at, Some(50), "an end is not put off");
    let successor = |kid: &str| Credential {
        kid: kid.to_owned(),
        created_at: 10,
        ..kept.clone()
    };
    // Nobody showed the second, so the third takes its place; then nothing gives way.
    for kid in ["two", "three"] {
        let rotated = store.rotate("one", 45, &successor(kid), 10).await.unwrap();
        assert_eq!(rotated, RotateOutcome::Rotated);
    }
    store.used("three", 11).await.unwrap();
    store.used("three", 12).await.unwrap();
    let four = store.rotate("one", 45, &successor("four"), 12).await;
    assert_eq!(four.unwrap(), RotateOutcome::Two);
    assert_eq!(store.credential("four").await.unwrap(), None);
    let two = store.credential("two").await.unwrap().unwrap();
    let three = store.credential("three").await.unwrap().unwrap();
    assert_eq!((two.revoked_at, three.used_at), (Some(10), Some(11)));
    assert!(store.revoke("one", 40).await.unwrap());
    assert!(!store.revoke("one", 41).await.unwrap());
    assert!(!store.revoke("nobody", 41).await.unwrap());
    let denial = |name: &str, until| Denial {
        tenant: "a".to_owned(),
        name: name.to_owned(),
        revoked_at: 40,
        until,
    };
    let denied = async |tenant, now| store.denied(tenant, "jwt:i:ann", now).await.unwrap();
    assert!(store.deny(&denial("jwt:i:ann", None)).await.unwrap());
    assert!(denied("a", i64::MAX).await && !denied("b", 41).await);
    // What is said last counts, and what is over is forgotten.
    assert!(store.deny(&denial("jwt:i:ann", Some(60))).await.unwrap());
    assert!(denied("a", 59).await && !denied("a", 60).await);
    assert_eq!(
        store.denials(None, 41).await.unwrap(),
        [denial("jwt:i:ann", Some(60))]
    );
    assert!(store.deny(&denial("jwt:i:ann", Some(40))).await.unwrap());
    assert!(!denied("a", 40).await);
    let policy = Policy {
        harness_keys: vec!["fst1:x".to_owned()],
        streams_max: Some(3),
        ..Policy::default()
    };
    let nobody = EnvironmentKey::new("a", "not-yet");
    assert_eq!(store.policy(&nobody).await.unwrap(), Policy::default());
    store.set_policy(&nobody, &policy).await.unwrap();
    assert_eq!(store.policy(&nobody).await.unwrap(), policy);
    assert!(store.changes().await.unwrap() > before);
}

/// Only what names exactly the environment, and counts, says that somebody is on his way.
async fn expectations(store: &dyn Store) {
    let key = EnvironmentKey::new("expecting", "box");
    let credential = |kid: &str, kind, scope: &str| Credential {
        kid: kid.to_owned(),
        tenant: "expecting".to_owned(),
        kind,
        scope: scope.to_owned(),
        digest: [2; 32],
        created_at: 1,
        expires_at: Some(50),
        revoked_at: None,
        subject: kid.to_owned(),
        used_at: None,
        token_id: None,
        renews: false,
        former: None,
    };
    for wide in [
        credential("wide", CredentialKind::Executor, "bo*"),
        credential("harness", CredentialKind::Harness, "box"),
    ] {
        store.add_credential(&wide).await.unwrap();
    }
    assert!(!store.is_expected(&key, 10).await.unwrap());
    let exact = credential("exact", CredentialKind::Executor, "box");
    store.add_credential(&exact).await.unwrap();
    assert!(store.is_expected(&key, 49).await.unwrap());
    assert!(!store.is_expected(&key, 50).await.unwrap(), "it is over");
    let elsewhere = EnvironmentKey::new("another", "box");
    assert!(!store.is_expected(&elsewhere, 10).await.unwrap());
    store.revoke("exact", 10).await.unwrap();
    assert!(!store.is_expected(&key, 11).await.unwrap());
    let enrolment = Enrolment {
        tenant: "expecting".to_owned(),
        scope: "box".to_owned(),
        lifetime: None,
    };
    store.add_enrolment([3; 32], &enrolment, 60).await.unwrap();
    assert!(store.is_expected(&key, 59).await.unwrap());
    assert!(!store.is_expected(&key, 60).await.unwrap(), "it is over");
}

async fn store_contract(store: Arc<dyn Store>) {
    generations(store.as_ref()).await;
    leases(store.as_ref()).await;
    expectations(store.as_ref()).await;
    once(Arc::clone(&store)).await;
    rights(store.as_ref()).await;
}

fn online(generation: u64) -> Notice {
    Notice::Online(arrival(generation, "n", generation))
}

/// Order, no waiting for anybody, and a slow one that knows what it missed.
async fn notices(bus: &dyn Bus) {
    bus.publish(online(0));
    let mut quick = bus.subscribe();
    let mut slow = bus.subscribe();
    let many = BEHIND_MAX as u64 + 10;
    for generation in 1..=many {
        bus.publish(online(generation));
        assert_eq!(heard(&mut quick).await, Heard::Notice(online(generation)));
    }
    assert_eq!(heard(&mut slow).await, Heard::Missed(10));
    for generation in 11..=many {
        assert_eq!(heard(&mut slow).await, Heard::Notice(online(generation)));
    }
    drop(quick);
    bus.publish(Notice::Changed);
    assert_eq!(heard(&mut slow).await, Heard::Notice(Notice::Changed));
}

async fn heard(subscription: &mut Subscription) -> Heard {
    let heard = timeout(Duration::from_secs(10), subscription.next()).await;
    heard.expect("it was published")
}

/// A newer link displaces an older one, and a late or doubled farewell takes nothing back.
async fn links(bus: &dyn Bus) {
    let limits = Arc::new(Limits::new(Quotas::default()));
    let link = |generation| {
        let linked = Linked {
            environment: environment(),
            generation,
            ends_at: None,
            wants_notice: false,
        };
        ExecutorLink::new(linked, Arc::default(), Arc::clone(&limits))
    };
    let (old, new) = (link(1), link(2));
    assert!(bus.find(&environment()).is_none());
    bus.announce(Arc::clone(&old));
    assert_eq!(bus.wait(&environment()).await.number(), old.number());
    bus.announce(Arc::clone(&new));
    assert!(!bus.withdraw(&old));
    assert!(!bus.withdraw(&old));
    assert_eq!(bus.find(&environment()).unwrap().number(), new.number());
    assert_eq!(bus.links().len(), 1);
    assert!(bus.withdraw(&new));
    assert!(!bus.withdraw(&new));
    assert!(bus.links().is_empty());
}

/// A bus whose notices are lost, or come twice.
#[derive(Debug)]
pub(crate) struct Lossy {
    bus: Local,
    copies: usize,
    published: AtomicU32,
}

impl Lossy {
    pub(crate) fn losing() -> Lossy {
        Lossy::with(0)
    }

    fn with(copies: usize) -> Lossy {
        Lossy {
            bus: Local::default(),
            copies,
            published: AtomicU32::new(0),
        }
    }
}

impl Bus for Lossy {
    fn announce(&self, link: Arc<ExecutorLink>) {
        self.bus.announce(link);
    }

    fn withdraw(&self, link: &ExecutorLink) -> bool {
        self.bus.withdraw(link)
    }

    fn find(&self, environment: &EnvironmentKey) -> Option<Arc<ExecutorLink>> {
        self.bus.find(environment)
    }

    fn wait<'a>(&'a self, environment: &'a EnvironmentKey) -> BoxFuture<'a, Arc<ExecutorLink>> {
        self.bus.wait(environment)
    }

    fn links(&self) -> Vec<Arc<ExecutorLink>> {
        self.bus.links()
    }

    fn count(&self) -> usize {
        self.bus.count()
    }

    fn publish(&self, notice: Notice) {
        self.published.fetch_add(1, Ordering::Relaxed);
        for _ in 0..self.copies {
            self.bus.publish(notice.clone());
        }
    }

    fn subscribe(&self) -> Subscription {
        self.bus.subscribe()
    }
}

#[tokio::test]
async fn the_store_in_a_file_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let store = Sqlite::open(&folder.path().join("db")).await.unwrap();
    store_contract(Arc::new(store)).await;
}

#[tokio::test]
async fn the_bus_of_one_process_keeps_the_contract() {
    let bus = Local::default();
    notices(&bus).await;
    links(&bus).await;
}

/// A notice is a hint: with all of them twice, what stands in the store is the same.
#[tokio::test]
async fn notices_that_come_twice_change_nothing() {
    use crate::scene::{Scene, dial, url};
    let bus = Arc::new(Lossy::with(2));
    let scene = Scene::on(Arc::clone(&bus) as Arc<dyn Bus>).await;
    let token = scene.token("a", CredentialKind::Executor, "*").await;
    let registered = scene.register("box", &token, 1).await;
    let mut first = dial(url(&registered)).await;
    let mut told = bus.subscribe();
    let mut newer = dial(url(&scene.register("box", &token, 2).await)).await;
    // Whichever comes first: the node looks, or the newer one connects.
    let code = crate::scene::closed(&mut first).await;
    assert!([4401, 4409].contains(&code), "{code}");
    assert!(bus.published.load(Ordering::Relaxed) > 0);
    let is_newer = |arrival: &Arrival| arrival.generation == 2;
    while !matches!(heard(&mut told).await, Heard::Notice(Notice::Online(arrival)) if is_newer(&arrival))
    {
    }
    futures_util::SinkExt::close(&mut newer).await.unwrap();
    while crate::scene::next(&mut newer).await.is_some() {}
    loop {
        let state = scene.store.environment(&environment(), i64::MAX / 2).await;
        let state = state.unwrap().unwrap();
        if let Some(closed) = state.closed {
            assert_eq!((closed.code, state.generation), (1000, 2));
            break;
        }
        tokio::task::yield_now().await;
    }
}
