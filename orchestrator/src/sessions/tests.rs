use farstep_environments::ProcessEvent;
use serde_json::json;
use tokio::sync::mpsc;

use super::*;
use crate::events::{Detail, Event, Signal, Status};
use crate::machine::fake::{FakeMachine, exited, output};

struct Bench {
    machine: Arc<FakeMachine>,
    sessions: Sessions,
    events: Events,
    signals: mpsc::Receiver<Signal>,
}

impl Bench {
    fn new() -> Bench {
        let machine = FakeMachine::named("alpha");
        machine.hold();
        let (events, signals) = Events::channel();
        let sessions = Sessions::new(events.clone());
        Bench {
            machine,
            sessions,
            events,
            signals,
        }
    }

    fn open(&self, tty: bool) -> Arc<Session> {
        let params = json!({"processId": "", "argv": ["sh", "-c", "x"], "cwd": "file:///srv",
                            "env": {}, "tty": tty});
        self.sessions.open(Opening {
            environment: "alpha".into(),
            machine: Arc::clone(&self.machine) as _,
            params: serde_json::from_value(params).unwrap(),
            item: Item {
                id: self.events.item_id(),
                step: 1,
                environment_id: Some("alpha".into()),
                detail: Detail::CommandExecution {
                    command: "sh -c x".into(),
                    aggregated_output: String::new(),
                    exit_code: None,
                    status: Status::InProgress,
                },
            },
        })
    }

    async fn feed(&self, index: usize, events: impl IntoIterator<Item = ProcessEvent>) {
        self.machine.started_at_least(index + 1).await;
        for event in events {
            self.machine.feed(index).send(event).await.unwrap();
        }
    }

    /// How the item of a finished command ended.
    async fn completed(&mut self) -> (String, Option<i64>, Status) {
        loop {
            if let Signal::Event(Event::ItemCompleted { item }) = self.signals.recv().await.unwrap()
                && let Detail::CommandExecution {
                    aggregated_output,
                    exit_code,
                    status,
                    ..
                } = item.detail
            {
                return (aggregated_output, exit_code, status);
            }
        }
    }
}

const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(250);

#[tokio::test(start_paused = true)]
async fn a_look_ends_with_the_process_and_not_with_its_time() {
    let bench = Bench::new();
    let session = bench.open(false);
    bench
        .feed(
            0,
            [
                output("hi\n"),
                exited(3),
                output("late\n"),
                ProcessEvent::Closed,
            ],
        )
        .await;
    let look = session.look(LONG).await;
    assert_eq!(look.output.to_text(), "hi\nlate\n");
    assert_eq!(look.end, Some(End::Exited { code: 3 }));
    assert!(look.waited < SHORT, "{:?}", look.waited);
}

#[tokio::test(start_paused = true)]
async fn an_exit_alone_is_not_the_end() {
    let bench = Bench::new();
    let session = bench.open(false);
    bench.feed(0, [output("hi\n"), exited(0)]).await;
    let look = session.look(SHORT).await;
    assert_eq!((look.output.to_text().as_str(), look.end), ("hi\n", None));
}

#[tokio::test(start_paused = true)]
async fn a_look_brings_only_what_is_new_and_the_item_has_it_all() {
    let mut bench = Bench::new();
    let session = bench.open(false);
    bench.feed(0, [output("one\n")]).await;
    assert_eq!(session.look(SHORT).await.output.to_text(), "one\n");
    bench
        .feed(0, [output("two\n"), exited(1), ProcessEvent::Closed])
        .await;
    assert_eq!(session.look(LONG).await.output.to_text(), "two\n");
    assert_eq!(
        bench.completed().await,
        ("one\ntwo\n".to_owned(), Some(1), Status::Failed)
    );
}

#[tokio::test(start_paused = true)]
async fn a_lost_process_says_why_and_has_no_exit_code() {
    let mut bench = Bench::new();
    let session = bench.open(false);
    bench
        .feed(
            0,
            [
                output("x\n"),
                ProcessEvent::Lost {
                    reason: "link cut".into(),
                },
            ],
        )
        .await;
    let look = session.look(LONG).await;
    assert_eq!(
        look.end,
        Some(End::Lost {
            reason: "link cut".into()
        })
    );
    let text = "x\n\n[the process was lost: link cut]\n";
    assert_eq!(look.output.to_text(), text);
    assert_eq!(
        bench.completed().await,
        (text.to_owned(), None, Status::Failed)
    );
}

#[tokio::test(start_paused = true)]
async fn output_nobody_could_take_leaves_a_note() {
    let bench = Bench::new();
    let session = bench.open(false);
    bench
        .feed(
            0,
            [
                ProcessEvent::Truncated { bytes: 9 },
                exited(0),
                ProcessEvent::Closed,
            ],
        )
        .await;
    let text = session.look(LONG).await.output.to_text();
    assert_eq!(text, "\n[9 bytes of output were lost here]\n");
}

