//! The `farstep` tables: one function per table, each a list of its keys.

use std::collections::BTreeMap;
use std::path::Path;

use farstep_transport::tls::Pin;
use http::{HeaderName, HeaderValue};
use url::Url;

use super::super::{
    Auth, EntryExtension, EnvironmentVariables, Health, Kind, NamedValues, Os, Profile, Proxy,
    Restart, SecretSource, Tls, TopExtension,
};
use super::TOKEN_KEY;
use super::endpoint::Endpoint;
use super::node::{Item, Table, quoted};
use super::path::{remote_path, remote_paths};
use super::rendezvous;
use super::sink::Sink;
use super::transport::{insecure, needs, unsendable, variables};

/// How a proxy may be spoken to.
pub(in super::super) const PROXY_SCHEMES: [&str; 4] = ["http", "https", "socks5", "socks5h"];
/// The one version of this schema.
const CONFIG_VERSION: u32 = 1;
/// Longest key or value of a label.
const LABEL_MAX: usize = 63;

/// Headers that are not the file's to set, and where their content belongs. One that ends with a
/// dash stands for all that begin so.
const RESERVED_HEADERS: [(&str, &str); 8] = [
    (
        "authorization",
        "write auth.bearer: a secret does not belong into this file",
    ),
    ("cookie", "no executor reads cookies; write auth.bearer"),
    (
        "proxy-authorization",
        "it would go to the executor and not to a proxy",
    ),
    ("host", "the url says it"),
    ("connection", "it belongs to the websocket"),
    ("upgrade", "it belongs to the websocket"),
    (
        "origin",
        "only browsers send it, and executors refuse browsers",
    ),
    ("sec-websocket-", "it belongs to the websocket"),
];

/// The keys of `[environments.farstep]`.
pub(in super::super) const KEYS: [&str; 21] = [
    "os",
    "arch",
    "cwd",
    "roots",
    "permission_profile",
    "labels",
    "connect",
    "required",
    "auth",
    "tls",
    "headers",
    "proxy",
    "env",
    "health",
    "restart",
    "rendezvous",
    "environment",
    "executor_key",
    "attestation_key",
    "identity_file",
    "padding",
];

/// The keys of `[farstep]`.
pub(in super::super) const TOP_KEYS: [&str; 4] = [
    "on_primary_failure",
    "hot_reload",
    "new_thread",
    "config_version",
];

/// `[farstep]`
pub(super) fn top(item: &Item<'_, '_>, sink: &mut Sink<'_>) -> Option<TopExtension> {
    let table = item.table(sink)?;
    table.only(sink, &TOP_KEYS, |_| None);
    let version = |item: Item<'_, '_>, sink: &mut Sink<'_>| {
        let version = item.count(sink)?;
        if version != CONFIG_VERSION {
            let message = format!("version {version} of this file is not known");
            sink.report(
                item.bad(Kind::ValueInvalid, message)
                    .help(format!("this program reads version {CONFIG_VERSION}")),
            );
        }
        Some(version)
    };
    Some(TopExtension {
        on_primary_failure: table
            .get("on_primary_failure")
            .and_then(|item| item.word(sink)),
        hot_reload: table.get("hot_reload").and_then(|item| item.boolean(sink)),
        new_thread: table.get("new_thread").and_then(|item| item.word(sink)),
        config_version: table
            .get("config_version")
            .and_then(|item| version(item, sink)),
    })
}

/// `[environments.farstep]`, under the rules that `scene` makes. `known` is the system that was
/// declared elsewhere.
pub(super) fn entry(
    item: &Item<'_, '_>,
    scene: &Scene<'_>,
    known: Option<Os>,
    sink: &mut Sink<'_>,
) -> Option<EntryExtension> {
    let table = item.table(sink)?;
    table.only(sink, &KEYS, |_| None);
    let own = table.get("os").and_then(|item| item.word(sink));
    let os = own.or(known);
    Some(EntryExtension {
        os: own,
        arch: table.get("arch").and_then(|item| owned(&item, sink)),
        cwd: table
            .get("cwd")
            .and_then(|item| remote_path(&item, os, sink)),
        roots: table
            .get("roots")
            .and_then(|item| remote_paths(&item, os, sink)),
        permission_profile: table
            .get("permission_profile")
            .and_then(|item| profile(&item, sink)),
        labels: table.get("labels").and_then(|item| labels(&item, sink)),
        connect: table.get("connect").and_then(|item| item.word(sink)),
        required: table.get("required").and_then(|item| item.boolean(sink)),
        auth: table.get("auth").and_then(|item| scene.auth(&item, sink)),
        tls: table.get("tls").and_then(|item| scene.tls(&item, sink)),
        headers: table
            .get("headers")
            .and_then(|item| scene.headers(&item, sink)),
        proxy: table.get("proxy").and_then(|item| scene.proxy(&item, sink)),
        env: table.get("env").and_then(|item| env(&item, sink)),
        health: table.get("health").and_then(|item| health(&item, sink)),
        restart: table.get("restart").and_then(|item| restart(&item, sink)),
        rendezvous: rendezvous::extension(&table, scene, sink),
    })
}

