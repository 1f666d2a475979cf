//! `farstep cp`: files and trees from one place to another.
//!
//! ```text
//!   places ─▶ what is where ─▶ tree (names checked) ─▶ directories ─▶ transfer, some at once
//!                                                                       │
//!        partial file ◀─ pump (blocks under way, bounded) ◀─ what is there already?
//!             └─▶ seal: digest equal? mode, then its name
//! ```
//!
//! A copy is written beside its destination under another name and takes its name when it is
//! whole and its SHA-256 that of what was read. What broke off is gone on with the next time.
//! Links are left out and told, or followed within a tree; none is ever made.

mod claim;
mod digest;
mod here;
mod left;
mod name;
mod pump;
mod root;
mod seal;
mod spot;
mod transfer;
mod tree;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use farstep_environments::Executor;
use farstep_path_uri::PathUri;
use futures_util::{StreamExt as _, stream};
use serde::Serialize;
use serde_json::json;
use tokio::sync::Semaphore;

use super::error::{FileCause, FileError};
use super::far::Far;
use super::place::Place;
use super::{INTERRUPTED, World, in_world};
use crate::cli::{CpArgs, Links, state_dir};
use crate::render::{self, Failure, Progress};
use crate::setup::Surroundings;
use claim::Claim;
use left::Shown;
use name::Name;
use pump::BUDGET;
use root::{Root, target};
use seal::Marks;
use spot::{Spot, What};
use transfer::{Copied, Source, Target, Transfer};
use tree::{Item, LeftOut, Tree, Why};

/// Files of a tree that are copied at once: most are small, and then the way there and back is
/// what takes time.
const FILES_AT_ONCE: usize = 8;

/// Runs the command and gives its exit code.
pub async fn cp(args: CpArgs, surroundings: &Surroundings) -> Result<u8, Failure> {
    let resume = !args.no_resume;
    let remembered = state_dir(surroundings.variable).map(|folder| folder.join("copies"));
    let work = async |world: &World<'_>| copy(world, args, remembered.as_deref()).await;
    let code = in_world(surroundings, None, work).await?;
    if code == INTERRUPTED && resume {
        render::note("farstep: interrupted; the same command goes on from here");
    }
    Ok(code)
}

async fn copy(world: &World<'_>, args: CpArgs, remembered: Option<&Path>) -> Result<u8, Failure> {
    let destination = Spot::find(world, "write", &args.destination).await?;
    if args.preserve
        && let Spot::There { far, .. } = &destination
        && !far.keeps_times()
    {
        return Err(FileCause::NoTimes.of("write", destination.shown()).into());
    }
    let claim = match &destination {
        Spot::Here { .. } => None,
        Spot::There { .. } => {
            let typed = args.sources.iter().map(|source| whole(world, source));
            let claim = Claim::take(remembered, &typed.collect::<Vec<_>>(), &destination.shown());
            Some(claim.map_err(|cause| cause.of("write", destination.shown()))?)
        }
    };
    let progress = Progress::new(!args.json);
    let expect = |bytes| progress.expect(bytes);
    let advance = |bytes| progress.advance(bytes);
    let copying = Copying {
        transfer: Transfer {
            resume: !args.no_resume,
            preserve: args.preserve,
            upload: claim.as_ref().map(|claim| claim.id().to_owned()),
            budget: Arc::new(Semaphore::new(BUDGET)),
            expect: &expect,
            advance: &advance,
        },
        recursive: args.recursive,
        links: args.links,
        json: args.json,
        progress: &progress,
        totals: std::cell::RefCell::default(),
        started: Instant::now(),
    };
    let into = destination.look().await;
    let into = into.map_err(|cause| cause.of("write", destination.shown()))?;
    if args.sources.len() > 1 && into != Some(What::Directory) {
        return Err(Failure::Usage(format!(
            "several things can only be copied into a directory, and `{}` is none",
            destination.shown()
        )));
    }
    for source in &args.sources {
        let source = Spot::find(world, "read", source).await?;
        match copying.one(&source, &destination, into).await {
            Err(Failure::File(error)) if error.cause.is_loss() => {
                progress.finish();
                return Err(error.into());
            }
            Err(Failure::File(error)) => copying.trouble(error)?,
            outcome => outcome?,
        }
    }
    progress.finish();
    copying.end()
}

/// A source as the same command names it again, wherever it is typed.
fn whole(world: &World<'_>, typed: &OsStr) -> String {
    match Place::parse(typed) {
        Place::Here(path) => {
            let whole = world.setup.cwd().join(path);
            whole.to_string_lossy().into_owned()
        }
        Place::There { environment, path } => format!("{environment}:{path}"),
    }
}

