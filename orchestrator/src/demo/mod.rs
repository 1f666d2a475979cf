//! `farstep demo`: the main job on an embedded default, for somebody with no key and no second
//! machine.
//!
//! ```text
//!   model (scripted, over real HTTP) ◄── Conversation ──► tools ──► builder  (websocket executor)
//!        script: what to say              the real loop        └──► server   (stdio executor)
//!
//!   afterwards: facts, gathered beside the model, decide the exit code
//! ```
//!
//! This module sets the stage, runs one turn through the same loop as `farstep run`, and then
//! checks for itself. Nothing of the loop knows that it is a demo.

mod facts;
mod model;
mod script;
mod stage;
mod task;
mod words;

use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use farstep_environments::config::OnPrimaryFailure;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use crate::events::Events;
use crate::machine::Configured;
use crate::model::{HttpModel, Provider};
use crate::render::{self, Failure, Human};
use crate::retry::RetryPolicy;
use crate::run::today;
use crate::setup::{Surroundings, find_executor};
use crate::step::{ModelProfile, Selection, SelectionOptions};
use crate::stop::Stop;
use crate::tools::Toolbox;
use crate::turn::{Conversation, Parts, Turn, TurnError};

use facts::{Fact, Seen, Witness};
use model::{Interlude, ScriptedModel};
use script::Step;
use stage::{LOG_VARIABLE, Place, Stage, StageError};

const BUILDER: &str = "builder";
const SERVER: &str = "server";

const FAILED: u8 = 1;
const INTERRUPTED: u8 = 130;

/// The demo takes seconds. One that takes this long is stuck and ends as failed.
const LIMIT: Duration = Duration::from_secs(120);

/// How long the last lines may take to be shown before the demo goes on without them.
const LAST_LINES: Duration = Duration::from_secs(2);

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit status: 0 everything really happened, 1 something did not, 130 \
                        interrupted."
)]
pub struct DemoArgs {
    /// Kill one of the executors on the way, to see that the demo notices
    #[arg(
        long,
        hide = true,
        value_enum,
        value_name = "WHICH",
        requires = "after"
    )]
    kill: Option<Place>,
    /// ... as soon as this step has been reached
    #[arg(long, hide = true, value_enum, value_name = "STEP", requires = "kill")]
    after: Option<Step>,
}

/// Runs the command and gives its exit code.
pub async fn demo(args: DemoArgs, surroundings: &Surroundings) -> Result<u8, Failure> {
    let executor = find_executor(surroundings)?;
    let log = surroundings.text(LOG_VARIABLE);
    let log = log.unwrap_or_else(|| "warn".to_owned());
    let (stop, _listener) = Stop::listen();
    let began = Instant::now();
    say(&words::opening()).map_err(Failure::Output)?;
    let played = tokio::select! {
        biased; // Asking twice beats order.
        () = stop.at_once.cancelled() => return Ok(INTERRUPTED),
        played = play(&args, &executor, &log, &stop.softly) => played,
    };
    let facts = match played {
        Ok(facts) => facts,
        Err(PlayError::Output(error)) => return Err(Failure::Output(error)),
        Err(error) => {
            render::note(&format!("farstep: failed to {error}"));
            return Ok(FAILED);
        }
    };
    if stop.softly.is_cancelled() {
        return Ok(INTERRUPTED);
    }
    say(&words::verdict(&facts, began.elapsed())).map_err(Failure::Output)?;
    if facts.iter().any(|fact| fact.wrong.is_some()) {
        return Ok(FAILED);
    }
    say(&words::in_earnest(&executor)).map_err(Failure::Output)?;
    Ok(0)
}

