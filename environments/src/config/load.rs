//! From folders to a [`Config`]: our file if there is one, else that of `codex`, else what a variable
//! says, else `local`; with our own tables from a second file laid over it.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::diagnostic::Excerpt;
use super::model::DEFAULT_TIMEOUT;
use super::{
    Config, DefaultEnvironment, Diagnostic, Entry, EntryExtension, EnvironmentId, Kind, Severity,
    Transport, overlay, parse,
};

/// The name of the file inside the configuration folder.
pub const FILE_NAME: &str = "environments.toml";

/// The name of a file with our own tables alone, for setups whose `environments.toml` is read by
/// others as well.
pub const OVERLAY_NAME: &str = "environments.farstep.toml";

/// Names one executor for those who have no file.
const URL_VARIABLE: &str = "CODEX_EXEC_SERVER_URL";
/// The id of that executor.
const URL_VARIABLE_ID: &str = "remote";

/// Largest file read, in bytes: a thousand entries, and still little memory. A larger one is
/// refused.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Where a configuration may lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// Our own folder.
    pub own: PathBuf,
    /// The folder of a `codex` client, whose file counts when we have none.
    pub codex: Option<PathBuf>,
}

impl Places {
    /// Our own folder and no other.
    pub fn only(own: &Path) -> Places {
        Places {
            own: own.to_owned(),
            codex: None,
        }
    }

    /// Every file that may have a say, whether or not it is there.
    pub fn files(&self) -> Vec<PathBuf> {
        let folders = std::iter::once(&self.own).chain(&self.codex);
        let names = |folder: &PathBuf| [folder.join(FILE_NAME), folder.join(OVERLAY_NAME)];
        folders.flat_map(names).collect()
    }
}

/// Reads `environments.toml` of `config_dir` and what is laid over it. A missing file means
/// [`Config::local_only`].
pub fn load(config_dir: &Path) -> Result<Config, LoadError> {
    Ok(load_files(&Places::only(config_dir))?.unwrap_or_else(Config::local_only))
}

/// Like [`load`], with the file of `codex` in place of a missing one, and in place of both
/// `CODEX_EXEC_SERVER_URL`. Beside a file that variable counts for nothing, and a warning says so.
pub fn discover(
    places: &Places,
    variables: impl Fn(&str) -> Option<String>,
) -> Result<Config, LoadError> {
    let Some(mut config) = load_files(places)? else {
        return Ok(from_variables(variables));
    };
    if variables(URL_VARIABLE).is_some_and(|value| !value.trim().is_empty()) {
        config.warnings.push(variable_ignored());
    }
    Ok(config)
}

/// The environments of an orchestrator without a file.
///
/// The URL is taken as it is: a wrong one shows itself when it is dialed.
pub fn from_variables(variables: impl Fn(&str) -> Option<String>) -> Config {
    let value = variables(URL_VARIABLE).unwrap_or_default();
    let url = value.trim();
    if url.is_empty() {
        return Config::local_only();
    }
    if url.eq_ignore_ascii_case("none") {
        return Config::nothing();
    }
    let Ok(id) = EnvironmentId::new(URL_VARIABLE_ID) else {
        return Config::nothing();
    };
    let entry = Entry {
        id: id.clone(),
        transport: Transport::WebSocket {
            url: url.to_owned(),
            bearer: None,
            connect_timeout: DEFAULT_TIMEOUT,
        },
        initialize_timeout: DEFAULT_TIMEOUT,
        skills_required: Vec::new(),
        farstep: EntryExtension::default(),
    };
    Config {
        default: DefaultEnvironment::Environment(id),
        include_local: false,
        entries: vec![entry],
        ..Config::local_only()
    }
}

