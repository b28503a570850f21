#![doc = include_str!("graph_file.md")]
