//! `farstep env add`, `remove`, `default` and `export`, as typed.

use anyhow::Result;

use crate::commands::transcript;

#[tokio::test]
async fn a_machine_is_added_chosen_exported_and_removed() -> Result<()> {
    let told = transcript(&[
        "farstep env add here --cwd /tmp --dry-run -- farstep-executor --listen stdio",
        "farstep env add here --cwd /tmp -- farstep-executor --listen stdio",
        "farstep exec -e here -- pwd",
        "farstep env default here",
        "farstep exec -- pwd",
        "farstep env export --for codex",
        "farstep env default none --dry-run",
        "farstep env default builder",
        "farstep env remove here",
        "farstep env list",
        "cat \"$FARSTEP_HOME/environments.toml\"",
    ])
    .await?;
    insta::assert_snapshot!(told);
    Ok(())
}

#[tokio::test]
async fn what_goes_wrong_with_changes_is_said_and_nothing_is_written() -> Result<()> {
    let told = transcript(&[
        "cp \"$FARSTEP_HOME/environments.toml\" before",
        "farstep env add",
        "farstep env add box",
        "farstep env add box --url ws://127.0.0.1:9 -- ssh box",
        "farstep env add box ws://127.0.0.1:9",
        "farstep env add box http://127.0.0.1:9",
        "farstep env add box --url ws://127.0.0.1:9",
        "farstep env add box --url http://127.0.0.1:9",
        "farstep env add 'a box' --url ws://127.0.0.1:9",
        "farstep env add local --url ws://127.0.0.1:9",
        "farstep env add builder --url ws://127.0.0.1:9",
        "farstep env add box --url ws://machine.example --token-env TOKEN",
        "farstep env add box --token-env TOKEN -- farstep-executor --listen stdio",
        "farstep env add box -- no-such-program",
        "farstep env add box -- sh -c 'echo No such machine >&2; exit 3'",
        "farstep env add box -- echo Welcome to box",
        "farstep env remove box",
        "farstep env remove builder",
        "farstep env default box",
        "farstep env default ''",
        "farstep env export",
        "farstep env export --for emacs",
        "farstep env export --for codex --out before",
        "cmp before \"$FARSTEP_HOME/environments.toml\"",
        "echo nonsense > \"$FARSTEP_HOME/environments.toml\"",
        "farstep env add box --url ws://127.0.0.1:9",
        "cat \"$FARSTEP_HOME/environments.toml\"",
    ])
    .await?;
    insta::assert_snapshot!(told);
    Ok(())
}
