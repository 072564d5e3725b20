//! The parameters that a server reports of itself and of the session, such as its version and time zone.

use std::collections::BTreeMap;

/// The most parameters that are kept. PostgreSQL 18 reports 15; a server that reports more has its further names left out.
const MOST: usize = 64;

/// The longest name and the longest value that are kept, in bytes. A longer value is cut, a longer name is left out.
const LONGEST: usize = 1024;

/// The parameters that a server has reported, each with its latest value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parameters(BTreeMap<String, String>);

impl Parameters {
    /// The value of a parameter; `None` when the server has not reported it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The names with their values, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.0.iter();
        pairs.map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Keeps what a server has reported, within the bounds: what it reports is not ours to choose.
    pub(super) fn set(&mut self, name: String, mut value: String) {
        let is_new = !self.0.contains_key(&name);
        if name.len() > LONGEST || (is_new && self.0.len() >= MOST) {
            return;
        }
        if value.len() > LONGEST {
            let fits = |end: &usize| value.is_char_boundary(*end);
            value.truncate((0..=LONGEST).rev().find(fits).unwrap_or(0));
        }
        self.0.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_reports_without_end_takes_a_bounded_memory() {
        let mut parameters = Parameters::default();
        for number in 0..1000 {
            parameters.set(format!("name_{number:04}"), "é".repeat(10_000));
        }
        parameters.set("x".repeat(LONGEST + 1), String::new());
        assert_eq!(parameters.iter().count(), MOST);
        assert!(parameters.iter().all(|(_, value)| value.len() == LONGEST));
        parameters.set("name_0000".to_owned(), "later".to_owned());
        assert_eq!(parameters.get("name_0000"), Some("later"));
        assert_eq!(parameters.get("name_0999"), None);
    }
}
