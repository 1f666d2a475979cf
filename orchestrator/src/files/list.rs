//! `farstep ls`: what a directory holds.

use std::io::IsTerminal as _;

use farstep_environments::Executor;
use farstep_environments::fs::{DirectoryEntry, Metadata};
use farstep_path_uri::PathUri;
use futures_util::{StreamExt as _, stream};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::error::FileCause;
use super::far::Far;
use super::{in_world, with_each};
use crate::cli::LsArgs;
use crate::render::{self, Failure};
use crate::setup::Surroundings;

const OPERATION: &str = "list";

/// Entries that are asked about at once.
const LOOKS_AT_ONCE: usize = 64;

/// Runs the command and gives its exit code.
pub async fn ls(args: LsArgs, surroundings: &Surroundings) -> Result<u8, Failure> {
    let LsArgs {
        mut places,
        environment,
        long,
        all,
        json,
    } = args;
    if places.is_empty() {
        places.push(String::new());
    }
    let several = places.len() > 1;
    in_world(surroundings, environment, async |world| {
        let mut first = true;
        with_each(&places, json, async |place| {
            let (far, path) = world.find(OPERATION, place).await?;
            let listed = look(&far, &path, all, long || json).await;
            let listed = listed.map_err(|cause| cause.of(OPERATION, far.show(&path)))?;
            let mut lines = Vec::new();
            if several && listed.is_directory && !json {
                if !std::mem::replace(&mut first, false) {
                    lines.push(String::new());
                }
                lines.push(format!("{}:", far.show(&path)));
            }
            match long {
                true => lines.extend(in_columns(&listed.rows)),
                false => lines.extend(listed.rows.iter().map(|row| row.name.clone())),
            }
            match json {
                true => listed.rows.iter().try_for_each(render::print_json_line),
                false => print(&lines),
            }
            .map_err(Failure::Output)
        })
        .await
    })
    .await
}

fn print(lines: &[String]) -> std::io::Result<()> {
    render::print_lines(lines, std::io::stdout().is_terminal())
}

struct Listed {
    is_directory: bool,
    rows: Vec<Row>,
}

/// One name, with as much as was asked for.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    name: String,
    kind: Kind,
    /// Whether the name is a link; kind, size and the rest are of what it leads to.
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<bool>,
    /// In octal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<String>,
    /// In bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    /// Unix milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    modified_at_ms: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Directory,
    File,
    Other,
}

impl Kind {
    fn of(is_directory: bool, is_file: bool) -> Kind {
        match (is_directory, is_file) {
            (true, _) => Kind::Directory,
            (_, true) => Kind::File,
            _ => Kind::Other,
        }
    }
}

impl Row {
    fn new(name: String, kind: Kind) -> Row {
        Row {
            name,
            kind,
            link: None,
            mode: None,
            size: None,
            modified_at_ms: None,
        }
    }

    fn described(name: String, found: &Metadata) -> Row {
        Row {
            link: Some(found.is_symlink),
            mode: found.mode.map(|mode| format!("{mode:03o}")),
            size: Some(found.size),
            modified_at_ms: (found.modified_at_ms != 0).then_some(found.modified_at_ms),
            ..Row::new(name, Kind::of(found.is_directory, found.is_file))
        }
    }
}

async fn look(far: &Far, path: &PathUri, all: bool, long: bool) -> Result<Listed, FileCause> {
    let found = far
        .call(async |to: &Executor| to.metadata(path).await)
        .await?;
    if !found.is_directory {
        let name = path.file_name().unwrap_or_else(|| path.to_string());
        let row = Row::described(name, &found);
        return Ok(Listed {
            is_directory: false,
            rows: vec![row],
        });
    }
    let mut entries = far
        .call(async |to: &Executor| to.read_directory(path).await)
        .await?;
    entries.retain(|entry| all || !entry.file_name.starts_with('.'));
    entries.sort_unstable_by(|a, b| a.file_name.cmp(&b.file_name));
    let rows = stream::iter(entries)
        .map(|entry| row(far, path, entry, long))
        .buffered(LOOKS_AT_ONCE)
        .collect()
        .await;
    Ok(Listed {
        is_directory: true,
        rows,
    })
}

/// What is known of an entry. One that is gone by now, or cannot be looked at, has a name still.
async fn row(far: &Far, folder: &PathUri, entry: DirectoryEntry, long: bool) -> Row {
    let plain = Row::new(
        entry.file_name.clone(),
        Kind::of(entry.is_directory, entry.is_file),
    );
    let path = folder.join_descendant(&entry.file_name).ok();
    let Some(path) = path.filter(|_| long) else {
        return plain;
    };
    match far
        .call(async |to: &Executor| to.metadata(&path).await)
        .await
    {
        Ok(found) => Row::described(entry.file_name, &found),
        Err(_) => plain,
    }
}

/// Mode, size, time and name, as other systems show them; what is not known is a question mark.
fn in_columns(rows: &[Row]) -> Vec<String> {
    let size = |row: &Row| row.size.map_or("?".to_owned(), |size| size.to_string());
    let width = rows.iter().map(|row| size(row).len()).max().unwrap_or(0);
    let line = |row: &Row| {
        format!(
            "{}{}  {:>width$}  {:16}  {}",
            letter(row),
            rights(row.mode.as_deref()),
            size(row),
            row.modified_at_ms
                .and_then(time)
                .unwrap_or_else(|| "?".into()),
            row.name
        )
    };
    rows.iter().map(line).collect()
}

fn letter(row: &Row) -> char {
    match (row.link, row.kind) {
        (Some(true), _) => 'l',
        (_, Kind::Directory) => 'd',
        (_, Kind::File) => '-',
        (_, Kind::Other) => '?',
    }
}

fn rights(mode: Option<&str>) -> String {
    let Some(mode) = mode.and_then(|mode| u32::from_str_radix(mode, 8).ok()) else {
        return "?????????".to_owned();
    };
    let bit = |(place, letter): (u32, char)| {
        let is_set = (mode >> (8 - place)) & 1 == 1;
        if is_set { letter } else { '-' }
    };
    (0..9).zip("rwx".chars().cycle()).map(bit).collect()
}

fn time(unix_ms: i64) -> Option<String> {
    let at = Timestamp::from_millisecond(unix_ms).ok()?;
    let at = at.to_zoned(TimeZone::system());
    Some(at.strftime("%Y-%m-%d %H:%M").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_shown_as_people_know_them() {
        assert_eq!(rights(Some("640")), "rw-r-----");
        assert_eq!(rights(Some("751")), "rwxr-x--x");
        assert_eq!(rights(Some("000")), "---------");
        assert_eq!(rights(None), "?????????");
    }

    #[test]
    fn columns_line_up_and_what_is_not_known_is_a_question_mark() {
        let rows = [
            Row {
                size: Some(12345),
                mode: Some("755".into()),
                link: Some(false),
                ..Row::new("a".into(), Kind::Directory)
            },
            Row::new("b".into(), Kind::File),
        ];
        let gap = " ".repeat(15);
        assert_eq!(
            in_columns(&rows),
            [
                format!("drwxr-xr-x  12345  ?{gap}  a"),
                format!("-?????????      ?  ?{gap}  b"),
            ]
        );
    }
}
