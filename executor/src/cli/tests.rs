use super::*;

fn settings(args: &[&str]) -> Result<Settings, Refused> {
    // Without an audit log, which has its own tests.
    let args = ["farstep-executor", "--audit-file=off"].iter().chain(args);
    Settings::try_from(Args::try_parse_from(args).unwrap())
}

#[test]
fn loopback_and_stdio_are_where_an_executor_may_listen() {
    let any = |text: &str| Ok(Settings::new(Listen::WebSocket(text.parse().unwrap())));
    assert_eq!(settings(&[]), any("127.0.0.1:0"));
    assert_eq!(
        settings(&["--listen", "ws://127.0.0.9:4500"]),
        any("127.0.0.9:4500")
    );
    assert_eq!(settings(&["--listen", "ws://[::1]:0"]), any("[::1]:0"));
    for stdio in ["stdio", "stdio://"] {
        assert_eq!(
            settings(&["--listen", stdio]),
            Ok(Settings::new(Listen::Stdio))
        );
    }
}

#[test]
fn an_address_that_is_not_loopback_is_refused_with_status_two() {
    for host in [
        "0.0.0.0:0",
        "[::]:0",
        "[::ffff:0.0.0.0]:80",
        "10.0.0.7:4500",
        "[2001:db8::1]:1",
    ] {
        let refused = settings(&["--listen", &format!("ws://{host}")]).unwrap_err();
        assert_eq!(refused, Refused::NotLoopback(host.parse().unwrap()));
        assert_eq!(refused.status(), 2);
    }
}

#[test]
fn beyond_loopback_it_takes_a_credential_and_encryption_or_a_word() {
    let token = ["--ws-auth", "capability-token", "--ws-token-file", "t"];
    let tls = ["--tls-cert", "c", "--tls-key", "k"];
    let with = |listen: &str, flags: &[&[&str]]| {
        settings(&[&["--listen", listen], &*flags.concat()].concat()).map(|_| ())
    };
    let address = "0.0.0.0:0".parse().unwrap();
    let (plain, secure) = ("ws://0.0.0.0:0", "wss://0.0.0.0:0");
    let no_auth = with(secure, &[&tls]);
    assert_eq!(no_auth, Err(Refused::NotLoopback(address)));
    let readable = with(plain, &[&token]).unwrap_err();
    assert_eq!(
        (&readable, readable.status()),
        (&Refused::Plaintext(address), 2)
    );
    assert_eq!(with(plain, &[&token, &["--allow-plaintext"]]), Ok(()));
    assert_eq!(with(secure, &[&token, &tls]), Ok(()));
    assert_eq!(with(secure, &[&tls, &["--tls-client-ca", "a"]]), Ok(()));
    assert_eq!(with("wss://127.0.0.1:0", &[]), Err(Refused::NoCertificate));
    let unused = with("ws://127.0.0.1:0", &[&tls]);
    assert_eq!(unused, Err(Refused::UnusedCertificate));
    let stdio = with("stdio", &[&token]);
    assert_eq!(stdio, Err(Refused::NotForStdio("--ws-auth")));
}

#[cfg(unix)]
#[test]
fn what_lasts_is_behind_a_socket_of_files() {
    let unix = settings(&["--listen", "unix:/run/x/s"]).unwrap();
    assert_eq!(unix.listen, Listen::Unix("/run/x/s".into()));
    assert!(!unix.is_exposed() && !unix.session_retention_max().is_zero());
    let refused = settings(&["--listen", "unix:/s", "--tls-cert", "c", "--tls-key", "k"]);
    assert_eq!(refused, Err(Refused::NotForUnix("--tls-cert")));
    let durable = ["--listen", "stdio", "--durable", "--idle-seconds", "9"];
    let bridge = settings(&durable).unwrap();
    assert_eq!(
        (bridge.listen, bridge.idle),
        (Listen::Durable, Duration::from_secs(9))
    );
    let behind = settings(&[&["--background", "/s"], &durable[..]].concat()).unwrap();
    assert_eq!(behind.listen, Listen::Background("/s".into()));
    assert!(!behind.session_retention_max().is_zero());
    for elsewhere in ["ws://127.0.0.1:0", "unix:/s"] {
        let refused = settings(&["--durable", "--listen", elsewhere]);
        assert_eq!(refused, Err(Refused::DurableElsewhere));
    }
    for idle in ["0", "86401"] {
        assert_eq!(settings(&["--idle-seconds", idle]), Err(Refused::Idle));
    }
}

