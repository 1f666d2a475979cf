//! The normalised form of a file: what it means, with every default filled in.

use std::path::Path;
use std::time::Duration;

use farstep_path_uri::PathUri;
use serde_json::{Map, Value, json};

use super::extension::Word;
use super::{
    Auth, Config, DefaultEnvironment, Entry, EntryExtension, EnvironmentVariables, Health, Proxy,
    Restart, SecretSource, Tls, TopExtension, Transport,
};

impl Config {
    /// What the file means, for programs that compare it. Durations are whole milliseconds; of a
    /// token it says only whether there is one. The values of `env` and `headers` are in it, so
    /// it does not belong into a log.
    pub fn to_json(&self) -> Value {
        let default = match &self.default {
            DefaultEnvironment::Disabled => json!({"kind": "disabled"}),
            DefaultEnvironment::Environment(id) => json!({"kind": "environment", "id": id}),
        };
        let entries: Vec<Value> = self.entries.iter().map(entry).collect();
        let mut fields = Fields::default();
        fields.put("default", default);
        fields.put("include_local", self.include_local);
        fields.put("environments", entries);
        fields.table("farstep", top(&self.farstep));
        if !self.warnings.is_empty() {
            let warning =
                |warning: &super::Diagnostic| json!({"kind": warning.kind, "key": warning.key});
            let warnings: Vec<Value> = self.warnings.iter().map(warning).collect();
            fields.put("warnings", warnings);
        }
        fields.0.into()
    }
}

/// An object that leaves out what the file does not say.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }

    fn maybe(&mut self, name: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.put(name, value);
        }
    }

    fn table(&mut self, name: &str, fields: Fields) {
        if !fields.0.is_empty() {
            self.put(name, fields.0);
        }
    }
}

fn entry(entry: &Entry) -> Value {
    let mut fields = Fields::default();
    fields.put("id", entry.id.as_str());
    fields.put("transport", transport(entry));
    fields.put("skills_required", entry.skills_required.clone());
    fields.table("farstep", extension(&entry.farstep));
    fields.0.into()
}

fn transport(entry: &Entry) -> Value {
    let initialize_timeout_ms = millis(entry.initialize_timeout);
    match &entry.transport {
        Transport::WebSocket {
            url,
            bearer,
            connect_timeout,
        } => {
            let source = entry
                .farstep
                .auth
                .as_ref()
                .and_then(|auth| auth.bearer.as_ref());
            json!({
                "type": "websocket",
                "url": url,
                "connect_timeout_ms": millis(*connect_timeout),
                "initialize_timeout_ms": initialize_timeout_ms,
                "bearer": bearer.is_some() || source.is_some(),
            })
        }
        Transport::Rendezvous {
            base,
            connect_timeout,
        } => json!({
            "type": "rendezvous",
            "url": base,
            "connect_timeout_ms": millis(*connect_timeout),
            "initialize_timeout_ms": initialize_timeout_ms,
        }),
        Transport::Stdio {
            program,
            args,
            env,
            cwd,
        } => json!({
            "type": "stdio",
            "program": program,
            "args": args,
            "env": env,
            "cwd": cwd.as_deref().map(text),
            "initialize_timeout_ms": initialize_timeout_ms,
        }),
    }
}

fn top(table: &TopExtension) -> Fields {
    let mut fields = Fields::default();
    fields.maybe(
        "on_primary_failure",
        table.on_primary_failure.map(Word::word),
    );
    fields.maybe("hot_reload", table.hot_reload);
    fields.maybe("new_thread", table.new_thread.map(Word::word));
    fields.maybe("config_version", table.config_version);
    fields
}

fn extension(table: &EntryExtension) -> Fields {
    let mut fields = Fields::default();
    fields.maybe("os", table.os.map(Word::word));
    fields.maybe("arch", table.arch.clone());
    fields.maybe("cwd", table.cwd.as_ref().map(PathUri::as_str));
    fields.maybe(
        "roots",
        table
            .roots
            .as_ref()
            .map(|roots| roots.iter().map(PathUri::as_str).collect::<Vec<_>>()),
    );
    fields.maybe("permission_profile", table.permission_profile.clone());
    fields.maybe("labels", table.labels.as_ref().map(|labels| json!(labels)));
    fields.maybe("connect", table.connect.map(Word::word));
    fields.maybe("required", table.required);
    fields.maybe("auth", table.auth.as_ref().map(auth));
    fields.maybe("tls", table.tls.as_ref().map(tls));
    fields.maybe(
        "headers",
        table.headers.as_ref().map(|headers| json!(headers.0)),
    );
    fields.maybe("proxy", table.proxy.as_ref().map(proxy));
    fields.maybe("env", table.env.as_ref().map(env));
    fields.maybe("health", table.health.as_ref().map(health));
    fields.maybe("restart", table.restart.as_ref().map(restart));
    if let Some(rendezvous) = &table.rendezvous {
        fields.put("rendezvous", rendezvous.url.clone());
        fields.maybe("environment", rendezvous.environment.clone());
        fields.maybe("executor_key", rendezvous.executor_key.clone());
        let attestation = rendezvous.attestation_key.as_ref();
        fields.maybe("attestation_key", attestation.map(ToString::to_string));
        let identity = rendezvous.identity_file.as_deref();
        fields.maybe("identity_file", identity.map(text));
        fields.maybe("padding", rendezvous.padding);
    }
    fields
}

fn auth(table: &Auth) -> Map<String, Value> {
    let mut fields = Fields::default();
    fields.maybe("bearer", table.bearer.as_ref().map(source));
    fields.0
}

fn source(source: &SecretSource) -> Value {
    match source {
        SecretSource::Env(name) => json!({"env": name}),
        SecretSource::File(path) => json!({"file": text(path)}),
        SecretSource::Command(words) => json!({"command": words}),
    }
}

fn proxy(proxy: &Proxy) -> Value {
    match proxy {
        Proxy::Direct => json!("none"),
        Proxy::Url(url) => json!(url),
        Proxy::From(from) => source(from),
    }
}

fn tls(table: &Tls) -> Map<String, Value> {
    let mut fields = Fields::default();
    fields.maybe("ca_file", table.ca_file.as_deref().map(text));
    fields.maybe(
        "client_cert_file",
        table.client_cert_file.as_deref().map(text),
    );
    fields.maybe(
        "client_key_file",
        table.client_key_file.as_deref().map(text),
    );
    fields.maybe("server_name", table.server_name.clone());
    fields.maybe("pin_sha256", table.pin_sha256.clone());
    fields.maybe("trust", table.trust.map(Word::word));
    fields.0
}

fn env(table: &EnvironmentVariables) -> Map<String, Value> {
    let mut fields = Fields::default();
    fields.maybe("set", table.set.as_ref().map(|set| json!(set.0)));
    fields.maybe("pass", table.pass.clone());
    fields.maybe("unset", table.unset.clone());
    fields.0
}

fn health(table: &Health) -> Map<String, Value> {
    let mut fields = Fields::default();
    fields.maybe("interval_ms", table.interval.map(millis));
    fields.maybe("timeout_ms", table.timeout.map(millis));
    fields.0
}

fn restart(table: &Restart) -> Map<String, Value> {
    let mut fields = Fields::default();
    fields.maybe("policy", table.policy.map(Word::word));
    fields.maybe("max_attempts", table.max_attempts);
    fields.maybe("backoff_ms", table.backoff.map(millis));
    fields.0
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn millis(duration: Duration) -> u64 {
    // The reader keeps durations below a hundred years; this is for values made elsewhere.
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
