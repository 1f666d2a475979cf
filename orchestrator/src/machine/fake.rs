//! Machines without a process, a socket or a clock, for tests of what runs where.

use std::collections::{BTreeMap, HashMap};
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use farstep_protocol::method::process::OutputStream;
use farstep_protocol::rpc::{ErrorCode, RpcError};
use tokio::sync::{mpsc, watch};

use super::*;

/// Files in a map, and processes that do what the test says.
pub(crate) struct FakeMachine {
    pub(crate) name: String,
    info: EnvironmentInfo,
    files: Mutex<BTreeMap<PathUri, Bytes>>,
    connected: AtomicBool,
    rounds: AtomicUsize,
    outstanding: AtomicUsize,
    started: Mutex<Vec<StartParams>>,
    /// The feeding ends of processes that a test steps through by itself.
    held: Mutex<Option<Vec<mpsc::Sender<ProcessEvent>>>>,
    starts: watch::Sender<usize>,
    written: Arc<Mutex<Vec<u8>>>,
    terminated: Arc<AtomicUsize>,
}

impl FakeMachine {
    pub(crate) fn named(name: &str) -> Arc<FakeMachine> {
        Self::with_info(
            name,
            r#"{"shell":{"name":"bash","path":"/bin/bash"},"cwd":"file:///srv","platformOs":"linux"}"#,
        )
    }

    pub(crate) fn with_info(name: &str, info: &str) -> Arc<FakeMachine> {
        Arc::new(FakeMachine {
            name: name.to_owned(),
            info: serde_json::from_str(info).unwrap(),
            files: Mutex::default(),
            connected: AtomicBool::new(true),
            rounds: AtomicUsize::new(0),
            outstanding: AtomicUsize::new(0),
            started: Mutex::default(),
            held: Mutex::default(),
            starts: watch::Sender::new(0),
            written: Arc::default(),
            terminated: Arc::default(),
        })
    }

    pub(crate) fn put(&self, path: &str, text: &str) {
        self.put_bytes(path, text.as_bytes());
    }

    pub(crate) fn put_bytes(&self, path: &str, bytes: &[u8]) {
        let path = PathUri::parse(path).unwrap();
        let bytes = Bytes::copy_from_slice(bytes);
        self.files.lock().unwrap().insert(path, bytes);
    }

    pub(crate) fn text_of(&self, path: &str) -> Option<String> {
        let path = PathUri::parse(path).unwrap();
        let files = self.files.lock().unwrap();
        files
            .get(&path)
            .map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
    }

    /// How many dependent rounds of calls there were.
    pub(crate) fn rounds(&self) -> usize {
        self.rounds.load(Ordering::SeqCst)
    }

    pub(crate) fn started(&self) -> Vec<StartParams> {
        self.started.lock().unwrap().clone()
    }

    /// All that was typed into its processes.
    pub(crate) fn written(&self) -> String {
        String::from_utf8(self.written.lock().unwrap().clone()).unwrap()
    }

    /// Waits until so many processes have been started.
    pub(crate) async fn started_at_least(&self, count: usize) {
        let mut starts = self.starts.subscribe();
        starts.wait_for(|starts| *starts >= count).await.unwrap();
    }

    /// How many processes were asked to end.
    pub(crate) fn terminated(&self) -> usize {
        self.terminated.load(Ordering::SeqCst)
    }

    pub(crate) fn disconnect(&self) {
        self.connected.store(false, Ordering::SeqCst);
    }

    /// From now on processes say nothing until the test feeds them.
    pub(crate) fn hold(&self) {
        *self.held.lock().unwrap() = Some(Vec::new());
    }

    /// The feeding end of the process started as number `index` since [`Self::hold`].
    pub(crate) fn feed(&self, index: usize) -> mpsc::Sender<ProcessEvent> {
        self.held.lock().unwrap().as_ref().unwrap()[index].clone()
    }

