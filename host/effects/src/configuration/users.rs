//! `[users.NAME]`: whom a name in a graph file means, and where they can be written to.

use std::collections::BTreeMap;

use holdpoint_graph::notice::Directory;

use crate::connectors::smtp::is_address;

use super::problem::Code;
use super::toml_reader::{Problems, Table};

/// What an actor's id begins with.
const ID_PREFIXES: [&str; 2] = ["user:", "key:"];

const ID_CURE: &str = "write id = \"user:\" and the name that they sign in with";

/// Somebody whom the file names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The name in graph files.
    pub name: String,
    /// The id of their actor, `user:…` or `key:…`.
    pub id: String,
    /// Where notices are written to.
    pub email: Option<String>,
    /// Their groups.
    pub groups: Vec<String>,
}

/// The people whom the file names, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Users(BTreeMap<String, User>);

impl Users {
    /// All of them, in order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &User> {
        self.0.values()
    }

    /// The one with a name.
    pub fn get(&self, name: &str) -> Option<&User> {
        self.0.get(name)
    }

    /// Those with an actor's id. More than one name can mean the same person.
    pub fn with_id(&self, id: &str) -> impl Iterator<Item = &User> {
        self.iter().filter(move |user| user.id == id)
    }

    /// Those whom a word means: an actor's id, a name, or `group:` and a group.
    pub fn meant_by(&self, word: &str) -> Vec<&User> {
        if let Some(group) = word.strip_prefix("group:") {
            return self.iter().filter(|user| user.groups.iter().any(|own| own == group)).collect();
        }
        match self.get(word) {
            Some(user) => vec![user],
            None => self.with_id(word).collect(),
        }
    }
}

impl Directory for Users {
    fn user(&self, name: &str) -> Option<String> {
        self.get(name).map(|user| user.id.clone())
    }
}

/// Reads the tables.
pub(super) fn read(root: &mut Table<'_, '_>, problems: &mut Problems<'_>) -> Users {
    let mut users = Users::default();
    let Some(table) = root.take("users").and_then(|item| item.table("users", problems)) else { return users };
    for (name, item) in table.entries() {
        let (name, offset) = (name.get_ref().as_ref(), name.span().start);
        // A name that looks like an id or a group would mean somebody else than it says.
        if name.is_empty() || name.chars().any(|character| character == ':' || character.is_control()) {
            let message = format!("`users` has {name:?}, which is no name of a user");
            problems.add(Code::Value, offset, message, "use a name without colons and control characters");
            continue;
        }
        if let Some(user) = item.table(&format!("users.{name}"), problems).and_then(|table| user(name, table, problems))
        {
            users.0.insert(name.to_owned(), user);
        }
    }
    users
}

/// Returns none only after noting why.
fn user(name: &str, mut table: Table<'_, '_>, problems: &mut Problems<'_>) -> Option<User> {
    let id = table.require("id", ID_CURE, problems).and_then(|item| {
        let text = item.text(&table.key("id"), problems)?;
        let rest = ID_PREFIXES.iter().find_map(|prefix| text.strip_prefix(prefix)).unwrap_or_default();
        let valid = !rest.trim().is_empty() && !text.chars().any(char::is_control);
        if !valid {
            problems.add(
                Code::Value,
                item.offset,
                format!("`{}` is {text:?}, which is no actor's id", table.key("id")),
                ID_CURE,
            );
        }
        valid.then(|| text.to_owned())
    });
    let email = table.text("email", problems).and_then(|(offset, text)| {
        let valid = is_address(text);
        if !valid {
            let message = format!("`{}` is {text:?}, which is no address", table.key("email"));
            problems.add(Code::Value, offset, message, "write it such as \"ana@example.com\"");
        }
        valid.then(|| text.to_owned())
    });
    let mut groups = Vec::new();
    if let Some(item) = table.take("groups") {
        for (offset, text) in item.texts(&table.key("groups"), problems) {
            if text.trim().is_empty() || text.starts_with("group:") {
                let message = format!("`{}` has {text:?}, which is no name of a group", table.key("groups"));
                problems.add(Code::Value, offset, message, "write it such as \"finance\"");
            } else {
                groups.push(text.to_owned());
            }
        }
    }
    table.finish(problems);
    Some(User { name: name.to_owned(), id: id?, email, groups })
}
