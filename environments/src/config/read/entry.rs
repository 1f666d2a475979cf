//! One `[[environments]]` entry: its id, its transport, and which keys may stand beside which.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::path::Path;
use std::time::Duration;

use http::HeaderValue;

use super::super::model::DEFAULT_TIMEOUT;
use super::super::{Entry, EnvironmentId, IdProblem, Kind, Transport};
use super::TOKEN_KEY;
use super::endpoint::{Endpoint, UrlProblem};
use super::extension;
use super::node::{Item, Table, quoted};
use super::sink::{Finding, Sink};

const KEYS: [&str; 11] = [
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

/// Keys of our own table, for those who write them one level too high.
const EXTENSION_KEYS: [&str; 6] = ["headers", "tls", "labels", "auth", "health", "restart"];

/// The entries read so far, and the names they claim.
pub(super) struct Entries<'p> {
    pub(super) done: Vec<Entry>,
    config_dir: &'p Path,
    /// The first id of each spelling, by its lower-case form.
    claimed: BTreeMap<String, Vec<String>>,
    /// Every text that stands where an id should, valid or not.
    mentioned: Vec<String>,
}

impl<'p> Entries<'p> {
    pub(super) fn new(config_dir: &'p Path) -> Entries<'p> {
        Entries {
            done: Vec::new(),
            config_dir,
            claimed: BTreeMap::new(),
            mentioned: Vec::new(),
        }
    }

    pub(super) fn mentions(&self, text: &str) -> bool {
        self.mentioned.iter().any(|id| id == text)
    }

    pub(super) fn read(&mut self, item: &Item<'_, '_>, sink: &mut Sink<'_>) {
        sink.enter(&item.path, None);
        if let Some(table) = item.table(sink) {
            let id = self.id(&table, sink);
            sink.enter(&item.path, id.as_ref().map(EnvironmentId::as_str));
            let entry = body(&table, self.config_dir, sink);
            if let (Some(id), Some(body)) = (id, entry) {
                self.done.push(Entry {
                    id,
                    transport: body.transport,
                    initialize_timeout: body.initialize_timeout,
                    skills_required: body.skills_required,
                    farstep: body.farstep,
                });
            }
        }
        sink.leave();
    }

    fn id(&mut self, table: &Table<'_, '_>, sink: &mut Sink<'_>) -> Option<EnvironmentId> {
        let Some(item) = table.get("id") else {
            let path = table.below("id");
            let message = format!("{} needs an id", table.path);
            sink.report(
                Finding::new(Kind::MissingField, &path, table.span.clone(), message)
                    .help("add a line such as id = \"devbox\""),
            );
            return None;
        };
        let text = item.string(sink)?;
        self.mentioned.push(text.to_owned());
        let outcome = match EnvironmentId::new(text) {
            Ok(id) if id.is_local() => Err(IdProblem::Reserved),
            outcome => outcome,
        };
        match outcome {
            Ok(id) => {
                self.claim(&id, &item, sink);
                Some(id)
            }
            Err(problem) => {
                sink.report(id_finding(&item, text, problem));
                None
            }
        }
    }

    fn claim(&mut self, id: &EnvironmentId, item: &Item<'_, '_>, sink: &mut Sink<'_>) {
        sink.enter(entry_path(&item.path), Some(id.as_str()));
        if id.as_str().eq_ignore_ascii_case(EnvironmentId::LOCAL) {
            let message = format!("{} is not the local environment", quoted(id.as_str()));
            sink.report(
                item.bad(Kind::IdResemblesReserved, message)
                    .help("ids are case-sensitive; only `local` names the local environment"),
            );
        }
        match self.claimed.entry(id.as_str().to_ascii_lowercase()) {
            Slot::Vacant(slot) => {
                slot.insert(vec![id.to_string()]);
            }
            Slot::Occupied(mut slot) => {
                let spellings = slot.get_mut();
                if spellings.iter().any(|earlier| earlier == id.as_str()) {
                    let message = format!("environment id `{id}` is used twice");
                    sink.report(
                        item.bad(Kind::DuplicateId, message)
                            .help("give each entry an id of its own"),
                    );
                } else {
                    let earlier = spellings.first().map_or("", String::as_str);
                    let message = format!("`{id}` and `{earlier}` are two environments");
                    sink.report(
                        item.bad(Kind::IdsDifferOnlyInCase, message)
                            .help("ids that differ only in case are easily confused"),
                    );
                    spellings.push(id.to_string());
                }
            }
        }
    }
}

/// `environments[3]` of `environments[3].id`.
fn entry_path(path: &str) -> &str {
    path.strip_suffix(".id").unwrap_or(path)
}

fn id_finding(item: &Item<'_, '_>, text: &str, problem: IdProblem) -> Finding {
    let id = quoted(text);
    let (kind, message, help) = match problem {
        IdProblem::Empty => (
            Kind::EmptyId,
            "environment id must not be empty".to_owned(),
            "choose a short name such as devbox".to_owned(),
        ),
        IdProblem::Whitespace => (
            Kind::IdWhitespace,
            format!("environment id {id} must not begin or end with blanks"),
            format!("write \"{}\"", text.trim().escape_debug()),
        ),
        IdProblem::Reserved => (
            Kind::ReservedId,
            format!("environment id {id} is reserved"),
            "`local` is the orchestrator's own machine, `none` means no environment".to_owned(),
        ),
        IdProblem::Charset => (
            Kind::IdCharset,
            format!("environment id {id} has characters an id cannot have"),
            "use ASCII letters, digits, `-` and `_`".to_owned(),
        ),
        IdProblem::TooLong => (
            Kind::IdTooLong,
            "environment id is too long".to_owned(),
            "use at most 64 letters".to_owned(),
        ),
    };
    item.bad(kind, message).help(help)
}

struct Body {
    transport: Transport,
    initialize_timeout: Duration,
    skills_required: Vec<String>,
    farstep: super::super::EntryExtension,
}

/// `None` when no transport could be made out; that has been told.
fn body(table: &Table<'_, '_>, config_dir: &Path, sink: &mut Sink<'_>) -> Option<Body> {
    table.only(sink, &KEYS, |name| {
        EXTENSION_KEYS
            .contains(&name)
            .then(|| format!("`{name}` belongs into [environments.farstep]"))
    });
    // The token is hidden before anything on its line can be complained about.
    if let Some(token) = table.get(TOKEN_KEY) {
        sink.hide(token.value());
    }
    companions(table, sink);
    let endpoint = table.get("url").and_then(|item| url(&item, sink));
    let transport = match (table.get("url"), table.get("program")) {
        (Some(url), Some(program)) => {
            let second = if url.key.start < program.key.start {
                program
            } else {
                url
            };
            let message = format!("{} has both url and program", sink.subject(&table.path));
            sink.report(
                second
                    .misplaced(Kind::TransportConflict, message)
                    .help("keep url for a websocket executor, program for one to be started"),
            );
            None
        }
        (None, None) => {
            let message = format!("{} has neither url nor program", sink.subject(&table.path));
            sink.report(
                Finding::new(
                    Kind::TransportMissing,
                    &table.path,
                    table.span.clone(),
                    message,
                )
                .help("add url for a websocket executor, program for one to be started"),
            );
            None
        }
        (Some(_), None) => websocket(table, endpoint.as_ref(), sink),
        (None, Some(_)) => stdio(table, config_dir, sink),
    };
    let initialize_timeout = timeout(table, "initialize_timeout_sec", sink);
    let skills_required = table
        .get("skills")
        .and_then(|item| skills(&item, sink))
        .unwrap_or_default();
    let endpoint = endpoint.map(|(_, endpoint)| endpoint);
    let farstep = table
        .get("farstep")
        .and_then(|item| extension::entry(&item, table, endpoint.as_ref(), config_dir, sink))
        .unwrap_or_default();
    Some(Body {
        transport: transport?,
        initialize_timeout,
        skills_required,
        farstep,
    })
}

/// Keys that may only stand beside `url`, or beside `program`. Their mere presence counts.
fn companions(table: &Table<'_, '_>, sink: &mut Sink<'_>) {
    let rules = [
        (
            "program",
            Kind::RequiresProgram,
            ["args", "env", "cwd"].as_slice(),
        ),
        (
            "url",
            Kind::RequiresUrl,
            [TOKEN_KEY, "connect_timeout_sec"].as_slice(),
        ),
    ];
    for (needed, kind, names) in rules {
        if table.get(needed).is_some() {
            continue;
        }
        for item in names.iter().filter_map(|name| table.get(name)) {
            let message = format!("{} needs {needed}", sink.subject(&item.path));
            sink.report(item.misplaced(kind, message));
        }
    }
}

/// The trimmed URL and what it says, or nothing after telling why.
fn url(item: &Item<'_, '_>, sink: &mut Sink<'_>) -> Option<(String, Endpoint)> {
    let text = item.string(sink)?;
    if text.contains('@') {
        sink.hide(item.value());
    }
    let text = text.trim();
    let subject = sink.subject(&item.path);
    if text.is_empty() {
        sink.report(
            item.bad(Kind::UrlEmpty, format!("{subject} must not be empty"))
                .help("write an address such as ws://127.0.0.1:4512"),
        );
        return None;
    }
    match Endpoint::parse(text) {
        Ok(endpoint) => {
            if !endpoint.port_possible {
                let message = format!("{subject} has a port that no listener can have");
                sink.report(
                    item.bad(Kind::UrlPortInvalid, message)
                        .help("ports are 1 to 65535; every attempt to connect will fail"),
                );
            }
            Some((text.to_owned(), endpoint))
        }
        Err(UrlProblem::Scheme) => {
            sink.report(scheme_finding(item, text, &subject));
            None
        }
        Err(UrlProblem::Invalid(cause)) => {
            let message = format!("{subject} is no URL: {cause}");
            sink.report(
                item.bad(Kind::UrlInvalid, message)
                    .help("write an address such as ws://127.0.0.1:4512"),
            );
            None
        }
    }
}

fn scheme_finding(item: &Item<'_, '_>, text: &str, subject: &str) -> Finding {
    let message = format!("{subject} must start with ws:// or wss://");
    let finding = item.bad(Kind::UrlScheme, message);
    let Some((scheme, rest)) = text.split_once("://") else {
        return finding.help("executors speak WebSocket; write ws:// or wss:// before the host");
    };
    let secure = ["https", "wss"]
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known));
    let scheme_now = if secure { "wss" } else { "ws" };
    // What follows may be long, or hold a password.
    let host = rest.split(['/', '?', '#']).next().unwrap_or("");
    let finding = finding.label(format!("found {}://", scheme.escape_debug()));
    if host.is_empty() || host.contains('@') || host.len() > 80 {
        return finding.help(format!("executors speak WebSocket; try {scheme_now}://"));
    }
    finding.help(format!(
        "executors speak WebSocket; try {scheme_now}://{}",
        host.escape_debug()
    ))
}

