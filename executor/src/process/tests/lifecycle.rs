//! From the start to the close, and every way there.

use super::*;

#[tokio::test]
async fn streams_are_apart_and_the_close_is_last() {
    let bench = Bench::new();
    bench
        .start(
            "p",
            sh("for n in 1 2 3; do echo o$n; echo e$n >&2; done; exit 3"),
        )
        .await;
    let events = bench.until_closed().await;
    assert_eq!(code(&events), 3);
    assert_eq!(text(&events, OutputStream::Stdout), "o1\no2\no3\n");
    assert_eq!(text(&events, OutputStream::Stderr), "e1\ne2\ne3\n");
}

#[tokio::test]
async fn nothing_is_told_before_the_start_is_announced() {
    let bench = Bench::new();
    let reservation = bench.table.reserve("p").unwrap();
    let process = reservation.start(sh("echo early")).await.unwrap();
    process.wait_news(0, None).await;
    assert!(bench.table.ready().try_next().is_none());
    assert!(process.take_event().is_none());
    process.announce();
    assert_eq!(code(&bench.until_closed().await), 0);
}

#[tokio::test]
async fn death_by_a_signal_is_128_and_its_number_on_a_terminal_too() {
    let bench = Bench::new();
    for (number, request) in [
        (15, sh("kill -TERM $$")),
        (9, sh_on_terminal("kill -KILL $$")),
    ] {
        bench.start(&number.to_string(), request).await;
        assert_eq!(code(&bench.until_closed().await), 128 + number);
    }
}

#[tokio::test]
async fn a_background_child_that_holds_a_pipe_delays_the_close_and_not_the_exit() {
    let bench = Bench::new();
    let fifo = tempfile::tempdir().unwrap();
    let fifo = fifo.path().join("fifo");
    let script = format!(
        "mkfifo {0}; (read go < {0}; echo late) & echo main; exit 4",
        fifo.display()
    );
    let process = bench.start("p", sh(&script)).await;
    let mut events = bench
        .until(|event| matches!(event, Event::Exited { .. }))
        .await;
    assert!(!process.read(0, None).closed);
    // The exit is news once; behind it the next poll waits for the close.
    let after = events.last().unwrap().seq();
    let closed = process.wait_news(after, None);
    std::fs::write(&fifo, "go\n").unwrap();
    closed.await;
    events.extend(bench.until_closed().await);
    assert_eq!(
        (code(&events), text(&events, OutputStream::Stdout).as_str()),
        (4, "main\nlate\n")
    );
}

#[tokio::test]
async fn a_background_child_without_our_pipes_does_not_delay_the_close_and_lives_on() {
    let bench = Bench::new();
    bench
        .start("p", sh("sleep 1000 >/dev/null 2>&1 & echo $!"))
        .await;
    let events = bench.until_closed().await;
    let child = text(&events, OutputStream::Stdout);
    assert!(exists(&child));
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(child.trim().parse().unwrap()).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
}

#[tokio::test]
async fn closing_its_outputs_does_not_end_a_program() {
    let bench = Bench::new();
    let process = bench
        .start(
            "p",
            sh_with_input("echo $$; exec >&- 2>&-; read go; exit 6"),
        )
        .await;
    bench.until_output("\n").await;
    // Only when it reads on does it end.
    assert!(!process.has_exited());
    assert_eq!(write(&process, "1", "go\n").await, WriteStatus::Accepted);
    let events = bench.until_closed().await;
    assert_eq!(code(&events), 6);
}

#[tokio::test]
async fn terminate_takes_the_whole_group_and_cannot_be_ignored() {
    let bench = Bench::new();
    let script = "trap '' TERM INT HUP; sleep 1000 & echo $!; (sleep 1001 & echo $!); echo ready; \
                  while :; do sleep 0.1; done";
    let process = bench.start("p", sh(script)).await;
    let mut events = bench.until_output("ready").await;
    assert!(process.terminate());
    events.extend(bench.until_closed().await);
    assert_eq!(code(&events), 137);
    let text = text(&events, OutputStream::Stdout);
    for pid in text.lines().take(2) {
        gone(pid).await;
    }
    assert!(!process.terminate());
}

