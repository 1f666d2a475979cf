//! What many processes keep together, and who gives way.

use std::collections::BTreeMap;
use std::time::Duration;

use farstep_protocol::output::Body as _;
use tokio::time::timeout;

use super::*;
use crate::process::retention::cost;

const KIB: usize = 1024;
const MIB: usize = 1024 * 1024;
/// Nothing that goes on takes as long, on the busiest machine.
const HELD_UP: Duration = Duration::from_secs(60);

fn bench(in_all: usize, retained_in_all: usize) -> Bench {
    Bench::with(Settings {
        in_all,
        retained_in_all,
        ..Settings::default()
    })
}

/// Writes so many bytes of a pattern in which every byte depends on its place.
fn writes(bytes: usize) -> StartRequest {
    sh(&format!("seq 1 99999999 | head -c {bytes}"))
}

fn pattern(bytes: usize) -> Vec<u8> {
    let numbers = (1..).flat_map(|number: u32| format!("{number}\n").into_bytes());
    numbers.take(bytes).collect()
}

/// What these hold is what is booked, and no more than allowed.
fn check_books(bench: &Bench, processes: &[Arc<Process>], max: usize) {
    let booked = bench.host.retained();
    assert!(booked <= max, "{booked} of {max}");
    let held: usize = processes.iter().map(|process| process.cost()).sum();
    assert_eq!(held, booked);
}