#[tokio::test(start_paused = true)]
async fn a_process_that_cannot_start_is_over_at_once() {
    let mut bench = Bench::new();
    bench.machine.disconnect();
    let session = bench.open(false);
    let look = session.look(LONG).await;
    let Some(End::NotStarted { reason }) = look.end else {
        panic!("{look:?}")
    };
    assert!(reason.contains("the test cut the link"), "{reason}");
    assert_eq!(bench.completed().await, (reason, None, Status::Failed));
}

#[tokio::test(start_paused = true)]
async fn typing_needs_a_process_that_was_started_for_it() {
    let bench = Bench::new();
    let (deaf, terminal) = (bench.open(false), bench.open(true));
    bench.machine.started_at_least(2).await;
    assert_eq!(deaf.write(b"x".to_vec()).await, Err(WriteError::NoInput));
    terminal.look(SHORT).await;
    assert_eq!(terminal.write(b"x".to_vec()).await, Ok(()));
    assert_eq!(bench.machine.written(), "x");
}

#[tokio::test(start_paused = true)]
async fn typing_into_a_finished_process_fails() {
    let bench = Bench::new();
    let session = bench.open(true);
    bench.feed(0, [exited(0), ProcessEvent::Closed]).await;
    session.look(LONG).await;
    let error = session.write(b"x".to_vec()).await.unwrap_err();
    assert_eq!(error, WriteError::Failed("the process has ended".into()));
}

#[tokio::test(start_paused = true)]
async fn the_wire_id_is_the_number_and_something_that_never_comes_again() {
    let bench = Bench::new();
    let session = bench.open(false);
    bench.machine.started_at_least(1).await;
    let id = bench.machine.started()[0].process_id.clone();
    let (number, rest) = id.split_once('-').unwrap();
    assert_eq!(number.parse(), Ok(session.number()));
    assert_eq!(number.len(), 5);
    rest.parse::<uuid::Uuid>().unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_sixty_fifth_process_takes_the_place_of_a_finished_or_long_unused_one() {
    let bench = Bench::new();
    let sessions: Vec<Arc<Session>> = (0..64).map(|_| bench.open(false)).collect();
    let numbers: Vec<u32> = sessions.iter().map(|session| session.number()).collect();
    bench.machine.started_at_least(64).await;
    // Only one of them has ended, and it is not the oldest.
    let position = bench
        .machine
        .started()
        .iter()
        .position(|params| params.process_id.starts_with(&numbers[20].to_string()))
        .unwrap();
    bench
        .feed(position, [exited(0), ProcessEvent::Closed])
        .await;
    sessions[20].look(LONG).await;
    drop(sessions);
    bench.open(false);
    assert!(
        bench.sessions.get(numbers[20]).is_none(),
        "the finished one went first"
    );
    assert!(
        bench.sessions.get(numbers[0]).is_some(),
        "and was just used"
    );
    bench.open(false);
    assert!(
        bench.sessions.get(numbers[1]).is_none(),
        "then the longest unused one"
    );
    assert!(bench.sessions.get(numbers[0]).is_some());
}

#[tokio::test(start_paused = true)]
async fn ending_a_conversation_ends_its_processes_wherever_they_are() {
    let mut bench = Bench::new();
    let (running, done) = (bench.open(false), bench.open(false));
    bench.machine.started_at_least(2).await;
    let position = |session: &Session| {
        let number = session.number().to_string();
        let started = bench.machine.started();
        started
            .iter()
            .position(|params| params.process_id.starts_with(&number))
            .unwrap()
    };
    let of_done = position(&done);
    bench.feed(of_done, [exited(0), ProcessEvent::Closed]).await;
    done.look(LONG).await;
    running.look(SHORT).await;
    bench.sessions.terminate_all().await;
    assert_eq!(bench.machine.terminated(), 1);
    assert!(bench.sessions.get(running.number()).is_none());
    let ends = [bench.completed().await.2, bench.completed().await.2];
    assert_eq!(ends, [Status::Completed, Status::Failed]);
}

#[tokio::test(start_paused = true)]
async fn a_terminal_that_does_not_read_costs_the_model_nothing() {
    let bench = Bench::new();
    let session = bench.open(false);
    // Far more pieces than the queue of events holds, and nobody takes one.
    for _ in 0..1_000 {
        bench.feed(0, [output("line\n")]).await;
    }
    let look = session.look(SHORT).await;
    assert_eq!(look.output.lines(), 1_000);
}
