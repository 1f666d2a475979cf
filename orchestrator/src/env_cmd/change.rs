//! Changes to `environments.toml`, and how they are told.

use farstep_environments::config::{Change, Draft, EditError};
use serde_json::json;
use similar::TextDiff;

use farstep_environments::{KNOWN_HOSTS, KnownHosts};

use super::{DefaultArgs, ForgetArgs, RemoveArgs};
use crate::cli::state_dir;
use crate::jobs::StoreError;
use crate::render::{self, Failure};
use crate::setup::{Setup, Surroundings};

pub(super) fn remove(args: &RemoveArgs, setup: &Setup) -> Result<u8, Failure> {
    let draft = draft(setup, &[Change::Remove(args.id.clone())])?;
    let told = format!("removed `{}` from", args.id);
    let code = write(&draft, args.dry_run, args.json, &told)?;
    if let (false, Some(path)) = (args.dry_run, &setup.known_hosts) {
        // Whoever gets the id next is somebody else.
        let forgotten = KnownHosts::at(path.clone()).forget(&args.id);
        forgotten.map_err(Failure::Known)?;
    }
    Ok(code)
}

/// Forgets whose keys were met first.
pub(super) fn forget(args: &ForgetArgs, surroundings: &Surroundings) -> Result<u8, Failure> {
    let folder = state_dir(surroundings.variable).ok_or(StoreError::NoFolder);
    let folder = folder.map_err(|error| Failure::Job(error.into()))?;
    let hosts = KnownHosts::at(folder.join(KNOWN_HOSTS));
    let id = args.id.as_str();
    let forgotten = hosts.forget(id).map_err(Failure::Known)?;
    if forgotten.is_empty() {
        let known = hosts.all().map_err(Failure::Known)?;
        let mut known: Vec<String> = known.into_iter().map(|host| host.environment).collect();
        known.sort_unstable();
        known.dedup();
        return Err(Failure::NothingKnown {
            id: id.to_owned(),
            known,
        });
    }
    for host in forgotten {
        let (place, key) = (&host.place, &host.key);
        match args.json {
            true => render::print_json_line(&json!({"place": place, "key": key}))
                .map_err(Failure::Output)?,
            false => render::note(&format!("farstep: forgot {key} of {place}")),
        }
    }
    Ok(0)
}

pub(super) fn default(args: &DefaultArgs, setup: &Setup) -> Result<u8, Failure> {
    let draft = draft(setup, &[Change::Default(args.id.clone())])?;
    let told = match args.id.eq_ignore_ascii_case("none") {
        true => "there is no default environment any more in".to_owned(),
        false => format!("`{}` is the default environment in", args.id),
    };
    write(&draft, args.dry_run, args.json, &told)
}

pub(super) fn draft(setup: &Setup, changes: &[Change]) -> Result<Draft, Failure> {
    Draft::new(&setup.places, changes).map_err(|error| match error {
        // The same words as every other command has for it.
        EditError::Load(error) => Failure::Environments(error),
        EditError::NoSuchEntry { id } => {
            let entries = setup.config.entries.iter();
            let known = entries.map(|entry| entry.id.to_string()).collect();
            Failure::UnknownEnvironment { id, known }
        }
        error => Failure::Edit(error),
    })
}

/// Saves the draft, or shows what saving it would change.
pub(super) fn write(draft: &Draft, dry_run: bool, json: bool, told: &str) -> Result<u8, Failure> {
    let path = draft.path.display();
    if dry_run {
        let (before, after) = draft.shown();
        if let Some(theirs) = &draft.copied {
            let theirs = theirs.display();
            render::note(&format!(
                "farstep: the file would begin as a copy of {theirs}"
            ));
        }
        let diff = TextDiff::from_lines(&before, &after);
        let mut diff = diff.unified_diff();
        let diff = diff.header(&path.to_string(), &format!("{path} (changed)"));
        let printed = match json {
            true => render::print_json_line(
                &json!({"path": draft.path, "written": false, "diff": diff.to_string()}),
            ),
            false => render::print_text(&diff.to_string()),
        };
        printed.map_err(Failure::Output)?;
        return Ok(0);
    }
    let saved = draft.save().map_err(Failure::Edit)?;
    if let Some(theirs) = &draft.copied {
        let theirs = theirs.display();
        render::note(&format!(
            "farstep: {path} is new and begins as a copy of {theirs}, which does not count any more"
        ));
    }
    render::note(&format!("farstep: {told} {path}"));
    if saved.locked_down {
        render::note("farstep: it holds a secret, so nobody but you can read it any more");
    }
    if json {
        render::print_json_line(&json!({"path": draft.path, "written": true}))
            .map_err(Failure::Output)?;
    }
    Ok(0)
}
