//! `config.toml`: how the model is reached, and how a run behaves when no flag says otherwise.
//!
//! Environments have a file and a crate of their own; nothing about them is read here.

use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Where the model lives unless somebody says otherwise.
const DEFAULT_BASE_URL: &str = "https://api.openai.com/v1";
const DEFAULT_API_KEY_ENV: &str = "OPENAI_API_KEY";

/// Every key the file may hold, each optional.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Settings {
    pub base_url: Option<String>,
    pub model: Option<String>,
    pub effort: Option<String>,
    pub api_key_env: Option<String>,
    pub deferred: Option<bool>,
    pub stream_max_retries: Option<u32>,
    pub request_max_retries: Option<u32>,
    pub stream_idle_timeout_ms: Option<u64>,
    pub recovery_seconds: Option<u64>,
}

const KEYS: [&str; 9] = [
    "base_url",
    "model",
    "effort",
    "api_key_env",
    "deferred",
    "stream_max_retries",
    "request_max_retries",
    "stream_idle_timeout_ms",
    "recovery_seconds",
];

#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("read {path}: {source}")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("parse {path}: {message}")]
    Parse { path: PathBuf, message: String },
}

/// A file and what looked wrong in it without being an error.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    pub settings: Settings,
    pub warnings: Vec<String>,
}

impl Settings {
    /// Reads `config.toml` of the folder; a missing file is an empty one.
    pub fn load(config_dir: &Path) -> Result<Loaded, SettingsError> {
        let path = config_dir.join("config.toml");
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                Self::parse(&text).map_err(|message| SettingsError::Parse { path, message })
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Loaded::default()),
            Err(source) => Err(SettingsError::Read { path, source }),
        }
    }

    fn parse(text: &str) -> Result<Loaded, String> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let settings = toml::from_str(text).map_err(|error| error.to_string())?;
        // A newer farstep may know more keys, so an unknown one is told and not refused.
        let table: toml::Table = toml::from_str(text).map_err(|error| error.to_string())?;
        let warnings = table
            .keys()
            .filter(|key| !KEYS.contains(&key.as_str()))
            .map(|key| format!("config.toml: warning: `{key}` is not a known key and was ignored"))
            .collect();
        Ok(Loaded { settings, warnings })
    }

    /// These settings, with `weaker` filling the gaps.
    pub fn or(self, weaker: Self) -> Self {
        Self {
            base_url: self.base_url.or(weaker.base_url),
            model: self.model.or(weaker.model),
            effort: self.effort.or(weaker.effort),
            api_key_env: self.api_key_env.or(weaker.api_key_env),
            deferred: self.deferred.or(weaker.deferred),
            stream_max_retries: self.stream_max_retries.or(weaker.stream_max_retries),
            request_max_retries: self.request_max_retries.or(weaker.request_max_retries),
            stream_idle_timeout_ms: self
                .stream_idle_timeout_ms
                .or(weaker.stream_idle_timeout_ms),
            recovery_seconds: self.recovery_seconds.or(weaker.recovery_seconds),
        }
    }

    pub fn base_url(&self) -> &str {
        self.base_url.as_deref().unwrap_or(DEFAULT_BASE_URL)
    }

    pub fn api_key_env(&self) -> &str {
        self.api_key_env.as_deref().unwrap_or(DEFAULT_API_KEY_ENV)
    }
}

impl Settings {
    /// The variables that hold a model's credentials. No command inherits them.
    pub fn credentials(&self) -> Vec<String> {
        let mut names = vec![DEFAULT_API_KEY_ENV.to_owned()];
        names.extend(self.api_key_env.clone());
        names.dedup();
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_is_an_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Settings::load(folder.path()).unwrap(), Loaded::default());
    }

    #[test]
    fn known_keys_are_taken_and_unknown_ones_told() {
        let loaded = Settings::parse("\u{feff}model = \"m\"\nstream_max_retries = 7\nfuture = 1\n");
        assert_eq!(
            loaded,
            Ok(Loaded {
                settings: Settings {
                    model: Some("m".into()),
                    stream_max_retries: Some(7),
                    ..Settings::default()
                },
                warnings: vec![
                    "config.toml: warning: `future` is not a known key and was ignored".into()
                ],
            })
        );
    }

    #[test]
    fn a_wrong_type_is_an_error_that_shows_the_place() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.toml"), "model = 3\n").unwrap();
        let text = Settings::load(folder.path()).unwrap_err().to_string();
        assert!(
            text.contains("config.toml") && text.contains("line 1"),
            "{text}"
        );
    }

    #[test]
    fn a_flag_beats_the_file() {
        let flags = Settings {
            model: Some("flag".into()),
            ..Settings::default()
        };
        let file = Settings {
            model: Some("file".into()),
            effort: Some("low".into()),
            ..Settings::default()
        };
        assert_eq!(
            flags.or(file),
            Settings {
                model: Some("flag".into()),
                effort: Some("low".into()),
                ..Settings::default()
            }
        );
    }
}
