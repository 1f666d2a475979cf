//! The commands a person types: the page about them, and the words of their likeliest failures.

use std::path::Path;

use anyhow::Result;
use farstep_integration::{Stage, check_page};

#[tokio::test]
async fn the_page_shows_what_the_commands_print() -> Result<()> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/commands.md");
    check_page(&page).await
}

/// Runs each line on one stage, and gives all of them with what they print.
pub(crate) async fn transcript(lines: &[&str]) -> Result<String> {
    let mut stage = Stage::set().await?;
    let mut text = String::new();
    for line in lines {
        let printed = stage.run(&format!("{line}; echo \"= $?\"")).await?;
        text.push_str(&format!("$ {line}\n{printed}"));
    }
    Ok(text)
}

#[tokio::test]
async fn what_goes_wrong_with_exec_is_said() -> Result<()> {
    let told = transcript(&[
        "farstep exec -- no-such-program",
        "farstep exec --cwd /no/such/folder -- true",
        "farstep exec --cwd relative -- true",
        "farstep exec -- /tmp",
        "farstep exec -- sh -c 'printf nonsense > script; chmod +x script'",
        "farstep exec -- ./script",
        "farstep exec --cwd script -- true",
        "farstep exec -e nowhere -- true",
        "farstep exec -e label:tier=ci -- true",
        "farstep exec",
        "farstep exec -e",
        "farstep exce",
        "farstep exec -- sh -c 'exit 7'",
        "farstep exec true",
        "farstep exec --json --tty -- true",
        "farstep shell nowhere",
    ])
    .await?;
    insta::assert_snapshot!(told);
    Ok(())
}

#[tokio::test]
async fn what_goes_wrong_with_jobs_is_said() -> Result<()> {
    let told = transcript(&[
        "farstep logs 3f",
        "farstep ps",
        "farstep ps nowhere",
        "farstep wait",
        "farstep kill -s stop 3f",
        "farstep exec -d --keep 5 -- true",
        "farstep exec -d --keep 0d -- true",
        "farstep exec --keep 1d -- true",
        "farstep exec -d -- no-such-program; farstep ps",
        "farstep logs --tail 1 --since-seq 1 3f",
        "echo include_local = true > $FARSTEP_HOME/environments.toml; farstep exec -d -e local -- true",
    ])
    .await?;
    insta::assert_snapshot!(told);
    Ok(())
}

/// One entry for each way an environment cannot be reached.
#[tokio::test]
async fn why_an_environment_cannot_be_reached_is_said_with_what_to_do() -> Result<()> {
    let stage = Stage::set().await?;
    let folder = stage.lab().folder("laptop")?;
    let token = folder.join("token");
    std::fs::write(&token, "not-the-right-one")?;
    let guarded = stage
        .lab()
        .executor_with(
            "guarded",
            &[
                "--ws-auth",
                "capability-token",
                "--ws-token-sha256",
                &"0".repeat(64),
            ],
        )
        .await?;
    let open = stage.lab().executor("open").await?;
    // Takes everybody's connection and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let silent_url = format!("ws://{}", silent.local_addr()?);
    let entries = [
        ("nobody", "url = \"ws://127.0.0.1:9\"".to_owned()),
        (
            "nameless",
            "url = \"ws://no-such-host.invalid\"\nfarstep = { proxy = \"none\" }".to_owned(),
        ),
        (
            "silent",
            format!("url = \"{silent_url}\"\nconnect_timeout_sec = 0.2"),
        ),
        ("guarded", format!("url = \"{}\"", guarded.url)),
        (
            "stranger",
            format!("url = \"{}\"\nauth_bearer_token = \"wrong\"", guarded.url),
        ),
        (
            "unset",
            format!(
                "url = \"{}\"\nfarstep = {{ auth = {{ bearer = {{ env = \"UNSET_TOKEN\" }} }} }}",
                guarded.url
            ),
        ),
        ("path", format!("url = \"{}/exec\"", open.url)),
        (
            "tls",
            format!("url = \"{}\"", open.url.replace("ws:", "wss:")),
        ),
        (
            "other",
            format!("url = \"{}\"\nfarstep = {{ os = \"windows\" }}", open.url),
        ),
        (
            "confined",
            format!(
                "url = \"{}\"\nfarstep = {{ permission_profile = \"read-only\" }}",
                open.url
            ),
        ),
        ("absent", "program = \"no-such-program\"".to_owned()),
        ("folder", "program = \"/tmp\"".to_owned()),
        ("echo", "program = \"cat\"".to_owned()),
        (
            "lazy",
            "program = \"sleep\"\nargs = [\"9\"]\ninitialize_timeout_sec = 0.2".to_owned(),
        ),
        (
            "failing",
            "program = \"sh\"\nargs = [\"-c\", \"echo no such pod >&2; exit 3\"]".to_owned(),
        ),
    ];
    let text: String = entries
        .iter()
        .map(|(id, entry)| format!("[[environments]]\nid = \"{id}\"\n{entry}\n"))
        .collect();
    stage.lab().environments(&text)?;
    let mut told = String::new();
    for (id, _) in entries {
        let mut command = stage.lab().farstep(&["exec", "-e", id, "--", "true"]);
        // Its chatter is not what is looked at here: a token in the file is warned of each time.
        let done = farstep_integration::Running::start(command.env("FARSTEP_LOG", "error"))?
            .finish()
            .await?;
        let err = done.err();
        let said: String = err
            .lines()
            .skip_while(|line| !line.starts_with("farstep: "))
            .map(|line| format!("{line}\n"))
            .collect();
        let code = done.code.unwrap_or_default();
        told.push_str(&format!("$ farstep exec -e {id} -- true\n{said}= {code}\n"));
    }
    for (url, shown) in [
        (&guarded.url, "ws://127.0.0.1:4501"),
        (&open.url, "ws://127.0.0.1:4502"),
        (&silent_url, "ws://127.0.0.1:4503"),
    ] {
        let authority = |url: &str| url.trim_start_matches("ws://").to_owned();
        told = told.replace(&authority(url), &authority(shown));
    }
    // Each resolver has its own words.
    let told: String = told
        .lines()
        .map(|line| match line.split_once("cannot be looked up: ") {
            Some((head, _)) => format!("{head}cannot be looked up: [REASON]\n"),
            None => format!("{line}\n"),
        })
        .collect();
    insta::assert_snapshot!(told);
    Ok(())
}
