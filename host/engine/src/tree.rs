//! All branches of a thread, drawn. Pure.
//!
//! Time runs down. The way to the head stands in the first column; a branch that was left hangs off it, so that a long history stays narrow and only
//! branches of branches move to the right.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use holdpoint_graph::ids::{CheckpointId, NodeName};
use holdpoint_graph::nodes::EffectMode;
use holdpoint_store::{Outline, Source, Trigger};
use serde_json::{Value, json};

/// From here on a branch of a branch is drawn in the same column, with the number of columns in front.
const COLUMNS_MAX: usize = 12;

/// The last digits of a checkpoint's id, which tell it from others.
pub fn short_id(id: &CheckpointId) -> &str {
    id.as_str().rsplit_once('-').map_or(id.as_str(), |(_, last)| last)
}

/// A drawing: one line for each checkpoint.
pub fn draw(outline: &[Outline], head: &CheckpointId, subgraphs: bool) -> String {
    let shape = Shape::new(outline, head);
    let mut lines = Vec::new();
    // What is still to be drawn, the next one last. No recursion: histories are long.
    let mut waiting: Vec<Line> = Vec::new();
    let mut roots = shape.roots.clone();
    roots.reverse();
    waiting.extend(roots.into_iter().map(|at| Line { at, first: Margin::default(), rest: Margin::default() }));
    while let Some(Line { at, first, rest }) = waiting.pop() {
        lines.push(format!("{}{}", first.text(), shape.text(at)));
        let (side, main) = match shape.children[at].split_last() {
            Some((main, side)) => (side, Some(*main)),
            None => (&[][..], None),
        };
        // Pushed in reverse: what comes first is drawn first.
        waiting.extend(main.map(|at| Line { at, first: rest.clone(), rest: rest.clone() }));
        for at in side.iter().rev() {
            waiting.push(Line { at: *at, first: rest.with("├─"), rest: rest.with("│ ") });
        }
        if subgraphs {
            let below = rest.with(if main.is_some() { "│   " } else { "    " });
            for run in shape.runs(at).into_iter().rev() {
                // Within a run the same way of drawing holds, but for what is not of this run.
                for at in run.into_iter().rev() {
                    waiting.push(Line { at, first: below.clone(), rest: below.clone() });
                }
            }
        }
    }
    lines.join("\n")
}

/// The same for programs: all checkpoints in order of storing.
pub fn tree_json(outline: &[Outline], head: &CheckpointId) -> Value {
    let shape = Shape::new(outline, head);
    let entries = outline.iter().enumerate().map(|(at, Outline { checkpoint, task_children })| {
        json!({
            "checkpoint_id": checkpoint.id.as_str(),
            "parent_id": checkpoint.parent.as_ref().map(CheckpointId::as_str),
            "namespace": checkpoint.namespace.as_str(),
            "step": checkpoint.step,
            "source": checkpoint.source.name(),
            "writers": checkpoint.writers.iter().map(NodeName::as_str).collect::<Vec<_>>(),
            "next": next_of(&checkpoint.next),
            "effects": checkpoint.effects.name(),
            "head": checkpoint.id == *head,
            "on_head_branch": shape.is_on_way[at],
            "task_children": task_children.iter().map(CheckpointId::as_str).collect::<Vec<_>>(),
        })
    });
    entries.collect()
}

/// One line to be drawn: which checkpoint, what stands before it, and what stands before those below it in its column.
struct Line {
    at: usize,
    first: Margin,
    rest: Margin,
}

/// What stands left of a checkpoint.
#[derive(Debug, Clone, Default)]
struct Margin {
    columns: usize,
    text: Rc<str>,
}

impl Margin {
    fn with(&self, more: &str) -> Self {
        let columns = self.columns + 1;
        let text = if columns > COLUMNS_MAX { Rc::clone(&self.text) } else { format!("{}{more}", self.text).into() };
        Self { columns, text }
    }

