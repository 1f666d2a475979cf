//! Files of environments: `farstep ls`, `cat`, `rm`, `mkdir` and `cp`.
//!
//! ```text
//!   place ──▶ Far (an environment, connected anew when it is lost) ──▶ ls · cat · rm · mkdir
//!     │                          │
//!     └────▶ Here (this machine) ┴──▶ copy ──▶ plan ──▶ one file after the other
//! ```
//!
//! Whatever an executor says about names is data: it never decides where something is written.

mod cat;
mod copy;
mod error;
mod far;
mod file;
mod list;
mod make;
mod place;
mod remove;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use farstep_environments::{Conditions, Registry};
use farstep_path_uri::PathUri;
use tokio::sync::Mutex;

use crate::render::{self, Failure};
use crate::setup::{Setup, Surroundings};
use crate::stop::Stop;
use far::Far;

pub use cat::cat;
pub use copy::cp;
pub use error::{FileCause, FileError};
pub use list::ls;
pub use make::mkdir;
pub use remove::rm;

const INTERRUPTED: u8 = 130;

/// The environments one command uses.
struct World<'a> {
    setup: &'a Setup,
    registry: &'a Registry,
    /// Of places that name none.
    default: Option<String>,
    own: Option<PathUri>,
    connected: Mutex<BTreeMap<String, Arc<Far>>>,
}

/// Sets up what a command needs, runs it and takes everything down again.
async fn in_world(
    surroundings: &Surroundings,
    default: Option<String>,
    work: impl AsyncFnOnce(&World<'_>) -> Result<u8, Failure>,
) -> Result<u8, Failure> {
    let setup = Setup::load(surroundings)?;
    for warning in &setup.warnings {
        render::note(warning);
    }
    let withheld = setup.settings.credentials();
    let registry = setup.registry(&withheld);
    let (stop, _listener) = Stop::listen();
    let world = World {
        setup: &setup,
        registry: &registry,
        default,
        own: PathUri::from_host(&surroundings.cwd).ok(),
        connected: Mutex::default(),
    };
    let outcome = tokio::select! {
        biased; // What is under way is no longer wanted.
        () = stop.softly.cancelled() => Ok(INTERRUPTED),
        outcome = work(&world) => outcome,
    };
    drop(world);
    registry.close().await;
    outcome
}

impl World<'_> {
    /// The environment of this id, connected; the one of `-e`, or the default, when none is named.
    async fn far(&self, id: Option<&str>) -> Result<Arc<Far>, Failure> {
        let environment = self
            .setup
            .one(self.registry, id.or(self.default.as_deref()))
            .await?;
        let id = environment.id().to_string();
        let mut connected = self.connected.lock().await;
        if let Some(far) = connected.get(&id) {
            return Ok(Arc::clone(far));
        }
        let window = self.setup.settings.recovery_seconds;
        let window = window.map_or(Conditions::default().recovery_window, Duration::from_secs);
        let far = Arc::new(Far::connect(environment, self.own.as_ref(), window).await?);
        connected.insert(id, Arc::clone(&far));
        Ok(far)
    }

    /// The environment and path of a place that is never here.
    async fn find(
        &self,
        operation: &'static str,
        text: &str,
    ) -> Result<(Arc<Far>, PathUri), Failure> {
        let (id, path) = match place::split(text) {
            Some((id, path)) => (Some(id), path),
            None => (None, text),
        };
        let far = self.far(id).await?;
        let found = far.resolve(path);
        let found = found.map_err(|cause| cause.of(operation, far.show_text(path)))?;
        Ok((far, found))
    }
}

/// The environment a place names.
pub(crate) fn environment_of(place: &str) -> Option<&str> {
    place::split(place).map(|(environment, _)| environment)
}

/// Tells a program what was done with one place.
fn told(json: bool, done: &str, place: String) -> Result<(), Failure> {
    match json {
        true => render::print_json_line(&serde_json::json!({done: true, "place": place}))
            .map_err(Failure::Output),
        false => Ok(()),
    }
}

/// Does it with each place, tells what went wrong, and goes on: the worst counts.
async fn with_each(
    places: &[String],
    json: bool,
    mut work: impl AsyncFnMut(&str) -> Result<(), Failure>,
) -> Result<u8, Failure> {
    let mut code = 0;
    for place in places {
        match work(place).await {
            Ok(()) => {}
            // Nobody reads any more, or nothing can be right.
            Err(failure @ Failure::Output(_)) => return Err(failure),
            Err(failure) => {
                if json {
                    render::report_json(&failure);
                }
                code = code.max(render::report(&failure));
            }
        }
    }
    Ok(code)
}
