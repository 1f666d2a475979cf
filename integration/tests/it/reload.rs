//! A configuration that changes while a run is under way.

use anyhow::Result;
use farstep_integration::{Lab, Reply, ScriptedModel};
use serde_json::{Value, json};

/// The file is changed between two requests, thrice: to one that is broken, to one with another
/// environment, to one without the first.
#[tokio::test]
async fn an_edit_counts_from_the_next_step_and_a_broken_one_is_told_once() -> Result<()> {
    let lab = Lab::new()?;
    let (near, late) = (lab.executor("near").await?, lab.executor("late").await?);
    let entry = |id: &str, url: &str| format!("[[environments]]\nid = \"{id}\"\nurl = \"{url}\"\n");
    let file = |default: &str, entries: &str| {
        format!(
            "default = \"{default}\"\ninclude_local = false\n{entries}[farstep]\nhot_reload = true\n"
        )
    };
    let (near_entry, late_entry) = (entry("near", &near.url), entry("late", &late.url));
    let both = file("near", &format!("{near_entry}{late_entry}"));
    let only_late = file("late", &late_entry);
    lab.environments(&file("near", &near_entry))?;
    let path = lab.home().join("environments.toml");
    let run = |environment: Option<&str>| {
        let mut arguments = json!({"cmd": "pwd", "login": false});
        if let Some(id) = environment {
            arguments["environment_id"] = json!(id);
        }
        Reply::default().call("c", "exec_command", &arguments)
    };
    let edit = move |text: &str| std::fs::write(&path, text).is_ok();
    let model = ScriptedModel::start(move |number, _| {
        let edited = match number {
            0 => edit("default = \"nobody\"\n"),
            1 => edit(&both),
            2 => edit(&only_late),
            _ => true,
        };
        assert!(edited, "the file could not be changed");
        match number {
            0 | 1 => run(None),
            // The environment that came with the second edit.
            2 => run(Some("late")),
            3 => run(None),
            _ => Reply::message("done"),
        }
    })
    .await?;
    let args = [
        "run",
        "hello",
        "--json",
        "--model",
        "m",
        "--base-url",
        &model.url,
    ];
    let done = lab.run(&args).await?;
    assert_eq!(done.code, Some(0), "{}", done.err());
    let lines = done.json_lines()?;
    let errors: Vec<&Value> = lines
        .iter()
        .filter(|line| line["type"] == "error")
        .collect();
    assert_eq!(errors.len(), 1, "{errors:#?}");
    let told = errors[0]["message"].as_str().unwrap_or_default();
    assert!(
        told.contains("environments.toml:1:11: error[default_unknown]"),
        "{told}"
    );
    let requests = model.requests();
    assert_eq!(requests.len(), 5);
    let outputs = requests[4].to_string();
    for folder in [&near.folder, &late.folder] {
        let shown = folder.canonicalize()?.display().to_string();
        assert!(outputs.contains(&shown), "{shown} not in {outputs}");
    }
    let ran_in: Vec<&str> = lines
        .iter()
        .filter(|line| line["type"] == "item.completed")
        .filter_map(|line| line["item"]["environment_id"].as_str())
        .collect();
    assert_eq!(ran_in, ["near", "near", "late", "late"]);
    Ok(())
}
