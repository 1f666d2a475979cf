//! Executors behind pipes that outlive them: over ssh, and for any program that starts one so.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use farstep_integration::{Backgrounds, Finished, Lab, Running, Sshd, need};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;

/// The time for which a client tries to take its connection up again, in seconds. What is tested
/// is that jobs do not depend on it.
const WINDOW: u64 = 1;

/// A machine behind ssh that is the default environment.
struct Far {
    lab: Lab,
    sshd: Sshd,
    backgrounds: Backgrounds,
}

impl Far {
    async fn new() -> Result<Option<Far>> {
        let sshd = Sshd::is_here().then_some(());
        if need(sshd, "ssh and sshd (openssh-server)").is_none() {
            return Ok(None);
        }
        let lab = Lab::new()?;
        let sshd = Sshd::start(&lab, "box", "").await?;
        let backgrounds = Backgrounds::below(&sshd.home());
        let far = Far {
            lab,
            sshd,
            backgrounds,
        };
        let added = far
            .run(&["env", "add", "far", "ssh://box", "--default"])
            .await?;
        ensure!(added.code == Some(0), "{}", added.err());
        Ok(Some(far))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = self.lab.farstep(arguments);
        command.env("PATH", format!("{}:{path}", self.sshd.bin().display()));
        command
    }

    fn start(&self, arguments: &[&str]) -> Result<Running> {
        Running::start(&mut self.command(arguments))
    }

    async fn run(&self, arguments: &[&str]) -> Result<Finished> {
        self.start(arguments)?.finish().await
    }

    async fn detach(&self, script: &str) -> Result<String> {
        let script = self.at_home(script);
        let done = self.run(&["exec", "-d", "--", "sh", "-c", &script]).await?;
        ensure!(done.code == Some(0), "{}", done.err());
        Ok(done.out().trim().to_owned())
    }

    /// sshd begins where the user's entry says, whatever `HOME` is.
    fn at_home(&self, script: &str) -> String {
        format!("cd {}; {script}", self.sshd.home().display())
    }

    /// Lets what waits for this file in the home folder there go on.
    fn touch(&self, name: &str) -> Result<()> {
        Ok(std::fs::write(self.sshd.home().join(name), "")?)
    }

    async fn appears(&self, name: &str) {
        appears(&self.sshd.home().join(name)).await;
    }

    fn state(&self) -> PathBuf {
        self.sshd.home().join(".local/state/farstep/executor")
    }
}

async fn appears(path: &Path) {
    let mut look = tokio::time::interval(Duration::from_millis(10));
    while !path.exists() {
        look.tick().await;
    }
}

/// Three parts of a thousand numbered lines, of which the second and the third each wait until a
/// file is there.
const NUMBERED: &str = "i=0; part() { n=0; while [ $n -lt 1000 ]; do \
     echo \"line $i\"; i=$((i+1)); n=$((n+1)); done; }; \
     await() { until [ -e $1 ]; do sleep 0.02; done; }; \
     part; await two; part; touch two-is-done; await three; part";

fn all_of(begin: &str, rest: &Finished) -> Result<()> {
    ensure!(rest.code == Some(0), "{:?}: {}", rest.code, rest.err());
    let all = format!("{begin}{}", rest.out());
    let wanted: String = (0..3000).map(|number| format!("line {number}\n")).collect();
    ensure!(all == wanted, "{} bytes came: {}", all.len(), rest.err());
    Ok(())
}

/// Reads lines until this one.
async fn read_until(running: &mut Running, last: &str) -> Result<String> {
    let mut text = String::new();
    loop {
        let line = running.line().await?;
        text.push_str(&line);
        text.push('\n');
        if line == last {
            return Ok(text);
        }
    }
}

/// The programs that a client has started: its `ssh`.
fn children(of: Pid) -> Result<Vec<Pid>> {
    let of = of.as_raw_nonzero();
    let listed = std::process::Command::new("ps")
        .args(["-o", "pid=", "--ppid", &of.to_string()])
        .output()?;
    let text = String::from_utf8(listed.stdout)?;
    let numbers = text.split_whitespace().map(str::parse::<i32>);
    numbers
        .map(|number| Pid::from_raw(number?).context("no process"))
        .collect()
}

