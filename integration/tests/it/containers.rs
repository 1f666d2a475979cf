//! The recipes for docker, podman and kubectl in `docs/environments.md`, on the docker and podman of
//! this machine; of kubectl, which needs a cluster, as far as its command line goes.
//!
//! What is started is what the page says, word for word, with the names of what there is here.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, ensure};
use farstep_integration::{Executor, Lab, Wire, find, need, recipe, static_executor};
use serde_json::json;

/// What runs containers: a program, and what it needs in this place beside what the page says.
struct Engine {
    program: PathBuf,
    /// In front of every command: where it keeps things.
    always: Vec<String>,
    /// What a container needs to start here.
    start: Vec<String>,
}

impl Engine {
    fn docker(program: PathBuf) -> Engine {
        Engine {
            program,
            always: Vec::new(),
            start: Vec::new(),
        }
    }

    /// One with a store of its own, which asks the system for as little as there is.
    fn podman(program: PathBuf, lab: &Lab) -> Result<Engine> {
        let at = |name: &str| -> Result<String> { Ok(lab.folder(name)?.display().to_string()) };
        let (store, run) = (at("store")?, at("run")?);
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Ok(Engine {
            program,
            always: words(&[
                "--root",
                &store,
                "--runroot",
                &run,
                "--storage-driver",
                "vfs",
                "--cgroup-manager",
                "cgroupfs",
            ]),
            // Beyond those of whoever starts it, limits need a right that a container has not.
            start: words(&[
                "--ulimit",
                "nofile=1024:1024",
                "--ulimit",
                "nproc=4096:4096",
            ]),
        })
    }

    /// Runs the program; what it says goes into the error.
    fn run(&self, arguments: &[&str]) -> Result<Output> {
        let output = Command::new(&self.program)
            .args(&self.always)
            .args(arguments)
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(
            output.status.success(),
            "{} {}: {said}",
            self.program.display(),
            arguments.join(" ")
        );
        Ok(output)
    }

    /// The command line of a recipe as it has to be here: `run` needs what `start` has.
    fn words(&self, recipe: &[String]) -> Vec<String> {
        let mut words = vec![self.program.display().to_string()];
        words.extend(self.always.iter().cloned());
        for word in recipe.iter().skip(1) {
            words.push(word.clone());
            if word == "run" {
                words.extend(self.start.iter().cloned());
            }
        }
        words
    }
}

/// Tests run beside each other; the image of each has a name of its own.
static IMAGES: AtomicU32 = AtomicU32::new(0);

/// An image of nothing but busybox and an executor.
struct Image<'a> {
    engine: &'a Engine,
    name: String,
}

impl Image<'_> {
    /// One with the executor under test and the libraries it was linked to.
    fn make<'a>(engine: &'a Engine, lab: &Lab, busybox: &Path) -> Result<Image<'a>> {
        let executor = &lab.programs().executor;
        let linked = Command::new("ldd").arg(executor).output()?;
        let linked = String::from_utf8_lossy(&linked.stdout).into_owned();
        let libraries: Vec<&str> = linked
            .split_whitespace()
            .filter(|word| word.starts_with('/'))
            .collect();
        Image::of(engine, lab, busybox, executor, &libraries)
    }

    fn of<'a>(
        engine: &'a Engine,
        lab: &Lab,
        busybox: &Path,
        executor: &Path,
        libraries: &[&str],
    ) -> Result<Image<'a>> {
        let root = lab.folder("image")?;
        for folder in ["bin", "tmp", "root", "srv", "usr/local/bin", "etc"] {
            std::fs::create_dir_all(root.join(folder))?;
        }
        std::fs::copy(busybox, root.join("bin/busybox"))?;
        for tool in ["sh", "echo", "pwd", "sleep", "cat", "env"] {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(tool))?;
        }
        std::fs::copy(executor, root.join("usr/local/bin/farstep-executor"))?;
        std::fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
        for library in libraries {
            let copy = root.join(library.trim_start_matches('/'));
            std::fs::create_dir_all(copy.parent().context("a library in no folder")?)?;
            std::fs::copy(library, copy)?;
        }
        let tar = lab.path().join("image.tar");
        let packed = Command::new("tar")
            .arg("-cf")
            .arg(&tar)
            .arg("-C")
            .arg(&root)
            .arg(".")
            .status()?;
        ensure!(packed.success(), "tar failed");
        let number = IMAGES.fetch_add(1, Ordering::Relaxed);
        let name = format!("farstep-test-{}-{number}", std::process::id());
        engine.run(&["import", &tar.display().to_string(), &name])?;
        Ok(Image { engine, name })
    }
}

