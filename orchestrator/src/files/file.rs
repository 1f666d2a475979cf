//! One open file of an environment, which survives the connection it was opened on.

use std::sync::Arc;

use bytes::Bytes;
use farstep_environments::fs::OpenMode;
use farstep_environments::{Block, CallError, OpenFile};
use farstep_path_uri::PathUri;
use farstep_protocol::rpc::ErrorCode;
use tokio::sync::Mutex;

use super::error::FileCause;
use super::far::{Far, Patience, is_loss};

/// A file that is read or written in blocks. A handle that was lost with its connection is opened
/// anew and the block repeated, unless that would empty the file.
#[derive(Debug)]
pub(super) struct FarFile {
    far: Arc<Far>,
    path: PathUri,
    mode: OpenMode,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// How often it was opened.
    opened: u64,
    file: Option<Arc<OpenFile>>,
}

impl FarFile {
    /// Opens it; `length` is what [`OpenMode::Update`] makes of it the first time.
    pub(super) async fn open(
        far: &Arc<Far>,
        path: &PathUri,
        mode: OpenMode,
        length: Option<u64>,
    ) -> Result<FarFile, FileCause> {
        let open = async |to: &farstep_environments::Executor| to.open(path, mode, length).await;
        let file = far.call(open).await?;
        Ok(FarFile {
            far: Arc::clone(far),
            path: path.clone(),
            mode,
            state: Mutex::new(State {
                opened: 1,
                file: Some(Arc::new(file)),
            }),
        })
    }

    pub(super) fn far(&self) -> &Arc<Far> {
        &self.far
    }

    pub(super) fn path(&self) -> &PathUri {
        &self.path
    }

    pub(super) async fn read(&self, offset: u64, len: usize) -> Result<Block, FileCause> {
        self.with(async |file| file.read_block(offset, len).await)
            .await
    }

    pub(super) async fn write(&self, offset: u64, bytes: Bytes) -> Result<(), FileCause> {
        self.with(async |file| file.write_block(offset, bytes.clone()).await)
            .await
    }

    /// Closes it. If that fails it is closed with the connection.
    pub(super) async fn close(self) {
        let file = self.state.into_inner().file.and_then(Arc::into_inner);
        if let Some(file) = file
            && let Err(error) = file.close().await
        {
            tracing::debug!(%error, "a file was not closed");
        }
    }

    async fn with<T>(
        &self,
        call: impl AsyncFn(&OpenFile) -> Result<T, CallError>,
    ) -> Result<T, FileCause> {
        let mut patience = self.far.patience();
        loop {
            let (opened, file) = self.opened(&mut patience).await?;
            match call(&file).await {
                Err(error) if is_gone(&error) => {
                    drop(file);
                    self.forget(opened).await;
                    patience.wait(error).await?;
                }
                outcome => return Ok(outcome?),
            }
        }
    }

    async fn opened(&self, patience: &mut Patience) -> Result<(u64, Arc<OpenFile>), FileCause> {
        let mut state = self.state.lock().await;
        loop {
            if let Some(file) = &state.file {
                return Ok((state.opened, Arc::clone(file)));
            }
            if self.mode == OpenMode::Replace {
                return Err(FileCause::Lost(
                    "the connection was lost, and with it the open file".to_owned(),
                ));
            }
            let executor = self.far.executor(patience).await?;
            match executor.open(&self.path, self.mode, None).await {
                Ok(file) => {
                    state.opened += 1;
                    state.file = Some(Arc::new(file));
                }
                Err(error) if is_loss(&error, &executor) => patience.wait(error).await?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whoever notices first closes it for all.
    async fn forget(&self, opened: u64) {
        let mut state = self.state.lock().await;
        if state.opened == opened {
            state.file = None;
        }
    }
}

/// Whether the handle does not exist any more: the connection was lost, or it was and another has
/// taken its place already.
fn is_gone(error: &CallError) -> bool {
    match error {
        CallError::Lost { .. } | CallError::NotSent { .. } => true,
        CallError::Refused(error) => error.is(ErrorCode::NotFound),
        CallError::TimedOut | CallError::Unconfined | CallError::Protocol { .. } => false,
    }
}
