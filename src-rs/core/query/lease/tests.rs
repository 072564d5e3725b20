//! Leases on a connection to a server that this file plays, in tokio's paused time.

use std::future::poll_fn;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::FutureExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use super::*;
use crate::base::error::ErrorKind;
use crate::protocol::{StartedUp, pair};
use crate::query::holders::Holders;
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
    let mut status = b'I';
    while let Ok(b'Q') = stream.read_u8().await {
        let length = stream.read_u32().await.unwrap();
        let mut body = vec![0; length as usize - 4];
        stream.read_exact(&mut body).await.unwrap();
        body.pop();
        let statement = String::from_utf8(body).unwrap();
        match statement.as_str() {
            "BEGIN" => status = b'T',
            "ROLLBACK" => status = b'I',
            _ => {}
        }
        let _ = statements.send(statement);
        if server == Server::Answers {
            let answer = [message(b'C', b"SELECT 0\0"), message(b'Z', &[status])].concat();
            stream.write_all(&answer).await.unwrap();
        }
    }
    let _ = statements.send(END.to_owned());
}

/// Plays a server that is at an execution until it is cancelled, a second later, and that hears of that once more during the first
/// `ROLLBACK`. Tells the statements that it is sent.
async fn play_late_cancel(mut stream: DuplexStream, statements: UnboundedSender<String>) {
    let cancelled = || {
        let fields = b"SERROR\0VERROR\0C57014\0Mcancelled\0\0";
        [message(b'E', fields), message(b'Z', b"E")].concat()
    };
    let mut is_executing = false;
    let mut rollbacks = 0;
    while let Ok(kind) = stream.read_u8().await {
        let length = stream.read_u32().await.unwrap();
        let mut body = vec![0; length as usize - 4];
        stream.read_exact(&mut body).await.unwrap();
        let answer = match kind {
            b'Q' => {
                body.pop();
                let statement = String::from_utf8(body).unwrap();
                let is_rollback = statement == "ROLLBACK";
                let _ = statements.send(statement);
                rollbacks += u8::from(is_rollback);
                match (is_rollback, rollbacks) {
                    (true, 1) => cancelled(),
                    (true, _) => [message(b'C', b"ROLLBACK\0"), message(b'Z', b"I")].concat(),
                    _ => [message(b'C', b"BEGIN\0"), message(b'Z', b"T")].concat(),
                }
            }
            b'P' => message(b'1', b""),
            b'D' => [message(b't', &[0, 0]), message(b'n', b"")].concat(),
            b'E' => {
                is_executing = true;
                continue;
            }
            b'S' if is_executing => {
                tokio::time::sleep(Duration::from_secs(1)).await;
                cancelled()
            }
            b'S' => message(b'Z', b"I"),
            _ => continue,
        };
        stream.write_all(&answer).await.unwrap();
    }
}

/// A client of a server that is played, and the statements that the server is sent.
fn connect(server: Server) -> (Client, UnboundedReceiver<String>) {
    connect_to(|stream, statements| play(stream, server, statements))
}

fn connect_to<Played: Future<Output = ()> + Send + 'static>(
    play: impl FnOnce(DuplexStream, UnboundedSender<String>) -> Played,
) -> (Client, UnboundedReceiver<String>) {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let (sender, statements) = unbounded_channel();
    tokio::spawn(play(theirs, sender));
    let (client, mut connection) = pair(ours, BytesMut::new(), StartedUp::default(), None);
    tokio::spawn(async move {
        while let Some(Ok(_)) = poll_fn(|cx| connection.poll_message(cx)).await {}
    });
    (Client::unpooled(Backend::alone(client)), statements)
}

/// No bounds.
fn free() -> Bounds {
    Bounds::default()
}

/// A lease that holds the only permit of the limit.
async fn lease(server: Server) -> (Arc<Lease>, UnboundedReceiver<String>, Arc<LeaseLimit>) {
    lease_of(connect(server)).await
}

async fn lease_of(
    (client, statements): (Client, UnboundedReceiver<String>),
) -> (Arc<Lease>, UnboundedReceiver<String>, Arc<LeaseLimit>) {
    let limit = LeaseLimit::new(1);
    let permit = Arc::clone(&limit).acquire().await.unwrap();
    let holder = Holders::enter(&Arc::default(), "a test".to_owned());
    (
        Arc::new(Lease::pooled(client, permit, holder)),
        statements,
        limit,
    )
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
    let first = lease.execute_batch("first".into(), free());
    let given_up = lease.execute_batch("given up".into(), free());
    let last = lease.execute_batch("last".into(), free());
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
    let before = lease.execute_batch("before".into(), free());
    let release = lease.release();
    let after = lease.execute_batch("after".into(), free()).await;
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
    let begun = timeout(Duration::from_secs(1), lease.begin("BEGIN".into(), free())).await;
    assert!(begun.is_err());
    assert!(!is_free(&limit));
    let since = Instant::now();
    let released = lease.release().await;
    assert!(released.rolled_back);
    assert_eq!(since.elapsed(), Duration::from_secs(5));
    assert!(is_free(&limit));
}

