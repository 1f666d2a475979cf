//! The section about environments: its value, its whole text, and the text of a change.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use farstep_environments::config::Profile;
use serde_json::{Map, Value, json};

/// The model reads at most this much of a reason; the rest is for logs and people.
const MAX_REASON_CHARS: usize = 600;

/// Longer than any path a system takes, so that only nonsense is cut.
const MAX_CHARS: usize = 4096;

/// What a step says about the environments, before it becomes text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvironmentsSection {
    /// By id; priority shows only through `is_primary`.
    pub environments: BTreeMap<String, EnvironmentEntry>,
    pub current_date: String,
    pub timezone: String,
    /// The primary's folders, in its own spelling; empty while nothing is available.
    pub workspace_roots: Vec<String>,
    /// What may be done in the primary.
    pub profile: Option<Profile>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvironmentEntry {
    pub is_primary: bool,
    /// In the environment's own spelling; unknown until the executor said what it is.
    pub cwd: Option<String>,
    pub os: Option<String>,
    /// The folders its entry names, where it does.
    pub roots: Vec<String>,
    pub labels: BTreeMap<String, String>,
    pub state: State,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    Available {
        shell: String,
        problem: Option<String>,
    },
    Starting,
    Disconnected {
        reason: String,
    },
    Failed {
        reason: String,
    },
}

impl State {
    fn status(&self) -> &'static str {
        match self {
            Self::Available { .. } => "available",
            Self::Starting => "starting",
            Self::Disconnected { .. } => "disconnected",
            Self::Failed { .. } => "failed",
        }
    }
}

impl EnvironmentsSection {
    pub(super) fn to_value(&self) -> Value {
        let environments: Map<String, Value> = self
            .environments
            .iter()
            .map(|(id, entry)| (id.clone(), entry.to_value()))
            .collect();
        json!({
            "environments": environments,
            "current_date": self.current_date,
            "timezone": self.timezone,
            "workspace_roots": self.workspace_roots,
            "permission_profile": self.profile.map(Profile::as_str),
        })
    }

    /// The whole block.
    pub fn text(&self) -> String {
        let mut body = String::new();
        match self.only_available() {
            Some((cwd, shell)) => {
                line(&mut body, 1, "cwd", cwd);
                line(&mut body, 1, "shell", shell);
            }
            None if self.environments.is_empty() => {}
            None => self.list(&mut body, self.environments.keys()),
        }
        line(&mut body, 1, "current_date", &self.current_date);
        line(&mut body, 1, "timezone", &self.timezone);
        self.filesystem(&mut body);
        wrap(&body)
    }

    /// The block for a model that already knows `older`; `None` when nothing changed.
    ///
    /// With the same ids only the entries that changed are listed, otherwise all.
    pub fn update(&self, older: &Self) -> Option<String> {
        if self == older {
            return None;
        }
        let same_ids = self.environments.keys().eq(older.environments.keys());
        // The short form has no entry to list alone.
        if !same_ids || self.only_available().is_some() {
            return Some(self.text());
        }
        // `primary` is an attribute of every entry or of none.
        let relisted =
            self.has_primary() != older.has_primary() || self.os_differ() != older.os_differ();
        let changed: Vec<&String> = self
            .environments
            .iter()
            .filter(|(id, entry)| relisted || older.environments.get(*id) != Some(entry))
            .map(|(id, _)| id)
            .collect();
        let mut body = String::new();
        if !changed.is_empty() {
            self.list(&mut body, changed.into_iter());
        }
        if self.current_date != older.current_date {
            line(&mut body, 1, "current_date", &self.current_date);
        }
        if self.timezone != older.timezone {
            line(&mut body, 1, "timezone", &self.timezone);
        }
        if (&self.workspace_roots, self.profile) != (&older.workspace_roots, older.profile) {
            self.filesystem(&mut body);
        }
        Some(wrap(&body))
    }

    /// The short form is for exactly one environment that works as it should.
    fn only_available(&self) -> Option<(&str, &str)> {
        let mut entries = self.environments.values();
        match (entries.next()?, entries.next()) {
            (
                EnvironmentEntry {
                    cwd: Some(cwd),
                    state:
                        State::Available {
                            shell,
                            problem: None,
                        },
                    ..
                },
                None,
            ) => Some((cwd, shell)),
            _ => None,
        }
    }

    fn has_primary(&self) -> bool {
        self.environments.values().any(|entry| entry.is_primary)
    }

    fn os_differ(&self) -> bool {
        let kinds: BTreeSet<&str> = self
            .environments
            .values()
            .filter_map(|entry| entry.os.as_deref())
            .collect();
        kinds.len() > 1
    }

