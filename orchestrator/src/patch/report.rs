//! What the model reads about a patch. The shape is the one models know.

use std::fmt::Write as _;
use std::time::Duration;

use super::parse::ParseError;
use super::plan::{ChangeKind, Changes, FileChange, VerifyError};

/// One operation that did not happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What was to be done, e.g. `write new/n.txt`.
    pub operation: String,
    pub reason: String,
}

/// The answer after everything went through.
pub fn succeeded(changes: &Changes, took: Duration) -> String {
    let mut text = head(0, took);
    text += "Success. Updated the following files:\n";
    // Sorted by letter, as models are used to, and by their place in the patch within one.
    for kind in [ChangeKind::Add, ChangeKind::Update, ChangeKind::Delete] {
        for change in changes.files.iter().filter(|change| change.kind == kind) {
            text += &line(change);
        }
    }
    text
}

/// The answer after some operations failed: which, and that the others stand.
pub fn failed(failures: &[Failure], done: &[String], took: Duration) -> String {
    let mut text = head(1, took);
    for Failure { operation, reason } in failures {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "Failed to {operation}: {reason}");
    }
    if done.is_empty() {
        text += "No file was changed.\n";
    } else {
        text += "The patch is half applied. These operations succeeded:\n";
        for operation in done {
            let _ = writeln!(text, "{operation}");
        }
    }
    text
}

/// The answer to a text that is not a patch.
pub fn invalid(error: &ParseError) -> String {
    format!("apply_patch verification failed: invalid patch: {error}")
}

/// The answer to a patch that does not fit what is there; nothing was changed.
pub fn unfit(error: &VerifyError) -> String {
    format!("apply_patch verification failed: {error}")
}

fn head(exit_code: i32, took: Duration) -> String {
    // To a tenth, and without it where it says nothing: `0`, `0.3`, `2`.
    let tenths = (took.as_secs_f64() * 10.0).round() / 10.0;
    format!("Exit code: {exit_code}\nWall time: {tenths} seconds\nOutput:\n")
}

fn line(change: &FileChange) -> String {
    let letter = match change.kind {
        ChangeKind::Add => 'A',
        ChangeKind::Update => 'M',
        ChangeKind::Delete => 'D',
    };
    let path = &change.path;
    match &change.moved_to {
        Some(moved_to) => format!("{letter} {path} -> {moved_to}\n"),
        None => format!("{letter} {path}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(kind: ChangeKind, path: &str, moved_to: Option<&str>) -> FileChange {
        let moved_to = moved_to.map(str::to_owned);
        FileChange {
            kind,
            path: path.into(),
            moved_to,
            before: None,
            after: None,
        }
    }

    #[test]
    fn a_success_lists_what_was_changed() {
        let changes = Changes {
            directories: vec![],
            writes: vec![],
            deletes: vec![],
            moved_away: vec![],
            files: vec![
                change(ChangeKind::Delete, "del.txt", None),
                change(ChangeKind::Update, "f.txt", None),
                change(ChangeKind::Add, "new/n.txt", None),
                change(ChangeKind::Update, "a.txt", Some("b.txt")),
            ],
        };
        insta::assert_snapshot!(succeeded(&changes, Duration::from_millis(12)));
    }

    #[test]
    fn a_failure_says_what_stands() {
        let failure = Failure {
            operation: "write new/n.txt".into(),
            reason: "permission denied".into(),
        };
        insta::assert_snapshot!(failed(
            &[failure],
            &["write f.txt".into()],
            Duration::from_millis(2345)
        ));
    }

    #[test]
    fn a_text_that_is_no_patch_is_answered_with_its_mistake() {
        let expected = "apply_patch verification failed: invalid patch: line 3: the path is empty";
        assert_eq!(invalid(&ParseError::NoPath(3)), expected);
    }

    #[test]
    fn wall_time_is_shown_to_a_tenth_of_a_second() {
        let shown = |ms| {
            head(0, Duration::from_millis(ms))
                .lines()
                .nth(1)
                .map(str::to_owned)
        };
        assert_eq!(shown(49).as_deref(), Some("Wall time: 0 seconds"));
        assert_eq!(shown(340).as_deref(), Some("Wall time: 0.3 seconds"));
        assert_eq!(shown(1960).as_deref(), Some("Wall time: 2 seconds"));
    }
}
