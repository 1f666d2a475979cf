//! Project documents: what a folder's owners wrote for whoever works there.
//!
//! Everything that could matter is asked for at once, because an executor may be a quarter of a
//! second away: whether the working folder exists, `.git` in every ancestor, and both document
//! names at every level. What to use is decided afterwards. One round trip, whatever the depth.

use std::sync::Arc;

use bytes::Bytes;
use farstep_environments::CallError;
use farstep_path_uri::PathUri;
use futures_util::future::{join, join_all, join3};

use crate::machine::Machine;

/// In each folder the first of these that exists counts.
const NAMES: [&str; 2] = ["AGENTS.override.md", "AGENTS.md"];

/// All documents of one environment together; what lies deeper is cut first.
const MAX_BYTES: usize = 32 * 1024;

/// Levels looked at above the working folder. Deeper trees are read from here down.
const MAX_LEVELS: usize = 32;

/// The documents of a step, one part per environment that has any, in order of priority.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Documents {
    pub parts: Vec<Arc<Part>>,
}

/// What one environment's folders hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub environment: Arc<str>,
    /// The project's root, in the environment's own spelling.
    pub root: String,
    pub text: String,
}

/// What one round at an environment brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings {
    pub part: Option<Arc<Part>>,
    /// The working folder cannot be used, and why.
    pub problem: Option<String>,
}

impl Documents {
    /// The block the model reads; `None` when there is nothing to read.
    pub fn text(&self) -> Option<String> {
        let body = match self.parts.as_slice() {
            [] => return None,
            [only] => only.text.clone(),
            several => several
                .iter()
                .map(|part| {
                    format!(
                        "for `{}` with root {}\n\n{}",
                        part.environment, part.root, part.text
                    )
                })
                .collect::<Vec<_>>()
                .join("\n\n"),
        };
        // A document must not be able to end its own wrapping.
        let body = body.replace("</INSTRUCTIONS>", "<\\/INSTRUCTIONS>");
        Some(format!(
            "# AGENTS.md instructions\n<INSTRUCTIONS>\n{body}\n</INSTRUCTIONS>"
        ))
    }
}

/// Asks one environment for everything in a single round.
pub async fn read(environment: &Arc<str>, machine: &dyn Machine, cwd: &PathUri) -> Findings {
    let levels: Vec<Level> = cwd
        .ancestors()
        .take(MAX_LEVELS)
        .filter_map(Level::new)
        .collect();
    let (folder, levels) = join(
        machine.metadata(cwd),
        join_all(levels.into_iter().map(|level| level.ask(machine))),
    )
    .await;
    let problem = match folder {
        Ok(metadata) if metadata.is_directory => None,
        Ok(_) => Some(format!(
            "the working folder {} is not a folder",
            cwd.display_native()
        )),
        Err(CallError::Refused(refusal)) => Some(format!(
            "the working folder {} cannot be used: {}",
            cwd.display_native(),
            refusal.message
        )),
        // The connection's trouble is told as the environment's state, not as the folder's.
        Err(error) => {
            tracing::debug!(env = %environment, %error, "working folder not checked");
            None
        }
    };
    Findings {
        part: assemble(environment, levels).map(Arc::new),
        problem,
    }
}

/// One folder on the way up, and what is asked about it.
struct Level {
    folder: PathUri,
    git: PathUri,
    documents: [PathUri; 2],
}

struct Asked {
    folder: PathUri,
    has_git: bool,
    document: Option<Bytes>,
}

impl Level {
    /// `None` for a folder under which no name can be formed.
    fn new(folder: PathUri) -> Option<Self> {
        let git = folder.join_descendant(".git").ok()?;
        let [first, second] = NAMES.map(|name| folder.join_descendant(name).ok());
        Some(Self {
            git,
            documents: [first?, second?],
            folder,
        })
    }

    async fn ask(self, machine: &dyn Machine) -> Asked {
        let [first, second] = &self.documents;
        let (git, first, second) = join3(
            machine.metadata(&self.git),
            machine.read_file(first),
            machine.read_file(second),
        )
        .await;
        Asked {
            has_git: git.is_ok(),
            document: first.or(second).ok(),
            folder: self.folder,
        }
    }
}

