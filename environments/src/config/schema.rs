//! The JSON Schema of `environments.toml` and of the file laid over it, for editors.
//!
//! Made of the same lists of keys and words as the reader, and of the rules of it that a schema can
//! say. What it cannot say (that ids are unique, where a token may travel) the reader tells.

use serde_json::{Map, Value, json};

use super::extension::Word;
use super::read::{ENTRY_KEYS, EXTENSION_KEYS, PROXY_SCHEMES, TOP_KEYS};
use super::{Connect, NewThread, OnPrimaryFailure, Os, Profile, RestartPolicy, Trust};

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// The schema of `environments.toml`.
pub fn schema() -> Value {
    let id = json!({
        "description": "a configured id, or \"none\" in any letter case for no default",
        "type": "string",
        "pattern": "\\S",
    });
    json!({
        "$schema": DIALECT,
        "title": "environments.toml",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "default": id,
            "include_local": said("boolean", "whether this machine is an environment, `local`"),
            "environments": {"type": "array", "items": entry()},
            "farstep": top(),
        },
    })
}

/// The schema of `environments.farstep.toml`.
pub fn overlay_schema() -> Value {
    json!({
        "$schema": DIALECT,
        "title": "environments.farstep.toml",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "farstep": top(),
            "overlay": {"type": "object", "additionalProperties": extension()},
        },
    })
}

fn entry() -> Value {
    let property = |key: &str| match key {
        "id" => json!({
            "description": "1 to 64 ASCII letters, digits, `-` and `_`",
            "type": "string",
            "pattern": "^[A-Za-z0-9_-]{1,64}$",
            "not": {"pattern": "^(local|[nN][oO][nN][eE])$"},
        }),
        "url" => json!({
            "description": "an executor that listens: ws:// or wss://",
            "type": "string",
            "pattern": "^\\s*wss?://[^/?#\\s]",
        }),
        "auth_bearer_token" => said("string", "better kept elsewhere: see farstep.auth"),
        "program" => filled("an executor to be started; its name or path"),
        "args" => strings(),
        "env" => texts(),
        "cwd" => said(
            "string",
            "where the program starts, from the folder of this file",
        ),
        "skills" => table(&[("required", strings())]),
        "farstep" => extension(),
        // The time-outs.
        _ => seconds(),
    };
    let mut schema = closed(&ENTRY_KEYS, property);
    schema["required"] = json!(["id"]);
    schema["oneOf"] = json!([
        {"required": ["url"]},
        {"required": ["program"]},
        {"required": ["farstep"], "properties": {"farstep": {"required": ["rendezvous"]}}},
    ]);
    schema["dependentRequired"] = json!({
        "args": ["program"],
        "env": ["program"],
        "cwd": ["program"],
        "auth_bearer_token": ["url"],
    });
    schema["dependentSchemas"] = json!({
        "connect_timeout_sec": {"anyOf": [
            {"required": ["url"]},
            {"required": ["farstep"], "properties": {"farstep": {"required": ["rendezvous"]}}},
        ]},
    });
    schema
}

fn top() -> Value {
    closed(&TOP_KEYS, |key| match key {
        "on_primary_failure" => word::<OnPrimaryFailure>(),
        "hot_reload" => said("boolean", "whether changes count during a run"),
        "new_thread" => word::<NewThread>(),
        _ => json!({"const": 1}),
    })
}

