#![doc = include_str!("serving.md")]