#[tokio::test]
async fn a_broken_ssh_costs_a_running_command_nothing() -> Result<()> {
    let Some(far) = Far::new().await? else {
        return Ok(());
    };
    let mut running = far.start(&["exec", "--", "sh", "-c", &far.at_home(NUMBERED)])?;
    let begin = read_until(&mut running, "line 499").await?;
    for ssh in children(running.pid()?)? {
        kill_process(ssh, Signal::KILL)?;
    }
    far.touch("two")?;
    far.appears("two-is-done").await;
    far.touch("three")?;
    all_of(&begin, &running.finish().await?)
}

#[tokio::test]
async fn a_job_behind_ssh_outlives_a_closed_lid_and_every_client() -> Result<()> {
    let Some(far) = Far::new().await? else {
        return Ok(());
    };
    let settings = format!("recovery_seconds = {WINDOW}\n");
    std::fs::write(far.lab.home().join("config.toml"), settings)?;
    let job = far.detach(NUMBERED).await?;
    let mut logs = far.start(&["logs", "-f", &job])?;
    let begin = read_until(&mut logs, "line 499").await?;
    logs.signal(Signal::STOP)?;
    for ssh in children(logs.pid()?)? {
        kill_process(ssh, Signal::KILL)?;
    }
    far.touch("two")?;
    far.appears("two-is-done").await;
    // Time itself is what is tested here.
    tokio::time::sleep(Duration::from_secs(WINDOW + 1)).await;
    logs.signal(Signal::CONT)?;
    let done = far.run(&["ps", "--json"]).await?;
    assert_eq!(done.json_lines()?[0]["state"], "running", "{}", done.out());
    // Both clients had the same executor.
    ensure!(far.backgrounds.pids().len() == 1);
    far.touch("three")?;
    all_of(&begin, &logs.finish().await?)?;
    let done = far.run(&["wait", &job]).await?;
    assert_eq!(done.code, Some(0), "{}", done.err());
    all_of("", &far.run(&["logs", &job]).await?)
}

#[tokio::test]
async fn a_job_behind_ssh_is_ended_with_all_it_started() -> Result<()> {
    let Some(far) = Far::new().await? else {
        return Ok(());
    };
    let script = "setsid sleep 600 & echo $! >child; touch up; exec sleep 600";
    let job = far.detach(script).await?;
    far.appears("up").await;
    let child = std::fs::read_to_string(far.sshd.home().join("child"))?;
    let done = far.run(&["kill", "-s", "kill", &job]).await?;
    assert_eq!(done.code, Some(0), "{}", done.err());
    let done = far.run(&["wait", "--json", &job]).await?;
    assert_eq!(done.json_lines()?[0]["exitCode"], 137, "{}", done.err());
    let stat = PathBuf::from(format!("/proc/{}/stat", child.trim()));
    let gone = || std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "));
    let mut look = tokio::time::interval(Duration::from_millis(20));
    let ended = async {
        while !gone() {
            look.tick().await;
        }
    };
    tokio::time::timeout(farstep_integration::PATIENCE, ended).await?;
    Ok(())
}

#[tokio::test]
async fn a_folder_that_others_can_enter_is_refused_there() -> Result<()> {
    let Some(far) = Far::new().await? else {
        return Ok(());
    };
    far.backgrounds.pids();
    std::fs::create_dir_all(far.state())?;
    std::fs::set_permissions(
        far.state(),
        std::os::unix::fs::PermissionsExt::from_mode(0o777),
    )?;
    let refused = far.run(&["exec", "--", "true"]).await?;
    assert_eq!(refused.code, Some(255), "{}", refused.err());
    ensure!(
        refused
            .err()
            .contains("other users may write to the folder"),
        "{}",
        refused.err()
    );
    Ok(())
}

/// A program that starts one of our executors behind pipes, so that it lasts.
fn entry(lab: &Lab, more: &[&str]) -> Result<()> {
    let program = &lab.programs().executor;
    let flags = ["--listen", "stdio", "--durable"].iter().chain(more);
    let flags: Vec<String> = flags.map(|flag| format!("{flag:?}")).collect();
    lab.environments(&format!(
        "include_local = false\ndefault = \"far\"\n[[environments]]\nid = \"far\"\n\
         program = {program:?}\nargs = [{}]\n",
        flags.join(", ")
    ))
}

