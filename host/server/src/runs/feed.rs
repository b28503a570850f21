//! What is told of a thread, kept for a while, for any number of watchers.
//!
//! A feed holds one bounded buffer. Watchers hold a place in it and nothing else: each is woken when there is more and reads on from its place, so
//! that a slow one costs no memory and is told when the buffer has moved past it. Nobody asks the store.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use holdpoint_engine::stream::Mode;
use holdpoint_graph::ids::{Namespace, RunId, ThreadId};
use serde_json::{Value, json};
use tokio::sync::watch;

/// Frames that a feed keeps: a run of thousands of supersteps, or a client that was gone for some minutes.
const FRAMES_MAX: usize = 16_384;

/// Bytes that the frames of a feed take.
const BYTES_MAX: usize = 16 << 20;

/// Bytes that the frames of all feeds take together which nobody watches and nobody writes: for those who come back. Thousands of threads may go on at
/// once, and hardly any of them is looked at.
const IDLE_BYTES_MAX: usize = 32 << 20;

/// How long a feed is kept after it was last written or watched.
const KEPT: Duration = Duration::from_secs(300);

/// How late somebody may begin to watch the run that they asked for. Longer than clients wait for a stream to open.
const LATE_MAX: Duration = Duration::from_secs(6);

/// Runs whose ends a feed remembers.
const ENDS_MAX: usize = 64;

/// Frames that are handed to a watcher at once.
const BATCH_MAX: usize = 256;

/// One thing that is told.
#[derive(Debug)]
pub(crate) struct Frame {
    /// Its place in the feed. Rises, also over restarts of the host.
    pub(crate) sequence: u64,
    /// When, in milliseconds since 1970.
    pub(crate) at_ms: u64,
    /// The run that it belongs to; none for a thread that went on by itself.
    pub(crate) run: Option<RunId>,
    /// What kind of thing it is.
    pub(crate) kind: FrameKind,
    /// Which graph of the thread it is about.
    pub(crate) namespace: Namespace,
    /// What it says, as JSON.
    pub(crate) data: String,
}

/// Kinds of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrameKind {
    /// A run begins, or goes on after a restart.
    Began,
    /// One of LangGraph's stream modes.
    Mode(Mode),
    /// Mode `events`.
    Events,
    /// Mode `messages-tuple`.
    Message,
    /// Mode `messages`: who says the message.
    MessageMetadata,
    /// Mode `messages`: a message as far as it has come.
    MessagePartial,
    /// Mode `messages`: a whole message.
    MessageComplete,
    /// A question was asked.
    Asked,
    /// What a run, or the thread, does now.
    Lifecycle,
    /// The thread's state was written from outside, not by a run.
    StateUpdate,
    /// A run failed or was cancelled.
    Failed,
    /// A run has ended: nothing of it follows.
    Ended,
}

impl Frame {
    /// What it takes, about.
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.data.len()
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Finish {
    /// What `wait` and `join` answer.
    pub(crate) body: Value,
    /// Why a rollback that was asked for did not take place.
    pub(crate) not_rolled_back: Option<(String, String)>,
}

/// The feeds of a host.
#[derive(Clone, Default)]
pub(crate) struct Feeds(Arc<Mutex<HashMap<ThreadId, Arc<Feed>>>>);

/// See the module.
pub(crate) struct Feed {
    /// A std mutex: held to copy pointers, never across an await.
    state: Mutex<FeedState>,
    /// The place of the newest frame. Watchers wait for it to change.
    newest: watch::Sender<u64>,
}

struct FeedState {
    frames: VecDeque<Arc<Frame>>,
    bytes: usize,
    /// The place of the frame before the oldest that is kept.
    passed: u64,
    runs: HashMap<RunId, RunPlace>,
    /// Runs in the order in which they ended.
    ended: VecDeque<RunId>,
    touched: Instant,
    /// The newest run that somebody asked for who is about to watch it, and when.
    commanded: Option<(RunId, Instant)>,
    closed: bool,
}

#[derive(Default)]
struct RunPlace {
    /// The place before its first frame.
    before: u64,
    began: bool,
    finish: Option<Arc<Finish>>,
}

impl Feeds {
    fn all(&self) -> MutexGuard<'_, HashMap<ThreadId, Arc<Feed>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The feed of a thread, made when there is none. A new one counts from the host's clock, so that places rise over restarts.
    pub(crate) fn of(&self, thread: &ThreadId, now_ms: u64) -> Arc<Feed> {
        let mut all = self.all();
        Arc::clone(all.entry(thread.clone()).or_insert_with(|| Arc::new(Feed::new(now_ms))))
    }

