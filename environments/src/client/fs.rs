//! Files of an executor, as typed calls.
//!
//! Each call is one message there and one back. Calls that do not depend on each other are best
//! joined: they leave in the order they are first polled and share one round trip. Their order on
//! the executor is its own; wait for a call whose effect the next one needs.

use bytes::Bytes;
use farstep_path_uri::PathUri;
use farstep_protocol::frame;
use farstep_protocol::method::Empty;
use farstep_protocol::method::fs::{
    self, CanonicalizeResult, CopyParams, CreateDirectoryParams, DigestParams, DigestResult,
    DirectoryEntry, Metadata, PathParams, ReadDirectoryResult, ReadFileResult, RemoveParams,
    RenameParams, SetModeParams, SetTimesParams, WalkOptions, WalkParams, WalkResult,
};

use super::call::{BULK_BYTES, CallError, Lane, MESSAGE_BYTES_MAX, Purpose, QUICK, TRANSFER, TREE};
use super::{Executor, Request};

impl Executor {
    /// A whole regular file.
    pub async fn read_file(&self, path: &PathUri) -> Result<Bytes, CallError> {
        let request = Request::with_params(fs::READ_FILE, TRANSFER, self.path_params(path));
        let reply = self.call(request).await?;
        let result: ReadFileResult<'_> = reply.parse(fs::READ_FILE)?;
        let content = frame::read_base64(&result.data_base64);
        content.map(Bytes::from).ok_or_else(|| CallError::Protocol {
            method: fs::READ_FILE,
            detail: "the content is not base64".to_owned(),
        })
    }

    /// Creates or truncates a file. What is longer than one message is not sent at all.
    pub async fn write_file(&self, path: &PathUri, content: &[u8]) -> Result<(), CallError> {
        let encoded = content.len().div_ceil(3) * 4;
        if encoded + path.as_str().len() > MESSAGE_BYTES_MAX {
            let reason = format!(
                "a file of {} bytes does not fit into one message",
                content.len()
            );
            return Err(CallError::NotSent { reason });
        }
        let lane = if encoded > BULK_BYTES {
            Lane::Bulk
        } else {
            Lane::Small
        };
        let (path, content) = (path.clone(), Bytes::copy_from_slice(content));
        let sandbox = self.sandbox();
        let request = Request {
            method: fs::WRITE_FILE,
            lane,
            limit: TRANSFER,
            size: encoded,
            purpose: Purpose::Plain,
            encode: Box::new(move |out, id| {
                frame::write_file_request(out, id, path.as_str(), &content, sandbox.as_ref());
            }),
        };
        let _: Empty = self.call(request).await?.parse(fs::WRITE_FILE)?;
        Ok(())
    }

    /// Creates a directory; `recursive` also its parents, and then an existing one is fine.
    pub async fn create_directory(&self, path: &PathUri, recursive: bool) -> Result<(), CallError> {
        let params = CreateDirectoryParams {
            path: path.clone(),
            recursive,
            sandbox: self.sandbox(),
            follow_symlinks: true,
        };
        let request = Request::with_params(fs::CREATE_DIRECTORY, QUICK, params);
        let _: Empty = self.call(request).await?.parse(fs::CREATE_DIRECTORY)?;
        Ok(())
    }

    /// What a path is.
    pub async fn metadata(&self, path: &PathUri) -> Result<Metadata, CallError> {
        let request = Request::with_params(fs::GET_METADATA, QUICK, self.path_params(path));
        self.call(request).await?.parse(fs::GET_METADATA)
    }

    /// The path without links. It is the executor's word: good for naming, not for trusting.
    pub async fn canonicalize(&self, path: &PathUri) -> Result<PathUri, CallError> {
        let request = Request::with_params(fs::CANONICALIZE, QUICK, self.path_params(path));
        let reply = self.call(request).await?;
        let result: CanonicalizeResult = reply.parse(fs::CANONICALIZE)?;
        Ok(result.path)
    }