/// What the rules about credentials look at.
pub(super) struct Scene<'s> {
    /// Which of these keys the entry has.
    pub(super) has_url: bool,
    pub(super) has_program: bool,
    pub(super) has_token: bool,
    /// What its URL says, if it is a good one.
    pub(super) endpoint: Option<Endpoint>,
    /// Whether it may say how its executor is reached.
    pub(super) has_transport: bool,
    /// Where relative files lie.
    pub(super) config_dir: &'s Path,
}

impl<'s> Scene<'s> {
    /// Beside the keys of `entry`.
    pub(super) fn beside(
        entry: &Table<'_, '_>,
        endpoint: Option<Endpoint>,
        config_dir: &'s Path,
    ) -> Scene<'s> {
        Scene {
            has_transport: true,
            has_url: entry.get("url").is_some(),
            has_program: entry.get("program").is_some(),
            has_token: entry.get(TOKEN_KEY).is_some(),
            endpoint,
            config_dir,
        }
    }

    fn auth(&self, item: &Item<'_, '_>, sink: &mut Sink<'_>) -> Option<Auth> {
        let table = item.table(sink)?;
        table.only(sink, &["bearer"], |_| None);
        let Some(bearer) = table.get("bearer") else {
            return Some(Auth::default());
        };
        if self.has_token {
            let message = format!(
                "{} is the second token, beside {TOKEN_KEY}",
                sink.subject(&bearer.path)
            );
            sink.report(
                bearer
                    .misplaced(Kind::SecretSourceConflict, message)
                    .help(format!(
                        "remove {TOKEN_KEY}: a token does not belong into this file"
                    )),
            );
        } else {
            self.travels(&bearer, sink);
        }
        Some(Auth {
            bearer: self.source(&bearer, sink),
        })
    }

    /// Exactly one of `env`, `file` and `command`.
    fn source(&self, item: &Item<'_, '_>, sink: &mut Sink<'_>) -> Option<SecretSource> {
        let table = item.table(sink)?;
        let names = ["env", "file", "command"];
        table.only(sink, &names, |_| None);
        let sources: Vec<_> = table
            .items()
            .into_iter()
            .filter(|(name, _)| names.contains(name))
            .collect();
        for (_, extra) in sources.iter().skip(1) {
            let message = format!("{} has more than one source", sink.subject(&item.path));
            sink.report(
                extra
                    .misplaced(Kind::SecretSourceConflict, message)
                    .help("keep exactly one of env, file and command"),
            );
        }
        let Some((name, source)) = sources.first() else {
            let message = format!("{} names no source", sink.subject(&item.path));
            sink.report(
                table
                    .lacks(Kind::SecretSourceMissing, &item.path, message)
                .help("write one of { env = \"NAME\" }, { file = \"PATH\" }, { command = [\"PROGRAM\"] }"),
            );
            return None;
        };
        match *name {
            "env" => owned(source, sink).map(SecretSource::Env),
            "file" => source.path(sink, self.config_dir).map(SecretSource::File),
            _ => command(source, sink).map(SecretSource::Command),
        }
    }

    fn tls(&self, item: &Item<'_, '_>, sink: &mut Sink<'_>) -> Option<Tls> {
        let table = item.table(sink)?;
        let names = [
            "ca_file",
            "client_cert_file",
            "client_key_file",
            "server_name",
            "pin_sha256",
            "trust",
        ];
        table.only(sink, &names, |_| None);
        let plain = self.has_program
            || self
                .endpoint
                .as_ref()
                .is_some_and(|endpoint| !endpoint.secure);
        // One complaint is enough: one change repairs all of them.
        if plain
            && let Some((_, first)) = table
                .items()
                .into_iter()
                .find(|(name, _)| names.contains(name))
        {
            let message = format!("{} needs a wss:// url", sink.subject(&first.path));
            sink.report(
                first
                    .misplaced(Kind::TlsRequiresWss, message)
                    .help("change the url to wss://, or remove the tls table"),
            );
        }
        for (name, other) in [
            ("client_cert_file", "client_key_file"),
            ("client_key_file", "client_cert_file"),
        ] {
            if table.get(name).is_some() && table.get(other).is_none() {
                let message = format!("{} needs {other} beside it", table.below(name));
                sink.report(table.lacks(Kind::MissingField, &table.below(other), message));
            }
        }
        let file = |name: &str, sink: &mut Sink<'_>| table.get(name)?.path(sink, self.config_dir);
        Some(Tls {
            ca_file: file("ca_file", sink),
            client_cert_file: file("client_cert_file", sink),
            client_key_file: file("client_key_file", sink),
            server_name: table.get("server_name").and_then(|item| owned(&item, sink)),
            pin_sha256: table.get("pin_sha256").and_then(|item| pins(&item, sink)),
            trust: table.get("trust").and_then(|item| item.word(sink)),
        })
    }

    fn headers(&self, item: &Item<'_, '_>, sink: &mut Sink<'_>) -> Option<NamedValues> {
        let headers = item.secret_strings(sink, |sink, name, value, item| {
            if HeaderName::from_bytes(name.as_bytes()).is_err() {
                let message = format!("{} cannot be the name of a header", quoted(name));
                sink.report(
                    item.misplaced(Kind::HeaderValueInvalid, message)
                        .help("use ASCII letters, digits and `-`"),
                );
            }
            let reserved = RESERVED_HEADERS.iter();
            if let Some((_, help)) = reserved.into_iter().find(|(known, _)| {
                name.eq_ignore_ascii_case(known)
                    || known.ends_with('-')
                        && name
                            .get(..known.len())
                            .is_some_and(|start| start.eq_ignore_ascii_case(known))
            }) {
                let message = format!("{} cannot be set here", quoted(name));
                sink.report(
                    item.misplaced(Kind::HeaderValueInvalid, message)
                        .help(*help),
                );
            }
            if HeaderValue::from_str(value).is_err() {
                sink.report(unsendable(item, &sink.subject(&item.path)));
            }
        })?;
        if let Some((_, first)) = item.table(sink)?.items().into_iter().next() {
            self.travels(&first, sink);
        }
        Some(NamedValues(headers))
    }

    /// `"none"`, a URL, or the place of one that holds a password.
    fn proxy(&self, item: &Item<'_, '_>, sink: &mut Sink<'_>) -> Option<Proxy> {
        if self.has_program && !self.has_url {
            sink.report(needs(item, Kind::RequiresUrl, "url", sink));
        }
        if item.is_table() {
            return self.source(item, sink).map(Proxy::From);
        }
        let text = item.string(sink)?.trim();
        if text.eq_ignore_ascii_case("none") {
            return Some(Proxy::Direct);
        }
        let has_password = text.contains('@');
        if has_password {
            sink.hide(item.value());
        }
        let scheme = text.split_once("://").map(|(scheme, _)| scheme);
        let known = scheme.is_some_and(|scheme| PROXY_SCHEMES.contains(&scheme));
        let has_host = Url::parse(text).is_ok_and(|url| url.has_host());
        if has_password {
            let message = format!("{} holds a user or password", sink.subject(&item.path));
            sink.report(
                item.bad(Kind::ValueInvalid, message).help(
                    "write proxy = { env = \"NAME\" } and put the whole URL into that variable",
                ),
            );
        } else if !known || !has_host {
            let message = format!("{} is no URL of a proxy", sink.subject(&item.path));
            sink.report(item.bad(Kind::ValueInvalid, message).help(
                "write http://, https://, socks5:// or socks5h:// and its host and port, or \"none\"",
            ));
        }
        Some(Proxy::Url(text.to_owned()))
    }

    /// A credential needs a websocket, and an encrypted one unless it stays on this machine.
    fn travels(&self, item: &Item<'_, '_>, sink: &mut Sink<'_>) {
        let subject = sink.subject(&item.path);
        if self.has_program && !self.has_url {
            sink.report(needs(item, Kind::RequiresUrl, "url", sink));
        } else if self
            .endpoint
            .as_ref()
            .is_some_and(|endpoint| !endpoint.private())
        {
            sink.report(insecure(item, &subject));
        }
    }
}

