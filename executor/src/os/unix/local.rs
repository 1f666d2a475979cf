//! Sockets that are files: reached by whoever may open them, and by nobody over a network.
//!
//! Whose they are is judged three times: the folder must be out of everybody else's hands, the
//! socket is for its owner alone from the moment it is there, and each side asks the kernel who is
//! at the other end (`security` SR-1).

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Access, Mode, OFlags};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::Instant;

use super::private::try_lock;

/// Whether there are any.
pub const HAS_LOCAL_SOCKETS: bool = true;

/// A connection over one.
pub type LocalStream = UnixStream;

/// What a name may take of the address of a socket, its NUL included.
const ADDRESS_MAX: usize = 108;
const BACKLOG: i32 = 128;
const SOCKET_MODE: Mode = Mode::from_raw_mode(0o600);
const OTHERS: u32 = 0o077;
const OTHERS_WRITE: u32 = 0o022;

/// How long others may hold the lock of a folder: for as long as it takes to bind a socket.
const LOCK_WAIT: Duration = Duration::from_secs(10);
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// A folder of sockets that nobody else can put anything into.
#[derive(Debug)]
pub struct SocketFolder {
    path: PathBuf,
    open: File,
}

/// The folder is ours to change until this is dropped.
#[derive(Debug)]
pub struct FolderLock(#[expect(dead_code, reason = "its end is the end of the lock")] File);

/// A socket that takes connections of our own user.
#[derive(Debug)]
pub struct LocalListener {
    socket: UnixListener,
    path: PathBuf,
    /// Which file it is.
    file: (u64, u64),
}

impl SocketFolder {
    /// A folder of our own, which nobody else may even enter and we may write to. Made if it is
    /// missing.
    pub fn own(path: &Path) -> io::Result<SocketFolder> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)?;
        let folder = SocketFolder::open(path)?;
        if folder.open.metadata()?.mode() & OTHERS != 0 {
            return Err(refused("other users may enter the folder (chmod 700 it)"));
        }
        // One that was made when that was still possible.
        rustix::fs::access(path, Access::WRITE_OK | Access::EXEC_OK)?;
        Ok(folder)
    }

    /// The folder of a socket that somebody named.
    pub fn of(socket: &Path) -> io::Result<(SocketFolder, &OsStr)> {
        let name = socket.file_name();
        let name = name.ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "it has no name"))?;
        let folder = socket
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        Ok((SocketFolder::open(folder.unwrap_or(Path::new(".")))?, name))
    }

    fn open(path: &Path) -> io::Result<SocketFolder> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = File::from(rustix::fs::open(path, flags, Mode::empty())?);
        let found = open.metadata()?;
        let ours = rustix::process::geteuid().as_raw();
        if found.uid() != ours && found.uid() != 0 {
            return Err(refused("the folder belongs to another user"));
        }
        if found.mode() & OTHERS_WRITE != 0 {
            return Err(refused(
                "other users may write to the folder (chmod go-w it)",
            ));
        }
        Ok(SocketFolder {
            path: path.to_owned(),
            open,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until nobody else changes what is in it.
    pub async fn lock(&self) -> io::Result<FolderLock> {
        let file = File::open(format!("/proc/self/fd/{}", self.open.as_raw_fd()))
            .or_else(|_| File::open(&self.path))?;
        let deadline = Instant::now() + LOCK_WAIT;
        loop {
            // Where folders cannot be locked, as on some network file systems, two that begin at
            // the same moment may be one too many, which does no harm.
            if try_lock(&file).unwrap_or(true) {
                return Ok(FolderLock(file));
            }
            if Instant::now() >= deadline {
                return Err(io::Error::new(
                    ErrorKind::TimedOut,
                    "somebody else holds the lock of the folder",
                ));
            }
            tokio::time::sleep(LOCK_PAUSE).await;
        }
    }

    /// The names of its sockets.
    pub fn sockets(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_type()?.is_socket()
                && let Ok(name) = entry.file_name().into_string()
            {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Connects to a socket, if it is our own user who listens there.
    pub async fn connect(&self, name: &OsStr) -> io::Result<LocalStream> {
        let stream = UnixStream::connect(self.address(name)).await?;
        match is_own(&stream)? {
            true => Ok(stream),
            false => Err(refused("another user listens there")),
        }
    }

    /// Makes a socket. One that is there already and that nobody listens on any more is replaced.
    /// Hold the lock.
    pub fn bind(&self, name: &OsStr) -> io::Result<LocalListener> {
        self.clear(name)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // What Linux makes the file with, so that it is never open to others.
        #[cfg(target_os = "linux")]
        rustix::fs::fchmod(&socket, SOCKET_MODE)?;
        socket.bind(&SockAddr::unix(self.address(name))?)?;
        let path = self.path.join(name);
        rustix::fs::chmod(&path, SOCKET_MODE)?;
        let found = std::fs::symlink_metadata(&path)?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(LocalListener {
            socket: UnixListener::from_std(socket.into())?,
            path,
            file: (found.dev(), found.ino()),
        })
    }

    /// Removes a socket that nobody listens on. An error of the kind `AddrInUse` if somebody does.
    /// Hold the lock.
    pub fn clear(&self, name: &OsStr) -> io::Result<()> {
        let path = self.path.join(name);
        match std::fs::symlink_metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
            Ok(found) if !found.file_type().is_socket() => {
                let why = "something that is no socket has that name";
                return Err(io::Error::new(ErrorKind::AlreadyExists, why));
            }
            Ok(_) => {}
        }
        let knocking = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // One that is too busy to answer is there as well.
        knocking.set_nonblocking(true)?;
        match knocking.connect(&SockAddr::unix(self.address(name))?) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                std::fs::remove_file(&path)
            }
            Ok(()) | Err(_) => Err(io::Error::new(
                ErrorKind::AddrInUse,
                "somebody listens there already",
            )),
        }
    }

    /// A path that fits into an address, however deep the folder lies.
    fn address(&self, name: &OsStr) -> PathBuf {
        let path = self.path.join(name);
        if path.as_os_str().len() < ADDRESS_MAX {
            return path;
        }
        PathBuf::from(format!("/proc/self/fd/{}", self.open.as_raw_fd())).join(name)
    }
}

