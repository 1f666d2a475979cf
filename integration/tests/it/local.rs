//! With no file at all: one local environment, over the same code path as a remote one.

use anyhow::Result;
use farstep_integration::{Lab, Reply, ScriptedModel};
use serde_json::Value;

#[tokio::test]
async fn without_a_file_commands_run_locally_in_the_folder_they_were_given_in() -> Result<()> {
    let lab = Lab::new()?;
    let done = lab.run(&["exec", "--", "pwd"]).await?;
    let folder = lab.path().canonicalize()?;
    assert_eq!(
        done.out(),
        format!("{}\n", folder.display()),
        "{}",
        done.err()
    );
    Ok(())
}

#[tokio::test]
async fn every_environment_is_listed_and_tested() -> Result<()> {
    let lab = Lab::new()?;
    let far = lab.executor("far").await?;
    lab.environments(&format!(
        "[[environments]]\nid = \"far\"\nurl = \"{}\"\n",
        far.url
    ))?;
    let listed = lab.run(&["env", "list", "--json"]).await?;
    assert_eq!(listed.code, Some(0), "{}", listed.err());
    let ids = |lines: Vec<Value>| -> Vec<String> {
        let ids = lines.iter().filter_map(|line| line["id"].as_str());
        ids.map(str::to_owned).collect()
    };
    assert_eq!(ids(listed.json_lines()?), ["local", "far"]);

    let tested = lab.run(&["env", "test", "--json"]).await?;
    assert_eq!(tested.code, Some(0), "{}", tested.err());
    let lines = tested.json_lines()?;
    assert_eq!(ids(lines.clone()), ["local", "far"]);
    assert!(
        lines.iter().all(|line| line["ok"] == Value::Bool(true)),
        "{lines:?}"
    );
    Ok(())
}

#[tokio::test]
async fn an_environment_that_fails_its_test_fails_the_command() -> Result<()> {
    let lab = Lab::new()?;
    let far = lab.executor("far").await?;
    lab.websockets(&[("far", &far.url)])?;
    far.kill()?;
    far.finish().await?;
    let tested = lab.run(&["env", "test", "far"]).await?;
    assert_eq!(tested.code, Some(1), "{}", tested.out());
    Ok(())
}

#[tokio::test]
async fn a_broken_file_is_reported_with_its_place() -> Result<()> {
    let lab = Lab::new()?;
    lab.environments("[[environments]]\nid = \"a\"\nurl = \"http://x\"\n")?;
    let done = lab.run(&["env", "list"]).await?;
    assert_eq!(done.code, Some(2), "{}", done.out());
    assert!(
        done.err().contains("environments.toml:3:7"),
        "{}",
        done.err()
    );
    assert!(done.err().contains("ws://"), "{}", done.err());
    Ok(())
}

#[tokio::test]
async fn a_list_tells_how_each_stands_when_it_is_asked_to_connect() -> Result<()> {
    let lab = Lab::new()?;
    let far = lab.executor("far").await?;
    lab.environments(&format!(
        "include_local = false\n[[environments]]\nid = \"far\"\nurl = \"{}\"\n\
         farstep.labels = {{ tier = \"ci\" }}\n\
         [[environments]]\nid = \"gone\"\nprogram = \"no-such-program\"\nfarstep.os = \"linux\"\n",
        far.url
    ))?;
    let plain = lab.run(&["env", "list"]).await?;
    assert!(!plain.out().contains("STATE"), "{}", plain.out());
    assert!(plain.out().contains("tier=ci"), "{}", plain.out());
    let listed = lab.run(&["env", "list", "--connect", "--json"]).await?;
    let lines = listed.json_lines()?;
    assert_eq!(lines[0]["state"], "ready");
    assert_eq!(lines[1]["state"], "failed");
    assert_eq!(lines[1]["os"], "linux");
    let reason = lines[1]["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("`no-such-program`"), "{reason}");
    Ok(())
}

#[tokio::test]
async fn what_an_entry_requires_and_is_not_there_keeps_the_model_from_being_asked() -> Result<()> {
    let lab = Lab::new()?;
    let model = ScriptedModel::start(|_, _| Reply::message("done")).await?;
    lab.environments(
        "[[environments]]\nid = \"gone\"\nprogram = \"no-such-program\"\n\
         [environments.farstep]\nrequired = true\n",
    )?;
    let run = ["run", "hello", "--model", "m", "--base-url", &model.url];
    let refused = lab.run(&run).await?;
    assert_eq!(refused.code, Some(1), "{}", refused.err());
    assert!(
        refused.err().contains("which its entry requires"),
        "{}",
        refused.err()
    );
    assert_eq!(model.requests().len(), 0);

    lab.environments(
        "[[environments]]\nid = \"gone\"\nprogram = \"no-such-program\"\n\
         skills = { required = [\"deploy\"] }\n",
    )?;
    let refused = lab.run(&run).await?;
    assert_eq!(refused.code, Some(1), "{}", refused.err());
    let told = "Required skill \"deploy\" from environment \"gone\" is unavailable";
    assert!(refused.err().contains(told), "{}", refused.err());
    assert_eq!(model.requests().len(), 0);
    let elsewhere = lab.run(&[&run[..], &["-e", "local"]].concat()).await?;
    assert_eq!(elsewhere.code, Some(0), "{}", elsewhere.err());
    Ok(())
}
