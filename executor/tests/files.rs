//! What becomes of files when the executor is killed, and of its memory when they are large.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use base64_simd::STANDARD;
use serde_json::{Value, json};

/// An executor of its own, over stdio.
struct Executor {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Executor {
    fn start() -> Executor {
        let mut child = Command::new(env!("CARGO_BIN_EXE_farstep-executor"))
            .args(["--listen", "stdio", "--audit-file", "off"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut executor = Executor {
            child,
            input,
            output: BufReader::new(output),
        };
        executor.post("initialize", json!({"clientName": "files"}));
        assert!(executor.answer().contains("\"result\""));
        let initialized = json!({"method": "initialized", "params": {}});
        writeln!(executor.input, "{initialized}").unwrap();
        executor
    }

    fn post(&mut self, method: &str, params: Value) {
        let request = json!({"id": 1, "method": method, "params": params});
        writeln!(self.input, "{request}").unwrap();
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line
    }

    fn call(&mut self, method: &str, params: Value) {
        self.post(method, params);
        let answer = self.answer();
        assert!(answer.contains("\"result\""), "{method}: {answer:.300}");
    }

    /// Lets an answer pass by and says how long it was.
    fn pass(&mut self) -> usize {
        let mut len = 0;
        loop {
            let part = self.output.fill_buf().unwrap();
            assert!(!part.is_empty(), "the executor has gone");
            let end = part.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(part.len(), |end| end + 1);
            self.output.consume(taken);
            len += taken;
            if end.is_some() {
                return len;
            }
        }
    }

    /// The most memory it ever had resident, in MiB, or `None` where the system does not say.
    fn peak_mib(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
        Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? / 1024)
    }

    /// What it has resident that no file is behind, in KiB, or `None` where the system does not say.
    fn anonymous_kib(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find(|line| line.starts_with("RssAnon:"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _: std::io::Result<()> = self.child.kill();
        let _: std::io::Result<_> = self.child.wait();
    }
}

fn uri(path: &Path) -> String {
    format!("file://{}", path.to_str().unwrap())
}

/// Rounds of killing; `FARSTEP_CRASH_ROUNDS` asks for more.
fn rounds() -> u64 {
    let asked = std::env::var("FARSTEP_CRASH_ROUNDS");
    asked.map_or(300, |rounds| rounds.parse().unwrap())
}

#[test]
fn a_killed_executor_leaves_the_old_or_the_new() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    // Larger and smaller than the one before, of which nothing may remain.
    let contents: Vec<(char, usize)> = vec![
        ('a', 300_000),
        ('b', 5_000),
        ('c', 1_234_567),
        ('d', 4_097),
        ('e', 70_000),
    ];
    let mut seen = std::collections::BTreeSet::new();
    // Encoding takes longer than everything else here.
    let request = |name: &str, letter: char, len: usize| {
        let data = STANDARD.encode_to_string(letter.to_string().repeat(len));
        let params = json!({"path": uri(&path(name)), "dataBase64": data});
        format!(
            "{}\n",
            json!({"id": 1, "method": "fs/writeFile", "params": params})
        )
    };
    let requests = contents.iter().map(|(letter, len)| {
        let both = [request("f", *letter, *len), request("page", *letter, 4096)];
        both.concat()
    });
    let requests: Vec<String> = requests.collect();
    for round in 0..rounds() {
        // A new file now and then, which must be missing or whole.
        if round % 10 == 0 {
            let _: std::io::Result<()> = std::fs::remove_file(path("f"));
        }
        let mut executor = Executor::start();
        for request in requests.iter().cycle().skip(round as usize % 5).take(6) {
            executor.input.write_all(request.as_bytes()).unwrap();
        }
        for _ in 0..round % 11 {
            executor.answer();
        }
        // Some moment within the next write.
        let moment = Instant::now() + Duration::from_micros(round * 37 % 800);
        while Instant::now() < moment {
            std::hint::spin_loop();
        }
        executor.kill();
        if let Ok(content) = std::fs::read_to_string(path("f")) {
            let letter = content.chars().next().unwrap();
            let whole = (letter, content.len());
            assert!(contents.contains(&whole), "round {round}: {whole:?}");
            assert!(
                content.chars().all(|other| other == letter),
                "round {round} is torn"
            );
            seen.insert(letter);
        }
        if let Ok(content) = std::fs::read(path("page")) {
            let letter = content.first().copied();
            assert!(content.iter().all(|other| Some(*other) == letter));
            assert!([0, 4096].contains(&content.len()), "round {round}");
        }
    }
    assert!(
        rounds() < 100 || seen.len() >= 3,
        "killed too early: {seen:?}"
    );
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert!(left <= 2 + 16, "{left} files are left over");
}

const MIB: usize = 1 << 20;
/// How long something that is to happen may take before it counts as missing.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn memory_stays_bounded_however_large_a_file_is() {
    const SIZE_MIB: usize = 400;
    // The same again and again shows nothing new, and takes long in a build without optimisation.
    const PART_MIB: usize = 96;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large");
    let file = std::fs::File::create(&path).unwrap();
    file.set_len((SIZE_MIB * MIB) as u64).unwrap();
    let mut executor = Executor::start();
    executor.call("environment/status", json!({}));
    let Some(before) = executor.peak_mib() else {
        return;
    };
    let check = |executor: &Executor, what: &str, most: u64| {
        let grown = executor.peak_mib().unwrap() - before;
        assert!(grown <= most, "{what} took {grown} MiB, more than {most}");
    };

    executor.post("fs/readFile", json!({"path": uri(&path)}));
    assert!(executor.pass() > SIZE_MIB * MIB / 3 * 4);
    check(&executor, "a whole file", 8);

    executor.call("fs/open", json!({"path": uri(&path), "handleId": "r"}));
    for group in (0..PART_MIB).step_by(4) {
        for block in group..group + 4 {
            let at = json!({"handleId": "r", "offset": block * MIB, "len": MIB});
            executor.post("fs/readBlock", at);
        }
        for _ in 0..4 {
            assert!(executor.pass() > MIB / 3 * 4);
        }
    }
    check(&executor, "blocks", 64);

    let copy = folder.path().join("copy");
    let replace = json!({"path": uri(&copy), "handleId": "w", "mode": "replace"});
    executor.call("fs/open", replace);
    let chunk = STANDARD.encode_to_string(vec![7; MIB]);
    for block in 0..PART_MIB {
        // Over and over the same place: the disk is not what is tested.
        let at = json!({"handleId": "w", "offset": block % 4 * MIB, "chunk": chunk});
        executor.call("fs/writeBlock", at);
    }
    check(&executor, "a write stream", 64);

    // Near the largest message, which is held once and never decoded as a whole.
    let most = STANDARD.encode_to_string(vec![7; 46 * MIB]);
    for _ in 0..2 {
        executor.call(
            "fs/writeFile",
            json!({"path": uri(&copy), "dataBase64": most}),
        );
    }
    assert_eq!(std::fs::metadata(&copy).unwrap().len(), 46 * MIB as u64);
    check(&executor, "the largest messages", 160);
}

#[test]
fn a_copy_can_go_on_know_what_arrived_and_appear_in_one_step() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let uri = |name: &str| format!("file://{}/{name}", folder.path().display());
    std::fs::write(folder.path().join("partial"), "hello, wrld").unwrap();
    let mut executor = Executor::start();
    let mut answer = |method: &str, params: Value| -> Value {
        executor.post(method, params);
        let answer: Value = serde_json::from_str(&executor.answer()).unwrap();
        answer["result"].clone()
    };
    let open = json!({"handleId": "h", "path": uri("partial"), "mode": "farstepUpdate",
        "farstepLength": 8});
    assert_eq!(answer("fs/open", open), json!({"handleId": "h"}));
    let block = json!({"handleId": "h", "offset": 8, "chunk": STANDARD.encode_to_string("orld")});
    assert_eq!(answer("fs/writeBlock", block), json!({}));
    assert_eq!(
        answer("fs/close", json!({"handleId": "h"}))["handleId"],
        Value::Null
    );
    assert_eq!(
        answer(
            "fs/farstepDigest",
            json!({"path": uri("partial"), "length": 5})
        ),
        json!({"sha256": "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
            "length": 5})
    );
    let mode = json!({"path": uri("partial"), "mode": 0o640});
    assert_eq!(answer("fs/farstepSetMode", mode), json!({}));
    let times = json!({"path": uri("partial"), "modifiedAtMs": 1_700_000_000_123_i64});
    assert_eq!(answer("fs/farstepSetTimes", times), json!({}));
    let names = json!({"sourcePath": uri("partial"), "destinationPath": uri("whole")});
    assert_eq!(answer("fs/farstepRename", names), json!({}));
    let whole = folder.path().join("whole");
    assert_eq!(std::fs::read(&whole).unwrap(), b"hello, world");
    assert_eq!(
        whole.metadata().unwrap().permissions().mode() & 0o7777,
        0o640
    );
    let described = answer("fs/getMetadata", json!({"path": uri("whole")}));
    assert_eq!(described["farstepMode"], json!(0o640));
    assert_eq!(described["modifiedAtMs"], json!(1_700_000_000_123_i64));
}

#[test]
fn zeros_are_told_by_their_number_to_who_asks_for_it() {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(10).unwrap();
    let mut executor = Executor::start();
    let path = format!("file://{}", file.path().display());
    executor.call("fs/open", json!({"handleId": "h", "path": path}));
    let mut read = |params: Value| -> Value {
        executor.post("fs/readBlock", params);
        let answer: Value = serde_json::from_str(&executor.answer()).unwrap();
        answer["result"].clone()
    };
    assert_eq!(
        read(json!({"handleId": "h", "offset": 8, "len": 4, "farstepZeros": true})),
        json!({"chunk": "", "eof": true, "farstepZeros": 2})
    );
    assert_eq!(
        read(json!({"handleId": "h", "offset": 8, "len": 2})),
        json!({"chunk": "AAA=", "eof": false})
    );
    assert_eq!(
        read(json!({"handleId": "h", "offset": 10, "len": 2, "farstepZeros": true})),
        json!({"chunk": "", "eof": true})
    );
}

#[test]
fn large_blocks_are_answered_in_the_order_they_were_asked_for() {
    const BLOCKS: usize = 48;
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len((BLOCKS * MIB) as u64).unwrap();
    let mut executor = Executor::start();
    executor.call(
        "fs/open",
        json!({"handleId": "h", "path": uri(file.path())}),
    );
    for block in 0..BLOCKS {
        // Larger and smaller ones in turn: the smaller would be finished first.
        let len = MIB / (1 + block % 8);
        let at = json!({"handleId": "h", "offset": block * MIB, "len": len});
        let request = json!({"id": block, "method": "fs/readBlock", "params": at});
        writeln!(executor.input, "{request}").unwrap();
    }
    for block in 0..BLOCKS {
        let answer: Value = serde_json::from_str(&executor.answer()).unwrap();
        assert_eq!(answer["id"], block);
    }
}

#[test]
fn what_large_answers_took_is_given_back() {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(16 * MIB as u64).unwrap();
    let mut executor = Executor::start();
    executor.call("environment/status", json!({}));
    let Some(before) = executor.anonymous_kib() else {
        return;
    };
    executor.call(
        "fs/open",
        json!({"handleId": "h", "path": uri(file.path())}),
    );
    for block in 0..16 {
        let at = json!({"handleId": "h", "offset": block * MIB, "len": MIB});
        executor.post("fs/readBlock", at);
    }
    for _ in 0..16 {
        assert!(executor.pass() > MIB / 3 * 4);
    }
    let begun = Instant::now();
    let mut grown = u64::MAX;
    // They were 22 MiB together; what is still in use lies between what was free.
    while grown > 6 * 1024 {
        assert!(begun.elapsed() < PATIENCE, "it keeps {grown} KiB");
        executor.call("environment/status", json!({}));
        grown = executor.anonymous_kib().unwrap().saturating_sub(before);
    }
}
