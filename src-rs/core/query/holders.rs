//! Who holds the connections of a pool, for the error of those who find none free.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

/// The most kinds of holders that a text names.
const MOST_NAMED: usize = 5;

/// How many connections each kind of holder has.
#[derive(Debug, Default)]
pub(crate) struct Holders(Mutex<BTreeMap<String, usize>>);

/// A connection is held. Dropping it takes the holder off.
#[derive(Debug)]
pub(crate) struct Held {
    holders: Arc<Holders>,
    name: String,
}

impl Holders {
    /// Enters a holder.
    pub(crate) fn enter(holders: &Arc<Self>, name: String) -> Held {
        *holders.0.lock().entry(name.clone()).or_default() += 1;
        Held {
            holders: Arc::clone(holders),
            name,
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut holders = self.holders.0.lock();
        if let Some(count) = holders.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                holders.remove(&self.name);
            }
        }
    }
}

impl fmt::Display for Holders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let holders = self.0.lock();
        let mut most: Vec<_> = holders.iter().collect();
        most.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        for (index, (name, count)) in most.iter().take(MOST_NAMED).enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{name} ({count})")?;
        }
        match most.len() {
            0 => f.write_str("nobody"),
            all if all > MOST_NAMED => write!(f, " and {} others", all - MOST_NAMED),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_with_the_most_come_first_and_those_who_left_are_not_named() {
        let holders = Arc::new(Holders::default());
        assert_eq!(holders.to_string(), "nobody");
        let enter = |name: &str| Holders::enter(&holders, name.to_owned());
        let kept = [enter("a"), enter("b"), enter("b")];
        drop(enter("c"));
        assert_eq!(holders.to_string(), "b (2), a (1)");
        let more = ["d", "e", "f", "g"].map(enter);
        assert_eq!(
            holders.to_string(),
            "b (2), a (1), d (1), e (1), f (1) and 1 others"
        );
        drop((kept, more));
        assert_eq!(holders.to_string(), "nobody");
    }
}
