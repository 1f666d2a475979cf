//! The `fs/` methods that name paths. Requests on paths that overlap keep their order when one of
//! them changes something.

use std::borrow::Cow;
use std::future::ready;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use farstep_path_uri::PathUri;
use farstep_protocol::frame;
use farstep_protocol::method::Empty;
use farstep_protocol::method::fs::{
    CanonicalizeResult, CopyParams, CreateDirectoryParams, DigestParams, DigestResult, Metadata,
    PathParams, RemoveParams, RenameParams, SetModeParams, SetTimesParams, WalkParams,
    WriteFileParams,
};
use farstep_protocol::rpc::{RequestId, RpcError};
use farstep_transport::Text;

use super::{
    Answer, Calls, Effect, Finished, Job, Member, Outcome, Reply, content, reply, sandbox, settle,
};
use crate::audit::Event;
use crate::errors;
use crate::fs::{
    self, Access, Bounds, Content as _, Links, READ_FILE_BYTES_MAX, Reach, ReadFile, Remove,
    WalkOptions,
};

/// What is read or written in place at most: below, handing it to another thread costs more.
pub(super) const IN_PLACE_BYTES_MAX: usize = 64 * 1024;

/// What a call does to its path.
#[derive(Clone, Copy)]
enum Claim {
    Reads(Reach),
    Changes(Reach),
}

impl Claim {
    fn on(self, path: &Path) -> Access<'_> {
        match self {
            Claim::Reads(reach) => Access::read(path, reach),
            Claim::Changes(reach) => Access::change(path, reach),
        }
    }
}

/// Where a call should run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Weight {
    /// Ends in the page cache, almost always.
    Small,
    /// May take long.
    Large,
}

impl Calls {
    pub(super) fn read_file(
        &mut self,
        id: RequestId,
        params: PathParams,
    ) -> Result<Answer, RpcError> {
        let (path, links) = place(&params)?;
        self.reads(&params.path);
        let access = Access::read(&path, Reach::Path);
        let in_place = if self.paths.is_free(&access) {
            self.in_place()
        } else {
            None
        };
        let begun = in_place
            .map(|_permission| self.begin_read(&id, &path, links))
            .transpose()?;
        if let Some(Begun::Answer(Reply::Whole(text))) = begun {
            return Ok(Answer::Now(text));
        }
        let ticket = self.next_ticket();
        let admit = self.paths.admit(ticket, access);
        let job = match begun {
            // Nothing was in the way of it.
            Some(Begun::Answer(reply)) => {
                let effect = Effect::Path(ticket);
                return Ok(Answer::Later(Box::pin(ready(Finished { reply, effect }))));
            }
            Some(Begun::Large(file)) => read_job(id, path, move |_| Ok(file)),
            None => read_job(id, path, move |path| open(path, links)),
        };
        Ok(self.in_turn(ticket, admit, job))
    }

    /// Opens a file, and begins to answer with it if that takes no longer than a small one does.
    fn begin_read(&self, id: &RequestId, path: &Path, links: Links) -> Result<Begun, RpcError> {
        let file = open(path, links)?;
        // One that claims to be empty may be any amount of `/proc`.
        if (1..=IN_PLACE_BYTES_MAX as u64).contains(&file.size()) {
            let text = content::whole(id, path, file).map_err(|error| errors::file(&error))?;
            return Ok(Begun::Answer(text.into()));
        }
        if file.size() > content::WHOLE_BYTES_MAX as u64
            && let Ok(place) = Arc::clone(&self.places).try_acquire_owned()
        {
            let begun = content::answer(id, path.to_owned(), file, place);
            return Ok(Begun::Answer(begun.map_err(|error| errors::file(&error))?));
        }
        Ok(Begun::Large(file))
    }

