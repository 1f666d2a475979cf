//! Both ways of starting a program, held to the same promises.

use std::future::poll_fn;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bytes::BytesMut;

use super::*;
use crate::os::shared::{Read, WindowSize};
use crate::os::unix::contain::Lineage;
use crate::os::unix::output::{Output, READ_MAX};

/// One that lasts as long as the test.
fn lineage(spawner: &Spawner) -> &'static Lineage {
    Box::leak(Box::new(spawner.lineage()))
}

/// Starts the command once in each way.
async fn start_all(command: &Command) -> Vec<Result<Child, SpawnError>> {
    let threads = Box::leak(Box::new(Spawner::new()));
    vec![
        threads.spawn(lineage(threads), command.clone()).await,
        pool::patiently(|| portable::Starter::new().start(command, &lineage(threads).origin())),
    ]
}

fn command(argv: &[&str]) -> Command {
    Command {
        argv: argv.iter().map(Into::into).collect(),
        arg0: None,
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        cwd: "/".into(),
        stdio: Stdio::Pipes,
    }
}

fn sh(script: &str) -> Command {
    command(&["/bin/sh", "-c", script])
}

async fn everything(output: &mut Output) -> String {
    let mut text = BytesMut::new();
    loop {
        text.reserve(1024);
        match poll_fn(|cx| output.poll_read(cx, &mut text, READ_MAX))
            .await
            .unwrap()
        {
            Read::Some | Read::Filled => {}
            Read::End => return String::from_utf8(text.to_vec()).unwrap(),
            Read::Nothing => unreachable!("a poll is never ready with nothing"),
        }
    }
}

async fn exit_code(child: &mut Child) -> i32 {
    poll_fn(|cx| child.exit.poll_exit(cx)).await.unwrap()
}

/// What the command writes, and how it ends, which is the same in both ways.
async fn outcome(command: &Command) -> (String, i32) {
    let mut outcomes = Vec::new();
    for child in start_all(command).await {
        let mut child = child.unwrap();
        let text = everything(&mut child.stdout).await;
        outcomes.push((text, exit_code(&mut child).await));
    }
    assert_eq!(outcomes[0], outcomes[1]);
    outcomes.remove(0)
}

async fn complaint(command: &Command) -> String {
    let mut complaints = Vec::new();
    for refused in start_all(command).await {
        complaints.push(refused.unwrap_err().to_string());
    }
    assert_eq!(complaints[0], complaints[1]);
    complaints.remove(0)
}

#[tokio::test]
async fn a_program_gets_exactly_what_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut command =
        sh("tr '\\0' '\\n' < /proc/$$/cmdline; pwd -P; env | grep -v '^_\\|PWD'; exit 42");
    command.arg0 = Some("renamed".into());
    command.argv.push("an argument\u{e9}".into());
    command.cwd = folder.path().canonicalize().unwrap();
    command.env.push(("EMPTY".into(), "".into()));
    let (text, code) = outcome(&command).await;
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(
        (lines[0], lines[1], lines[3]),
        ("renamed", "-c", "an argument\u{e9}")
    );
    assert_eq!(Path::new(lines[4]), command.cwd);
    assert_eq!(
        (&lines[5..], code),
        (&["PATH=/usr/bin:/bin", "EMPTY="][..], 42)
    );
}

#[tokio::test]
async fn a_program_has_three_descriptors_whatever_we_have_open() {
    // Not close-on-exec, as somebody who starts us may leave one.
    let (_read, write) = rustix::pipe::pipe().unwrap();
    for child in start_all(&sh("ls -l /proc/self/fd")).await {
        let text = everything(&mut child.unwrap().stdout).await;
        let open = |fd: i32| text.contains(&format!(" {fd} ->"));
        assert_eq!([0, 1, 2].map(open), [true; 3], "{text}");
        assert!(!open(write.as_raw_fd()), "{text}");
    }
}

#[tokio::test]
async fn a_program_starts_with_default_signals() {
    for child in start_all(&command(&["cat", "/proc/self/status"])).await {
        let text = everything(&mut child.unwrap().stdout).await;
        let sets = text.lines().filter_map(|line| {
            let (name, set) = line.split_once(':')?;
            let set = u64::from_str_radix(set.trim(), 16).ok()?;
            // Real-time signals are libc's own affair in the portable way.
            ["SigBlk", "SigIgn", "SigCgt"]
                .contains(&name)
                .then_some(set & 0x7fff_ffff)
        });
        // We ourselves ignore SIGPIPE, as every Rust program does.
        assert_eq!(sets.collect::<Vec<_>>(), [0; 3], "{text}");
    }
}

