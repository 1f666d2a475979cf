//! Nothing that a program started survives its end, its session's, the executor's, or the
//! executor's sudden death (`security` SR-51), and nobody else is hit. Real processes, from
//! outside.

#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has failed"
)]

mod bench;

use bench::{Executor, Place, Wire, guardian, until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

/// One way to get away.
struct Escape {
    name: &'static str,
    tty: bool,
    /// `@` is the folder of the test.
    script: &'static str,
    /// How many sleep in the end.
    sleepers: usize,
}

const fn escape(name: &'static str, script: &'static str, sleepers: usize) -> Escape {
    Escape {
        name,
        tty: false,
        script,
        sleepers,
    }
}

/// In each the program itself goes on, so that it can be terminated.
const ESCAPES: [Escape; 9] = [
    escape("a child", "@/sleep 1000 & wait", 1),
    escape("a grandchild", "sh -c '@/sleep 1000 & wait' & wait", 1),
    escape("a child with a session", "setsid @/sleep 1000 & wait", 1),
    escape(
        "a daemon",
        "(setsid sh -c '(exec @/sleep 1000 </dev/null >/dev/null 2>&1 3>&- &)' &); exec @/sleep 999",
        2,
    ),
    escape(
        "a child that ignores hangups",
        "nohup setsid @/sleep 1000 >/dev/null 2>&1 & wait",
        1,
    ),
    escape(
        "a daemon without an environment",
        "(env -i setsid /bin/sh -c '(exec @/sleep 1000 &)' &); exec @/sleep 999",
        2,
    ),
    Escape {
        name: "a child that leaves its terminal",
        tty: true,
        script: "setsid @/sleep 1000 </dev/null >/dev/null 2>&1 & exec @/sleep 999",
        sleepers: 2,
    },
    escape(
        "a stopped child with a session",
        "setsid sh -c 'kill -STOP $$; exec @/sleep 1' & exec @/sleep 999",
        1,
    ),
    escape(
        "a child that outlives its parents one after the other",
        "sh -c 'sh -c \"sh -c \\\"(setsid @/sleep 1000 &)\\\" &\" &'; exec @/sleep 999",
        2,
    ),
];

/// A process that moves on all the time: each one starts the next and ends. It rests after two
/// thousand.
const COMET: &str = "#!/bin/sh
[ $1 -ge 2000 ] && exec @/sleep 1000
setsid sh @/comet $(($1 + 1)) &
exit
";

/// Starts all of them in one session, each in a place of its own.
async fn start_all(wire: &mut Wire) -> Vec<Place> {
    let mut places = Vec::new();
    for escape in &ESCAPES {
        let place = Place::new();
        let script = place.script(escape.script);
        wire.start(escape.name, escape.tty, &script).await;
        place.until_sleeping(escape.sleepers, escape.name).await;
        places.push(place);
    }
    let place = Place::new();
    std::fs::write(place.path().join("comet"), place.script(COMET)).unwrap();
    let script = place.script("sh @/comet 0 & exec @/sleep 999");
    wire.start("a comet", false, &script).await;
    place.until_sleeping(1, "a comet").await;
    places.push(place);
    places
}

async fn all_gone(places: &[Place]) {
    let names = ESCAPES.iter().map(|escape| escape.name);
    for (place, name) in places.iter().zip(names.chain(["a comet"])) {
        place.until_gone(name).await;
    }
}

/// Somebody of the same user who has nothing to do with any of it.
struct Bystander {
    place: Place,
    child: std::process::Child,
}

impl Bystander {
    fn new() -> Bystander {
        let place = Place::new();
        let child = std::process::Command::new(place.path().join("sleep"))
            .arg("1000")
            .spawn()
            .unwrap();
        Bystander { place, child }
    }

    fn end_unharmed(mut self) {
        assert_eq!(self.child.try_wait().unwrap(), None);
        assert_eq!(self.place.processes().len(), 1);
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// The program of another session, and a daemon of it.
async fn neighbour(executor: &Executor) -> (Wire, Place) {
    let mut wire = Wire::open(&executor.url).await;
    let place = Place::new();
    let script = place.script("(setsid @/sleep 1000 &); exec @/sleep 1000");
    wire.start("neighbour", false, &script).await;
    place.until_sleeping(2, "the neighbour").await;
    (wire, place)
}

#[tokio::test]
async fn terminate_leaves_nothing_and_touches_nobody_else() {
    let (executor, bystander) = (Executor::start(), Bystander::new());
    let mut wire = Wire::open(&executor.url).await;
    let (mut other, neighbour) = neighbour(&executor).await;
    let places = start_all(&mut wire).await;
    let sibling = Place::new();
    let script = sibling.script("setsid @/sleep 1000 & wait");
    wire.start("sibling", false, &script).await;
    sibling.until_sleeping(1, "the sibling").await;
    for name in ESCAPES.iter().map(|escape| escape.name).chain(["a comet"]) {
        assert!(wire.terminate(name).await, "{name}");
    }
    all_gone(&places).await;
    assert_eq!((neighbour.sleeping(), sibling.sleeping()), (2, 1));
    assert!(other.terminate("neighbour").await);
    neighbour.until_gone("the neighbour").await;
    bystander.end_unharmed();
}

#[tokio::test]
async fn the_end_of_a_session_leaves_nothing_and_touches_nobody_else() {
    let (executor, bystander) = (Executor::start(), Bystander::new());
    let mut wire = Wire::open(&executor.url).await;
    let (_other, neighbour) = neighbour(&executor).await;
    let places = start_all(&mut wire).await;
    // One that ended long before its session, and left a daemon.
    let daemon = Place::new();
    let script = daemon.script("(setsid @/sleep 1000 >/dev/null 2>&1 &)");
    wire.start("left", false, &script).await;
    wire.output("left").await;
    daemon.until_sleeping(1, "the daemon").await;
    assert!(!wire.terminate("left").await);
    assert_eq!(daemon.sleeping(), 1);
    drop(wire);
    // Instead of waiting for its time: too many detached sessions, and the oldest one goes.
    let mut opened = 0;
    while !places.iter().all(|place| place.processes().is_empty()) && opened < 3000 {
        drop(Wire::open(&executor.url).await);
        opened += 1;
    }
    all_gone(&places).await;
    daemon
        .until_gone("the daemon of a process that ended before")
        .await;
    assert_eq!(neighbour.sleeping(), 2);
    bystander.end_unharmed();
}

#[tokio::test]
async fn the_stop_of_the_executor_leaves_nothing_and_touches_nobody_else() {
    let (executor, bystander) = (Executor::start(), Bystander::new());
    let mut wire = Wire::open(&executor.url).await;
    let places = start_all(&mut wire).await;
    let guardian = guardian(executor.pid()).unwrap();
    executor.end(Signal::TERM);
    all_gone(&places).await;
    until("the guardian goes", || !exists(guardian)).await;
    bystander.end_unharmed();
}

#[tokio::test]
async fn the_sudden_death_of_the_executor_leaves_nothing_and_touches_nobody_else() {
    let (executor, bystander) = (Executor::start(), Bystander::new());
    let survivor = Executor::start();
    let (_other, neighbour) = neighbour(&survivor).await;
    let mut wire = Wire::open(&executor.url).await;
    let places = start_all(&mut wire).await;
    let guardian = guardian(executor.pid()).unwrap();
    executor.end(Signal::KILL);
    all_gone(&places).await;
    until("the guardian goes", || !exists(guardian)).await;
    assert_eq!(neighbour.sleeping(), 2);
    bystander.end_unharmed();
}

#[tokio::test]
async fn a_guardian_that_is_killed_or_stopped_is_there_again() {
    let executor = Executor::start();
    let mut wire = Wire::open(&executor.url).await;
    assert_eq!(guardian(executor.pid()), None);
    let place = Place::new();
    let script = place.script("setsid @/sleep 1000 & wait");
    wire.start("p", false, &script).await;
    place.until_sleeping(1, "a child").await;
    let first = guardian(executor.pid()).unwrap();
    kill_process(first, Signal::KILL).unwrap();
    until("another guardian", || {
        guardian(executor.pid()).is_some_and(|second| second != first)
    })
    .await;
    let second = guardian(executor.pid()).unwrap();
    // One that has just been started does not ignore anything yet.
    until("it is at its post", || state(second) == Some('S')).await;
    kill_process(second, Signal::STOP).unwrap();
    kill_process(second, Signal::TERM).unwrap();
    until("the guardian goes on", || state(second) == Some('S')).await;
    executor.end(Signal::KILL);
    place.until_gone("the child").await;
    until("the guardian goes", || !exists(second)).await;
}

/// What no guardian can help: nobody is left who would sweep. The kernel ends the programs
/// themselves, and who left its session stays for whoever manages the executor to end.
#[tokio::test]
async fn an_executor_killed_together_with_its_guardian_takes_its_programs_along() {
    let executor = Executor::start();
    let mut wire = Wire::open(&executor.url).await;
    let place = Place::new();
    let script = place.script("setsid @/sleep 1000 & exec @/sleep 999");
    wire.start("p", false, &script).await;
    wire.start("t", true, &place.script("exec @/sleep 998"))
        .await;
    place.until_sleeping(3, "a child and two programs").await;
    let guardian = guardian(executor.pid()).unwrap();
    // Stopped, it posts no other guardian.
    executor.signal(Signal::STOP);
    kill_process(guardian, Signal::KILL).unwrap();
    executor.end(Signal::KILL);
    until("the programs end", || place.processes().len() <= 1).await;
    let left: Vec<_> = place
        .processes()
        .into_iter()
        .map(|(_, line)| line)
        .collect();
    let [left] = &*left else {
        panic!("{left:?}");
    };
    assert!(left.ends_with("\u{0}1000\u{0}"), "{left}");
}

#[tokio::test]
async fn who_takes_its_mark_off_is_known_by_its_ancestors() {
    let executor = Executor::start();
    let mut wire = Wire::open(&executor.url).await;
    let (_other, neighbour) = neighbour(&executor).await;
    let place = Place::new();
    let script = "prlimit --locks=5:5 setsid @/sleep 1000 & \
                  (prlimit --locks=6:6 setsid @/sleep 1000 &); \
                  prlimit --pid $$ --locks=7:7; exec @/sleep 999";
    wire.start("p", false, &place.script(script)).await;
    place.until_sleeping(3, "spoilt marks").await;
    assert!(wire.terminate("p").await);
    place.until_gone("who took its mark off").await;
    assert_eq!(neighbour.sleeping(), 2);
}

#[tokio::test]
async fn an_executor_below_an_executor_ends_with_it_and_with_all_that_is_its_own() {
    let executor = Executor::start();
    let mut wire = Wire::open(&executor.url).await;
    let place = Place::new();
    let state = place.path().join("state").display().to_string();
    let script = format!(
        "XDG_STATE_HOME={state} exec {} --listen ws://127.0.0.1:0",
        bench::PROGRAM
    );
    wire.start("inner", false, &script).await;
    let url = loop {
        let told = wire.receive().await;
        if let Some(chunk) = told["params"]["chunk"].as_str() {
            let line = base64_simd::STANDARD.decode_to_vec(chunk).unwrap();
            let line = String::from_utf8(line).unwrap();
            if line.starts_with("ws://") {
                break line.trim().to_owned();
            }
        }
    };
    let mut inner = Wire::open(&url).await;
    let script = place.script("(setsid @/sleep 1000 &); setsid @/sleep 1000 & wait");
    inner.start("p", false, &script).await;
    place.until_sleeping(2, "what an inner executor runs").await;
    assert!(wire.terminate("inner").await);
    place.until_gone("an inner executor").await;
}

#[tokio::test]
async fn orphans_are_collected_and_exit_codes_are_not_lost_to_it() {
    let executor = Executor::start();
    let mut wire = Wire::open(&executor.url).await;
    let script = "for n in 1 2 3 4 5 6 7 8 9; do (setsid true &); done; exit 7";
    for round in 0..20 {
        wire.start(&round.to_string(), false, script).await;
        wire.output(&round.to_string()).await;
        let page = json!({"processId": round.to_string()});
        let page = wire.call("process/read", page).await.unwrap();
        assert_eq!(page["exitCode"], 7);
    }
    let zombies = || {
        let children = std::fs::read_dir("/proc").unwrap().flatten();
        let stats =
            children.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
        let executor = executor.pid().as_raw_nonzero().to_string();
        stats
            .filter(|stat| {
                let behind_name = stat.rsplit(')').next().unwrap();
                let mut fields = behind_name.split_whitespace();
                (fields.next(), fields.next()) == (Some("Z"), Some(&executor))
            })
            .count()
    };
    until("no zombie", || zombies() == 0).await;
}

fn exists(pid: Pid) -> bool {
    state(pid).is_some_and(|state| state != 'Z')
}

fn state(pid: Pid) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    stat.rsplit(')').next()?.trim_start().chars().next()
}
