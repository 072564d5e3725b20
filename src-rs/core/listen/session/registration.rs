//! Whether the server still listens to all that it has listened to for us.
//!
//! A session can live on without its LISTENs: `UNLISTEN` and `DISCARD ALL` on `listener.connection` end them, and so does a pooler
//! that resets its connections. So the server is asked what it listens to, in the round trip of each heartbeat and before each
//! fence. Its answer is a digest of the names, which it has computed itself once before: we never have to compute one, and no list
//! of names crosses unless the digest is another.

use std::collections::HashSet;
use std::fmt::Write as _;

use smol_str::SmolStr;

use super::{CHUNK, Session, listen, quote_literal};
use crate::base::error::{Error, ErrorKind, Result};
use crate::protocol::TextRow;

/// The digest: how many channels there are, and the sum of the hashes of their names, which is the same in any order.
const DIGEST: &str = "SELECT pg_catalog.concat(pg_catalog.count(*), ' ', \
     pg_catalog.sum(pg_catalog.hashtextextended(channel, 0))) AS digest \
     FROM pg_catalog.pg_listening_channels() AS channel";

/// Rows of two columns: one with the digest, and one for each channel.
pub(super) const LISTING: &str = "SELECT 'digest', pg_catalog.concat(pg_catalog.count(*), ' ', \
     pg_catalog.sum(pg_catalog.hashtextextended(channel, 0))) \
     FROM pg_catalog.pg_listening_channels() AS channel UNION ALL \
     SELECT 'channel', channel FROM pg_catalog.pg_listening_channels() AS channel";

/// A row with the start of the postmaster, in a form that no setting of a session changes, before the rows of [`LISTING`].
const STARTED: &str = "SELECT 'started', pg_catalog.to_char(pg_catalog.timezone('UTC', pg_catalog.pg_postmaster_start_time()), \
     'YYYY-MM-DD HH24:MI:SS.US') UNION ALL ";

/// How often fences are tried again when what the server listens to is another set each time.
const MOST_CHANGES: usize = 4;

/// How many names of channels that are gone a message tells.
const NAMES_TOLD: usize = 3;

impl Session {
    /// Asks whether the server still listens to every channel. Others, to which the user listens beside us, are welcome.
    /// `false`: it cannot be told, as a transaction of the user's is open, or their statements leave no moment in `tries`.
    pub(super) async fn check_registration(&mut self, tries: usize) -> Result<bool> {
        if let Some(expected) = &self.digest {
            let query = self.signed(DIGEST, self.applied.len().saturating_sub(1));
            let Some(rows) = self.client.query_outside_block(&query, tries).await? else {
                return Ok(false);
            };
            if rows.first().and_then(|row| row.get(0)) == Some(expected) {
                return Ok(true);
            }
        }
        let query = self.signed(LISTING, self.applied.len().saturating_sub(1));
        let Some(rows) = self.client.query_outside_block(&query, tries).await? else {
            return Ok(false);
        };
        let (digest, listened) = read_listing(&rows);
        let mut missing: Vec<&str> = self.applied.iter().map(SmolStr::as_str).collect();
        missing.retain(|channel| !listened.contains(channel));
        if missing.is_empty() {
            self.digest = digest;
            return Ok(true);
        }
        missing.retain(|channel| *channel != self.place.fence_channel());
        missing.sort_unstable();
        let error = Error::new(
            ErrorKind::Closed,
            unregistered(&missing, self.applied.len().saturating_sub(1)),
        );
        self.place.warn(error.message.clone());
        Err(error)
    }

    /// A query behind a comment that tells in `pg_stat_activity` whom the session serves.
    pub(super) fn signed(&self, query: &str, channels: usize) -> String {
        let listeners = self.place.seats();
        let names = self.place.label().map(|it| it + "; ").unwrap_or_default();
        format!("/* pglisten: {names}{listeners} listeners, {channels} channels */ {query}")
    }

