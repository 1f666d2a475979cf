//! Rows of the tables A8 and C8 of `rendezvous`, on a clock of our own, and the invariant.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

struct Scene {
    machine: Machine,
    now: Instant,
}

impl Scene {
    fn new(harnesses: &[HarnessId]) -> Scene {
        let mut machine = Machine::new(QueueLimits::default(), 120);
        for harness in harnesses {
            assert!(machine.join(*harness));
        }
        let now = Instant::now();
        Scene { machine, now }
    }

    fn said(&mut self, from: Conn, frame: &Frame) -> Reading {
        let bytes = frame.clone().encode();
        self.machine.on_frame(from, frame, bytes, self.now)
    }

    /// A stream that the executor let in.
    fn open(&mut self, harness: HarnessId, stream: &str) {
        assert_eq!(
            self.said(Conn::Harness(harness), &hello(stream)),
            Reading::Go
        );
        assert_eq!(self.frame(Conn::Executor), Some(hello(stream)));
        self.said(Conn::Executor, &hello(stream));
        assert_eq!(self.frame(Conn::Harness(harness)), Some(hello(stream)));
        self.machine.take_actions();
    }

    fn next(&mut self, to: Conn) -> Next {
        self.machine.next_for(to, self.now)
    }

    fn frame(&mut self, to: Conn) -> Option<Frame> {
        match self.machine.next_for(to, self.now) {
            Next::Frame(queued) => Some(Frame::decode(queued.bytes).unwrap()),
            Next::Nothing | Next::End(_) => None,
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.machine.on_time(self.now);
    }

    fn actions(&mut self) -> Vec<Action> {
        self.machine.take_actions().collect()
    }
}

fn hello(stream: &str) -> Frame {
    Frame {
        stream: stream.to_owned(),
        kind: Kind::Handshake(Bytes::from_static(b"hello")),
    }
}

fn data(stream: &str, seq: u32, size: usize) -> Frame {
    let payload = Bytes::from(vec![7; size]);
    Frame {
        stream: stream.to_owned(),
        kind: Kind::Data { seq, payload },
    }
}

fn is_reset_of(frame: &Frame, stream: &str) -> bool {
    matches!(frame.kind, Kind::Reset { .. }) && frame.stream == stream
}

const A: Conn = Conn::Harness(1);
const B: Conn = Conn::Harness(2);
const E: Conn = Conn::Executor;

#[test]
fn a_stream_whose_credential_ends_is_reset_at_both_ends_and_says_so() {
    let mut scene = Scene::new(&[1, 2]);
    scene.open(1, "a");
    scene.open(2, "b");
    // What waits for it is passed over: its session is taken up again.
    scene.said(Conn::Executor, &data("a", 0, 9));
    scene.pass(SECOND);
    scene.actions();
    scene.machine.expire(1, scene.now);
    let actions = scene.actions();
    assert!(
        actions.contains(&Action::Reset(By::Relay, Why::Expired)),
        "{actions:?}"
    );
    assert!(
        actions.contains(&Action::End(1, Ending::EXPIRED)),
        "{actions:?}"
    );
    let told = Frame::reset("a", CREDENTIAL_EXPIRED);
    assert_eq!(scene.frame(Conn::Harness(1)), Some(told));
    assert_eq!(scene.next(Conn::Harness(1)), Next::End(Ending::EXPIRED));
    let told = scene.frame(Conn::Executor).unwrap();
    assert!(matches!(told.kind, Kind::Reset { .. }) && told.stream == "a");
    // The neighbour goes on, and the id is free again.
    scene.said(Conn::Executor, &data("b", 0, 9));
    assert_eq!(scene.frame(Conn::Harness(2)), Some(data("b", 0, 9)));
    scene.machine.leave(1, false, scene.now);
    assert_eq!(scene.frame(Conn::Executor), None);
    assert!(scene.machine.join(3));
    scene.open(3, "a");
    assert_eq!(scene.machine.queued(), 0);
}

#[test]
fn data_for_a_stream_nobody_has_is_answered_with_one_reset() {
    let mut scene = Scene::new(&[]);
    for seq in 0..5 {
        assert_eq!(scene.said(E, &data("x", seq, 10)), Reading::Go);
    }
    assert!(is_reset_of(&scene.frame(E).unwrap(), "x"));
    assert_eq!(scene.frame(E), None);
    // And when the executor goes on, another.
    scene.said(E, &data("x", 9, 10));
    assert!(is_reset_of(&scene.frame(E).unwrap(), "x"));
    assert_eq!(scene.machine.queued(), 0);
}

#[test]
fn one_websocket_is_one_stream_and_one_handshake() {
    let mut scene = Scene::new(&[1, 2]);
    scene.open(1, "a");
    for (from, frame) in [(A, hello("a")), (B, hello("a")), (B, data("a", 0, 1))] {
        assert_eq!(scene.said(from, &frame), Reading::Stop);
        let Conn::Harness(harness) = from else {
            continue;
        };
        assert_eq!(scene.actions(), [Action::End(harness, Ending::RULES)]);
    }
    assert_eq!(scene.frame(E), None);
    assert_eq!(scene.machine.queued(), 0);
}

#[test]
fn a_reset_by_the_executor_is_the_last_of_a_stream_and_its_id_is_free_again() {
    let mut scene = Scene::new(&[1, 2]);
    scene.open(1, "a");
    scene.said(E, &data("a", 0, 100));
    scene.said(A, &data("a", 0, 100));
    let reset = Frame::reset("a", "over");
    scene.said(E, &reset);
    // What the orchestrator said meanwhile means nothing any more.
    assert_eq!(scene.frame(E), None);
    assert_eq!(scene.said(A, &data("a", 1, 100)), Reading::Go);
    assert_eq!(scene.frame(E), None);
    assert_eq!(scene.frame(A), Some(data("a", 0, 100)));
    assert_eq!(scene.frame(A), Some(reset));
    assert_eq!(
        scene.machine.next_for(A, scene.now),
        Next::End(Ending::GONE)
    );
    scene.open(2, "a");
    scene.machine.leave(1, true, scene.now);
    assert_eq!(
        scene.frame(E),
        None,
        "the one that has it now is left alone"
    );
}

#[test]
fn an_orchestrator_that_goes_is_heard_to_its_last_word_and_then_its_stream_is_reset() {
    let mut scene = Scene::new(&[1, 2]);
    scene.open(1, "a");
    scene.said(A, &data("a", 0, 100));
    scene.said(A, &data("a", 1, 100));
    scene.machine.leave(1, true, scene.now);
    // What the executor still says goes nowhere, and needs no answer of its own.
    assert_eq!(scene.said(E, &data("a", 0, 100)), Reading::Go);
    // Nobody gets the id before the executor knows.
    assert_eq!(scene.said(B, &hello("a")), Reading::Stop);
    assert_eq!(scene.frame(E), Some(data("a", 0, 100)));
    assert_eq!(scene.frame(E), Some(data("a", 1, 100)));
    assert!(is_reset_of(&scene.frame(E).unwrap(), "a"));
    assert_eq!(scene.frame(E), None);
    assert_eq!(scene.machine.queued(), 0);
}

#[test]
fn of_one_that_is_sent_away_nothing_more_is_delivered() {
    let mut scene = Scene::new(&[1, 2]);
    scene.open(1, "a");
    scene.said(A, &data("a", 0, 100));
    scene.machine.leave(1, false, scene.now);
    assert!(is_reset_of(&scene.frame(E).unwrap(), "a"));
    assert_eq!(scene.frame(E), None);
    // Of one that never spoke the executor hears nothing at all.
    scene.machine.leave(2, true, scene.now);
    assert_eq!(scene.frame(E), None);
    assert_eq!(scene.machine.queued(), 0);
}

#[test]
fn an_executor_is_not_filled_beyond_its_streams() {
    let mut scene = Scene::new(&(0..120).collect::<Vec<_>>());
    assert!(!scene.machine.join(500));
    scene.machine.leave(3, true, scene.now);
    assert!(scene.machine.join(500));
}

#[test]
fn a_full_stream_stops_its_sender_and_a_taken_frame_lets_it_go_on() {
    let mut scene = Scene::new(&[1]);
    scene.open(1, "a");
    // Towards the executor the eighth frame is the last that is read.
    for seq in 0..7 {
        assert_eq!(scene.said(A, &data("a", seq, 100)), Reading::Go);
    }
    assert_eq!(scene.said(A, &data("a", 7, 100)), Reading::Stop);
    scene.actions();
    assert!(!scene.machine.may_read(A));
    assert_eq!(scene.frame(E), Some(data("a", 0, 100)));
    assert_eq!(scene.actions(), [Action::Read(A)]);
    assert!(scene.machine.may_read(A));
    // By bytes as well: 256 KiB are four records and a bit.
    for seq in 0..5 {
        assert_eq!(scene.said(E, &data("a", seq, 61_456)), Reading::Go);
    }
    assert_eq!(scene.said(E, &data("a", 5, 61_456)), Reading::Stop);
}

#[test]
fn a_full_stream_holds_nobody_up_until_more_of_its_own_comes() {
    let mut scene = Scene::new(&[1, 2]);
    scene.open(1, "a");
    scene.open(2, "b");
    for seq in 0..8 {
        assert_eq!(scene.said(E, &data("a", seq, 100)), Reading::Go);
    }
    // It is full, and others are served as before.
    for seq in 0..100 {
        assert_eq!(scene.said(E, &data("b", seq, 100)), Reading::Go);
        assert_eq!(scene.frame(B), Some(data("b", seq, 100)));
        assert_eq!(scene.said(B, &data("b", seq, 100)), Reading::Go);
        assert_eq!(scene.frame(E), Some(data("b", seq, 100)));
    }
    // One frame more of its own, and the one websocket waits; the other direction does not.
    assert_eq!(scene.said(E, &data("a", 8, 100)), Reading::Stop);
    assert!(!scene.machine.may_read(E) && scene.machine.may_read(B));
    assert_eq!(scene.said(B, &data("b", 100, 100)), Reading::Go);
    assert_eq!(scene.frame(E), Some(data("b", 100, 100)));
    scene.actions();
    assert_eq!(scene.frame(A), Some(data("a", 0, 100)));
    assert!(!scene.machine.may_read(E), "it is as full as before");
    assert_eq!(scene.frame(A), Some(data("a", 1, 100)));
    assert_eq!(scene.actions(), [Action::Read(E)]);
}

#[test]
fn a_stream_of_which_nothing_is_taken_for_half_a_minute_is_reset_at_both_ends() {
    let mut scene = Scene::new(&[1, 2]);
    scene.open(1, "a");
    scene.open(2, "b");
    for seq in 0..9 {
        scene.said(E, &data("a", seq, 100));
    }
    scene.said(E, &data("b", 0, 100));
    scene.actions();
    scene.pass(29 * SECOND);
    assert_eq!(scene.actions(), []);
    scene.pass(SECOND);
    let actions = scene.actions();
    for expected in [
        Action::Reset(By::Relay, Why::Stalled),
        Action::Write(E),
        Action::End(1, Ending::STALLED),
        Action::Read(E),
    ] {
        assert!(actions.contains(&expected), "{actions:?}");
    }
    assert!(is_reset_of(&scene.frame(A).unwrap(), "a"));
    assert_eq!(
        scene.machine.next_for(A, scene.now),
        Next::End(Ending::STALLED)
    );
    assert!(is_reset_of(&scene.frame(E).unwrap(), "a"));
    // The other one never noticed.
    assert!(scene.machine.may_read(E));
    assert_eq!(scene.frame(B), Some(data("b", 0, 100)));
    scene.machine.leave(1, false, scene.now);
    assert_eq!(scene.frame(E), None, "it is told once");
    assert_eq!(scene.machine.queued(), 0);
}

#[test]
fn a_slow_reader_is_no_dead_one() {
    let mut scene = Scene::new(&[1]);
    scene.open(1, "a");
    for seq in 0..20 {
        scene.said(E, &data("a", seq, 100));
    }
    for seq in 0..10 {
        scene.pass(29 * SECOND);
        assert_eq!(scene.frame(A), Some(data("a", seq, 100)));
    }
    assert!(!scene.actions().contains(&Action::End(1, Ending::STALLED)));
}

#[test]
fn an_executor_that_takes_nothing_has_its_full_streams_reset() {
    let mut scene = Scene::new(&[1, 2]);
    scene.open(1, "a");
    scene.open(2, "b");
    for seq in 0..8 {
        scene.said(A, &data("a", seq, 100));
    }
    scene.said(B, &data("b", 0, 100));
    scene.pass(30 * SECOND);
    assert!(scene.actions().contains(&Action::End(1, Ending::STALLED)));
    assert!(is_reset_of(&scene.frame(E).unwrap(), "a"));
    assert_eq!(scene.frame(E), Some(data("b", 0, 100)));
    assert!(is_reset_of(&scene.frame(A).unwrap(), "a"));
}

#[test]
fn small_frames_overtake_the_bulk_of_others_on_the_way_to_the_executor() {
    let mut scene = Scene::new(&[1, 2]);
    scene.open(1, "a");
    scene.open(2, "b");
    for seq in 0..4 {
        scene.said(A, &data("a", seq, 61_456));
    }
    scene.said(A, &data("a", 4, 10));
    scene.said(B, &data("b", 0, 10));
    assert_eq!(scene.frame(E), Some(data("b", 0, 10)));
    for seq in 0..4 {
        assert_eq!(scene.frame(E), Some(data("a", seq, 61_456)));
    }
    assert_eq!(scene.frame(E), Some(data("a", 4, 10)));
}

#[test]
fn handshakes_that_might_lock_everybody_out_wait_their_turn() {
    let harnesses: Vec<HarnessId> = (0..10).collect();
    let mut scene = Scene::new(&harnesses);
    let name = |harness: HarnessId| format!("s{harness}");
    let shake =
        |scene: &mut Scene, harness| scene.said(Conn::Harness(harness), &hello(&name(harness)));
    for harness in 0..7 {
        assert_eq!(shake(&mut scene, harness), Reading::Go);
    }
    for harness in 7..10 {
        assert_eq!(shake(&mut scene, harness), Reading::Stop);
    }
    for harness in 0..7 {
        assert_eq!(scene.frame(E), Some(hello(&name(harness))));
    }
    assert_eq!(scene.frame(E), None);
    // One is let in, and the next goes; four fail, and none goes until their time is over.
    scene.said(E, &hello(&name(0)));
    assert_eq!(scene.frame(E), Some(hello(&name(7))));
    for harness in 1..5 {
        scene.said(E, &Frame::reset(name(harness), "no"));
    }
    assert_eq!(scene.frame(E), None);
    scene.pass(9 * SECOND);
    assert_eq!(scene.frame(E), None);
    scene.actions();
    scene.pass(SECOND);
    assert_eq!(scene.frame(E), Some(hello(&name(8))));
    assert_eq!(scene.frame(E), Some(hello(&name(9))));
    let read = [
        Action::Read(Conn::Harness(8)),
        Action::Read(Conn::Harness(9)),
    ];
    let actions = scene.actions();
    assert!(read.iter().all(|it| actions.contains(it)), "{actions:?}");
}

/// What may happen, in any order.
#[derive(Clone, Debug)]
enum Step {
    FromHarness(u8, u16),
    FromExecutor(u8, u16),
    ToHarness(u8),
    ToExecutor,
    Leave(u8, bool),
    Pass(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let size = prop_oneof![1u16..300, 50_000u16..61_456];
    let step = prop_oneof![
        4 => (0u8..4, size.clone()).prop_map(|(who, size)| Step::FromHarness(who, size)),
        4 => (0u8..4, size).prop_map(|(who, size)| Step::FromExecutor(who, size)),
        4 => (0u8..4).prop_map(Step::ToHarness),
        4 => Just(Step::ToExecutor),
        1 => (0u8..4, any::<bool>()).prop_map(|(who, gently)| Step::Leave(who, gently)),
        1 => (1u8..40).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 1..400)
}

/// One direction of a stream as its two ends see it.
#[derive(Debug, Default)]
struct Direction {
    sent: u32,
    received: u32,
    /// The receiving end was told that the stream is over.
    is_reset: bool,
}

#[derive(Default)]
struct Model {
    up: BTreeMap<String, Direction>,
    down: BTreeMap<String, Direction>,
}

impl Model {
    /// What arrives continues what arrived before.
    fn receive(directions: &mut BTreeMap<String, Direction>, frame: &Frame) {
        let direction = directions.entry(frame.stream.clone()).or_default();
        match &frame.kind {
            Kind::Data { seq, .. } => {
                assert!(
                    !direction.is_reset,
                    "{} goes on behind its reset",
                    frame.stream
                );
                assert_eq!(*seq, direction.received, "{}", frame.stream);
                direction.received += 1;
                assert!(direction.received <= direction.sent);
            }
            Kind::Reset { .. } => direction.is_reset = true,
            _ => {}
        }
    }
}

proptest! {
    /// Bytes delivered are a prefix of bytes sent, or both ends saw a reset.
    #[test]
    fn what_arrives_is_a_prefix_of_what_was_sent_or_both_ends_know(steps in steps()) {
        let limits = QueueLimits::default();
        let mut machine = Machine::new(limits, 120);
        let mut now = Instant::now();
        let mut model = Model::default();
        // Each place is taken by one orchestrator after the other, each with a stream of its own.
        let mut here: Vec<HarnessId> = (0..4).collect();
        let mut next_id: HarnessId = 4;
        let mut ended: Vec<String> = Vec::new();
        let name = |harness: HarnessId| format!("s{harness}");
        for harness in &here {
            machine.join(*harness);
        }
        for step in steps {
            match step {
                Step::FromHarness(who, size) => {
                    let harness = here[usize::from(who)];
                    let conn = Conn::Harness(harness);
                    if machine.may_read(conn) && !ended.contains(&name(harness)) {
                        let up = model.up.entry(name(harness)).or_default();
                        let frame = data(&name(harness), up.sent, size.into());
                        up.sent += 1;
                        machine.on_frame(conn, &frame, frame.clone().encode(), now);
                    }
                }
                Step::FromExecutor(who, size) => {
                    let stream = name(here[usize::from(who)]);
                    // It speaks on streams that it knows, until it is told that they are over.
                    let is_open = model.up.get(&stream).is_some_and(|up| up.received > 0 && !up.is_reset);
                    if machine.may_read(Conn::Executor) && is_open {
                        let down = model.down.entry(stream.clone()).or_default();
                        let frame = data(&stream, down.sent, size.into());
                        down.sent += 1;
                        machine.on_frame(Conn::Executor, &frame, frame.clone().encode(), now);
                    }
                }
                Step::ToHarness(who) => {
                    let conn = Conn::Harness(here[usize::from(who)]);
                    if let Next::Frame(queued) = machine.next_for(conn, now) {
                        Model::receive(&mut model.down, &Frame::decode(queued.bytes).unwrap());
                    }
                }
                Step::ToExecutor => {
                    if let Next::Frame(queued) = machine.next_for(Conn::Executor, now) {
                        Model::receive(&mut model.up, &Frame::decode(queued.bytes).unwrap());
                    }
                }
                Step::Leave(who, gently) => {
                    let place = &mut here[usize::from(who)];
                    machine.leave(*place, gently, now);
                    // An end that left knows that it did.
                    ended.push(name(*place));
                    *place = next_id;
                    next_id += 1;
                    prop_assert!(machine.join(*place));
                }
                Step::Pass(seconds) => {
                    now += Duration::from_secs(seconds.into());
                    machine.on_time(now);
                    let over: Vec<HarnessId> = machine
                        .take_actions()
                        .filter_map(|action| match action {
                            Action::End(harness, _) => Some(harness),
                            _ => None,
                        })
                        .collect();
                    ended.extend(over.into_iter().map(name));
                }
            }
            let most = 2 * (limits.bytes + 70_000) * (here.len() + ended.len()) + 1_000_000;
            prop_assert!(machine.queued() <= most);
        }
        // Everybody takes what is left for them.
        for harness in &here {
            while let Next::Frame(queued) = machine.next_for(Conn::Harness(*harness), now) {
                Model::receive(&mut model.down, &Frame::decode(queued.bytes).unwrap());
            }
        }
        while let Next::Frame(queued) = machine.next_for(Conn::Executor, now) {
            Model::receive(&mut model.up, &Frame::decode(queued.bytes).unwrap());
        }
        prop_assert_eq!(machine.queued(), 0);
        for (stream, up) in &model.up {
            let down = model.down.get(stream);
            let is_whole = up.received == up.sent && down.is_none_or(|down| down.received == down.sent);
            let left = ended.contains(stream);
            let was_told = left || down.is_some_and(|down| down.is_reset);
            // The executor is told unless it never heard of the stream.
            let knows = up.is_reset || up.received == 0;
            prop_assert!(
                (is_whole && !left) || (was_told && knows),
                "{} {:?} {:?} left: {}", stream, up, down, left
            );
        }
    }
}
