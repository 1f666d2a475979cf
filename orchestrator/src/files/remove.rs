//! `farstep rm`: files and trees.

use farstep_environments::{CallError, Executor};
use farstep_path_uri::PathUri;
use farstep_protocol::rpc::ErrorCode;

use super::error::FileCause;
use super::far::Far;
use super::{in_world, told, with_each};
use crate::cli::RmArgs;
use crate::render::Failure;
use crate::setup::Surroundings;

const OPERATION: &str = "remove";

/// Runs the command and gives its exit code.
pub async fn rm(args: RmArgs, surroundings: &Surroundings) -> Result<u8, Failure> {
    let RmArgs {
        places,
        environment,
        recursive,
        force,
        json,
    } = args;
    in_world(surroundings, environment, async |world| {
        with_each(&places, json, async |place| {
            let (far, path) = world.find(OPERATION, place).await?;
            let removed = remove(&far, &path, recursive, force).await;
            removed.map_err(|cause| cause.of(OPERATION, far.show(&path)))?;
            told(json, "removed", far.show(&path))
        })
        .await
    })
    .await
}

async fn remove(far: &Far, path: &PathUri, recursive: bool, force: bool) -> Result<(), FileCause> {
    if let Some(what) = precious(far, path) {
        return Err(FileCause::Precious(what));
    }
    if !recursive {
        // The wire would remove an empty directory.
        match far
            .call(async |to: &Executor| to.metadata(path).await)
            .await
        {
            Ok(found) if found.is_directory && !found.is_symlink => {
                return Err(FileCause::IsDirectory);
            }
            // It may be a link that leads nowhere.
            Ok(_) | Err(FileCause::Missing) => {}
            Err(cause) => return Err(cause),
        }
    }
    let once = far.call_once(async |to: &Executor| to.remove(path, recursive, force).await);
    match once.await {
        // The connection was lost: what is gone by now is what was wanted.
        Err(FileCause::Lost(_)) => {
            far.call(async |to: &Executor| again(to, path, recursive).await)
                .await
        }
        outcome => outcome,
    }
}

async fn again(to: &Executor, path: &PathUri, recursive: bool) -> Result<(), CallError> {
    match to.remove(path, recursive, true).await {
        Err(CallError::Refused(error)) if error.is(ErrorCode::NotFound) => Ok(()),
        outcome => outcome,
    }
}

/// What nobody means to remove: a typing error would cost too much.
fn precious(far: &Far, path: &PathUri) -> Option<&'static str> {
    match far.cwd() {
        _ if path.parent().is_none() && !path.is_opaque() => Some("the root"),
        Some(cwd) if path.contains(cwd) => Some("the working folder or above it"),
        _ => None,
    }
}
