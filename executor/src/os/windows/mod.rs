//! The operating system as Windows has it.
//!
//! The names are those of the Unix module. What a group of processes, a mark and a guardian are
//! there is here one job object for each program: its processes cannot leave it, and it ends them
//! when the last handle on it is closed, however the executor ends.

mod call;
mod child;
mod descriptors;
mod facts;
pub mod files;
mod harden;
mod input;
mod job;
mod local;
mod notices;
mod output;
mod overlapped;
mod pipe;
mod private;
mod root;
mod secret;
mod security;
mod socket;
mod spawn;
mod stderr;
mod stop;
mod terminal;
mod wait;

pub use child::{Child, ExitWatch, Group, HAS_NOTICES, Notice, guard};
pub use descriptors::raise_descriptor_limit;
pub use facts::{
    CORE_VARIABLES, Shell, VARIABLES_IGNORE_CASE, default_shell, fallback_folders, home_folder,
    host_name, os_name, state_folder,
};
pub use harden::{give_back_memory, give_back_program, harden, keep_memory};
pub use input::Input;
pub use job::{Lineage, keep_house};
pub use local::{
    FolderLock, HAS_LOCAL_SOCKETS, LocalListener, LocalStream, SocketFolder, bytes_of, here,
    leave_stdout, send_stderr_to, settle_apart, start_apart, text_of, user_name_of_sockets,
};
pub use notices::FolderNotices;
pub use output::{Output, READ_MAX};
pub use private::{is_at, make_private_folder, open_private_file, try_lock, unlock};
pub use root::{is_root, is_root_of_a_host};
pub use secret::{FileStamp, NotPrivate, create_secret, file_stamp, open_secret};
pub use socket::{READS_NOW, limit_unsent, read_now};
pub use spawn::{STRINGS_MAX, SpawnError, Spawner, Stage};
pub use stderr::stderr_takes;
pub use stop::StopSignals;
