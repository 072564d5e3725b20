//! The two ends of the wire for the benchmarks, with nothing in between.
//!
//! - `floor CHANNEL WARMUP COUNT` listens, and counts notifications without decoding them: no client can deliver
//!   faster than this reads.
//! - `send CHANNEL RATE COUNT` notifies at a steady rate, each time with the moment of sending as payload.
//! - `steps WAKES PROGRAM…` runs a program and counts the instructions of its main thread (Linux only).
//!
//! The first two connect by `PGHOST`, `PGPORT`, `PGUSER`, `PGPASSWORD` and `PGDATABASE`. All print a line of JSON for each
//! thing that happens.

mod floor;
mod send;
mod session;
#[cfg(target_os = "linux")]
mod steps;

use std::env;
use std::io::{self, Write as _};
use std::process::ExitCode;

use rustix::time::{ClockId, clock_gettime};

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match args[..] {
        ["floor", channel, warm_up, count] => {
            number(warm_up).and_then(|warm_up| floor::run(channel, warm_up, number(count)?))
        }
        ["send", channel, rate, count] => {
            number(rate).and_then(|rate| send::run(channel, rate, number(count)?))
        }
        #[cfg(target_os = "linux")]
        ["steps", wakes, ref program @ ..] => {
            number(wakes).and_then(|wakes| steps::run(wakes, program))
        }
        _ => Err(io::Error::other(
            "expected `floor CHANNEL WARMUP COUNT`, `send CHANNEL RATE COUNT` or `steps WAKES PROGRAM…`",
        )),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn number(text: &str) -> io::Result<u64> {
    text.parse()
        .map_err(|_| io::Error::other(format!("expected a number, got `{text}`")))
}

/// Says something to whoever started this.
fn tell(json: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{json}")
}

/// The clock that Node's `process.hrtime` reads, in nanoseconds.
fn now() -> u64 {
    nanoseconds(ClockId::Monotonic)
}

/// What this process has had of the processors, in nanoseconds.
fn processor_time() -> u64 {
    nanoseconds(ClockId::ProcessCPUTime)
}

fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}
