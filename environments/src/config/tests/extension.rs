//! The complaints about our own tables.

use super::kinds::{complains, entry};

#[test]
fn our_own_credentials_follow_the_rules_of_the_token() {
    let with = |transport: &str, table: &str| entry(&format!("{transport}\n{table}"));
    let auth = "farstep.auth.bearer.env = \"T\"";
    let headers = "farstep.headers = { X-Team = \"core\" }";
    complains(
        &with("url = \"ws://devbox\"", auth),
        &["insecure_credential environments[0].farstep.auth.bearer 4:14"],
    );
    complains(
        &with("url = \"ws://devbox\"", headers),
        &["insecure_credential environments[0].farstep.headers.X-Team 4:21"],
    );
    complains(
        &with("program = \"p\"", auth),
        &["requires_url environments[0].farstep.auth.bearer 4:14"],
    );
    complains(
        &with("program = \"p\"", headers),
        &["requires_url environments[0].farstep.headers.X-Team 4:21"],
    );
    complains(
        &with("program = \"p\"", "farstep.tls.ca_file = \"ca.pem\""),
        &["tls_requires_wss environments[0].farstep.tls.ca_file 4:13"],
    );
    complains(
        &with(
            "url = \"wss://devbox\"",
            "farstep.headers = { \"X Team\" = \"core\", X-Other = \"a\\u0000\" }",
        ),
        &[
            "header_value_invalid environments[0].farstep.headers.\"X Team\" 4:21",
            "header_value_invalid environments[0].farstep.headers.X-Other 4:50",
        ],
    );
    complains(
        &with(
            "url = \"wss://devbox\"",
            "farstep.auth.bearer = { file = \"t\", env = \"T\", command = [] }",
        ),
        &[
            "secret_source_conflict environments[0].farstep.auth.bearer.env 4:37",
            "secret_source_conflict environments[0].farstep.auth.bearer.command 4:48",
        ],
    );
    complains(
        &with("url = \"wss://devbox\"", "farstep.auth.bearer.command = []"),
        &["value_invalid environments[0].farstep.auth.bearer.command 4:31"],
    );
}

#[test]
fn what_secures_a_connection_is_whole_and_well_formed() {
    let tls = |lines: &str| {
        entry(&format!(
            "url = \"wss://devbox\"\n[environments.farstep.tls]\n{lines}"
        ))
    };
    complains(
        &tls("client_cert_file = \"me.pem\""),
        &["missing_field environments[0].farstep.tls.client_key_file 4:1"],
    );
    complains(
        &tls("client_key_file = \"me.key\""),
        &["missing_field environments[0].farstep.tls.client_cert_file 4:1"],
    );
    complains(
        &tls("pin_sha256 = []"),
        &["value_invalid environments[0].farstep.tls.pin_sha256 5:14"],
    );
    complains(
        &tls("pin_sha256 = [\"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\", \"abc\"]"),
        &["value_invalid environments[0].farstep.tls.pin_sha256[1] 5:63"],
    );
}

#[test]
fn padding_is_a_yes_or_no_beside_a_rendezvous() {
    let rendezvous = "farstep.rendezvous = \"https://rdv\"\nfarstep.auth.bearer.env = \"T\"";
    let with = |line: &str| entry(&format!("{rendezvous}\nfarstep.padding = {line}"));
    for (value, padding) in [("true", true), ("false", false)] {
        let config = super::accepted(&with(value));
        assert_eq!(
            config.to_json()["environments"][0]["farstep"]["padding"],
            padding
        );
    }
    complains(
        &with("\"always\""),
        &["wrong_type environments[0].farstep.padding 5:19"],
    );
    complains(
        &entry("url = \"wss://devbox\"\nfarstep.padding = true"),
        &["missing_field environments[0].farstep.padding 4:9"],
    );
}

#[test]
fn the_time_for_connecting_is_for_a_rendezvous_too() {
    let with = |transport: &str| entry(&format!("connect_timeout_sec = 2.5\n{transport}"));
    let config = super::accepted(&with(
        "farstep.rendezvous = \"https://rdv\"\nfarstep.auth.bearer.env = \"T\"",
    ));
    assert_eq!(
        config.to_json()["environments"][0]["transport"]["connect_timeout_ms"],
        2500
    );
    complains(
        &with("program = \"p\""),
        &["requires_url environments[0].connect_timeout_sec 3:1"],
    );
}