impl Drop for Image<'_> {
    fn drop(&mut self) {
        let _ = self.engine.run(&["rm", "-f", &self.name]);
        let _ = self.engine.run(&["rmi", "-f", &self.name]);
    }
}

/// `env add` of what a recipe starts.
async fn add(lab: &Lab, id: &str, words: &[String]) -> Result<()> {
    let mut arguments = vec!["env", "add", id, "--"];
    arguments.extend(words.iter().map(String::as_str));
    let added = lab.run(&arguments).await?;
    ensure!(added.code == Some(0), "{id}: {}", added.err());
    Ok(())
}

/// A container that runs, one for each connection, and what goes wrong most, by one engine.
async fn by_recipe(
    lab: &Lab,
    engine: &Engine,
    image: &Image<'_>,
    exec: &str,
    throwaway: &str,
) -> Result<()> {
    let name = image.name.as_str();
    let mut start = vec!["run", "-d", "--network", "none", "--name", name];
    start.extend(engine.start.iter().map(String::as_str));
    start.extend([name, "/bin/sleep", "600"]);
    engine.run(&start)?;
    let named = |word: &String| match word.as_str() {
        "box" | "image-with-executor" => name.to_owned(),
        _ => word.clone(),
    };

    // In a container that runs.
    let words: Vec<String> = recipe(exec)?.iter().map(named).collect();
    let words = engine.words(&words);
    add(lab, "box", &words).await?;
    let ran = lab
        .run(&["exec", "-e", "box", "--", "sh", "-c", "pwd; exit 4"])
        .await?;
    ensure!(
        (ran.code, ran.out().as_str()) == (Some(4), "/srv\n"),
        "{}{}",
        ran.out(),
        ran.err()
    );
    std::fs::write(lab.path().join("f"), "carried\n")?;
    let copied = lab.run(&["cp", "-p", "f", "box:/tmp/f"]).await?;
    ensure!(copied.code == Some(0), "{}", copied.err());
    let shown = lab.run(&["cat", "box:/tmp/f"]).await?;
    assert_eq!(shown.out(), "carried\n", "{}", shown.err());

    // A job goes on in the container when the program that reached it is gone.
    let script = "echo begun; while ! [ -e /tmp/go ]; do sleep 0.1; done; echo done; exit 5";
    let job = lab
        .run(&["exec", "-e", "box", "--detach", "--", "sh", "-c", script])
        .await?;
    ensure!(job.code == Some(0), "{}", job.err());
    let go = lab.run(&["cp", "f", "box:/tmp/go"]).await?;
    ensure!(go.code == Some(0), "{}", go.err());
    let (job, followed) = (job.out().trim().to_owned(), "begun\ndone\n");
    let logs = lab.run(&["logs", "-f", &job]).await?;
    assert_eq!(logs.out(), followed, "{}", logs.err());
    let waited = lab.run(&["wait", &job]).await?;
    assert_eq!(waited.code, Some(5), "{}", waited.err());

    // In one that is made for the connection and ends with it, with a folder of this machine.
    let shared = lab.folder("app")?;
    let words: Vec<String> = recipe(throwaway)?
        .iter()
        .map(named)
        // It asks for a program that reaps, which not every machine has.
        .filter(|word| word != "--init")
        .map(|word| word.replace("/srv/app:", &format!("{}:", shared.display())))
        .collect();
    add(lab, "throwaway", &engine.words(&words)).await?;
    let script = "pwd; echo made > here";
    let ran = lab
        .run(&["exec", "-e", "throwaway", "--", "sh", "-c", script])
        .await?;
    ensure!(
        (ran.code, ran.out().as_str()) == (Some(0), "/srv/app\n"),
        "{}{}",
        ran.out(),
        ran.err()
    );
    assert_eq!(std::fs::read_to_string(shared.join("here"))?, "made\n");

    // What goes wrong most: a terminal, and a container that is not there.
    let with_terminal = |word: &String| match word.as_str() {
        "-i" => "-it".to_owned(),
        _ => named(word),
    };
    let words: Vec<String> = recipe(exec)?.iter().map(with_terminal).collect();
    let words = engine.words(&words);
    let mut arguments = vec!["env", "add", "tty", "--"];
    arguments.extend(words.iter().map(String::as_str));
    let refused = lab.run(&arguments).await?;
    ensure!(refused.code == Some(1), "{}", refused.err());
    engine.run(&["rm", "-f", name])?;
    let told = lab.run(&["env", "doctor", "box"]).await?;
    ensure!(
        told.out().contains("try: start the container first"),
        "{}",
        told.out()
    );
    Ok(())
}

