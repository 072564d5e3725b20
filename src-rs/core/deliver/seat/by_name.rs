//! A map of channels by their names that allocates nothing for a single one: most of thousands of listeners have no other.

use hashbrown::HashMap;
use smol_str::SmolStr;

/// Values by the name of a channel. Names of up to 23 bytes stand in the map itself, which saves a look into memory for each.
#[derive(Debug)]
pub(super) enum ByName<V> {
    /// At most one.
    Few(Option<(SmolStr, V)>),
    /// Made for the second one, and kept from then on.
    Many(Box<HashMap<SmolStr, V>>),
}

impl<V> Default for ByName<V> {
    fn default() -> Self {
        Self::Few(None)
    }
}

impl<V> ByName<V> {
    pub(super) fn get(&self, name: &str) -> Option<&V> {
        match self {
            Self::Few(Some((only, value))) if only == name => Some(value),
            Self::Few(_) => None,
            Self::Many(map) => map.get(name),
        }
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut V> {
        match self {
            Self::Few(Some((only, value))) if only == name => Some(value),
            Self::Few(_) => None,
            Self::Many(map) => map.get_mut(name),
        }
    }

    /// The value of a name, made when there is none.
    pub(super) fn get_or_insert_with(&mut self, name: &str, make: impl FnOnce() -> V) -> &mut V {
        if let Self::Few(few) = self
            && few.as_ref().is_some_and(|(only, _)| only != name)
        {
            *self = Self::Many(Box::new(few.take().into_iter().collect()));
        }
        match self {
            Self::Few(few) => &mut few.get_or_insert_with(|| (name.into(), make())).1,
            Self::Many(map) => map.entry_ref(name).or_insert_with(make),
        }
    }

    pub(super) fn remove(&mut self, name: &str) {
        match self {
            Self::Few(few) => drop(few.take_if(|(only, _)| only == name)),
            Self::Many(map) => drop(map.remove(name)),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&SmolStr, &V)> {
        let (few, many) = match self {
            Self::Few(few) => (few.as_ref(), None),
            Self::Many(map) => (None, Some(map.iter())),
        };
        let few = few.map(|(name, value)| (name, value));
        few.into_iter().chain(many.into_iter().flatten())
    }
}

impl FromIterator<String> for ByName<()> {
    fn from_iter<I: IntoIterator<Item = String>>(names: I) -> Self {
        let mut all = Self::default();
        for name in names {
            all.get_or_insert_with(&name, || ());
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names<V>(all: &ByName<V>) -> Vec<&str> {
        let mut names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn one_name_or_many_are_found_by_their_whole_names() {
        let mut all = ByName::default();
        assert_eq!(all.get("a"), None);
        for round in [1, 10] {
            *all.get_or_insert_with("a", || 0) += round;
            assert_eq!(all.get("a"), Some(&round), "only one");
            assert_eq!(all.get("aa"), None);
            *all.get_or_insert_with("aa", || 0) += 2 * round;
            assert_eq!(names(&all), ["a", "aa"]);
            *all.get_mut("a").expect("an entry") += 1;
            assert_eq!(
                (all.get("a"), all.get("aa")),
                (Some(&(round + 1)), Some(&(2 * round)))
            );
            all.remove("b");
            all.remove("a");
            assert_eq!(names(&all), ["aa"]);
            all.remove("aa");
            assert!(names(&all).is_empty() && all.get_mut("aa").is_none());
        }
    }

    #[test]
    fn a_single_name_that_is_removed_makes_room_for_another() {
        let mut all = ByName::from_iter(["a".to_owned(), "a".to_owned()]);
        assert!(matches!(all, ByName::Few(Some(_))));
        all.remove("b");
        assert_eq!(names(&all), ["a"]);
        all.remove("a");
        all.get_or_insert_with("b", || ());
        assert!(matches!(all, ByName::Few(Some(_))));
        assert_eq!(names(&all), ["b"]);
    }
}
