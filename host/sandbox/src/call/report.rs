//! What a node says while it works, bounded.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use holdpoint_graph::nodes::{LogLevel, TaskJournal, TaskReport};
use serde_json::Value;

use crate::call::state::Exceeded;
use crate::options::CallLimits;

/// Longer lines are cut: they are read by people.
const LINE_BYTES_MAX: usize = 16 << 10;

/// Passes log lines and events on until their volume reaches the limit, which ends the call.
///
/// Shared with the guest's output streams, which live apart from the store's other data. The lock is held for moments and never while waiting.
pub(crate) struct Reporter {
    journal: Option<Arc<dyn TaskJournal>>,
    bytes_max: usize,
    reports_max: usize,
    volume: Mutex<Volume>,
}

#[derive(Default)]
struct Volume {
    bytes: usize,
    reports: usize,
    exceeded: Option<Exceeded>,
    last_error: Option<String>,
    /// Unfinished lines of standard output and standard error.
    unfinished: [Vec<u8>; 2],
}

/// One of the guest's output streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Output,
    Error,
}

impl Stream {
    fn level(self) -> LogLevel {
        match self {
            Self::Output => LogLevel::Info,
            Self::Error => LogLevel::Warn,
        }
    }
}

impl Reporter {
    /// Without a journal, what is said is counted and dropped.
    pub(crate) fn new(journal: Option<Arc<dyn TaskJournal>>, limits: &CallLimits) -> Self {
        Self { journal, bytes_max: limits.report_bytes, reports_max: limits.reports, volume: Mutex::default() }
    }

    pub(crate) fn log(&self, level: LogLevel, message: &str) -> Result<(), Exceeded> {
        let mut volume = self.volume();
        if level == LogLevel::Error {
            volume.last_error = Some(cut(message));
        }
        self.pass(&mut volume, message.len(), || TaskReport::Log { level, message: cut(message) })
    }

    /// `bytes` is the event's length as text.
    pub(crate) fn emit(&self, event: Value, bytes: usize) -> Result<(), Exceeded> {
        self.pass(&mut self.volume(), bytes, || TaskReport::Custom(event))
    }

    /// Takes what the guest printed and passes whole lines on.
    pub(crate) fn print(&self, stream: Stream, bytes: &[u8]) -> Result<(), Exceeded> {
        let mut volume = self.volume();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            volume.unfinished[stream as usize].extend_from_slice(piece);
            if piece.ends_with(b"\n") || volume.unfinished[stream as usize].len() > LINE_BYTES_MAX {
                self.pass_line(&mut volume, stream)?;
            }
        }
        Ok(())
    }

    /// Passes on lines that the guest did not finish. Called once, when the call has ended.
    pub(crate) fn finish(&self) {
        let mut volume = self.volume();
        for stream in [Stream::Output, Stream::Error] {
            if !volume.unfinished[stream as usize].is_empty() {
                // The call has ended anyway; a line too much changes nothing.
                let _ = self.pass_line(&mut volume, stream);
            }
        }
    }

    /// Set once the volume was too much.
    pub(crate) fn take_exceeded(&self) -> Option<Exceeded> {
        self.volume().exceeded.take()
    }

    /// The last error that the guest reported or printed: what a panic said.
    pub(crate) fn take_last_error(&self) -> Option<String> {
        self.volume().last_error.take()
    }

    fn pass_line(&self, volume: &mut Volume, stream: Stream) -> Result<(), Exceeded> {
        let mut line = std::mem::take(&mut volume.unfinished[stream as usize]);
        let length = line.len();
        while matches!(line.last(), Some(b'\n' | b'\r')) {
            line.pop();
        }
        let message = cut(&String::from_utf8_lossy(&line));
        if stream == Stream::Error && !message.trim().is_empty() {
            volume.last_error = Some(message.clone());
        }
        self.pass(volume, length, || TaskReport::Log { level: stream.level(), message })
    }

    fn pass(&self, volume: &mut Volume, bytes: usize, report: impl FnOnce() -> TaskReport) -> Result<(), Exceeded> {
        volume.bytes = volume.bytes.saturating_add(bytes);
        volume.reports += 1;
        let message = if volume.bytes > self.bytes_max {
            format!("the node reported more than {} bytes", self.bytes_max)
        } else if volume.reports > self.reports_max {
            format!("the node reported more than {} lines and events", self.reports_max)
        } else {
            if let Some(journal) = &self.journal {
                journal.report(report());
            }
            return Ok(());
        };
        let exceeded = Exceeded { limit: "log-volume", message };
        volume.exceeded.get_or_insert_with(|| exceeded.clone());
        Err(exceeded)
    }

    fn volume(&self) -> MutexGuard<'_, Volume> {
        self.volume.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Cuts a line to what a person reads, and says so.
