//! Being told to stop.

use std::io;

use tokio::signal::windows::{
    CtrlBreak, CtrlC, CtrlClose, CtrlShutdown, ctrl_break, ctrl_c, ctrl_close, ctrl_shutdown,
};

use crate::os::shared::StopSignal;

/// What ends a service: caught from the moment this exists.
#[derive(Debug)]
pub struct StopSignals {
    c: CtrlC,
    r#break: CtrlBreak,
    close: CtrlClose,
    shutdown: CtrlShutdown,
}

impl StopSignals {
    /// Needs a tokio runtime around it.
    pub fn new() -> io::Result<StopSignals> {
        Ok(StopSignals {
            c: ctrl_c()?,
            r#break: ctrl_break()?,
            close: ctrl_close()?,
            shutdown: ctrl_shutdown()?,
        })
    }

    /// Waits for one of them.
    pub async fn recv(&mut self) -> StopSignal {
        tokio::select! {
            _ = self.c.recv() => StopSignal::Interrupt,
            _ = self.r#break.recv() => StopSignal::Interrupt,
            _ = self.close.recv() => StopSignal::Terminate,
            _ = self.shutdown.recv() => StopSignal::Terminate,
        }
    }
}
