//! What a process is told.

use super::stdin::UNREAD_MAX;
use super::*;

#[tokio::test]
async fn writes_arrive_in_the_order_of_their_calls() {
    let bench = Bench::new();
    let process = bench.start("p", request(&["cat"], false, true)).await;
    let mut expected = String::new();
    for number in 0..500 {
        let line = format!("{number}\n");
        assert_eq!(
            write(&process, &number.to_string(), line.clone()).await,
            WriteStatus::Accepted
        );
        expected.push_str(&line);
    }
    let events = bench.until_output("\n499\n").await;
    assert_eq!(text(&events, OutputStream::Stdout), expected);
}

#[tokio::test]
async fn an_id_is_written_once() {
    let bench = Bench::new();
    let process = bench.start("p", request(&["cat"], false, true)).await;
    for _ in 0..3 {
        assert_eq!(
            write(&process, "same", "once\n").await,
            WriteStatus::Accepted
        );
    }
    bench.table.detach();
    bench.table.attach();
    assert_eq!(
        write(&process, "same", "once\n").await,
        WriteStatus::Accepted
    );
    assert_eq!(
        write(&process, "other", "end\n").await,
        WriteStatus::Accepted
    );
    while !whole(&process.read(0, None)).ends_with(b"end\n") {
        let last = process.read(0, None).next_seq - 1;
        process.wait_news(last, None).await;
    }
    assert_eq!(whole(&process.read(0, None)), b"once\nend\n");
}

#[tokio::test]
async fn a_program_without_input_refuses_it_and_so_does_one_that_has_ended() {
    let bench = Bench::new();
    let process = bench.start("p", sh("sleep 1000")).await;
    assert_eq!(write(&process, "1", "x").await, WriteStatus::StdinClosed);
    let process = bench.start("q", sh_with_input("read line")).await;
    assert_eq!(write(&process, "1", "").await, WriteStatus::Accepted);
    assert_eq!(write(&process, "2", "x\n").await, WriteStatus::Accepted);
    bench.until_closed().await;
    assert_eq!(write(&process, "3", "x\n").await, WriteStatus::StdinClosed);
    // What was accepted stays so.
    assert_eq!(write(&process, "2", "x\n").await, WriteStatus::Accepted);
}

#[tokio::test]
async fn a_program_that_closes_its_input_refuses_more() {
    let bench = Bench::new();
    let script = "exec <&-; echo ready; sleep 1000";
    let process = bench.start("p", sh_with_input(script)).await;
    bench.until_output("ready").await;
    // A program that is being started at this moment has a copy of every descriptor until it
    // is executed.
    let mut id = 0;
    while write(&process, &id.to_string(), "x").await == WriteStatus::Accepted {
        id += 1;
    }
    let closed = write(&process, "another", "x").await;
    assert_eq!(closed, WriteStatus::StdinClosed);
}

#[tokio::test]
async fn writes_beyond_the_limit_wait_until_there_is_room() {
    let bench = Bench::new();
    let fifo = tempfile::tempdir().unwrap();
    let fifo = fifo.path().join("fifo");
    let total = 3 * UNREAD_MAX;
    let count = format!("head -c {total} | wc -c");
    let script = format!(
        "mkfifo {0}; echo ready; read go < {0}; {count}",
        fifo.display()
    );
    let process = bench.start("p", sh_with_input(&script)).await;
    bench.until_output("ready").await;

    let large = Bytes::from(vec![b'x'; UNREAD_MAX]);
    assert_eq!(
        write(&process, "1", large.clone()).await,
        WriteStatus::Accepted
    );
    let Write::Waiting(second) = process.begin_write("2", large.clone()) else {
        panic!("there was room");
    };
    let Write::Waiting(again) = process.begin_write("2", large.clone()) else {
        panic!("a repetition overtook the first");
    };
    // Given up by its caller before the program has read any of it: it never happened.
    let Write::Waiting(third) = process.begin_write("3", large.clone()) else {
        panic!("there was room");
    };
    drop(third);
    drop(second);
    std::fs::write(&fifo, "go\n").unwrap();
    assert_eq!(again.await, WriteStatus::Accepted);
    assert_eq!(
        write(&process, "3", large.clone()).await,
        WriteStatus::Accepted
    );
    assert_eq!(write(&process, "2", large).await, WriteStatus::Accepted);
    bench.until_output(&total.to_string()).await;
}

#[tokio::test]
async fn a_write_that_waits_is_answered_when_the_program_ends() {
    let bench = Bench::new();
    let process = bench
        .start("p", sh_with_input("echo ready; sleep 1000"))
        .await;
    bench.until_output("ready").await;
    let large = Bytes::from(vec![b'x'; 2 * UNREAD_MAX]);
    let Write::Waiting(pending) = process.begin_write("1", large) else {
        panic!("there was room");
    };
    process.terminate();
    assert_eq!(pending.await, WriteStatus::StdinClosed);
}

#[tokio::test]
async fn a_terminal_echoes_and_ends_its_input_on_ctrl_d() {
    let bench = Bench::new();
    let process = bench.start("p", sh_on_terminal("echo ready; cat")).await;
    bench.until_output("ready").await;
    write(&process, "1", "abc\n").await;
    bench.until_output("abc\r\nabc\r\n").await;
    write(&process, "2", "\x04").await;
    assert_eq!(code(&bench.until_closed().await), 0);
}

#[tokio::test]
async fn ctrl_c_on_a_terminal_interrupts() {
    let bench = Bench::new();
    let script = "trap 'echo caught; exit 7' INT; echo ready; while :; do sleep 0.1; done";
    let process = bench.start("p", sh_on_terminal(script)).await;
    bench.until_output("ready").await;
    write(&process, "1", "\x03").await;
    let events = bench.until_closed().await;
    assert_eq!(code(&events), 7);
    assert!(text(&events, OutputStream::Pty).contains("caught"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_input_passes_through_a_program_that_answers_while_it_reads() {
    let bench = Bench::new();
    let process = bench.start("p", request(&["cat"], false, true)).await;
    let total = 8 * 1024 * 1024;
    let writer = tokio::spawn(async move {
        for number in 0..total / 65536 {
            let bytes = vec![(number % 251) as u8; 65536];
            assert_eq!(
                write(&process, &number.to_string(), bytes).await,
                WriteStatus::Accepted
            );
        }
    });
    let mut seen: usize = 0;
    bench
        .until(|event| {
            if let Event::Output(chunk) = event {
                for byte in &chunk.bytes {
                    assert_eq!(*byte, (seen / 65536 % 251) as u8);
                    seen += 1;
                }
            }
            seen == total
        })
        .await;
    writer.await.unwrap();
}