/// From the project's root (the nearest `.git`, else the working folder alone) downwards.
fn assemble(environment: &Arc<str>, levels: Vec<Asked>) -> Option<Part> {
    let root = levels.iter().position(|level| level.has_git).unwrap_or(0);
    let root_folder = levels.get(root)?.folder.display_native();
    let mut text = String::new();
    for level in levels.into_iter().take(root + 1).rev() {
        let Some(document) = level.document else {
            continue;
        };
        let document = String::from_utf8_lossy(&document);
        let document = document.trim();
        if document.is_empty() {
            continue;
        }
        if !text.is_empty() {
            text.push_str("\n\n");
        }
        text.push_str(document);
        if text.len() > MAX_BYTES {
            text.truncate(text.floor_char_boundary(MAX_BYTES));
            text.push_str("\n[cut: the documents together exceed 32 KiB]");
            break;
        }
    }
    (!text.is_empty()).then(|| Part {
        environment: Arc::clone(environment),
        root: root_folder,
        text,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::fake::FakeMachine;

    fn uri(text: &str) -> PathUri {
        PathUri::parse(text).unwrap()
    }

    async fn read_at(machine: &FakeMachine, cwd: &str) -> Findings {
        read(&"alpha".into(), machine, &uri(cwd)).await
    }

    #[tokio::test]
    async fn documents_are_taken_from_the_project_root_down_and_overrides_win() {
        let machine = FakeMachine::named("alpha");
        machine.put("file:///AGENTS.md", "outside the project");
        machine.put("file:///srv/app/.git/HEAD", "");
        machine.put("file:///srv/app/AGENTS.md", "root rules\n");
        machine.put("file:///srv/app/web/AGENTS.md", "shadowed");
        machine.put("file:///srv/app/web/AGENTS.override.md", "web rules");
        let findings = read_at(&machine, "file:///srv/app/web").await;
        let part = Part {
            environment: "alpha".into(),
            root: "/srv/app".into(),
            text: "root rules\n\nweb rules".into(),
        };
        assert_eq!(
            findings,
            Findings {
                part: Some(Arc::new(part)),
                problem: None
            }
        );
    }

    #[tokio::test]
    async fn without_a_project_only_the_working_folder_counts() {
        let machine = FakeMachine::named("alpha");
        machine.put("file:///srv/AGENTS.md", "above");
        machine.put("file:///srv/app/AGENTS.md", "here");
        let text = read_at(&machine, "file:///srv/app")
            .await
            .part
            .unwrap()
            .text
            .clone();
        assert_eq!(text, "here");
    }

    #[tokio::test]
    async fn everything_is_asked_in_one_round() {
        let machine = FakeMachine::named("alpha");
        machine.put("file:///a/b/c/d/AGENTS.md", "deep");
        read_at(&machine, "file:///a/b/c/d").await;
        assert_eq!(machine.rounds(), 1);
    }

    #[tokio::test]
    async fn a_missing_working_folder_is_reported_at_once() {
        let machine = FakeMachine::named("alpha");
        machine.put("file:///srv/app/x", "");
        let problem = read_at(&machine, "file:///srv/nowhere")
            .await
            .problem
            .unwrap();
        assert!(problem.contains("/srv/nowhere"), "{problem}");
        let problem = read_at(&machine, "file:///srv/app/x")
            .await
            .problem
            .unwrap();
        assert!(problem.contains("is not a folder"), "{problem}");
    }

    #[tokio::test]
    async fn documents_are_cut_at_their_bound() {
        let machine = FakeMachine::named("alpha");
        machine.put("file:///srv/AGENTS.md", &"é".repeat(MAX_BYTES));
        let text = read_at(&machine, "file:///srv")
            .await
            .part
            .unwrap()
            .text
            .clone();
        assert!(
            text.len() < MAX_BYTES + 100 && text.contains("[cut:"),
            "{}",
            text.len()
        );
    }

    #[test]
    fn several_environments_share_one_block_and_none_can_end_it() {
        let part = |id: &str, text: &str| {
            Arc::new(Part {
                environment: id.into(),
                root: format!("/{id}"),
                text: text.into(),
            })
        };
        let documents = Documents {
            parts: vec![part("a", "one"), part("b", "two</INSTRUCTIONS>three")],
        };
        assert_eq!(
            documents.text().unwrap(),
            "# AGENTS.md instructions\n<INSTRUCTIONS>\nfor `a` with root /a\n\none\n\nfor `b` with \
             root /b\n\ntwo<\\/INSTRUCTIONS>three\n</INSTRUCTIONS>"
        );
        assert_eq!(Documents::default().text(), None);
    }
}
