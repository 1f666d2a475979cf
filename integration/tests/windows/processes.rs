//! Programs: how they are started, what they say, how they end.

use anyhow::{Context as _, Result};
use farstep_integration::{Follower, Lab, Wire, encode};
use serde_json::{Value, json};

use crate::machine::{Windows, follow, mark, marked, run, start, until_marked};

#[tokio::test]
async fn the_machine_says_what_it_is() -> Result<()> {
    let Some(windows) = Windows::find().await? else {
        return Ok(());
    };
    let (_executor, mut wire) = windows.listen(&Lab::new()?).await?;
    let info = wire.done("environment/info", json!({})).await?;
    assert_eq!(info["platformOs"], "windows");
    let drive = |uri: &Value| {
        let uri = uri.as_str().unwrap_or_default().to_owned();
        uri.starts_with("file:///") && uri.as_bytes().get(9) == Some(&b':')
    };
    assert!(drive(&info["cwd"]), "{info}");
    assert!(drive(&info["userHomeDir"]), "{info}");
    assert!(drive(&info["tempDir"]), "{info}");
    // Wine's PowerShell does nothing.
    assert_eq!(info["shell"]["name"], "cmd");
    let path = info["shell"]["path"].as_str().context("no path")?;
    assert!(path.ends_with(r"\cmd.exe"), "{path}");
    assert_eq!(
        wire.done("environment/status", json!({})).await?["status"],
        "ready"
    );
    Ok(())
}

#[tokio::test]
async fn a_program_says_what_it_says_and_ends_as_it_ends() -> Result<()> {
    let Some(windows) = Windows::find().await? else {
        return Ok(());
    };
    let (_executor, mut wire) = windows.listen(&Lab::new()?).await?;
    let line = "echo out & echo err 1>&2 & exit 7";
    let (code, output) = run(&mut wire, start("a", &["cmd", "/c", line])).await?;
    assert_eq!(code, 7);
    assert!(output.contains("out") && output.contains("err"), "{output}");
    // A code beyond what other systems have.
    let (code, _) = run(&mut wire, start("b", &["cmd", "/c", "exit -5"])).await?;
    assert_eq!(code, -5);
    Ok(())
}

#[tokio::test]
async fn arguments_arrive_as_they_were_given() -> Result<()> {
    let Some(windows) = Windows::find().await? else {
        return Ok(());
    };
    let (_executor, mut wire) = windows.listen(&Lab::new()?).await?;
    let program = windows.program.with_file_name("arguments.exe");
    let program = format!("Z:{}", program.display()).replace('/', "\\");
    let given = [
        "plain",
        "",
        "two words",
        "a\"b",
        "\\",
        "back\\",
        "back slash\\",
        "\\\"mix\\\\\"",
        "tab\tbed",
        "\u{e4}\u{1f600}",
        "%PATH%",
        "^&|<>",
        "end \\\\",
        "'",
        "*.txt",
    ];
    let mut argv = vec![program.as_str()];
    argv.extend(given);
    let mut params = start("a", &argv);
    params["arg0"] = json!("another name");
    let (code, output) = run(&mut wire, params).await?;
    assert_eq!(code, 0);
    let expected: String = ["another name"]
        .iter()
        .chain(&given)
        .map(|argument| format!("[{argument}]\r\n"))
        .collect();
    assert_eq!(output, expected);
    Ok(())
}