pub(crate) fn cut(line: &str) -> String {
    if line.len() <= LINE_BYTES_MAX {
        return line.to_owned();
    }
    let end = line.floor_char_boundary(LINE_BYTES_MAX);
    format!("{}… ({} bytes more)", &line[..end], line.len() - end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdpoint_graph::nodes::JournalError;
    use holdpoint_graph::operation::OperationRecord;

    #[derive(Default)]
    struct Heard(Mutex<Vec<TaskReport>>);

    #[async_trait::async_trait]
    impl TaskJournal for Heard {
        async fn store(&self, _: Vec<OperationRecord>) -> Result<(), JournalError> {
            Ok(())
        }

        fn report(&self, report: TaskReport) {
            self.0.lock().expect("not poisoned").push(report);
        }
    }

    fn heard(limits: &CallLimits, say: impl FnOnce(&Reporter)) -> Vec<String> {
        let heard = Arc::new(Heard::default());
        let reporter = Reporter::new(Some(heard.clone()), limits);
        say(&reporter);
        reporter.finish();
        let reports = std::mem::take(&mut *heard.0.lock().expect("not poisoned"));
        reports
            .into_iter()
            .map(|report| match report {
                TaskReport::Log { level, message } => format!("{level:?} {message}"),
                TaskReport::Custom(event) => event.to_string(),
            })
            .collect()
    }

    #[test]
    fn prints_become_lines() {
        let lines = heard(&CallLimits::default(), |reporter| {
            reporter.print(Stream::Output, b"one\ntw").expect("fits");
            reporter.print(Stream::Error, b"bad\r\n\n").expect("fits");
            reporter.print(Stream::Output, b"o\nthree \xff").expect("fits");
            assert_eq!(reporter.take_last_error().as_deref(), Some("bad"));
        });
        assert_eq!(lines, ["Info one", "Warn bad", "Warn ", "Info two", "Info three \u{fffd}"]);
    }

    #[test]
    fn long_lines_are_cut_between_characters() {
        let lines =
            heard(&CallLimits::default(), |reporter| reporter.log(LogLevel::Info, &"ä".repeat(10_000)).expect("fits"));
        assert!(lines[0].ends_with("ä… (3616 bytes more)"), "{}", &lines[0][lines[0].len() - 40..]);
        let lines =
            heard(&CallLimits::default(), |reporter| reporter.print(Stream::Output, &[b'x'; 40_000]).expect("fits"));
        assert_eq!(lines.len(), 1);
    }

    #[test]
    fn volume_is_bounded() {
        let limits = CallLimits { report_bytes: 10, reports: 3, ..CallLimits::default() };
        let lines = heard(&limits, |reporter| {
            reporter.log(LogLevel::Info, "12345").expect("fits");
            reporter.emit(Value::from(1), 5).expect("fits");
            assert!(reporter.log(LogLevel::Info, "x").is_err());
            assert_eq!(reporter.take_exceeded().map(|exceeded| exceeded.limit), Some("log-volume"));
        });
        assert_eq!(lines, ["Info 12345", "1"]);
        let lines = heard(&limits, |reporter| {
            for _ in 0..3 {
                reporter.log(LogLevel::Info, "").expect("fits");
            }
            assert!(reporter.print(Stream::Output, b"\n\n").is_err());
        });
        assert_eq!(lines.len(), 3);
    }
}
