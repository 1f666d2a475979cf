//! The operating system as POSIX and Linux have it.

mod child;
mod contain;
mod facts;
pub mod files;
mod harden;
mod input;
mod notices;
mod output;
mod pipe;
mod private;
mod root;
mod secret;
#[cfg(target_os = "linux")]
mod signals;
mod socket;
mod spawn;
mod stop;
mod terminal;
mod watch;

pub use child::{Child, ExitWatch, Group};
pub use contain::{Lineage, guard, keep_house};
pub use facts::{
    DEFAULT_PATH, Shell, default_shell, home_folder, host_name, os_name, state_folder,
};
pub use harden::harden;
pub use input::Input;
pub use notices::FolderNotices;
pub use output::{Output, READ_MAX, Read};
pub use private::{is_at, make_private_folder, open_private_file};
pub use root::{is_root, is_root_of_a_host};
pub use secret::{FileStamp, NotPrivate, create_secret, file_stamp, open_secret};
pub use socket::limit_unsent;
pub use spawn::{Command, STRINGS_MAX, SpawnError, Spawner, Stage, Stdio};
pub use stop::StopSignals;
pub use terminal::WindowSize;
