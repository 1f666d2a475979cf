//! Secrets that are read anew for each connection, so that rotating one needs no restart.
//!
//! What is read is checked, kept in memory that is wiped, and shown to nobody: errors name the
//! source and never the content (`environments` section 10.2).

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

use crate::config::SecretSource;

/// Longest secret. Tokens have some hundred bytes; more is the wrong file.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// How long a command may take to print a secret: it may have to ask a person or a server.
const COMMAND_MAX: Duration = Duration::from_secs(60);

/// Reads a variable of this process.
pub type Variable = fn(&str) -> Option<OsString>;

/// The bearer token of an entry.
#[derive(Clone)]
pub(crate) enum Bearer {
    None,
    /// It stands in the file itself.
    Inline(SecretString),
    From(SecretSource, Variable),
}

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    #[error("the variable `{0}` is not set, or empty")]
    Unset(String),
    #[error("the file `{path}` cannot be read: {source}")]
    File { path: String, source: io::Error },
    #[error("the file `{0}` can be read by others; run chmod 600 on it")]
    Readable(String),
    #[error("the command `{program}` failed: {reason}")]
    Command { program: String, reason: String },
    #[error("it is longer than {SECRET_BYTES_MAX} bytes, or no text")]
    Content,
    #[error("it is empty")]
    Empty,
}

impl Bearer {
    /// The token as of now.
    pub(crate) async fn resolve(&self) -> Result<Option<SecretString>, SecretError> {
        match self {
            Bearer::None => Ok(None),
            Bearer::Inline(secret) => Ok(Some(secret.clone())),
            Bearer::From(source, variable) => read(source, *variable).await.map(Some),
        }
    }
}

/// A secret as of now.
pub(super) async fn read(
    source: &SecretSource,
    variable: Variable,
) -> Result<SecretString, SecretError> {
    let read = match source {
        SecretSource::Env(name) => {
            let value = variable(name).filter(|value| !value.is_empty());
            let value = value.ok_or_else(|| SecretError::Unset(name.clone()))?;
            Zeroizing::new(value.into_encoded_bytes())
        }
        SecretSource::File(path) => from_file(path).await?,
        SecretSource::Command(words) => from_command(words).await?,
    };
    let text = std::str::from_utf8(&read).map_err(|_| SecretError::Content)?;
    // One line end is the editor's or the command's; more would be part of the secret.
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() {
        return Err(SecretError::Empty);
    }
    Ok(SecretString::from(text))
}

/// Secrets do not show.
impl std::fmt::Debug for Bearer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Bearer::None => f.write_str("None"),
            Bearer::Inline(_) => f.write_str("Inline(..)"),
            Bearer::From(source, _) => write!(f, "From({source:?})"),
        }
    }
}

/// The content of a file that only we can read.
pub(crate) async fn from_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, SecretError> {
    let shown = || path.display().to_string();
    let failed = |source| SecretError::File {
        path: shown(),
        source,
    };
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    // Of the open file: the name could lead elsewhere a moment later.
    let metadata = file.metadata().await.map_err(failed)?;
    #[cfg(unix)]
    if std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o077 != 0 {
        return Err(SecretError::Readable(shown()));
    }
    if !metadata.is_file() || metadata.len() > SECRET_BYTES_MAX {
        return Err(SecretError::Content);
    }
    let mut read = Zeroizing::new(Vec::with_capacity(SECRET_BYTES_MAX as usize));
    file.take(SECRET_BYTES_MAX)
        .read_to_end(&mut read)
        .await
        .map_err(failed)?;
    Ok(read)
}

async fn from_command(words: &[String]) -> Result<Zeroizing<Vec<u8>>, SecretError> {
    let (program, arguments) = words.split_first().ok_or(SecretError::Empty)?;
    let failed = |reason: String| SecretError::Command {
        program: program.clone(),
        reason,
    };
    // The user's own program on the user's own machine, not one of an environment.
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
    let said = child.stdout.take();
    let ended = async {
        let mut read = Zeroizing::new(Vec::with_capacity(SECRET_BYTES_MAX as usize + 1));
        if let Some(said) = said {
            said.take(SECRET_BYTES_MAX + 1)
                .read_to_end(&mut read)
                .await?;
        }
        Ok::<_, io::Error>((child.wait().await?, read))
    };
    let (status, read) = tokio::time::timeout(COMMAND_MAX, ended)
        .await
        .map_err(|_| failed(format!("it took longer than {COMMAND_MAX:?}")))?
        .map_err(|error| failed(error.to_string()))?;
    if !status.success() {
        return Err(failed(status.to_string()));
    }
    if read.len() as u64 > SECRET_BYTES_MAX {
        return Err(SecretError::Content);
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    async fn resolved(source: SecretSource) -> Result<String, String> {
        let variable = |name: &str| (name == "SET").then(|| "from the variable\n".into());
        let secret = Bearer::From(source, variable).resolve().await;
        secret
            .map(|secret| secret.expect("a secret").expose_secret().to_owned())
            .map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_secret_comes_from_a_variable_a_file_or_a_command() {
        let env = SecretSource::Env("SET".to_owned());
        assert_eq!(resolved(env).await.unwrap(), "from the variable");
        let words = ["sh", "-c", "echo from the command"].map(str::to_owned);
        let command = SecretSource::Command(words.to_vec());
        assert_eq!(resolved(command).await.unwrap(), "from the command");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("token");
            std::fs::write(&path, "from the file\r\n").unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
            let file = SecretSource::File(path.clone());
            assert_eq!(resolved(file.clone()).await.unwrap(), "from the file");
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
            assert!(resolved(file).await.unwrap_err().contains("chmod 600"));
        }
    }

    #[tokio::test]
    async fn what_yields_no_secret_is_named_and_its_content_is_not() {
        let command = |words: &[&str]| {
            SecretSource::Command(words.iter().map(|word| (*word).to_owned()).collect())
        };
        for (source, said) in [
            (SecretSource::Env("UNSET".to_owned()), "`UNSET` is not set"),
            (
                SecretSource::File("/no/such".into()),
                "`/no/such` cannot be read",
            ),
            (command(&["/no/such"]), "`/no/such` failed"),
            (
                command(&["sh", "-c", "echo hush; exit 3"]),
                "exit status: 3",
            ),
            (command(&["true"]), "it is empty"),
        ] {
            let error = resolved(source).await.unwrap_err();
            assert!(error.contains(said) && !error.contains("hush"), "{error}");
        }
    }
}
