#![doc = include_str!("connectors.md")]
