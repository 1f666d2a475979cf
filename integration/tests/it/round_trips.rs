//! Round trips that wait on each other, counted by the order of messages on a long link.

use std::time::Duration;

use anyhow::Result;
use farstep_integration::{Lab, Link, Reply, ScriptedModel, Side};
use serde_json::json;

/// Long enough that nothing comes back while a burst is still leaving.
const ONE_WAY: Duration = Duration::from_millis(50);

#[tokio::test]
async fn the_first_model_request_waits_for_upgrade_initialize_and_documents() -> Result<()> {
    let lab = Lab::new()?;
    let far = lab.executor("far").await?;
    std::fs::create_dir(far.folder.join(".git"))?;
    std::fs::write(far.folder.join("AGENTS.md"), "Mind the gap.")?;
    let link = Link::start(&far.url, ONE_WAY).await?;
    lab.websockets(&[("far", &link.url)])?;
    let model = ScriptedModel::start(|_, _| Reply::message("done")).await?;
    let done = lab
        .run(&["run", "hello", "--model", "m", "--base-url", &model.url])
        .await?;
    assert_eq!(done.code, Some(0), "{}", done.err());
    let requests = model.requests();
    assert_eq!(requests.len(), 1);
    assert!(
        requests[0].to_string().contains("Mind the gap."),
        "{}",
        requests[0]
    );
    assert!(link.round_trips() <= 3, "{:#?}", link.crossings());
    Ok(())
}

#[tokio::test]
async fn a_short_command_costs_one_round_trip() -> Result<()> {
    let lab = Lab::new()?;
    let far = lab.executor("far").await?;
    let link = Link::start(&far.url, ONE_WAY).await?;
    lab.websockets(&[("far", &link.url)])?;
    let model = ScriptedModel::start(|number, body| match number {
        0 => Reply::default().call(
            "c",
            "exec_command",
            &json!({"cmd": "echo hi", "login": false}),
        ),
        _ => {
            assert!(body.to_string().contains("Output:\\nhi"), "{body}");
            Reply::message("done")
        }
    })
    .await?;
    let done = lab
        .run(&["run", "hello", "--model", "m", "--base-url", &model.url])
        .await?;
    assert_eq!(done.code, Some(0), "{}", done.err());
    assert_eq!(model.requests().len(), 2);
    let crossings = link.crossings();
    let start = crossings.iter().find(|c| c.method == "process/start");
    let closed = crossings
        .iter()
        .find(|c| c.from == Side::Executor && c.method == "process/closed");
    let (Some(start), Some(closed)) = (start, closed) else {
        panic!("no command crossed: {crossings:#?}");
    };
    // The command is over when what answers its start has come back.
    assert_eq!(closed.depth, start.depth);
    Ok(())
}

#[tokio::test]
async fn a_patch_over_ten_files_costs_three_round_trips() -> Result<()> {
    let lab = Lab::new()?;
    let far = lab.executor("far").await?;
    let mut patch = String::from("*** Begin Patch\n");
    for number in 0..5 {
        std::fs::write(
            far.folder.join(format!("old{number}.txt")),
            "one\ntwo\nthree\n",
        )?;
        patch.push_str(&format!(
            "*** Update File: old{number}.txt\n@@\n one\n-two\n+TWO {number}\n three\n"
        ));
        patch.push_str(&format!(
            "*** Add File: new/{number}/file.txt\n+fresh {number}\n"
        ));
    }
    patch.push_str("*** End Patch");
    let link = Link::start(&far.url, ONE_WAY).await?;
    lab.websockets(&[("far", &link.url)])?;
    let model = ScriptedModel::start(move |number, body| match number {
        0 => Reply::default().custom("p", "apply_patch", &patch),
        _ => {
            assert!(body.to_string().contains("Exit code: 0"), "{body}");
            Reply::message("done")
        }
    })
    .await?;
    let done = lab
        .run(&["run", "hello", "--model", "m", "--base-url", &model.url])
        .await?;
    assert_eq!(done.code, Some(0), "{}", done.err());
    assert_eq!(model.requests().len(), 2);
    for number in 0..5 {
        assert_eq!(
            std::fs::read_to_string(far.folder.join(format!("old{number}.txt")))?,
            format!("one\nTWO {number}\nthree\n")
        );
        assert_eq!(
            std::fs::read_to_string(far.folder.join(format!("new/{number}/file.txt")))?,
            format!("fresh {number}\n")
        );
    }
    let crossings = link.crossings();
    let depths: Vec<usize> = crossings
        .iter()
        .filter(|c| c.from == Side::Caller && c.method.starts_with("fs/"))
        .map(|c| c.depth)
        .collect();
    let before = crossings
        .iter()
        .filter(|c| c.from == Side::Caller && c.method == "fs/writeFile")
        .map(|c| c.depth)
        .max();
    // Upgrade, initialize and documents come first; the patch has the three after them.
    assert!(before <= Some(6), "{depths:?}");
    assert!(link.round_trips() <= 6, "{depths:?}");
    Ok(())
}