#[tokio::test]
async fn a_program_gets_the_variables_that_were_asked_for_each_once() -> Result<()> {
    let Some(windows) = Windows::find().await? else {
        return Ok(());
    };
    let (_executor, mut wire) = windows.listen(&Lab::new()?).await?;
    let mut params = start("a", &["cmd", "/c", "set"]);
    params["envPolicy"] = json!({
        "inherit": "all", "ignoreDefaultExcludes": true, "exclude": ["TEMP"], "set": {"Kept": "1"},
        "includeOnly": [],
    });
    params["env"] = json!({"kept": "2", "PATH": "C:\\windows\\system32"});
    let (_, output) = run(&mut wire, params).await?;
    let variable = |name: &str| {
        let wanted = format!("{}=", name.to_lowercase());
        let lines = output.lines();
        lines
            .filter(|line| line.to_lowercase().starts_with(&wanted))
            .map(str::trim_end)
            .collect::<Vec<_>>()
    };
    assert_eq!(variable("kept"), ["kept=2"]);
    assert_eq!(variable("temp"), [""; 0]);
    assert_eq!(variable("path"), ["PATH=C:\\windows\\system32"]);
    assert_eq!(variable("systemroot").len(), 1, "{output}");
    assert_eq!(variable("userprofile").len(), 1, "{output}");

    // Nothing inherited: what was asked for, and the one variable nothing works without.
    let mut params = start("b", &["cmd", "/c", "set"]);
    params["env"] = json!({"PATH": "C:\\windows\\system32"});
    let (_, output) = run(&mut wire, params).await?;
    assert!(output.contains("SystemRoot="), "{output}");
    assert!(!output.contains("USERPROFILE="), "{output}");
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_started_is_refused_with_its_reason() -> Result<()> {
    let Some(windows) = Windows::find().await? else {
        return Ok(());
    };
    let (_executor, mut wire) = windows.listen(&Lab::new()?).await?;
    let (uri, folder) = windows.folder()?;
    std::fs::write(folder.join("tool.bat"), "@echo ran %1\r\n")?;
    let name = folder.file_name().unwrap().to_string_lossy().into_owned();
    let batch = format!("C:\\{name}\\tool.bat");
    let mut elsewhere = start("b", &["cmd", "/c", "cd"]);
    elsewhere["cwd"] = json!(format!("{uri}/nowhere"));
    // A program beside the caller is found only by whoever says so.
    let mut beside = start("c", &["tool"]);
    beside["cwd"] = json!(uri);
    for (params, reason) in [
        (start("a", &["no-such-program"]), "no-such-program: execute"),
        (elsewhere, "enter the working folder"),
        (beside, "tool: execute"),
        (start("d", &[&batch, "\"&calc"]), "a batch file"),
        (start("e", &[&batch, "%PATH%"]), "a batch file"),
    ] {
        let refused = wire.call("process/start", params).await?.unwrap_err();
        assert!(refused.message.contains(reason), "{}", refused.message);
    }
    let (code, output) = run(&mut wire, start("f", &[&batch, "a & b"])).await?;
    assert_eq!((code, output.trim_end()), (0, "ran \"a & b\""));
    let mut by_name = start("g", &[".\\tool", "x"]);
    by_name["cwd"] = json!(uri);
    let (code, output) = run(&mut wire, by_name).await?;
    assert_eq!((code, output.trim_end()), (0, "ran \"x\""));
    Ok(())
}

#[tokio::test]
async fn input_reaches_a_program_and_large_output_comes_whole() -> Result<()> {
    let Some(windows) = Windows::find().await? else {
        return Ok(());
    };
    let (_executor, mut wire) = windows.listen(&Lab::new()?).await?;
    let (_, folder) = windows.folder()?;
    let name = folder.file_name().unwrap().to_string_lossy().into_owned();
    let lines: String = (0..200_000)
        .map(|line| format!("line {line}\r\n"))
        .collect();
    std::fs::write(folder.join("large.txt"), &lines)?;
    let line = format!("type C:\\{name}\\large.txt");
    let (code, output) = run(&mut wire, start("a", &["cmd", "/c", &line])).await?;
    assert_eq!(code, 0);
    assert!(output == lines, "{} of {} bytes", output.len(), lines.len());

    let mut params = start(
        "b",
        &["cmd", "/c", "set /p said= & call echo heard %^said%"],
    );
    params["pipeStdin"] = json!(true);
    wire.done("process/start", params).await?;
    for (id, text) in [("1", "some "), ("2", "words\r\n"), ("2", "words\r\n")] {
        let write = json!({"processId": "b", "writeId": id, "chunk": encode(text.as_bytes())});
        assert_eq!(
            wire.done("process/write", write).await?["status"],
            "accepted"
        );
    }
    let follower = follow(&mut wire, "b").await?;
    let output = String::from_utf8_lossy(&follower.output()?).into_owned();
    assert!(output.contains("heard"), "{output}");
    assert_eq!(follower.exit_code(), Some(0));
    Ok(())
}

#[tokio::test]
async fn many_programs_at_once_come_to_their_ends() -> Result<()> {
    let Some(windows) = Windows::find().await? else {
        return Ok(());
    };
    let (_executor, mut wire) = windows.listen(&Lab::new()?).await?;
    let names: Vec<String> = (0..24).map(|number| format!("p{number}")).collect();
    let mut followers: Vec<Follower> = names.iter().map(|name| Follower::new(name)).collect();
    for (number, name) in names.iter().enumerate() {
        let line = format!("echo {name} & exit {number}");
        wire.done("process/start", start(name, &["cmd", "/c", &line]))
            .await?;
    }
    while followers.iter().any(|follower| !follower.is_complete()) {
        let message = wire.notification().await?.context("the connection ended")?;
        for follower in &mut followers {
            follower.notified(&message)?;
        }
    }
    for (number, (follower, name)) in followers.iter().zip(&names).enumerate() {
        assert_eq!(follower.exit_code(), i64::try_from(number).ok());
        assert!(String::from_utf8_lossy(&follower.output()?).contains(name.as_str()));
    }
    Ok(())
}

/// What Wine's console shows is not what another shows; that there is one is.
#[tokio::test]
async fn a_terminal_is_there_and_goes_with_its_program() -> Result<()> {
    let Some(windows) = Windows::find().await? else {
        return Ok(());
    };
    let (_executor, mut wire) = windows.listen(&Lab::new()?).await?;
    let mark = mark();
    let mut params = start("a", &["ping", "-n", "100", "-w", &mark, "127.0.0.1"]);
    params["tty"] = json!(true);
    wire.done("process/start", params).await?;
    until_marked(&mark, 1).await?;
    wire.done("process/terminate", json!({"processId": "a"}))
        .await?;
    let follower = follow(&mut wire, "a").await?;
    assert_eq!(follower.exit_code(), Some(1));
    until_marked(&mark, 0).await
}

#[tokio::test]
async fn ctrl_c_ends_a_program_that_has_no_terminal() -> Result<()> {
    let Some(windows) = Windows::find().await? else {
        return Ok(());
    };
    let (_executor, mut wire) = windows.listen(&Lab::new()?).await?;
    let mark = mark();
    wire.done(
        "process/start",
        start("a", &["ping", "-n", "1000", "-w", &mark, "127.0.0.1"]),
    )
    .await?;
    until_marked(&mark, 1).await?;
    wire.done(
        "process/signal",
        json!({"processId": "a", "signal": "interrupt"}),
    )
    .await?;
    follow(&mut wire, "a").await?;
    until_marked(&mark, 0).await
}

/// Starts an interpreter that waits, and from it another one in the background. Returns when both have
/// begun: what is still being started is Wine's and not yet the job's.
async fn start_family(wire: &mut Wire, process: &str, mark: &str) -> Result<Follower> {
    let wait = format!("set /p m{mark}=");
    let line = format!("start /b cmd /c echo up^& {wait} & echo up& {wait}");
    let mut params = start(process, &["cmd", "/c", &line]);
    params["pipeStdin"] = json!(true);
    wire.done("process/start", params).await?;
    let mut follower = Follower::new(process);
    loop {
        let message = wire.notification().await?.context("the connection ended")?;
        follower.notified(&message)?;
        let said = String::from_utf8_lossy(&follower.output()?).into_owned();
        if said.matches("up").count() == 2 {
            until_marked(mark, 2).await?;
            return Ok(follower);
        }
    }
}

#[tokio::test]
async fn nothing_survives_a_terminate() -> Result<()> {
    let Some(windows) = Windows::find().await? else {
        return Ok(());
    };
    let (_executor, mut wire) = windows.listen(&Lab::new()?).await?;
    let mark = mark();
    let mut follower = start_family(&mut wire, "a", &mark).await?;
    let ended = wire
        .done("process/terminate", json!({"processId": "a"}))
        .await?;
    assert_eq!(ended["running"], true);
    while !follower.is_complete() {
        let message = wire.notification().await?.context("the connection ended")?;
        follower.notified(&message)?;
    }
    until_marked(&mark, 0).await
}

#[tokio::test]
async fn nothing_survives_a_session() -> Result<()> {
    let Some(windows) = Windows::find().await? else {
        return Ok(());
    };
    let lab = Lab::new()?;
    let mut command = windows.command(&["--listen", "stdio", "--audit-file", "off"]);
    let mut executor = farstep_integration::Running::start(command.current_dir(lab.path()))?;
    let mark = mark();
    // The program ends at once and leaves one behind.
    let line = format!("start /b ping -n 1000 -w {mark} 127.0.0.1 & exit 0");
    for message in [
        json!({"id": 1, "method": "initialize", "params": {"clientName": "test"}}),
        json!({"method": "initialized", "params": {}}),
        json!({"id": 2, "method": "process/start", "params": start("a", &["cmd", "/c", &line])}),
    ] {
        executor.say(&format!("{message}\n")).await?;
    }
    while !executor.line().await?.contains("process/exited") {}
    until_marked(&mark, 1).await?;
    executor.close_input();
    let done = executor.finish().await?;
    assert_eq!(done.code, Some(0), "{}", done.err());
    assert_eq!(marked(&mark), 0, "after the executor's own end");
    Ok(())
}

#[tokio::test]
async fn nothing_survives_the_sudden_end_of_the_executor() -> Result<()> {
    let Some(windows) = Windows::find().await? else {
        return Ok(());
    };
    let (executor, mut wire) = windows.listen(&Lab::new()?).await?;
    let mark = mark();
    start_family(&mut wire, "a", &mark).await?;
    executor.kill()?;
    until_marked(&mark, 0).await
}
