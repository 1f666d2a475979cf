//! Which ids the entries of a file claim, and whether they may.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;

use super::super::{EnvironmentId, IdProblem, Kind};
use super::node::{Item, Table, quoted};
use super::sink::{Finding, Sink};

#[derive(Default)]
pub(super) struct Ids {
    /// The spellings of each id so far, by its lower-case form.
    claimed: BTreeMap<String, Vec<EnvironmentId>>,
    /// Every text that stands where an id should, valid or not.
    mentioned: Vec<String>,
}

impl Ids {
    /// Whether an entry calls itself this, rightly or not.
    pub(super) fn mentions(&self, text: &str) -> bool {
        self.mentioned.iter().any(|id| id == text)
    }

    /// The id of an entry if it is a valid one. A duplicate is told and returned all the same, so
    /// that what else is wrong with its entry can be told under its name.
    pub(super) fn read(
        &mut self,
        entry: &Table<'_, '_>,
        sink: &mut Sink<'_>,
    ) -> Option<EnvironmentId> {
        let Some(item) = entry.get("id") else {
            let message = format!("{} has no id", entry.path);
            sink.report(
                entry
                    .lacks(Kind::MissingField, &entry.below("id"), message)
                    .help("add a line such as id = \"devbox\""),
            );
            return None;
        };
        let text = item.string(sink)?;
        self.mentioned.push(text.to_owned());
        let outcome = match EnvironmentId::new(text) {
            Ok(id) if id.is_local() => Err(IdProblem::Reserved),
            outcome => outcome,
        };
        match outcome {
            Ok(id) => {
                sink.enter(&entry.path, Some(id.as_str()));
                self.claim(&id, &item, sink);
                Some(id)
            }
            Err(problem) => {
                sink.report(refusal(&item, text, problem));
                None
            }
        }
    }

    fn claim(&mut self, id: &EnvironmentId, item: &Item<'_, '_>, sink: &mut Sink<'_>) {
        if id.as_str().eq_ignore_ascii_case(EnvironmentId::LOCAL) {
            let message = format!("`{id}` is not the local environment");
            sink.report(
                item.bad(Kind::IdResemblesReserved, message)
                    .help("ids are case-sensitive; only `local` names the local environment"),
            );
        }
        let spellings = match self.claimed.entry(id.as_str().to_ascii_lowercase()) {
            Slot::Vacant(slot) => {
                slot.insert(vec![id.clone()]);
                return;
            }
            Slot::Occupied(slot) => slot.into_mut(),
        };
        if spellings.contains(id) {
            let message = format!("environment id `{id}` is used twice");
            sink.report(
                item.bad(Kind::DuplicateId, message)
                    .help("give each entry an id of its own"),
            );
            return;
        }
        if let Some(earlier) = spellings.first() {
            let message = format!("`{id}` and `{earlier}` are two environments");
            sink.report(
                item.bad(Kind::IdsDifferOnlyInCase, message)
                    .help("ids that differ only in case are easily confused"),
            );
        }
        spellings.push(id.clone());
    }
}

fn refusal(item: &Item<'_, '_>, text: &str, problem: IdProblem) -> Finding {
    let id = quoted(text);
    let (kind, message, help) = match problem {
        IdProblem::Empty => (
            Kind::EmptyId,
            "environment id must not be empty".to_owned(),
            "choose a short name such as devbox".to_owned(),
        ),
        IdProblem::Whitespace => (
            Kind::IdWhitespace,
            format!("environment id {id} must not begin or end with blanks"),
            "remove the blanks".to_owned(),
        ),
        IdProblem::Reserved => (
            Kind::ReservedId,
            format!("environment id {id} is reserved"),
            "`local` is the orchestrator's own machine, `none` means no environment".to_owned(),
        ),
        IdProblem::Charset => (
            Kind::IdCharset,
            format!("environment id {id} has characters an id cannot have"),
            "use ASCII letters, digits, `-` and `_`".to_owned(),
        ),
        IdProblem::TooLong => (
            Kind::IdTooLong,
            "environment id is too long".to_owned(),
            "use at most 64 letters".to_owned(),
        ),
    };
    item.bad(kind, message).help(help)
}
