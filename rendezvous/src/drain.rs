//! How an operator has a running node drain: a file in its folder, which nobody else can make.

use std::io;
use std::path::Path;
use std::time::Duration;

/// The file.
const FILE: &str = "drain";

/// How often a node looks for it.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Asks the node that runs on the folder, if there is one.
pub fn ask(folder: &Path) -> io::Result<()> {
    std::fs::write(folder.join(FILE), b"")
}

/// Waits until somebody asks. What was asked of a former node does not count.
pub async fn asked(folder: &Path) {
    let file = folder.join(FILE);
    // It is rarely there.
    let _: io::Result<()> = tokio::fs::remove_file(&file).await;
    loop {
        tokio::time::sleep(LOOK_AGAIN).await;
        if tokio::fs::remove_file(&file).await.is_ok() {
            return;
        }
    }
}
