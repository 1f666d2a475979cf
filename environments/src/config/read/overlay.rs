//! A second file with our own tables alone, for an `environments.toml` that others read as well and
//! that our tables would make them refuse.

use std::path::Path;

use toml::de::DeTable;

use super::super::{Config, Diagnostic, Entry, EntryExtension, Kind, Transport};
use super::endpoint::Endpoint;
use super::extension::{self, Scene};
use super::nearest::nearest;
use super::node::{Table, quoted};
use super::rendezvous;
use super::sink::Sink;
use super::{not_toml, secrets};

/// Lays the text of an overlay that lies in `folder` over `config`: `[farstep]`, and `[overlay.ID]`
/// with the keys of `[environments.farstep]`. A key of the overlay replaces that of the file.
///
/// Gives the warnings, or every error; then `config` is as it was.
pub fn overlay(
    text: &str,
    folder: &Path,
    config: &mut Config,
) -> Result<Vec<Diagnostic>, Vec<Diagnostic>> {
    let mut sink = Sink::new(text);
    let (document, errors) = DeTable::parse_recoverable(text);
    secrets::hide_tokens(document.get_ref(), &mut sink);
    if !errors.is_empty() {
        not_toml(text, &errors, &mut sink);
        return sink.finish();
    }
    let root = Table::root(document.get_ref());
    root.only(&mut sink, &["farstep", "overlay"], |_| None);
    let top = root
        .get("farstep")
        .and_then(|item| extension::top(&item, &mut sink))
        .unwrap_or_default();
    let laid = entries(&root, folder, config, &mut sink);
    let warnings = sink.finish()?;
    let own = &mut config.farstep;
    own.on_primary_failure = top.on_primary_failure.or(own.on_primary_failure);
    own.hot_reload = top.hot_reload.or(own.hot_reload);
    own.new_thread = top.new_thread.or(own.new_thread);
    own.config_version = top.config_version.or(own.config_version);
    for (place, extension) in laid {
        if let Some(entry) = config.entries.get_mut(place) {
            let under = std::mem::take(&mut entry.farstep);
            entry.farstep = extension.over(under);
        }
    }
    Ok(warnings)
}

/// The tables by the place of their entry.
fn entries(
    root: &Table<'_, '_>,
    folder: &Path,
    config: &Config,
    sink: &mut Sink<'_>,
) -> Vec<(usize, EntryExtension)> {
    let mut laid = Vec::new();
    let table = root.get("overlay").and_then(|item| item.table(sink));
    for (id, item) in table.iter().flat_map(Table::items) {
        let found = config
            .entries
            .iter()
            .position(|entry| entry.id.as_str() == id);
        let Some(place) = found else {
            let ids: Vec<&str> = config.entries.iter().map(|one| one.id.as_str()).collect();
            let message = format!("there is no environment {} to lay this over", quoted(id));
            let finding = item.misplaced(Kind::OverlayUnknown, message);
            sink.report(match nearest(id, &ids) {
                Some(near) => {
                    finding.help(format!("did you mean `{near}`? ids are case-sensitive"))
                }
                None => finding.help("name an entry of environments.toml, or remove the table"),
            });
            continue;
        };
        let entry = &config.entries[place];
        sink.enter(&item.path, Some(id));
        let scene = scene(entry, folder);
        laid.extend(
            extension::entry(&item, &scene, entry.farstep.os, sink)
                .map(|extension| (place, extension)),
        );
        sink.leave();
    }
    laid
}

fn scene<'s>(entry: &Entry, folder: &'s Path) -> Scene<'s> {
    let (has_token, endpoint) = match &entry.transport {
        Transport::WebSocket { url, bearer, .. } => (bearer.is_some(), Endpoint::parse(url).ok()),
        Transport::Rendezvous { base, .. } => (false, rendezvous::place(base).ok()),
        Transport::Stdio { .. } => (false, None),
    };
    Scene {
        has_url: matches!(entry.transport, Transport::WebSocket { .. }),
        has_program: matches!(entry.transport, Transport::Stdio { .. }),
        has_transport: false,
        has_token,
        endpoint,
        config_dir: folder,
    }
}
