//! What finished processes keep when there are many.

use super::*;
use crate::process::retention::Retention;

const MIB: usize = 1024 * 1024;

#[tokio::test]
async fn the_oldest_finished_process_gives_up_its_output_first_and_its_tail_last() {
    let bench = Bench::new();
    let retention = Retention::default();
    let mut processes = Vec::new();
    for id in ["1", "2", "3"] {
        let process = bench.start(id, sh("head -c 3145728 /dev/zero")).await;
        bench.until_closed().await;
        retention.admit(&process, 6 * MIB);
        processes.push(process);
    }
    let kept = |processes: &[Arc<Process>]| -> Vec<usize> {
        let rounded = |process: &Arc<Process>| process.retained_bytes() / MIB;
        processes.iter().map(rounded).collect()
    };
    assert_eq!(kept(&processes), [1, 1, 3]);

    let process = bench.start("4", sh("head -c 3145728 /dev/zero")).await;
    bench.until_closed().await;
    retention.admit(&process, 4 * MIB);
    processes.push(process);
    // Four tails are a little more than allowed: nobody loses all before everybody gave.
    assert_eq!(kept(&processes), [0, 1, 1, 1]);

    // A forgotten one needs no room.
    processes.clear();
    drop(bench);
    assert_eq!(retention.bytes(), 0);
}
