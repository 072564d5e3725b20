//! Operations of a lease that give something to go on with: a description, a cursor, a statement that waits for its parameters.

use std::sync::Arc;

use super::{Lease, Operation};
use crate::base::error::Result;
use crate::query::bounds::Bounds;
use crate::query::statements::{self, Description, Manner, Portal, Prepared, QueryOutput};
use crate::query::values::{Param, RecordEncoder};

impl Lease {
    /// Runs statements, all of them sent together.
    pub fn pipeline(
        self: &Arc<Self>,
        statements: Vec<(Arc<str>, Vec<Param>)>,
        manner: Manner,
        bounds: Bounds,
    ) -> impl Future<Output = Result<Vec<QueryOutput>>> + Send + use<> {
        let operation = self.enter(bounds);
        async move {
            let mut operation = operation?;
            let connection = operation.connection().await?;
            let work = statements::pipeline(&connection, &statements, manner);
            connection.bounded(work).await
        }
    }

    /// Prepares a statement, and tells of its parameters and columns.
    pub fn prepare(
        self: &Arc<Self>,
        sql: String,
        manner: Manner,
        bounds: Bounds,
    ) -> impl Future<Output = Result<Description>> + Send + use<> {
        let operation = self.enter(bounds);
        async move {
            let mut operation = operation?;
            let connection = operation.connection().await?;
            let work = async { Prepared::new(&connection, &sql, manner).await };
            let prepared = connection.bounded(Box::pin(work)).await?;
            Ok(prepared.description())
        }
    }

    /// Prepares a statement, and gives what writes records of its columns. The server keeps nothing of it.
    pub fn record_encoder(
        self: &Arc<Self>,
        sql: String,
        bounds: Bounds,
    ) -> impl Future<Output = Result<RecordEncoder>> + Send + use<> {
        let operation = self.enter(bounds);
        async move {
            let manner = Manner {
                is_unnamed: true,
                ..Manner::default()
            };
            let mut operation = operation?;
            let connection = operation.connection().await?;
            // Nobody tells when the table has got other columns since the server was asked.
            connection.forget(&sql);
            let work = async { Prepared::new(&connection, &sql, manner).await };
            let prepared = connection.bounded(Box::pin(work)).await?;
            Ok(prepared.record_encoder())
        }
    }

    /// Has the server forget a prepared statement.
    pub fn deallocate(
        self: &Arc<Self>,
        sql: String,
    ) -> impl Future<Output = Result<()>> + Send + use<> {
        let operation = self.enter(Bounds::default());
        async move {
            let mut operation = operation?;
            let connection = operation.connection().await?;
            connection.deallocate(&sql);
            Ok(())
        }
    }

    /// Prepares a statement, and holds its place in the order until it has parameters.
    pub fn hold(
        self: &Arc<Self>,
        sql: String,
        manner: Manner,
        bounds: Bounds,
    ) -> impl Future<Output = Result<HeldStatement>> + Send + use<> {
        let operation = self.enter(bounds);
        async move {
            let mut operation = operation?;
            let prepared = {
                let connection = operation.connection().await?;
                let work = async { Prepared::new(&connection, &sql, manner).await };
                connection.bounded(Box::pin(work)).await?
            };
            Ok(HeldStatement {
                operation,
                description: prepared.description(),
                sql,
                manner,
            })
        }
    }

    /// Prepares the texts of a pipeline, and holds its place in the order until it has parameters. `order` has the number of the text of each
    /// statement.
    pub fn hold_pipeline(
        self: &Arc<Self>,
        texts: Vec<Arc<str>>,
        order: Vec<usize>,
        manner: Manner,
        bounds: Bounds,
    ) -> impl Future<Output = Result<HeldPipeline>> + Send + use<> {
        let operation = self.enter(bounds);
        async move {
            let mut operation = operation?;
            let parameter_types = {
                let connection = operation.connection().await?;
                let work = statements::parameter_types(&connection, &texts, &order, manner);
                connection.bounded(Box::pin(work)).await?
            };
            Ok(HeldPipeline {
                operation,
                texts,
                order,
                parameter_types,
                manner,
            })
        }
    }

