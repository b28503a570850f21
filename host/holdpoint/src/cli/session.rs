//! One run from the command line: told on standard output while it happens when that is asked for, and stopped by signals.

use std::io::Write as _;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use holdpoint_engine::stream::Stream;
use holdpoint_engine::{Drain, Event, EventSink, RunOptions, ThreadView};
use holdpoint_graph::nodes::EffectMode;
use holdpoint_store::ThreadStatus;
use serde_json::{Value, json};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::context::Context;
use super::output::{self, Progress};
use super::run_flags::RunFlags;
use crate::failure::{EXIT_FAILED, Failure};
use crate::host::Host;
use crate::remote::served::{self, Served};

/// Runs `work` with the options that the flags come to, and reports the thread that it gives: as a table or JSON document, or as JSON lines while it
/// runs. Gives the exit code.
///
/// # Errors
/// Those of `work` and of the flags. A stream tells them itself, as its last line.
pub(super) async fn run(
    context: &Context,
    flags: &RunFlags,
    effects: Option<EffectMode>,
    what: String,
    work: impl AsyncFnOnce(RunOptions) -> Result<(Host, ThreadView), Failure>,
) -> Result<u8, Failure> {
    let modes = flags.modes();
    let streams = !modes.is_empty();
    let printer = streams.then(|| Printer::start(Stream::new(modes)));
    let worked = async {
        let mut options = context.options(flags.options(effects)?);
        options.events = printer.as_ref().map(|printer| Arc::clone(&printer.sink) as Arc<dyn EventSink>);
        if !context.is_served() {
            stop_on_signals(options.drain.clone())?;
        }
        let progress = Progress::begin(what, context.json || streams);
        let worked = work(options).await;
        drop(progress);
        worked
    };
    let worked = worked.await;
    match printer {
        Some(printer) => {
            let (last, exit, host) = match worked {
                Ok((host, view)) => {
                    let end = json!({ "type": "end", "ns": [], "data": output::thread_json(&view) });
                    note_stop(&view);
                    (end, output::exit_of(view.status), Some(host))
                }
                Err(failure) => {
                    let told = failure.to_json();
                    let error = json!({ "type": "error", "ns": [], "data": told["error"] });
                    (error, failure.exit.max(EXIT_FAILED), None)
                }
            };
            printer.finish(&last);
            if let Some(host) = host {
                output::deliver_due(&host).await;
            }
            Ok(exit)
        }
        None => {
            let (host, view) = worked?;
            let exit = output::report_thread(&view, context.json);
            note_stop(&view);
            output::deliver_due(&host).await;
            Ok(exit)
        }
    }
}

/// A run that was asked to stop has nobody and goes on when somebody says so.
fn note_stop(view: &ThreadView) {
    if view.status == ThreadStatus::Running {
        let thread = output::quoted(view.thread.as_str());
        output::print_note(&format!(
            "the run was stopped between two supersteps; continue with: holdpoint resume --thread {thread}"
        ));
    }
}

/// The first Ctrl-C or SIGTERM stops the run at its next superstep boundary, the second one ends the process. Either way nothing is lost that was stored.
fn stop_on_signals(drain: Drain) -> Result<(), Failure> {
    let listen = |kind| {
        signal(kind).map_err(|error| {
            Failure::host("HP0793", format!("signals cannot be listened for: {error}"), "check the process limits")
        })
    };
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    tokio::spawn(async move {
        next_of(&mut interrupt, &mut terminate).await;
        drain.request();
        output::print_note("stopping after this superstep; a second signal stops at once");
        let number = next_of(&mut interrupt, &mut terminate).await;
        // What a shell shows for a process that a signal ended.
        std::process::exit(128 + number);
    });
    Ok(())
}

async fn next_of(interrupt: &mut Signal, terminate: &mut Signal) -> i32 {
    tokio::select! {
        _ = interrupt.recv() => SignalKind::interrupt().as_raw_value(),
        _ = terminate.recv() => SignalKind::terminate().as_raw_value(),
    }
}

/// Prints lines on a thread of its own, because a sink must not wait for a slow reader. The channel has no bound: it holds what the run has stored and
/// the reader has not taken.
///
/// A run for somebody else tells its lines to them at once: that never waits either.
struct Printer {
    sink: Arc<Sink>,
    thread: Option<JoinHandle<()>>,
}

/// Takes a run's events. Held for the time that an event takes to become text.
struct Sink(Mutex<Option<(Stream, Lines)>>);

/// Where lines go.
enum Lines {
    Thread(Sender<String>),
    Served(Arc<Served>),
}

impl Lines {
    fn print(&self, line: String) {
        match self {
            // Without a reader there is nobody to tell.
            Self::Thread(lines) => drop(lines.send(line)),
            Self::Served(served) => served.out(&line),
        }
    }
}

impl Printer {
    fn start(stream: Stream) -> Self {
        if let Some(served) = served::current() {
            return Self { sink: Arc::new(Sink(Mutex::new(Some((stream, Lines::Served(served)))))), thread: None };
        }
        let (lines, printed) = channel::<String>();
        let thread = std::thread::spawn(move || {
            let mut out = std::io::stdout().lock();
            for line in printed {
                // A reader that has gone away is no error of ours; the run goes on.
                if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
                    break;
                }
            }
        });
        Self { sink: Arc::new(Sink(Mutex::new(Some((stream, Lines::Thread(lines)))))), thread: Some(thread) }
    }

    /// Prints the last line and waits until everything is out.
    fn finish(self, last: &Value) {
        if let Some((_, lines)) = self.sink.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            lines.print(last.to_string());
        }
        if let Some(thread) = self.thread {
            // It ends with the channel, whose only sender is gone; a panic in it has nothing left to print.
            let _ = thread.join();
        }
    }
}

impl EventSink for Sink {
    fn take(&self, event: Event) {
        if let Some((stream, lines)) = self.0.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            for part in stream.parts(&event) {
                lines.print(part.to_json().to_string());
            }
        }
    }
}
