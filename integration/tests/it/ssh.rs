//! Executors that are put on a machine through a real sshd, by `farstep ssh` and `farstep env add`.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use farstep_integration::{
    Finished, Lab, Running, Sshd, find, need, shell_script, static_executor,
};

fn sshd_is_here() -> bool {
    need(
        Sshd::is_here().then_some(()),
        "ssh and sshd (openssh-server)",
    )
    .is_some()
}

/// Runs `farstep` with the `ssh` that knows `sshd`.
async fn farstep(lab: &Lab, sshd: &Sshd, arguments: &[&str]) -> Result<Finished> {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = lab.farstep(arguments);
    command.env("PATH", format!("{}:{path}", sshd.bin().display()));
    Running::start(&mut command)?.finish().await
}

/// The executors in the home folder there.
fn placed(sshd: &Sshd) -> Result<Vec<PathBuf>> {
    let folder = sshd.home().join(".local/share/farstep/executor");
    let mut found = Vec::new();
    for version in std::fs::read_dir(folder)? {
        for file in std::fs::read_dir(version?.path())? {
            found.push(file?.path());
        }
    }
    Ok(found)
}

#[tokio::test]
async fn an_executor_is_put_on_a_machine_once_and_serves_it() -> Result<()> {
    if !sshd_is_here() {
        return Ok(());
    }
    let lab = Lab::new()?;
    let sshd = Sshd::start(&lab, "box", "").await?;
    let first = farstep(
        &lab,
        &sshd,
        &["ssh", "box", "--", "sh", "-c", "pwd; exit 3"],
    )
    .await?;
    ensure!(first.code == Some(3), "{}", first.err());
    ensure!(
        first.out().trim() == sshd.home().display().to_string(),
        "{}",
        first.out()
    );
    ensure!(first.err().is_empty(), "{}", first.err());

    let found = placed(&sshd)?;
    let [file] = found.as_slice() else {
        anyhow::bail!("{found:?}");
    };
    let there = std::fs::metadata(file)?;
    ensure!(
        there.permissions().mode() & 0o777 == 0o700,
        "its owner's alone"
    );
    ensure!(std::fs::read(file)? == std::fs::read(&lab.programs().executor)?);

    // Without a command it is a shell, which reads a script when there is no terminal.
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = lab.farstep(&["ssh", "box"]);
    command.env("PATH", format!("{}:{path}", sshd.bin().display()));
    let mut shell = Running::start(&mut command)?;
    shell.say("echo from a shell; exit 4\n").await?;
    let shell = shell.finish().await?;
    ensure!(
        (shell.code, shell.out().as_str()) == (Some(4), "from a shell\n"),
        "{}",
        shell.err()
    );

    // What the machine does not say of its programs somebody may.
    let told = farstep(&lab, &sshd, &["ssh", "box", "--arch", "vax", "--", "true"]).await?;
    ensure!(told.code == Some(255), "{}", told.err());
    ensure!(
        told.err().contains("--target vax-unknown-linux-musl"),
        "{}",
        told.err()
    );

    // It is used again, also under a name that is remembered.
    let added = farstep(
        &lab,
        &sshd,
        &["env", "add", "far", "ssh://box", "--default"],
    )
    .await?;
    let written = std::fs::read_to_string(lab.home().join("environments.toml"))?;
    let arch = format!("arch = \"{}\"", std::env::consts::ARCH);
    ensure!(
        written.contains("os = \"linux\"") && written.contains(&arch),
        "{written}"
    );
    ensure!(added.code == Some(0), "{}", added.err());
    ensure!(
        added.err().contains("is already on box: ~/.local/share"),
        "{}",
        added.err()
    );
    let ran = farstep(&lab, &sshd, &["exec", "--", "echo", "over ssh"]).await?;
    ensure!(
        (ran.code, ran.out().as_str()) == (Some(0), "over ssh\n"),
        "{}",
        ran.err()
    );
    ensure!(
        std::fs::metadata(file)?.ino() == there.ino(),
        "it was replaced"
    );

    // What is not what it should be is. The old one may still be running, so it is not overwritten.
    std::fs::remove_file(file)?;
    std::fs::write(file, "half a file")?;
    let again = farstep(&lab, &sshd, &["ssh", "ssh://box", "--", "true"]).await?;
    ensure!(again.code == Some(0), "{}", again.err());
    ensure!(std::fs::read(file)? == std::fs::read(&lab.programs().executor)?);
    ensure!(placed(&sshd)?.len() == 1, "something was left behind");
    Ok(())
}