    fn text(&self) -> String {
        if self.columns > COLUMNS_MAX { format!("{}⋯{} ", self.text, self.columns) } else { self.text.to_string() }
    }
}

/// Who descends from whom. Checkpoints are named by their places in the outline.
struct Shape<'a> {
    outline: &'a [Outline],
    head: &'a CheckpointId,
    by_id: HashMap<&'a CheckpointId, usize>,
    /// Of the thread's own graph, and whose parent is not there any more or never was; that of the head last.
    roots: Vec<usize>,
    /// In order of drawing: the one that goes on in the same column last.
    children: Vec<Vec<usize>>,
    /// Whether it is the head, or the head descends from it.
    is_on_way: Vec<bool>,
}

impl<'a> Shape<'a> {
    fn new(outline: &'a [Outline], head: &'a CheckpointId) -> Self {
        let by_id: HashMap<&CheckpointId, usize> =
            outline.iter().enumerate().map(|(at, outline)| (&outline.checkpoint.id, at)).collect();
        let parent = |at: usize| outline[at].checkpoint.parent.as_ref().and_then(|id| by_id.get(id).copied());
        let mut is_on_way = vec![false; outline.len()];
        let mut current = by_id.get(head).copied();
        while let Some(at) = current
            && !is_on_way[at]
        {
            is_on_way[at] = true;
            current = parent(at);
        }
        // The newest checkpoint below each one: parents are stored before their children.
        let mut newest: Vec<usize> = (0..outline.len()).collect();
        let mut children: Vec<Vec<usize>> = vec![Vec::new(); outline.len()];
        let mut roots = Vec::new();
        for at in (0..outline.len()).rev() {
            match parent(at) {
                Some(parent) => {
                    newest[parent] = newest[parent].max(newest[at]);
                    // A subgraph that is kept per thread goes on from its last call, under another checkpoint of its parent.
                    if outline[at].checkpoint.namespace.is_root() {
                        children[parent].push(at);
                    }
                }
                None if outline[at].checkpoint.namespace.is_root() => roots.push(at),
                None => {}
            }
        }
        let order = |at: &usize| (is_on_way[*at], newest[*at]);
        children.iter_mut().for_each(|children| children.sort_by_key(order));
        roots.sort_by_key(order);
        Self { outline, head, by_id, roots, children, is_on_way }
    }

    /// The runs of subgraphs by the tasks from a checkpoint, each from its input to its newest checkpoint.
    fn runs(&self, at: usize) -> Vec<Vec<usize>> {
        let ends = self.outline[at].task_children.iter().filter_map(|id| self.by_id.get(id).copied());
        let runs = ends.map(|end| {
            let mut run = vec![end];
            let mut current = &self.outline[end].checkpoint;
            while current.source != Source::Input
                && let Some(above) = current.parent.as_ref().and_then(|parent| self.by_id.get(parent).copied())
            {
                run.push(above);
                current = &self.outline[above].checkpoint;
            }
            run.reverse();
            run
        });
        runs.collect()
    }

    /// Marker, step, source, id; who wrote it and what runs next; what is special about it.
    fn text(&self, at: usize) -> String {
        let Outline { checkpoint, .. } = &self.outline[at];
        let is_head = checkpoint.id == *self.head;
        let marker = if is_head || (self.is_on_way[at] && checkpoint.namespace.is_root()) { '●' } else { '○' };
        let mut text =
            format!("{marker} {:>3} {:<6} {}", checkpoint.step, checkpoint.source.name(), short_id(&checkpoint.id));
        if let (true, Some(graph)) = (checkpoint.source == Source::Input, checkpoint.namespace.parts().last()) {
            let node = graph.split_once(':').map_or(graph, |(node, _)| node);
            text.push_str(&format!("  in {node}"));
        }
        if !checkpoint.writers.is_empty() {
            let writers: Vec<&str> = checkpoint.writers.iter().map(NodeName::as_str).collect();
            text.push_str(&format!("  by {}", writers.join(", ")));
        }
        let next = next_of(&checkpoint.next);
        if !next.is_empty() {
            text.push_str(&format!("  → {}", counted(&next)));
        }
        if checkpoint.effects != EffectMode::Live {
            text.push_str(&format!("  [effects: {}]", checkpoint.effects.name()));
        }
        if is_head {
            text.push_str("  ← head");
        }
        text
    }
}

