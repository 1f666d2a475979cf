//! Ids, limits, and what becomes of processes in the end.

use std::time::Duration;

use super::*;

#[tokio::test]
async fn an_id_is_taken_from_the_reservation_on() {
    let bench = Bench::new();
    let reservation = bench.table.reserve("p").unwrap();
    let in_use = ReserveError::InUse { id: "p".to_owned() };
    assert_eq!(bench.table.reserve("p").unwrap_err(), in_use);
    assert!(matches!(bench.table.lookup("p"), Lookup::Starting(_)));
    let process = reservation.start(sh("true")).await.unwrap();
    process.announce();
    bench.until_closed().await;
    assert_eq!(bench.table.reserve("p").unwrap_err(), in_use);
    assert!(matches!(bench.table.lookup("p"), Lookup::Known(_)));
    assert!(matches!(bench.table.lookup("q"), Lookup::Unknown));
}

#[tokio::test]
async fn a_failed_start_frees_the_id() {
    let bench = Bench::new();
    for argv in [&["/no/such"][..], &[], &[""]] {
        let reservation = bench.table.reserve("p").unwrap();
        reservation
            .start(request(argv, false, false))
            .await
            .unwrap_err();
    }
    drop(bench.table.reserve("p").unwrap());
    bench.start("p", sh("exit 5")).await;
    assert_eq!(code(&bench.until_closed().await), 5);
    assert!(bench.table.is_idle());
}

#[tokio::test]
async fn whoever_needs_a_process_can_wait_for_its_start() {
    let bench = Bench::new();
    let reservation = bench.table.reserve("p").unwrap();
    let Lookup::Starting(starting) = bench.table.lookup("p") else {
        panic!("it is not starting");
    };
    let (started, waited) = tokio::join!(reservation.start(sh("true")), starting.started());
    assert!(Arc::ptr_eq(&started.unwrap(), &waited.unwrap()));

    let reservation = bench.table.reserve("q").unwrap();
    let Lookup::Starting(starting) = bench.table.lookup("q") else {
        panic!("it is not starting");
    };
    drop(reservation);
    assert!(starting.started().await.is_none());
}

#[tokio::test]
async fn running_processes_are_limited_per_session_and_in_all() {
    let bench = Bench::with(Settings {
        per_session: 2,
        in_all: 3,
        ..Settings::default()
    });
    let other = Table::new(Arc::clone(&bench.host), Arc::clone(bench.host.base()));
    let first = bench.start("1", sh("sleep 1000")).await;
    bench.start("2", sh("sleep 1000")).await;
    let full = ReserveError::SessionFull { max: 2 };
    assert_eq!(bench.table.reserve("3").unwrap_err(), full);
    let _third = other.reserve("3").unwrap();
    let full = ReserveError::ExecutorFull { max: 3 };
    assert_eq!(other.reserve("4").unwrap_err(), full);
    // A closed process counts no longer, remembered or not.
    first.terminate();
    bench.until_closed().await;
    while bench.host.running.available_permits() == 0 {
        tokio::task::yield_now().await;
    }
    drop(other.reserve("4").unwrap());
}

#[tokio::test]
async fn a_closed_process_is_remembered_for_a_while_and_then_forgotten() {
    let bench = Bench::new();
    let process = bench.start("p", sh("echo kept; exit 3")).await;
    bench.until_closed().await;
    until_remembered(&bench).await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(79)).await;
    let page = process.read(0, None);
    assert_eq!(
        (whole(&page).as_slice(), page.closed),
        (&b"kept\n"[..], true)
    );
    assert!(matches!(bench.table.lookup("p"), Lookup::Known(_)));
    tokio::time::advance(Duration::from_secs(2)).await;
    while !matches!(bench.table.lookup("p"), Lookup::Unknown) {
        tokio::task::yield_now().await;
    }
    drop(bench.table.reserve("p").unwrap());
}

#[tokio::test]
async fn long_output_that_surely_arrived_is_cut_to_its_tail_before_that() {
    let bench = Bench::new();
    let large = sh("head -c 3145728 /dev/zero");
    let attached = bench.start("p", large.clone()).await;
    bench.until_closed().await;
    until_remembered(&bench).await;
    let tail = 1024 * 1024..2 * 1024 * 1024;
    assert_eq!(attached.retained_bytes(), 3 * 1024 * 1024);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(11)).await;
    while attached.retained_bytes() > tail.end {
        tokio::task::yield_now().await;
    }
    assert!(tail.contains(&attached.retained_bytes()));

    // While nobody is attached, nothing is certain.
    tokio::time::resume();
    let detached = bench.start("q", large).await;
    bench.until_closed().await;
    until_remembered(&bench).await;
    bench.table.detach();
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(11)).await;
    tokio::task::yield_now().await;
    assert_eq!(detached.retained_bytes(), 3 * 1024 * 1024);
}

#[tokio::test]
async fn too_many_closed_processes_forget_the_oldest_that_was_delivered() {
    let bench = Bench::with(Settings {
        remembered_max: 2,
        ..Settings::default()
    });
    for id in ["1", "2", "3"] {
        bench.start(id, sh("true")).await;
        bench.until_closed().await;
        until_remembered(&bench).await;
    }
    assert!(matches!(bench.table.lookup("1"), Lookup::Unknown));
    assert!(matches!(bench.table.lookup("2"), Lookup::Known(_)));
}

#[tokio::test]
async fn dropping_the_table_kills_what_runs() {
    let bench = Bench::new();
    bench
        .start("p", sh("trap '' TERM; sleep 1000 & echo $$ $!; wait"))
        .await;
    bench.start("q", sh_on_terminal("sleep 1000")).await;
    let events = bench.until_output("\n").await;
    let said = text(&events, OutputStream::Stdout);
    let pids: Vec<_> = said.split_whitespace().collect();
    drop(bench.table);
    bench.host.finished().await;
    assert!(!exists(pids[0]));
    gone(pids[1]).await;
}

#[tokio::test]
async fn a_start_that_outlives_its_session_leaves_nothing_running() {
    let bench = Bench::new();
    let reservation = bench.table.reserve("p").unwrap();
    drop(bench.table);
    let refused = reservation.start(sh("sleep 1000")).await.unwrap_err();
    assert!(matches!(refused, StartError::SessionGone));
    bench.host.finished().await;
}

#[tokio::test]
async fn a_process_that_starts_while_nobody_is_attached_is_found_by_reading() {
    let bench = Bench::new();
    let reservation = bench.table.reserve("p").unwrap();
    bench.table.detach();
    let process = reservation.start(sh("echo bye; exit 9")).await.unwrap();
    process.announce();
    process.wait_news(3, None).await;
    while !process.is_closed() {
        process.wait_news(2, None).await;
    }
    bench.table.attach();
    assert!(bench.table.ready().try_next().is_none());
    let page = process.read(0, None);
    assert_eq!(
        (whole(&page).as_slice(), page.exit.unwrap().code),
        (&b"bye\n"[..], 9)
    );
}
