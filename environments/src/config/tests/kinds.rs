//! Each complaint, and the place it points at.

use super::{accepted, places, refused};

/// The lines of an entry after `id = "box"`; the text begins at line 3.
pub(super) fn entry(lines: &str) -> String {
    format!("[[environments]]\nid = \"box\"\n{lines}\n")
}

#[track_caller]
pub(super) fn complains(text: &str, expected: &[&str]) {
    assert_eq!(places(&refused(text)), expected, "{text}");
}

#[track_caller]
fn warns(text: &str, expected: &[&str]) {
    assert_eq!(places(&accepted(text).warnings), expected, "{text}");
}

#[test]
fn a_wrong_type_is_told_at_the_value_and_in_a_header_at_its_last_name() {
    complains("default = 1", &["wrong_type default 1:11"]);
    complains(
        "include_local = \"yes\"",
        &["wrong_type include_local 1:17"],
    );
    complains("environments = 5", &["wrong_type environments 1:16"]);
    complains("environments = [ 5 ]", &["wrong_type environments[0] 1:18"]);
    complains(
        "[environments.box]\nurl = \"ws://a\"",
        &["wrong_type environments 1:2"],
    );
    complains("farstep = true", &["wrong_type farstep 1:11"]);
    complains(
        &entry("program = \"p\"\n[environments.args]"),
        &["wrong_type environments[0].args 4:15"],
    );
    complains(
        &entry("program = \"p\"\nargs = [\"a\", 1, true]"),
        &[
            "wrong_type environments[0].args[1] 4:14",
            "wrong_type environments[0].args[2] 4:17",
        ],
    );
    complains(
        &entry("program = \"p\"\nenv = { A = 1, \"b c\" = 2 }"),
        &[
            "wrong_type environments[0].env.A 4:13",
            "wrong_type environments[0].env.\"b c\" 4:24",
        ],
    );
    complains(
        &entry("url = 5\nconnect_timeout_sec = \"1\""),
        &[
            "wrong_type environments[0].url 3:7",
            "wrong_type environments[0].connect_timeout_sec 4:23",
        ],
    );
}

#[test]
fn an_unknown_key_is_told_at_the_key_at_every_level() {
    complains("[nope]\nx = 1", &["unknown_field nope 1:2"]);
    complains(
        "[farstep]\nhot_relaod = true",
        &["unknown_field farstep.hot_relaod 2:1"],
    );
    complains(
        &entry("url = \"ws://a\"\nskills = { require = [] }"),
        &["unknown_field environments[0].skills.require 4:12"],
    );
    for (table, key) in [
        ("auth", "token"),
        ("tls", "ca"),
        ("env", "add"),
        ("health", "interval"),
        ("restart", "times"),
    ] {
        complains(
            &entry(&format!(
                "url = \"wss://a\"\n[environments.farstep.{table}]\n{key} = 1"
            )),
            &[&format!(
                "unknown_field environments[0].farstep.{table}.{key} 5:1"
            )],
        );
    }
}

#[test]
fn the_help_for_an_unknown_key_knows_the_nearest_name_and_the_right_table() {
    let helps = |text: &str| {
        let diagnostics = refused(text);
        diagnostics[0].help.clone().unwrap()
    };
    assert_eq!(helps("[[environment]]"), "did you mean `environments`?");
    assert_eq!(
        helps(&entry("url = \"ws://a\"\nauth_token = \"x\"")),
        "expected one of `id`, `url`, `auth_bearer_token`, `connect_timeout_sec`, `program`, \
         `args`, `env`, `cwd`, `initialize_timeout_sec`, `skills`, `farstep`"
    );
    assert_eq!(
        helps(&entry("url = \"ws://a\"\nconect_timeout_sec = 1")),
        "did you mean `connect_timeout_sec`?"
    );
    assert_eq!(
        helps(&entry("url = \"ws://a\"\n[environments.tls]")),
        "`tls` belongs into [environments.farstep]"
    );
}

#[test]
fn something_missing_is_told_at_the_bracket_that_should_hold_it() {
    complains(
        "  [[ environments ]]\nurl = \"ws://a\"",
        &["missing_field environments[0].id 1:3"],
    );
    complains(
        "environments = [ { url = \"ws://a\" }, { id = \"b\" } ]",
        &[
            "missing_field environments[0].id 1:18",
            "transport_missing environments[1] 1:38",
        ],
    );
    complains(
        &entry("url = \"wss://a\"\n[environments.farstep.auth]\nbearer = {}"),
        &["secret_source_missing environments[0].farstep.auth.bearer 5:10"],
    );
    complains(
        &entry("url = \"wss://a\"\n[environments.farstep.auth.bearer]"),
        &["secret_source_missing environments[0].farstep.auth.bearer 4:1"],
    );
}