/// What all of one copy shares.
struct Copying<'a> {
    transfer: Transfer<'a>,
    recursive: bool,
    links: Links,
    json: bool,
    progress: &'a Progress,
    totals: std::cell::RefCell<Totals>,
    started: Instant,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Totals {
    files: u64,
    bytes: u64,
    failed: u64,
    /// Links, and what is neither a file nor a directory.
    left_out: u64,
    #[serde(skip)]
    shown_left_out: BTreeMap<Why, Shown>,
}

impl Copying<'_> {
    async fn one(
        &self,
        source: &Spot,
        destination: &Spot,
        into: Option<What>,
    ) -> Result<(), Failure> {
        if let (Spot::Here { .. }, Spot::Here { .. }) = (source, destination) {
            return Err(Failure::Usage(format!(
                "`{}` and `{}` are both on this machine; a place elsewhere is ENV:PATH",
                source.shown(),
                destination.shown()
            )));
        }
        self.progress.name(&source.shown());
        let reading = |cause: FileCause| cause.of("read", source.shown());
        let writing = |cause: FileCause| cause.of("write", destination.shown());
        let what = source.look().await.map_err(reading)?;
        let is_directory = match what {
            None => return Err(reading(FileCause::Missing).into()),
            Some(What::Special) => return Err(reading(FileCause::Special).into()),
            Some(What::Directory) if !self.recursive => {
                return Err(FileCause::IsDirectory.of("copy", source.shown()).into());
            }
            Some(what) => what == What::Directory,
        };
        match into {
            None if destination.must_be_directory() && !is_directory => {
                return Err(writing(FileCause::Missing).into());
            }
            Some(What::File) if is_directory || destination.must_be_directory() => {
                return Err(writing(FileCause::NotDirectory).into());
            }
            Some(What::Special) => return Err(writing(FileCause::Special).into()),
            _ => {}
        }
        let name = source.name().map_err(reading)?;
        let own = if into == Some(What::Directory) {
            name
        } else {
            None
        };
        if let (
            Spot::There {
                far, path: from, ..
            },
            Spot::There {
                far: other,
                path: to,
                ..
            },
        ) = (source, destination)
            && far.is_same(other)
        {
            let is_plain = !self.transfer.preserve && self.links == Links::Skip;
            let to = match &own {
                Some(name) => name.below(to).map_err(writing)?,
                None => to.clone(),
            };
            self.not_same(far, from, &to).await?;
            // It copies everything as it is, or nothing as it was.
            if is_plain {
                return self.within(far, from, &to).await;
            }
        }
        match is_directory {
            true => self.tree(source, destination, own).await,
            false => {
                let target = target(destination, own).await.map_err(writing)?;
                self.file(&source.source(), &target).await
            }
        }
    }

    /// Makes sure that two paths of one environment are not the same.
    async fn not_same(&self, far: &Far, from: &PathUri, to: &PathUri) -> Result<(), Failure> {
        // Some executors empty a file that is copied onto itself.
        let real = async |path| {
            far.call(async |at: &Executor| at.canonicalize(path).await)
                .await
        };
        let same = match (real(from).await, real(to).await) {
            (Ok(from), Ok(to)) => from.same_location(&to),
            _ => from.same_location(to),
        };
        match same {
            true => Err(FileCause::Same.of("write", far.show(to)).into()),
            false => Ok(()),
        }
    }

    /// From an environment to itself: its executor does it.
    async fn within(&self, far: &Arc<Far>, from: &PathUri, to: &PathUri) -> Result<(), Failure> {
        let failed = |cause: FileCause| Failure::from(cause.of("write", far.show(to)));
        let copied = far.call(async |at: &Executor| at.copy(from, to, self.recursive).await);
        copied.await.map_err(failed)?;
        self.totals.borrow_mut().files += 1;
        self.line(&json!({"source": far.show(from), "destination": far.show(to)}))
    }

    async fn file(&self, source: &Source, target: &Target) -> Result<(), Failure> {
        self.progress.name(&source.shown());
        let copied = self.transfer.copy(source, target).await?;
        let Copied {
            bytes,
            resumed_at,
            sha256,
        } = copied;
        {
            let mut totals = self.totals.borrow_mut();
            totals.files += 1;
            totals.bytes += bytes;
        }
        self.line(&json!({
            "source": source.shown(),
            "destination": target.shown(),
            "bytes": bytes,
            "resumedAt": resumed_at,
            "sha256": sha256,
        }))
    }

    async fn tree(
        &self,
        source: &Spot,
        destination: &Spot,
        own: Option<Name>,
    ) -> Result<(), Failure> {
        let reading = |cause: FileCause| cause.of("read", source.shown());
        let listed = match source {
            Spot::Here { path, .. } => {
                let (path, links) = (path.clone(), self.links);
                pump::blocking(move || tree::here(&path, links)).await
            }
            Spot::There { far, path, .. } => tree::there(far, path, self.links).await,
        };
        let Tree {
            items,
            troubles,
            left_out,
            ..
        } = listed.map_err(reading)?;
        for trouble in troubles {
            self.trouble(trouble)?;
        }
        self.leave_out(left_out)?;
        let root = Root::make(destination, own).await;
        let root = root.map_err(|cause| cause.of("write", destination.shown()))?;
        let marks = self.directories(source, &root, &items).await?;
        let files = items.iter().filter(|item| !item.is_directory);
        let mut copies = stream::iter(files)
            .map(|item| async {
                let from = source.source().below(&item.names)?;
                self.file(&from, &root.target(&item.names)?).await
            })
            .buffer_unordered(FILES_AT_ONCE);
        while let Some(copied) = copies.next().await {
            match copied {
                Err(Failure::File(error)) if !error.cause.is_loss() => self.trouble(error)?,
                outcome => outcome?,
            }
        }
        let set = root.set_marks(marks).await;
        Ok(set
            .map_err(|cause| cause.of("set modes and times of the directories in", root.shown()))?)
    }

    /// Makes the directories of a tree, and gives those that are new with what they are to be like
    /// when everything is in them, deepest first; all of them when they are to be as they were.
    async fn directories(
        &self,
        source: &Spot,
        root: &Root,
        items: &[Item],
    ) -> Result<Vec<(Vec<Name>, Marks)>, Failure> {
        let mut marks = Vec::new();
        let mut new = Vec::new();
        let all = self.transfer.preserve;
        if root.is_new() || all {
            new.push(Vec::new());
        }
        // Those of one depth at once: the ones above are there by then.
        let mut folders: Vec<&Item> = items.iter().filter(|item| item.is_directory).collect();
        folders.sort_by_key(|item| item.names.len());
        for level in folders.chunk_by(|a, b| a.names.len() == b.names.len()) {
            let mut made = stream::iter(level)
                .map(|item| async move { (item, root.make_below(&item.names).await) })
                .buffer_unordered(FILES_AT_ONCE);
            while let Some((item, made)) = made.next().await {
                match made {
                    Ok(is_new) if is_new || all => new.push(item.names.clone()),
                    Ok(_) => {}
                    Err(cause) => {
                        let error = cause.of("make the directory", root.shown_below(&item.names));
                        match error.cause.is_loss() {
                            true => return Err(error.into()),
                            false => self.trouble(error)?,
                        }
                    }
                }
            }
        }
        for names in new {
            if let Some(mut found) = source.source().below(&names)?.marks_of_directory().await {
                found.modified = found.modified.filter(|_| all);
                marks.push((names, found));
            }
        }
        marks.sort_by_key(|(names, _)| std::cmp::Reverse(names.len()));
        Ok(marks)
    }

    fn leave_out(&self, left_out: Vec<LeftOut>) -> Result<(), Failure> {
        for LeftOut { place, why } in left_out {
            self.line(&json!({"source": place, "leftOut": why}))?;
            let mut totals = self.totals.borrow_mut();
            totals.left_out += 1;
            totals.shown_left_out.entry(why).or_default().add(place);
        }
        Ok(())
    }

    /// Tells what went wrong with one file, and goes on.
    fn trouble(&self, error: FileError) -> Result<(), Failure> {
        self.totals.borrow_mut().failed += 1;
        self.line(&json!({"place": error.place, "error": error.to_string()}))?;
        self.progress
            .beside(|| render::report(&Failure::File(error)));
        Ok(())
    }

    fn line(&self, value: &serde_json::Value) -> Result<(), Failure> {
        match self.json {
            true => render::print_json_line(value).map_err(Failure::Output),
            false => Ok(()),
        }
    }

    fn end(&self) -> Result<u8, Failure> {
        let totals = self.totals.borrow();
        for (why, shown) in totals.shown_left_out.iter().filter(|_| !self.json) {
            render::note(&shown.told(*why));
        }
        let mut line = json!(&*totals);
        line["milliseconds"] = json!(self.started.elapsed().as_millis() as u64);
        self.line(&line)?;
        Ok(u8::from(totals.failed > 0))
    }
}
