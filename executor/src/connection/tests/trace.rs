use super::*;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// What a command started with `trace` finds in its environment, which its caller set to `env`.
async fn environment(server: &Arc<Server>, trace: Value, env: Value) -> String {
    let mut peer = Peer::open(server).await;
    let params = json!({
        "processId": "p", "argv": ["/usr/bin/env"], "cwd": "file:///", "env": env, "tty": false,
    });
    let start = json!({"id": "start", "method": "process/start", "params": params, "trace": trace});
    peer.send(start).await;
    peer.reply("start").await.unwrap();
    let mut printed = Vec::new();
    loop {
        let event = peer.next().await;
        match event["method"].as_str().unwrap() {
            "process/output" => {
                let chunk = event["params"]["chunk"].as_str().unwrap();
                printed.extend(base64_simd::STANDARD.decode_to_vec(chunk).unwrap());
            }
            "process/closed" => break,
            _ => {}
        }
    }
    String::from_utf8(printed).unwrap()
}

#[tokio::test]
async fn a_command_is_told_the_trace_of_its_call() {
    let server = Server::for_tests();
    let trace = json!({"traceparent": PARENT, "tracestate": "vendor=1"});
    let told = format!("TRACEPARENT={PARENT}\nTRACESTATE=vendor=1\n");
    assert_eq!(environment(&server, trace.clone(), json!({})).await, told);
    let alone = json!({"traceparent": PARENT});
    let told = format!("TRACEPARENT={PARENT}\n");
    assert_eq!(environment(&server, alone, json!({})).await, told);

    let own = json!({"traceparent": "mine"});
    assert_eq!(environment(&server, trace, own).await, "traceparent=mine\n");
    assert_eq!(ignored(&server), "0");
}

#[tokio::test]
async fn a_trace_that_is_wrong_is_ignored_and_counted() {
    let server = Server::for_tests();
    for trace in [
        json!({"traceparent": "00-0-0-00"}),
        json!({"tracestate": "a=1"}),
        json!({"traceparent": format!("{PARENT}\nLD_PRELOAD=x")}),
    ] {
        assert_eq!(environment(&server, trace, json!({})).await, "");
    }
    assert_eq!(ignored(&server), "3");
    let none = [json!(null), json!({}), json!({"traceparent": 7})];
    for trace in none {
        assert_eq!(environment(&server, trace, json!({})).await, "");
    }
}

/// What the page says of trace contexts that were ignored.
fn ignored(server: &Server) -> String {
    let page = server.metrics_page(0);
    let mut lines = page.lines();
    let count = lines.find_map(|line| line.strip_prefix("farstep_trace_contexts_ignored_total "));
    count.unwrap().to_owned()
}