#[tokio::test(start_paused = true)]
async fn an_end_of_a_transaction_that_is_not_answered_costs_its_connection() {
    for nested in [false, true] {
        let (lease, mut statements, limit) = lease(Server::IsSilent).await;
        let since = Instant::now();
        let ended = if nested {
            lease.rollback_savepoint("a".into()).await
        } else {
            lease.rollback().await
        };
        assert_eq!(ended.unwrap_err().kind, ErrorKind::Closed);
        assert_eq!(since.elapsed(), Duration::from_secs(5));
        assert!(statements.recv().await.unwrap().starts_with("ROLLBACK"));
        assert_eq!(statements.recv().await.unwrap(), END);
        assert!(!lease.release().await.rolled_back);
        assert!(is_free(&limit));
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_dropped_within_a_transaction_gives_its_connection_back() {
    let (lease, _statements, limit) = lease(Server::IsSilent).await;
    let begun = timeout(Duration::from_secs(1), lease.begin("BEGIN".into(), free())).await;
    assert!(begun.is_err());
    drop(lease);
    assert!(!is_free(&limit));
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(is_free(&limit));
}

#[tokio::test(start_paused = true)]
async fn a_lease_on_a_session_ends_with_the_session() {
    let (client, _statements) = connect(Server::Answers);
    let client = Arc::new(client);
    let session = SessionClient::of(&client);
    let lease = Arc::new(Lease::session(&session));
    lease
        .execute_batch("statement".into(), free())
        .await
        .unwrap();
    assert_eq!(session.in_flight.load(Ordering::Relaxed), 0);
    lease.execute_batch("BEGIN".into(), free()).await.unwrap();
    assert_eq!(client.transaction_status(), TransactionStatus::Active);
    drop(client);
    let after = lease.execute_batch("statement".into(), free()).await;
    assert_eq!(after.unwrap_err().kind, ErrorKind::Closed);
    assert!(!lease.release().await.rolled_back);
}

#[tokio::test(start_paused = true)]
async fn a_statement_beyond_its_time_that_cannot_be_cancelled_costs_its_connection() {
    let (lease, mut statements, limit) = lease(Server::IsSilent).await;
    let bounds = Bounds::new(Some(Duration::from_millis(300)), None);
    let since = Instant::now();
    let running = lease.execute_batch("running".into(), bounds.clone());
    let behind = lease.execute_batch("behind".into(), bounds);
    let (running, behind) = tokio::join!(running, behind);
    let error = running.unwrap_err();
    assert_eq!(error.kind, ErrorKind::TimedOut);
    assert!(error.message.contains("not known"), "{error}");
    assert!(since.elapsed() < Duration::from_millis(2400));
    // It waited for its turn, and was never sent.
    let error = behind.unwrap_err();
    assert_eq!(
        error.message,
        "the statement, waiting for its turn, took longer than 300 ms"
    );
    assert!(!lease.release().await.rolled_back);
    assert!(is_free(&limit));
    assert_eq!(statements.recv().await.unwrap(), "running");
    assert_eq!(statements.recv().await.unwrap(), END);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_still_heard_is_waited_for_longer_and_not_for_ever() {
    let (client, _statements) = connect(Server::IsSilent);
    let backend = client.watch();
    let limit = LeaseLimit::new(1);
    let permit = limit.acquire().await.unwrap();
    let holder = Holders::enter(&Arc::default(), "a test".to_owned());
    let lease = Arc::new(Lease::pooled(client, permit, holder));
    tokio::spawn(async move {
        while let Some(backend) = backend.upgrade() {
            backend.hear();
            drop(backend);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let bounds = Bounds::new(Some(Duration::from_millis(300)), None);
    let since = Instant::now();
    let running = lease.execute_batch("running".into(), bounds).await;
    assert_eq!(running.unwrap_err().kind, ErrorKind::TimedOut);
    assert_eq!(since.elapsed(), Duration::from_millis(10_300));
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_session_ends_the_statement_that_runs_on_it() {
    let (client, _statements) = connect(Server::IsSilent);
    let client = Arc::new(client);
    let session = SessionClient::of(&client);
    let lease = Arc::new(Lease::session(&session));
    let running = tokio::spawn(lease.execute_batch("running".into(), free()));
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(!running.is_finished());
    session.closing.cancel();
    let error = running.await.unwrap().unwrap_err();
    assert_eq!(error.kind, ErrorKind::Closed);
}

#[tokio::test(start_paused = true)]
async fn many_runs_beyond_their_time_are_rolled_back_also_when_a_cancellation_comes_late() {
    let (lease, mut statements, _limit) = lease_of(connect_to(play_late_cancel)).await;
    let bounds = Bounds::new(Some(Duration::from_millis(300)), None);
    let sets = vec![Vec::new()];
    let many = lease.execute_many("many".into(), sets, Manner::default(), bounds);
    let error = many.await.unwrap_err();
    assert_eq!(error.message, "the statement took longer than 300 ms");
    assert_eq!(lease.transaction_status(), TransactionStatus::Idle);
    for expected in ["BEGIN", "ROLLBACK", "ROLLBACK"] {
        assert_eq!(statements.recv().await.unwrap(), expected);
    }
}
