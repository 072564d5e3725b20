//! Conditions on notifications, judged at arrival: whoever asks for few of many need not see the others.

mod glob;
mod json;

use glob::Glob;
pub use json::{JsonCondition, Scalar};

/// A condition on notifications. A part that is not given is met by every notification; all parts that are given have to be met.
#[derive(Debug, PartialEq)]
pub struct Filter {
    channels: Option<Box<[Glob]>>,
    prefix: Option<Box<str>>,
    json: Option<JsonCondition>,
}

impl Filter {
    /// A condition: the channel's name matches one of the patterns, the payload starts with the prefix, and `json` holds for it or
    /// it is no JSON.
    #[must_use]
    pub fn new(
        channels: Option<Vec<String>>,
        prefix: Option<String>,
        json: Option<JsonCondition>,
    ) -> Self {
        let globs =
            |patterns: Vec<String>| patterns.iter().map(|pattern| Glob::new(pattern)).collect();
        Self {
            channels: channels.map(globs),
            prefix: prefix.map(String::into_boxed_str),
            json,
        }
    }

    /// Whether the part on channels is met.
    pub(super) fn selects(&self, channel: &str) -> bool {
        let Some(globs) = &self.channels else {
            return true;
        };
        globs.iter().any(|glob| glob.matches(channel))
    }

    /// Whether the parts on payloads are met. `nesting` is memory that is used again.
    pub(super) fn passes(&self, payload: &[u8], nesting: &mut Vec<u64>) -> bool {
        let prefix = self.prefix.as_deref().unwrap_or_default();
        if !payload.starts_with(prefix.as_bytes()) {
            return false;
        }
        let Some(json) = &self.json else { return true };
        json.holds(payload, nesting).unwrap_or(true)
    }
}