    /// What a directory holds, in no particular order.
    pub async fn read_directory(&self, path: &PathUri) -> Result<Vec<DirectoryEntry>, CallError> {
        let request = Request::with_params(fs::READ_DIRECTORY, TRANSFER, self.path_params(path));
        let reply = self.call(request).await?;
        let result: ReadDirectoryResult = reply.parse(fs::READ_DIRECTORY)?;
        Ok(result.entries)
    }

    /// What a tree holds, breadth first.
    pub async fn walk(
        &self,
        path: &PathUri,
        options: WalkOptions,
    ) -> Result<WalkResult, CallError> {
        let params = WalkParams {
            path: path.clone(),
            options,
            sandbox: self.sandbox(),
        };
        let request = Request::with_params(fs::WALK, TRANSFER, params);
        self.call(request).await?.parse(fs::WALK)
    }

    /// Removes a file, or with `recursive` a tree; with `force` a missing path is fine.
    pub async fn remove(
        &self,
        path: &PathUri,
        recursive: bool,
        force: bool,
    ) -> Result<(), CallError> {
        let params = RemoveParams {
            path: path.clone(),
            recursive,
            force,
            sandbox: self.sandbox(),
            follow_symlinks: true,
        };
        let request = Request::with_params(fs::REMOVE, TREE, params);
        let _: Empty = self.call(request).await?.parse(fs::REMOVE)?;
        Ok(())
    }

    /// Copies a file, or with `recursive` a tree, within the executor's machine.
    pub async fn copy(
        &self,
        source: &PathUri,
        destination: &PathUri,
        recursive: bool,
    ) -> Result<(), CallError> {
        let params = CopyParams {
            source_path: source.clone(),
            destination_path: destination.clone(),
            recursive,
            sandbox: self.sandbox(),
        };
        let request = Request::with_params(fs::COPY, TREE, params);
        let _: Empty = self.call(request).await?.parse(fs::COPY)?;
        Ok(())
    }

    /// The SHA-256 of a file, or of its first `length` bytes, and of how many bytes it is. Only
    /// where [`fs::FILES`] is announced.
    pub async fn digest(
        &self,
        path: &PathUri,
        length: Option<u64>,
    ) -> Result<DigestResult, CallError> {
        let params = DigestParams {
            path: path.clone(),
            length,
        };
        let mut request = Request::with_params(fs::DIGEST, TREE, params);
        request.purpose = Purpose::Repeatable;
        self.call(request).await?.parse(fs::DIGEST)
    }

    /// Gives a file another name, in place of what has it. Only where [`fs::FILES`] is announced.
    pub async fn rename(&self, source: &PathUri, destination: &PathUri) -> Result<(), CallError> {
        let params = RenameParams {
            source_path: source.clone(),
            destination_path: destination.clone(),
        };
        let request = Request::with_params(fs::RENAME, QUICK, params);
        let _: Empty = self.call(request).await?.parse(fs::RENAME)?;
        Ok(())
    }

    /// Sets the nine permission bits of a path. Only where [`fs::FILES`] is announced.
    pub async fn set_mode(&self, path: &PathUri, mode: u32) -> Result<(), CallError> {
        let params = SetModeParams {
            path: path.clone(),
            mode,
        };
        let mut request = Request::with_params(fs::SET_MODE, QUICK, params);
        request.purpose = Purpose::Repeatable;
        let _: Empty = self.call(request).await?.parse(fs::SET_MODE)?;
        Ok(())
    }

    /// Sets when a path was changed last, in Unix milliseconds. Only where [`fs::TREES`] is
    /// announced.
    pub async fn set_times(&self, path: &PathUri, modified_at_ms: i64) -> Result<(), CallError> {
        let params = SetTimesParams {
            path: path.clone(),
            modified_at_ms,
        };
        let mut request = Request::with_params(fs::SET_TIMES, QUICK, params);
        request.purpose = Purpose::Repeatable;
        let _: Empty = self.call(request).await?.parse(fs::SET_TIMES)?;
        Ok(())
    }

    fn path_params(&self, path: &PathUri) -> PathParams {
        PathParams {
            path: path.clone(),
            sandbox: self.sandbox(),
            follow_symlinks: true,
        }
    }
}