#[tokio::test]
async fn an_executor_in_the_background_ends_when_nobody_needs_it_and_leaves_its_log() -> Result<()>
{
    let lab = Lab::new()?;
    let backgrounds = Backgrounds::below(&lab.state());
    entry(
        &lab,
        &[
            "--idle-seconds",
            "1",
            "--max-session-retention-seconds",
            "1",
        ],
    )?;
    let done = lab.run(&["exec", "-d", "--", "true"]).await?;
    ensure!(done.code == Some(0), "{}", done.err());
    backgrounds.settle_at(0).await?;
    let left = std::fs::read_dir(lab.state().join("farstep/executor"))?;
    let names: Result<Vec<_>, _> = left
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect();
    assert_eq!(names?, ["executor.log"]);
    Ok(())
}

#[tokio::test]
async fn an_executor_that_is_there_already_is_found_by_a_later_version() -> Result<()> {
    let lab = Lab::new()?;
    let backgrounds = Backgrounds::below(&lab.state());
    entry(&lab, &[])?;
    let done = lab
        .run(&["exec", "-d", "--", "sh", "-c", "echo old; exec sleep 600"])
        .await?;
    ensure!(done.code == Some(0), "{}", done.err());
    let job = done.out().trim().to_owned();
    // Other flags are another executor, as another build is.
    entry(&lab, &["--idle-seconds", "77"])?;
    let mut logs = Running::start(&mut lab.farstep(&["logs", "-f", &job]))?;
    assert_eq!(logs.line().await?, "old");
    ensure!(backgrounds.pids().len() == 1, "no second one was needed");
    let done = lab.run(&["exec", "--", "echo", "new"]).await?;
    assert_eq!(done.out(), "new\n", "{}", done.err());
    ensure!(backgrounds.pids().len() == 2);
    let done = lab.run(&["kill", &job]).await?;
    assert_eq!(done.code, Some(0), "{}", done.err());
    assert_eq!(logs.finish().await?.code, Some(0));
    Ok(())
}

#[tokio::test]
async fn of_many_that_begin_at_once_one_executor_serves_all() -> Result<()> {
    let lab = Lab::new()?;
    let backgrounds = Backgrounds::below(&lab.state());
    entry(&lab, &[])?;
    let mut all = Vec::new();
    for _ in 0..6 {
        all.push(Running::start(&mut lab.farstep(&["exec", "--", "pwd"]))?);
    }
    for running in all {
        let done = running.finish().await?;
        ensure!(done.code == Some(0), "{}", done.err());
    }
    // Whoever was slower may still be about to end.
    backgrounds.settle_at(1).await
}

#[tokio::test]
async fn each_login_has_its_own_folder_and_variables() -> Result<()> {
    let lab = Lab::new()?;
    let _backgrounds = Backgrounds::below(&lab.state());
    entry(&lab, &[])?;
    for (folder, value) in [("one", "1"), ("two", "2")] {
        let folder = lab.folder(folder)?;
        let script = "pwd; echo $FROM_LOGIN";
        let shown = folder.display();
        let program = format!(
            "cd {shown}; FROM_LOGIN={value} exec {} --listen stdio --durable",
            lab.programs().executor.display()
        );
        lab.environments(&format!(
            "include_local = false\ndefault = \"far\"\n[[environments]]\nid = \"far\"\n\
             program = \"sh\"\nargs = [\"-c\", {program:?}]\n"
        ))?;
        let done = lab.run(&["exec", "--", "sh", "-c", script]).await?;
        assert_eq!(done.out(), format!("{shown}\n{value}\n"), "{}", done.err());
    }
    Ok(())
}

/// The same program with variables of its own, each `NAME=VALUE`.
fn entry_with(lab: &Lab, variables: &[String]) -> Result<()> {
    let program = lab.programs().executor.display().to_string();
    let flags = ["--listen", "stdio", "--durable"].map(str::to_owned);
    let words = [&["-u".to_owned(), "XDG_RUNTIME_DIR".to_owned()], variables].concat();
    let words = words.into_iter().chain([program]).chain(flags);
    let words: Vec<String> = words.map(|word| format!("{word:?}")).collect();
    lab.environments(&format!(
        "include_local = false\ndefault = \"far\"\n[[environments]]\nid = \"far\"\n\
         program = \"env\"\nargs = [{}]\n",
        words.join(", ")
    ))
}

