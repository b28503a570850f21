#![doc = include_str!("approvals.md")]