#[test]
fn an_id_is_checked_from_its_ends_to_its_length() {
    let id = |text: &str| format!("[[environments]]\nid = {text}\nprogram = \"p\"");
    let at = |kind: &str| format!("{kind} environments[0].id 2:6");
    for (text, kind) in [
        ("\"\"", "empty_id"),
        ("\" \"", "id_whitespace"),
        ("\" local\"", "id_whitespace"),
        ("\"box\\t\"", "id_whitespace"),
        ("\"NONE\"", "reserved_id"),
        ("\"local\"", "reserved_id"),
        ("\"bo x\"", "id_charset"),
        ("\"böx\"", "id_charset"),
        ("5", "wrong_type"),
    ] {
        complains(&id(text), &[&at(kind)]);
    }
    let longest = "a".repeat(64);
    assert_eq!(
        accepted(&id(&format!("\"{longest}\""))).entries[0]
            .id
            .as_str(),
        longest
    );
    complains(&id(&format!("\"{longest}a\"")), &[&at("id_too_long")]);
}

#[test]
fn a_default_names_a_configured_environment_exactly() {
    let with = |default: &str| format!("default = {default}\n{}", entry("program = \"p\""));
    complains(&with("\"Box\""), &["default_unknown default 1:11"]);
    complains(&with("\"  \""), &["default_empty default 1:11"]);
    complains(&with("\"Local\""), &["default_unknown default 1:11"]);
    assert_eq!(
        refused(&with("\"Box\""))[0].help.as_deref(),
        Some("did you mean \"box\"? ids are case-sensitive")
    );
}

#[test]
fn a_default_whose_entry_is_refused_is_not_called_unknown() {
    complains(
        "default = \"a.b\"\n[[environments]]\nid = \"a.b\"\nprogram = \"p\"",
        &["id_charset environments[0].id 3:6"],
    );
    complains(
        "default = \"box\"\n[[environments]]\nid = \"box\"",
        &["transport_missing environments[0] 2:1"],
    );
}

#[test]
fn the_transport_that_came_second_is_the_one_too_many() {
    complains(
        &entry("program = \"p\"\nurl = \"ws://a\""),
        &["transport_conflict environments[0].url 4:1"],
    );
}

#[test]
fn companions_without_their_transport_are_told_at_the_key() {
    complains(
        &entry("url = \"ws://a\"\nargs = []\ncwd = \"x\"\n[environments.env]"),
        &[
            "requires_program environments[0].args 4:1",
            "requires_program environments[0].cwd 5:1",
            "requires_program environments[0].env 6:15",
        ],
    );
    complains(
        &entry("cwd = \"x\"\nconnect_timeout_sec = 1"),
        &[
            "transport_missing environments[0] 1:1",
            "requires_program environments[0].cwd 3:1",
            "requires_url environments[0].connect_timeout_sec 4:1",
        ],
    );
}

#[test]
fn a_duration_is_finite_and_not_negative() {
    let timeout = |text: &str| entry(&format!("program = \"p\"\ninitialize_timeout_sec = {text}"));
    for text in [
        "-1",
        "-0.5",
        "nan",
        "-nan",
        "inf",
        "-inf",
        "1e300",
        "1e999",
        "99999999999999999999999",
    ] {
        complains(
            &timeout(text),
            &["duration_invalid environments[0].initialize_timeout_sec 4:26"],
        );
    }
    for (text, millis) in [
        ("0.25", 250),
        ("1_000", 1_000_000),
        ("0x10", 16_000),
        ("+2", 2_000),
        ("1e-3", 1),
        ("9223372036854775807", 100 * 365 * 24 * 60 * 60 * 1000),
    ] {
        let config = accepted(&timeout(text));
        assert_eq!(
            config.entries[0].initialize_timeout.as_millis(),
            millis,
            "{text}"
        );
    }
}

