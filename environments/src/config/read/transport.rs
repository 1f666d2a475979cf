//! How an entry says its executor is reached: `url` and its companions, or `program` and its.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use http::HeaderValue;
use secrecy::SecretString;

use super::super::{Kind, Transport};
use super::TOKEN_KEY;
use super::endpoint::{Endpoint, UrlProblem};
use super::entry::timeout;
use super::node::{Item, Table, quoted};
use super::rendezvous;
use super::sink::{Finding, Sink};

const URL_HELP: &str = "write an address such as ws://127.0.0.1:4512";

const CONNECT_TIMEOUT_KEY: &str = "connect_timeout_sec";

/// The transport, and what its URL says. Either may be missing after a complaint.
pub(super) fn read(
    table: &Table<'_, '_>,
    config_dir: &Path,
    sink: &mut Sink<'_>,
) -> (Option<Transport>, Option<Endpoint>) {
    let remote = rendezvous::key(table, sink);
    one_of_both(table, remote.as_ref(), sink);
    companions(table, remote.is_some(), sink);
    // Everything is read whether or not it will be used, so that every error is told.
    let (url, endpoint) = table.get("url").and_then(|item| url(&item, sink)).unzip();
    let bearer = table
        .get(TOKEN_KEY)
        .and_then(|item| token(&item, endpoint.as_ref(), sink));
    let connect_timeout = timeout(table, CONNECT_TIMEOUT_KEY, sink);
    let program = table.get("program").and_then(|item| program(&item, sink));
    let args = table.get("args").and_then(|item| item.strings(sink));
    let env = table.get("env").and_then(|item| variables(&item, sink));
    let cwd = table
        .get("cwd")
        .and_then(|item| cwd(&item, config_dir, sink));
    let (base, place) = remote
        .and_then(|item| rendezvous::base(&item, sink))
        .unzip();
    let endpoint = endpoint.or(place);
    let transport = match (url, program) {
        (Some(url), _) => Some(Transport::WebSocket {
            url,
            bearer,
            connect_timeout,
        }),
        (None, Some(program)) => Some(Transport::Stdio {
            program,
            args: args.unwrap_or_default(),
            env: env.unwrap_or_default(),
            cwd,
        }),
        (None, None) => base.map(|base| Transport::Rendezvous {
            base,
            connect_timeout,
        }),
    };
    (transport, endpoint)
}

fn one_of_both(table: &Table<'_, '_>, remote: Option<&Item<'_, '_>>, sink: &mut Sink<'_>) {
    let subject = sink.subject(&table.path);
    if let Some(remote) = remote {
        if table.get("url").or(table.get("program")).is_some() {
            let message = format!("{subject} has rendezvous beside url or program");
            sink.report(
                remote
                    .misplaced(Kind::TransportConflict, message)
                    .help("keep rendezvous for an executor without an open port"),
            );
        }
        return;
    }
    match (table.get("url"), table.get("program")) {
        (Some(url), Some(program)) => {
            // The one that came second must not be there.
            let second = if url.key.start < program.key.start {
                program
            } else {
                url
            };
            let message = format!("{subject} has both url and program");
            sink.report(
                second
                    .misplaced(Kind::TransportConflict, message)
                    .help("keep url for a websocket executor, program for one to be started"),
            );
        }
        (None, None) => {
            let message = format!("{subject} has neither url nor program");
            sink.report(
                table
                    .lacks(Kind::TransportMissing, &table.path, message)
                    .help("add url for a websocket executor, program for one to be started"),
            );
        }
        _ => {}
    }
}

/// Keys that may only stand beside `url`, or beside `program`. Their mere presence counts. The time for
/// connecting is for a rendezvous, too.
fn companions(table: &Table<'_, '_>, is_remote: bool, sink: &mut Sink<'_>) {
    let beside_program = (
        Kind::RequiresProgram,
        "program",
        ["args", "env", "cwd"].as_slice(),
    );
    let beside_url = (
        Kind::RequiresUrl,
        "url",
        [TOKEN_KEY, CONNECT_TIMEOUT_KEY].as_slice(),
    );
    for (kind, needed, names) in [beside_program, beside_url] {
        if table.get(needed).is_some() {
            continue;
        }
        let counts = |name: &&&str| !(is_remote && **name == CONNECT_TIMEOUT_KEY);
        let present = names.iter().filter(counts);
        for item in present.filter_map(|name| table.get(name)) {
            sink.report(needs(&item, kind, needed, sink));
        }
    }
}

/// A key that means nothing without another one.
pub(super) fn needs(item: &Item<'_, '_>, kind: Kind, needed: &str, sink: &Sink<'_>) -> Finding {
    let message = format!("{} needs {needed}", sink.subject(&item.path));
    item.misplaced(kind, message)
        .help(format!("remove it: it only counts beside {needed}"))
}

