//! `farstep cat`: what files hold, byte for byte.

use std::io::IsTerminal as _;
use std::sync::Arc;

use farstep_environments::fs::OpenMode;
use farstep_environments::{BLOCK_BYTES_MAX, Block};
use farstep_path_uri::PathUri;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesOrdered;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use super::error::FileCause;
use super::far::Far;
use super::file::FarFile;
use super::{in_world, with_each};
use crate::cli::CatArgs;
use crate::render::{self, Failure, TerminalFilter};
use crate::setup::Surroundings;

const OPERATION: &str = "show";

/// Blocks that are asked for before the first of them is there: enough for a long way, and little
/// enough to be kept.
const AHEAD: u64 = 8;

/// Runs the command and gives its exit code.
pub async fn cat(args: CatArgs, surroundings: &Surroundings) -> Result<u8, Failure> {
    let CatArgs {
        places,
        environment,
        raw,
        json,
    } = args;
    let mut output = Output {
        to: tokio::io::stdout(),
        filter: (std::io::stdout().is_terminal() && !raw).then(TerminalFilter::default),
        json,
    };
    in_world(surroundings, environment, async |world| {
        let code = with_each(&places, json, async |place| {
            let (far, path) = world.find(OPERATION, place).await?;
            show(&far, &path, &mut output).await
        })
        .await?;
        output.finish().await.map_err(Failure::Output)?;
        Ok(code)
    })
    .await
}

async fn show(far: &Arc<Far>, path: &PathUri, output: &mut Output) -> Result<(), Failure> {
    let failed = |cause: FileCause| Failure::from(cause.of(OPERATION, far.show(path)));
    let file = match FarFile::open(far, path, OpenMode::Read, None).await {
        Ok(file) => file,
        Err(cause) => return Err(failed(explain(far, path, cause).await)),
    };
    let mut reads = FuturesOrdered::new();
    let (mut asked, mut ahead) = (0, 1);
    loop {
        while reads.len() < ahead {
            reads.push_back(file.read(asked, BLOCK_BYTES_MAX));
            asked += BLOCK_BYTES_MAX as u64;
        }
        let Some(block) = reads.next().await else {
            break;
        };
        let block = block.map_err(failed)?;
        let is_last = block.len() < BLOCK_BYTES_MAX;
        output
            .write(far, path, block)
            .await
            .map_err(Failure::Output)?;
        if is_last {
            break;
        }
        // What has one more block may have many.
        ahead = AHEAD as usize;
    }
    drop(reads);
    file.close().await;
    Ok(())
}

/// Why a file cannot be opened is known best by who looks.
async fn explain(far: &Far, path: &PathUri, cause: FileCause) -> FileCause {
    let look = async |to: &farstep_environments::Executor| to.metadata(path).await;
    match (&cause, far.call(look).await) {
        (FileCause::Refused(_), Ok(found)) if found.is_directory => FileCause::IsDirectory,
        (FileCause::Refused(_), Ok(found)) if !found.is_file => FileCause::Special,
        _ => cause,
    }
}

struct Output {
    to: tokio::io::Stdout,
    /// A terminal is steered by what it shows, so it gets the visible form only.
    filter: Option<TerminalFilter>,
    /// Blocks become objects.
    json: bool,
}

impl Output {
    async fn write(&mut self, far: &Far, path: &PathUri, block: Block) -> std::io::Result<()> {
        let bytes = match block {
            Block::Bytes(bytes) => bytes,
            Block::Zeros(count) => vec![0; count].into(),
        };
        if self.json {
            let data = base64_simd::STANDARD.encode_to_string(&bytes);
            let line = json!({"place": far.show(path), "dataBase64": data});
            return render::print_json_line(&line);
        }
        match &mut self.filter {
            Some(filter) => self.to.write_all(filter.pass(&bytes).as_bytes()).await,
            None => self.to.write_all(&bytes).await,
        }
    }

    async fn finish(&mut self) -> std::io::Result<()> {
        if let Some(filter) = &mut self.filter {
            self.to.write_all(filter.finish().as_bytes()).await?;
        }
        self.to.flush().await
    }
}
