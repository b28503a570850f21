//! The command line's commands, run by the server in a caller's name: what they are given, and what they tell while they run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use serde_json::{Map, Value};
use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc};

use crate::caller::Caller;
use crate::problem::Problem;

/// What a command may have told and its reader not taken yet, in bytes. A reader that is slower than that is left: a run does not wait for it.
const WAITING_BYTES_MAX: usize = 64 << 20;

/// Runs commands of the command line. Implemented by whoever knows them.
#[async_trait]
pub trait Console: Send + Sync {
    /// Begins a command. It goes on whether or not anybody reads what it tells.
    ///
    /// # Errors
    /// What is no command, or one that is not to be run from outside (422); a caller who may not (403); too many that run (503). Nothing was begun.
    async fn begin(&self, request: CommandRequest, caller: &Caller) -> Result<RunningCommand, Problem>;

    /// Asks the run that a command of this caller drives to stop at its next superstep.
    ///
    /// # Errors
    /// 404 when no such command of theirs runs.
    fn stop(&self, command: &str, caller: &Caller) -> Result<(), Problem>;
}

/// For servers without a command line: there is no command.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoConsole;

#[async_trait]
impl Console for NoConsole {
    async fn begin(&self, _request: CommandRequest, _caller: &Caller) -> Result<RunningCommand, Problem> {
        Err(Problem::invalid("HP0736", "this server runs no commands"))
    }

    fn stop(&self, command: &str, _caller: &Caller) -> Result<(), Problem> {
        Err(no_such_command(command))
    }
}

/// The refusal to stop a command that does not run, or is somebody else's.
pub fn no_such_command(command: &str) -> Problem {
    let shown: String = command.chars().take(100).collect();
    Problem::not_found("HP0737", format!("no command {shown:?} of yours is running"))
}

/// What is to be run.
#[derive(Debug, Clone, Default)]
pub struct CommandRequest {
    /// The command with its arguments, as a shell would give them; without the program's name.
    pub arguments: Vec<String>,
    /// The files that the command names: their paths as the command names them, and their content as base64.
    pub files: Map<String, Value>,
    /// The place of a large request among those that are held at once, for as long as any of it is.
    pub place: Option<Arc<OwnedSemaphorePermit>>,
}

/// A command that has begun.
#[derive(Debug)]
pub struct RunningCommand {
    /// Names it while it runs.
    pub id: String,
    /// What it tells.
    pub output: OutputReader,
}

/// One thing that a command tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// A line, or several, of its result.
    Out(String),
    /// A remark.
    Note(String),
    /// The content of the file that it was to write.
    File(String),
    /// It has ended with this exit code. Nothing follows.
    Exit(u8),
    /// Its reader was too slow; the command goes on and nothing more is told of it. Nothing follows.
    Cut,
}

impl Output {
    fn bytes(&self) -> usize {
        match self {
            Self::Out(text) | Self::Note(text) | Self::File(text) => text.len(),
            Self::Exit(_) | Self::Cut => 0,
        }
    }
}

/// What a command tells, written by it and read by whoever asked for it. Writing never waits.
pub fn channel() -> (OutputWriter, OutputReader) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let shared = Arc::new(Shared::default());
    let writer = OutputWriter { sender, shared: Arc::clone(&shared), cut: AtomicBool::new(false) };
    (writer, OutputReader { receiver, shared })
}

#[derive(Debug, Default)]
struct Shared {
    /// What is told and not taken, in bytes.
    waiting: AtomicUsize,
    taken: Notify,
}

/// See [`channel`].
#[derive(Debug)]
pub struct OutputWriter {
    sender: mpsc::UnboundedSender<Output>,
    shared: Arc<Shared>,
    cut: AtomicBool,
}

impl OutputWriter {
    /// Tells something. Without a reader nobody is told.
    pub fn tell(&self, output: Output) {
        if self.cut.load(Ordering::Acquire) {
            return;
        }
        // One thing may be of any size; more waits only while what waits already is in bounds.
        if self.shared.waiting.load(Ordering::Acquire) > WAITING_BYTES_MAX {
            if !self.cut.swap(true, Ordering::AcqRel) {
                let _ = self.sender.send(Output::Cut);
            }
            return;
        }
        let bytes = output.bytes();
        self.shared.waiting.fetch_add(bytes, Ordering::AcqRel);
        let _ = self.sender.send(output);
    }

    /// Waits until the reader has taken most of what was told, or has gone: for those who tell without end.
    pub async fn room(&self) {
        loop {
            let taken = self.shared.taken.notified();
            tokio::pin!(taken);
            // From here on no change is missed.
            taken.as_mut().enable();
            if self.sender.is_closed() || self.shared.waiting.load(Ordering::Acquire) <= WAITING_BYTES_MAX / 2 {
                return;
            }
            taken.await;
        }
    }
}

/// See [`channel`].
#[derive(Debug)]
pub struct OutputReader {
    receiver: mpsc::UnboundedReceiver<Output>,
    shared: Arc<Shared>,
}

impl OutputReader {
    /// The next thing that is told; none when the command's writer is gone. May be dropped while it waits: nothing is lost.
    pub async fn next(&mut self) -> Option<Output> {
        let output = self.receiver.recv().await?;
        self.shared.waiting.fetch_sub(output.bytes(), Ordering::AcqRel);
        self.shared.taken.notify_waiters();
        Some(output)
    }
}

impl Drop for OutputReader {
    fn drop(&mut self) {
        self.receiver.close();
        self.shared.taken.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slow_reader_is_left_and_told_so() {
        let (writer, mut reader) = channel();
        let large = "x".repeat(WAITING_BYTES_MAX + 1);
        writer.tell(Output::File(large.clone()));
        writer.tell(Output::Out("too much".into()));
        writer.tell(Output::Exit(0));
        assert_eq!(reader.next().await, Some(Output::File(large)), "one thing may be of any size");
        assert_eq!(reader.next().await, Some(Output::Cut));
        drop(writer);
        assert_eq!(reader.next().await, None);
    }

    #[tokio::test]
    async fn who_waits_for_room_loses_nothing() {
        let (writer, mut reader) = channel();
        let written = tokio::spawn(async move {
            for _ in 0..4 {
                writer.tell(Output::Out("x".repeat(WAITING_BYTES_MAX)));
                writer.room().await;
            }
            writer.tell(Output::Exit(0));
            writer
        });
        for _ in 0..4 {
            assert!(matches!(reader.next().await, Some(Output::Out(_))));
        }
        assert_eq!(reader.next().await, Some(Output::Exit(0)));
        let writer = written.await.expect("it ends");
        writer.tell(Output::Out("x".repeat(WAITING_BYTES_MAX)));
        drop(reader);
        writer.room().await;
    }

    #[tokio::test]
    async fn what_was_taken_makes_room() {
        let (writer, mut reader) = channel();
        for _ in 0..3 {
            writer.tell(Output::Out("x".repeat(WAITING_BYTES_MAX)));
            writer.tell(Output::Note("y".into()));
            assert!(matches!(reader.next().await, Some(Output::Out(_))));
            assert_eq!(reader.next().await, Some(Output::Note("y".into())));
        }
        writer.tell(Output::Exit(3));
        assert_eq!(reader.next().await, Some(Output::Exit(3)));
    }
}