/// A docker that answers, and what its images are made of.
fn docker() -> Option<(Engine, PathBuf)> {
    let busybox = need(find("busybox"), "busybox (busybox-static)")?;
    let engine = Engine::docker("docker".into());
    // `.ci/run` starts one where the machine has none.
    let answers = engine.run(&["info"]).ok();
    need(answers, "a docker that answers `docker info`")?;
    Some((engine, busybox))
}

#[tokio::test]
async fn a_container_of_docker_is_an_environment_while_it_runs_or_for_one_connection() -> Result<()>
{
    let Some((engine, busybox)) = docker() else {
        return Ok(());
    };
    let lab = Lab::new()?;
    let image = Image::make(&engine, &lab, &busybox)?;
    by_recipe(&lab, &engine, &image, "container", "throwaway").await
}

#[tokio::test]
async fn a_static_executor_serves_where_there_is_no_c_library() -> Result<()> {
    let Some(executor) = static_executor() else {
        return Ok(());
    };
    let Some((engine, busybox)) = docker() else {
        return Ok(());
    };
    let lab = Lab::new()?;
    let image = Image::of(&engine, &lab, &busybox, &executor, &[])?;
    let name = image.name.as_str();
    // The network of this machine, so that it can be reached; none of the variables docker sets.
    let mut command = tokio::process::Command::new(&engine.program);
    command.args(["run", "-i", "--network", "host", "--name", name, name]);
    command.args(["/bin/env", "-i", "/usr/local/bin/farstep-executor"]);
    command.args(["--listen", "ws://127.0.0.1:0"]);
    let executor = Executor::start(&mut command, lab.folder("far")?).await?;
    let (mut wire, _) = Wire::open(&executor.url).await?;

    // Its user is looked up, and so is a name.
    let info = wire.done("environment/info", json!({})).await?;
    ensure!(info["userHomeDir"] == "file:///root", "{info}");
    ensure!(info["shell"]["path"] == "/bin/sh", "{info}");
    let own = executor.url.replace("ws://127.0.0.1", "http://localhost");
    let url = format!("{}/healthz", own.trim_end_matches('/'));
    let request = json!({"method": "GET", "url": url, "requestId": "r"});
    let answer = wire.done("http/request", request).await?;
    ensure!(answer["status"] == 200, "{answer}");

    // Programs run as anywhere else.
    lab.websockets(&[("bare", &executor.url)])?;
    let script = "echo here; exit 4";
    let ran = lab
        .run(&["exec", "-e", "bare", "--", "sh", "-c", script])
        .await?;
    ensure!(
        (ran.code, ran.out().as_str()) == (Some(4), "here\n"),
        "{}{}",
        ran.out(),
        ran.err()
    );
    let ran = lab
        .run(&["exec", "-e", "bare", "--tty", "--", "echo", "in a terminal"])
        .await?;
    ensure!(
        (ran.code, ran.out().trim()) == (Some(0), "in a terminal"),
        "{}{}",
        ran.out(),
        ran.err()
    );
    Ok(())
}

#[tokio::test]
async fn a_container_of_podman_is_an_environment_while_it_runs_or_for_one_connection() -> Result<()>
{
    let found = find("busybox").zip(find("podman"));
    let Some((busybox, podman)) = need(found, "busybox (busybox-static) and podman") else {
        return Ok(());
    };
    let lab = Lab::new()?;
    let engine = Engine::podman(podman, &lab)?;
    let image = Image::make(&engine, &lab, &busybox)?;
    // Not every machine lets one be started: it takes namespaces and mounts.
    let mut probe = vec!["run", "--rm", "--network", "none"];
    probe.extend(engine.start.iter().map(String::as_str));
    probe.extend([image.name.as_str(), "/bin/pwd"]);
    if let Err(error) = engine.run(&probe) {
        eprintln!("skipped: podman starts no container here: {error}");
        return Ok(());
    }
    by_recipe(&lab, &engine, &image, "podman", "throwaway").await
}

