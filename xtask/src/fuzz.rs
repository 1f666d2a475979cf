//! `cargo xtask fuzz`: builds every fuzz target once, then runs each for the same short time.
//!
//! The targets live in crates outside the workspace, so that ordinary builds never see them. They
//! need unstable flags of the compiler, which the stable one takes with `RUSTC_BOOTSTRAP`. What a
//! run finds stays in the target folder: new inputs under `fuzz-corpus`, crashes under
//! `fuzz-crashes`. `--keep` merges the former into the corpus of the repository.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;

use anyhow::{Context, Result, bail, ensure};

/// The crates that hold targets.
const CRATES: [&str; 4] = [
    "path-uri/fuzz",
    "protocol/fuzz",
    "environments/fuzz",
    "orchestrator/fuzz",
];

/// Seconds that each target runs if nothing is asked for: what CI can spare for each change.
const SECONDS: u32 = 60;

/// Input bytes. Everything behind the parsers is bounded by counts that smaller inputs reach too,
/// and short inputs are tried more often.
const INPUT_BYTES_MAX: u32 = 4096;

/// What `--keep` leaves of a target's corpus at most: of more, every so many-th by size.
const KEPT_FILES_MAX: usize = 200;
/// The same in bytes.
const KEPT_BYTES_MAX: u64 = 500 * 1024;

/// How much of a failure is shown: the message and the innermost calls.
const STORY_LINES_MAX: usize = 40;

/// One program that libFuzzer drives.
struct Target {
    name: String,
    program: PathBuf,
    corpus: PathBuf,
    dictionary: Option<PathBuf>,
    /// What was found on this machine.
    found: PathBuf,
    crashes: PathBuf,
}

struct Wanted {
    seconds: u32,
    /// Makes a run repeatable; without one each run tries something else.
    seed: Option<u32>,
    keep: bool,
    names: Vec<String>,
}

pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    let wanted = Wanted::read(arguments)?;
    let root = crate::root()?;
    let work = crate::target(root).join("fuzz");
    let mut targets = Vec::new();
    for folder in CRATES {
        targets.extend(build(&root.join(folder), &work)?);
    }
    if !wanted.names.is_empty() {
        targets.retain(|target| wanted.names.contains(&target.name));
    }
    ensure!(!targets.is_empty(), "no such target");
    let failed = run_all(&targets, &wanted)?;
    if wanted.keep {
        for target in &targets {
            target.keep()?;
        }
    }
    say(&format!(
        "{} passed, {failed} failed",
        targets.len() - failed
    ));
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

impl Wanted {
    fn read(arguments: &[String]) -> Result<Wanted> {
        let mut wanted = Wanted {
            seconds: SECONDS,
            seed: None,
            keep: false,
            names: Vec::new(),
        };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--seconds" => {
                    let seconds = arguments.next().context("--seconds needs a number")?;
                    wanted.seconds = seconds.parse().context("--seconds needs a number")?;
                }
                "--seed" => {
                    let seed = arguments.next().context("--seed needs a number")?;
                    // libFuzzer takes 0 for no seed.
                    wanted.seed = Some(seed.parse().context("--seed needs a number")?);
                    ensure!(wanted.seed != Some(0), "--seed needs a number above 0");
                }
                "--keep" => wanted.keep = true,
                flag if flag.starts_with('-') => {
                    bail!("usage: cargo xtask fuzz [--seconds N] [--seed N] [--keep] [TARGET...]")
                }
                name => wanted.names.push(name.to_owned()),
            }
        }
        Ok(wanted)
    }
}

/// Builds the targets of one crate, with the address sanitizer.
fn build(folder: &Path, work: &Path) -> Result<Vec<Target>> {
    let status = cargo_fuzz(folder, "build", work)
        .args(["--sanitizer", "address"])
        .status()
        .context("cargo-fuzz could not be started; `cargo install cargo-fuzz` makes it")?;
    ensure!(
        status.success(),
        "the targets of {} do not build",
        folder.display()
    );
    let listed = cargo_fuzz(folder, "list", work).output()?;
    ensure!(listed.status.success(), "cargo fuzz list failed");
    let programs = work.join(host()?).join("release");
    let dictionary = Some(folder.join("dictionary")).filter(|path| path.exists());
    String::from_utf8(listed.stdout)?
        .lines()
        .map(|name| {
            let target = Target {
                name: name.to_owned(),
                program: programs.join(name),
                corpus: folder.join("corpus").join(name),
                dictionary: dictionary.clone(),
                found: work.with_file_name("fuzz-corpus").join(name),
                crashes: work.with_file_name("fuzz-crashes").join(name),
            };
            for folder in [&target.corpus, &target.found, &target.crashes] {
                std::fs::create_dir_all(folder)?;
            }
            Ok(target)
        })
        .collect()
}