fn extension() -> Value {
    let mut schema = closed(&EXTENSION_KEYS, |key| match key {
        "os" => word::<Os>(),
        "cwd" => said("string", "an absolute path of that machine, or a file: URI"),
        "roots" => strings(),
        "labels" => json!({
            "type": "object",
            "propertyNames": {"pattern": LABEL},
            "additionalProperties": {"type": "string", "pattern": LABEL},
        }),
        "connect" => word::<Connect>(),
        "required" => said("boolean", "whether a run fails that cannot reach it"),
        "auth" => table(&[("bearer", source())]),
        "tls" => tls(),
        "headers" => texts(),
        "proxy" => proxy(),
        "env" => table(&[("set", texts()), ("pass", strings()), ("unset", strings())]),
        "health" => table(&[("interval_sec", seconds()), ("timeout_sec", seconds())]),
        "restart" => table(&[
            ("policy", word::<RestartPolicy>()),
            (
                "max_attempts",
                json!({"type": "integer", "minimum": 0, "maximum": u32::MAX}),
            ),
            ("backoff_sec", seconds()),
        ]),
        "rendezvous" => json!({
            "description": "instead of url and program: the registry's https:// URL",
            "type": "string",
            "pattern": "^\\s*https?://[^/?#@\\s]+[^?#@]*$",
        }),
        "environment" => filled("what the executor is called at the rendezvous"),
        "executor_key" => json!({
            "description": "the one executor that is believed, as it prints itself",
            "type": "string",
            "pattern": "^fst1:[a-z2-7]{26}$",
        }),
        "attestation_key" => json!({
            "description": "the tenant's public key, which signed for the executor's",
            "type": "string",
            "pattern": "^fstk1:[A-Za-z0-9_-]{43}$",
        }),
        "identity_file" => filled("our own key, made if there is none"),
        "padding" => said(
            "boolean",
            "whether the relay sees only a few sizes of what is said, or there is no connection",
        ),
        "permission_profile" => json!({
            "description": "what may be done there",
            "enum": Profile::NAMES.map(|(name, _)| name),
        }),
        // Names without a form of their own.
        _ => filled("not empty"),
    });
    schema["dependentRequired"] = json!({
        "environment": ["rendezvous"],
        "executor_key": ["rendezvous"],
        "attestation_key": ["rendezvous"],
        "identity_file": ["rendezvous"],
        "padding": ["rendezvous"],
    });
    schema
}

/// The name or value of a label.
const LABEL: &str = "^[A-Za-z0-9._-]{1,63}$";

fn tls() -> Value {
    let mut schema = table(&[
        (
            "ca_file",
            filled("the only authorities believed, in PEM form"),
        ),
        ("client_cert_file", filled("what we show, in PEM form")),
        ("client_key_file", filled("its key, readable by you alone")),
        ("server_name", filled("what the server is called")),
        ("trust", word::<Trust>()),
        (
            "pin_sha256",
            json!({
                "description": "SHA-256 of the keys of which the server must have one",
                "type": "array",
                "minItems": 1,
                "items": {
                    "type": "string",
                    "pattern": "^(sha256//?)?([A-Za-z0-9+/]{43}=|[0-9A-Fa-f]{64})$",
                },
            }),
        ),
    ]);
    schema["dependentRequired"] = json!({
        "client_cert_file": ["client_key_file"],
        "client_key_file": ["client_cert_file"],
    });
    schema
}

fn proxy() -> Value {
    let schemes = PROXY_SCHEMES.join("|");
    json!({"oneOf": [
        {
            "description": "\"none\", or a URL without user and password",
            "type": "string",
            "pattern": format!("^\\s*([nN][oO][nN][eE]\\s*$|({schemes})://[^@]+$)"),
        },
        source(),
    ]})
}

/// Where a secret is read from.
fn source() -> Value {
    let command = json!({"type": "array", "minItems": 1, "items": {"type": "string"}});
    let mut schema = table(&[
        ("env", filled("the name of a variable of ours")),
        ("file", filled("a file, readable by you alone")),
        ("command", command),
    ]);
    schema["minProperties"] = json!(1);
    schema["maxProperties"] = json!(1);
    schema
}

/// A table with these keys and no others.
fn closed(keys: &[&str], property: impl Fn(&str) -> Value) -> Value {
    let properties: Map<String, Value> = keys
        .iter()
        .map(|key| ((*key).to_owned(), property(key)))
        .collect();
    json!({"type": "object", "additionalProperties": false, "properties": properties})
}

fn table(properties: &[(&str, Value)]) -> Value {
    let keys: Vec<&str> = properties.iter().map(|(key, _)| *key).collect();
    closed(&keys, |key| {
        let found = properties.iter().find(|(name, _)| *name == key);
        found.map_or(Value::Null, |(_, schema)| schema.clone())
    })
}

fn word<W: Word>() -> Value {
    let words: Vec<&str> = W::ALL.iter().map(|(word, _)| *word).collect();
    json!({"enum": words})
}

fn said(kind: &str, description: &str) -> Value {
    json!({"type": kind, "description": description})
}

fn filled(description: &str) -> Value {
    json!({"type": "string", "description": description, "pattern": "\\S"})
}

fn strings() -> Value {
    json!({"type": "array", "items": {"type": "string"}})
}

fn texts() -> Value {
    json!({"type": "object", "additionalProperties": {"type": "string"}})
}

/// Fractions allowed.
fn seconds() -> Value {
    json!({"type": "number", "minimum": 0, "exclusiveMaximum": 18_446_744_073_709_551_616_f64})
}