    /// The feed of a thread, where there is one.
    pub(crate) fn known(&self, thread: &ThreadId) -> Option<Arc<Feed>> {
        self.all().get(thread).cloned()
    }

    /// Forgets feeds that nobody has watched or written for a while, and of the others without watchers the oldest where they are too large.
    pub(crate) fn sweep(&self) {
        let mut all = self.all();
        // One that somebody else holds is being written.
        all.retain(|_, feed| feed.is_watched() || Arc::strong_count(feed) > 1 || feed.state().is_needed());
        let mut idle: Vec<(Instant, usize, ThreadId)> = all
            .iter()
            .filter(|(_, feed)| !feed.is_watched() && Arc::strong_count(feed) == 1)
            .filter_map(|(thread, feed)| {
                let state = feed.state();
                (!state.is_written()).then(|| (state.touched, state.bytes, thread.clone()))
            })
            .collect();
        let mut bytes: usize = idle.iter().map(|(_, bytes, _)| bytes).sum();
        idle.sort();
        for (_, own, thread) in idle {
            if bytes <= IDLE_BYTES_MAX {
                break;
            }
            bytes -= own;
            all.remove(&thread);
        }
    }

    /// Runs that are watched and, as far as is known here, not over.
    pub(crate) fn awaited(&self) -> Vec<(ThreadId, RunId)> {
        let all = self.all();
        let watched = all.iter().filter(|(_, feed)| feed.is_watched());
        watched
            .flat_map(|(thread, feed)| {
                let state = feed.state();
                let open = state.runs.iter().filter(|(_, place)| place.finish.is_none());
                open.map(|(run, _)| (thread.clone(), run.clone())).collect::<Vec<_>>()
            })
            .collect()
    }

    /// Ends all watching: what is in the buffers is still read.
    pub(crate) fn close(&self) {
        for feed in self.all().values() {
            feed.state().closed = true;
            feed.newest.send_modify(|_| {});
        }
    }
}

impl Feed {
    fn new(now_ms: u64) -> Self {
        let state = FeedState {
            frames: VecDeque::new(),
            bytes: 0,
            passed: now_ms,
            runs: HashMap::new(),
            ended: VecDeque::new(),
            commanded: None,
            touched: Instant::now(),
            closed: false,
        };
        Self { state: Mutex::new(state), newest: watch::Sender::new(now_ms) }
    }

    fn state(&self) -> MutexGuard<'_, FeedState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_watched(&self) -> bool {
        self.newest.receiver_count() > 0
    }

    /// Notes a run that was accepted, so that its end can be waited for.
    pub(crate) fn expect(&self, run: &RunId) {
        let mut state = self.state();
        let before = state.newest();
        state.runs.entry(run.clone()).or_insert(RunPlace { before, ..RunPlace::default() });
        state.touched = Instant::now();
    }

    /// Notes that a run was asked for by somebody who is about to watch it.
    pub(crate) fn commanded(&self, run: &RunId) {
        self.state().commanded = Some((run.clone(), Instant::now()));
    }

