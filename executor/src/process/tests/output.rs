//! What a process says, to whoever listens and whenever.

use std::time::Duration;

use tokio::time::Instant;

use super::*;

/// Numbers, one per line: what is missing shows.
fn numbers(last: u32) -> String {
    (1..=last).map(|number| format!("{number}\n")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fast_stream_arrives_whole() {
    let bench = Bench::new();
    bench
        .start("p", sh("seq 1 1000000; seq 1 100000 >&2"))
        .await;
    let events = bench.until_closed().await;
    assert_eq!(code(&events), 0);
    assert!(text(&events, OutputStream::Stdout) == numbers(1_000_000));
    assert!(text(&events, OutputStream::Stderr) == numbers(100_000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neither_stream_starves_the_other() {
    let bench = Bench::new();
    let flood = "cat /dev/zero >&2 & read go; echo heard; wait";
    let process = bench.start("p", sh_with_input(flood)).await;
    bench.until(|_| true).await;
    write(&process, "1", "go\n").await;
    bench
        .until(
            |event| matches!(event, Event::Output(chunk) if chunk.stream == OutputStream::Stdout),
        )
        .await;
    process.terminate();
    bench.until_closed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endless_stream_does_not_hide_the_exit() {
    let bench = Bench::new();
    let process = bench.start("p", sh("cat /dev/zero & exit 9")).await;
    let events = bench
        .until(|event| matches!(event, Event::Exited { .. }))
        .await;
    assert!(matches!(events.last(), Some(Event::Exited { exit, .. }) if exit.code == 9));
    // The group outlives its leader; nobody reads it any more once the table is gone.
    assert!(!process.terminate());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_does_not_take_pauses_the_process_and_loses_nothing() {
    let bench = Bench::new();
    let process = bench.start("p", sh("seq 1 1000000")).await;
    until_paused(&process).await;
    let limits = Settings::default().output;
    assert!(process.retained_bytes() <= limits.backlog_bytes);
    let events = bench.until_closed().await;
    assert!(text(&events, OutputStream::Stdout) == numbers(1_000_000));
    assert_eq!(code(&events), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_connection_loses_nothing() {
    let bench = Bench::new();
    let process = bench.start("p", sh("seq 1 4000000")).await;
    // Some is taken, and the connection breaks; what was taken may not have arrived.
    let mut arrived = Vec::new();
    let mut after = 0;
    while arrived.len() < 1_000_000 {
        let process = bench.table.ready().next().await;
        while let Some(Event::Output(chunk)) = take(&process) {
            if arrived.len() < 1_000_000 {
                after = chunk.seq;
                arrived.extend_from_slice(&chunk.bytes);
            }
        }
    }
    bench.table.detach();
    assert!(bench.table.ready().try_next().is_none());
    until_paused(&process).await;
    bench.table.attach();

    // Reads and live events together are the rest, each once.
    let mut chunks = std::collections::BTreeMap::new();
    let mut closed = false;
    while !closed || !chunks.contains_key(&(after + 1)) {
        let page = process.read(after, Some(1024 * 1024));
        if let Some(last) = page.chunks.last() {
            after = last.seq;
        }
        let done = page.chunks.is_empty();
        for chunk in page.chunks {
            chunks.insert(chunk.seq, bytes(&chunk.bytes));
        }
        if done {
            break;
        }
    }
    while !closed {
        let process = bench.table.ready().next().await;
        while let Some(event) = take(&process) {
            closed = matches!(event, Event::Closed { .. });
            if let Event::Output(chunk) = event {
                chunks.insert(chunk.seq, chunk.bytes);
            }
        }
    }
    for bytes in chunks.values() {
        arrived.extend_from_slice(bytes);
    }
    assert!(arrived == numbers(4_000_000).into_bytes());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pins_can_be_given_up_for_a_client_that_never_reads() {
    let bench = Bench::new();
    let process = bench.start("p", sh("seq 1 4000000")).await;
    bench.table.detach();
    until_paused(&process).await;
    bench.table.attach();
    assert!(!process.has_room());
    bench.table.release_pins();
    assert_eq!(
        bench.until_closed().await.last().map(Event::seq),
        Some(process.read(0, None).next_seq - 1)
    );
}

#[tokio::test]
async fn a_resumed_connection_hears_only_what_is_new() {
    let bench = Bench::new();
    let process = bench
        .start(
            "p",
            sh_with_input("echo early; read a; echo missed; read b; echo late; exit 4"),
        )
        .await;
    bench.until_output("early").await;
    bench.table.detach();
    write(&process, "1", "\n").await;
    process.wait_news(1, None).await;
    bench.table.attach();
    write(&process, "2", "\n").await;
    let events = bench.until_closed().await;
    assert_eq!(
        (text(&events, OutputStream::Stdout).as_str(), code(&events)),
        ("late\n", 4)
    );
    assert_eq!(whole(&process.read(0, None)), b"early\nmissed\nlate\n");
}

#[tokio::test]
async fn the_tail_of_a_long_output_is_kept() {
    let bench = Bench::with(Settings {
        output: farstep_protocol::output::Limits {
            retained_bytes: 1024 * 1024,
            ..Default::default()
        },
        ..Settings::default()
    });
    let process = bench.start("p", sh("seq 1 500000")).await;
    let events = bench.until_closed().await;
    let kept = whole(&process.read(0, None));
    assert!(kept.len() >= 1024 * 1024);
    assert!(
        text(&events, OutputStream::Stdout)
            .into_bytes()
            .ends_with(&kept)
    );
}

#[tokio::test]
async fn a_poll_wakes_on_output_and_on_the_end_and_expires() {
    let bench = Bench::new();
    let process = bench
        .start("p", sh_with_input("read a; echo now; read b; exit 3"))
        .await;
    let other = Arc::clone(&process);
    let both = tokio::spawn(async move { other.wait_news(0, None).await });
    write(&process, "1", "\n").await;
    process.wait_news(0, None).await;
    both.await.unwrap();
    assert_eq!(whole(&process.read(0, None)), b"now\n");

    let soon = Instant::now() + Duration::from_millis(20);
    process.wait_news(1, Some(soon)).await;
    assert!(Instant::now() >= soon);

    write(&process, "2", "\n").await;
    process.wait_news(1, None).await;
    process.wait_news(2, None).await;
    assert!(process.is_closed());
    process.wait_news(1000, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_writes_line_by_line_is_told_in_larger_pieces() {
    let bench = Bench::new();
    bench
        .start(
            "p",
            sh("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); echo $i; done"),
        )
        .await;
    let events = bench.until_closed().await;
    assert!(text(&events, OutputStream::Stdout) == numbers(20_000));
    // How much comes together depends on how fast the shell is allowed to run.
    assert!(events.len() < 10_000, "{} events", events.len());
}

#[tokio::test(start_paused = true)]
async fn answers_to_input_are_never_held_up() {
    let bench = Bench::new();
    let process = bench.start("p", request(&["cat"], false, true)).await;
    let began = Instant::now();
    for number in 0..200 {
        write(&process, &number.to_string(), "x\n").await;
        bench.until(|_| true).await;
    }
    // This clock only moves when everybody waits for it.
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_loses_nothing_of_a_fast_program() {
    let bench = Bench::new();
    for round in 0..20 {
        bench
            .start(&round.to_string(), sh_on_terminal("seq 1 20000"))
            .await;
        let events = bench.until_closed().await;
        let said = text(&events, OutputStream::Pty).replace('\r', "");
        assert!(
            said == numbers(20_000),
            "round {round}: {} of {}",
            said.len(),
            numbers(20_000).len()
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_loses_nothing_when_its_program_ends_before_it_is_read() {
    let bench = Bench::with(Settings {
        output: farstep_protocol::output::Limits {
            backlog_bytes: 16 * 1024,
            ..Default::default()
        },
        ..Settings::default()
    });
    for round in 0..20 {
        let id = round.to_string();
        let process = bench.start(&id, sh_on_terminal("seq 1 2000")).await;
        until_paused(&process).await;
        // The program ends with part of its output in the kernel.
        loop {
            // Looked at first: after the news of the end there is none until somebody reads.
            let known = process.read(u64::MAX, None).next_seq - 1;
            if process.has_exited() {
                break;
            }
            process.wait_news(known, None).await;
        }
        let events = bench.until_closed().await;
        let said = text(&events, OutputStream::Pty).replace('\r', "");
        assert_eq!(said.len(), numbers(2000).len(), "round {round}");
    }
}
