//! Whether it really happened: what was seen on the way, what lies on disk, and what still answers.
//!
//! The demo does not take the model's word, nor its own loop's.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::stage::{Place, Stage};
use super::task::{BUILT, CARRIED, MISTAKE, REPAIR, SERVED};
use super::{BUILDER, SERVER};
use crate::events::{Detail, Event, Item, Signal};
use crate::render::Screen;

/// One thing that has to be true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fact {
    pub(super) claim: String,
    /// What was found instead.
    pub(super) wrong: Option<String>,
}

impl Fact {
    pub(super) fn new(claim: impl Into<String>, found: Result<(), String>) -> Fact {
        Fact {
            claim: claim.into(),
            wrong: found.err(),
        }
    }
}

/// A command that came to an end: where, what, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ran {
    place: String,
    command: String,
    exit_code: Option<i64>,
}

/// Shows what another screen shows, and remembers which commands ended how.
pub(super) struct Witness<S> {
    screen: S,
    seen: Seen,
}

/// What a [`Witness`] has seen so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen(Arc<Mutex<Vec<Ran>>>);

impl<S> Witness<S> {
    pub(super) fn new(screen: S, seen: Seen) -> Witness<S> {
        Witness { screen, seen }
    }
}

impl<S: Screen> Screen for Witness<S> {
    fn show(&mut self, signal: Signal) -> io::Result<()> {
        if let Signal::Event(Event::ItemCompleted { item }) = &signal {
            self.seen.note(item);
        }
        self.screen.show(signal)
    }
}

impl Seen {
    fn note(&self, item: &Item) {
        if let Detail::CommandExecution {
            command, exit_code, ..
        } = &item.detail
        {
            let ran = Ran {
                place: item.environment_id.clone().unwrap_or_default(),
                command: command.clone(),
                exit_code: *exit_code,
            };
            self.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(ran);
        }
    }

    /// The exit codes of a command in a place, in order.
    fn exit_codes(&self, place: Place, command: &str) -> Vec<Option<i64>> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter()
            .filter(|ran| ran.place == place.id() && ran.command.contains(command))
            .map(|ran| ran.exit_code)
            .collect()
    }
}

/// What must be true while the server runs; `seen` is complete by then.
pub(super) async fn while_it_runs(stage: &Stage, seen: &Seen) -> Vec<Fact> {
    // First of all: our own questions would bring a lost executor back.
    let unbroken = stage.unbroken();
    let answer = match &unbroken {
        Ok(()) => asked(stage).await,
        Err(_) => Err("there is nobody to ask".to_owned()),
    };
    vec![
        Fact::new(
            "both executors served from the beginning to the end",
            unbroken,
        ),
        Fact::new(
            format!("{BUILDER}: the test failed, and passed after the patch"),
            equal(
                seen.exit_codes(Place::Builder, "sh test.sh"),
                vec![Some(1), Some(0)],
            ),
        ),
        Fact::new(
            format!("{BUILDER}: the repaired program is on disk"),
            repaired(&stage.folder(Place::Builder)),
        ),
        Fact::new(
            format!("{SERVER}: the same program is on disk, with its server and without its test"),
            carried(&stage.folder(Place::Builder), &stage.folder(Place::Server)),
        ),
        Fact::new(
            format!("{SERVER}: the running server answered the model"),
            equal(
                seen.exit_codes(Place::Server, "sh ask.sh 1994"),
                vec![Some(0)],
            ),
        ),
        Fact::new(format!("{SERVER}: it answers us too: 49 is XLIX"), answer),
    ]
}

async fn asked(stage: &Stage) -> Result<(), String> {
    let (code, output) = stage.run(Place::Server, &["sh", "ask.sh", "49"]).await?;
    match (code, output.trim()) {
        (0, "XLIX") => Ok(()),
        (code, other) => Err(format!("exit code {code}, `{other}`")),
    }
}

/// What must be true after the processes were ended, while the executors still serve.
pub(super) async fn after_it_ended(stage: &Stage) -> Fact {
    let gone = ["sh", "-c", "! kill -0 \"$(cat server.pid)\" 2>/dev/null"];
    let ended = match stage.run(Place::Server, &gone).await {
        Ok((0, _)) => Ok(()),
        Ok(_) => Err("its process is still there".to_owned()),
        Err(reason) => Err(reason),
    };
    Fact::new(
        format!("{SERVER}: the server has ended with the conversation"),
        ended,
    )
}

fn repaired(builder: &Path) -> Result<(), String> {
    for file in BUILT {
        let expected = file.text.replace(MISTAKE, &REPAIR.join("\n"));
        equal_text(file.name, &read(builder, file.name)?, &expected)?;
    }
    Ok(())
}

