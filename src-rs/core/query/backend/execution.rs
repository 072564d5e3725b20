//! Sends executions of statements, and what opens, reads and closes portals.

use bytes::BytesMut;
use postgres_protocol::IsNull;
use postgres_protocol::message::frontend::{self, BindError};

use super::{Backend, Statement};
use crate::base::error::Result;
use crate::protocol::{self, Request, Responses};
use crate::query::values::Encoded;

/// One execution of a statement.
pub(crate) struct Execution<'a, Formats> {
    pub(crate) statement: &'a Statement,
    pub(crate) params: &'a [Encoded],
    /// Of each column, whether it is asked for in the binary format.
    pub(crate) formats: Formats,
}

impl Backend {
    /// Sends executions of statements, all in one request: after a failure the server skips the rest.
    pub(crate) fn run<'a, Formats>(
        &self,
        executions: impl IntoIterator<Item = Execution<'a, Formats>>,
    ) -> Result<Responses>
    where
        Formats: ExactSizeIterator<Item = bool>,
    {
        self.check_ready()?;
        let request = Request::extended(|messages| {
            // What was parsed without a name is there until the next text is.
            let mut parsed = None;
            for execution in executions {
                let Execution {
                    statement,
                    params,
                    formats,
                } = execution;
                let is_unnamed = statement.has_no_name();
                if parsed != Some(&*statement.text) || !is_unnamed {
                    statement.write_parse(messages)?;
                }
                bind("", &statement.name, params, formats, messages)?;
                if is_unnamed {
                    parsed = Some(&*statement.text);
                    // The columns may be others than when the statement was described.
                    frontend::describe(b'P', "", messages)?;
                }
                frontend::execute("", 0, messages)?;
            }
            Ok(())
        })?;
        Ok(self.wire.send(request))
    }

    /// Opens a portal.
    pub(crate) fn open(
        &self,
        portal: &str,
        statement: &Statement,
        params: &[Encoded],
        formats: impl ExactSizeIterator<Item = bool>,
    ) -> Result<Responses> {
        self.check_ready()?;
        Ok(self.wire.send(Request::extended(|messages| {
            statement.write_parse(messages)?;
            bind(portal, &statement.name, params, formats, messages)
        })?))
    }

    /// Asks for the next rows of a portal, of which there may be more.
    pub(crate) fn fetch(&self, portal: &str, most: u32) -> Result<Responses> {
        self.check_ready()?;
        let most = i32::try_from(most).unwrap_or(i32::MAX);
        Ok(self.wire.send(Request::extended(|messages| {
            frontend::execute(portal, most, messages)
        })?))
    }

    /// Closes a portal. Nothing stops it from being sent.
    pub(crate) fn close_portal(&self, portal: &str) -> Result<Responses> {
        Ok(self.wire.send(Request::extended(|messages| {
            frontend::close(b'P', portal, messages)
        })?))
    }
}

fn bind(
    portal: &str,
    statement: &str,
    params: &[Encoded],
    formats: impl ExactSizeIterator<Item = bool>,
    messages: &mut BytesMut,
) -> std::io::Result<()> {
    // Each has its length before it.
    let lengths = params
        .iter()
        .map(|it| 4 + it.bytes().map_or(0, <[u8]>::len));
    protocol::check_length("its parameters have", lengths.sum())?;
    let written = frontend::bind(
        portal,
        statement,
        params.iter().map(|it| i16::from(it.is_binary())),
        params,
        |param, out| {
            Ok(match param.bytes() {
                Some(bytes) => {
                    out.extend_from_slice(bytes);
                    IsNull::No
                }
                None => IsNull::Yes,
            })
        },
        formats.map(i16::from),
        messages,
    );
    written.map_err(|error| match error {
        BindError::Serialization(error) => error,
        BindError::Conversion(error) => std::io::Error::other(error),
    })
}
