//! Everything that can be seen of a store, with names in place of ids: half of the bits of an id that something from outside causes are random,
//! so two engines that did the same have different ones.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use holdpoint_engine::{Engine, plan};
use holdpoint_graph::ids::{CheckpointId, Namespace, NodeName, TaskId, ThreadId};
use holdpoint_graph::operation::{OperationHit, OperationRecord};
use holdpoint_store::{HistoryFilter, Outline, Snapshot, Store, ThreadFilter, ThreadRecord};

/// One thread, read as a whole.
pub(crate) struct Seen {
    pub(crate) record: ThreadRecord,
    /// With the runs of subgraphs of unfinished tasks.
    pub(crate) head: Snapshot,
    outline: Vec<Outline>,
    /// By namespace, in order of storing; outer ones first.
    pub(crate) histories: Vec<(Namespace, Vec<Snapshot>)>,
    pub(crate) operations: Vec<OperationRecord>,
    pub(crate) hits: Vec<OperationHit>,
    /// What was told of it.
    lines: Vec<String>,
}

impl Seen {
    /// The checkpoints of the thread's own graph, in order of storing.
    pub(crate) fn own(&self) -> &[Snapshot] {
        &self.histories[0].1
    }

    /// All checkpoints.
    pub(crate) fn snapshots(&self) -> impl Iterator<Item = &Snapshot> {
        self.histories.iter().flat_map(|(_, snapshots)| snapshots)
    }
}

/// Reads all threads, in the store's order. A thread whose record, checkpoints and operations are as they were is read again only when `whole` or
/// when it is the one that something was done to.
pub(crate) async fn read(store: &dyn Store, before: Vec<Seen>, touched: &str, whole: bool) -> Vec<Seen> {
    let filter = ThreadFilter { limit: 100, ..ThreadFilter::default() };
    let mut before: HashMap<ThreadId, Seen> = before.into_iter().map(|seen| (seen.record.id.clone(), seen)).collect();
    let mut seen = Vec::new();
    for record in store.threads(&filter).await.unwrap() {
        let outline = store.outline(&record.id).await.unwrap();
        let operations = store.operations(&record.id).await.unwrap();
        let before = before.remove(&record.id).filter(|_| !whole);
        let same = before.as_ref().is_some_and(|before| {
            (&before.record, &before.outline, &before.operations) == (&record, &outline, &operations)
        });
        match before {
            Some(before) if same && record.id.as_str() != touched => seen.push(before),
            before => seen.push(read_thread(store, before, record, outline, operations).await),
        }
    }
    seen
}

/// Namespaces where nothing was added and nothing waits are taken from `before`.
async fn read_thread(
    store: &dyn Store,
    before: Option<Seen>,
    record: ThreadRecord,
    outline: Vec<Outline>,
    operations: Vec<OperationRecord>,
) -> Seen {
    let head = store.snapshot(&record.id, None).await.unwrap().unwrap();
    let mut live = BTreeSet::new();
    before.iter().map(|before| &before.head).chain([&head]).for_each(|head| collect(head, &mut live));
    let mut known: HashMap<Namespace, Vec<Snapshot>> =
        before.map(|before| before.histories.into_iter().collect()).unwrap_or_default();
    let mut namespaces: BTreeMap<Namespace, Vec<CheckpointId>> = BTreeMap::new();
    for Outline { checkpoint, .. } in &outline {
        namespaces.entry(checkpoint.namespace.clone()).or_default().push(checkpoint.id.clone());
    }
    let mut histories = Vec::new();
    for (namespace, ids) in namespaces {
        let same = |known: &Vec<Snapshot>| known.iter().map(|found| &found.checkpoint.id).eq(&ids);
        if let Some(known) = known.remove(&namespace).filter(|known| same(known) && !live.contains(&namespace)) {
            histories.push((namespace, known));
            continue;
        }
        let filter = HistoryFilter { namespace: namespace.clone(), ..HistoryFilter::newest(100_000) };
        let mut snapshots = store.history(&record.id, &filter).await.unwrap();
        snapshots.reverse();
        histories.push((namespace, snapshots));
    }
    histories.sort_by_key(|(namespace, _)| namespace.parts().count());
    let mut hits = Vec::new();
    for operation in &operations {
        hits.extend(store.hits(&operation.key).await.unwrap());
    }
    Seen { record, head, outline, histories, operations, hits, lines: Vec::new() }
}

/// The namespaces of a head and of the runs of subgraphs that its unfinished tasks wait for.
fn collect(snapshot: &Snapshot, live: &mut BTreeSet<Namespace>) {
    live.insert(snapshot.checkpoint.namespace.clone());
    snapshot.children.values().for_each(|child| collect(child, live));
}

/// Names by id. What has a name keeps it, also when it is no more.
#[derive(Default)]
pub(crate) struct Names {
    names: HashMap<String, String>,
    /// Checkpoints that have a name, by thread and namespace.
    counts: BTreeMap<String, usize>,
}

