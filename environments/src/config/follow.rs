//! Notices that the files of a configuration have changed.
//!
//! Nobody is told: whoever follows asks, between two steps, because nothing else may change what a
//! step sees. So there is no watcher that could miss a file that is replaced, linked elsewhere or
//! far away; asking costs a look at each file's date and size.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::{Config, LoadError, Places, discover};

/// A file that changed more recently may still be being written.
const SETTLED: Duration = Duration::from_millis(200);

/// How often a file that keeps changing is given that time before it is read as it is.
const ROUNDS: usize = 5;

/// Follows the files of one configuration.
#[derive(Debug)]
pub struct Follower {
    places: Places,
    /// How the files were when they were read last.
    seen: Vec<Look>,
}

/// What is known of a file without reading it; none when there is none.
type Look = Option<(u64, Option<SystemTime>)>;

impl Follower {
    /// Begins to follow. To be made before the files are read, so that no change falls in between.
    pub fn new(places: Places) -> Follower {
        let seen = look(&places.files());
        Follower { places, seen }
    }

    /// The configuration as it is now, if its files have changed since the last call. A change is
    /// told once, whether or not it can be used. Waits a moment for a file that is being written.
    pub async fn changed(
        &mut self,
        variables: impl Fn(&str) -> Option<String>,
    ) -> Option<Result<Config, LoadError>> {
        let files = self.places.files();
        let mut seen = look(&files);
        if seen == self.seen {
            return None;
        }
        for _ in 0..ROUNDS {
            tokio::time::sleep(SETTLED).await;
            let again = look(&files);
            let is_settled = again == seen;
            seen = again;
            if is_settled {
                break;
            }
        }
        self.seen = seen;
        Some(discover(&self.places, variables))
    }
}

fn look(files: &[PathBuf]) -> Vec<Look> {
    let look = |path: &PathBuf| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.len(), metadata.modified().ok()))
    };
    files.iter().map(look).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::FILE_NAME;
    use super::*;

    const NO_VARIABLES: fn(&str) -> Option<String> = |_| None;

    fn write(folder: &Path, text: &str) {
        // As editors do: a new file in the place of the old one.
        let other = folder.join("other");
        std::fs::write(&other, text).unwrap();
        std::fs::rename(other, folder.join(FILE_NAME)).unwrap();
    }

    async fn change(follower: &mut Follower) -> Option<Result<usize, String>> {
        let changed = follower.changed(NO_VARIABLES).await?;
        let entries = changed.map(|config| config.entries.len());
        Some(entries.map_err(|error| error.to_string()))
    }

    #[tokio::test]
    async fn each_change_is_told_once_and_an_unusable_one_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let mut follower = Follower::new(Places::only(folder.path()));
        assert_eq!(change(&mut follower).await, None);
        write(
            folder.path(),
            "[[environments]]\nid = \"a\"\nprogram = \"p\"\n",
        );
        assert_eq!(change(&mut follower).await, Some(Ok(1)));
        assert_eq!(change(&mut follower).await, None);
        write(folder.path(), "[[environments]]\nid = \"a\"\n");
        let refused = change(&mut follower).await.unwrap().unwrap_err();
        assert!(
            refused.contains("environments.toml:1:1: error"),
            "{refused}"
        );
        assert_eq!(change(&mut follower).await, None);
        std::fs::remove_file(folder.path().join(FILE_NAME)).unwrap();
        assert_eq!(change(&mut follower).await, Some(Ok(0)));
    }
}
