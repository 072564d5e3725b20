//! A connection and who owns it.

use std::ops::Deref;
use std::sync::{Arc, Weak};

use crate::query::backend::Backend;
use crate::query::connections::PooledConnection;

/// A connection that is owned by whoever has this: leased from a pool, or in none.
#[derive(Debug)]
pub struct Client(Owner);

#[derive(Debug)]
enum Owner {
    /// Dropping the object gives the connection back to its pool.
    Pool(PooledConnection),
    Nobody(Arc<Backend>),
}

impl Client {
    /// A connection that is in no pool. Dropping it ends the session.
    #[must_use]
    pub fn unpooled(backend: Backend) -> Self {
        Self(Owner::Nobody(Arc::new(backend)))
    }

    pub(super) fn pooled(object: PooledConnection) -> Self {
        object.set_leased(true);
        Self(Owner::Pool(object))
    }

    /// The connection, without owning it.
    pub(super) fn watch(&self) -> Weak<Backend> {
        Arc::downgrade(match &self.0 {
            Owner::Pool(object) => object,
            Owner::Nobody(backend) => backend,
        })
    }

    /// Closes the connection instead of giving it back to its pool.
    pub(super) fn discard(mut self) {
        self.take_out();
    }

    fn take_out(&mut self) {
        if let Owner::Pool(object) = &mut self.0 {
            let backend = Arc::clone(object);
            let object = std::mem::replace(&mut self.0, Owner::Nobody(backend));
            if let Owner::Pool(object) = object {
                drop(PooledConnection::take(object));
            }
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Owner::Pool(object) = &self.0 {
            object.set_leased(false);
            if object.is_too_old() {
                self.take_out();
            }
        }
    }
}

impl Deref for Client {
    type Target = Backend;

    fn deref(&self) -> &Backend {
        match &self.0 {
            Owner::Pool(object) => object,
            Owner::Nobody(backend) => backend,
        }
    }
}
