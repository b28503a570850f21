//! A store with a graph deployed: made once, copied for each run.

use std::path::Path;

use holdpoint::{Host, HostOptions, deploy};
use holdpoint_effects::Configuration;
use holdpoint_engine::Config;
use holdpoint_store::SqliteOptions;

use super::scenario::Scenario;
use crate::program::cache_folder;

/// See the module.
#[derive(Clone)]
pub struct Template {
    /// The scenario whose graph is deployed.
    pub scenario: Scenario,
    /// The digest of the graph.
    pub graph: String,
    bytes: Vec<u8>,
}

impl Template {
    /// Deploys a scenario's graph as the product does. Not to be called from inside a runtime.
    pub fn make(scenario: Scenario) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("template.db");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let graph = runtime.block_on(async {
            let host = Host::open(HostOptions {
                store: store.clone(),
                sqlite: SqliteOptions::default(),
                configuration: Configuration::default(),
                cache_dir: Some(cache_folder()),
                engine: Config::default(),
            });
            let host = host.unwrap();
            deploy::deploy(&host, &scenario.graph_file(folder.path())).await.unwrap().digest.to_string()
        });
        // The host's threads end with the runtime; the last of them folds the log into the file.
        drop(runtime);
        let bytes = std::fs::read(&store).unwrap();
        Self { scenario, graph, bytes }
    }

    /// Writes a copy; what was there, with its log and index, goes.
    pub fn copy_to(&self, store: &Path) {
        for suffix in ["-wal", "-shm"] {
            let mut beside = store.as_os_str().to_owned();
            beside.push(suffix);
            let _ = std::fs::remove_file(Path::new(&beside));
        }
        std::fs::write(store, &self.bytes).unwrap();
    }
}
