#![doc = include_str!("when_it_dies.md")]
