//! What is sent while a `COPY FROM STDIN` waits for its data, to a server that this file plays, and how that server's end is told.

use std::future::poll_fn;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::*;
use crate::protocol::{CopyWriter, copy_feed};

const READY: &[u8] = b"Z\0\0\0\x05I";
const COPY_IN: &[u8] = b"G\0\0\0\x07\0\0\0";
const COMPLETE: &[u8] = b"C\0\0\0\x0bCOPY 1\0";
const REFUSED: &[u8] = b"E\0\0\0\x13SERROR\0C22P02\0\0";

/// A warning that announces the end of the server.
const FAREWELL: &[u8] = b"N\0\0\0\x1cSWARNING\0C57P02\0Mcrash\0\0";

/// A client of a server that is played, which takes no more than `capacity` bytes before it reads.
fn connect(capacity: usize) -> (Client, DuplexStream) {
    let (ours, theirs) = tokio::io::duplex(capacity);
    let (client, mut connection) = pair(ours, BytesMut::new(), StartedUp::default(), None);
    tokio::spawn(async move {
        while let Some(Ok(_)) = poll_fn(|cx| connection.poll_message(cx)).await {}
    });
    (client, theirs)
}

/// Reads one message: its kind and its body.
async fn message(server: &mut DuplexStream) -> (char, Vec<u8>) {
    let kind = server.read_u8().await.unwrap();
    let length = server.read_u32().await.unwrap();
    let mut body = vec![0; length as usize - 4];
    server.read_exact(&mut body).await.unwrap();
    (char::from(kind), body)
}

/// Starts a `COPY`, and a statement behind it.
async fn copy_and_more(
    client: &Client,
    server: &mut DuplexStream,
) -> (CopyWriter, impl Future<Output = usize> + use<>) {
    let (writer, _breaker, feed) = copy_feed();
    let mut copy = client.send(Request::copy_in("COPY t FROM STDIN", feed).unwrap());
    let mut behind = client.send(Request::simple("SELECT 1").unwrap());
    assert_eq!(message(server).await.0, 'Q');
    let answered = async move {
        let mut messages = 0;
        while copy.next().await.is_some() {
            messages += 1;
        }
        while behind.next().await.is_some() {
            messages += 1;
        }
        messages
    };
    (writer, answered)
}

/// Whether the server has been sent nothing more.
async fn is_quiet(server: &mut DuplexStream) -> bool {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    server.read_u8().now_or_never().is_none()
}

#[tokio::test]
async fn a_request_behind_a_copy_is_sent_when_its_data_has_ended() {
    let (client, mut server) = connect(1 << 16);
    let (writer, answered) = copy_and_more(&client, &mut server).await;
    assert!(is_quiet(&mut server).await);
    server.write_all(COPY_IN).await.unwrap();
    assert!(writer.write(Bytes::from_static(b"row\\n")).await);
    assert_eq!(message(&mut server).await, ('d', b"row\\n".to_vec()));
    assert!(is_quiet(&mut server).await);
    writer.finish();
    assert_eq!(message(&mut server).await.0, 'c');
    assert_eq!(message(&mut server).await, ('Q', b"SELECT 1\0".to_vec()));
    server
        .write_all(&[COMPLETE, READY, READY].concat())
        .await
        .unwrap();
    // CopyInResponse, CommandComplete, and a ReadyForQuery for each.
    assert_eq!(answered.await, 4);
    assert!(!client.is_busy());
}

#[tokio::test]
async fn a_request_behind_a_copy_is_sent_when_the_server_refuses_the_data() {
    for asked_before in [false, true] {
        let (client, mut server) = connect(1 << 16);
        let (writer, answered) = copy_and_more(&client, &mut server).await;
        if asked_before {
            server.write_all(COPY_IN).await.unwrap();
            assert!(writer.ready().await);
        }
        server.write_all(REFUSED).await.unwrap();
        assert!(!writer.write(Bytes::from_static(b"row\\n")).await || asked_before);
        assert!(!writer.ready().await);
        server.write_all(READY).await.unwrap();
        loop {
            match message(&mut server).await {
                ('Q', sql) => break assert_eq!(sql, b"SELECT 1\0"),
                (kind, _) => assert_eq!(kind, 'd', "only data may still be under way"),
            }
        }
        server.write_all(READY).await.unwrap();
        assert_eq!(answered.await, if asked_before { 4 } else { 3 });
    }
}

#[tokio::test]
async fn no_more_is_taken_than_the_server_reads() {
    let (client, mut server) = connect(1024);
    let (writer, _answered) = copy_and_more(&client, &mut server).await;
    server.write_all(COPY_IN).await.unwrap();
    let chunk = Bytes::from(vec![0; 64 * 1024]);
    let mut written = 0;
    loop {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        if writer.write(chunk.clone()).now_or_never().is_none() {
            break;
        }
        written += chunk.len();
    }
    assert!(written > 0, "{written}");
    assert!(written <= MOST_UNSENT + 3 * chunk.len(), "{written}");
    for _ in 0..written / chunk.len() {
        assert_eq!(message(&mut server).await, ('d', chunk.to_vec()));
    }
    assert!(writer.ready().await);
    drop(client);
}

#[tokio::test]
async fn the_end_is_explained_by_what_the_server_said_last_unless_it_went_on() {
    for goes_on in [false, true] {
        let (client, mut server) = connect(1024);
        let mut asked = client.send(Request::simple("SELECT 1").unwrap());
        assert_eq!(message(&mut server).await.0, 'Q');
        server.write_all(FAREWELL).await.unwrap();
        if goes_on {
            server.write_all(READY).await.unwrap();
            while asked.next().await.is_some() {}
            asked = client.send(Request::simple("SELECT 2").unwrap());
            assert_eq!(message(&mut server).await.0, 'Q');
        }
        drop(server);
        assert!(asked.next().await.is_none());
        let explained = asked.lost(None).message.ends_with(": crash");
        assert_eq!(explained, !goes_on);
    }
}

/// A stream that takes everything, and whose other side never says anything, not even that it has ended.
struct Frozen;

impl AsyncRead for Frozen {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Frozen {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_end_the_session_keeps_the_socket_for_a_minute() {
    let (client, mut connection) = pair(Frozen, BytesMut::new(), StartedUp::default(), None);
    drop(client);
    let began = tokio::time::Instant::now();
    let ended = poll_fn(|cx| connection.poll_message(cx));
    let ended = tokio::time::timeout(LONGEST_END * 2, ended).await;
    assert!(ended.expect("an end").is_none());
    assert_eq!(began.elapsed(), LONGEST_END);
}