#[test]
fn a_url_is_checked_for_its_scheme_and_its_syntax_only() {
    let url = |text: &str| entry(&format!("url = \"{text}\""));
    for (text, kind) in [
        ("devbox.example", "url_scheme"),
        ("WSS://devbox.example", "url_scheme"),
        ("wss:devbox.example", "url_scheme"),
        ("wss:///path", "url_invalid"),
        ("ws://a b", "url_invalid"),
        ("ws://[::1", "url_invalid"),
    ] {
        complains(&url(text), &[&format!("{kind} environments[0].url 3:7")]);
    }
    warns(
        &url("ws://devbox.example:99999"),
        &["url_port_invalid environments[0].url 3:7"],
    );
    warns(&url("ws://u:p@devbox.example:1/x?role=harness#f"), &[]);
}

#[test]
fn a_token_needs_an_encrypted_or_a_short_way_and_legal_bytes() {
    let with = |url: &str, token: &str| {
        entry(&format!("url = \"{url}\"\nauth_bearer_token = \"{token}\""))
    };
    complains(
        &with("ws://127.0.0.1.example", "x"),
        &["insecure_credential environments[0].auth_bearer_token 4:1"],
    );
    complains(
        &with("ws://localhost@devbox", "x"),
        &["insecure_credential environments[0].auth_bearer_token 4:1"],
    );
    complains(
        &with("wss://devbox", "a\\nb"),
        &["header_value_invalid environments[0].auth_bearer_token 4:21"],
    );
    // The scheme is the mistake; the token is judged when the scheme is right.
    complains(
        &with("http://devbox", "x"),
        &["url_scheme environments[0].url 3:7"],
    );
    for url in [
        "ws://localhost:1",
        "ws://127.8.9.1",
        "ws://[::1]:5",
        "wss://devbox",
    ] {
        warns(
            &with(url, " "),
            &["inline_secret environments[0].auth_bearer_token 4:1"],
        );
    }
}

#[test]
fn what_is_legal_but_hardly_meant_is_a_warning() {
    warns(
        "[[environments]]\nid = \"LOCAL\"\nprogram = \"p\"",
        &["id_resembles_reserved environments[0].id 2:6"],
    );
    warns(
        &entry("program = \"p\"\ncwd = \"\"\nenv = { \"\" = \"1\", \"A=B\" = \"2\" }"),
        &[
            "empty_cwd environments[0].cwd 4:7",
            "env_key_invalid environments[0].env.\"\" 5:9",
            "env_key_invalid environments[0].env.\"A=B\" 5:19",
        ],
    );
    warns(
        &entry("program = \"p\"\ninitialize_timeout_sec = 0.0"),
        &["zero_timeout environments[0].initialize_timeout_sec 4:26"],
    );
}

#[test]
fn a_refused_file_has_no_warnings() {
    complains(
        &entry("program = \"p\"\ncwd = \"\"\nnope = 1"),
        &["unknown_field environments[0].nope 5:1"],
    );
}

#[test]
fn text_that_is_not_toml_is_told_alone_and_once_per_line() {
    complains(
        "zzz = 1\nid = = \"x\"\nurl = ws://devbox\n[[environments]\n",
        &[
            "toml_syntax - 2:6",
            "toml_syntax - 3:7",
            "toml_syntax - 4:16",
        ],
    );
    complains("default = \"a\"\ndefault = \"b\"", &["toml_syntax - 2:1"]);
}

#[test]
fn every_error_is_told_by_position_and_never_more_than_twenty() {
    complains(
        "default = \"\"\nnope = 1\n[[environments]]\nid = \"\"\nargs = 5\nurl = \"x\"\n\
         [[environments]]\nid = \"a\"\nprogram = \" \"\n[[environments]]\nid = \"a\"\n",
        &[
            "default_empty default 1:11",
            "unknown_field nope 2:1",
            "empty_id environments[0].id 4:6",
            "requires_program environments[0].args 5:1",
            "wrong_type environments[0].args 5:8",
            "url_scheme environments[0].url 6:7",
            "program_empty environments[1].program 9:11",
            "transport_missing environments[2] 10:1",
            "duplicate_id environments[2].id 11:6",
        ],
    );
    let many: Vec<String> = (10..99).map(|n| format!("key{n} = 1\n")).collect();
    let expected: Vec<String> = (10..30)
        .map(|n| format!("unknown_field key{n} {}:1", n - 9))
        .collect();
    assert_eq!(places(&refused(&many.concat())), expected);
}