#[tokio::test]
async fn a_static_executor_is_put_on_a_machine_before_one_that_needs_a_c_library() -> Result<()> {
    let Some(executor) = static_executor() else {
        return Ok(());
    };
    if !sshd_is_here() {
        return Ok(());
    }
    let lab = Lab::new()?;
    let target = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    let place = lab.folder(&format!("executors/{target}"))?;
    std::os::unix::fs::symlink(&executor, place.join("farstep-executor"))?;
    let sshd = Sshd::start(&lab, "box", "").await?;
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = lab.farstep(&["ssh", "box", "--", "sh", "-c", "pwd; exit 3"]);
    command
        .env("PATH", format!("{}:{path}", sshd.bin().display()))
        .env("FARSTEP_EXECUTORS", lab.path().join("executors"));
    let ran = Running::start(&mut command)?.finish().await?;
    ensure!(ran.code == Some(3), "{}", ran.err());
    ensure!(
        ran.out().trim() == sshd.home().display().to_string(),
        "{}",
        ran.out()
    );
    let found = placed(&sshd)?;
    let [file] = found.as_slice() else {
        anyhow::bail!("{found:?}");
    };
    ensure!(
        std::fs::read(file)? == std::fs::read(&executor)?,
        "it is another one"
    );
    Ok(())
}

#[tokio::test]
async fn any_login_shell_will_do() -> Result<()> {
    if !sshd_is_here() {
        return Ok(());
    }
    let Some(busybox) = need(find("busybox"), "busybox (busybox-static)") else {
        return Ok(());
    };
    let lab = Lab::new()?;
    // busybox with its own tools only.
    let tools = lab.folder("tools")?;
    for tool in [
        "sh",
        "uname",
        "id",
        "sha256sum",
        "tr",
        "head",
        "dd",
        "mkdir",
        "rm",
        "mv",
        "wc",
        "chmod",
        "printf",
    ] {
        std::os::unix::fs::symlink(&busybox, tools.join(tool))?;
    }
    let bare = format!("PATH={} exec sh", tools.display());
    let shells = ["dash", "bash", "zsh", "fish", "tcsh", "ksh"]
        .into_iter()
        .filter_map(find);
    let shells = shells
        .map(|shell| format!("exec {}", shell.display()))
        .chain([bare]);
    let mut tried = 0;
    for shell in shells {
        let name = format!("shell-{tried}");
        let force = format!("{shell} -c \"$SSH_ORIGINAL_COMMAND\"");
        let sshd = Sshd::start(&lab, &name, &force).await?;
        let ran = farstep(&lab, &sshd, &["ssh", "box", "--", "/bin/echo", "here"]).await?;
        ensure!(
            (ran.code, ran.out().as_str()) == (Some(0), "here\n"),
            "{shell}: {}",
            ran.err()
        );
        tried += 1;
    }
    ensure!(tried >= 2, "only {tried} shells are here");
    Ok(())
}

#[tokio::test]
async fn a_login_that_prints_is_told_and_works_all_the_same() -> Result<()> {
    if !sshd_is_here() {
        return Ok(());
    }
    let lab = Lab::new()?;
    let force = "printf \"Welcome to box\\nno line end\"; eval \"$SSH_ORIGINAL_COMMAND\"";
    let sshd = Sshd::start(&lab, "noisy", force).await?;
    let ran = farstep(&lab, &sshd, &["ssh", "box", "--", "echo", "here"]).await?;
    ensure!(
        (ran.code, ran.out().as_str()) == (Some(0), "here\n"),
        "{}",
        ran.err()
    );
    let added = farstep(&lab, &sshd, &["env", "add", "far", "ssh://box"]).await?;
    ensure!(
        added.err().contains("box prints `Welcome to box`"),
        "{}",
        added.err()
    );
    // The executor's own first line stands behind what has no line end.
    ensure!(added.code == Some(0), "{}", added.err());
    Ok(())
}

/// Names for what differs from run to run.
fn steady(lab: &Lab, sshd: &Sshd, text: &str) -> String {
    let programs = lab.programs().executor.parent().map(Path::display);
    let programs = programs
        .map(|folder| folder.to_string())
        .unwrap_or_default();
    let size = std::fs::metadata(&lab.programs().executor).map_or(0, |file| file.len());
    text.replace(&lab.path().display().to_string(), "[LAB]")
        .replace(&programs, "[PROGRAMS]")
        .replace(&format!("{}@127.0.0.1", user()), "[USER]@127.0.0.1")
        .replace(&sshd.port().to_string(), "[PORT]")
        .replace(&size.to_string(), "[SIZE]")
}