    /// Calls polled together are one round: each waits once before it is answered.
    async fn round(&self) -> Result<(), CallError> {
        let mut asked = false;
        poll_fn(|context| {
            if asked {
                return Poll::Ready(());
            }
            asked = true;
            if self.outstanding.fetch_add(1, Ordering::SeqCst) == 0 {
                self.rounds.fetch_add(1, Ordering::SeqCst);
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        self.outstanding.fetch_sub(1, Ordering::SeqCst);
        match self.connected.load(Ordering::SeqCst) {
            true => Ok(()),
            false => Err(CallError::Lost {
                reason: "the test cut the link".into(),
            }),
        }
    }

    /// The working folder is always there; others are where files are.
    fn is_folder(&self, path: &PathUri) -> bool {
        let files = self.files.lock().unwrap();
        path.as_str() == "file:///srv"
            || files.keys().any(|file| file != path && path.contains(file))
    }
}

impl fmt::Debug for FakeMachine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FakeMachine({})", self.name)
    }
}

fn missing(path: &PathUri) -> CallError {
    let message = format!("{}: no such file", path.display_native());
    CallError::Refused(RpcError::new(ErrorCode::NotFound, message))
}

impl Machine for FakeMachine {
    fn info(&self) -> &EnvironmentInfo {
        &self.info
    }

    fn is_connected(&self) -> bool {
        self.connected.load(Ordering::SeqCst)
    }

    fn start(&self, params: StartParams) -> Answer<'_, Box<dyn Running>> {
        Box::pin(async move {
            self.round().await?;
            let said = format!("{}: {}\n", self.name, params.argv.last().unwrap());
            self.started.lock().unwrap().push(params);
            let (feed, events) = mpsc::channel(64);
            let held = self
                .held
                .lock()
                .unwrap()
                .as_mut()
                .map(|feeds| feeds.push(feed.clone()));
            if held.is_none() {
                for event in [output(&said), exited(0), ProcessEvent::Closed] {
                    feed.send(event).await.unwrap();
                }
            }
            let (terminated, written) = (Arc::clone(&self.terminated), Arc::clone(&self.written));
            self.starts.send_modify(|starts| *starts += 1);
            let running: Box<dyn Running> = Box::new(FakeRunning {
                events,
                terminated,
                written,
            });
            Ok(running)
        })
    }

    fn read_file<'a>(&'a self, path: &'a PathUri) -> Answer<'a, Bytes> {
        Box::pin(async move {
            self.round().await?;
            self.files
                .lock()
                .unwrap()
                .get(path)
                .cloned()
                .ok_or_else(|| missing(path))
        })
    }

    fn write_file<'a>(&'a self, path: &'a PathUri, bytes: &'a [u8]) -> Answer<'a, ()> {
        Box::pin(async move {
            self.round().await?;
            self.files
                .lock()
                .unwrap()
                .insert(path.clone(), Bytes::copy_from_slice(bytes));
            Ok(())
        })
    }

    fn create_directory<'a>(&'a self, _path: &'a PathUri) -> Answer<'a, ()> {
        Box::pin(self.round())
    }

    fn metadata<'a>(&'a self, path: &'a PathUri) -> Answer<'a, Metadata> {
        Box::pin(async move {
            self.round().await?;
            let size = self.files.lock().unwrap().get(path).map(Bytes::len);
            let is_directory = self.is_folder(path);
            if size.is_none() && !is_directory {
                return Err(missing(path));
            }
            Ok(Metadata {
                is_directory,
                is_file: size.is_some(),
                is_symlink: false,
                size: size.unwrap_or(0) as u64,
                created_at_ms: 0,
                modified_at_ms: 0,
                mode: None,
            })
        })
    }

    fn remove<'a>(&'a self, path: &'a PathUri) -> Answer<'a, ()> {
        Box::pin(async move {
            self.round().await?;
            self.files
                .lock()
                .unwrap()
                .remove(path)
                .map(drop)
                .ok_or_else(|| missing(path))
        })
    }
}

