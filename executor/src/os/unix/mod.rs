//! The operating system as POSIX and Linux have it.

mod apart;
mod child;
mod contain;
mod descriptors;
mod facts;
pub mod files;
mod harden;
mod input;
mod local;
mod memory;
mod notices;
mod output;
mod pipe;
mod private;
mod root;
#[cfg(target_os = "linux")]
mod scratch;
mod secret;
#[cfg(target_os = "linux")]
mod signals;
mod slim;
mod socket;
mod spawn;
mod stderr;
mod stop;
mod terminal;
mod watch;

pub use apart::{leave_stdout, send_stderr_to, settle_apart, start_apart};
pub use child::{Child, ExitWatch, Group, HAS_NOTICES, Notice};
pub use contain::{Lineage, guard, keep_house};
pub use descriptors::raise_descriptor_limit;
pub use facts::{
    CORE_VARIABLES, Shell, VARIABLES_IGNORE_CASE, default_shell, fallback_folders, home_folder,
    host_name, os_name, state_folder,
};
pub use harden::harden;
pub use input::Input;
pub use local::{
    FolderLock, HAS_LOCAL_SOCKETS, LocalListener, LocalStream, SocketFolder, bytes_of, here,
    text_of, user_name_of_sockets,
};
pub use memory::{give_back_memory, keep_memory};
pub use notices::FolderNotices;
pub use output::{Output, READ_MAX};
pub use private::{is_at, make_private_folder, open_private_file, try_lock, unlock};
pub use root::{is_root, is_root_of_a_host};
#[cfg(target_os = "linux")]
pub use scratch::Scratch;
pub use secret::{FileStamp, NotPrivate, create_secret, file_stamp, open_secret};
pub use slim::give_back_program;
pub use socket::{READS_NOW, limit_unsent, read_now};
pub use spawn::{STRINGS_MAX, SpawnError, Spawner, Stage};
pub use stderr::stderr_takes;
pub use stop::StopSignals;