impl LocalListener {
    /// The next connection of our own user.
    pub async fn accept(&self) -> io::Result<LocalStream> {
        loop {
            let (stream, _) = self.socket.accept().await?;
            match is_own(&stream) {
                Ok(true) => return Ok(stream),
                Ok(false) => tracing::warn!("another user was not let in"),
                Err(error) => tracing::debug!(%error, "nobody knows who connected"),
            }
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes its name away, if that still leads to it. Hold the lock.
    pub fn remove(&self) {
        let found = std::fs::symlink_metadata(&self.path);
        if found.is_ok_and(|found| (found.dev(), found.ino()) == self.file)
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(%error, "the socket is left behind");
        }
    }
}

/// Whom our own sockets belong to, for logs and as the owner of sessions.
pub fn user_name_of_sockets() -> String {
    format!("uid:{}", rustix::process::geteuid().as_raw())
}

/// What tells this machine, since it was started, from every other that shares its folders: a
/// container that mounts a home must not find what runs outside. Below a program of another
/// executor it is another place as well, because what is started there ends with that program.
pub fn here() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let processes = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    let root = std::fs::metadata("/").map(|root| (root.dev(), root.ino()));
    #[cfg(target_os = "linux")]
    let mark = rustix::process::getrlimit(rustix::process::Resource::Locks).maximum;
    #[cfg(not(target_os = "linux"))]
    let mark = ();
    format!("{boot} {} {root:?} {mark:?}", processes.display())
}

/// The bytes of a text of the system.
pub fn bytes_of(text: &OsStr) -> &[u8] {
    text.as_bytes()
}

/// And back.
pub fn text_of(bytes: &[u8]) -> std::ffi::OsString {
    OsStr::from_bytes(bytes).to_owned()
}

fn is_own(stream: &UnixStream) -> io::Result<bool> {
    Ok(stream.peer_cred()?.uid() == rustix::process::geteuid().as_raw())
}

fn refused(why: &'static str) -> io::Error {
    io::Error::new(ErrorKind::PermissionDenied, why)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn name() -> &'static OsStr {
        OsStr::new("s")
    }

    #[tokio::test]
    async fn a_socket_is_for_its_owner_alone_and_found_however_deep_it_lies() {
        let temp = tempfile::tempdir().unwrap();
        for deep in [String::new(), "d".repeat(200)] {
            let folder = SocketFolder::own(&temp.path().join("a").join(&deep)).unwrap();
            let lock = folder.lock().await.unwrap();
            let listener = folder.bind(name()).unwrap();
            let again = folder.bind(name()).unwrap_err();
            assert_eq!(again.kind(), ErrorKind::AddrInUse);
            drop(lock);
            let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
            assert_eq!((mode(folder.path()), mode(listener.path())), (0o700, 0o600));
            assert_eq!(folder.sockets().unwrap(), ["s"]);
            let (connected, accepted) = tokio::join!(folder.connect(name()), listener.accept());
            assert!(connected.is_ok() && accepted.is_ok());
            listener.remove();
            assert_eq!(folder.sockets().unwrap(), Vec::<String>::new());
        }
    }

    #[tokio::test]
    async fn what_nobody_listens_on_is_replaced_and_what_is_no_socket_is_left() {
        let temp = tempfile::tempdir().unwrap();
        let folder = SocketFolder::own(&temp.path().join("own")).unwrap();
        drop(folder.bind(name()).unwrap());
        let dead = folder.connect(name()).await.unwrap_err();
        assert_eq!(dead.kind(), ErrorKind::ConnectionRefused);
        let first = folder.bind(name()).unwrap();
        // One that was replaced takes away nothing of its successor's.
        std::fs::remove_file(first.path()).unwrap();
        let second = folder.bind(name()).unwrap();
        first.remove();
        assert!(second.path().exists());
        std::fs::write(folder.path().join("file"), "").unwrap();
        let file = folder.bind(OsStr::new("file")).unwrap_err();
        assert_eq!(file.kind(), ErrorKind::AlreadyExists);
    }

    #[test]
    fn a_folder_that_others_can_use_holds_no_sockets() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("open");
        std::fs::create_dir(&path).unwrap();
        for (mode, own, of) in [
            (0o755, false, true),
            (0o777, false, false),
            (0o1777, false, false),
        ] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            assert_eq!(SocketFolder::own(&path).is_ok(), own, "{mode:o}");
            assert_eq!(SocketFolder::of(&path.join("s")).is_ok(), of, "{mode:o}");
        }
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o700)).unwrap();
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&path, Some(12_345), None).unwrap();
            assert!(SocketFolder::own(&path).is_err());
        }
    }
}
