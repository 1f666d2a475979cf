//! Which Windows devices an executor may open. None, unless it was started to.

/// Names in the device and verbatim namespaces that a system call may see.
///
/// An entry allows exactly that name and what lies below it, ignoring ASCII case:
/// `\\.\COM3`, `\\?\Volume{…}`, `\\server\pipe\build`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Devices {
    allowed: Vec<String>,
}

impl Devices {
    /// No devices at all, the rule without an explicit list.
    pub const NONE: Devices = Devices {
        allowed: Vec::new(),
    };

    /// Allows the named device too. A namespace without a name in it allows nothing.
    #[must_use]
    pub fn allow(mut self, name: &str) -> Self {
        let name = normal(name);
        let named = namespace(&name).is_some_and(|within| !within.is_empty());
        if named {
            self.allowed.push(name);
        }
        self
    }

    /// Whether a system call may see this path: it names no device, or an allowed one.
    pub(super) fn admit(&self, units: &[u16]) -> bool {
        let path = normal(&String::from_utf16_lossy(units));
        namespace(&path).is_none()
            || self.allowed.iter().any(|allowed| {
                path.strip_prefix(allowed.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('\\'))
            })
    }
}

fn normal(path: &str) -> String {
    path.replace('/', "\\")
        .trim_end_matches('\\')
        .to_ascii_lowercase()
}

/// What follows the namespace, when a normal path is in one that leads to devices. Named pipes,
/// mail slots and interprocess shares do so through a server's name.
fn namespace(path: &str) -> Option<&str> {
    if let Some(within) = [r"\\.", r"\\?", r"\??"]
        .iter()
        .find_map(|prefix| path.strip_prefix(prefix))
    {
        return Some(within.trim_start_matches('\\'));
    }
    let (_, below) = path.strip_prefix(r"\\")?.split_once('\\')?;
    let (share, within) = below.split_once('\\').unwrap_or((below, ""));
    matches!(share, "pipe" | "mailslot" | "ipc$").then_some(within)
}