fn carried(builder: &Path, server: &Path) -> Result<(), String> {
    equal_text(CARRIED, &read(server, CARRIED)?, &read(builder, CARRIED)?)?;
    for file in SERVED {
        equal_text(file.name, &read(server, file.name)?, file.text)?;
    }
    // Nothing may stand in the wrong place.
    let strays = BUILT
        .iter()
        .filter(|file| file.name != CARRIED)
        .map(|file| server.join(file.name));
    let strays = strays.chain(SERVED.map(|file| builder.join(file.name)));
    match strays.into_iter().find(|stray| stray.exists()) {
        Some(stray) => Err(format!("{} is there too", stray.display())),
        None => Ok(()),
    }
}

fn read(folder: &Path, name: &str) -> Result<String, String> {
    fs::read_to_string(folder.join(name)).map_err(|error| format!("{name}: {error}"))
}

fn equal_text(name: &str, found: &str, expected: &str) -> Result<(), String> {
    match found == expected {
        true => Ok(()),
        false => Err(format!("{name} holds something else")),
    }
}

fn equal(found: Vec<Option<i64>>, expected: Vec<Option<i64>>) -> Result<(), String> {
    match found == expected {
        true => Ok(()),
        false => {
            let code = |code: Option<i64>| code.map_or("none".to_owned(), |code| code.to_string());
            let codes: Vec<String> = found.into_iter().map(code).collect();
            Err(format!("its exit codes were [{}]", codes.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::{ItemId, Status};

    struct Nowhere;

    impl Screen for Nowhere {
        fn show(&mut self, _: Signal) -> io::Result<()> {
            Ok(())
        }
    }

    fn ended(place: &str, command: &str, exit_code: Option<i64>) -> Signal {
        let detail = Detail::CommandExecution {
            command: command.into(),
            aggregated_output: String::new(),
            exit_code,
            status: Status::Completed,
        };
        Signal::Event(Event::ItemCompleted {
            item: Item {
                id: ItemId::numbered(1),
                step: 1,
                environment_id: Some(place.into()),
                detail,
            },
        })
    }

    #[test]
    fn a_witness_remembers_where_a_command_ended_and_how() {
        let seen = Seen::default();
        let mut witness = Witness::new(Nowhere, seen.clone());
        for (place, command, code) in [
            ("builder", "/bin/sh -c 'sh test.sh'", Some(1)),
            ("server", "/bin/sh -c 'sh test.sh'", Some(7)),
            ("builder", "/bin/sh -c 'sh other.sh'", Some(8)),
            ("builder", "/bin/sh -c 'sh test.sh'", None),
        ] {
            witness.show(ended(place, command, code)).unwrap();
        }
        let codes = seen.exit_codes(Place::Builder, "sh test.sh");
        assert_eq!(codes, [Some(1), None]);
        let wrong = "its exit codes were [1, none]".to_owned();
        assert_eq!(equal(codes, vec![Some(1), Some(0)]), Err(wrong));
    }

    #[test]
    fn files_are_believed_only_when_they_are_there() {
        let folder = tempfile::tempdir().unwrap();
        let (builder, server) = (folder.path().join("b"), folder.path().join("s"));
        for folder in [&builder, &server] {
            fs::create_dir(folder).unwrap();
        }
        let write = |folder: &Path, name: &str, text: &str| {
            fs::write(folder.join(name), text).unwrap();
        };
        assert!(repaired(&builder).is_err());
        BUILT
            .iter()
            .for_each(|file| write(&builder, file.name, file.text));
        assert_eq!(
            repaired(&builder),
            Err("roman.sh holds something else".to_owned())
        );
        let mended = BUILT[0].text.replace(MISTAKE, &REPAIR.join("\n"));
        write(&builder, "roman.sh", &mended);
        assert_eq!(repaired(&builder), Ok(()));

        assert!(
            carried(&builder, &server)
                .unwrap_err()
                .starts_with("roman.sh: ")
        );
        write(&server, "roman.sh", &mended);
        SERVED
            .iter()
            .for_each(|file| write(&server, file.name, file.text));
        assert_eq!(carried(&builder, &server), Ok(()));
        for stray in [server.join("test.sh"), builder.join("ask.sh")] {
            fs::write(&stray, "").unwrap();
            let wrong = format!("{} is there too", stray.display());
            assert_eq!(carried(&builder, &server), Err(wrong));
            fs::remove_file(&stray).unwrap();
        }
    }
}