fn websocket(
    table: &Table<'_, '_>,
    endpoint: Option<&(String, Endpoint)>,
    sink: &mut Sink<'_>,
) -> Option<Transport> {
    let bearer = table
        .get(TOKEN_KEY)
        .and_then(|item| token(&item, endpoint.map(|(_, endpoint)| endpoint), sink));
    let connect_timeout = timeout(table, "connect_timeout_sec", sink);
    let (url, _) = endpoint?;
    Some(Transport::WebSocket {
        url: url.clone(),
        bearer: bearer.map(Into::into),
        connect_timeout,
    })
}

fn token(item: &Item<'_, '_>, endpoint: Option<&Endpoint>, sink: &mut Sink<'_>) -> Option<String> {
    let text = item.string(sink)?;
    let subject = sink.subject(&item.path);
    // A URL that is refused for itself says nothing about where the token would go.
    if endpoint.is_some_and(|endpoint| !endpoint.private()) {
        sink.report(insecure(item, &subject));
    }
    if HeaderValue::from_str(&format!("Bearer {text}")).is_err() {
        let message = format!("{subject} cannot be sent in a header");
        sink.report(
            item.bad(Kind::HeaderValueInvalid, message)
                .help("remove line breaks and control characters"),
        );
    }
    let message = format!("{subject} is readable by everybody who can read this file");
    sink.report(
        item.misplaced(Kind::InlineSecret, message)
            .help("keep this file readable by you alone"),
    );
    Some(text.to_owned())
}

