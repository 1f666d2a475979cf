//! What an executor has to withstand (`security` sections 4 and 5), seen from outside.
//!
//! Each test attacks an executor of its own and, beside it, asks as somebody else whether he is
//! served as before.

mod floods;
mod http;
mod limits;
mod memory;
mod messages;
mod sessions;
mod strangers;

use anyhow::{Result, ensure};
use farstep_integration::Wire;
use serde_json::{Value, json};

const MIB: u64 = 1024 * 1024;

/// Somebody else, who notices nothing.
async fn is_served(wire: &mut Wire) -> Result<()> {
    let status = wire.done("environment/status", Value::Null).await?;
    ensure!(status == json!({"status": "ready"}));
    Ok(())
}