    pub(super) fn write_file(
        &mut self,
        message: &Text,
        id: RequestId,
        params: WriteFileParams<'_>,
    ) -> Result<Answer, RpcError> {
        sandbox::unconfined(params.sandbox.as_ref())?;
        let (path, links) = (host(&params.path)?, links(params.follow_symlinks));
        self.writes(&params.path, Some(decoded_len(&params.data_base64)))?;
        let claim = Claim::Changes(Reach::Path);
        if params.data_base64.len() <= IN_PLACE_BYTES_MAX {
            let bytes = frame::read_base64(&params.data_base64).ok_or_else(bad_data)?;
            return Ok(
                self.on_path(id, path, claim, Weight::Small, move |id, path| {
                    fs::write(path, bytes.as_slice(), links)
                        .map_err(|error| errors::file(&error))?;
                    Ok(reply(id, &Empty {}))
                }),
            );
        }
        // The text stays where it was received; only the pool turns it into bytes, a piece at a time,
        // and finds out there whether it can.
        let data = Encoded::new(message, params.data_base64);
        Ok(
            self.on_path(id, path, claim, Weight::Large, move |id, path| {
                match fs::write(path, &data, links) {
                    Ok(replaced) => {
                        // Whoever waits for the answer does not wait for that.
                        if let Some(old) = replaced {
                            drop(tokio::task::spawn_blocking(move || drop(old)));
                        }
                        Ok(reply(id, &Empty {}))
                    }
                    // What is wrong with a request comes before what is wrong with a file.
                    Err(_) if !data.is_sound() => Err(bad_data()),
                    Err(error) => Err(errors::file(&error)),
                }
            }),
        )
    }

    pub(super) fn create_directory(
        &mut self,
        id: RequestId,
        params: CreateDirectoryParams,
    ) -> Result<Answer, RpcError> {
        sandbox::unconfined(params.sandbox.as_ref())?;
        let (path, links) = (host(&params.path)?, links(params.follow_symlinks));
        let recursive = params.recursive;
        let make = move |id: &RequestId, path: &Path| {
            fs::create_directory(path, recursive, links).map_err(|error| errors::file(&error))?;
            Ok(reply(id, &Empty {}))
        };
        // What is asked for below it is not to be answered before it is there.
        let claim = Claim::Changes(Reach::Subtree);
        if !recursive {
            return Ok(self.on_path(id, path, claim, Weight::Small, make));
        }
        // Its missing parents change too, so it claims the topmost one.
        let topmost = fs::topmost_missing(&path).to_path_buf();
        Ok(
            self.on_path(id, topmost, claim, Weight::Small, move |id, _| {
                make(id, &path)
            }),
        )
    }

    pub(super) fn get_metadata(
        &mut self,
        id: RequestId,
        params: PathParams,
    ) -> Result<Answer, RpcError> {
        let (path, links) = place(&params)?;
        Ok(self.on_path(
            id,
            path,
            Claim::Reads(Reach::Path),
            Weight::Small,
            move |id, path| {
                let found = fs::metadata(path, links).map_err(|error| errors::file(&error))?;
                let metadata = Metadata {
                    is_directory: found.is_directory,
                    is_file: found.is_file,
                    is_symlink: found.is_symlink,
                    size: found.size,
                    created_at_ms: found.created_at_ms,
                    modified_at_ms: found.modified_at_ms,
                    mode: found.mode,
                };
                Ok(reply(id, &metadata))
            },
        ))
    }

    pub(super) fn canonicalize(
        &mut self,
        id: RequestId,
        params: PathParams,
    ) -> Result<Answer, RpcError> {
        let (path, _) = place(&params)?;
        Ok(self.on_path(
            id,
            path,
            Claim::Reads(Reach::Path),
            Weight::Small,
            move |id, path| {
                let found = fs::canonicalize(path).map_err(|error| errors::file(&error))?;
                let path = PathUri::from_host(&found).map_err(|error| errors::path(&error))?;
                Ok(reply(id, &CanonicalizeResult { path }))
            },
        ))
    }

    pub(super) fn read_directory(
        &mut self,
        id: RequestId,
        params: PathParams,
    ) -> Result<Answer, RpcError> {
        let (path, _) = place(&params)?;
        Ok(self.on_path(
            id,
            path,
            Claim::Reads(Reach::Subtree),
            Weight::Large,
            move |id, path| {
                let listing = fs::read_directory(path).map_err(|error| errors::file(&error))?;
                super::written(id, |out| listing.write_json(out))
            },
        ))
    }

