//! What the tests of a step share.

mod declared;
mod property;
mod routing;
mod rules;

use farstep_environments::ProcessEvent;
use farstep_environments::config::OnPrimaryFailure;
use serde_json::json;

use super::*;
use crate::documents::Documents;
use crate::machine::Presence;
use crate::machine::fake::{FakeMachine, FakeSet, exited};
use crate::tools;
use crate::turn::double::{Reply, Scene, calls, patches, runs, runs_in, says};

fn machines<const N: usize>(ids: [&str; N]) -> [Arc<FakeMachine>; N] {
    ids.map(FakeMachine::named)
}

fn failed(reason: &str) -> Presence {
    Presence::Failed {
        reason: reason.into(),
    }
}

/// What each machine was asked to run, in order.
fn ran(machine: &FakeMachine) -> Vec<String> {
    let started = machine.started();
    started
        .into_iter()
        .map(|params| params.argv.last().unwrap().clone())
        .collect()
}

/// The environment text of the last request.
fn environment_text(scene: &Scene, request: usize) -> String {
    let requests = scene.requests();
    let mut messages = requests[request]
        .input
        .iter()
        .rev()
        .filter_map(|item| item.as_message());
    let block = messages.find(|message| message.text.contains("<environment_context>"));
    block.unwrap().text.clone()
}

fn turn(deferred: bool, on_primary_failure: OnPrimaryFailure) -> Arc<TurnConfig> {
    Arc::new(TurnConfig {
        thread: Uuid::nil(),
        turn: Uuid::nil(),
        model: ModelProfile::unknown("m".into(), None),
        deferred,
        on_primary_failure,
    })
}
