//! `apply_patch`: changes files of one environment by a patch in the envelope models know.
//!
//! Three rounds whatever the number of files: read everything the patch touches, create folders,
//! write and delete. The patch is located in full before anything is written. Only moved files
//! cost a fourth, because the old place is let go of last.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use farstep_environments::CallError;
use futures_util::FutureExt as _;
use futures_util::future::{join, join_all};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Context, Preparation, Prepared, Refusal};
use crate::events::{self, Detail, Event, Item, Status};
use crate::locks::Mode;
use crate::model::Output;
use crate::patch::{self, ChangeKind, Changes, Failure, Patch, Plan, Target};
use crate::step::{Route, StepSnapshot};

pub(super) const NAME: &str = "apply_patch";

/// How the answer is dressed: a patch may come as a call or as a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Call,
    Command,
}

pub(super) fn definition(step: &StepSnapshot) -> Value {
    json!({
        "type": "custom",
        "name": NAME,
        "description": "Adds, deletes and updates files by a patch. Paths are relative to the \
                        environment's working folder. This is free text: do not wrap it in JSON.",
        "format": {
            "type": "grammar",
            "syntax": "lark",
            "definition": grammar(step.environments().len() > 1),
        },
    })
}

/// The grammar names an environment only where there is a choice.
fn grammar(several: bool) -> String {
    let (line, rule) = match several {
        true => (
            " environment_id?",
            "environment_id: \"*** Environment ID: \" filename LF\n",
        ),
        false => ("", ""),
    };
    format!(
        "start: begin_patch{line} hunk+ end_patch\n\
         begin_patch: \"*** Begin Patch\" LF\n\
         end_patch: \"*** End Patch\" LF?\n\
         {rule}\
         hunk: add_hunk | delete_hunk | update_hunk\n\
         add_hunk: \"*** Add File: \" filename LF add_line+\n\
         delete_hunk: \"*** Delete File: \" filename LF\n\
         update_hunk: \"*** Update File: \" filename LF change_move? change?\n\
         filename: /(.+)/\n\
         add_line: \"+\" /(.*)/ LF -> line\n\
         change_move: \"*** Move to: \" filename LF\n\
         change: (change_context | change_line)+ eof_line?\n\
         change_context: (\"@@\" | \"@@ \" /(.+)/) LF\n\
         change_line: (\"+\" | \"-\" | \" \") /(.*)/ LF\n\
         eof_line: \"*** End of File\" LF\n\
         %import common.LF\n"
    )
}

pub(super) fn prepare(context: &Context, text: String) -> Preparation {
    let patch = Patch::parse(&text).map_err(|error| patch::invalid(&error))?;
    let route = context.step.route(patch.environment.as_deref())?;
    plan(context, patch, route, Shape::Call)
}

/// For a patch whose environment is chosen already; one that names another is refused.
pub(super) fn prepare_in(context: &Context, text: &str, route: Route, shape: Shape) -> Preparation {
    let patch = Patch::parse(text).map_err(|error| patch::invalid(&error))?;
    let route = match patch.environment.as_deref() {
        Some(id) => context.step.route(Some(id))?,
        None => route,
    };
    plan(context, patch, route, shape)
}

fn plan(context: &Context, patch: Patch, route: Route, shape: Shape) -> Preparation {
    let plan = Plan::new(patch, &route.cwd).map_err(|error| Refusal {
        text: patch::unfit(&error),
        environment: Some(route.id.to_string()),
    })?;
    let mut files = plan.reads().iter();
    if let Some(reason) = files.find_map(|target| route.outside(&target.uri)) {
        return Err(Refusal {
            text: format!("patch rejected: {reason}"),
            environment: Some(route.id.to_string()),
        });
    }
    let place = Some((Arc::clone(&route.id), Mode::Alone));
    let work = run(context.clone(), route, plan, shape);
    Ok(Prepared {
        place,
        work: work.boxed(),
    })
}

async fn run(context: Context, route: Route, plan: Plan, shape: Shape) -> Output {
    let began = Instant::now();
    let contents = match read(&route, &plan).await {
        Ok(contents) => contents,
        Err(error) => return refuse(context, &route, unreachable(&error)).await,
    };
    let changes = match plan.verify(contents) {
        Ok(changes) => changes,
        Err(error) => return refuse(context, &route, patch::unfit(&error)).await,
    };
    let (done, failures) = apply(&route, &changes).await;
    report(&context, &route, &changes, failures.is_empty()).await;
    let took = began.elapsed();
    let text = match failures.is_empty() {
        true => patch::succeeded(&changes, took),
        false => patch::failed(&failures, &done, took),
    };
    Output::Text(dress(text, shape, took))
}

