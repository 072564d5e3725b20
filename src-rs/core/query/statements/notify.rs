//! Notifications: one round trip for all of them, and nothing of it stays on the server.

use tokio_postgres::types::Type;

use super::answer;
use crate::base::error::Result;
use crate::query::backend::Backend;
use crate::query::values::{Codec, Param, encode_params};

const ONE: &str = "SELECT pg_catalog.pg_notify($1, $2)";

/// An aggregate, so that one row comes back and not one for each payload.
const MANY: &str = "SELECT pg_catalog.count(pg_catalog.pg_notify($1, payload)) \
     FROM pg_catalog.unnest($2) AS payload";

/// Sends notifications to a channel, in one statement: all of them, in their order, or none.
pub(crate) async fn notify(
    backend: &Backend,
    channel: String,
    payloads: Vec<String>,
) -> Result<()> {
    let mut payloads: Vec<Param> = payloads.into_iter().map(Param::Text).collect();
    let (sql, payload, ty) = match payloads.len() {
        0 => return Ok(()),
        1 => (ONE, payloads.remove(0), Type::TEXT),
        _ => (MANY, Param::Array(payloads), Type::TEXT_ARRAY),
    };
    let types = [Type::TEXT, ty];
    let codecs = types.clone().map(|ty| {
        (
            Codec::of(&ty).expect("text and its arrays have a codec"),
            ty,
        )
    });
    let params = encode_params(&[Param::Text(channel), payload], &codecs)?;
    let responses = backend.run_unnamed(sql, &types, &params)?;
    answer(backend, responses, |_| Ok(())).await.map(drop)
}
