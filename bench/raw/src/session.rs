//! A connection to the server that is logged in, and nothing more.

use std::env;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;

use bytes::BytesMut;
use fallible_iterator::FallibleIterator as _;
use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
use postgres_protocol::message::{backend::Message, frontend};

/// A socket behind start-up, and what was read from it beyond.
pub(crate) struct Session {
    pub(crate) socket: TcpStream,
    unread: BytesMut,
}

impl Session {
    /// Connects by libpq's variables.
    pub(crate) fn open() -> io::Result<Self> {
        let variable = |name: &str| {
            env::var(name)
                .map_err(|_| io::Error::other(format!("expected {name} in the environment")))
        };
        let socket =
            TcpStream::connect(format!("{}:{}", variable("PGHOST")?, variable("PGPORT")?))?;
        socket.set_nodelay(true)?;
        let mut session = Self {
            socket,
            unread: BytesMut::with_capacity(8192),
        };
        let (user, database) = (variable("PGUSER")?, variable("PGDATABASE")?);
        let parameters = [("user", user.as_str()), ("database", database.as_str())];
        session.write(|buffer| frontend::startup_message(parameters, buffer))?;
        session.log_in(&variable("PGPASSWORD")?)?;
        Ok(session)
    }

    /// Runs statements that give no rows.
    pub(crate) fn run(&mut self, sql: &str) -> io::Result<()> {
        self.write(|buffer| frontend::query(sql, buffer))?;
        self.until_ready()
    }

    fn log_in(&mut self, password: &str) -> io::Result<()> {
        let mut scram = None;
        loop {
            match self.next()? {
                Message::AuthenticationOk => return self.until_ready(),
                Message::AuthenticationSasl(body) => {
                    if !body.mechanisms().any(|name| Ok(name == "SCRAM-SHA-256"))? {
                        return Err(io::Error::other(
                            "expected the server to offer SCRAM-SHA-256",
                        ));
                    }
                    let first =
                        ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
                    self.write(|buffer| {
                        frontend::sasl_initial_response("SCRAM-SHA-256", first.message(), buffer)
                    })?;
                    scram = Some(first);
                }
                Message::AuthenticationSaslContinue(body) => {
                    let scram = scram.as_mut().ok_or_else(unexpected)?;
                    scram.update(body.data())?;
                    self.write(|buffer| frontend::sasl_response(scram.message(), buffer))?;
                }
                Message::AuthenticationSaslFinal(body) => {
                    scram.as_mut().ok_or_else(unexpected)?.finish(body.data())?;
                }
                Message::ErrorResponse(body) => return Err(refused(&body)),
                _ => return Err(unexpected()),
            }
        }
    }

    fn until_ready(&mut self) -> io::Result<()> {
        loop {
            match self.next()? {
                Message::ReadyForQuery(_) => return Ok(()),
                Message::ErrorResponse(body) => return Err(refused(&body)),
                _ => {}
            }
        }
    }

    fn write(&mut self, message: impl FnOnce(&mut BytesMut) -> io::Result<()>) -> io::Result<()> {
        let mut buffer = BytesMut::new();
        message(&mut buffer)?;
        self.socket.write_all(&buffer)
    }

    fn next(&mut self) -> io::Result<Message> {
        loop {
            if let Some(message) = Message::parse(&mut self.unread)? {
                return Ok(message);
            }
            let mut chunk = [0; 8192];
            let count = self.socket.read(&mut chunk)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.unread.extend_from_slice(&chunk[..count]);
        }
    }
}

fn unexpected() -> io::Error {
    io::Error::other("the server sent what start-up does not have")
}

fn refused(body: &postgres_protocol::message::backend::ErrorResponseBody) -> io::Error {
    let message = body
        .fields()
        .find(|field| Ok(field.type_() == b'M'))
        .ok()
        .flatten()
        .map(|field| String::from_utf8_lossy(field.value_bytes()).into_owned());
    io::Error::other(message.unwrap_or_default())
}
