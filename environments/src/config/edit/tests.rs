use std::path::{Path, PathBuf};

use super::*;
use crate::config::{Places, SecretSource, parse};

fn websocket(id: &str) -> NewEntry {
    NewEntry {
        id: id.to_owned(),
        transport: NewTransport::Url("ws://127.0.0.1:8765".to_owned()),
        bearer: None,
        cwd: None,
        initialize_timeout: None,
        machine: None,
    }
}

fn after(text: &str, changes: &[Change]) -> String {
    edited(text, changes).unwrap()
}

const COMMENTED: &str = "\
#:schema ./environments.schema.json
# My machines.

default   = \"b\"   # the fast one

# The slow one.
[[environments]]
id = \"a\" # a
url = 'ws://127.0.0.1:1'

[environments.farstep]
cwd = \"/a\"

# Machines of others follow.

# The fast one.
[[environments]]
id = \"b\"
program = \"ssh\"
args = [\"-T\",
  \"b\", # the host
]

[farstep]
hot_reload = true
# The end.
";

#[test]
fn an_entry_is_added_behind_everything_and_the_rest_stays_as_it_is() {
    let added = after(COMMENTED, &[Change::Add(websocket("c"))]);
    let expected =
        format!("{COMMENTED}\n[[environments]]\nid = \"c\"\nurl = \"ws://127.0.0.1:8765\"\n");
    assert_eq!(added, expected);
}

#[test]
fn an_entry_goes_with_its_own_comment_and_no_other() {
    let removed = after(COMMENTED, &[Change::Remove("b".to_owned())]);
    assert!(
        !removed.contains("The fast one.\n") && !removed.contains("the host"),
        "{removed}"
    );
    for kept in [
        "My machines",
        "The slow one",
        "Machines of others",
        "The end",
        "# the fast one",
    ] {
        assert!(removed.contains(kept), "{kept}: {removed}");
    }
    let removed = after(COMMENTED, &[Change::Remove("a".to_owned())]);
    assert!(
        !removed.contains("slow") && !removed.contains("cwd"),
        "{removed}"
    );
    for kept in [
        "My machines",
        "Machines of others",
        "The fast one.\n",
        "the host",
    ] {
        assert!(removed.contains(kept), "{kept}: {removed}");
    }
    assert_eq!(
        edited(COMMENTED, &[Change::Remove("B".to_owned())]),
        Err(NotEdited::NoSuchEntry("B".to_owned()))
    );
}

#[test]
fn a_default_is_changed_in_place_or_put_below_the_head_of_the_file() {
    let changed = after(COMMENTED, &[Change::Default("a".to_owned())]);
    assert_eq!(changed, COMMENTED.replace("= \"b\"   #", "= \"a\"   #"));
    let head = "#:schema x\n# Mine.\n\n# A.\n[[environments]]\nid = \"a\"\nurl = \"ws://h\"\n";
    let default = [Change::Default("a".to_owned())];
    assert_eq!(
        after(head, &default),
        head.replace("\n\n# A", "\n\ndefault = \"a\"\n\n# A")
    );
    assert_eq!(after("", &default), "default = \"a\"\n");
    assert_eq!(after("# Mine.", &default), "# Mine.\ndefault = \"a\"\n");
    assert_eq!(
        after("include_local = false\n", &default),
        "include_local = false\ndefault = \"a\"\n"
    );
}

#[test]
fn every_form_of_a_file_can_be_added_to() {
    let entry = "[[environments]]\nid = \"c\"\nurl = \"ws://127.0.0.1:8765\"\n";
    let add = [Change::Add(websocket("c"))];
    for (text, expected) in [
        ("", entry.to_owned()),
        ("# Mine.", format!("# Mine.\n\n{entry}")),
        ("environments = []\n", entry.to_owned()),
        (
            "default = \"none\"",
            format!("default = \"none\"\n\n{entry}"),
        ),
        (
            "environments = [\n  { id = \"a\", url = \"ws://h\" }, # a\n]\n",
            "environments = [\n  { id = \"a\", url = \"ws://h\" }, # a\n  \
             { id = \"c\", url = \"ws://127.0.0.1:8765\" },\n]\n"
                .to_owned(),
        ),
        (
            "environments = [{ id = \"a\", url = \"ws://h\" }]\n",
            "environments = [{ id = \"a\", url = \"ws://h\" }, \
             { id = \"c\", url = \"ws://127.0.0.1:8765\" }]\n"
                .to_owned(),
        ),
    ] {
        assert_eq!(after(text, &add), expected);
    }
}