    /// Notifies fences or probes on the private channel, but only if the server still listens to every channel: both are one
    /// statement, so that none comes back from a session that has lost what was committed before. `false`: as with
    /// [`Session::check_registration`].
    pub(super) async fn notify_registered(&mut self, ids: &[u32], tries: usize) -> Result<bool> {
        for _ in 0..MOST_CHANGES {
            if self.digest.is_none() && !self.check_registration(tries).await? {
                return Ok(false);
            }
            let Some(digest) = &self.digest else { continue };
            let query = notify_if(self.place.fence_channel(), ids, digest);
            let query = self.signed(&query, self.applied.len().saturating_sub(1));
            match self.client.query_outside_block(&query, tries).await? {
                None => return Ok(false),
                Some(rows) if !rows.is_empty() => return Ok(true),
                Some(_) => self.digest = None,
            }
        }
        Err(Error::new(
            ErrorKind::Execute,
            "the channels to which listener.connection listens change all the time",
        ))
    }
}

/// The digest of a listing, and its channels.
pub(super) fn read_listing(rows: &[TextRow]) -> (Option<String>, HashSet<&str>) {
    let mut digest = None;
    let mut channels = HashSet::new();
    for row in rows {
        match (row.get(0), row.get(1)) {
            (Some("digest"), said) => digest = said.map(ToOwned::to_owned),
            (Some("channel"), Some(channel)) => drop(channels.insert(channel)),
            _ => {}
        }
    }
    (digest, channels)
}

/// One statement that notifies each of `ids`, with a row for each, if the digest is the expected one.
fn notify_if(channel: &str, ids: &[u32], digest: &str) -> String {
    let mut values = String::new();
    for id in ids {
        let comma = if values.is_empty() { "" } else { "," };
        let _ = write!(values, "{comma}('{id}')");
    }
    let (channel, digest) = (quote_literal(channel), quote_literal(digest));
    format!(
        "SELECT pg_catalog.pg_notify({channel}, id) FROM ({DIGEST}) AS listened, (VALUES {values}) AS fence (id) \
         WHERE digest OPERATOR(pg_catalog.=) {digest}"
    )
}

/// What a user is told of channels that the server no longer listens to.
fn unregistered(missing: &[&str], of: usize) -> String {
    const WHY: &str = "although the session lives: UNLISTEN or DISCARD ALL was run on it (listener.connection), or a pooler has \
                       reset it; the listener connects again";
    if missing.is_empty() {
        return format!("the server no longer listens to the channel of fences, {WHY}");
    }
    let mut names = String::new();
    for name in missing.iter().take(NAMES_TOLD) {
        let comma = if names.is_empty() { "" } else { ", " };
        let _ = write!(names, "{comma}`{name}`");
    }
    if missing.len() > NAMES_TOLD {
        names.push_str(", …");
    }
    format!(
        "the server no longer listens to {} of {of} channels ({names}), {WHY}",
        missing.len()
    )
}

/// The statements that LISTEN on channels, each in a transaction of its own, so that all of its LISTENs are committed or none. The
/// last of them also asks what the server says of itself and of all the channels that it listens to then.
pub(super) fn listen_first(channels: &[&str]) -> Vec<String> {
    let mut queries: Vec<String> = channels
        .chunks(CHUNK)
        .map(|chunk| {
            let mut query = String::from("BEGIN;");
            for channel in chunk {
                query.push_str(&listen(channel));
            }
            query.push_str("COMMIT;");
            query
        })
        .collect();
    if let Some(last) = queries.last_mut() {
        last.push_str(STARTED);
        last.push_str(LISTING);
    }
    queries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fences_are_one_statement_with_the_check() {
        let query = notify_if("f", &[1, 2], "3 -7");
        assert!(query.contains("pg_notify('f', id)"), "{query}");
        assert!(query.contains("(VALUES ('1'),('2'))"), "{query}");
        assert!(
            query.ends_with("WHERE digest OPERATOR(pg_catalog.=) '3 -7'"),
            "{query}"
        );
        assert!(!query.contains(';'), "{query}");
    }

    #[test]
    fn what_is_gone_is_told_by_name_as_far_as_it_fits() {
        assert!(unregistered(&["a", "b"], 5).starts_with(
            "the server no longer listens to 2 of 5 channels (`a`, `b`), although the session lives"
        ));
        assert!(unregistered(&["a", "b", "c", "d"], 4).contains("(`a`, `b`, `c`, …)"));
        assert!(unregistered(&[], 4).contains("the channel of fences"));
    }
}
