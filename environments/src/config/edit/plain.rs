//! The same environments for a program that does not know our tables.

use toml_edit::{DocumentMut, InlineTable, Item, TableLike, Value};

use super::super::{Config, Transport};
use super::ENTRIES;

/// A file without `farstep` tables.
#[derive(Debug)]
pub struct Plain {
    pub text: String,
    /// What the file says no more, in its order.
    pub losses: Vec<Loss>,
}

/// A key that has no counterpart, and what follows from that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// `None` at the top level.
    pub environment: Option<String>,
    /// Below the `farstep` table.
    pub key: String,
    pub consequence: &'static str,
}

/// Our table, at the top and in each entry.
const OURS: &str = "farstep";

/// `text` as a stock `codex` reads it; `config` is what it means with everything of ours.
///
/// Variables of `env.set` move to `env`, where they mean the same. `Err` holds the parser's
/// complaint about a text that the loader took.
pub fn for_codex(text: &str, config: &Config) -> Result<Plain, String> {
    let body = text.trim_start_matches('\u{feff}');
    let mut document: DocumentMut = body
        .parse()
        .map_err(|error: toml_edit::TomlError| error.message().to_owned())?;
    document.remove(OURS);
    match document.get_mut(ENTRIES) {
        Some(Item::ArrayOfTables(tables)) => {
            for table in tables.iter_mut() {
                strip(table, config);
            }
        }
        Some(Item::Value(Value::Array(values))) => {
            for table in values.iter_mut().filter_map(Value::as_inline_table_mut) {
                strip(table, config);
            }
        }
        _ => {}
    }
    Ok(Plain {
        text: super::layout::line_ends_as_in(body, document.to_string()),
        losses: losses(config),
    })
}

fn strip(table: &mut dyn TableLike, config: &Config) {
    table.remove(OURS);
    let id = table.get("id").and_then(Item::as_str).unwrap_or_default();
    let Some(entry) = config.entries.iter().find(|entry| entry.id.as_str() == id) else {
        return;
    };
    let set = entry.farstep.env.as_ref().and_then(|env| env.set.as_ref());
    let (Some(set), Transport::Stdio { .. }) = (set, &entry.transport) else {
        return;
    };
    if table.get("env").is_none() {
        table.insert("env", Item::Value(InlineTable::new().into()));
    }
    if let Some(env) = table.get_mut("env").and_then(Item::as_table_like_mut) {
        for (name, value) in &set.0 {
            env.insert(name, Item::Value(value.as_str().into()));
        }
    }
}

fn losses(config: &Config) -> Vec<Loss> {
    let json = config.to_json();
    let keys = |table: &serde_json::Value| -> Vec<String> {
        let table = table.get(OURS).and_then(serde_json::Value::as_object);
        table
            .into_iter()
            .flat_map(|table| table.keys().cloned())
            .collect()
    };
    let mut losses: Vec<Loss> = keys(&json)
        .into_iter()
        .map(|key| Loss {
            environment: None,
            consequence: consequence(&key),
            key,
        })
        .collect();
    let entries = json.get(ENTRIES).and_then(serde_json::Value::as_array);
    for (entry, json) in config.entries.iter().zip(entries.into_iter().flatten()) {
        for key in keys(json) {
            let env = entry.farstep.env.as_ref();
            let moved = key == "env"
                && matches!(entry.transport, Transport::Stdio { .. })
                && env.is_some_and(|env| env.pass.is_none() && env.unset.is_none());
            if !moved {
                losses.push(Loss {
                    environment: Some(entry.id.to_string()),
                    consequence: consequence(&key),
                    key,
                });
            }
        }
    }
    losses
}

fn consequence(key: &str) -> &'static str {
    match key {
        "on_primary_failure" => {
            "when the default is unreachable, commands go to the next environment, which may be \
             the machine codex runs on"
        }
        "hot_reload" => "changes count after a restart",
        "new_thread" => "a conversation gets all environments",
        "config_version" => "nothing changes",
        "os" | "arch" => "paths are judged once the executor is connected",
        "cwd" => "commands start in the folder codex itself was started in",
        "auth" => {
            "it connects without a token; put one into `auth_bearer_token` if the executor asks \
             for it"
        }
        "tls" => {
            "the system's certificates decide whom it trusts, and it shows no certificate of its \
             own"
        }
        "headers" => "they are not sent",
        "env" => {
            "a started program inherits all of codex's variables, and a remote one gets none of \
             these"
        }
        "restart" => "a program that ended stays ended until codex is restarted",
        "health" => "a dead connection is noticed when it is used",
        "connect" | "required" => "codex decides when it connects, and starts without it",
        "roots" | "permission_profile" => "codex's own settings decide what is allowed",
        "labels" => "it can be chosen by its id only",
        _ => "codex does not know it",
    }
}