    /// The place before the newest run that somebody asked for a moment ago and is about to watch: a quick run is over before they can.
    pub(crate) fn before_commanded(&self) -> Option<u64> {
        let state = self.state();
        let (run, at) = state.commanded.as_ref()?;
        (at.elapsed() < LATE_MAX).then(|| state.runs.get(run).map(|place| place.before)).flatten()
    }

    /// Tells that a run begins, once.
    pub(crate) fn begin(&self, run: &RunId, graph: &str, at_ms: u64) {
        let mut state = self.state();
        let before = state.newest();
        let place = state.runs.entry(run.clone()).or_insert(RunPlace { before, ..RunPlace::default() });
        if std::mem::replace(&mut place.began, true) {
            return;
        }
        place.before = before;
        let data = json!({ "run_id": run.as_str(), "attempt": 1 });
        state.push(Some(run), at_ms, FrameKind::Began, Namespace::root(), &data);
        let data = json!({ "event": "started", "graph_name": graph });
        state.push(Some(run), at_ms, FrameKind::Lifecycle, Namespace::root(), &data);
        self.tell(state);
    }

    /// Tells several things that happened at once.
    pub(crate) fn push(&self, run: Option<&RunId>, at_ms: u64, told: Vec<(FrameKind, Namespace, Value)>) {
        if told.is_empty() {
            return;
        }
        let mut state = self.state();
        for (kind, namespace, data) in told {
            state.push(run, at_ms, kind, namespace, &data);
        }
        self.tell(state);
    }

    /// Tells that a run has ended: `told` before it, and nothing of it after.
    pub(crate) fn finish(&self, run: &RunId, at_ms: u64, told: Vec<(FrameKind, Value)>, finish: Finish) {
        let mut state = self.state();
        let before = state.newest();
        let place = state.runs.entry(run.clone()).or_insert(RunPlace { before, ..RunPlace::default() });
        if place.finish.is_some() {
            return;
        }
        place.finish = Some(Arc::new(finish));
        for (kind, data) in told {
            state.push(Some(run), at_ms, kind, Namespace::root(), &data);
        }
        state.push(Some(run), at_ms, FrameKind::Ended, Namespace::root(), &Value::Null);
        state.ended.push_back(run.clone());
        if state.ended.len() > ENDS_MAX
            && let Some(oldest) = state.ended.pop_front()
        {
            state.runs.remove(&oldest);
        }
        self.tell(state);
    }

    fn tell(&self, mut state: MutexGuard<'_, FeedState>) {
        state.touched = Instant::now();
        let newest = state.newest();
        drop(state);
        // Two writers may come here in either order.
        self.newest.send_modify(|known| *known = newest.max(*known));
    }

    /// The place of the newest frame.
    pub(crate) fn newest(&self) -> u64 {
        self.state().newest()
    }

    /// The place before the oldest frame that is kept.
    pub(crate) fn oldest(&self) -> u64 {
        self.state().passed
    }

    /// The place before a run's first frame; none for a run that nothing is known of here.
    pub(crate) fn before(&self, run: &RunId) -> Option<u64> {
        self.state().runs.get(run).map(|place| place.before)
    }

    /// How a run ended; none while it has not, or when nothing is known of it here.
    pub(crate) fn finished(&self, run: &RunId) -> Option<Arc<Finish>> {
        self.state().runs.get(run)?.finish.clone()
    }

    /// Watches from a place on.
    pub(crate) fn watch(self: &Arc<Self>, after: u64) -> Watcher {
        Watcher { feed: Arc::clone(self), newest: self.newest.subscribe(), place: after }
    }
}

impl FeedState {
    fn newest(&self) -> u64 {
        self.frames.back().map_or(self.passed, |frame| frame.sequence)
    }

    /// Whether a feed without watchers is kept.
    fn is_needed(&self) -> bool {
        self.touched.elapsed() < KEPT || self.is_written()
    }

    /// Whether a run is in the middle of it.
    fn is_written(&self) -> bool {
        self.runs.values().any(|place| place.began && place.finish.is_none())
    }

