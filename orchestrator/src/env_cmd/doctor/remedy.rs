//! What helps against each way a connection fails.

use farstep_environments::{ConnectError, SshError, SshTarget, Step};

pub(crate) fn of(error: &ConnectError) -> String {
    let words = match error {
        ConnectError::Url { .. } => "correct `url` of the entry",
        ConnectError::Unreachable { url, .. } if url.starts_with("http") => {
            "start the rendezvous there (`farstep-rendezvous serve`), or check host and port of \
             `rendezvous` in the entry"
        }
        ConnectError::Unreachable { reason, .. } if reason.contains("refused") => {
            "start the executor there (`farstep-executor --listen ...`), or check host and port"
        }
        ConnectError::Unreachable { .. } => {
            "check the name, the network and what lies between: a firewall, a VPN, a proxy"
        }
        ConnectError::TimedOut { .. } => {
            "see that nothing on the way swallows the connection, or raise `connect_timeout_sec`"
        }
        ConnectError::Distrusted { remedy, .. } => return remedy.clone(),
        ConnectError::Memory { .. } => {
            "correct that file, or remove it: then every key is the first again"
        }
        ConnectError::Tls { .. } => "correct the files that `[environments.farstep.tls]` names",
        ConnectError::Secret { .. } => {
            "see that the token is where the entry says, and yours alone to read"
        }
        ConnectError::Refused {
            status: Some(401), ..
        } => {
            "name the executor's token with `farstep.auth.bearer`, or check that it is the right one"
        }
        ConnectError::Refused {
            status: Some(403), ..
        } => {
            "name the executor as it knows itself (see its --allowed-host), and see that nothing in \
             between adds an `Origin` header"
        }
        ConnectError::Refused {
            status: Some(404), ..
        } => "take the path out of `url`: executors serve `/` only",
        ConnectError::Refused { .. } => "see that an executor answers there, and nothing else",
        ConnectError::Rendezvous {
            step,
            status,
            reason,
            ..
        } => of_rendezvous(*step, *status, reason),
        ConnectError::Spawn { reason, .. } if reason.contains("Permission denied") => {
            "name a program in `program` that you may run; what it names is a folder, or not executable"
        }
        ConnectError::Spawn { .. } => {
            "install the program, or name it by its full path in `program`"
        }
        ConnectError::Ssh(error) => return error.remedy.clone(),
        ConnectError::OtherMachine { .. } => {
            "see where the entry leads, or correct that key of its `farstep` table"
        }
        ConnectError::Unconfined { .. } => {
            "use an executor there that can (a stock one on Linux), confine it by other means, or \
             take `permission_profile` out of the entry"
        }
        ConnectError::Unpadded => {
            "use a farstep-executor there that knows it and does not run with `--padding never`, or take \
             `padding` out of the entry"
        }
        ConnectError::Handshake { reason, details } => {
            return of_handshake(reason, &details.join("\n"));
        }
        ConnectError::Lost { .. } | ConnectError::Ended { .. } => {
            "look at the executor's own log for why it ended"
        }
        _ => "try again; the message says what was in the way",
    };
    words.to_owned()
}

/// By who said no.
fn of_rendezvous(step: Step, status: Option<u16>, reason: &str) -> &'static str {
    match (step, status) {
        (Step::Registry, Some(401)) => {
            "give `farstep.auth.bearer` a harness credential of that rendezvous (`farstep-rendezvous \
             admin token new --kind harness`)"
        }
        (Step::Registry, Some(403)) => {
            "check `environment` of the entry, and for which environments its credential is"
        }
        (Step::Registry, Some(429)) => "wait a little: this credential asks too often",
        (Step::Registry, Some(503)) if reason.contains("executor") => {
            "start the executor (`farstep-executor --remote ...`); `farstep-rendezvous admin list` says \
             since when it is away, and why"
        }
        (Step::Registry, Some(503)) => {
            "try again soon: the rendezvous starts or stops, or its store has trouble; its log says which"
        }
        (Step::Registry, _) => {
            "see that `rendezvous` of the entry is the URL of a rendezvous, and look at its log"
        }
        (Step::Relay, Some(401 | 403)) => {
            "set the clocks of the rendezvous' machines: its relay does not take what its registry issues"
        }
        (Step::Relay, _) => {
            "see that the relay's address (`--public-url` of the rendezvous) is reached from here, \
             websockets included"
        }
        (Step::Executor, _) => {
            "look at the executor's log: it may not know our key (`--allow-harness-key`), or its own \
             credential was revoked"
        }
    }
}

/// From what the program behind a pipe did and said.
fn of_handshake(reason: &str, said: &str) -> String {
    let has = |words: &str| said.contains(words);
    let words = if reason.contains("terminal") || has("a TTY") {
        "remove `-t` or `-tt`, and give docker and kubectl `-i` alone"
    } else if [
        "No such container",
        "no such container",
        "is not running",
        "state improper",
    ]
    .iter()
    .any(|words| has(words))
    {
        "start the container first, or check its name"
    } else if has("docker daemon") || has("Docker daemon") {
        "start docker, or let yourself use it"
    } else if [
        "connection to the server",
        "pods \"",
        "namespaces \"",
        "deployments.apps \"",
        "is not valid for pod",
    ]
    .iter()
    .any(|words| has(words))
    {
        "check the cluster, the namespace, the pod and the container of the entry"
    } else if has("not found") || has("No such file") {
        "put the executor there, or name it by its full path"
    } else if has("--allow-root") {
        "log in as a user made for it, or add --allow-root to the command"
    } else if has("instead of the protocol") {
        "see that the program prints nothing but the protocol on its standard output"
    } else if has("ssh: ") || has("Permission denied (") {
        let target = SshTarget {
            user: None,
            host: "HOST".to_owned(),
            port: None,
        };
        return SshError::of_login(&target, said, "").remedy;
    } else if reason.contains("timed out") {
        "see that the program is an executor with `--listen stdio`, or raise `initialize_timeout_sec`"
    } else {
        "run the entry's command by hand: it should wait without a word"
    };
    words.to_owned()
}
