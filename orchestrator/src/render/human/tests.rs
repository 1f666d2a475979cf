use std::sync::{Arc, Mutex};

use super::*;
use crate::events::{ErrorMessage, FileChange};

/// A writer a test can look into.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Paper {
    /// What was written, without colours.
    fn text(&self) -> String {
        let bytes = self.0.lock().unwrap().clone();
        anstream::adapter::strip_str(&String::from_utf8(bytes).unwrap()).to_string()
    }
}

fn shown(several: bool, signals: Vec<Signal>) -> (String, String) {
    let (answers, notes) = (Paper::default(), Paper::default());
    let mut human = Human::new(answers.clone(), notes.clone(), several);
    for signal in signals {
        human.show(signal).unwrap();
    }
    (answers.text(), notes.text())
}

fn item(number: u64, environment: &str, detail: Detail) -> Item {
    let environment_id = Some(environment.to_owned());
    Item {
        id: ItemId::numbered(number),
        step: 1,
        environment_id,
        detail,
    }
}

fn command(exit_code: Option<i64>, status: Status) -> Detail {
    Detail::CommandExecution {
        command: "/bin/sh -lc 'make test'".into(),
        aggregated_output: "ignored\n[the process was lost: link cut]\n".into(),
        exit_code,
        status,
    }
}

fn says(text: &str) -> Signal {
    let item = Item {
        id: ItemId::numbered(9),
        step: 1,
        environment_id: None,
        detail: Detail::AgentMessage { text: text.into() },
    };
    Signal::Event(Event::ItemCompleted { item })
}

fn output(number: u64, environment: &str, text: &str) -> Signal {
    Signal::Live(Live::Output {
        item: ItemId::numbered(number),
        environment_id: environment.into(),
        bytes: text.to_owned().into(),
    })
}

#[test]
fn a_run_reads_as_a_transcript_that_names_each_environment() {
    let change = FileChange {
        path: "src/a.rs".into(),
        kind: ChangeKind::Update,
    };
    let (answers, notes) = shown(
        true,
        vec![
            Signal::Event(Event::EnvironmentConnected {
                environment_id: "builder".into(),
                os: Some("linux".into()),
                cwd: Some("/srv".into()),
            }),
            Signal::Event(Event::EnvironmentDisconnected {
                environment_id: "server".into(),
                reason: "refused".into(),
            }),
            Signal::Event(Event::ItemStarted {
                item: item(0, "builder", command(None, Status::InProgress)),
            }),
            output(0, "builder", "one\ntw"),
            output(0, "builder", "o\nthree"),
            Signal::Event(Event::ItemCompleted {
                item: item(0, "builder", command(Some(2), Status::Failed)),
            }),
            Signal::Event(Event::ItemCompleted {
                item: item(
                    1,
                    "builder",
                    Detail::FileChange {
                        changes: vec![change],
                        status: Status::Completed,
                    },
                ),
            }),
            Signal::Event(Event::ItemStarted {
                item: item(2, "server", command(None, Status::InProgress)),
            }),
            Signal::Event(Event::ItemCompleted {
                item: item(2, "server", command(None, Status::Failed)),
            }),
            says("All done."),
            Signal::Event(Event::TurnFailed {
                error: ErrorMessage {
                    message: "no more".into(),
                },
            }),
        ],
    );
    assert_eq!(answers, "All done.\n");
    insta::assert_snapshot!(notes);
}

#[test]
fn a_streamed_answer_is_not_repeated() {
    let delta = |text: &str| Signal::Live(Live::Text { delta: text.into() });
    let (answers, _) = shown(false, vec![delta("Hel"), delta("lo"), says("Hello")]);
    assert_eq!(answers, "Hello\n");
    // A try broke off; the next one said something else.
    let (answers, _) = shown(false, vec![delta("Hel"), says("Good day")]);
    assert_eq!(answers, "Hel\nGood day\n");
}

#[test]
fn a_flood_of_output_is_cut_and_counted() {
    let started = Event::ItemStarted {
        item: item(0, "a", command(None, Status::InProgress)),
    };
    let done = Event::ItemCompleted {
        item: item(0, "a", command(Some(0), Status::Completed)),
    };
    let flood = "line\n".repeat(LIVE_LINES + 5);
    let (_, notes) = shown(
        false,
        vec![
            Signal::Event(started),
            output(0, "a", &flood),
            Signal::Event(done),
        ],
    );
    assert_eq!(notes.matches("│ line").count(), LIVE_LINES);
    assert!(notes.contains("│ … 5 more lines"), "{notes}");
}

#[test]
fn nothing_that_steers_a_terminal_gets_through() {
    let evil = "\u{1b}]52;c;eA==\u{7}\u{202e}";
    let started = Event::ItemStarted {
        item: item(0, "a", command(None, Status::InProgress)),
    };
    let (answers, notes) = shown(
        false,
        vec![
            Signal::Event(Event::EnvironmentDisconnected {
                environment_id: "a".into(),
                reason: evil.into(),
            }),
            Signal::Event(started),
            output(0, "a", &format!("{evil}\n")),
            Signal::Live(Live::Text { delta: evil.into() }),
            says(&format!("{evil}{evil}")),
            Signal::Event(Event::Error {
                message: evil.into(),
            }),
        ],
    );
    for text in [answers, notes] {
        assert!(!text.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{text:?}");
    }
}
