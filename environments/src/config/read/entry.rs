//! One `[[environments]]` entry. Every key is looked at, whatever is wrong with the others.

use std::path::Path;
use std::time::Duration;

use super::super::model::DEFAULT_TIMEOUT;
use super::super::{Entry, EnvironmentId, Kind};
use super::TOKEN_KEY;
use super::extension::{self, Scene};
use super::ids::Ids;
use super::node::{Item, Table};
use super::sink::Sink;
use super::transport;

/// The keys of `[[environments]]`.
pub(in super::super) const KEYS: [&str; 11] = [
    "id",
    "url",
    TOKEN_KEY,
    "connect_timeout_sec",
    "program",
    "args",
    "env",
    "cwd",
    "initialize_timeout_sec",
    "skills",
    "farstep",
];

/// The entries read so far, and the names they claim.
pub(super) struct Entries<'p> {
    pub(super) done: Vec<Entry>,
    pub(super) ids: Ids,
    config_dir: &'p Path,
}

impl<'p> Entries<'p> {
    pub(super) fn new(config_dir: &'p Path) -> Entries<'p> {
        Entries {
            done: Vec::new(),
            ids: Ids::default(),
            config_dir,
        }
    }

    pub(super) fn read(&mut self, item: &Item<'_, '_>, sink: &mut Sink<'_>) {
        sink.enter(&item.path, None);
        if let Some(table) = item.table(sink) {
            let id = self.ids.read(&table, sink);
            self.done.extend(body(id, &table, self.config_dir, sink));
        }
        sink.leave();
    }
}

/// `None` without an id or a transport; that has been told.
fn body(
    id: Option<EnvironmentId>,
    table: &Table<'_, '_>,
    config_dir: &Path,
    sink: &mut Sink<'_>,
) -> Option<Entry> {
    table.only(sink, &KEYS, |name| {
        extension::KEYS
            .contains(&name)
            .then(|| format!("`{name}` belongs into [environments.farstep]"))
    });
    let (transport, endpoint) = transport::read(table, config_dir, sink);
    let initialize_timeout = timeout(table, "initialize_timeout_sec", sink);
    let skills_required = table
        .get("skills")
        .and_then(|item| skills(&item, sink))
        .unwrap_or_default();
    let scene = Scene::beside(table, endpoint, config_dir);
    let farstep = table
        .get("farstep")
        .and_then(|item| extension::entry(&item, &scene, None, sink))
        .unwrap_or_default();
    Some(Entry {
        id: id?,
        transport: transport?,
        initialize_timeout,
        skills_required,
        farstep,
    })
}

/// The seconds under `name`, or the default when they are absent or refused.
pub(super) fn timeout(table: &Table<'_, '_>, name: &str, sink: &mut Sink<'_>) -> Duration {
    let Some(item) = table.get(name) else {
        return DEFAULT_TIMEOUT;
    };
    let Some(duration) = item.seconds(sink) else {
        return DEFAULT_TIMEOUT;
    };
    if duration.is_zero() {
        let message = format!("{} is zero", sink.subject(&item.path));
        sink.report(
            item.bad(Kind::ZeroTimeout, message)
                .help("every attempt will time out at once"),
        );
    }
    duration
}

fn skills(item: &Item<'_, '_>, sink: &mut Sink<'_>) -> Option<Vec<String>> {
    let table = item.table(sink)?;
    table.only(sink, &["required"], |_| None);
    table.get("required")?.strings(sink)
}