    pub(super) fn walk(&mut self, id: RequestId, params: WalkParams) -> Result<Answer, RpcError> {
        sandbox::unconfined(params.sandbox.as_ref())?;
        let path = host(&params.path)?;
        let options = WalkOptions {
            max_depth: params.options.max_depth,
            max_directories: params.options.max_directories,
            max_entries: params.options.max_entries,
            follow_directory_symlinks: params.options.follow_directory_symlinks,
            prune_hidden_directories: params.options.prune_hidden_directories,
            everything: params.options.everything,
        };
        Ok(self.on_path(
            id,
            path,
            Claim::Reads(Reach::Subtree),
            Weight::Large,
            move |id, path| {
                let found = fs::walk(path, &options).map_err(|error| errors::file(&error))?;
                super::written(id, |out| found.write_json(out))
            },
        ))
    }

    pub(super) fn remove(
        &mut self,
        id: RequestId,
        params: RemoveParams,
    ) -> Result<Answer, RpcError> {
        sandbox::unconfined(params.sandbox.as_ref())?;
        let (path, links) = (host(&params.path)?, links(params.follow_symlinks));
        self.changes(|| Event::FsRemove {
            path: params.path.to_string(),
            recursive: params.recursive,
        })?;
        let how = Remove {
            recursive: params.recursive,
            force: params.force,
        };
        let gone = Arc::clone(&self.gone.0);
        let weight = if params.recursive {
            Weight::Large
        } else {
            Weight::Small
        };
        Ok(self.on_path(
            id,
            path,
            Claim::Changes(Reach::Subtree),
            weight,
            move |id, path| {
                fs::remove(path, how, links, Bounds::from_now(&gone))
                    .map_err(|error| errors::file(&error))?;
                Ok(reply(id, &Empty {}))
            },
        ))
    }

    pub(super) fn copy(&mut self, id: RequestId, params: CopyParams) -> Result<Answer, RpcError> {
        sandbox::unconfined(params.sandbox.as_ref())?;
        let (from, to) = (host(&params.source_path)?, host(&params.destination_path)?);
        self.changes(|| Event::FsCopy {
            from: params.source_path.to_string(),
            to: params.destination_path.to_string(),
            recursive: params.recursive,
        })?;
        let ticket = self.next_ticket();
        // A copied tree makes the missing parents of its destination too.
        let made = if params.recursive {
            fs::topmost_missing(&to)
        } else {
            &to
        };
        let admit = self.paths.admit(ticket, Access::copy(&from, made));
        let gone = Arc::clone(&self.gone.0);
        let job = Job::new(id, move |id| {
            fs::copy(&from, &to, params.recursive, Bounds::from_now(&gone))
                .map_err(|error| errors::file(&error))?;
            Ok(reply(id, &Empty {}))
        });
        Ok(self.in_turn(ticket, admit, job))
    }

    pub(super) fn digest(
        &mut self,
        id: RequestId,
        params: DigestParams,
    ) -> Result<Answer, RpcError> {
        let path = host(&params.path)?;
        self.reads(&params.path);
        let gone = Arc::clone(&self.gone.0);
        Ok(self.on_path(
            id,
            path,
            Claim::Reads(Reach::Path),
            Weight::Large,
            move |id, path| {
                let found = fs::digest(path, params.length, Bounds::from_now(&gone))
                    .map_err(|error| errors::file(&error))?;
                let result = DigestResult {
                    sha256: found.sha256,
                    length: found.length,
                };
                Ok(reply(id, &result))
            },
        ))
    }

    pub(super) fn rename(
        &mut self,
        id: RequestId,
        params: &RenameParams,
    ) -> Result<Answer, RpcError> {
        let (from, to) = (host(&params.source_path)?, host(&params.destination_path)?);
        self.changes(|| Event::FsRename {
            from: params.source_path.to_string(),
            to: params.destination_path.to_string(),
        })?;
        let ticket = self.next_ticket();
        let admit = self.paths.admit(ticket, Access::rename(&from, &to));
        let job = Job::new(id, move |id| {
            fs::rename(&from, &to).map_err(|error| errors::file(&error))?;
            Ok(reply(id, &Empty {}))
        });
        Ok(self.in_turn(ticket, admit, job))
    }

