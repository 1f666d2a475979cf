use super::*;

#[test]
fn a_machine_is_named_as_ssh_names_it() {
    for (text, shown, destination, port) in [
        ("ssh://me@box:2222", "me@box:2222", "me@box", Some(2222)),
        ("ssh://box", "box", "box", None),
        ("ssh://box/", "box", "box", None),
        ("me@box.example", "me@box.example", "me@box.example", None),
        ("box:22", "box:22", "box", Some(22)),
        ("ssh://[::1]:22", "[::1]:22", "::1", Some(22)),
        ("ssh://Build_Box", "Build_Box", "Build_Box", None),
    ] {
        let target = SshTarget::parse(text).unwrap();
        assert_eq!(target.to_string(), shown);
        assert_eq!(
            (target.destination().as_str(), target.port),
            (destination, port)
        );
    }
    for text in [
        "",
        "ssh://",
        "ssh://box:0x",
        "ssh://-oProxyCommand=id",
        "-oProxyCommand=id",
        "ssh://-l@box",
        "http://box",
        "ws://box",
        "ssh://me:word@box",
        "ssh://box/srv",
        "ssh://box?x",
        "two words",
        "ssh://a%20b@box",
    ] {
        let error = SshTarget::parse(text).unwrap_err().to_string();
        assert!(!error.contains("word@"), "{error}");
    }
}

#[test]
fn every_way_a_login_fails_is_told_apart() {
    let target = SshTarget::parse("me@box").unwrap();
    for (said, hop, remedy) in [
        (
            "ssh: Could not resolve hostname box: Name or service not known",
            SshHop::Name,
            "~/.ssh/config",
        ),
        (
            "ssh: connect to host box port 22: Connection refused",
            SshHop::Tcp,
            "sshd",
        ),
        (
            "ssh: connect to host box port 22: Connection timed out",
            SshHop::Tcp,
            "firewall",
        ),
        (
            "Host key verification failed.",
            SshHop::HostKey,
            "`ssh me@box`",
        ),
        (
            "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.",
            SshHop::HostKey,
            "ssh-keygen -R",
        ),
        (
            "me@box: Permission denied (publickey,password).",
            SshHop::Auth,
            "ssh-copy-id me@box",
        ),
        (
            "/etc/ssh/ssh_config: line 3: Bad configuration option: foo",
            SshHop::Config,
            "line",
        ),
        (
            "'exec' is not recognized as an internal or external command,",
            SshHop::Shell,
            "Windows",
        ),
        ("something else", SshHop::Shell, "ssh -v me@box"),
    ] {
        let error = SshError::of_login(&target, said, "");
        assert_eq!(error.hop, hop, "{said}");
        assert!(error.remedy.contains(remedy), "{}", error.remedy);
        assert!(error.to_string().contains(said), "{error}");
    }
    let error = SshError::of_login(&target, "", "This account is currently not available.");
    assert_eq!(error.hop, SshHop::Shell);
}

#[test]
fn what_fails_there_is_told_with_what_helps() {
    for (step, words, remedy) in [
        (
            "write",
            "sh: write error: No space left on device",
            "make room",
        ),
        (
            "folder",
            "mkdir: cannot create directory: Read-only file system",
            "writable",
        ),
        (
            "folder",
            "mkdir: cannot create directory: Permission denied",
            "writable",
        ),
        ("run", "126 sh: 1: ./x: Permission denied", "noexec"),
        (
            "run",
            "126 sh: 1: ./x: Exec format error",
            "another kind of machine",
        ),
        (
            "run",
            "1 ./x: /lib/libc.so.6: version `GLIBC_2.39' not found",
            "too old",
        ),
        ("run", "127 sh: 1: ./x: not found", "static"),
    ] {
        let error = SshError::there(step, words);
        assert!(error.remedy.contains(remedy), "{words}: {}", error.remedy);
    }
}