/// Why there is nothing to judge.
#[derive(Debug, thiserror::Error)]
enum PlayError {
    #[error("{0}")]
    Stage(#[from] StageError),
    #[error("start the scripted model: {0}")]
    Model(io::Error),
    #[error("reach the scripted model: {0}")]
    Client(#[from] crate::model::SetupError),
    #[error("write the output: {0}")]
    Output(io::Error),
}

/// Sets the stage, lets the model work, and gathers the facts while everything is still there.
async fn play(
    args: &DemoArgs,
    executor: &Path,
    log: &str,
    stop: &CancellationToken,
) -> Result<Vec<Fact>, PlayError> {
    let stage = Stage::set(executor, log).await?;
    let places = [Place::Builder, Place::Server];
    let places = places.map(|place| words::place(place.id(), &stage.reached_by(place)));
    say(&format!("{}\n", places.concat())).map_err(PlayError::Output)?;
    let model = ScriptedModel::start(interlude(args, &stage))
        .await
        .map_err(PlayError::Model)?;
    let seen = Seen::default();
    let (turn, toolbox) = one_turn(&stage, &model, &seen, stop).await?;

    let mut facts = vec![Fact::new("the turn came to its end", finished(&turn))];
    // Somebody who interrupts wants it to end, and not to be asked about.
    let judged = !stop.is_cancelled();
    if judged {
        facts.extend(facts::while_it_runs(&stage, &seen).await);
    }
    toolbox.sessions().terminate_all().await;
    if judged {
        facts.push(facts::after_it_ended(&stage).await);
    }
    facts.push(Fact::new(
        "both executors and their folders are gone again",
        stage.clear().await,
    ));
    Ok(facts)
}

/// The real loop, once through. What it started still runs afterwards.
async fn one_turn(
    stage: &Stage,
    model: &ScriptedModel,
    seen: &Seen,
    stop: &CancellationToken,
) -> Result<(Turn, Arc<Toolbox>), PlayError> {
    let (events, signals) = Events::channel();
    let stop = Limited::new(stop);
    let human = Human::new(anstream::stdout(), anstream::stdout(), true);
    let witness = Witness::new(human, seen.clone());
    let screen = render::start(witness, signals, stop.token.clone());
    let environments = Configured::new(stage.selection());
    let toolbox = Toolbox::new(environments.clone(), events.clone(), Vec::new());
    let parts = Parts {
        model: Arc::new(HttpModel::new(&Provider::new(model.base_url()))?),
        profile: ModelProfile::unknown("scripted".to_owned(), None),
        retry: RetryPolicy::default(),
        selection: Selection::new(environments, SelectionOptions::default(), events.clone()),
        toolbox: Arc::clone(&toolbox),
        events: events.clone(),
        deferred: false,
        on_primary_failure: OnPrimaryFailure::Error,
        today,
    };
    let mut conversation = Conversation::new(Uuid::now_v7(), parts);
    let turn = conversation.run_turn(task::PROMPT, &stop.token).await;
    conversation.conclude(&turn).await;
    events.end().await;
    // A terminal that does not take the last lines must not keep the demo.
    let _ = tokio::time::timeout(LAST_LINES, screen).await;
    Ok((turn, toolbox))
}

fn finished(turn: &Turn) -> Result<(), String> {
    turn.outcome.clone().map_err(|error| match error {
        TurnError::Interrupted => format!("it was not done within {} seconds", LIMIT.as_secs()),
        error => error.to_string(),
    })
}

/// What happens between two steps: nothing, unless somebody asked for a murder.
fn interlude(args: &DemoArgs, stage: &Stage) -> Interlude {
    let (Some(place), Some(after)) = (args.kill, args.after) else {
        return Arc::new(|_| Box::pin(std::future::ready(())));
    };
    let killer = stage.killer(place);
    let done = AtomicBool::new(false);
    Arc::new(move |step| {
        if step != after || done.swap(true, Ordering::Relaxed) {
            return Box::pin(std::future::ready(()));
        }
        Box::pin(killer().carry_out())
    })
}

/// A stop that also comes by itself when the time is up.
struct Limited {
    token: CancellationToken,
    _limit: AbortOnDropHandle<()>,
}

impl Limited {
    fn new(stop: &CancellationToken) -> Limited {
        let token = stop.child_token();
        let late = token.clone();
        let limit = tokio::spawn(async move {
            tokio::time::sleep(LIMIT).await;
            late.cancel();
        });
        Limited {
            token,
            _limit: AbortOnDropHandle::new(limit),
        }
    }
}

fn say(text: &str) -> io::Result<()> {
    let mut out = anstream::stdout();
    out.write_all(text.as_bytes())?;
    out.flush()
}