#[tokio::test]
async fn with_a_home_that_cannot_be_written_jobs_outlive_their_client_all_the_same() -> Result<()> {
    let lab = Lab::new()?;
    // Below a file nothing can be made, whoever tries.
    let file = lab.path().join("file");
    std::fs::write(&file, "")?;
    let state = format!("XDG_STATE_HOME={}", file.join("state").display());
    for name in ["XDG_RUNTIME_DIR", "TMPDIR"] {
        let folder = lab.folder(name)?;
        let backgrounds = Backgrounds::below(&folder);
        entry_with(
            &lab,
            &[state.clone(), format!("{name}={}", folder.display())],
        )?;
        let go = folder.join("go");
        let script = format!(
            "until [ -e {} ]; do sleep 0.02; done; echo done",
            go.display()
        );
        let begun = lab.run(&["exec", "-d", "--", "sh", "-c", &script]).await?;
        ensure!(begun.code == Some(0), "{name}: {}", begun.err());
        ensure!(
            backgrounds.pids().len() == 1,
            "{name}: {:?}",
            backgrounds.pids()
        );
        std::fs::write(&go, "")?;
        let followed = lab.run(&["logs", "-f", begun.out().trim()]).await?;
        ensure!(followed.out() == "done\n", "{name}: {}", followed.err());
    }
    Ok(())
}

#[tokio::test]
async fn where_nothing_can_be_written_each_folder_is_named() -> Result<()> {
    let lab = Lab::new()?;
    let file = lab.path().join("file");
    std::fs::write(&file, "")?;
    // Somebody else's hands are in this one: it is passed over, and said.
    let open = lab.folder("run/farstep/executor")?;
    std::fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o777))?;
    let mut command = Command::new(&lab.programs().executor);
    command
        .args(["--listen", "stdio", "--durable", "--allow-root"])
        .env("XDG_STATE_HOME", file.join("state"))
        .env("XDG_RUNTIME_DIR", lab.path().join("run"))
        .env("TMPDIR", file.join("tmp"));
    let done = Running::start(&mut command)?.finish().await?;
    let tmp = format!("{}/tmp/farstep-executor-", file.display());
    let state = format!("{}/state/farstep/executor: ", file.display());
    for words in ["--durable: ", &state, "may write to the folder", &tmp] {
        ensure!(done.err().contains(words), "{words}: {}", done.err());
    }
    ensure!(
        done.err().contains("what runs ends with the connection"),
        "{}",
        done.err()
    );
    Ok(())
}

#[tokio::test]
async fn the_log_in_the_background_is_cut_while_it_is_written() -> Result<()> {
    const CUT: u64 = 1 << 20;
    let lab = Lab::new()?;
    let backgrounds = Backgrounds::below(&lab.state());
    let folder = lab.state().join("farstep/executor");
    std::fs::create_dir_all(&folder)?;
    std::fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    let (log, older) = (folder.join("executor.log"), folder.join("executor.log.1"));
    // Nearly full, and one before it, which is to go.
    let full = "a line of long ago\n".repeat(CUT as usize / 19);
    std::fs::write(&log, &full[..full.len() - 1900])?;
    std::fs::write(&older, "gone\n")?;
    for file in [&log, &older] {
        std::fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    }
    entry_with(&lab, &["FARSTEP_LOG=trace".to_owned()])?;
    // Each piece of output is a line of the log, at least.
    let script = "i=0; while [ $i -lt 600 ]; do i=$((i+1)); echo $i; sleep 0.005; done";
    let done = lab.run(&["exec", "--", "sh", "-c", script]).await?;
    ensure!(done.code == Some(0), "{}", done.err());
    ensure!(
        backgrounds.pids().len() == 1,
        "it serves from the background"
    );
    let before = std::fs::read_to_string(&older)?;
    ensure!(
        before.starts_with("a line of long ago\n"),
        "the former log is not the older one"
    );
    let length = before.len() as u64;
    ensure!(
        (CUT - 4096..CUT + (32 << 10)).contains(&length),
        "it was cut at {length}"
    );
    let now = std::fs::read_to_string(&log)?;
    ensure!(!now.contains("long ago") && !now.is_empty(), "{now}");
    // Not a line was lost in between: the executor's first words are in one of them.
    ensure!(
        format!("{before}{now}").contains("listening in the background"),
        "{now}"
    );
    let names = std::fs::read_dir(&folder)?.count();
    ensure!(names == 3, "{names} files and sockets");
    Ok(())
}