async fn until_all_paused(processes: &[Arc<Process>]) {
    // None goes on by itself once all are held up.
    while !processes.iter().all(|process| process.is_paused()) {
        for process in processes {
            until_paused(process).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_running_processes_keep_no_more_than_all_may_and_each_goes_on() {
    const MAX: usize = 4 * MIB;
    const EACH: usize = 3 * MIB;
    let bench = bench(24, MAX);
    let mut processes = Vec::new();
    for id in 0..24 {
        processes.push(bench.start(&id.to_string(), writes(EACH)).await);
    }
    // 24 times 1 MiB may wait for a connection; there is room for four.
    until_all_paused(&processes).await;
    check_books(&bench, &processes, MAX);
    assert!(bench.host.retained() > MAX - MAX / 8, "room is wasted");
    assert!(processes.iter().all(|process| process.cost() > 0));

    // One that is read goes on although the others hold all there is.
    let mut arrived = vec![Vec::new(); 24];
    let mut receive = |id: usize, event: Event| {
        if let Event::Output(chunk) = &event {
            arrived[id].extend_from_slice(&chunk.bytes);
        }
        usize::from(matches!(event, Event::Closed { .. }))
    };
    let mut closed = 0;
    for id in [7, 23] {
        while !processes[id].is_closed() {
            match take(&processes[id]) {
                Some(event) => closed += receive(id, event),
                None => tokio::task::yield_now().await,
            }
            assert!(bench.host.retained() <= MAX);
        }
        while let Some(event) = take(&processes[id]) {
            closed += receive(id, event);
        }
    }
    // And so do the others when they are.
    while closed < 24 {
        let process = bench.table.ready().next().await;
        let id = process.id().parse().unwrap();
        while let Some(event) = take(&process) {
            closed += receive(id, event);
        }
        assert!(bench.host.retained() <= MAX);
    }
    let wanted = pattern(EACH);
    assert!(arrived.iter().all(|arrived| *arrived == wanted));
    until_remembered(&bench).await;
    check_books(&bench, &processes, MAX);

    // A forgotten one needs no room.
    processes.clear();
    drop(bench.table);
    bench.host.finished().await;
    assert_eq!(bench.host.retained(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn what_is_taken_while_a_process_looks_for_room_in_vain_lets_it_go_on() {
    const MAX: usize = 512 * KIB;
    const EACH: usize = 64 * MIB;
    let bench = bench(4, MAX);
    let mut hogs = Vec::new();
    for id in 0..3 {
        hogs.push(bench.start(&id.to_string(), sh("cat /dev/zero")).await);
    }
    until_all_paused(&hogs).await;
    bench
        .start("read", sh(&format!("head -c {EACH} /dev/zero")))
        .await;
    let (mut read, mut closed, mut turn) = (0, false, 0);
    while !closed {
        let next = bench.table.ready().next();
        let Ok(process) = timeout(HELD_UP, next).await else {
            panic!("held up behind {read} bytes");
        };
        if process.id() != "read" {
            continue;
        }
        // Now here, now there in what the process' task is about.
        turn += 1;
        (0..turn * 7 % 1000).for_each(|_| std::hint::spin_loop());
        while let Some(event) = process.take_event() {
            match event {
                Event::Output(chunk) => read += chunk.bytes.size(),
                Event::Exited { .. } => {}
                Event::Closed { .. } => closed = true,
            }
        }
    }
    assert_eq!(read, EACH);
    assert!(bench.host.retained() <= MAX);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_was_given_waits_in_a_detached_session_and_none_of_it_is_lost() {
    const MAX: usize = 8 * MIB;
    // Even one that starts long before the others does not end before it is read.
    const EACH: usize = MAX;
    let bench = bench(6, MAX);
    let mut processes = Vec::new();
    for id in 0..6 {
        processes.push(bench.start(&id.to_string(), writes(EACH)).await);
    }
    bench.table.detach();
    until_all_paused(&processes).await;
    check_books(&bench, &processes, MAX);
    // Most of it is not in memory.
    assert!(bench.host.retention.store().bytes() >= MIB);
    bench.table.attach();
    // Reading makes room, for this one and for others.
    let wanted = pattern(EACH);
    for process in &processes {
        let mut chunks = BTreeMap::new();
        let (mut after, mut closed) = (0, Seq::MAX);
        while after < closed {
            let page = process.read(after, Some(300_000));
            for chunk in &page.chunks {
                // Its end is an event too.
                let next = after + 1 + Seq::from(page.exit.is_some());
                assert!(
                    chunks.contains_key(&chunk.seq) || chunk.seq <= next,
                    "a gap"
                );
                after = chunk.seq;
                chunks.insert(chunk.seq, bytes(&chunk.bytes));
            }
            while let Some(event) = take(process) {
                let seq = event.seq();
                let bytes = match event {
                    Event::Output(chunk) => chunk.bytes,
                    Event::Exited { .. } => Bytes::new(),
                    Event::Closed { .. } => {
                        closed = seq;
                        Bytes::new()
                    }
                };
                chunks.insert(seq, bytes);
            }
            // What came live was not missed.
            while chunks.contains_key(&(after + 1)) {
                after += 1;
            }
            assert!(bench.host.retained() <= MAX);
            tokio::task::yield_now().await;
        }
        let arrived: Vec<u8> = chunks.into_values().flatten().collect();
        assert!(arrived == wanted);
    }
    until_remembered(&bench).await;
    check_books(&bench, &processes, MAX);
}

#[tokio::test]
async fn the_oldest_finished_process_gives_up_its_output_first_and_its_tail_last() {
    const MAX: usize = 9 * MIB;
    const EACH: usize = 3_000_000;
    let bench = bench(1, MAX);
    let mut processes = Vec::new();
    let kept = |processes: &[Arc<Process>]| -> Vec<&str> {
        let kept = |process: &Arc<Process>| match process.retained_bytes() {
            0 => "nothing",
            EACH => "whole",
            MIB..=1_200_000 => "tail",
            _ => "something else",
        };
        processes.iter().map(kept).collect()
    };
    let mut seen = std::collections::BTreeSet::new();
    for id in 0..12 {
        let write = format!("head -c {EACH} /dev/zero");
        processes.push(bench.start(&id.to_string(), sh(&write)).await);
        bench.until_closed().await;
        until_remembered(&bench).await;
        check_books(&bench, &processes, MAX);
        let kept = kept(&processes);
        let count = |what: &str| kept.iter().filter(|kept| **kept == what).count();
        let (nothing, tails, whole) = (count("nothing"), count("tail"), count("whole"));
        let in_order = [
            vec!["nothing"; nothing],
            vec!["tail"; tails],
            vec!["whole"; whole],
        ];
        assert_eq!(kept, in_order.concat(), "{id}");
        // Nobody loses all before everybody gave.
        assert!(nothing == 0 || whole == 1, "{kept:?}");
        seen.extend(kept);
    }
    assert_eq!(seen.len(), 3, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_holds_more_than_his_share_gives_up_what_was_delivered_and_a_late_reader_sees_it() {
    const MAX: usize = 12 * MIB;
    let bench = bench(2, MAX);
    let big = "head -c 10000000 /dev/zero; echo end; read go";
    let first = bench.start("1", sh_with_input(big)).await;
    bench.until_output("end").await;
    assert_eq!(first.retained_bytes(), 10_000_004);
    assert_eq!(first.read(0, Some(1)).first_retained, Some(1));
    let second = bench.start("2", sh_with_input(big)).await;
    bench.until_output("end").await;
    check_books(&bench, &[Arc::clone(&first), Arc::clone(&second)], MAX);
    // Both run, so each may keep half, the newest.
    for process in [&first, &second] {
        let held = process.cost();
        assert!((MAX / 2 - 300 * KIB..=MAX / 2).contains(&held), "{held}");
        let page = process.read(0, None);
        assert!(page.chunks[0].seq > 1 && whole(&page).ends_with(b"\0end\n"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_delivered_above_a_share_or_left_by_a_closed_one_goes_to_who_waits() {
    const MAX: usize = 4 * MIB;
    const MOST: usize = 3_600_000;
    let bench = bench(2, MAX);
    bench.table.detach();
    let hoards = format!("head -c {MOST} /dev/zero; read go");
    let hoarder = bench.start("hoards", sh_with_input(&hoards)).await;
    while hoarder.retained_bytes() < MOST {
        tokio::task::yield_now().await;
    }
    let waiter = bench.start("waits", sh("cat /dev/zero")).await;
    until_paused(&waiter).await;
    assert!(waiter.retained_bytes() < MIB);
    bench.table.attach();
    // The hoarder has nothing more to say, so it does not look for room itself.
    let mut after = 0;
    for _ in 0..=MOST / 100_000 {
        after = hoarder.read(after, Some(300_000)).next_seq - 1;
    }
    until_retained(&waiter, MAX / 2 - 100 * KIB).await;
    assert!(hoarder.retained_bytes() > MIB);
    hoarder.terminate();
    until_retained(&waiter, 3 * MIB).await;
}

async fn until_retained(process: &Process, bytes: usize) {
    let retained = async {
        while process.retained_bytes() < bytes {
            tokio::task::yield_now().await;
        }
    };
    assert!(
        timeout(HELD_UP, retained).await.is_ok(),
        "held up at {} bytes",
        process.retained_bytes()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_process_counts_as_running_until_there_is_room_for_what_it_left() {
    const MAX: usize = 512 * KIB;
    let bench = bench(4, MAX);
    // All of it is output nobody was given.
    let hogs = [
        bench.start("1", sh("cat /dev/zero")).await,
        bench.start("2", sh("cat /dev/zero")).await,
    ];
    until_all_paused(&hogs).await;
    for id in ["3", "4"] {
        let process = bench.start(id, writes(20 * KIB)).await;
        while !process.is_closed() {
            tokio::task::yield_now().await;
        }
    }
    let full = ReserveError::ExecutorFull { max: 4 };
    until_open(&bench, 2).await;
    assert_eq!(bench.table.reserve("5").unwrap_err(), full);
    assert!(bench.host.retained() <= MAX);
    // One whose output was delivered leaves nothing that is worth a place.
    hogs[0].terminate();
    until_open(&bench, 1).await;
    while take(&hogs[0]).is_some() {}
    drop(bench.table.reserve("5").unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn last_words_do_not_exceed_what_all_may_keep() {
    const MAX: usize = MIB;
    let bench = bench(4, MAX);
    let mut processes = Vec::new();
    for id in 0..4 {
        processes.push(bench.start(&id.to_string(), sh("cat /dev/zero")).await);
    }
    until_all_paused(&processes).await;
    bench.table.kill_all();
    while !processes.iter().all(|process| process.is_closed()) {
        tokio::task::yield_now().await;
    }
    check_books(&bench, &processes, MAX);
    // Nobody waits for them either.
    let deadline = Duration::from_secs(30);
    let all = timeout(deadline, bench.until_closed()).await;
    assert!(all.is_ok());
}

#[test]
fn a_chunk_costs_more_than_its_bytes() {
    assert_eq!(cost(1000, 10), 1000 + 10 * 128);
}
