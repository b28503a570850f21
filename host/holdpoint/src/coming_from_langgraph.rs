#![doc = include_str!("coming_from_langgraph.md")]
