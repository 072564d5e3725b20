//! Large results, which cross in parts.

use std::pin::Pin;
use std::sync::Arc;

use futures_channel::mpsc;
use futures_util::StreamExt as _;
use napi_derive::napi;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use super::NativeQueryOutput;
use crate::binding::bridge::BridgeHandle;
use crate::binding::finalize::contained_finalizer;
use pglisten_core::base::error::{Error, ErrorKind, Result};
use pglisten_core::base::panic::contained_future;
use pglisten_core::query::statements::QueryOutput;

/// The rows that follow a part of a result.
#[napi(custom_finalize)]
pub struct NativeRest {
    bridge: BridgeHandle,
    coming: Arc<Mutex<Coming>>,
}

contained_finalizer!(NativeRest);

struct Coming {
    parts: mpsc::UnboundedReceiver<QueryOutput>,
    /// The last part; `None` once it was taken.
    last: Option<Last>,
}

enum Last {
    Here(Result<QueryOutput>),
    Running(JoinHandle<Result<Result<QueryOutput>>>),
}

impl Coming {
    /// The next part, and whether others follow.
    async fn next(&mut self) -> Result<(QueryOutput, bool)> {
        if let Some(part) = self.parts.next().await {
            return Ok((part, true));
        }
        let last = match self.last.take() {
            Some(Last::Here(last)) => last,
            Some(Last::Running(task)) => match task.await {
                Ok(outcome) => outcome.and_then(|last| last),
                Err(error) => Err(Error::new(ErrorKind::Internal, error.to_string())),
            },
            None => Err(Error::new(ErrorKind::Internal, "the result has ended")),
        };
        last.map(|last| (last, false))
    }
}

#[napi]
impl NativeRest {
    /// Resolves to the next part, a `NativeQueryOutput`. The next call comes after that.
    #[napi(catch_unwind)]
    pub fn next(&self, promise: u32) {
        let coming = Arc::clone(&self.coming);
        let bridge = self.bridge.clone();
        // On this thread, as far as it goes: mostly a part waits.
        self.bridge.begin(promise, async move {
            let (part, has_more) = coming.lock().await.next().await?;
            let rest = has_more.then(|| Self { bridge, coming });
            Ok(NativeQueryOutput::part(part, rest))
        });
    }
}

/// The whole result of a statement, or its first part.
pub(crate) async fn first_part(
    bridge: BridgeHandle,
    mut output: Pin<Box<impl Future<Output = Result<QueryOutput>> + Send + 'static>>,
    mut parts: mpsc::UnboundedReceiver<QueryOutput>,
) -> Result<NativeQueryOutput> {
    let (first, last) = tokio::select! {
        biased;
        last = &mut output => match parts.try_recv() {
            Ok(first) => (first, Last::Here(last)),
            Err(_) => return Ok(NativeQueryOutput::part(last?, None)),
        },
        Some(first) = parts.next() => {
            let task = tokio::spawn(contained_future("a task of pglisten", output));
            (first, Last::Running(task))
        }
    };
    let coming = Arc::new(Mutex::new(Coming {
        parts,
        last: Some(last),
    }));
    let rest = NativeRest { bridge, coming };
    Ok(NativeQueryOutput::part(first, Some(rest)))
}
