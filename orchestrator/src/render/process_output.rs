//! What a process somewhere says, on its way to us.

use bytes::Bytes;
use farstep_environments::OutputStream;
use serde_json::json;

use super::{Outputs, print_json_line};

/// Output that was not kept for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    Bytes(u64),
    /// So many pieces, when we do not know what came before our first one.
    Pieces(u64),
}

/// Where it goes: byte for byte to our outputs, or as one JSON object a line.
#[derive(Debug)]
pub enum ProcessOutput {
    Text(Outputs),
    Json,
}

impl ProcessOutput {
    /// `raw` trusts the far side with our terminal; `lent` does so with most of it.
    pub fn new(json: bool, raw: bool, lent: bool) -> ProcessOutput {
        match json {
            true => ProcessOutput::Json,
            false => ProcessOutput::Text(Outputs::new(raw, lent)),
        }
    }

    pub async fn write(
        &mut self,
        stream: OutputStream,
        bytes: Bytes,
        seq: Option<u64>,
    ) -> std::io::Result<()> {
        let outputs = match self {
            ProcessOutput::Text(outputs) => outputs,
            ProcessOutput::Json => {
                let mut line = json!({
                    "type": "output",
                    "stream": stream.name(),
                    "dataBase64": base64_simd::STANDARD.encode_to_string(&bytes),
                });
                if let Some(seq) = seq {
                    line["seq"] = seq.into();
                }
                return print_json_line(&line);
            }
        };
        outputs.write(stream, bytes).await
    }

    /// Tells programs of a gap; what people are to be told is returned, for when they can read it.
    pub fn dropped(&self, dropped: Dropped) -> std::io::Result<Option<String>> {
        let (bytes, pieces) = match dropped {
            Dropped::Bytes(bytes) => (Some(bytes), None),
            Dropped::Pieces(pieces) => (None, Some(pieces)),
        };
        if let ProcessOutput::Json = self {
            let line = json!({"type": "dropped", "bytes": bytes, "pieces": pieces});
            return print_json_line(&line).map(|()| None);
        }
        let what = match dropped {
            Dropped::Bytes(bytes) => format!("{bytes} bytes"),
            Dropped::Pieces(pieces) => format!("{pieces} pieces"),
        };
        Ok(Some(format!(
            "farstep: {what} of output are gone here: only so much is kept"
        )))
    }

    /// What was held back, and how it ended.
    pub async fn finish(&mut self, exit_code: Option<i64>) -> std::io::Result<()> {
        match (self, exit_code) {
            (ProcessOutput::Text(outputs), _) => outputs.finish().await,
            (ProcessOutput::Json, Some(code)) => {
                print_json_line(&json!({"type": "exited", "exitCode": code}))
            }
            (ProcessOutput::Json, None) => Ok(()),
        }
    }
}