#[test]
fn windows_line_ends_and_a_byte_order_mark_stay() {
    let windows = format!("\u{feff}{}", COMMENTED.replace('\n', "\r\n"));
    let changes = [
        Change::Add(websocket("c")),
        Change::Default("c".to_owned()),
        Change::Remove("a".to_owned()),
    ];
    let expected = after(COMMENTED, &changes).replace('\n', "\r\n");
    assert_eq!(after(&windows, &changes), format!("\u{feff}{expected}"));
}

#[test]
fn a_new_entry_says_all_it_was_told_and_long_arguments_are_wrapped() {
    let words = [
        "-T",
        "-o",
        "BatchMode=yes",
        "-o",
        "ServerAliveInterval=15",
        "-o",
    ];
    let words = words
        .into_iter()
        .chain(["ServerAliveCountMax=3", "me@box", "exec it \"now\""]);
    let entry = NewEntry {
        transport: NewTransport::Program {
            program: "ssh".to_owned(),
            args: words.map(str::to_owned).collect(),
        },
        cwd: Some("/srv/app".to_owned()),
        initialize_timeout: Some(30),
        ..websocket("far")
    };
    let secret = NewEntry {
        bearer: Some(SecretSource::Env("TOKEN".to_owned())),
        ..websocket("near")
    };
    let text = after("", &[Change::Add(entry), Change::Add(secret)]);
    assert_eq!(
        text,
        "[[environments]]\nid = \"far\"\nprogram = \"ssh\"\n\
         args = [\"-T\", \"-o\", \"BatchMode=yes\", \"-o\", \"ServerAliveInterval=15\", \"-o\",\n    \
         \"ServerAliveCountMax=3\", \"me@box\", 'exec it \"now\"']\n\
         initialize_timeout_sec = 30\n\n[environments.farstep]\ncwd = \"/srv/app\"\n\n\
         [[environments]]\nid = \"near\"\nurl = \"ws://127.0.0.1:8765\"\n\n\
         [environments.farstep.auth]\nbearer = { env = \"TOKEN\" }\n"
    );
    assert_eq!(parse(&text, Path::new("/")).unwrap().entries.len(), 2);
}

#[test]
fn what_the_loader_would_refuse_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("environments.toml");
    let refused = |changes: &[Change]| {
        let before = std::fs::read(&path).ok();
        let error = Draft::new(&Places::only(folder.path()), changes)
            .unwrap_err()
            .to_string();
        assert_eq!(std::fs::read(&path).ok(), before);
        error
    };
    let bad = NewEntry {
        transport: NewTransport::Url("http://h".to_owned()),
        ..websocket("a b")
    };
    let told = refused(&[Change::Add(bad)]);
    assert!(
        told.contains("(as it would be):2:6: error[id_charset]"),
        "{told}"
    );
    assert!(told.contains("error[url_scheme]"), "{told}");
    let told = refused(&[Change::Default("nobody".to_owned())]);
    assert!(told.contains(":1:11: error[default_unknown]"), "{told}");
    std::fs::write(
        &path,
        "default = \"a\"\n[[environments]]\nid = \"a\"\nurl = \"ws://h\"\n",
    )
    .unwrap();
    let told = refused(&[Change::Add(websocket("a"))]);
    assert!(told.contains("error[duplicate_id]"), "{told}");
    let told = refused(&[Change::Remove("a".to_owned())]);
    assert!(told.contains("error[default_unknown]"), "{told}");
    std::fs::write(&path, "nonsense").unwrap();
    let told = refused(&[Change::Add(websocket("b"))]);
    assert!(
        told.contains("toml_syntax") && !told.contains("would be"),
        "{told}"
    );
}

#[test]
fn a_draft_is_saved_as_a_whole_and_only_over_what_it_was_made_from() {
    let folder = tempfile::tempdir().unwrap();
    let config_dir = folder.path().join("not/there/yet");
    let draft = Draft::new(&Places::only(&config_dir), &[Change::Add(websocket("a"))]).unwrap();
    let late = Draft::new(&Places::only(&config_dir), &[Change::Add(websocket("b"))]).unwrap();
    assert!(!config_dir.exists());
    assert_eq!(draft.save().unwrap(), Saved { locked_down: false });
    let path = config_dir.join("environments.toml");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), draft.after);
    assert!(matches!(late.save(), Err(EditError::Changed { .. })));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), draft.after);
    let names: Vec<PathBuf> = std::fs::read_dir(&config_dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(names, [path], "nothing else is left behind");
}

