//! With no file at all: one local environment, over the same code path as a remote one.

use anyhow::Result;
use farstep_integration::Lab;
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