#[test]
fn pings_are_neither_a_flood_nor_given_up() {
    for seconds in ["0", "301"] {
        assert_eq!(settings(&["--ping-seconds", seconds]), Err(Refused::Ping));
    }
    for seconds in [1, 300] {
        let settings = settings(&["--ping-seconds", &seconds.to_string()]).unwrap();
        assert_eq!(settings.ping_interval, Duration::from_secs(seconds));
    }
}

#[test]
fn nobody_stays_awake_for_longer_than_others_can_wait() {
    assert_eq!(settings(&["--busy-poll-us", "201"]), Err(Refused::BusyPoll));
    for microseconds in [0, 200] {
        let settings = settings(&["--busy-poll-us", &microseconds.to_string()]).unwrap();
        assert_eq!(settings.busy_poll, Duration::from_micros(microseconds));
    }
}

#[test]
fn anything_else_is_refused_with_status_one() {
    let odd = [
        "ws://127.0.0.1",
        "ws://127.0.0.1:0/",
        "http://127.0.0.1:0",
        "127.0.0.1:0",
        "unix:",
        "",
        "ws://[::1]",
        "ws://:0",
    ];
    for text in odd {
        let refused = settings(&["--listen", text]).unwrap_err();
        assert_eq!(
            (&refused, refused.status()),
            (&Refused::Listen(text.to_owned()), 1)
        );
    }
    let name = "ws://localhost:0".to_owned();
    assert_eq!(
        settings(&["--listen", &name]),
        Err(Refused::NotAnAddress(name))
    );
}

#[test]
fn root_of_a_host_needs_a_word_for_it() {
    let args = |more: &[&str]| Args::parse_from([&["farstep-executor"], more].concat());
    assert_eq!(args(&[]).check_root(false), Ok(()));
    assert_eq!(args(&["--allow-root"]).check_root(true), Ok(()));
    let refused = args(&[]).check_root(true).unwrap_err();
    assert_eq!((refused.status(), refused), (2, Refused::Root));
}

#[test]
fn bounds_that_would_break_clients_are_refused() {
    assert_eq!(
        settings(&["--concurrent-requests", "0"]),
        Err(Refused::NoConcurrency)
    );
    assert_eq!(
        settings(&["--retain-bytes", "10"]),
        Err(Refused::RetainTooLittle)
    );
    assert_eq!(
        settings(&["--retain-chunks", "99"]),
        Err(Refused::RetainTooFew)
    );
    assert_eq!(
        settings(&["--retain-total-bytes", "67108863"]),
        Err(Refused::RetainTooLittleInAll)
    );
    assert_eq!(
        settings(&["--retain-bytes", "268435457"]),
        Err(Refused::RetainMoreThanAll(268_435_457))
    );
    assert_eq!(
        settings(&["--detached-seconds", "59"]),
        Err(Refused::DetachedTooShort)
    );
    assert_eq!(
        settings(&["--max-session-retention-seconds", "31622401"]),
        Err(Refused::RetentionTooLong)
    );
    let most = settings(&[
        "--concurrent-requests",
        "16",
        "--retain-bytes",
        "1048576",
        "--retain-chunks",
        "1000",
        "--retain-total-bytes",
        "67108864",
        "--detached-seconds",
        "60",
        "--max-session-retention-seconds",
        "3600",
    ]);
    let wanted = Settings {
        listen: Listen::WebSocket("127.0.0.1:0".parse().unwrap()),
        calls_at_once: Some(16),
        retain_bytes: Some(1 << 20),
        retain_chunks: Some(1000),
        retain_total_bytes: 64 << 20,
        detached: Duration::from_secs(60),
        max_session_retention: Duration::from_secs(3600),
        auth: auth::Settings::None,
        access: Access::default(),
        http: http::Settings::default(),
        ping_interval: Duration::from_secs(PING_SECONDS),
        busy_poll: Duration::from_micros(BUSY_POLL_MICROSECONDS),
        drain: Duration::from_secs(DRAIN_SECONDS),
        audit: audit::Settings::off(),
        remote: None,
        idle: Duration::from_secs(IDLE_SECONDS),
    };
    assert_eq!(most, Ok(wanted));
}
