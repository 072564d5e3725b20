//! Asks a function of the user's for passwords: the questions, and the answers.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use napi_derive::napi;
use parking_lot::Mutex;
use pglisten_core::connect::password::{AskPassword, PasswordFailure, PasswordSource};
use tokio::sync::oneshot;

use super::bridge::{Bridge, BridgeHandle};
use super::finalize::contained_finalizer;

type Answer = Result<String, PasswordFailure>;

/// How the function failed.
#[napi(string_enum = "camelCase")]
pub enum NativePasswordFailure {
    Threw,
    NoString,
}

impl From<NativePasswordFailure> for PasswordFailure {
    fn from(failure: NativePasswordFailure) -> Self {
        match failure {
            NativePasswordFailure::Threw => Self::Threw,
            NativePasswordFailure::NoString => Self::NoString,
        }
    }
}

#[derive(Default)]
struct Questions {
    last: u32,
    /// Those that JavaScript has not taken yet.
    new: Vec<u32>,
    waiting: HashMap<u32, oneshot::Sender<Answer>>,
}

/// The questions for the passwords of one pool, in the environment to which its function belongs.
#[napi(custom_finalize)]
pub struct NativePasswordQuestions {
    questions: Arc<Mutex<Questions>>,
    /// Where the core asks. All configurations have the same one, so that equal ones may share a session.
    source: PasswordSource,
}

contained_finalizer!(NativePasswordQuestions);

#[napi]
impl NativePasswordQuestions {
    /// `signal` is the id of the consumer that is told of new questions.
    #[napi(constructor, catch_unwind)]
    pub fn new(bridge: &Bridge, signal: u32) -> Self {
        let questions = Arc::default();
        let source = PasswordSource::new(Asker {
            bridge: bridge.handle(),
            signal,
            questions: Arc::clone(&questions),
        });
        Self { questions, source }
    }

    /// The questions since the last call.
    #[napi(catch_unwind)]
    pub fn take(&self) -> Vec<u32> {
        std::mem::take(&mut self.questions.lock().new)
    }

    /// Answers a question: with a password, or with what went wrong.
    #[napi(catch_unwind)]
    pub fn answer(
        &self,
        question: u32,
        password: Option<String>,
        #[napi(ts_arg_type = "`${NativePasswordFailure}` | null")] failure: Option<
            NativePasswordFailure,
        >,
    ) {
        let asker = self.questions.lock().waiting.remove(&question);
        let failure = failure.map_or(PasswordFailure::NoString, Into::into);
        if let Some(asker) = asker {
            // Nobody may be waiting any more.
            let _ = asker.send(password.ok_or(failure));
        }
    }
}

impl NativePasswordQuestions {
    /// Where the core asks.
    pub(crate) fn source(&self) -> PasswordSource {
        self.source.clone()
    }
}

struct Asker {
    bridge: BridgeHandle,
    /// The id of the consumer that is told of new questions.
    signal: u32,
    questions: Arc<Mutex<Questions>>,
}

impl AskPassword for Asker {
    fn ask(&self) -> BoxFuture<'static, Answer> {
        let (sender, answer) = oneshot::channel();
        let asked = {
            let mut questions = self.questions.lock();
            questions.last = questions.last.wrapping_add(1);
            let question = questions.last;
            questions.new.push(question);
            questions.waiting.insert(question, sender);
            Asked {
                question,
                questions: Arc::clone(&self.questions),
            }
        };
        self.bridge.signal(self.signal);
        let ended = self.bridge.ended();
        async move {
            let _asked = asked;
            match ended.run_until_cancelled(answer).await {
                Some(Ok(answer)) => answer,
                Some(Err(_)) | None => Err(PasswordFailure::Gone),
            }
        }
        .boxed()
    }
}

/// A question that was asked. Dropping it takes it back.
struct Asked {
    question: u32,
    questions: Arc<Mutex<Questions>>,
}

impl Drop for Asked {
    fn drop(&mut self) {
        let mut questions = self.questions.lock();
        questions.waiting.remove(&self.question);
        let question = self.question;
        questions.new.retain(|new| *new != question);
    }
}