impl Names {
    /// Gives names to what is new: where it stands, not when it came, since tasks that run at once end in any order.
    pub(crate) fn learn(&mut self, threads: &[Seen]) {
        let mut by_id: Vec<&Seen> = threads.iter().collect();
        by_id.sort_by(|left, right| left.record.id.cmp(&right.record.id));
        for seen in by_id {
            let mut level = 0;
            let mut rest = seen.histories.as_slice();
            while !rest.is_empty() {
                let end =
                    rest.iter().position(|(namespace, _)| namespace.parts().count() != level).unwrap_or(rest.len());
                let (now, later) = rest.split_at(end);
                let mut named: Vec<_> = now.iter().map(|(space, found)| (self.named(space.as_str()), found)).collect();
                named.sort_by(|left, right| left.0.cmp(&right.0));
                for (namespace, snapshots) in named {
                    let space = format!("{}/{namespace}", seen.record.id);
                    snapshots.iter().for_each(|snapshot| self.learn_checkpoint(&space, &seen.record, snapshot));
                }
                (rest, level) = (later, level + 1);
            }
        }
    }

    fn learn_checkpoint(&mut self, space: &str, thread: &ThreadRecord, snapshot: &Snapshot) {
        let record = &snapshot.checkpoint;
        if !self.names.contains_key(record.id.as_str()) {
            let count = self.counts.entry(space.to_owned()).or_default();
            self.names.insert(record.id.to_string(), format!("<{space}#{count}>"));
            *count += 1;
        }
        let name = self.named(record.id.as_str());
        self.give(record.anchor.as_str(), || format!("<anchor of {name}>"));
        let anchor = self.named(record.anchor.as_str());
        let planned = plan::tasks_of(&thread.id, record, &snapshot.tasks);
        let planned = planned.into_iter().map(|task| (task.id, task.path));
        let recorded = snapshot.tasks.iter().map(|task| (task.id.clone(), task.path.clone()));
        for (id, path) in planned.chain(recorded) {
            self.give(id.as_str(), || format!("<task {path} of {name}>"));
            let operations = TaskId::derive(&thread.lineage, &record.anchor, &path);
            self.give(operations.as_str(), || format!("<operations {path} of {anchor}>"));
        }
        let mut places: BTreeMap<(String, u32), usize> = BTreeMap::new();
        for question in &snapshot.questions {
            let task = self.named(question.task.as_str());
            let place = places.entry((task.clone(), question.occurrence)).or_default();
            self.give(question.id.as_str(), || format!("<question {}.{place} of {task}>", question.occurrence));
            *place += 1;
        }
    }

    fn give(&mut self, id: &str, name: impl FnOnce() -> String) {
        if !self.names.contains_key(id) {
            self.names.insert(id.to_owned(), name());
        }
    }

    /// The text with names in place of ids. What has none is numbered in order of appearance.
    pub(crate) fn named(&self, text: &str) -> String {
        let bytes = text.as_bytes();
        let mut strangers: Vec<&str> = Vec::new();
        let mut out = String::with_capacity(text.len());
        let (mut at, mut copied) = (0, 0);
        while at < bytes.len() {
            let Some(end) = end_of_id(bytes, at) else {
                // What is no id has none inside.
                at += 1;
                while at < bytes.len() && bytes[at - 1].is_ascii_alphanumeric() {
                    at += 1;
                }
                continue;
            };
            let id = &text[at..end];
            out.push_str(&text[copied..at]);
            match self.names.get(id) {
                Some(name) => out.push_str(name),
                None => {
                    let number = strangers.iter().position(|known| *known == id).unwrap_or_else(|| {
                        strangers.push(id);
                        strangers.len() - 1
                    });
                    out.push_str(&format!("<stranger {number}>"));
                }
            }
            // The rest of a derived operation's id is a digest of this one and of the request.
            let rest = bytes[end..].iter().skip(1).take(16).filter(|byte| byte.is_ascii_hexdigit()).count();
            let end = if text[..at].ends_with("task:") && rest == 16 { end + 17 } else { end };
            (at, copied) = (end, end);
        }
        out.push_str(&text[copied..]);
        out
    }
}

/// Where the UUID, or the 32 hexadecimal digits, end that begin here, where a word begins.
fn end_of_id(bytes: &[u8], at: usize) -> Option<usize> {
    let mut length = 0;
    let mut is_uuid = false;
    while let Some(byte) = bytes.get(at + length) {
        match byte {
            b'0'..=b'9' | b'a'..=b'f' => {}
            b'-' if length == 8 || (is_uuid && matches!(length, 13 | 18 | 23)) => is_uuid = true,
            _ => break,
        }
        length += 1;
        if length == 36 {
            break;
        }
    }
    let ends = !bytes.get(at + length).is_some_and(u8::is_ascii_alphanumeric);
    (ends && length == if is_uuid { 36 } else { 32 }).then_some(at + length)
}

/// What was told of the checkpoints of a thread, while they are as they were.
#[derive(Default)]
pub(crate) struct Cache(HashMap<(ThreadId, CheckpointId), (Snapshot, Vec<String>)>);

