//! The audiences of an environment that have something to drain.

use std::collections::VecDeque;
use std::mem::take;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use napi::bindgen_prelude::Env;
use parking_lot::Mutex;
use pglisten_core::base::Moment;
use pglisten_core::deliver::audience::{Audience, Members};
use pglisten_core::deliver::buffer::{Drained, Entry, Lost};

use crate::binding::batch::{Drainer, Source, Value};
use crate::binding::bridge::BridgeHandle;

/// An audience and its number, which no other of the environment has.
type Numbered = (u32, Weak<Audience>);

/// The audiences of an environment. One reader of the facade drains all of them.
pub(super) struct Audiences {
    bridge: BridgeHandle,
    /// The id of the reader; 0 before there is one.
    reader: AtomicU32,
    last_number: AtomicU32,
    /// Those that have something to drain.
    ready: Mutex<VecDeque<Numbered>>,
    /// The ids of consumers that are to join when the members have taken everything.
    candidates: Mutex<Vec<u32>>,
    /// What the last drain gave, and for whom.
    last: Mutex<Option<Last>>,
}

struct Last {
    members: Members,
    /// When the first notification was read, if they were few and nothing was left.
    read: Option<Moment>,
}

/// An audience that is drained, and for whom.
struct Reading<'a> {
    audience: &'a Audience,
    members: Option<Members>,
}

impl Source for Reading<'_> {
    fn drain(&mut self, max: usize, show: impl FnMut(Entry, &[u8])) -> Drained {
        let (drained, members) = self.audience.drain(max, show);
        self.members = Some(members);
        drained
    }

    fn lose(&mut self, lost: Lost) {
        if let Some(members) = &self.members {
            self.audience.lose(&lost, members);
        }
    }
}

impl Audiences {
    pub(super) fn new(bridge: BridgeHandle) -> Self {
        Self {
            bridge,
            reader: AtomicU32::new(0),
            last_number: AtomicU32::new(0),
            ready: Mutex::default(),
            candidates: Mutex::default(),
            last: Mutex::default(),
        }
    }

    /// What tells the reader that a new audience has something to drain.
    pub(super) fn signal_of(
        self: &Arc<Self>,
        audience: Weak<Audience>,
    ) -> Box<dyn Fn() + Send + Sync> {
        let number = self.last_number.fetch_add(1, Ordering::Relaxed) + 1;
        let audiences = Arc::clone(self);
        Box::new(move || audiences.note((number, Weak::clone(&audience))))
    }

    fn note(&self, ready: Numbered) {
        let was_empty = {
            let mut all = self.ready.lock();
            all.push_back(ready);
            all.len() == 1
        };
        if was_empty {
            self.bridge.signal(self.reader.load(Ordering::Relaxed));
        }
    }

    pub(super) fn set_reader(&self, reader: u32) {
        self.reader.store(reader, Ordering::Relaxed);
    }

    pub(super) fn note_candidate(&self, id: u32) {
        self.candidates.lock().push(id);
    }

    pub(super) fn take_candidates(&self) -> Vec<u32> {
        take(&mut *self.candidates.lock())
    }

    /// Drains the next audience that has something: takes turns with the others.
    pub(super) fn drain(
        &self,
        drainer: &Drainer,
        env: Env,
        max: u32,
        about: &mut [u32],
    ) -> napi::Result<Option<Value>> {
        loop {
            // It stays in the list while it is drained, so that what comes meanwhile for others signals nobody.
            let Some((number, audience)) = self.ready.lock().front().cloned() else {
                return Ok(None);
            };
            let Some(audience) = audience.upgrade() else {
                self.ready.lock().pop_front();
                continue;
            };
            let mut few = None;
            let mut reading = Reading {
                audience: &audience,
                members: None,
            };
            let values = drainer.drain(&mut reading, &env, max, &mut few);
            let Some(members) = reading.members else {
                // Nothing was read.
                return values.map(Some);
            };
            let is_over = values.is_ok() && drainer.found_nothing();
            let mut ready = self.ready.lock();
            let first = ready.pop_front();
            if is_over {
                // It signals again.
                continue;
            }
            ready.extend(first);
            drop(ready);
            if let [about_number, about_members, ..] = about {
                (*about_number, *about_members) = (number, members.generation);
            }
            *self.last.lock() = Some(Last { members, read: few });
            return values.map(Some);
        }
    }

    /// The members for whom the last drain was.
    pub(super) fn last_members(&self) -> Arc<[u32]> {
        let last = self.last.lock();
        last.as_ref()
            .map(|it| Arc::clone(&it.members.ids))
            .unwrap_or_default()
    }

    /// A member of the last drain, and when its first notification was read, if they were few and nothing was left. Once for each drain.
    pub(super) fn take_kept_up(&self) -> Option<(u32, Moment)> {
        let mut last = self.last.lock();
        let Last { members, read } = last.as_mut()?;
        Some((*members.ids.first()?, read.take()?))
    }
}