fn cargo_fuzz(folder: &Path, task: &str, work: &Path) -> Command {
    let mut command = Command::new("cargo-fuzz");
    command
        .current_dir(folder)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_DIR", work)
        .args(["fuzz", task, "--fuzz-dir", "."]);
    command
}

/// The platform that we build for, which is the one we run on.
fn host() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let told = Command::new(rustc).arg("-vV").output()?;
    let told = String::from_utf8(told.stdout)?;
    let host = told.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not name its host")?.to_owned())
}

/// Runs as many targets at once as there are cores, and counts those that failed.
fn run_all(targets: &[Target], wanted: &Wanted) -> Result<usize> {
    let queue = Mutex::new(targets.iter());
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers)
            .map(|_| {
                scope.spawn(|| -> Result<usize> {
                    let mut failed = 0;
                    loop {
                        let next = queue.lock().ok().and_then(|mut queue| queue.next());
                        let Some(target) = next else {
                            return Ok(failed);
                        };
                        failed += usize::from(!target.run(wanted)?);
                    }
                })
            })
            .collect();
        workers.into_iter().try_fold(0, |failed, worker| {
            let more = worker.join().ok().context("a worker panicked")?;
            Ok(failed + more?)
        })
    })
}

impl Target {
    /// Runs until the time is over or something breaks. True when nothing broke.
    fn run(&self, wanted: &Wanted) -> Result<bool> {
        let output = self
            .libfuzzer()
            .args([&self.found, &self.corpus])
            .arg(format!("-max_total_time={}", wanted.seconds))
            .args(wanted.seed.map(|seed| format!("-seed={seed}")))
            .arg(format!("-max_len={INPUT_BYTES_MAX}"))
            // A slow input is as much a bug as a crash: the parsers are linear.
            .args(["-timeout=25", "-rss_limit_mb=1024", "-print_final_stats=1"])
            .args(self.dictionary.iter().map(|path| option("-dict=", path)))
            .output()
            .with_context(|| format!("{} could not be started", self.program.display()))?;
        let log = String::from_utf8_lossy(&output.stderr);
        let runs = log
            .lines()
            .find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))
            .map_or("?", str::trim);
        if output.status.success() {
            say(&format!("fuzz {}: ok, {runs} runs", self.name));
            return Ok(true);
        }
        let lines: Vec<&str> = log.lines().collect();
        let news = |line: &&str| line.contains("panicked at") || line.contains("ERROR:");
        let start = lines.iter().position(news).unwrap_or_default();
        let story = lines.iter().skip(start).take(STORY_LINES_MAX);
        let story: Vec<&str> = story.copied().collect();
        say(&format!(
            "fuzz {}: FAILED after {runs} runs\n{}",
            self.name,
            story.join("\n")
        ));
        say(&format!("the input is in {}", self.crashes.display()));
        Ok(false)
    }

    fn libfuzzer(&self) -> Command {
        let mut command = Command::new(&self.program);
        let mut crashes = option("-artifact_prefix=", &self.crashes);
        crashes.push("/");
        command.arg(crashes).stdin(Stdio::null());
        command
    }

    /// Replaces the corpus of the repository by the least that covers as much as all there is.
    fn keep(&self) -> Result<()> {
        let merged = self.found.with_extension("merged");
        let _: std::io::Result<()> = std::fs::remove_dir_all(&merged);
        std::fs::create_dir_all(&merged)?;
        let output = self
            .libfuzzer()
            .arg("-merge=1")
            .args([&merged, &self.corpus, &self.found])
            .output()?;
        ensure!(output.status.success(), "{} could not be merged", self.name);
        let mut inputs = Vec::new();
        for entry in std::fs::read_dir(&merged)? {
            let entry = entry?;
            inputs.push((entry.metadata()?.len(), entry.path()));
        }
        inputs.sort();
        std::fs::remove_dir_all(&self.corpus)?;
        std::fs::create_dir_all(&self.corpus)?;
        let mut bytes = 0;
        let step = inputs.len().div_ceil(KEPT_FILES_MAX).max(1);
        for (length, path) in inputs.iter().step_by(step) {
            bytes += length;
            if bytes > KEPT_BYTES_MAX {
                break;
            }
            let name = path.file_name().context("an input has a name")?;
            std::fs::copy(path, self.corpus.join(name))?;
        }
        Ok(std::fs::remove_dir_all(&merged)?)
    }
}

fn option(name: &str, path: &Path) -> OsString {
    let mut option = OsString::from(name);
    option.push(path);
    option
}

#[expect(clippy::print_stdout, reason = "printing is what the task is for")]
fn say(text: &str) {
    println!("{text}");
}