/// The digests of keys that a server may have.
fn pins(item: &Item<'_, '_>, sink: &mut Sink<'_>) -> Option<Vec<String>> {
    let help = "write the SHA-256 of the server's public key in base64; a connection that fails \
                for its certificate tells it";
    let items = item.array(sink, "an array of strings")?;
    if items.is_empty() {
        let message = format!("{} pins no key", sink.subject(&item.path));
        sink.report(item.bad(Kind::ValueInvalid, message).help(help));
    }
    let mut pins = Vec::with_capacity(items.len());
    for item in &items {
        let text = item.string(sink)?;
        if let Err(error) = text.parse::<Pin>() {
            let message = format!("{} is no pin: {error}", sink.subject(&item.path));
            sink.report(item.bad(Kind::ValueInvalid, message).help(help));
        }
        pins.push(text.to_owned());
    }
    Some(pins)
}

fn command(item: &Item<'_, '_>, sink: &mut Sink<'_>) -> Option<Vec<String>> {
    let words = item.strings(sink)?;
    if words
        .first()
        .is_none_or(|program| program.trim().is_empty())
    {
        let message = format!("{} names no program", sink.subject(&item.path));
        sink.report(
            item.bad(Kind::ValueInvalid, message)
                .help("write [\"PROGRAM\", \"ARGUMENT\"]; no shell reads it"),
        );
        return None;
    }
    Some(words)
}