/// As whoever started us may have left it, and as libc would not.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_signal_that_was_ignored_before_us_is_not_for_a_program() {
    const SIGNAL: libc::c_int = 60;
    // Why at all: nothing safe ignores a signal.
    // Why sound: nobody sends it, and nobody else in these tests asks for it.
    #[expect(unsafe_code, reason = "a signal to be ignored")]
    unsafe {
        libc::signal(SIGNAL, libc::SIG_IGN);
    }
    let mut children = start_all(&command(&["cat", "/proc/self/status"])).await;
    let text = everything(&mut children.swap_remove(0).unwrap().stdout).await;
    let ignored = text.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = u64::from_str_radix(ignored.unwrap().trim(), 16).unwrap();
    assert_eq!(ignored & 1 << (SIGNAL - 1), 0, "{text}");
}

#[tokio::test]
async fn a_program_leads_a_session_and_a_group_of_its_own() {
    let (text, _) = outcome(&sh(
        "set -- $(cat /proc/$$/stat); [ $1 = $5 ] && [ $1 = $6 ] && echo $7",
    ))
    .await;
    // Field 7 is the terminal: none.
    assert_eq!(text, "0\n");
}

#[tokio::test]
async fn a_terminal_is_the_controlling_one() {
    let mut command =
        sh("test -t 0 && test -t 1 && test -t 2 && stty size < /dev/tty; echo ${TERM-none}");
    command.stdio = Stdio::Terminal(WindowSize::default());
    assert_eq!(outcome(&command).await, ("24 80\r\nnone\r\n".to_owned(), 0));
}

#[tokio::test]
async fn exit_codes_and_signals_are_told_apart_from_each_other() {
    for (script, code) in [
        ("exit 0", 0),
        ("exit 255", 255),
        ("kill -9 $$", 137),
        ("kill -HUP $$", 129),
    ] {
        assert_eq!(outcome(&sh(script)).await.1, code, "{script}");
    }
}

#[tokio::test]
async fn names_without_a_slash_are_looked_up_in_the_path_of_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::create_dir(folder.join("first")).unwrap();
    std::fs::create_dir(folder.join("second")).unwrap();
    for (at, mode) in [
        ("first/tool", 0o644),
        ("second/tool", 0o755),
        ("first/locked", 0o644),
    ] {
        std::fs::write(folder.join(at), "#!/bin/sh\necho found\n").unwrap();
        std::fs::set_permissions(folder.join(at), PermissionsExt::from_mode(mode)).unwrap();
    }
    let path = ["missing", "first", "second"].map(|name| folder.join(name).display().to_string());
    let mut tool = command(&["tool"]);
    tool.env = vec![("PATH".into(), path.join(":").into())];
    assert_eq!(outcome(&tool).await, ("found\n".to_owned(), 0));

    // An empty entry is the working folder.
    tool.env = vec![("PATH".into(), "".into())];
    tool.cwd = folder.join("second");
    assert_eq!(outcome(&tool).await, ("found\n".to_owned(), 0));

    // The one that was found counts for the complaint, not the ones that were not.
    tool.env = vec![("PATH".into(), path.join(":").into())];
    tool.argv = vec!["locked".into()];
    assert_eq!(
        complaint(&tool).await,
        "start locked: execute: Permission denied (os error 13)"
    );

    let mut empty = command(&["true"]);
    empty.env = vec![];
    assert_eq!(outcome(&empty).await.1, 0);
}

#[tokio::test]
async fn each_failure_names_the_program_the_step_and_the_cause() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "no program").unwrap();
    let file = file.display().to_string();
    let denied = format!("start {file}: execute: Permission denied (os error 13)");
    for (argv, text) in [
        (
            &["/no/such"][..],
            "start /no/such: execute: No such file or directory (os error 2)",
        ),
        (
            &["no-such"],
            "start no-such: execute: No such file or directory (os error 2)",
        ),
        (&[&file], &denied),
        (
            &["/etc"],
            "start /etc: execute: Permission denied (os error 13)",
        ),
        (&[""], "start a program without a name"),
        (&[], "start a program without a name"),
        (&["true", "a\0b"], "start true: a NUL byte in an argument"),
    ] {
        assert_eq!(complaint(&command(argv)).await, text);
    }

    let mut elsewhere = command(&["/bin/true"]);
    elsewhere.cwd = "/no/such".into();
    assert_eq!(
        complaint(&elsewhere).await,
        "start /bin/true: enter the working folder /no/such: No such file or directory (os error 2)"
    );

    let huge = "x".repeat(3 * 1024 * 1024);
    assert_eq!(
        complaint(&command(&["/bin/true", &huge])).await,
        "start /bin/true: an argument: 3145729 bytes, where 131072 are the most"
    );
    let many = vec!["x"; room::STRINGS_MAX + 1];
    assert_eq!(
        complaint(&command(&many)).await,
        "start x: more than 65536 arguments and variables"
    );
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_script_without_an_interpreter_is_refused_and_not_guessed_at() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "echo who reads this\n").unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
    let file = file.display().to_string();
    let spawner = Spawner::new();
    let start = spawner.spawn(lineage(&spawner), command(&[&file]));
    let refused = start.await.unwrap_err();
    let text = format!("start {file}: execute: Exec format error (os error 8)");
    assert_eq!(refused.to_string(), text);
}