    fn list<'a>(&self, body: &mut String, ids: impl Iterator<Item = &'a String>) {
        let (has_primary, os_differ) = (self.has_primary(), self.os_differ());
        body.push_str("  <environments>\n");
        for (id, entry) in ids.filter_map(|id| self.environments.get_key_value(id)) {
            let primary = match has_primary {
                true => format!(" primary=\"{}\"", entry.is_primary),
                false => String::new(),
            };
            // Writing into a String cannot fail.
            let _ = writeln!(body, "    <environment id=\"{}\"{primary}>", escape(id));
            entry.text(body, os_differ);
            body.push_str("    </environment>\n");
        }
        body.push_str("  </environments>\n");
    }

    fn filesystem(&self, body: &mut String) {
        if self.workspace_roots.is_empty() {
            return;
        }
        let _ = writeln!(
            body,
            "  <filesystem>{}<permission_profile {}</permission_profile></filesystem>",
            roots(&self.workspace_roots),
            self.rules(),
        );
    }

    /// What the profile lets be done, as the anchor writes it.
    fn rules(&self) -> String {
        let special = |name: &str, access: &str| {
            format!("<entry access=\"{access}\"><special>:{name}</special></entry>")
        };
        let mut entries = special("root", "read");
        match self.profile {
            None | Some(Profile::Full) => {
                return "type=\"disabled\"><file_system type=\"unrestricted\" />".to_owned();
            }
            Some(Profile::ReadOnly) => {}
            Some(Profile::Workspace) => {
                for root in &self.workspace_roots {
                    let root = escape(root);
                    entries.push_str(&format!(
                        "<entry access=\"write\"><path>{root}</path></entry>"
                    ));
                }
                entries.push_str(&special("slash_tmp", "write"));
                entries.push_str(&special("tmpdir", "write"));
            }
        }
        format!("type=\"managed\"><file_system type=\"restricted\">{entries}</file_system>")
    }
}

impl EnvironmentEntry {
    fn to_value(&self) -> Value {
        let mut value = Map::new();
        let mut put = |name: &str, text: &str| value.insert(name.to_owned(), Value::from(text));
        put("status", self.state.status());
        if let Some(cwd) = &self.cwd {
            put("cwd", cwd);
        }
        if let Some(os) = &self.os {
            put("os", os);
        }
        match &self.state {
            State::Available { shell, problem } => {
                put("shell", shell);
                if let Some(problem) = problem {
                    put("error", problem);
                }
            }
            State::Disconnected { reason } | State::Failed { reason } => {
                put("error", reason);
            }
            State::Starting => {}
        }
        if !self.roots.is_empty() {
            value.insert("workspace_roots".to_owned(), json!(self.roots));
        }
        if !self.labels.is_empty() {
            value.insert("labels".to_owned(), json!(self.labels));
        }
        if self.is_primary {
            value.insert("is_primary".to_owned(), Value::Bool(true));
        }
        Value::Object(value)
    }

    fn text(&self, body: &mut String, os_differ: bool) {
        if let Some(cwd) = &self.cwd {
            line(body, 3, "cwd", cwd);
        }
        if let Some(os) = self.os.as_deref().filter(|_| os_differ) {
            line(body, 3, "os", os);
        }
        if !self.roots.is_empty() {
            let _ = writeln!(body, "      {}", roots(&self.roots));
        }
        if !self.labels.is_empty() {
            let labels = self.labels.iter();
            let labels: Vec<String> = labels
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            line(body, 3, "labels", &labels.join(" "));
        }
        match &self.state {
            State::Available { shell, problem } => {
                line(body, 3, "shell", shell);
                if let Some(problem) = problem {
                    line(body, 3, "error", &shortened(problem));
                }
            }
            State::Starting => line(body, 3, "status", self.state.status()),
            State::Disconnected { reason } | State::Failed { reason } => {
                line(body, 3, "status", self.state.status());
                line(body, 3, "error", &shortened(reason));
            }
        }
    }
}

fn roots(roots: &[String]) -> String {
    let roots = roots
        .iter()
        .map(|root| format!("<root>{}</root>", escape(root)));
    let roots: String = roots.collect();
    format!("<workspace_roots>{roots}</workspace_roots>")
}

fn wrap(body: &str) -> String {
    format!("<environment_context>\n{body}</environment_context>")
}

fn line(body: &mut String, depth: usize, name: &str, text: &str) {
    // Writing into a String cannot fail.
    let _ = writeln!(
        body,
        "{:indent$}<{name}>{}</{name}>",
        "",
        escape(text),
        indent = depth * 2
    );
}

fn shortened(reason: &str) -> String {
    match reason.char_indices().nth(MAX_REASON_CHARS) {
        Some((end, _)) => format!("{}…", &reason[..end]),
        None => reason.to_owned(),
    }
}

/// Text that cannot end the element it stands in, nor run away in length or into control codes.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for (position, character) in text.chars().enumerate() {
        if position == MAX_CHARS {
            safe.push('…');
            break;
        }
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            control if control.is_control() => safe.push(' '),
            plain => safe.push(plain),
        }
    }
    safe
}

#[cfg(test)]
mod tests;