#[test]
fn headers_that_belong_to_somebody_else_are_refused_with_where_they_belong() {
    for name in [
        "Authorization",
        "COOKIE",
        "Host",
        "Sec-WebSocket-Protocol",
        "origin",
    ] {
        complains(
            &entry(&format!(
                "url = \"wss://devbox\"\nfarstep.headers.{name} = \"x\""
            )),
            &[&format!(
                "header_value_invalid environments[0].farstep.headers.{name} 4:17"
            )],
        );
    }
    let fine = entry("url = \"wss://devbox\"\nfarstep.headers.X-Origin = \"x\"");
    super::accepted(&fine);
}

#[test]
fn a_proxy_is_a_url_without_a_password_or_the_place_of_one() {
    let proxy = |value: &str| entry(&format!("url = \"ws://a\"\nfarstep.proxy = {value}"));
    for value in [
        "\"None\"",
        "\"http://p:3128\"",
        "\"socks5h://[::1]:1080\"",
        "{ env = \"P\" }",
    ] {
        super::accepted(&proxy(value));
    }
    for value in [
        "\"p:3128\"",
        "\"ftp://p\"",
        "\"http://\"",
        "\"\"",
        "\"http://me:x@p\"",
    ] {
        complains(
            &proxy(value),
            &["value_invalid environments[0].farstep.proxy 4:17"],
        );
    }
    complains(
        &proxy("{ env = \"P\", file = \"p\" }"),
        &["secret_source_conflict environments[0].farstep.proxy.file 4:30"],
    );
    complains(
        &entry("program = \"p\"\nfarstep.proxy = \"none\""),
        &["requires_url environments[0].farstep.proxy 4:9"],
    );
}

#[test]
fn our_own_words_labels_and_numbers_have_few_values() {
    let farstep = |line: &str| entry(&format!("program = \"p\"\n[environments.farstep]\n{line}"));
    for (line, key, column) in [
        ("os = \"beos\"", "os", 6),
        ("connect = \"Eager\"", "connect", 11),
        ("arch = \"\"", "arch", 8),
        ("labels = { \"a b\" = \"c\" }", "labels.\"a b\"", 12),
        ("labels = { a = \"\" }", "labels.a", 16),
        ("restart.policy = \"maybe\"", "restart.policy", 18),
        ("restart.max_attempts = -1", "restart.max_attempts", 24),
    ] {
        complains(
            &farstep(line),
            &[&format!(
                "value_invalid environments[0].farstep.{key} 5:{column}"
            )],
        );
    }
    complains(
        "[farstep]\nconfig_version = 2",
        &["value_invalid farstep.config_version 2:18"],
    );
    complains(
        "farstep.new_thread = \"none\"",
        &["value_invalid farstep.new_thread 1:22"],
    );
    complains(
        &farstep("health = { interval_sec = -1, timeout_sec = \"x\" }"),
        &[
            "duration_invalid environments[0].farstep.health.interval_sec 5:27",
            "wrong_type environments[0].farstep.health.timeout_sec 5:45",
        ],
    );
}

#[test]
fn a_remote_path_fits_the_declared_system() {
    let farstep = |lines: &str| entry(&format!("program = \"p\"\n[environments.farstep]\n{lines}"));
    let mismatch = |key: &str, column: usize| {
        format!("path_convention_mismatch environments[0].farstep.{key} 6:{column}")
    };
    for (os, path) in [
        ("windows", "/srv/app"),
        ("windows", "file:///srv/app"),
        ("linux", "C:/src"),
        ("macos", "file:///C:/src"),
    ] {
        let lines = format!("os = \"{os}\"\ncwd = \"{path}\"");
        complains(&farstep(&lines), &[&mismatch("cwd", 7)]);
    }
    complains(
        &farstep("os = \"linux\"\nroots = [\"/srv\", 'C:\\src']"),
        &[&mismatch("roots[1]", 18)],
    );
    for path in ["srv/app", "~", "", "C:", "file://h:5/x", "file:///a%zz"] {
        complains(
            &farstep(&format!("cwd = \"{path}\"")),
            &["value_invalid environments[0].farstep.cwd 5:7"],
        );
    }
}
