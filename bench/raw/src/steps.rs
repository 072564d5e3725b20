//! Counts the instructions of a program's main thread, each time that it is woken, by taking them in single steps. Slow, but
//! it differs much less from run to run than time does, and needs no hardware counters.

use std::io::{self, Read as _};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getcpu, sched_setaffinity};
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::tell;

/// A step that takes longer was a wait.
const WAIT: Duration = Duration::from_millis(20);
/// Whoever takes more instructions collects garbage, and may do so at full speed for so long.
const MOST: u64 = 200_000;
const REST: Duration = Duration::from_secs(1);

/// Runs a program, begins to count when there is something on the standard input, and ends after so many wakes.
pub(crate) fn run(wakes: u64, program: &[&str]) -> io::Result<()> {
    let [name, args @ ..] = program else {
        return Err(io::Error::other("expected a program"));
    };
    let child = Command::new(name)
        .args(args)
        .stdin(Stdio::piped())
        .spawn()?;
    let mut child = Ended(child);
    io::stdin().read_exact(&mut [0])?;
    let pid = i32::try_from(child.0.id()).map_err(io::Error::other)?;
    let counted = count(Pid::from_raw(pid), wakes)?;
    child.0.kill()?;
    tell(&format!("{{\"lone\":{{\"instructions\":{counted:?}}}}}"))
}

/// A child that does not outlive its parent, whatever becomes of that.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How many instructions a process's main thread executes from each wake to the next wait.
fn count(pid: Pid, wakes: u64) -> io::Result<Vec<u64>> {
    // Both on one processor: to wake another one takes much longer than a step.
    let mut here = CpuSet::new();
    here.set(sched_getcpu()?)?;
    sched_setaffinity(Pid::from_raw(0), &here)?;
    sched_setaffinity(pid, &here)?;
    ptrace::seize(pid, Options::PTRACE_O_EXITKILL)?;
    ptrace::interrupt(pid)?;
    let mut signal = next_stop(pid)?;
    tell("{\"warm\":true}")?;
    let mut counted = Vec::new();
    // Until the first wait it is unknown when it was woken.
    let mut instructions = None;
    while (counted.len() as u64) < wakes {
        let began = Instant::now();
        ptrace::step(pid, signal)?;
        signal = next_stop(pid)?;
        if began.elapsed() > WAIT {
            counted.extend(instructions.replace(0));
        }
        instructions = instructions.map(|count| count + 1);
        if instructions > Some(MOST) {
            ptrace::cont(pid, signal)?;
            thread::sleep(REST);
            ptrace::interrupt(pid)?;
            signal = next_stop(pid)?;
            instructions = None;
        }
    }
    ptrace::detach(pid, None)?;
    Ok(counted)
}

/// Waits until a thread stops again; gives the signal that it is to have, if that is what stopped it.
fn next_stop(pid: Pid) -> io::Result<Option<Signal>> {
    match waitpid(pid, Some(WaitPidFlag::__WALL))? {
        WaitStatus::Stopped(_, Signal::SIGTRAP) | WaitStatus::PtraceEvent(..) => Ok(None),
        WaitStatus::Stopped(_, signal) => Ok(Some(signal)),
        ended => Err(io::Error::other(format!("the program is gone: {ended:?}"))),
    }
}
