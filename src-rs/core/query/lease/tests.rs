//! Leases on a connection to a server that this file plays, in tokio's paused time.

use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Config, NoTls};

use super::*;
use crate::base::error::ErrorKind;
use crate::query::lease_limit::LeaseLimit;

/// Whether the server that is played answers statements.
#[derive(Clone, Copy, PartialEq)]
enum Server {
    Answers,
    IsSilent,
}

/// The end of the session, in the list of statements.
const END: &str = "(end)";

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[kind], &length.to_be_bytes()[..], body].concat()
}

/// Plays a server on `stream`, and tells the statements that it is sent.
async fn play(mut stream: DuplexStream, server: Server, statements: UnboundedSender<String>) {
    let length = stream.read_u32().await.unwrap();
    stream
        .read_exact(&mut vec![0; length as usize - 4])
        .await
        .unwrap();
    let ready = message(b'Z', b"I");
    let started = [message(b'R', &[0; 4]), ready.clone()].concat();
    stream.write_all(&started).await.unwrap();
    while let Ok(b'Q') = stream.read_u8().await {
        let length = stream.read_u32().await.unwrap();
        let mut body = vec![0; length as usize - 4];
        stream.read_exact(&mut body).await.unwrap();
        body.pop();
        let _ = statements.send(String::from_utf8(body).unwrap());
        if server == Server::Answers {
            let answer = [message(b'C', b"SELECT 0\0"), ready.clone()].concat();
            stream.write_all(&answer).await.unwrap();
        }
    }
    let _ = statements.send(END.to_owned());
}

/// A client of a server that is played, and the statements that the server is sent.
async fn connect(server: Server) -> (Client, UnboundedReceiver<String>) {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let (sender, statements) = unbounded_channel();
    tokio::spawn(play(theirs, server, sender));
    let mut config = Config::new();
    config.user("user").ssl_mode(SslMode::Disable);
    let (client, connection) = config.connect_raw(ours, NoTls).await.unwrap();
    tokio::spawn(connection);
    (Client::unpooled(client), statements)
}

/// A lease that holds the only permit of the limit.
async fn lease(server: Server) -> (Arc<Lease>, UnboundedReceiver<String>, Arc<LeaseLimit>) {
    let (client, statements) = connect(server).await;
    let limit = LeaseLimit::new(1);
    let permit = Arc::clone(&limit).acquire().await.unwrap();
    (Arc::new(Lease::pooled(client, permit)), statements, limit)
}

fn is_free(limit: &Arc<LeaseLimit>) -> bool {
    Arc::clone(limit)
        .acquire()
        .now_or_never()
        .flatten()
        .is_some()
}

#[tokio::test(start_paused = true)]
async fn operations_run_in_the_order_of_the_calls_and_not_of_the_polls() {
    let (lease, mut statements, _limit) = lease(Server::Answers).await;
    let first = lease.execute_batch("first".into());
    let given_up = lease.execute_batch("given up".into());
    let last = lease.execute_batch("last".into());
    drop(given_up);
    let (last, first) = tokio::join!(last, first);
    first.unwrap();
    last.unwrap();
    assert_eq!(statements.recv().await.unwrap(), "first");
    assert_eq!(statements.recv().await.unwrap(), "last");
}

#[tokio::test(start_paused = true)]
async fn a_release_waits_for_what_was_called_before_and_refuses_what_comes_after() {
    let (lease, mut statements, limit) = lease(Server::Answers).await;
    let before = lease.execute_batch("before".into());
    let release = lease.release();
    let after = lease.execute_batch("after".into()).await;
    assert_eq!(after.unwrap_err().kind, ErrorKind::Closed);
    let (released, before) = tokio::join!(release, before);
    before.unwrap();
    assert!(!released.rolled_back);
    assert!(is_free(&limit));
    assert_eq!(statements.recv().await.unwrap(), "before");
    assert_eq!(statements.recv().await.unwrap(), END);
}

#[tokio::test(start_paused = true)]
async fn a_release_gives_up_a_transaction_that_cannot_be_ended_in_time() {
    let (lease, _statements, limit) = lease(Server::IsSilent).await;
    // The server never says whether the transaction has begun; the caller stops waiting.
    let begun = tokio::time::timeout(Duration::from_secs(1), lease.begin("BEGIN".into())).await;
    assert!(begun.is_err());
    assert!(!is_free(&limit));
    let since = Instant::now();
    let released = lease.release().await;
    assert!(released.rolled_back);
    assert_eq!(since.elapsed(), Duration::from_secs(5));
    assert!(is_free(&limit));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_dropped_within_a_transaction_gives_its_connection_back() {
    let (lease, _statements, limit) = lease(Server::IsSilent).await;
    let begun = tokio::time::timeout(Duration::from_secs(1), lease.begin("BEGIN".into())).await;
    assert!(begun.is_err());
    drop(lease);
    assert!(!is_free(&limit));
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(is_free(&limit));
}

#[tokio::test(start_paused = true)]
async fn a_lease_on_a_session_ends_with_the_session() {
    let (client, _statements) = connect(Server::Answers).await;
    let client = Arc::new(client);
    let session = SessionClient {
        client: Arc::downgrade(&client),
        may_be_in_block: Arc::default(),
        in_flight: Arc::default(),
    };
    let lease = Arc::new(Lease::session(&session));
    lease.execute_batch("statement".into()).await.unwrap();
    assert_eq!(session.in_flight.load(Ordering::Relaxed), 0);
    lease.execute_batch("BEGIN".into()).await.unwrap();
    assert!(session.may_be_in_block.load(Ordering::Relaxed));
    drop(client);
    let after = lease.execute_batch("statement".into()).await;
    assert_eq!(after.unwrap_err().kind, ErrorKind::Closed);
    assert!(!lease.release().await.rolled_back);
}