#[tokio::test]
async fn terminate_closes_at_once_keeps_what_was_said_and_ends_who_left_the_group() {
    let bench = Bench::new();
    let process = bench
        .start("p", sh("setsid sleep 1000 & echo before $!; sleep 1001"))
        .await;
    bench.until_output("\n").await;
    assert!(process.terminate());
    assert!(matches!(
        bench.until_closed().await.last(),
        Some(Event::Closed { seq: 3 })
    ));
    let page = process.read(0, None);
    let said = String::from_utf8(whole(&page)).unwrap();
    assert_eq!(
        (page.exit.unwrap().code, page.closed, page.next_seq),
        (137, true, 4)
    );
    gone(said.strip_prefix("before ").unwrap()).await;
}

#[tokio::test]
async fn terminate_reaches_a_job_in_the_foreground_of_a_terminal() {
    let bench = Bench::new();
    // Job control gives the pipeline a group that is not the shell's.
    let script = "set -m; sh -c 'echo $$; exec sleep 1000'; echo not reached";
    let process = bench.start("p", sh_on_terminal(script)).await;
    let events = bench.until_output("\n").await;
    let job = text(&events, OutputStream::Pty);
    assert!(process.terminate());
    bench.until_closed().await;
    gone(&job).await;
}

#[tokio::test]
async fn interrupt_reaches_the_group_or_the_foreground_of_the_terminal() {
    let bench = Bench::new();
    let script = "trap 'exit 5' INT; echo ready; while :; do sleep 0.1; done";
    let process = bench.start("pipes", sh(script)).await;
    bench.until_output("ready").await;
    process.interrupt();
    assert_eq!(code(&bench.until_closed().await), 5);

    let script =
        "set -m; sh -c 'trap \"exit 7\" INT; echo ready; while :; do sleep 0.1; done'; exit $?";
    let process = bench.start("terminal", sh_on_terminal(script)).await;
    bench.until_output("ready").await;
    process.interrupt();
    assert_eq!(code(&bench.until_closed().await), 7);
    process.interrupt();
}

#[tokio::test]
async fn nothing_is_left_of_a_closed_process() {
    let bench = Bench::new();
    for request in [
        sh_with_input("echo $$; readlink /proc/$$/fd/0 /proc/$$/fd/1 /proc/$$/fd/2"),
        sh_on_terminal("echo $$"),
    ] {
        let id = format!("{:?}", request.stdio);
        bench.start(&id, request).await;
        let events = bench.until_closed().await;
        let said: String = [OutputStream::Stdout, OutputStream::Pty]
            .map(|stream| text(&events, stream))
            .concat();
        let mut lines = said.lines();
        assert!(!exists(lines.next().unwrap()), "a zombie");
        // The other end of each of its pipes was ours.
        let pipes: Vec<_> = lines.filter(|line| line.starts_with("pipe:")).collect();
        for ours in std::fs::read_dir("/proc/self/fd").unwrap().flatten() {
            if let Ok(target) = std::fs::read_link(ours.path()) {
                let target = target.to_string_lossy().into_owned();
                assert!(!pipes.contains(&target.as_str()), "{target} is still open");
            }
        }
    }
}

#[tokio::test]
async fn a_terminal_can_change_its_size() {
    let bench = Bench::new();
    let script = "trap 'stty size; exit' WINCH; stty size; while :; do sleep 0.01; done";
    let process = bench.start("p", sh_on_terminal(script)).await;
    bench.until_output("24 80").await;
    let size = crate::os::WindowSize {
        rows: 50,
        columns: 132,
    };
    process.resize(size).unwrap();
    bench.until_output("50 132").await;

    let process = bench.start("q", sh("sleep 1000")).await;
    assert_eq!(
        process.resize(size).unwrap_err().kind(),
        std::io::ErrorKind::Unsupported
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_short_commands_at_a_time_all_end_in_order() {
    let bench = Bench::new();
    let mut closed = 0;
    for round in 0..4 {
        for number in 0..64 {
            bench
                .start(&format!("{round}.{number}"), sh("echo $$"))
                .await;
        }
        let mut last: std::collections::HashMap<String, Seq> = Default::default();
        while closed < 64 * (round + 1) {
            let process = bench.table.ready().next().await;
            while let Some(event) = process.take_event() {
                let previous = last
                    .insert(process.id().to_owned(), event.seq())
                    .unwrap_or(0);
                assert_eq!(event.seq(), previous + 1);
                closed += usize::from(matches!(event, Event::Closed { .. }));
            }
        }
    }
}