    /// Opens a cursor within the transaction block that is open.
    pub fn open(
        self: &Arc<Self>,
        sql: String,
        params: Vec<Param>,
        manner: Manner,
        bounds: Bounds,
    ) -> impl Future<Output = Result<Cursor>> + Send + use<> {
        let operation = self.enter(bounds);
        let lease = Arc::clone(self);
        async move {
            let mut operation = operation?;
            let connection = operation.connection().await?;
            let work = statements::open(&connection, &sql, &params, manner);
            let portal = connection.bounded(Box::pin(work)).await?;
            Ok(Cursor {
                lease,
                portal: Arc::new(portal),
            })
        }
    }
}

/// A statement that has its place in the order, and waits for its parameters. Dropping it gives the place up.
#[derive(Debug)]
pub struct HeldStatement {
    operation: Operation,
    description: Description,
    sql: String,
    manner: Manner,
}

impl HeldStatement {
    /// What its parameters and columns are.
    #[must_use]
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Runs it.
    pub async fn execute(mut self, params: Vec<Param>) -> Result<QueryOutput> {
        let connection = self.operation.connection().await?;
        let work = statements::execute(&connection, &self.sql, &params, self.manner, None);
        connection.bounded(Box::pin(work)).await
    }

    /// Runs it once for each set of parameters; all of them or none take effect. Gives the rows affected.
    pub async fn execute_many(mut self, sets: Vec<Vec<Param>>) -> Result<u64> {
        let connection = self.operation.connection().await?;
        let work = statements::execute_many(&connection, &self.sql, &sets, self.manner);
        connection.bounded(Box::pin(work)).await
    }

    /// Opens it as a cursor within the transaction block that is open.
    pub async fn open(mut self, params: Vec<Param>) -> Result<Cursor> {
        let lease = Arc::clone(&self.operation.lease);
        let connection = self.operation.connection().await?;
        let work = statements::open(&connection, &self.sql, &params, self.manner);
        let portal = Arc::new(connection.bounded(Box::pin(work)).await?);
        Ok(Cursor { lease, portal })
    }
}

/// Statements that are sent together, and have their place in the order until they have parameters. Dropping it gives the place up.
#[derive(Debug)]
pub struct HeldPipeline {
    operation: Operation,
    texts: Vec<Arc<str>>,
    order: Vec<usize>,
    parameter_types: Vec<Vec<String>>,
    manner: Manner,
}

impl HeldPipeline {
    /// The names of the types of the parameters, for each text.
    #[must_use]
    pub fn parameter_types(&self) -> &[Vec<String>] {
        &self.parameter_types
    }

    /// Runs it, with a list of parameters for each statement.
    pub async fn run(mut self, params: Vec<Vec<Param>>) -> Result<Vec<QueryOutput>> {
        let connection = self.operation.connection().await?;
        let texts = self.order.iter().map(|number| &self.texts[*number]);
        let statements: Vec<_> = texts.cloned().zip(params).collect();
        let work = statements::pipeline(&connection, &statements, self.manner);
        connection.bounded(Box::pin(work)).await
    }
}

/// A cursor: a portal of a lease. It ends with the transaction in which it was opened.
#[derive(Debug)]
pub struct Cursor {
    lease: Arc<Lease>,
    portal: Arc<Portal>,
}

impl Cursor {
    /// What the parameters and columns are.
    #[must_use]
    pub fn description(&self) -> Description {
        self.portal.description()
    }

    /// The next rows, at most so many.
    pub fn fetch(
        &self,
        most: u32,
        bounds: Bounds,
    ) -> impl Future<Output = Result<QueryOutput>> + Send + use<> {
        let operation = self.lease.enter(bounds);
        let portal = Arc::clone(&self.portal);
        async move {
            let mut operation = operation?;
            let connection = operation.connection().await?;
            let work = portal.fetch(&connection, most);
            connection.bounded(Box::pin(work)).await
        }
    }

    /// Closes the cursor. The server does so at once, so a connection of the pool is given up when there is no answer.
    pub fn close(&self) -> impl Future<Output = Result<()>> + Send + use<> {
        let operation = self.lease.enter(Bounds::default());
        let portal = Arc::clone(&self.portal);
        async move {
            let mut operation = operation?;
            let connection = operation.connection().await?;
            connection.brief(portal.close(&connection)).await
        }
    }
}
