//! `farstep env export`: the same environments for another program.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::Path;

use farstep_environments::config::{Loss, for_codex, read_text};

use serde_json::json;

use super::{ExportArgs, ExportFormat};
use crate::render::{self, Failure};
use crate::setup::Setup;

pub(super) fn export(args: &ExportArgs, setup: &Setup) -> Result<u8, Failure> {
    let ExportFormat::Codex = args.format;
    // Whichever file counts, if there is one.
    let folder = setup.config.file.as_deref().and_then(Path::parent);
    let text = match folder {
        Some(folder) => read_text(folder)?.unwrap_or_default(),
        None => String::new(),
    };
    let plain = for_codex(&text, &setup.config).map_err(Failure::Export)?;
    for loss in &plain.losses {
        render::note(&words(loss));
    }
    match &args.out {
        None if args.json => {
            let lost: Vec<_> = plain.losses.iter().map(lost).collect();
            let line = json!({"text": plain.text, "lost": lost});
            render::print_json_line(&line).map_err(Failure::Output)?;
        }
        None => render::print_text(&plain.text).map_err(Failure::Output)?,
        Some(path) => {
            create(path, &plain.text)
                .map_err(|error| Failure::Export(format!("{}: {error}", path.display())))?;
            if args.json {
                let lost: Vec<_> = plain.losses.iter().map(lost).collect();
                let line = json!({"path": path, "lost": lost});
                render::print_json_line(&line).map_err(Failure::Output)?;
            }
        }
    }
    Ok(0)
}

fn lost(loss: &Loss) -> serde_json::Value {
    json!({"environment": loss.environment, "key": loss.key, "consequence": loss.consequence})
}

fn words(loss: &Loss) -> String {
    let Loss {
        environment,
        key,
        consequence,
    } = loss;
    let place = match environment {
        Some(id) => format!("`{id}`: "),
        None => String::new(),
    };
    format!("farstep: {place}without `farstep.{key}`: {consequence}")
}

/// A file that is there stays: it may be somebody's only copy.
fn create(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(text.as_bytes())
}