/// Stands in for kubectl: checks that it is called as kubectl has it, and does what the pod would.
const KUBECTL: &str = r#"#!/bin/sh
fail() { echo "error: $1" >&2; exit 1; }
[ "$1" = exec ] || fail "unknown command $1"
shift
while [ $# -gt 0 ]; do
  case $1 in
    -i) input=yes; shift ;;
    -t|-it|-ti) fail 'Unable to use a TTY' ;;
    -n) [ "$2" = ci ] || fail "namespaces \"$2\" not found"; shift 2 ;;
    -c) [ "$2" = executor ] || fail "container $2 is not valid for pod executor-1"; shift 2 ;;
    --) shift; break ;;
    deploy/executor) pod=$1; shift ;;
    *) fail "pods \"$1\" not found" ;;
  esac
done
[ -n "$pod" ] || fail 'pod or type/name must be specified'
[ "$1" = farstep-executor ] || fail "exec: \"$1\": executable file not found in \$PATH"
# Without -i the other side reads nothing.
[ "$input" = yes ] || exec </dev/null
shift
exec "$FARSTEP_TEST_EXECUTOR" "$@"
"#;

#[tokio::test]
async fn a_pod_is_an_environment_as_far_as_the_words_for_kubectl_go() -> Result<()> {
    let lab = Lab::new()?;
    let kubectl = lab.folder("bin")?.join("kubectl");
    std::fs::write(&kubectl, KUBECTL)?;
    std::fs::set_permissions(&kubectl, std::fs::Permissions::from_mode(0o755))?;
    let mut words = recipe("pod")?;
    ensure!(words[0] == "kubectl", "{words:?}");
    words[0] = kubectl.display().to_string();
    let executor = lab.programs().executor.display().to_string();
    let run = async |arguments: Vec<&str>| {
        let mut command = lab.farstep(&arguments);
        command.env("FARSTEP_TEST_EXECUTOR", &executor);
        farstep_integration::Running::start(&mut command)?
            .finish()
            .await
    };
    let add = |id: &'static str, words: &[String]| {
        let mut all = vec!["env".to_owned(), "add".into(), id.into(), "--".into()];
        all.extend(words.iter().cloned());
        all
    };
    let added = add("pod", &words);
    let added = run(added.iter().map(String::as_str).collect()).await?;
    ensure!(added.code == Some(0), "{}", added.err());
    let ran = run(vec![
        "exec",
        "-e",
        "pod",
        "--",
        "sh",
        "-c",
        "echo in; exit 3",
    ])
    .await?;
    ensure!(
        (ran.code, ran.out().as_str()) == (Some(3), "in\n"),
        "{}{}",
        ran.out(),
        ran.err()
    );
    // What kubectl says about what is wrong is told.
    for (from, to, told) in [
        ("deploy/executor", "deploy/other", "not found"),
        ("-i", "-it", "Unable to use a TTY"),
        ("executor", "sidecar", "is not valid"),
    ] {
        let wrong: Vec<String> = words
            .iter()
            .map(|word| {
                if word == from {
                    to.into()
                } else {
                    word.clone()
                }
            })
            .collect();
        let refused = add("wrong", &wrong);
        let refused = run(refused.iter().map(String::as_str).collect()).await?;
        ensure!(refused.code == Some(1), "{to}: {}", refused.err());
        ensure!(refused.err().contains(told), "{to}: {}", refused.err());
        // Anybody who asks learns what to look at.
        let mut anyway = add("wrong", &wrong);
        anyway.insert(3, "--no-test".to_owned());
        let added = run(anyway.iter().map(String::as_str).collect()).await?;
        ensure!(added.code == Some(0), "{to}: {}", added.err());
        let doctor = run(vec!["env", "doctor", "wrong"]).await?;
        ensure!(!doctor.out().contains("by hand"), "{to}: {}", doctor.out());
        let removed = run(vec!["env", "remove", "wrong"]).await?;
        ensure!(removed.code == Some(0), "{to}: {}", removed.err());
    }
    Ok(())
}
