//! What valid files mean beyond the shared vectors: our own tables in full.

use serde_json::json;

use super::accepted;

/// Every key there is.
const FULL: &str = r#"
default = "devbox"
include_local = false

[farstep]
on_primary_failure = "next-ready"
hot_reload = true
new_thread = "all"
config_version = 1

[[environments]]
id = "devbox"
url = "wss://devbox.example:8443"
connect_timeout_sec = 2.5
initialize_timeout_sec = 20
skills = { required = ["deploy"] }

[environments.farstep]
os = "linux"
arch = "x86_64"
cwd = "/srv/app"
roots = ["/srv/app", "file:///srv/lib"]
permission_profile = "workspace-write"
labels = { region = "eu-1", tier = "ci" }
connect = "eager"
required = true

[environments.farstep.auth]
bearer = { command = ["pass", "show", "devbox"] }
[environments.farstep.tls]
ca_file = "tls/ca.pem"
client_cert_file = "/etc/tls/me.pem"
client_key_file = "tls/me.key"
server_name = "devbox.internal"
pin_sha256 = ["47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="]
[environments.farstep.headers]
X-Team = "core"
[environments.farstep.env]
set = { LANG = "C.UTF-8" }
pass = ["HOME"]
unset = ["OPENAI_API_KEY"]
[environments.farstep.health]
interval_sec = 30
timeout_sec = 5
[environments.farstep.restart]
policy = "always"
max_attempts = 5
backoff_sec = 0.5

[[environments]]
id = "win"
program = "wine"
args = ["executor.exe"]
env = { WINEDEBUG = "-all" }
cwd = "wine"
farstep = { os = "windows", cwd = 'C:\src', auth = {}, connect = "lazy" }
"#;

#[test]
#[cfg(unix)]
fn every_key_reaches_the_normalised_form() {
    assert_eq!(
        accepted(FULL).to_json(),
        json!({
            "default": {"kind": "environment", "id": "devbox"},
            "include_local": false,
            "farstep": {
                "on_primary_failure": "next-ready",
                "hot_reload": true,
                "new_thread": "all",
                "config_version": 1,
            },
            "environments": [
                {
                    "id": "devbox",
                    "transport": {
                        "type": "websocket",
                        "url": "wss://devbox.example:8443",
                        "connect_timeout_ms": 2500,
                        "initialize_timeout_ms": 20000,
                        "bearer": true,
                    },
                    "skills_required": ["deploy"],
                    "farstep": {
                        "os": "linux",
                        "arch": "x86_64",
                        "cwd": "file:///srv/app",
                        "roots": ["file:///srv/app", "file:///srv/lib"],
                        "permission_profile": "workspace-write",
                        "labels": {"region": "eu-1", "tier": "ci"},
                        "connect": "eager",
                        "required": true,
                        "auth": {"bearer": {"command": ["pass", "show", "devbox"]}},
                        "tls": {
                            "ca_file": "/config/tls/ca.pem",
                            "client_cert_file": "/etc/tls/me.pem",
                            "client_key_file": "/config/tls/me.key",
                            "server_name": "devbox.internal",
                            "pin_sha256": ["47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="],
                        },
                        "headers": {"X-Team": "core"},
                        "env": {
                            "set": {"LANG": "C.UTF-8"},
                            "pass": ["HOME"],
                            "unset": ["OPENAI_API_KEY"],
                        },
                        "health": {"interval_ms": 30000, "timeout_ms": 5000},
                        "restart": {
                            "policy": "always",
                            "max_attempts": 5,
                            "backoff_ms": 500,
                        },
                    },
                },
                {
                    "id": "win",
                    "transport": {
                        "type": "stdio",
                        "program": "wine",
                        "args": ["executor.exe"],
                        "env": {"WINEDEBUG": "-all"},
                        "cwd": "/config/wine",
                        "initialize_timeout_ms": 10000,
                    },
                    "skills_required": [],
                    "farstep": {
                        "os": "windows",
                        "cwd": "file:///C:/src",
                        "auth": {},
                        "connect": "lazy",
                    },
                },
            ],
        })
    );
}

#[test]
fn a_native_path_without_a_declared_system_is_read_as_it_is_spelled() {
    let cwd = |path: &str| {
        let text = format!("[[environments]]\nid = \"a\"\nprogram = \"p\"\nfarstep.cwd = '{path}'");
        let extension = &accepted(&text).entries[0].farstep;
        extension.cwd.as_ref().unwrap().as_str().to_owned()
    };
    assert_eq!(cwd("/srv/app"), "file:///srv/app");
    assert_eq!(cwd(r"C:\src"), "file:///C:/src");
    assert_eq!(cwd(r"\\server\share\src"), "file://server/share/src");
    assert_eq!(cwd("file:///D:/src"), "file:///D:/src");
}

#[test]
fn an_empty_working_folder_is_the_configuration_folder() {
    let text = "[[environments]]\nid = \"a\"\nprogram = \"p\"\ncwd = \"\"";
    assert_eq!(
        accepted(text).to_json()["environments"][0]["transport"]["cwd"],
        json!("/config")
    );
}