fn labels(item: &Item<'_, '_>, sink: &mut Sink<'_>) -> Option<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    for (name, item) in item.table(sink)?.items() {
        let Some(value) = item.string(sink) else {
            continue;
        };
        let help = "use 1 to 63 of ASCII letters, digits, `.`, `_` and `-`";
        if !is_label(name) {
            let message = format!("{} cannot be the name of a label", quoted(name));
            sink.report(item.misplaced(Kind::ValueInvalid, message).help(help));
        }
        if !is_label(value) {
            let message = format!("{} cannot be the value of a label", quoted(value));
            sink.report(item.bad(Kind::ValueInvalid, message).help(help));
        }
        labels.insert(name.to_owned(), value.to_owned());
    }
    Some(labels)
}

fn is_label(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=LABEL_MAX).contains(&text.len()) && text.bytes().all(legal)
}

fn env(item: &Item<'_, '_>, sink: &mut Sink<'_>) -> Option<EnvironmentVariables> {
    let table = item.table(sink)?;
    table.only(sink, &["set", "pass", "unset"], |_| None);
    Some(EnvironmentVariables {
        set: table
            .get("set")
            .and_then(|item| variables(&item, sink))
            .map(NamedValues),
        pass: table.get("pass").and_then(|item| item.strings(sink)),
        unset: table.get("unset").and_then(|item| item.strings(sink)),
    })
}

fn health(item: &Item<'_, '_>, sink: &mut Sink<'_>) -> Option<Health> {
    let table = item.table(sink)?;
    table.only(sink, &["interval_sec", "timeout_sec"], |_| None);
    Some(Health {
        interval: table
            .get("interval_sec")
            .and_then(|item| item.seconds(sink)),
        timeout: table.get("timeout_sec").and_then(|item| item.seconds(sink)),
    })
}

fn restart(item: &Item<'_, '_>, sink: &mut Sink<'_>) -> Option<Restart> {
    let table = item.table(sink)?;
    table.only(sink, &["policy", "max_attempts", "backoff_sec"], |_| None);
    Some(Restart {
        policy: table.get("policy").and_then(|item| item.word(sink)),
        max_attempts: table.get("max_attempts").and_then(|item| item.count(sink)),
        backoff: table.get("backoff_sec").and_then(|item| item.seconds(sink)),
    })
}

/// The name of a profile that can be compiled. Others would have to be passed over in silence.
fn profile(item: &Item<'_, '_>, sink: &mut Sink<'_>) -> Option<String> {
    let name = owned(item, sink)?;
    if Profile::named(&name).is_none() {
        let message = format!("{} names no profile there is", sink.subject(&item.path));
        sink.report(
            item.bad(Kind::ValueInvalid, message)
                .help("write \"read-only\", \"workspace-write\" or \"danger-full-access\""),
        );
    }
    Some(name)
}

fn owned(item: &Item<'_, '_>, sink: &mut Sink<'_>) -> Option<String> {
    item.filled(sink).map(str::to_owned)
}