fn next_of(next: &[Trigger]) -> Vec<&str> {
    let mut names = Vec::with_capacity(next.len());
    for trigger in next {
        names.push(match trigger {
            Trigger::Start => "__start__",
            Trigger::Pull(node) | Trigger::Push { node, .. } => node.as_str(),
        });
    }
    names
}

/// Names with how often each stands there: a step may have thousands of tasks of one node.
fn counted(names: &[&str]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    names.iter().for_each(|name| *counts.entry(name).or_default() += 1);
    let texts =
        counts.into_iter().map(|(name, count)| if count == 1 { name.to_owned() } else { format!("{name} ×{count}") });
    texts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use holdpoint_graph::digest::Digest;
    use holdpoint_graph::ids::{Namespace, TaskId, ThreadId};
    use holdpoint_store::CheckpointRecord;

    use super::*;

    fn id(number: usize) -> CheckpointId {
        CheckpointId::parse(format!("00000000-0000-8000-8000-{number:012x}")).expect("valid")
    }

    fn node(name: &str) -> NodeName {
        NodeName::parse(name).expect("valid")
    }

    /// Checkpoint `number` made from `parent`; `next` by name.
    fn checkpoint(number: usize, parent: Option<usize>, step: i64, source: Source, next: &str) -> Outline {
        let next = match next {
            "" => Vec::new(),
            "__start__" => vec![Trigger::Start],
            name => vec![Trigger::Pull(node(name))],
        };
        let writers = if source == Source::Loop && step > 0 { BTreeSet::from([node("n")]) } else { BTreeSet::new() };
        let checkpoint = CheckpointRecord {
            id: id(number),
            parent: parent.map(id),
            namespace: Namespace::root(),
            graph: Digest::of_bytes(b"g"),
            step,
            source,
            writers,
            next,
            deferred: BTreeSet::new(),
            joins: BTreeMap::new(),
            children: BTreeMap::new(),
            kept_operations: BTreeMap::new(),
            anchor: id(number),
            effects: EffectMode::Live,
            metadata: serde_json::Map::new(),
            clock_ms: 0,
            created_at_ms: 0,
        };
        Outline { checkpoint, task_children: Vec::new() }
    }

    fn chain(length: usize) -> Vec<Outline> {
        (0..length).map(|at| checkpoint(at, at.checked_sub(1), at as i64, Source::Loop, "n")).collect()
    }

    #[test]
    fn branches_hang_off_the_way_to_the_head() {
        let mut outline = vec![
            checkpoint(1, None, -1, Source::Input, "__start__"),
            checkpoint(2, Some(1), 0, Source::Loop, "n"),
            checkpoint(3, Some(2), 1, Source::Loop, ""),
            checkpoint(4, Some(2), 1, Source::Fork, "n"),
            checkpoint(5, Some(4), 2, Source::Loop, ""),
            checkpoint(6, Some(4), 2, Source::Update, "n"),
            checkpoint(7, Some(2), 1, Source::Update, "n"),
            checkpoint(8, Some(7), 2, Source::Loop, ""),
        ];
        for outline in &mut outline[6..] {
            outline.checkpoint.effects = EffectMode::Recorded;
        }
        assert_eq!(
            draw(&outline, &id(8), false),
            "\
● \u{20}-1 input  000000000001  → __start__
●   0 loop   000000000002  → n
├─○   1 loop   000000000003  by n
├─○   1 fork   000000000004  → n
│ ├─○   2 loop   000000000005  by n
│ ○   2 update 000000000006  → n
●   1 update 000000000007  → n  [effects: recorded]
●   2 loop   000000000008  by n  [effects: recorded]  ← head"
        );
        let json = tree_json(&outline, &id(8));
        assert_eq!(
            (&json[7]["head"], &json[6]["on_head_branch"], &json[5]["on_head_branch"]),
            (&json!(true), &json!(true), &json!(false))
        );
        assert_eq!((&json[3]["parent_id"], &json[3]["next"]), (&json!(id(2).as_str()), &json!(["n"])));
    }

    #[test]
    fn runs_of_subgraphs_stand_under_the_checkpoint_whose_task_ran_them() {
        let task = TaskId::derive(&ThreadId::parse("t").expect("valid"), &id(2), "pull:child");
        let namespace = Namespace::root().child(&node("child"), Some(&task));
        let mut outline = vec![
            checkpoint(1, None, -1, Source::Input, "__start__"),
            checkpoint(2, Some(1), 0, Source::Loop, "child"),
            checkpoint(3, None, -1, Source::Input, "__start__"),
            checkpoint(4, Some(3), 0, Source::Loop, "inner"),
            checkpoint(5, Some(2), 1, Source::Loop, ""),
        ];
        outline[2].checkpoint.namespace = namespace.clone();
        outline[3].checkpoint.namespace = namespace;
        outline[1].task_children = vec![id(4)];
        assert_eq!(
            draw(&outline, &id(5), true),
            "\
● \u{20}-1 input  000000000001  → __start__
●   0 loop   000000000002  → child
│   ○ \u{20}-1 input  000000000003  in child  → __start__
│   ○   0 loop   000000000004  → inner
●   1 loop   000000000005  by n  ← head"
        );
        assert_eq!(draw(&outline, &id(5), false).lines().count(), 3);
    }

    #[test]
    fn a_long_history_stays_in_one_column() {
        const LONG: usize = 10_000;
        let text = draw(&chain(LONG), &id(LONG - 1), true);
        assert_eq!(text.lines().count(), LONG);
        assert!(text.lines().all(|line| line.starts_with('●')));
    }

    #[test]
    fn branches_of_branches_do_not_run_off_the_page() {
        // Each branch off the branch before, which is left at once: 5,000 deep where the head is elsewhere.
        const DEEP: usize = 5_000;
        let mut outline = vec![checkpoint(0, None, 0, Source::Loop, "n")];
        for level in 0..DEEP {
            let from = outline.len().saturating_sub(2);
            let (left, on) = (outline.len(), outline.len() + 1);
            outline.push(checkpoint(left, Some(from), 1, Source::Fork, "n"));
            outline.push(checkpoint(on, Some(left), level as i64, Source::Loop, "n"));
        }
        let head = id(outline.len());
        outline.push(checkpoint(outline.len(), Some(0), 1, Source::Update, ""));
        let text = draw(&outline, &head, false);
        assert_eq!(text.lines().count(), outline.len());
        assert!(text.lines().all(|line| line.chars().count() < 100));
        assert!(text.ends_with("← head"));
    }

    #[test]
    fn many_tasks_of_a_node_are_counted() {
        let mut outline = chain(1);
        outline[0].checkpoint.next = vec![Trigger::Push { node: node("one"), argument: Value::Null }; 10_000];
        assert_eq!(draw(&outline, &id(0), false), "●   0 loop   000000000000  → one ×10000  ← head");
    }

    #[test]
    fn a_checkpoint_whose_parent_was_removed_stands_alone() {
        let outline = [checkpoint(7, Some(3), 5, Source::Loop, "n"), checkpoint(8, Some(7), 6, Source::Loop, "")];
        assert_eq!(draw(&outline, &id(8), false).lines().count(), 2);
        assert_eq!(draw(&[], &id(8), false), "");
    }
}