    fn push(&mut self, run: Option<&RunId>, at_ms: u64, kind: FrameKind, namespace: Namespace, data: &Value) {
        let frame =
            Frame { sequence: self.newest() + 1, at_ms, run: run.cloned(), kind, namespace, data: data.to_string() };
        self.bytes += frame.bytes();
        self.frames.push_back(Arc::new(frame));
        while self.frames.len() > FRAMES_MAX || (self.bytes > BYTES_MAX && self.frames.len() > 1) {
            let Some(oldest) = self.frames.pop_front() else { break };
            self.bytes -= oldest.bytes();
            self.passed = oldest.sequence;
        }
    }

    fn after(&self, place: u64) -> Vec<Arc<Frame>> {
        let first = usize::try_from(place.saturating_sub(self.passed)).unwrap_or(usize::MAX);
        self.frames.iter().skip(first).take(BATCH_MAX).cloned().collect()
    }
}

/// Somebody who reads a feed on from a place.
pub(crate) struct Watcher {
    feed: Arc<Feed>,
    newest: watch::Receiver<u64>,
    place: u64,
}

/// What a watcher gets.
#[derive(Debug)]
pub(crate) enum Batch {
    /// The next frames, in order; at least one.
    Frames(Vec<Arc<Frame>>),
    /// The buffer has moved past the watcher's place: some frames are lost for it. The next batch goes on with what is left.
    Gap,
    /// The host stops: nothing more comes.
    Closed,
}

impl Watcher {
    /// The place that it has come to.
    pub(crate) fn place(&self) -> u64 {
        self.place
    }

    /// Waits for more. Nothing is lost when the future is dropped.
    pub(crate) async fn next(&mut self) -> Batch {
        loop {
            self.newest.borrow_and_update();
            {
                let state = self.feed.state();
                if self.place < state.passed {
                    self.place = state.passed;
                    return Batch::Gap;
                }
                let frames = state.after(self.place);
                if let Some(last) = frames.last() {
                    self.place = last.sequence;
                    return Batch::Frames(frames);
                }
                if state.closed {
                    return Batch::Closed;
                }
            }
            if self.newest.changed().await.is_err() {
                return Batch::Closed;
            }
        }
    }

