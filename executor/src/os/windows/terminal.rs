//! Pseudo-consoles: a program that wants a terminal gets one that is a pair of pipes to us.

use std::io;
use std::os::windows::io::{AsRawHandle, OwnedHandle};
use std::thread;

use windows_sys::Win32::System::Console::{
    COORD, ClosePseudoConsole, CreatePseudoConsole, HPCON, ResizePseudoConsole,
};
use windows_sys::core::HRESULT;

use crate::os::shared::WindowSize;

impl WindowSize {
    /// Beyond what the system counts it is as large as that.
    fn coord(self) -> COORD {
        let side = |length: u16| i16::try_from(length.max(1)).unwrap_or(i16::MAX);
        COORD {
            X: side(self.columns),
            Y: side(self.rows),
        }
    }
}

/// One pseudo-console. Dropping it ends the programs that still use it, and then its output.
#[derive(Debug)]
pub(super) struct Terminal(HPCON);

impl Terminal {
    /// `keyboard` is where it reads from, `screen` where it writes to; both are closed by the caller.
    pub(super) fn open(
        size: WindowSize,
        keyboard: &OwnedHandle,
        screen: &OwnedHandle,
    ) -> io::Result<Terminal> {
        let mut console: HPCON = 0;
        // Why at all: nothing else makes one. Why sound: both handles are open during the call,
        // and the result is owned only if the call says that it is there.
        #[expect(unsafe_code, reason = "a new pseudo-console")]
        let result = unsafe {
            CreatePseudoConsole(
                size.coord(),
                keyboard.as_raw_handle(),
                screen.as_raw_handle(),
                0,
                &raw mut console,
            )
        };
        check(result)?;
        Ok(Terminal(console))
    }

    /// What the attribute of a new process wants.
    pub(super) fn as_raw(&self) -> HPCON {
        self.0
    }

    pub(super) fn resize(&self, size: WindowSize) -> io::Result<()> {
        // Why at all: nothing else does it. Why sound: the console is open as long as we are.
        #[expect(unsafe_code, reason = "the size of a pseudo-console")]
        let result = unsafe { ResizePseudoConsole(self.0, size.coord()) };
        check(result)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let console = self.0;
        let close = move || {
            // Why at all: its output ends only with it. Why sound: it was opened once and is
            // closed once, here.
            #[expect(unsafe_code, reason = "the end of a pseudo-console")]
            unsafe {
                ClosePseudoConsole(console);
            }
        };
        // Older systems wait in this call until somebody has read what is on the screen.
        let closing = thread::Builder::new()
            .name("console".to_owned())
            .spawn(close);
        if let Err(error) = closing {
            tracing::warn!(%error, "a terminal stays open");
        }
    }
}

fn check(result: HRESULT) -> io::Result<()> {
    /// Results of the Win32 family carry its code in their lower half.
    const WIN32: u32 = 0x8007_0000;
    let code = result.cast_unsigned();
    match result {
        0.. => Ok(()),
        _ if code & 0xFFFF_0000 == WIN32 => {
            Err(io::Error::from_raw_os_error((code & 0xFFFF).cast_signed()))
        }
        _ => Err(io::Error::other(format!("the console says {code:#010x}"))),
    }
}
