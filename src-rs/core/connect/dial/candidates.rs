//! The hosts to try, in their order, and the check that a server has the role asked for.

use super::{Dialed, answered};
use crate::base::Setting;
use crate::base::clock;
use crate::base::error::{Error, ErrorKind, Result};
use crate::connect::choices::{Choice as _, TargetSessionAttrs};
use crate::connect::cluster::{Cluster, Part, identify};
use crate::connect::config::{ConnectConfig, Host};
use crate::connect::password::Asked;

/// A host to try, and the role that it must have.
#[derive(Debug, Clone)]
pub struct Candidate<'a> {
    /// The host.
    pub host: &'a Host,
    /// The role that the server there must have.
    pub role: TargetSessionAttrs,
    /// The question for the password, which the attempts of a round share.
    pub asked: Asked,
}

/// The roles that the hosts are asked for: each role of all hosts, and then the next one.
pub(super) fn roles(config: &ConnectConfig) -> &[TargetSessionAttrs] {
    match &config.target_session_attrs {
        TargetSessionAttrs::PreferStandby => {
            &[TargetSessionAttrs::Standby, TargetSessionAttrs::Any]
        }
        role => std::slice::from_ref(role),
    }
}

/// Asks a server for its part in the cluster, notes it, and refuses a primary that its cluster has left behind.
pub(super) async fn check_timeline(
    dialed: &mut Dialed,
    host: &Host,
    cluster: &Cluster,
) -> Result<()> {
    if let Part::Primary(timeline) = identify(dialed, host).await? {
        cluster.admit(timeline, host)?;
        let _ = dialed.facts.timeline.set(timeline);
    }
    Ok(())
}

/// Notes that a server which has not the role asked for is a standby, if it is one.
pub(super) async fn note_refused(dialed: &mut Dialed, host: &Host, cluster: &Cluster) {
    let asked = clock::now();
    if let Ok(part @ Part::Standby) = identify(dialed, host).await {
        cluster.note(part, host, asked);
    }
}

/// Checks that a server is what `role` asks for, as libpq does.
pub(super) async fn check_role(
    dialed: &mut Dialed,
    host: &Host,
    role: TargetSessionAttrs,
) -> Result<()> {
    let (query, wanted) = match role {
        TargetSessionAttrs::Any | TargetSessionAttrs::PreferStandby => return Ok(()),
        TargetSessionAttrs::ReadWrite => ("SHOW transaction_read_only", ["off", "f"]),
        TargetSessionAttrs::ReadOnly => ("SHOW transaction_read_only", ["on", "t"]),
        TargetSessionAttrs::Primary => ("SELECT pg_catalog.pg_is_in_recovery()", ["off", "f"]),
        TargetSessionAttrs::Standby => ("SELECT pg_catalog.pg_is_in_recovery()", ["on", "t"]),
    };
    let answer = answered(&mut dialed.connection, host, dialed.client.first_row(query)).await?;
    let is = answer.as_ref().and_then(|row| row.get(0));
    if is.is_some_and(|is| wanted.contains(&is)) {
        return Ok(());
    }
    let other = match role {
        TargetSessionAttrs::ReadWrite => "read-only",
        TargetSessionAttrs::ReadOnly => "read-write",
        TargetSessionAttrs::Primary => "a standby",
        _ => "a primary",
    };
    Err(Error::new(
        ErrorKind::Connect,
        format!(
            "{host} is {other}, but {} asks for `{}`",
            Setting::TargetSessionAttrs,
            role.name()
        ),
    ))
}