    pub(super) fn set_mode(
        &mut self,
        id: RequestId,
        params: &SetModeParams,
    ) -> Result<Answer, RpcError> {
        let (path, mode) = (host(&params.path)?, params.mode);
        self.changes(|| Event::FsMode {
            path: params.path.to_string(),
            mode,
        })?;
        Ok(self.on_path(
            id,
            path,
            Claim::Changes(Reach::Path),
            Weight::Small,
            move |id, path| {
                fs::set_mode(path, mode).map_err(|error| errors::file(&error))?;
                Ok(reply(id, &Empty {}))
            },
        ))
    }

    pub(super) fn set_times(
        &mut self,
        id: RequestId,
        params: &SetTimesParams,
    ) -> Result<Answer, RpcError> {
        let (path, modified) = (host(&params.path)?, params.modified_at_ms);
        self.changes(|| Event::FsTimes {
            path: params.path.to_string(),
            modified_at_ms: modified,
        })?;
        Ok(self.on_path(
            id,
            path,
            Claim::Changes(Reach::Path),
            Weight::Small,
            move |id, path| {
                fs::set_times(path, modified).map_err(|error| errors::file(&error))?;
                Ok(reply(id, &Empty {}))
            },
        ))
    }

    /// Runs `work` on a path: in place when it is small and nothing is in the way, else in turn.
    fn on_path(
        &mut self,
        id: RequestId,
        path: PathBuf,
        claim: Claim,
        weight: Weight,
        work: impl FnOnce(&RequestId, &Path) -> Outcome + Send + 'static,
    ) -> Answer {
        let access = claim.on(&path);
        if weight == Weight::Small
            && self.paths.is_free(&access)
            && let Some(_permission) = self.in_place()
        {
            return Answer::Now(settle(&id, work(&id, &path)));
        }
        let ticket = self.next_ticket();
        let admit = self.paths.admit(ticket, access);
        self.in_turn(ticket, admit, Job::new(id, move |id| work(id, &path)))
    }
}

/// Content in base64, decoded in pieces while it is used.
struct Encoded {
    text: Member,
    len: u64,
}

impl Encoded {
    fn new(message: &Text, base64: Cow<'_, str>) -> Encoded {
        Encoded {
            len: decoded_len(&base64) as u64,
            text: Member::of(message, base64),
        }
    }
}

impl fs::Content for Encoded {
    fn size(&self) -> u64 {
        self.len
    }

    fn visit(&self, visit: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let text = self.text.text().ok_or(io::ErrorKind::InvalidData)?;
        frame::visit_base64(text, visit).ok_or(io::ErrorKind::InvalidData)?
    }

    fn is_sound(&self) -> bool {
        self.text.text().is_some_and(frame::is_base64)
    }
}

/// A file that was opened in place.
enum Begun {
    /// Small enough to be read there too, or its beginning was.
    Answer(Reply),
    Large(ReadFile),
}

fn open(path: &Path, links: Links) -> Result<ReadFile, RpcError> {
    fs::open_file(path, links, READ_FILE_BYTES_MAX).map_err(|error| errors::file(&error))
}

/// Reads a file on the pool, after whatever it takes to have it open.
fn read_job(
    id: RequestId,
    path: PathBuf,
    opened: impl FnOnce(&Path) -> Result<ReadFile, RpcError> + Send + 'static,
) -> Job {
    Job::large(id, move |id, place| {
        let file = opened(&path)?;
        content::answer(id, path, file, place).map_err(|error| errors::file(&error))
    })
}

/// The path of a call that has no other parameters, and whether links are followed.
fn place(params: &PathParams) -> Result<(PathBuf, Links), RpcError> {
    sandbox::unconfined(params.sandbox.as_ref())?;
    Ok((host(&params.path)?, links(params.follow_symlinks)))
}

pub(super) fn host(path: &PathUri) -> Result<PathBuf, RpcError> {
    path.to_host().map_err(|error| errors::path(&error))
}

fn links(follow: bool) -> Links {
    if follow { Links::Follow } else { Links::Refuse }
}

/// How many bytes a text of base64 stands for, if it is one.
fn decoded_len(base64: &str) -> usize {
    let padding = base64
        .bytes()
        .rev()
        .take(2)
        .filter(|byte| *byte == b'=')
        .count();
    (base64.len() / 4 * 3).saturating_sub(padding)
}

fn bad_data() -> RpcError {
    errors::file_base64("dataBase64")
}
