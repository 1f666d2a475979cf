use std::sync::Arc;

use bytes::Bytes;
use farstep_protocol::output::Event;

use super::*;

/// Everything the attached connection is told until the process is closed.
async fn events(table: &Table, process: &Arc<Process>) -> Vec<Event> {
    let mut events = Vec::new();
    loop {
        let ready = table.ready().next().await;
        assert_eq!(ready.id(), process.id());
        while let Some(event) = ready.take_event() {
            let last = matches!(event, Event::Closed { .. });
            events.push(event);
            if last {
                return events;
            }
        }
    }
}

fn host() -> Arc<Host> {
    Host::new(Settings::default(), std::env::vars_os())
}

fn sh(script: &str) -> StartRequest {
    StartRequest {
        argv: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
        arg0: None,
        cwd: "/".into(),
        env: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
        env_policy: None,
        stdio: StartRequest::stdio(false, false),
    }
}

#[tokio::test]
async fn a_command_runs_and_tells_its_output_its_exit_and_its_close() {
    let table = Table::new(host());
    let reservation = table.reserve("p").unwrap();
    let process = reservation.start(sh("echo out; exit 3")).await.unwrap();
    process.announce();
    let events = events(&table, &process).await;
    let kinds: Vec<_> = events.iter().map(Event::seq).collect();
    assert_eq!(kinds, [1, 2, 3]);
    let page = process.read(0, None);
    assert_eq!(page.chunks[0].bytes, Bytes::from_static(b"out\n"));
    assert_eq!(page.exit.unwrap().code, 3);
}
