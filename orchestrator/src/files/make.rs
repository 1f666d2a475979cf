//! `farstep mkdir`: directories.

use farstep_environments::{Executor, fs::Metadata};

use super::error::FileCause;
use super::{in_world, told, with_each};
use crate::cli::MkdirArgs;
use crate::render::Failure;
use crate::setup::Surroundings;

const OPERATION: &str = "make the directory";

/// Runs the command and gives its exit code.
pub async fn mkdir(args: MkdirArgs, surroundings: &Surroundings) -> Result<u8, Failure> {
    let MkdirArgs {
        places,
        environment,
        parents,
        json,
    } = args;
    in_world(surroundings, environment, async |world| {
        with_each(&places, json, async |place| {
            let (far, path) = world.find(OPERATION, place).await?;
            let made = match parents {
                true => {
                    far.call(async |to: &Executor| to.create_directory(&path, true).await)
                        .await
                }
                false => {
                    far.call_once(async |to: &Executor| to.create_directory(&path, false).await)
                        .await
                }
            };
            let Err(cause) = made else {
                return told(json, "made", far.show(&path));
            };
            // Why it was refused is known best by who looks.
            let there = far
                .call(async |to: &Executor| to.metadata(&path).await)
                .await;
            Err(explain(cause, there, parents)
                .of(OPERATION, far.show(&path))
                .into())
        })
        .await
    })
    .await
}

fn explain(cause: FileCause, there: Result<Metadata, FileCause>, parents: bool) -> FileCause {
    match (&cause, there) {
        (FileCause::Refused(_), Ok(there)) if !there.is_directory => FileCause::InTheWay,
        (FileCause::Refused(_), Ok(_)) if !parents => FileCause::Exists,
        _ => cause,
    }
}