fn load_files(places: &Places) -> Result<Option<Config>, LoadError> {
    let folders = std::iter::once(&places.own).chain(&places.codex);
    for folder in folders {
        let Some(text) = read_text(folder)? else {
            continue;
        };
        let path = folder.join(FILE_NAME);
        let mut config = parse(&text, folder).map_err(|diagnostics| LoadError::Invalid {
            path: path.clone(),
            diagnostics,
        })?;
        config.file = Some(path);
        // Ours is laid over a file that is not, and else what lies beside the file.
        for folder in [&places.own, folder] {
            let path = folder.join(OVERLAY_NAME);
            let Some(text) = read_file(path.clone())? else {
                continue;
            };
            config.overlay_warnings = overlay(&text, folder, &mut config)
                .map_err(|diagnostics| LoadError::Invalid { path, diagnostics })?;
            break;
        }
        return Ok(Some(config));
    }
    Ok(None)
}

/// The text of the file, if there is one; it need not make sense.
pub fn read_text(config_dir: &Path) -> Result<Option<String>, LoadError> {
    read_file(config_dir.join(FILE_NAME))
}

fn read_file(path: PathBuf) -> Result<Option<String>, LoadError> {
    let bytes = match read(&path) {
        Ok(bytes) => bytes,
        // A link that leads nowhere is a mistake, and not the same as no file.
        Err(cause) if cause.kind() == io::ErrorKind::NotFound && !path.is_symlink() => {
            return Ok(None);
        }
        Err(_) if path.is_dir() => return Err(LoadError::Directory { path }),
        Err(source) => return Err(LoadError::Unreadable { path, source }),
    };
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(LoadError::TooLarge { path });
    }
    String::from_utf8(bytes).map(Some).map_err(|cause| {
        let offset = cause.utf8_error().valid_up_to();
        let before = &cause.as_bytes()[..offset];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        LoadError::NotUtf8 { path, line }
    })
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One byte more than allowed tells "too large" from "just fits".
    File::open(path)?
        .take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn variable_ignored() -> Diagnostic {
    Diagnostic {
        severity: Severity::Warning,
        kind: Kind::LegacyVariableIgnored,
        key: None,
        environment: None,
        line: 1,
        column: 1,
        message: format!("{URL_VARIABLE} is set, but this file counts"),
        help: Some("add the executor to this file, or unset the variable".to_owned()),
        span: 0..0,
        excerpt: Excerpt::default(),
    }
}

/// Why there is no configuration. Its text names the file, the cause and the remedy, and never a
/// secret.
#[derive(Debug)]
pub enum LoadError {
    Unreadable {
        path: PathBuf,
        source: io::Error,
    },
    Directory {
        path: PathBuf,
    },
    TooLarge {
        path: PathBuf,
    },
    NotUtf8 {
        path: PathBuf,
        line: usize,
    },
    Invalid {
        path: PathBuf,
        /// Every error, by position; never empty.
        diagnostics: Vec<Diagnostic>,
    },
}

impl LoadError {
    pub fn path(&self) -> &Path {
        match self {
            LoadError::Unreadable { path, .. }
            | LoadError::Directory { path }
            | LoadError::TooLarge { path }
            | LoadError::NotUtf8 { path, .. }
            | LoadError::Invalid { path, .. } => path,
        }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path().display();
        match self {
            LoadError::Unreadable { source, .. } => write!(
                f,
                "cannot read {path}: {source}; make it readable or move it away"
            ),
            LoadError::Directory { .. } => write!(
                f,
                "cannot read {path}: it is a folder; move it away or put a file in its place"
            ),
            LoadError::TooLarge { .. } => write!(
                f,
                "cannot read {path}: it is larger than {MAX_FILE_BYTES} bytes; make it smaller"
            ),
            LoadError::NotUtf8 { line, .. } => write!(
                f,
                "cannot read {path}: line {line} is not UTF-8; save the file as UTF-8"
            ),
            LoadError::Invalid { diagnostics, .. } => {
                let name = path.to_string();
                let told: Vec<String> = diagnostics
                    .iter()
                    .map(|diagnostic| diagnostic.render(&name))
                    .collect();
                f.write_str(&told.join("\n"))
            }
        }
    }
}

impl std::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            LoadError::Unreadable { source, .. } => Some(source),
            _ => None,
        }
    }
}
