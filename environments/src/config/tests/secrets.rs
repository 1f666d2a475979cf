//! A secret of the file is in the transport and nowhere else.

use secrecy::ExposeSecret;

use super::super::Transport;
use super::{accepted, refused, told};

const SECRET: &str = "hunter2";

#[track_caller]
fn keeps_quiet(text: &str) {
    assert!(text.contains(SECRET));
    let diagnostics = refused(text);
    let machine = serde_json::to_string(&diagnostics).unwrap();
    for shown in [told(&diagnostics), machine, format!("{diagnostics:?}")] {
        assert!(!shown.contains(SECRET), "{shown}");
    }
}

#[test]
fn a_token_is_sent_as_it_is_written() {
    let text = format!(
        "[[environments]]\nid = \"a\"\nurl = \"wss://a\"\nauth_bearer_token = \" {SECRET} \""
    );
    let config = accepted(&text);
    let Transport::WebSocket { bearer, .. } = &config.entries[0].transport else {
        panic!("not a websocket");
    };
    assert_eq!(bearer.as_ref().unwrap().expose_secret(), " hunter2 ");
    for shown in [
        format!("{config:?}"),
        config.to_json().to_string(),
        told(&config.warnings),
    ] {
        assert!(!shown.contains(SECRET), "{shown}");
    }
}

#[test]
fn the_debug_form_of_a_config_shows_no_value_that_may_be_secret() {
    let text = format!(
        "[[environments]]\nid = \"a\"\nurl = \"wss://user:{SECRET}@devbox/x@y?key={SECRET}\"\n\
         [environments.farstep.headers]\nX-Key = \"{SECRET}\"\n\
         [environments.farstep.env.set]\nKEY = \"{SECRET}\"\n\
         [[environments]]\nid = \"b\"\nprogram = \"p\"\nargs = [\"--key={SECRET}\"]\n\
         env = {{ KEY = \"{SECRET}\" }}\n"
    );
    let shown = format!("{:?}", accepted(&text));
    assert!(!shown.contains(SECRET), "{shown}");
    for name in ["wss://…@devbox/x@y", "X-Key", "KEY", "1 arguments"] {
        assert!(shown.contains(name), "{name} is not in {shown}");
    }
}

#[test]
fn an_error_on_the_line_of_a_secret_does_not_show_it() {
    let inline = |rest: &str| {
        format!("environments = [{{ id = \"a\", auth_bearer_token = \"{SECRET}\", {rest} }}]")
    };
    keeps_quiet(&inline("url = \"ws://devbox\""));
    keeps_quiet(&inline("program = \"p\""));
    keeps_quiet(&inline("nope = 1"));
    keeps_quiet(&inline("url = \"http://devbox\""));
    let entry = |rest: &str| format!("[[environments]]\nid = \"a\"\n{rest}\n");
    keeps_quiet(&entry(&format!(
        "auth_bearer_token = [\"{SECRET}\"]\nurl = \"wss://a\""
    )));
    keeps_quiet(&entry(&format!(
        "auth_bearer_token = \"{SECRET}\\n\"\nurl = \"wss://a\""
    )));
    keeps_quiet(&entry(&format!("url = \"http://user:{SECRET}@devbox\"")));
    keeps_quiet(&entry(&format!("url = \"ws://user:{SECRET}@dev box\"")));
    keeps_quiet(&entry(&format!(
        "program = \"p\"\nenv = {{ KEY = \"{SECRET}\", N = 1 }}"
    )));
    keeps_quiet(&entry(&format!(
        "url = \"wss://a\"\nfarstep.headers = {{ X = \"{SECRET}\\n\", N = 1 }}"
    )));
    keeps_quiet(&entry(&format!(
        "url = \"wss://a\"\nfarstep.proxy = \"http://me:{SECRET}@p\""
    )));
    keeps_quiet(&entry(&format!(
        "url = \"wss://a\"\nfarstep.env.set = {{ X = \"{SECRET}\", N = 1 }}"
    )));
}

#[test]
fn a_token_in_the_wrong_table_is_not_shown_either() {
    let token = format!("auth_bearer_token = \"{SECRET}\"\n");
    let entry = "[[environments]]\nid = \"a\"\nurl = \"wss://a\"\n";
    for misplaced in [
        token.clone(),
        format!("[farstep]\n{token}"),
        format!("{entry}[environments.farstep]\n{token}"),
        format!("{entry}[environments.farstep.tls]\n{token}"),
        format!("{entry}farstep = [[{{ {} }}]]\n", token.trim()),
        format!("[environments]\n{token}"),
        // Nor where its name is misspelt.
        format!("{entry}auth_bearer_tokn = \"{SECRET}\"\n"),
        format!("{entry}bearer = {{ token = [\"{SECRET}\"] }}\n"),
    ] {
        keeps_quiet(&misplaced);
    }
}

#[test]
fn a_broken_line_with_a_token_does_not_show_it() {
    for broken in [
        format!("auth_bearer_token = \"{SECRET}\n"),
        format!("auth_bearer_token = {SECRET}\n"),
        format!("auth_bearer_token \"{SECRET}\"\n"),
        format!("auth_bearer_token = \"{SECRET}\" \"{SECRET}\"\n"),
        format!("[[environments]]\nauth_bearer_token = \"\"\"\n{SECRET}\"\"\" x\n"),
        format!("environments = [{{ auth_bearer_token = \"{SECRET}\" id = 1 }}]\n"),
    ] {
        keeps_quiet(&broken);
    }
}
