//! What a CEL expression mentions, and how deep it is: read off its tree.

use std::collections::BTreeSet;

use cel::IdedExpr;
use cel::common::ast::{EntryExpr, Expr};

/// The one name that a condition sees.
pub(super) const ROOT: &str = "state";

/// Whether a tree is deeper than `depth_max`; never descends further than that.
pub(super) fn depth_exceeds(expression: &IdedExpr, depth_max: usize) -> bool {
    let Some(below) = depth_max.checked_sub(1) else { return true };
    let deep = |expression: &IdedExpr| depth_exceeds(expression, below);
    match &expression.expr {
        Expr::Unspecified | Expr::Literal(_) | Expr::Ident(_) => false,
        Expr::Select(select) => deep(&select.operand),
        Expr::Call(call) => call.target.as_deref().is_some_and(deep) || call.args.iter().any(deep),
        Expr::List(list) => list.elements.iter().any(deep),
        Expr::Map(map) => map.entries.iter().any(|entry| entry_depth_exceeds(&entry.expr, below)),
        Expr::Struct(structure) => structure.entries.iter().any(|entry| entry_depth_exceeds(&entry.expr, below)),
        Expr::Comprehension(comprehension) => [
            &comprehension.iter_range,
            &comprehension.accu_init,
            &comprehension.loop_cond,
            &comprehension.loop_step,
            &comprehension.result,
        ]
        .into_iter()
        .any(deep),
    }
}

fn entry_depth_exceeds(entry: &EntryExpr, depth_max: usize) -> bool {
    match entry {
        EntryExpr::StructField(field) => depth_exceeds(&field.value, depth_max),
        EntryExpr::MapEntry(entry) => depth_exceeds(&entry.key, depth_max) || depth_exceeds(&entry.value, depth_max),
    }
}

/// What an expression mentions.
#[derive(Default)]
pub(super) struct Names<'a> {
    pub(super) channels: BTreeSet<String>,
    pub(super) whole: bool,
    pub(super) unknown: Vec<&'a str>,
    pub(super) functions: BTreeSet<&'a str>,
}

impl<'a> Names<'a> {
    /// Visits an expression; `bound` are the variables of the macros (`all`, `exists`, `map`, …) around it.
    pub(super) fn visit(&mut self, expression: &'a IdedExpr, bound: &mut Vec<&'a str>) {
        match &expression.expr {
            Expr::Unspecified | Expr::Literal(_) => {}
            Expr::Ident(name) => self.visit_name(name, bound),
            Expr::Select(select) => match &select.operand.expr {
                Expr::Ident(name) if name == ROOT && !bound.contains(&ROOT) => {
                    self.channels.insert(select.field.clone());
                }
                _ => self.visit(&select.operand, bound),
            },
            Expr::Call(call) => {
                self.functions.insert(&call.func_name);
                if let Some(target) = &call.target {
                    self.visit(target, bound);
                }
                for argument in &call.args {
                    self.visit(argument, bound);
                }
            }
            Expr::List(list) => {
                for element in &list.elements {
                    self.visit(element, bound);
                }
            }
            Expr::Map(map) => self.visit_entries(map.entries.iter().map(|entry| &entry.expr), bound),
            Expr::Struct(structure) => {
                self.unknown.push(&structure.type_name);
                self.visit_entries(structure.entries.iter().map(|entry| &entry.expr), bound);
            }
            Expr::Comprehension(comprehension) => {
                self.visit(&comprehension.iter_range, bound);
                self.visit(&comprehension.accu_init, bound);
                let outside = bound.len();
                bound.push(&comprehension.iter_var);
                bound.extend(comprehension.iter_var2.as_deref());
                bound.push(&comprehension.accu_var);
                self.visit(&comprehension.loop_cond, bound);
                self.visit(&comprehension.loop_step, bound);
                self.visit(&comprehension.result, bound);
                bound.truncate(outside);
            }
        }
    }

    fn visit_entries(&mut self, entries: impl Iterator<Item = &'a EntryExpr>, bound: &mut Vec<&'a str>) {
        for entry in entries {
            match entry {
                EntryExpr::StructField(field) => self.visit(&field.value, bound),
                EntryExpr::MapEntry(entry) => {
                    self.visit(&entry.key, bound);
                    self.visit(&entry.value, bound);
                }
            }
        }
    }

    fn visit_name(&mut self, name: &'a str, bound: &[&str]) {
        const TYPES: [&str; 11] =
            ["bool", "int", "uint", "double", "string", "bytes", "list", "map", "type", "null_type", "dyn"];
        if bound.contains(&name) || name.starts_with('@') {
            return;
        }
        if name == ROOT {
            self.whole = true;
        } else if !TYPES.contains(&name) {
            self.unknown.push(name);
        }
    }
}

/// Whether the standard library has a function of this name; operators have names such as `_==_` and `@in`.
pub(super) fn is_function(name: &str) -> bool {
    const FUNCTIONS: [&str; 13] = [
        "size",
        "contains",
        "startsWith",
        "endsWith",
        "matches",
        "int",
        "uint",
        "double",
        "string",
        "bool",
        "type",
        "dyn",
        "bytes",
    ];
    !name.starts_with(|c: char| c.is_ascii_alphabetic()) || FUNCTIONS.contains(&name)
}