struct FakeRunning {
    events: mpsc::Receiver<ProcessEvent>,
    terminated: Arc<AtomicUsize>,
    written: Arc<Mutex<Vec<u8>>>,
}

impl Running for FakeRunning {
    fn next(&mut self) -> BoxFuture<'_, Option<ProcessEvent>> {
        Box::pin(self.events.recv())
    }

    fn write<'a>(&'a self, bytes: &'a [u8]) -> Answer<'a, WriteStatus> {
        self.written.lock().unwrap().extend_from_slice(bytes);
        Box::pin(async { Ok(WriteStatus::Accepted) })
    }

    fn interrupt(&self) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn terminate(&self) -> Answer<'_, bool> {
        self.terminated.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { Ok(true) })
    }
}

pub(crate) fn output(text: &str) -> ProcessEvent {
    let bytes = Bytes::copy_from_slice(text.as_bytes());
    ProcessEvent::Output {
        stream: OutputStream::Stdout,
        bytes,
    }
}

pub(crate) fn exited(code: i64) -> ProcessEvent {
    ProcessEvent::Exited {
        code,
        sandbox_denied: None,
    }
}

/// Environments whose comings and goings a test decides.
#[derive(Debug)]
pub(crate) struct FakeSet {
    order: Vec<Arc<str>>,
    state: watch::Sender<HashMap<Arc<str>, Presence>>,
    looks: AtomicUsize,
}

impl FakeSet {
    /// All of them are starting.
    pub(crate) fn starting(ids: &[&str]) -> Arc<FakeSet> {
        let order: Vec<Arc<str>> = ids.iter().map(|id| Arc::from(*id)).collect();
        let state = order
            .iter()
            .map(|id| (Arc::clone(id), Presence::Starting))
            .collect();
        Arc::new(FakeSet {
            order,
            state: watch::Sender::new(state),
            looks: AtomicUsize::new(0),
        })
    }

    /// How often somebody looked, or waited to look.
    pub(crate) fn looks(&self) -> usize {
        self.looks.load(Ordering::SeqCst)
    }

    fn seen(&self) -> Vec<Seen> {
        let state = self.state.borrow();
        let seen = |id: &Arc<str>| Seen {
            id: Arc::clone(id),
            local: false,
            presence: state[id].clone(),
        };
        self.order.iter().map(seen).collect()
    }

    pub(crate) fn up(&self, machine: &Arc<FakeMachine>) {
        self.set(
            &machine.name,
            Presence::Available(Arc::clone(machine) as Arc<dyn Machine>),
        );
    }

    pub(crate) fn set(&self, id: &str, presence: Presence) {
        self.state.send_modify(|state| {
            state.insert(id.into(), presence);
        });
    }
}

impl EnvironmentSet for FakeSet {
    fn look(&self) -> Vec<Seen> {
        self.looks.fetch_add(1, Ordering::SeqCst);
        self.seen()
    }

    fn settle(&self) -> BoxFuture<'_, Vec<Seen>> {
        Box::pin(async {
            let mut changes = self.state.subscribe();
            let settled = |state: &HashMap<Arc<str>, Presence>| {
                !state
                    .values()
                    .any(|presence| matches!(presence, Presence::Starting))
            };
            changes.wait_for(settled).await.unwrap();
            self.looks.fetch_add(1, Ordering::SeqCst);
            self.seen()
        })
    }

    fn wait<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let mut changes = self.state.subscribe();
            let state = changes
                .wait_for(|state| !matches!(state.get(id), Some(Presence::Starting)))
                .await
                .unwrap();
            match state.get(id) {
                Some(Presence::Available(_)) => Ok(()),
                Some(Presence::Failed { reason } | Presence::Disconnected { reason }) => {
                    Err(reason.clone())
                }
                _ => Err("not selected".into()),
            }
        })
    }
}
