//! From text to [`Config`]: the top level, the default, and the order in which things are checked.
//!
//! Text that is not TOML is told alone, because what a broken file *seems* to say is not worth a
//! complaint. Everything else is told at once.

mod endpoint;
mod entry;
mod extension;
mod ids;
mod nearest;
mod node;
mod overlay;
mod path;
mod rendezvous;
mod secrets;
mod sink;
mod transport;

use std::path::Path;

use toml::de::DeTable;

use super::{Config, DefaultEnvironment, Diagnostic, EnvironmentId, Kind};
use entry::Entries;
pub(super) use entry::KEYS as ENTRY_KEYS;
pub(super) use extension::{KEYS as EXTENSION_KEYS, PROXY_SCHEMES, TOP_KEYS};
use nearest::nearest;
use node::{Item, Table, quoted};
pub use overlay::overlay;
use sink::{Finding, Sink};

/// The key whose value no message and no excerpt may show.
const TOKEN_KEY: &str = "auth_bearer_token";

/// Reads the text of an `environments.toml` that lies in `config_dir`.
///
/// Either the whole file is good, or every error in it is told: by position, at most
/// [`MAX_DIAGNOSTICS`](super::MAX_DIAGNOSTICS). Touches no file.
pub fn parse(text: &str, config_dir: &Path) -> Result<Config, Vec<Diagnostic>> {
    let mut sink = Sink::new(text);
    let (document, errors) = DeTable::parse_recoverable(text);
    secrets::hide_tokens(document.get_ref(), &mut sink);
    if !errors.is_empty() {
        not_toml(text, &errors, &mut sink);
        return Err(sink.finish().err().unwrap_or_default());
    }
    let root = Table::root(document.get_ref());
    let mut config = read(&root, config_dir, &mut sink);
    config.warnings = sink.finish()?;
    Ok(config)
}

fn read(root: &Table<'_, '_>, config_dir: &Path, sink: &mut Sink<'_>) -> Config {
    let names = ["default", "include_local", "environments", "farstep"];
    root.only(sink, &names, |_| None);
    let farstep = root
        .get("farstep")
        .and_then(|item| extension::top(&item, sink))
        .unwrap_or_default();
    let include_local = root
        .get("include_local")
        .and_then(|item| item.boolean(sink))
        .unwrap_or(true);
    let mut entries = Entries::new(config_dir);
    if let Some(item) = root.get("environments")
        && let Some(items) = item.array(sink, "an array of tables, `[[environments]]`")
    {
        for item in &items {
            entries.read(item, sink);
        }
    }
    let default = match root.get("default") {
        Some(item) => default(&item, include_local, &entries, sink),
        None if include_local => DefaultEnvironment::Environment(EnvironmentId::local()),
        None => DefaultEnvironment::Disabled,
    };
    Config {
        default,
        include_local,
        entries: entries.done,
        farstep,
        ..Config::local_only()
    }
}

/// The outcome of a complaint does not matter: the file is refused.
fn default(
    item: &Item<'_, '_>,
    include_local: bool,
    entries: &Entries<'_>,
    sink: &mut Sink<'_>,
) -> DefaultEnvironment {
    let Some(text) = item.string(sink).map(str::trim) else {
        return DefaultEnvironment::Disabled;
    };
    if text.eq_ignore_ascii_case("none") {
        return DefaultEnvironment::Disabled;
    }
    if text.is_empty() {
        let message = "default must name an environment".to_owned();
        sink.report(
            item.bad(Kind::DefaultEmpty, message)
                .help("write \"none\" for no default, or leave the key out"),
        );
        return DefaultEnvironment::Disabled;
    }
    if text == EnvironmentId::LOCAL && include_local {
        return DefaultEnvironment::Environment(EnvironmentId::local());
    }
    // An entry whose own id is refused has been told already; its name is not unknown.
    if entries.ids.mentions(text) {
        return match EnvironmentId::new(text) {
            Ok(id) => DefaultEnvironment::Environment(id),
            Err(_) => DefaultEnvironment::Disabled,
        };
    }
    let mut ids: Vec<&str> = entries.done.iter().map(|entry| entry.id.as_str()).collect();
    if include_local {
        ids.push(EnvironmentId::LOCAL);
    }
    let help = if text == EnvironmentId::LOCAL {
        "include_local is false, so there is no environment `local`".to_owned()
    } else if let Some(near) = nearest(text, &ids) {
        format!("did you mean \"{near}\"? ids are case-sensitive")
    } else {
        "name the id of an entry, \"local\", or \"none\"".to_owned()
    };
    let message = format!("default environment {} is not configured", quoted(text));
    sink.report(item.bad(Kind::DefaultUnknown, message).help(help));
    DefaultEnvironment::Disabled
}

fn not_toml(text: &str, errors: &[toml::de::Error], sink: &mut Sink<'_>) {
    secrets::hide_lines_of_tokens(text, sink);
    let mut places: Vec<_> = errors
        .iter()
        .map(|error| {
            (
                error.span().unwrap_or(text.len()..text.len()),
                error.message(),
            )
        })
        .collect();
    places.sort_by_key(|(span, _)| span.start);
    // What follows on the same line is mostly a consequence of the first.
    places.dedup_by(|(later, _), (earlier, _)| {
        text.get(earlier.start..later.start)
            .is_some_and(|between| !between.contains('\n'))
    });
    for (span, cause) in places {
        sink.report(Finding {
            kind: Kind::TomlSyntax,
            key: None,
            span,
            message: format!("not valid TOML: {}", cause.escape_debug()),
            label: String::new(),
            help: None,
        });
    }
}