/// Round one. What is not there is a reason for the plan; a lost executor is a reason to stop,
/// because nothing is known about any file then.
async fn read(route: &Route, plan: &Plan) -> Result<Vec<Result<Bytes, String>>, CallError> {
    let reads = plan
        .reads()
        .iter()
        .map(|target| route.machine.read_file(&target.uri));
    let mut contents = Vec::new();
    for read in join_all(reads).await {
        contents.push(match read {
            Ok(bytes) => Ok(bytes),
            Err(CallError::Refused(refusal)) => Err(refusal.message),
            Err(error) => return Err(error),
        });
    }
    Ok(contents)
}

/// Rounds two and three: what was done, and what was not.
async fn apply(route: &Route, changes: &Changes) -> (Vec<String>, Vec<Failure>) {
    let machine = &route.machine;
    let folders = changes.directories.iter().map(|folder| async move {
        let operation = format!("create {}", folder.display_native());
        outcome(operation, machine.create_directory(folder).await)
    });
    let (_, failures) = sort(join_all(folders).await);
    if !failures.is_empty() {
        // Nothing has been changed so far, and half of the patch is not worth having.
        return (Vec::new(), failures);
    }
    let writes = changes.writes.iter().map(|write| async move {
        let operation = format!("write {}", write.target.shown);
        outcome(
            operation,
            machine.write_file(&write.target.uri, &write.contents).await,
        )
    });
    let deletes = changes.deletes.iter().map(|target| delete(route, target));
    let (mut outcomes, deleted) = join(join_all(writes), join_all(deletes)).await;
    outcomes.extend(deleted);
    let (mut done, mut failures) = sort(outcomes);
    if failures.is_empty() && !changes.moved_away.is_empty() {
        let moved = changes
            .moved_away
            .iter()
            .map(|target| delete(route, target));
        let (more, failed) = sort(join_all(moved).await);
        done.extend(more);
        failures.extend(failed);
    }
    (done, failures)
}

async fn delete(route: &Route, target: &Target) -> Result<String, Failure> {
    outcome(
        format!("delete {}", target.shown),
        route.machine.remove(&target.uri).await,
    )
}

fn outcome(operation: String, result: Result<(), CallError>) -> Result<String, Failure> {
    match result {
        Ok(()) => Ok(operation),
        Err(error) => Err(Failure {
            operation,
            reason: error.to_string(),
        }),
    }
}

fn sort(outcomes: Vec<Result<String, Failure>>) -> (Vec<String>, Vec<Failure>) {
    let (mut done, mut failures) = (Vec::new(), Vec::new());
    for outcome in outcomes {
        match outcome {
            Ok(operation) => done.push(operation),
            Err(failure) => failures.push(failure),
        }
    }
    (done, failures)
}

fn unreachable(error: &CallError) -> String {
    format!("apply_patch failed before anything was changed: {error}")
}

async fn refuse(context: Context, route: &Route, text: String) -> Output {
    let environment = Some(route.id.to_string());
    context
        .refuse(NAME.to_owned(), Refusal { text, environment })
        .await
}

async fn report(context: &Context, route: &Route, changes: &Changes, whole: bool) {
    let shown = changes.files.iter().map(|change| events::FileChange {
        path: change.moved_to.as_ref().unwrap_or(&change.path).clone(),
        kind: match change.kind {
            ChangeKind::Add => events::ChangeKind::Add,
            ChangeKind::Update => events::ChangeKind::Update,
            ChangeKind::Delete => events::ChangeKind::Delete,
        },
    });
    let status = if whole {
        Status::Completed
    } else {
        Status::Failed
    };
    let item = Item {
        id: context.toolbox.events.item_id(),
        step: context.step.number(),
        environment_id: Some(route.id.to_string()),
        detail: Detail::FileChange {
            changes: shown.collect(),
            status,
        },
    };
    context
        .toolbox
        .events
        .emit(Event::ItemCompleted { item })
        .await;
}

/// A patch that came as a command is answered like one.
fn dress(text: String, shape: Shape, took: Duration) -> String {
    match (shape, text.split_once("Output:\n")) {
        (Shape::Command, Some((_, output))) => {
            format!(
                "Wall time: {:.4} seconds\nOutput:\n{output}",
                took.as_secs_f64()
            )
        }
        _ => text,
    }
}