/// The trimmed URL and what it says.
fn url(item: &Item<'_, '_>, sink: &mut Sink<'_>) -> Option<(String, Endpoint)> {
    let text = item.string(sink)?;
    if text.contains('@') {
        // There may be a password before it.
        sink.hide(item.value());
    }
    let text = text.trim();
    let subject = sink.subject(&item.path);
    if text.is_empty() {
        let message = format!("{subject} must not be empty");
        sink.report(item.bad(Kind::UrlEmpty, message).help(URL_HELP));
        return None;
    }
    let endpoint = match Endpoint::parse(text) {
        Ok(endpoint) => endpoint,
        Err(UrlProblem::Scheme) => {
            sink.report(wrong_scheme(item, text, &subject));
            return None;
        }
        Err(UrlProblem::Invalid(cause)) => {
            let message = format!("{subject} is no URL: {cause}");
            sink.report(item.bad(Kind::UrlInvalid, message).help(URL_HELP));
            return None;
        }
    };
    if !endpoint.port_possible {
        let message = format!("{subject} has a port that no listener can have");
        sink.report(
            item.bad(Kind::UrlPortInvalid, message)
                .help("ports are 1 to 65535; every attempt to connect will fail"),
        );
    }
    Some((text.to_owned(), endpoint))
}

fn wrong_scheme(item: &Item<'_, '_>, text: &str, subject: &str) -> Finding {
    let message = format!("{subject} must start with ws:// or wss://");
    let finding = item.bad(Kind::UrlScheme, message);
    // A scheme is short; anything longer is something else before a "://".
    let Some((scheme, rest)) = text
        .split_once("://")
        .filter(|(scheme, _)| scheme.len() <= 16)
    else {
        return finding.help("executors speak WebSocket; write ws:// or wss:// before the host");
    };
    let secure = ["https", "wss"]
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known));
    let scheme_now = if secure { "wss" } else { "ws" };
    // What follows the host may be long, and what precedes it may be a password.
    let host = rest.split(['/', '?', '#']).next().unwrap_or("");
    let host = if host.contains('@') || host.len() > 80 {
        ""
    } else {
        host
    };
    finding
        .label(format!("found {}://", scheme.escape_debug()))
        .help(format!(
            "executors speak WebSocket; try {scheme_now}://{}",
            host.escape_debug()
        ))
}

fn token(
    item: &Item<'_, '_>,
    endpoint: Option<&Endpoint>,
    sink: &mut Sink<'_>,
) -> Option<SecretString> {
    let text = item.string(sink)?;
    let subject = sink.subject(&item.path);
    // A URL that is refused for itself says nothing about where the token would go.
    if endpoint.is_some_and(|endpoint| !endpoint.private()) {
        sink.report(insecure(item, &subject));
    }
    let bearer = SecretString::from(text);
    // The prefix is legal, so the whole value is if the token is.
    if HeaderValue::from_str(text).is_err() {
        sink.report(unsendable(item, &subject));
    }
    let message = format!("{subject} is readable by everybody who can read this file");
    sink.report(
        item.misplaced(Kind::InlineSecret, message)
            .help("keep this file readable by you alone"),
    );
    Some(bearer)
}

/// A secret that anybody on the way could read.
pub(super) fn insecure(item: &Item<'_, '_>, subject: &str) -> Finding {
    let message = format!("{subject} would travel unencrypted to another machine");
    item.misplaced(Kind::InsecureCredential, message)
        .help("use wss://, or a tunnel that ends at a loopback address")
}

/// A value with bytes that no header can have.
pub(super) fn unsendable(item: &Item<'_, '_>, subject: &str) -> Finding {
    let message = format!("{subject} cannot be sent in a header");
    item.bad(Kind::HeaderValueInvalid, message)
        .help("remove line breaks and control characters")
}

fn program(item: &Item<'_, '_>, sink: &mut Sink<'_>) -> Option<String> {
    let text = item.string(sink)?.trim();
    if text.is_empty() {
        let message = format!("{} must not be empty", sink.subject(&item.path));
        sink.report(
            item.bad(Kind::ProgramEmpty, message)
                .help("name a program on the search path, or write its path"),
        );
        return None;
    }
    Some(text.to_owned())
}

/// A table of environment variables.
///
/// A name no variable can have is only a warning: such a file loads elsewhere, and the operating
/// system refuses the name when the program is started.
pub(super) fn variables(
    item: &Item<'_, '_>,
    sink: &mut Sink<'_>,
) -> Option<BTreeMap<String, String>> {
    item.secret_strings(sink, |sink, name, _, item| {
        if name.is_empty() || name.contains(['=', '\0']) {
            let message = format!("{} cannot be the name of a variable", quoted(name));
            sink.report(
                item.misplaced(Kind::EnvKeyInvalid, message)
                    .help("a name is not empty and has no `=`"),
            );
        }
    })
}

fn cwd(item: &Item<'_, '_>, config_dir: &Path, sink: &mut Sink<'_>) -> Option<PathBuf> {
    let text = item.string(sink)?;
    if text.is_empty() {
        let message = format!("{} is empty", sink.subject(&item.path));
        sink.report(
            item.bad(Kind::EmptyCwd, message)
                .help("the program will be started in the configuration folder"),
        );
        // Joining would leave a separator at the end.
        return Some(config_dir.to_path_buf());
    }
    Some(config_dir.join(text))
}