#[tokio::test]
async fn a_failed_start_leaves_no_zombie() {
    for refused in start_all(&command(&["/no/such"])).await {
        refused.unwrap_err();
    }
    let mine = std::process::id().to_string();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        // Other tests have children too; a start that failed still has the name of this program.
        let (name, rest) = stat.split_once(')').unwrap();
        let fields: Vec<_> = rest.split_whitespace().collect();
        let zombie_of_mine = fields[0] == "Z" && fields[1] == mine;
        assert!(!(zombie_of_mine && name.contains("(spawn")), "{stat}");
    }
}

#[tokio::test]
async fn dropping_a_child_kills_its_group_and_collects_it() {
    for child in start_all(&sh("sleep 1000 & echo $!; wait")).await {
        let mut child = child.unwrap();
        let mut text = BytesMut::with_capacity(64);
        poll_fn(|cx| child.stdout.poll_read(cx, &mut text, READ_MAX))
            .await
            .unwrap();
        let pid = child.group.id();
        drop(child);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_program_dies_with_the_thread_that_started_it() {
    // The thread ends with the spawner, as it does when the executor is killed.
    let spawner = Spawner::new();
    let mut child = spawner
        .spawn(lineage(&spawner), sh("exec sleep 1000"))
        .await
        .unwrap();
    drop(spawner);
    assert_eq!(exit_code(&mut child).await, 128 + 9);
}

#[tokio::test]
async fn many_starts_at_a_time_are_all_served() {
    let spawner = Spawner::new();
    let starts = (0..600).map(|number| {
        let command = sh(&format!("exit {}", number % 256));
        async { exit_code(&mut spawner.spawn(lineage(&spawner), command).await.unwrap()).await }
    });
    let codes = futures_util::future::join_all(starts).await;
    assert_eq!(
        codes,
        (0..600).map(|number| number % 256).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn a_start_nobody_waits_for_leaves_nothing_behind() {
    let spawner = Spawner::new();
    let folder = tempfile::tempdir().unwrap();
    let pid = folder.path().join("pid");
    let script = format!("echo $$ > {}; exec sleep 1000", pid.display());
    {
        // Handed to a thread by the first poll, and given up right after.
        let start = spawner.spawn(lineage(&spawner), sh(&script));
        tokio::pin!(start);
        let first = poll_fn(|cx| std::task::Poll::Ready(start.as_mut().poll(cx).is_ready())).await;
        assert!(!first);
    }
    // The one thread of a sequence of starts serves in order.
    let mut after = spawner.spawn(lineage(&spawner), sh("true")).await.unwrap();
    exit_code(&mut after).await;
    let alive = std::fs::read_to_string(&pid).is_ok_and(|pid| {
        pid.trim().parse().is_ok_and(|pid: i32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/cmdline"));
            stat.is_ok_and(|line| line.starts_with("sleep"))
        })
    });
    assert!(!alive);
}

#[tokio::test]
async fn a_program_whose_file_is_still_being_written_is_started_a_moment_later() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tool");
    std::fs::write(&path, "#!/bin/sh\necho found\n").unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    let tool = command(&[path.to_str().unwrap()]);
    let writer = std::fs::OpenOptions::new()
        .append(true)
        .open(&path)
        .unwrap();
    assert!(complaint(&tool).await.contains("Text file busy"));
    let mut writer = Some(writer);
    let spawner = Spawner::new();
    let origin = lineage(&spawner).origin();
    let mut starter = portable::Starter::new();
    let child = pool::patiently(|| {
        let started = starter.start(&tool, &origin);
        // Whoever held the file lets go after the first try.
        writer = None;
        started
    });
    let mut child = child.unwrap();
    assert_eq!(everything(&mut child.stdout).await, "found\n");
    assert_eq!(exit_code(&mut child).await, 0);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn as_much_as_the_kernel_takes_is_given_and_one_byte_more_is_refused() {
    const STRING_MAX: usize = 131_072;
    let mut largest = command(&["/bin/true", &"x".repeat(STRING_MAX - 1)]);
    assert_eq!(outcome(&largest).await.1, 0);
    largest.argv[1].push("x");
    assert_eq!(
        complaint(&largest).await,
        "start /bin/true: an argument: 131073 bytes, where 131072 are the most"
    );
    let mut variable = command(&["/bin/true"]);
    let value = "x".repeat(STRING_MAX - "NAME=".len() - 1);
    variable.env.push(("NAME".into(), value.into()));
    assert_eq!(outcome(&variable).await.1, 0);
    variable.env[1].1.push("x");
    assert_eq!(
        complaint(&variable).await,
        "start /bin/true: a variable: 131073 bytes, where 131072 are the most"
    );

    // All together: what is counted is what the kernel counts, but for the program's own name.
    let many = vec!["x".repeat(100_000); 100];
    let mut many = command(&many.iter().map(String::as_str).collect::<Vec<_>>());
    many.argv.insert(0, "/bin/true".into());
    let refused = complaint(&many).await;
    let words = "start /bin/true: arguments and variables together: 10000";
    assert!(refused.starts_with(words), "{refused}");
}
