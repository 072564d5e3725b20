//! Notifies at a steady rate; each payload is the moment at which it was sent.

use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::thread;
use std::time::Duration;

use bytes::BytesMut;
use postgres_protocol::message::frontend;

use crate::session::Session;
use crate::{now, tell};

const SECOND: u64 = 1_000_000_000;

pub(crate) fn run(channel: &str, rate: u64, count: u64) -> io::Result<()> {
    let mut session = Session::open()?;
    // What the server answers must be taken, or it stops.
    let mut answers = session.socket.try_clone()?;
    let reader = thread::spawn(move || {
        let mut chunk = [0; 8192];
        while answers.read(&mut chunk).is_ok_and(|count| count > 0) {}
    });
    let start = now();
    let mut buffer = BytesMut::new();
    for number in 0..count {
        let due = start + number * SECOND / rate;
        if let Some(wait) = due.checked_sub(now()) {
            thread::sleep(Duration::from_nanos(wait));
        }
        buffer.clear();
        frontend::query(
            &format!("SELECT pg_notify('{channel}', '{}')", now()),
            &mut buffer,
        )?;
        session.socket.write_all(&buffer)?;
    }
    let took = now() - start;
    tell(&format!(
        "{{\"sent\":{{\"count\":{count},\"spanNs\":{took}}}}}"
    ))?;
    // The server closes its end once it has done what is still under way.
    session.socket.shutdown(Shutdown::Write)?;
    reader
        .join()
        .map_err(|_| io::Error::other("the reading thread panicked"))
}