fn user() -> String {
    let named = std::process::Command::new("id").arg("-un").output();
    let named = named.map(|named| String::from_utf8_lossy(&named.stdout).trim().to_owned());
    named.unwrap_or_default()
}

async fn told(lab: &Lab, sshd: &Sshd, arguments: &[&str]) -> Result<String> {
    let ended = farstep(lab, sshd, arguments).await?;
    let code = ended.code.context("it was killed")?;
    let words = arguments.join(" ");
    let text = format!(
        "$ farstep {words}\n{}{}= {code}\n",
        ended.out(),
        ended.err()
    );
    Ok(steady(lab, sshd, &text))
}

#[tokio::test]
async fn every_hop_on_the_way_to_a_machine_is_named_when_it_fails() -> Result<()> {
    if !sshd_is_here() {
        return Ok(());
    }
    let lab = Lab::new()?;
    let sshd = Sshd::start(&lab, "box", "").await?;
    let mut text = String::new();
    for arguments in [
        &["ssh"][..],
        &["ssh", "box", "--tty"],
        &["ssh", "me:word@box", "--", "true"],
        &["ssh", "ssh://box/srv", "--", "true"],
        &["ssh", "-x", "--", "true"],
        &["ssh", "127.0.0.1:1", "--", "true"],
        &["ssh", "unknown", "--", "true"],
        &["ssh", "stranger", "--", "true"],
        &["ssh", "box", "--executor", "/no/such/file", "--", "true"],
        &["env", "add", "far", "ssh://stranger"],
        &[
            "env",
            "add",
            "far",
            "ssh://box",
            "--url",
            "ws://127.0.0.1:1",
        ],
        &["env", "add", "far", "me@box"],
    ] {
        text.push_str(&told(&lab, &sshd, arguments).await?);
    }
    insta::assert_snapshot!(text);

    let mut command = lab.farstep(&["ssh", "box", "--", "true"]);
    command.env("PATH", lab.folder("nothing")?);
    let ended = Running::start(&mut command)?.finish().await?;
    ensure!(ended.code == Some(255), "{}", ended.err());
    ensure!(
        ended.err().contains("install an OpenSSH client"),
        "{}",
        ended.err()
    );
    ensure!(placed(&sshd).is_err(), "something was put there");
    Ok(())
}

/// A machine whose tools are `tools` first.
async fn with_tools(lab: &Lab, name: &str, tools: &[(&str, &str)]) -> Result<Sshd> {
    let folder = lab.folder(&format!("tools-{name}"))?;
    for (tool, text) in tools {
        shell_script(&folder.join(tool), text)?;
    }
    let force = format!(
        "PATH={}:$PATH; export PATH; eval \"$SSH_ORIGINAL_COMMAND\"",
        folder.display()
    );
    Sshd::start(lab, name, &force).await
}

