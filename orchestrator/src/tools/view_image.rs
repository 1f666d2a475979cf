//! `view_image`: shows the model an image file of an environment.
//!
//! The size is asked first, a second round trip: a file that is no image may be as large as a
//! disk, and an answer no connection can carry would cost the connection.

use std::sync::Arc;

use farstep_environments::CallError;
use farstep_path_uri::PathUri;
use futures_util::FutureExt as _;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Context, Preparation, Prepared, Refusal, function, with_environment_id};
use crate::events::{self, Event, Item, Status};
use crate::image::{self, ImageError, MAX_FILE_BYTES};
use crate::locks::Mode;
use crate::model::{Block, Detail, Output};
use crate::step::{Route, StepSnapshot};

pub(super) const NAME: &str = "view_image";

#[derive(Debug, Deserialize)]
pub(super) struct Arguments {
    path: String,
    environment_id: Option<String>,
}

pub(super) fn definition(step: &StepSnapshot) -> Value {
    let properties = with_environment_id(
        step,
        json!({
            "path": {
                "type": "string",
                "description": "The file, in the environment's spelling; relative to its working \
                                folder.",
            },
        }),
    );
    function(
        NAME,
        "Shows an image file (PNG, JPEG, GIF or WebP) of an environment.",
        json!({
            "type": "object",
            "properties": properties,
            "required": ["path"],
            "additionalProperties": false,
        }),
    )
}

pub(super) fn prepare(context: &Context, arguments: Arguments) -> Preparation {
    let route = context.step.route(arguments.environment_id.as_deref())?;
    let path = route.cwd.join(&arguments.path).map_err(|error| Refusal {
        text: format!("unable to locate image at {}: {error}", arguments.path),
        environment: Some(route.id.to_string()),
    })?;
    if let Some(reason) = route.outside(&path) {
        return Err(Refusal {
            text: format!("view_image rejected: {reason}"),
            environment: Some(route.id.to_string()),
        });
    }
    let place = Some((Arc::clone(&route.id), Mode::Shared));
    let work = run(context.clone(), route, path);
    Ok(Prepared {
        place,
        work: work.boxed(),
    })
}

async fn run(context: Context, route: Route, path: PathUri) -> Output {
    let model = &context.step.turn().model;
    let detail = if model.full_detail_images {
        Detail::Original
    } else {
        Detail::High
    };
    let outcome = load(&route, &path, detail).await;
    let status = if outcome.is_ok() {
        Status::Completed
    } else {
        Status::Failed
    };
    let item = Item {
        id: context.toolbox.events.item_id(),
        step: context.step.number(),
        environment_id: Some(route.id.to_string()),
        detail: events::Detail::ImageView {
            path: path.display_native(),
            status,
        },
    };
    context
        .toolbox
        .events
        .emit(Event::ItemCompleted { item })
        .await;
    match outcome {
        Ok(block) => Output::Blocks(vec![block]),
        Err(error) => Output::Text(error.to_string()),
    }
}

async fn load(route: &Route, path: &PathUri, detail: Detail) -> Result<Block, ImageError> {
    let missing = |error: CallError| ImageError::Missing {
        path: path.display_native(),
        reason: error.to_string(),
    };
    let metadata = route.machine.metadata(path).await.map_err(missing)?;
    if !metadata.is_file {
        return Err(ImageError::NotAFile {
            path: path.display_native(),
        });
    }
    if metadata.size > MAX_FILE_BYTES as u64 {
        let most = MAX_FILE_BYTES >> 20;
        return Err(ImageError::Unprocessable(format!(
            "the file is larger than {most} MiB"
        )));
    }
    let file = route.machine.read_file(path).await.map_err(missing)?;
    // Decoding takes a processor for a while, and no call may hold up the others.
    let decoded = tokio::task::spawn_blocking(move || image::for_model(&file, detail)).await;
    decoded.unwrap_or_else(|error| Err(ImageError::Unprocessable(error.to_string())))
}
