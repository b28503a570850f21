//! Signals to processes, which the standard library does not send. The one place of the tests that calls the system itself.

#![allow(
    unsafe_code,
    reason = "the system's own calls have no safe form in the standard library; each is explained where it stands"
)]

use std::io;

/// What a process is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Ends at once: no handler, no flush, no farewell.
    Kill,
    /// Is asked to end.
    Terminate,
    /// Stands still, all threads, until it is told to go on.
    Stop,
    /// Goes on.
    Continue,
}

/// What a child did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It stands still.
    Stopped,
    /// It ended; it is still to be waited for.
    Ended,
}

/// Sends a signal.
///
/// # Errors
/// There is no such process, or it is not ours.
pub fn send(process: u32, signal: Signal) -> io::Result<()> {
    let process = libc::pid_t::try_from(process).map_err(io::Error::other)?;
    // 0 and negative ids would mean whole groups.
    if process <= 0 {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let number = match signal {
        Signal::Kill => libc::SIGKILL,
        Signal::Terminate => libc::SIGTERM,
        Signal::Stop => libc::SIGSTOP,
        Signal::Continue => libc::SIGCONT,
    };
    // SAFETY: takes two numbers, touches no memory of this process.
    let outcome = unsafe { libc::kill(process, number) };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Ends this process as `kill -9` would. Never returns.
pub fn kill_self() -> ! {
    let _ = send(std::process::id(), Signal::Kill);
    // The signal is delivered before the call returns to this thread, or a moment later to another.
    loop {
        std::thread::park();
    }
}

/// Has the system end this process after so many seconds, whatever it does then: a worker that hangs must not hang its test.
pub fn end_after_seconds(seconds: u32) {
    // SAFETY: takes a number; the default action of SIGALRM, which nobody here changes, ends the process.
    unsafe { libc::alarm(seconds) };
}

/// Waits until a child of this process stands still or has ended. Does not reap it.
///
/// # Errors
/// It is not a child of this process.
pub fn wait_for_change(child: u32) -> io::Result<Change> {
    // SAFETY: a zeroed `siginfo_t` is a valid one: it consists of numbers. The system fills it.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let options = libc::WSTOPPED | libc::WEXITED | libc::WNOWAIT;
    // SAFETY: `info` lives across the call, which writes nothing else.
    let outcome = unsafe { libc::waitid(libc::P_PID, child, &raw mut info, options) };
    if outcome != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(if info.si_code == libc::CLD_STOPPED { Change::Stopped } else { Change::Ended })
}