#[tokio::test]
async fn a_machine_that_cannot_take_the_executor_says_why_and_keeps_nothing() -> Result<()> {
    if !sshd_is_here() {
        return Ok(());
    }
    let lab = Lab::new()?;
    let mut text = String::new();
    // The first call asks whether it can count bytes.
    let full = "[ \"$2\" = 2 ] && exec dd bs=1 count=2 2>/dev/null; \
                echo head: write error: No space left on device >&2; exit 1";
    let cut =
        "[ \"$2\" = 2 ] && exec dd bs=1 count=2 2>/dev/null; exec dd bs=1000 count=7 2>/dev/null";
    let machines: [(&str, Vec<(&str, &str)>); 7] = [
        ("mingw", vec![("uname", "echo MINGW64_NT-10.0-19045")]),
        (
            "other",
            vec![("uname", "[ \"$1\" = -s ] && echo SunOS || echo sun4v")],
        ),
        (
            "vax",
            vec![
                ("uname", "[ \"$1\" = -s ] && echo Linux || echo vax"),
                ("getconf", "exit 1"),
            ],
        ),
        (
            "read-only",
            vec![(
                "mkdir",
                "echo \"mkdir: cannot create directory: Read-only file system\" >&2; exit 1",
            )],
        ),
        ("full", vec![("head", full)]),
        ("cut", vec![("head", cut)]),
        ("altered", vec![("sha256sum", "cat >/dev/null; echo 00  -")]),
    ];
    for (name, tools) in &machines {
        let sshd = with_tools(&lab, name, tools).await?;
        text.push_str(&format!(
            "# {name}\n{}",
            told(&lab, &sshd, &["ssh", "box", "--", "true"]).await?
        ));
        ensure!(
            placed(&sshd).unwrap_or_default().is_empty(),
            "{name}: {:?}",
            placed(&sshd)
        );
    }
    // Executors that do not run there.
    let sshd = Sshd::start(&lab, "box", "").await?;
    let bad = lab.folder("bad")?;
    shell_script(
        &bad.join("too-new"),
        "echo \"$0: /lib/libc.so.6: version \\`GLIBC_2.39' not found (required by $0)\" >&2; exit 1",
    )?;
    let mut elf = std::fs::read(&lab.programs().executor)?;
    elf.truncate(4096);
    // Somebody else's machine: the number of its kind stands here.
    elf[18] = 0xf3;
    std::fs::write(bad.join("foreign"), elf)?;
    for file in ["too-new", "foreign"] {
        let path = bad.join(file).display().to_string();
        let arguments = ["ssh", "box", "--executor", &path, "--", "true"];
        text.push_str(&format!(
            "# {file}\n{}",
            told(&lab, &sshd, &arguments).await?
        ));
    }
    ensure!(placed(&sshd)?.is_empty(), "{:?}", placed(&sshd));
    insta::assert_snapshot!(steady_names(&text));

    let sshd = Sshd::start(
        &lab,
        "nologin",
        "echo This account is currently not available.; exit 1",
    )
    .await?;
    let refused = told(&lab, &sshd, &["ssh", "box", "--", "true"]).await?;
    ensure!(
        refused.contains("log in as a user with a shell"),
        "{refused}"
    );
    Ok(())
}

/// The folder of an executor is named for its content, and a new file for a process.
fn steady_names(text: &str) -> String {
    let version = format!("/{}-", env!("CARGO_PKG_VERSION"));
    let mut out = text.to_owned();
    for (lead, shown) in [(version.as_str(), "[SUM]"), ("/.new.", "[PID]")] {
        let mut pieces = out.split(lead);
        let mut steady = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let rest = piece.trim_start_matches(|c: char| c.is_ascii_hexdigit());
            steady.push_str(&format!("{lead}{shown}{rest}"));
        }
        out = steady;
    }
    out
}

#[tokio::test]
async fn a_trial_run_puts_nothing_anywhere() -> Result<()> {
    if !sshd_is_here() {
        return Ok(());
    }
    let lab = Lab::new()?;
    let sshd = Sshd::start(&lab, "box", "").await?;
    let shown = farstep(
        &lab,
        &sshd,
        &["env", "add", "far", "ssh://box", "--dry-run"],
    )
    .await?;
    ensure!(shown.code == Some(0), "{}", shown.err());
    ensure!(shown.out().contains("+id = \"far\""), "{}", shown.out());
    ensure!(
        shown.err().contains("would be put on box"),
        "{}",
        shown.err()
    );
    ensure!(placed(&sshd).is_err() && !Path::new(&lab.home()).join("environments.toml").exists());
    Ok(())
}

/// A real one, where mounts of one's own are allowed; what `head` says of it is above.
#[tokio::test]
async fn a_disk_that_is_full_there_is_told_as_that() -> Result<()> {
    let mut unshare = std::process::Command::new("unshare");
    let mounts = unshare
        .args(["-m", "mount", "-t", "tmpfs", "none", "/mnt"])
        .output();
    if !sshd_is_here() || !mounts.is_ok_and(|done| done.status.success()) {
        eprintln!("no sshd, or nobody may mount anything here");
        return Ok(());
    }
    let lab = Lab::new()?;
    let folder = lab.folder("without-head")?;
    shell_script(&folder.join("head"), "exit 1")?;
    for (name, path) in [
        ("head", String::new()),
        ("dd", format!("{}:", folder.display())),
    ] {
        let force = format!(
            "PATH={path}$PATH exec unshare -m sh -c 'mount -t tmpfs -o size=64k none \"$HOME\" && \
             eval \"$SSH_ORIGINAL_COMMAND\"'"
        );
        let sshd = Sshd::start(&lab, name, &force).await?;
        let refused = told(&lab, &sshd, &["ssh", "box", "--", "true"]).await?;
        for words in [
            "No space left on device",
            "make room in the home folder there",
        ] {
            ensure!(refused.contains(words), "{name}: {refused}");
        }
    }
    Ok(())
}
