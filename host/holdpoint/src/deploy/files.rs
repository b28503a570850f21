//! A graph file with the files of its subgraphs.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use holdpoint_graph::definition::{Component, Graph, GraphReference, Work};
use holdpoint_graph::file;
use holdpoint_graph::ids::NodeName;
use holdpoint_graph::problem::Problem;

use super::source::{Disk, Source};

/// Graphs inside graphs, the outermost included. Deeper nesting is a mistake, and each level costs stack.
pub const DEPTH_MAX: usize = 16;

/// A graph as it stands in a file.
#[derive(Debug)]
pub struct GraphFile {
    /// Its path as problems show it.
    pub shown: String,
    /// What names the file, whichever way leads to it.
    pub(super) identity: PathBuf,
    /// Where relative paths in it begin.
    pub(super) folder: PathBuf,
    /// The graph.
    pub graph: Graph,
    /// The subgraphs that it names by path; those with problems are missing.
    pub(super) children: BTreeMap<NodeName, Arc<GraphFile>>,
}

/// What was found in a graph file and the files that it names.
#[derive(Debug)]
pub struct Files {
    /// The file's path as problems show it.
    pub shown: String,
    /// The graph; none when its own file has problems.
    pub root: Option<Arc<GraphFile>>,
    /// Everything that is wrong with any of the files, those of a file together.
    pub problems: Vec<Problem>,
    /// Where they come from, and the components that they name.
    pub(super) source: Arc<dyn Source>,
}

impl Files {
    /// Whether any of them names something by what it was deployed as.
    pub fn names_deployed(&self) -> bool {
        fn look<'f>(file: &'f GraphFile, seen: &mut HashSet<&'f Path>) -> bool {
            seen.insert(&file.identity)
                && (file.graph.nodes.values().any(|node| match &node.work {
                    Work::Component(component) => !matches!(component, Component::Path(_)),
                    Work::Subgraph(subgraph) => matches!(subgraph.graph, GraphReference::Digest(_)),
                }) || file.children.values().any(|child| look(child, seen)))
        }
        self.root.as_ref().is_some_and(|root| look(root, &mut HashSet::new()))
    }

    /// Reads the component files that the graphs name, so that their source has noted them. One that cannot be read is told of by those who need it.
    pub fn read_components(&self) {
        fn look<'f>(file: &'f GraphFile, source: &dyn Source, seen: &mut HashSet<&'f Path>) {
            if !seen.insert(&file.identity) {
                return;
            }
            for node in file.graph.nodes.values() {
                if let Work::Component(Component::Path(path)) = &node.work {
                    let _ = source.read(&file.folder.join(path));
                }
            }
            file.children.values().for_each(|child| look(child, source, seen));
        }
        if let Some(root) = &self.root {
            look(root, self.source.as_ref(), &mut HashSet::new());
        }
    }
}

/// Reads a graph file of this machine, as [`read_from`].
pub fn read(path: &Path) -> Files {
    read_from(Arc::new(Disk), path)
}

/// Reads a graph file and, from the folder of each, the files of its subgraphs. Components are not looked at. A file that several graphs name is
/// read once.
pub fn read_from(source: Arc<dyn Source>, path: &Path) -> Files {
    let mut reader = Reader { source: source.as_ref(), known: HashMap::new(), chain: Vec::new(), problems: Vec::new() };
    let root = reader.file(path, None);
    let problems = reader.problems;
    Files { shown: path.display().to_string(), root, problems, source }
}

struct Reader<'s> {
    source: &'s dyn Source,
    known: HashMap<PathBuf, Option<Arc<GraphFile>>>,
    /// The files that are being read: each is named by the one before.
    chain: Vec<(PathBuf, String)>,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn file(&mut self, path: &Path, named_by: Option<(&str, &NodeName)>) -> Option<Arc<GraphFile>> {
        let shown = path.display().to_string();
        let text = match self.source.read_text(path) {
            Ok(text) => text,
            Err(error) => {
                let (file, whose, cure) = match named_by {
                    Some((file, node)) => (
                        file,
                        format!("the graph file of node {node}, {shown},"),
                        "check the path in the graph file (it is relative to that file)",
                    ),
                    None => (shown.as_str(), format!("the graph file {shown}"), "check the path and its permissions"),
                };
                self.report("HP0190", file, format!("{whose} cannot be read: {error}"), cure);
                return None;
            }
        };
        let identity = self.source.identity(path);
        let named_by = named_by.map_or(shown.as_str(), |(file, _)| file).to_owned();
        if let Some(first) = self.chain.iter().position(|(open, _)| *open == identity) {
            let chain: Vec<&str> =
                self.chain[first..].iter().map(|(_, shown)| shown.as_str()).chain([shown.as_str()]).collect();
            let message = format!("the graph files contain each other: {}", chain.join(" → "));
            self.report(
                "HP0195",
                &named_by,
                message,
                "take one of the subgraph nodes out: a graph cannot contain itself",
            );
            return None;
        }
        if let Some(known) = self.known.get(&identity) {
            return known.clone();
        }
        if self.chain.len() >= DEPTH_MAX {
            let message = format!("{shown} lies more than {DEPTH_MAX} graphs deep");
            self.report("HP0196", &named_by, message, "nest the graphs less deeply");
            return None;
        }
        let read = self.parsed(&text, path, shown, identity.clone());
        self.known.insert(identity, read.clone());
        read
    }

    fn parsed(&mut self, text: &str, path: &Path, shown: String, identity: PathBuf) -> Option<Arc<GraphFile>> {
        let graph = match file::parse(text, &shown) {
            Ok(graph) => graph,
            Err(problems) => {
                self.problems.extend(problems.0);
                return None;
            }
        };
        let folder = path.parent().unwrap_or_else(|| Path::new(".")).to_owned();
        self.chain.push((identity.clone(), shown.clone()));
        let mut children = BTreeMap::new();
        for (node, subgraph) in graph.subgraphs() {
            if let GraphReference::Path(reference) = &subgraph.graph
                && let Some(child) = self.file(&folder.join(reference), Some((&shown, node)))
            {
                children.insert(node.clone(), child);
            }
        }
        self.chain.pop();
        Some(Arc::new(GraphFile { shown, identity, folder, graph, children }))
    }

    fn report(&mut self, code: &'static str, file: &str, message: String, cure: &str) {
        self.problems.push(problem(code, file, message, cure));
    }
}