    /// Waits for the end of a run; none when the host stops before.
    pub(crate) async fn finished(&mut self, run: &RunId) -> Option<Arc<Finish>> {
        loop {
            self.newest.borrow_and_update();
            if let Some(finish) = self.feed.finished(run) {
                return Some(finish);
            }
            if self.feed.state().closed || self.newest.changed().await.is_err() {
                return None;
            }
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.feed.state().touched = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(number: u8) -> RunId {
        RunId::parse(format!("00000000-0000-7000-8000-0000000000{number:02}")).expect("a UUID")
    }

    fn say(feed: &Feed, text: &str) {
        let said = (FrameKind::Mode(Mode::Custom), Namespace::root(), json!(text));
        feed.push(Some(&run(1)), 5, vec![said]);
    }

    fn texts(batch: &Batch) -> Vec<String> {
        match batch {
            Batch::Frames(frames) => frames.iter().map(|frame| frame.data.clone()).collect(),
            Batch::Gap | Batch::Closed => Vec::new(),
        }
    }

    #[tokio::test]
    async fn watchers_read_on_from_their_places() {
        let feeds = Feeds::default();
        let thread = ThreadId::parse("t").expect("a thread");
        let feed = feeds.of(&thread, 1000);
        say(&feed, "a");
        say(&feed, "b");
        let mut from_start = feed.watch(1000);
        let mut from_now = feed.watch(feed.newest());
        assert_eq!(texts(&from_start.next().await), ["\"a\"", "\"b\""]);
        let waits = tokio::spawn(async move { texts(&from_now.next().await) });
        say(&feed, "c");
        assert_eq!(waits.await.expect("a batch"), ["\"c\""]);
        assert_eq!(texts(&from_start.next().await), ["\"c\""]);
        feeds.close();
        assert!(matches!(from_start.next().await, Batch::Closed));
    }

    #[tokio::test]
    async fn who_is_too_slow_is_told_and_reads_on() {
        let feed = Arc::new(Feed::new(0));
        let mut slow = feed.watch(0);
        for number in 0..FRAMES_MAX + 10 {
            say(&feed, &number.to_string());
        }
        assert!(matches!(slow.next().await, Batch::Gap));
        assert_eq!(texts(&slow.next().await)[0], "\"10\"");
        assert_eq!(feed.state().frames.len(), FRAMES_MAX);
    }

    #[test]
    fn the_buffer_is_bounded_by_bytes() {
        let feed = Feed::new(0);
        for _ in 0..40 {
            say(&feed, &"x".repeat(1 << 20));
        }
        let state = feed.state();
        assert!(state.bytes <= BYTES_MAX && state.frames.len() == 15, "{}", state.frames.len());
    }

    #[tokio::test]
    async fn an_end_is_told_once_and_waited_for() {
        let feed = Arc::new(Feed::new(0));
        feed.expect(&run(1));
        let mut watcher = feed.watch(0);
        let finish = |text: &str| Finish { body: json!(text), not_rolled_back: None };
        let waits = tokio::spawn(async move { watcher.finished(&run(1)).await });
        feed.begin(&run(1), "g", 5);
        feed.begin(&run(1), "g", 6);
        feed.finish(&run(1), 7, Vec::new(), finish("first"));
        feed.finish(&run(1), 8, Vec::new(), finish("second"));
        assert_eq!(waits.await.expect("no panic").expect("an end").body, json!("first"));
        let kinds: Vec<FrameKind> = feed.state().frames.iter().map(|frame| frame.kind).collect();
        assert_eq!(kinds, [FrameKind::Began, FrameKind::Lifecycle, FrameKind::Ended]);
    }

    #[test]
    fn feeds_that_nobody_needs_are_forgotten() {
        let feeds = Feeds::default();
        let thread = |name: &str| ThreadId::parse(name).expect("a thread");
        let old = || Instant::now().checked_sub(KEPT * 2).expect("the machine runs long enough");
        for name in ["idle", "watched", "busy"] {
            say(&feeds.of(&thread(name), 0), "a");
        }
        let watcher = feeds.of(&thread("watched"), 0).watch(0);
        feeds.of(&thread("busy"), 0).begin(&run(1), "g", 0);
        for name in ["idle", "watched", "busy"] {
            feeds.of(&thread(name), 0).state().touched = old();
        }
        feeds.sweep();
        let mut left: Vec<String> = feeds.all().keys().map(ToString::to_string).collect();
        left.sort();
        assert_eq!(left, ["busy", "watched"]);
        drop(watcher);
    }

    #[test]
    fn what_nobody_watches_takes_so_much_and_no_more() {
        let feeds = Feeds::default();
        let thread = |number: usize| ThreadId::parse(format!("t-{number}")).expect("a thread");
        // The oldest is in the middle of a run.
        feeds.of(&thread(0), 0).begin(&run(1), "g", 0);
        for number in 0..40 {
            say(&feeds.of(&thread(number), 0), &"x".repeat(1 << 20));
        }
        feeds.sweep();
        let left: Vec<bool> = (0..40).map(|number| feeds.known(&thread(number)).is_some()).collect();
        assert!(left[0], "it would not be told to its end");
        assert_eq!(left[1..].iter().position(|left| *left), Some(8), "the oldest go: {left:?}");
        assert!(left[9..].iter().all(|left| *left), "{left:?}");
        let bytes = |feed: &Arc<Feed>| feed.state().bytes;
        assert!(feeds.all().values().map(bytes).sum::<usize>() <= IDLE_BYTES_MAX + (2 << 20));
    }
}