impl Cache {
    fn lines(&mut self, found: &Snapshot, names: &Names, at_once: bool, place: &str) -> Vec<String> {
        let key = (found.thread.id.clone(), found.checkpoint.id.clone());
        if let Some((before, lines)) = self.0.get(&key)
            && (&before.checkpoint, &before.values, &before.tasks) == (&found.checkpoint, &found.values, &found.tasks)
            && (&before.questions, &before.unsettled) == (&found.questions, &found.unsettled)
        {
            return lines.clone();
        }
        let mut lines = Vec::new();
        snapshot(&mut lines, found, names, at_once, place);
        self.0.insert(key, (found.clone(), lines.clone()));
        lines
    }
}

/// All that can be seen, line by line. Where tasks ran at once, what came in the order of their ends is sorted.
pub(crate) async fn tell(
    engine: &Engine,
    threads: &mut [Seen],
    names: &Names,
    cache: &mut Cache,
    at_once: bool,
) -> Vec<String> {
    let mut all = Vec::new();
    for seen in threads {
        if seen.lines.is_empty() {
            seen.lines = tell_thread(engine, seen, names, cache, at_once).await;
        }
        all.extend(seen.lines.iter().cloned());
    }
    all
}

async fn tell_thread(engine: &Engine, seen: &Seen, names: &Names, cache: &mut Cache, at_once: bool) -> Vec<String> {
    let id = &seen.record.id;
    let mut lines = Vec::new();
    lines.push(names.named(&format!("thread {:?}", seen.record)));
    let mut view = engine.view(id).await.unwrap();
    let mut interrupts: Vec<String> =
        view.interrupts.drain(..).map(|interrupt| names.named(&format!("{interrupt:?}"))).collect();
    if at_once {
        interrupts.sort();
    }
    lines.push(names.named(&format!("view {view:?} waits for {interrupts:?}")));
    let live = engine.state(id, None).await.unwrap();
    lines.push(format!("live values {:?} next {:?}", live.values, live.next));
    for task in live.tasks {
        let pending: BTreeSet<String> =
            task.questions.iter().map(|question| names.named(&format!("{question:?}"))).collect();
        lines.push(names.named(&format!("live task {:?} {:?} {:?} {pending:?}", task.path, task.status, task.result)));
        let inner = task.state.map(|state| (state.values, state.next, state.tasks.len()));
        lines.push(names.named(&format!("live run {inner:?}")));
    }
    snapshot(&mut lines, &seen.head, names, at_once, "head");
    let mut histories: Vec<_> =
        seen.histories.iter().map(|(space, found)| (names.named(space.as_str()), found)).collect();
    histories.sort_by(|left, right| left.0.cmp(&right.0));
    for (namespace, snapshots) in histories {
        lines.push(format!("namespace {namespace}"));
        for found in snapshots {
            lines.extend(cache.lines(found, names, at_once, &namespace));
        }
    }
    for entry in engine.history(id, None, 100_000).await.unwrap() {
        let tasks: Vec<_> = entry.tasks.iter().map(|task| (&task.status, &task.result, task.questions.len())).collect();
        lines.push(names.named(&format!("history {} {:?} {tasks:?}", entry.checkpoint, entry.next)));
    }
    let operations = seen.operations.iter().map(|record| format!("operation {record:?}"));
    let hits = seen.hits.iter().map(|hit| format!("hit {hit:?}"));
    lines.extend(ordered(operations, names, at_once));
    lines.extend(ordered(hits, names, at_once));
    lines
}

fn snapshot(lines: &mut Vec<String>, snapshot: &Snapshot, names: &Names, at_once: bool, place: &str) {
    lines.push(names.named(&format!("{place} checkpoint {:?}", snapshot.checkpoint)));
    lines.push(format!("{place} values {:?}", snapshot.values));
    for task in &snapshot.tasks {
        // Which of several answered nodes a command is filed under depends on the ids of their questions.
        let mut task = task.clone();
        if task.path.starts_with(plan::COMMAND) {
            task.node = NodeName::parse("somebody").unwrap();
        }
        lines.push(names.named(&format!("{place} task {task:?}")));
    }
    let questions = snapshot.questions.iter().map(|question| format!("{place} question {question:?}"));
    lines.extend(ordered(questions, names, at_once));
    let unsettled = snapshot.unsettled.iter().map(|operation| format!("{place} unsettled {operation:?}"));
    lines.extend(ordered(unsettled, names, at_once));
    let mut children: Vec<(String, &Snapshot)> =
        snapshot.children.iter().map(|(task, child)| (names.named(task.as_str()), child)).collect();
    children.sort_by(|left, right| left.0.cmp(&right.0));
    for (task, child) in children {
        self::snapshot(lines, child, names, at_once, &format!("{place} {task}"));
    }
}

fn ordered(lines: impl Iterator<Item = String>, names: &Names, at_once: bool) -> Vec<String> {
    let mut lines: Vec<String> = lines.map(|line| names.named(&line)).collect();
    if at_once {
        lines.sort();
    }
    lines
}

/// The checkpoint with this name.
pub(crate) fn checkpoint_at(snapshots: &[&Snapshot], index: usize) -> Option<CheckpointId> {
    (!snapshots.is_empty()).then(|| snapshots[index % snapshots.len()].checkpoint.id.clone())
}