/// A problem that has a file and no line.
pub(super) fn problem(code: &'static str, file: &str, message: String, cure: impl Into<String>) -> Problem {
    Problem { code, file: file.to_owned(), line: 0, column: 0, message, cure: cure.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(nodes: &str) -> String {
        format!("name = \"g\"\nstart = \"a\"\n[state]\nx = {{}}\n[nodes.a]\n{nodes}\n")
    }

    /// Writes files into a folder of this process and reads the first.
    fn check(name: &str, files: &[(&str, &str)]) -> Files {
        let folder = std::env::temp_dir().join(format!("holdpoint-files-{}-{name}", std::process::id()));
        std::fs::create_dir_all(folder.join("inner")).expect("a folder");
        for (file, nodes) in files {
            std::fs::write(folder.join(file), graph(nodes)).expect("a file");
        }
        let read = read(&folder.join(files[0].0));
        std::fs::remove_dir_all(&folder).expect("our folder");
        read
    }

    fn codes(files: &Files) -> Vec<&'static str> {
        files.problems.iter().map(|problem| problem.code).collect()
    }

    #[test]
    fn paths_are_relative_to_the_file_that_names_them() {
        let files = check(
            "relative",
            &[
                ("one.toml", "graph = \"inner/two.toml\""),
                ("inner/two.toml", "graph = \"../three.toml\""),
                ("three.toml", "component = \"c.wasm\""),
            ],
        );
        assert_eq!(codes(&files), [] as [&str; 0]);
        let node = NodeName::parse("a").expect("a name");
        let two = &files.root.expect("sound").children[&node];
        assert_eq!(two.children[&node].children.len(), 0);
    }

    #[test]
    fn circles_show_their_chain() {
        let files = check(
            "circle",
            &[("one.toml", "graph = \"inner/two.toml\""), ("inner/two.toml", "graph = \"../inner/../one.toml\"")],
        );
        assert_eq!(codes(&files), ["HP0195"]);
        let message = &files.problems[0].message;
        assert_eq!(message.matches("one.toml").count(), 2, "{message}");
        assert_eq!(message.matches(" → ").count(), 2, "{message}");
        let files = check("itself", &[("one.toml", "graph = \"one.toml\"")]);
        assert_eq!(codes(&files), ["HP0195"]);
    }

    #[test]
    fn depth_is_bounded() {
        let names: Vec<String> = (0..=DEPTH_MAX + 1).map(|depth| format!("{depth}.toml")).collect();
        let nodes: Vec<String> = names[1..].iter().map(|name| format!("graph = \"{name}\"")).collect();
        let nested = |count: usize| -> Vec<(&str, &str)> {
            let mut files: Vec<_> =
                names.iter().zip(&nodes).take(count - 1).map(|(name, nodes)| (name.as_str(), nodes.as_str())).collect();
            files.push((names[count - 1].as_str(), "component = \"c.wasm\""));
            files
        };
        assert_eq!(codes(&check("deep", &nested(DEPTH_MAX))), [] as [&str; 0]);
        assert_eq!(codes(&check("deeper", &nested(DEPTH_MAX + 1))), ["HP0196"]);
    }

    #[test]
    fn all_files_report_at_once() {
        let files = check(
            "many",
            &[
                (
                    "one.toml",
                    "graph = \"two.toml\"\n[nodes.b]\ngraph = \"missing.toml\"\n[nodes.c]\ngraph = \"two.toml\"",
                ),
                ("two.toml", "component = \"c.wasm\"\nnxt = \"END\""),
            ],
        );
        assert_eq!(codes(&files), ["HP0102", "HP0190"], "a file that is named twice reports once");
        assert!(files.root.is_some(), "its own file is sound");
    }
}