/// A secret that anybody on the way could read.
pub(super) fn insecure(item: &Item<'_, '_>, subject: &str) -> Finding {
    let message = format!("{subject} would travel unencrypted to another machine");
    item.misplaced(Kind::InsecureCredential, message)
        .help("use wss://, or a tunnel that ends at a loopback address")
}

fn stdio(table: &Table<'_, '_>, config_dir: &Path, sink: &mut Sink<'_>) -> Option<Transport> {
    let program = table.get("program").and_then(|item| program(&item, sink));
    let args = table
        .get("args")
        .map_or(Some(Vec::new()), |item| item.strings(sink));
    let env = table.get("env").map_or(Some(BTreeMap::new()), |item| {
        item.secret_strings(sink, |sink, name, _, item| env_key(sink, name, item))
    });
    let cwd = table.get("cwd").and_then(|item| {
        let text = item.string(sink)?;
        if text.is_empty() {
            let message = format!("{} is empty", sink.subject(&item.path));
            sink.report(
                item.bad(Kind::EmptyCwd, message)
                    .help("the program will be started in the configuration folder"),
            );
            return Some(config_dir.to_path_buf());
        }
        Some(config_dir.join(text))
    });
    Some(Transport::Stdio {
        program: program?,
        args: args?,
        env: env?,
        cwd,
    })
}

fn program(item: &Item<'_, '_>, sink: &mut Sink<'_>) -> Option<String> {
    let text = item.string(sink)?.trim();
    if text.is_empty() {
        let message = format!("{} must not be empty", sink.subject(&item.path));
        sink.report(item.bad(Kind::ProgramEmpty, message));
        return None;
    }
    Some(text.to_owned())
}

/// Such a file loads elsewhere, so this is no error; the operating system will refuse the name.
pub(super) fn env_key(sink: &mut Sink<'_>, name: &str, item: &Item<'_, '_>) {
    if name.is_empty() || name.contains(['=', '\0']) {
        let message = format!("{} is not the name of a variable", quoted(name));
        sink.report(item.misplaced(Kind::EnvKeyInvalid, message));
    }
}

fn timeout(table: &Table<'_, '_>, name: &str, sink: &mut Sink<'_>) -> Duration {
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