#[test]
fn a_first_file_of_ours_begins_as_a_copy_of_the_one_that_counted() {
    let folder = tempfile::tempdir().unwrap();
    let places = Places {
        own: folder.path().join("own"),
        codex: Some(folder.path().join("codex")),
    };
    let codex = folder.path().join("codex/environments.toml");
    std::fs::create_dir(codex.parent().unwrap()).unwrap();
    let theirs = "# Theirs.\n[[environments]]\nid = \"a\"\nprogram = \"p\"\n";
    std::fs::write(&codex, theirs).unwrap();
    let add = [Change::Add(websocket("b"))];
    let draft = Draft::new(&places, &add).unwrap();
    assert_eq!(draft.copied.as_ref(), Some(&codex));
    draft.save().unwrap();
    assert!(draft.after.starts_with(theirs) && draft.after.contains("\"b\""));
    assert_eq!(std::fs::read_to_string(&codex).unwrap(), theirs);
    // From now on ours counts.
    let again = Draft::new(&places, &[Change::Remove("a".to_owned())]).unwrap();
    assert_eq!(again.copied, None);
    std::fs::remove_file(places.own.join("environments.toml")).unwrap();
    std::fs::write(&codex, format!("{theirs}cwd = \"below\"\n")).unwrap();
    let refused = Draft::new(&places, &add).unwrap_err().to_string();
    assert!(refused.contains("relative paths"), "{refused}");
}

#[cfg(unix)]
#[test]
fn a_file_with_a_secret_becomes_its_owners_alone_and_any_other_keeps_its_mode() {
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("environments.toml");
    let add = |id: &str, url: &str| {
        let entry = NewEntry {
            transport: NewTransport::Url(url.to_owned()),
            ..websocket(id)
        };
        Draft::new(&Places::only(folder.path()), &[Change::Add(entry)])
            .unwrap()
            .save()
            .unwrap()
    };
    add("a", "ws://127.0.0.1:1");
    assert_eq!(mode(&path), 0o600, "a new file");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    assert!(!add("b", "ws://127.0.0.1:1").locked_down);
    assert_eq!(mode(&path), 0o644);
    assert!(add("c", "wss://me:word@127.0.0.1:1").locked_down);
    assert_eq!(mode(&path), 0o600);
    // Behind a link, what it leads to is changed and the link stays.
    let elsewhere = folder.path().join("dotfiles.toml");
    std::fs::rename(&path, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
    add("d", "ws://127.0.0.1:1");
    assert!(path.is_symlink());
    assert!(
        std::fs::read_to_string(&elsewhere)
            .unwrap()
            .contains("\"d\"")
    );
}

#[test]
fn without_our_tables_the_rest_stays_and_every_loss_is_told() {
    let text = COMMENTED.replace(
        "[farstep]\nhot_reload",
        "[environments.farstep.env]\nset = { LANG = \"C\" }\n\n[farstep]\nhot_reload",
    );
    let config = parse(&text, Path::new("/")).unwrap();
    let plain = for_codex(&text, &config).unwrap();
    assert!(!plain.text.contains("farstep"), "{}", plain.text);
    assert!(plain.text.contains("The slow one") && plain.text.contains("# the host"));
    let again = parse(&plain.text, Path::new("/")).unwrap().to_json();
    assert_eq!(again["environments"][1]["transport"]["env"]["LANG"], "C");
    let losses: Vec<_> = plain
        .losses
        .iter()
        .map(|loss| (loss.environment.as_deref(), loss.key.as_str()))
        .collect();
    assert_eq!(losses, [(None, "hot_reload"), (Some("a"), "cwd")]);
}

/// The vectors that everybody shares: whatever loads can be changed, and means the same but for
/// the change.
#[test]
fn every_valid_file_of_the_vectors_survives_a_change_and_its_undoing() {
    let folder = std::env::var_os("FARSTEP_ENVIRONMENTS_VECTORS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/spec/environments-vectors"),
        PathBuf::from,
    );
    let Ok(files) = std::fs::read_dir(folder.join("valid")) else {
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "no vectors under CI"
        );
        eprintln!("skipped: {} is not there", folder.display());
        return;
    };
    let mut seen = 0;
    for file in files {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        for text in [
            text.clone(),
            text.replace('\n', "\r\n"),
            format!("\u{feff}{text}"),
        ] {
            seen += 1;
            let name = path.display();
            let meaning = |text: &str| parse(text, Path::new("/c")).unwrap().to_json();
            let added = after(&text, &[Change::Add(websocket("added"))]);
            let mut expected = meaning(&text);
            let entries = expected["environments"].as_array_mut().unwrap();
            let one = meaning(&after("", &[Change::Add(websocket("added"))]));
            entries.push(one["environments"][0].clone());
            assert_eq!(meaning(&added), expected, "{name}: {added}");
            let removed = after(&added, &[Change::Remove("added".to_owned())]);
            assert_eq!(meaning(&removed), meaning(&text), "{name}");
            assert_eq!(removed.trim_end(), text.trim_end(), "{name}");
        }
    }
    assert!(seen > 30, "{seen}");
}
