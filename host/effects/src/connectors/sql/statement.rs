//! Statements of the operator, and the parameters of the guest. A parameter is a value that is bound; it is never a part of the text.

use serde_json::{Map, Value};

/// What a statement may begin with. Whatever begins, ends or divides transactions would tear the effect from its record.
const FIRST_WORDS: [&str; 8] = ["select", "insert", "update", "delete", "merge", "replace", "with", "values"];

/// Whose SQL it is: how texts and comments end, and how parameters are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Sqlite,
    Postgres,
}

impl Dialect {
    /// The dialect of the database that a URL, or the beginning of one, leads to.
    pub(super) fn of_url(url: &str) -> Option<Self> {
        if url.starts_with("sqlite:") {
            Some(Self::Sqlite)
        } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            Some(Self::Postgres)
        } else {
            None
        }
    }
}

/// One statement, as the database gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statement {
    /// With `?1` or `$1` where `:name` was.
    pub(super) sql: String,
    /// The names of the parameters, in order of their numbers.
    pub(super) names: Vec<String>,
}

impl Statement {
    /// Reads one statement with parameters `:name`.
    ///
    /// A colon before a name is a parameter wherever it is not in a text, a quoted name, a comment or a cast: an array slice of PostgreSQL needs a space
    /// after its colon.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(text: &str, dialect: Dialect) -> Result<Self, String> {
        let mut scanner = Scanner { rest: text, before: None, dialect };
        let (mut sql, mut names): (String, Vec<String>) = (String::new(), Vec::new());
        let (mut first_word, mut ended) = (None, false);
        while let Some(token) = scanner.next()? {
            match token {
                Token::Space(space) => sql.push_str(space),
                _ if ended => return Err("has more than one statement".into()),
                Token::End => ended = true,
                Token::Parameter(name) => {
                    let known = names.iter().position(|known| known == name);
                    let number = known.map_or(names.len(), |index| index) + 1;
                    if known.is_none() {
                        names.push(name.to_owned());
                    }
                    sql.push(if dialect == Dialect::Sqlite { '?' } else { '$' });
                    sql.push_str(&number.to_string());
                    // A digit that follows must not become part of the number.
                    sql.push(' ');
                }
                Token::Word(word) => {
                    first_word.get_or_insert_with(|| word.to_ascii_lowercase());
                    sql.push_str(word);
                }
                Token::Other(other) => {
                    first_word.get_or_insert_with(String::new);
                    sql.push_str(other);
                }
            }
        }
        match first_word.as_deref() {
            None => Err("is empty".into()),
            Some(word) if FIRST_WORDS.contains(&word) => Ok(Self { sql: sql.trim().to_owned(), names }),
            Some(_) => Err(format!("begins with none of {}", FIRST_WORDS.join(", "))),
        }
    }

    /// The values to bind, in order of their numbers.
    ///
    /// # Errors
    /// A parameter that is missing, unknown or cannot be bound.
    pub(super) fn bind(&self, parameters: &Map<String, Value>, dialect: Dialect) -> Result<Vec<Value>, String> {
        if let Some(unknown) = parameters.keys().find(|name| !self.names.contains(name)) {
            return Err(format!("the statement has no parameter {:?}", super::shown(unknown)));
        }
        let value = |name: &String| {
            let value = parameters.get(name).ok_or_else(|| format!("the parameter {name:?} is missing"))?;
            match value {
                Value::Number(number) if dialect == Dialect::Sqlite && number.as_u64() > Some(i64::MAX as u64) => {
                    Err(format!("the parameter {name:?} is larger than the database can hold"))
                }
                Value::String(text) if text.contains('\0') => {
                    Err(format!("the parameter {name:?} has a character that no database text can have"))
                }
                value => Ok(value.clone()),
            }
        };
        self.names.iter().map(value).collect()
    }
}

enum Token<'t> {
    /// White space and comments.
    Space(&'t str),
    Word(&'t str),
    Parameter(&'t str),
    /// `;`
    End,
    Other(&'t str),
}

struct Scanner<'t> {
    rest: &'t str,
    before: Option<char>,
    dialect: Dialect,
}

impl<'t> Scanner<'t> {
    fn next(&mut self) -> Result<Option<Token<'t>>, String> {
        let Some(first) = self.rest.chars().next() else { return Ok(None) };
        let second = self.rest[first.len_utf8()..].chars().next();
        let sqlite = self.dialect == Dialect::Sqlite;
        let token = match (first, second) {
            ('-', Some('-')) => Token::Space(self.take(self.rest.find('\n').map_or(self.rest.len(), |end| end + 1))),
            ('/', Some('*')) => Token::Space(self.comment()?),
            (space, _) if space.is_whitespace() => {
                let end = self.rest.find(|other: char| !other.is_whitespace()).unwrap_or(self.rest.len());
                Token::Space(self.take(end))
            }
            ('\0', _) => return Err("has a character that no statement can have".into()),
            ('\'', _) => {
                // PostgreSQL's E'…' knows backslashes; nothing else that we allow does.
                let escapes = !sqlite && matches!(self.before, Some('E' | 'e'));
                Token::Other(self.quoted('\'', escapes)?)
            }
            ('"', _) => Token::Other(self.quoted('"', false)?),
            ('`', _) if sqlite => Token::Other(self.quoted('`', false)?),
            ('[', _) if sqlite => Token::Other(self.quoted(']', false)?),
            ('$', _) if !sqlite && self.dollar_tag().is_some() => Token::Other(self.dollar_quoted()?),
            (':', Some(':')) => Token::Other(self.take(2)),
            (':', Some(next)) if is_name_start(next) => {
                let end = self.rest[1..].find(|other| !is_name(other)).map_or(self.rest.len(), |end| end + 1);
                Token::Parameter(&self.take(end)[1..])
            }
            ('?', _) if sqlite => return Err(foreign(first)),
            ('@' | '$' | ':', Some(next)) if sqlite && is_name(next) => return Err(foreign(first)),
            ('$', Some(next)) if next.is_ascii_digit() => return Err(foreign(first)),
            (';', _) => {
                self.take(1);
                Token::End
            }
            (word, _) if is_name_start(word) => {
                // A `$` belongs to a name in both dialects once it has begun.
                let end = self.rest.find(|other| !is_name(other) && other != '$').unwrap_or(self.rest.len());
                Token::Word(self.take(end))
            }
            (digit, _) if digit.is_ascii_digit() => {
                let end = self.rest.find(|other: char| !other.is_ascii_alphanumeric()).unwrap_or(self.rest.len());
                Token::Other(self.take(end))
            }
            _ => Token::Other(self.take(first.len_utf8())),
        };
        Ok(Some(token))
    }

    fn take(&mut self, bytes: usize) -> &'t str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.before = taken.chars().next_back().filter(|_| taken.chars().count() == 1);
        self.rest = rest;
        taken
    }

    fn comment(&mut self) -> Result<&'t str, String> {
        let (mut depth, mut at) = (0_u32, 0);
        loop {
            let rest = &self.rest[at..];
            if rest.starts_with("/*") && (depth == 0 || self.dialect == Dialect::Postgres) {
                depth += 1;
                at += 2;
            } else if rest.starts_with("*/") {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return Ok(self.take(at));
                }
            } else {
                at += rest.chars().next().ok_or("has a comment without its end")?.len_utf8();
            }
        }
    }

    /// A text or name that ends with `end`; twice `end` is one character of it.
    fn quoted(&mut self, end: char, escapes: bool) -> Result<&'t str, String> {
        let mut characters = self.rest.char_indices().skip(1).peekable();
        while let Some((at, character)) = characters.next() {
            if escapes && character == '\\' {
                characters.next();
            } else if character == end {
                if characters.peek().is_some_and(|(_, next)| *next == end) && end != ']' {
                    characters.next();
                } else {
                    return Ok(self.take(at + end.len_utf8()));
                }
            }
        }
        Err("has a quote without its end".into())
    }

    /// `$$` or `$name$` at the beginning of what is left.
    fn dollar_tag(&self) -> Option<&'t str> {
        let end = self.rest[1..].find('$')? + 1;
        let name = &self.rest[1..end];
        let named = name.is_empty() || (name.starts_with(is_name_start) && name.chars().all(is_name));
        named.then(|| &self.rest[..=end])
    }

    fn dollar_quoted(&mut self) -> Result<&'t str, String> {
        let tag = self.dollar_tag().unwrap_or("$$");
        let end = self.rest[tag.len()..].find(tag).ok_or("has a quote without its end")?;
        Ok(self.take(tag.len() + end + tag.len()))
    }
}

fn foreign(mark: char) -> String {
    format!("has a parameter with `{mark}`: write :name")
}

fn is_name_start(character: char) -> bool {
    character.is_alphabetic() || character == '_'
}

fn is_name(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(text: &str, dialect: Dialect) -> Result<String, String> {
        let statement = Statement::parse(text, dialect)?;
        Ok(format!("{} {:?}", statement.sql, statement.names))
    }

    #[test]
    fn names_become_numbers_outside_of_quotes_and_comments() {
        let table = [
            ("select :a, :b, :a", "select ?1 , ?2 , ?1  [\"a\", \"b\"]", "select $1 , $2 , $1  [\"a\", \"b\"]"),
            (
                "select ':a', \":b\", ''':a' -- :c",
                "select ':a', \":b\", ''':a' -- :c []",
                "select ':a', \":b\", ''':a' -- :c []",
            ),
            ("select /* :a */ 1;\n -- over", "select /* :a */ 1\n -- over []", "select /* :a */ 1\n -- over []"),
            ("  SELECT:a", "SELECT?1  [\"a\"]", "SELECT$1  [\"a\"]"),
            ("select 'é', :ö", "select 'é', ?1  [\"ö\"]", "select 'é', $1  [\"ö\"]"),
        ];
        for (text, sqlite, postgres) in table {
            let trim = |expected: &str| expected.replace("  [", " [");
            assert_eq!(check(text, Dialect::Sqlite).expect(text).replace("  [", " ["), trim(sqlite), "{text}");
            assert_eq!(check(text, Dialect::Postgres).expect(text).replace("  [", " ["), trim(postgres), "{text}");
        }
        let postgres = [
            ("select :a::int, x::text", "select $1 ::int, x::text [\"a\"]"),
            ("select $$ :a $$, $t$ :b $$ $t$, :c", "select $$ :a $$, $t$ :b $$ $t$, $1 [\"c\"]"),
            ("select E'\\' :a', :b", "select E'\\' :a', $1 [\"b\"]"),
            ("select /* /* :a */ :b */ :c", "select /* /* :a */ :b */ $1 [\"c\"]"),
            ("select x ? 'k', x @> :a, a[1: 2]", "select x ? 'k', x @> $1 , a[1: 2] [\"a\"]"),
            ("select a$1, :b", "select a$1, $1 [\"b\"]"),
            ("select '\\', :b", "select '\\', $1 [\"b\"]"),
        ];
        for (text, expected) in postgres {
            assert_eq!(check(text, Dialect::Postgres).as_deref(), Ok(expected), "{text}");
        }
        let sqlite = [
            ("select [:a], `:b`, :c", "select [:a], `:b`, ?1 [\"c\"]"),
            ("select /* /* :a */ :b", "select /* /* :a */ ?1 [\"b\"]"),
            ("select '\\', :b", "select '\\', ?1 [\"b\"]"),
        ];
        for (text, expected) in sqlite {
            assert_eq!(check(text, Dialect::Sqlite).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_not_one_plain_statement_is_refused() {
        let both = [
            "",
            " -- nothing",
            ";",
            "select 1; select 2",
            "select 1; -- x\n delete from entry",
            "begin",
            "commit",
            "rollback",
            "savepoint a",
            "pragma synchronous = off",
            "attach 'x' as y",
            "vacuum",
            "set role postgres",
            "drop table entry",
            "(select 1)",
            "select 'a",
            "select \"a",
            "select /* a",
            "select \0",
        ];
        for text in both {
            assert!(check(text, Dialect::Sqlite).is_err(), "{text:?}");
            assert!(check(text, Dialect::Postgres).is_err(), "{text:?}");
        }
        for text in ["select ?", "select ?1", "select @a", "select $a", "select :1", "select [a"] {
            assert!(check(text, Dialect::Sqlite).is_err(), "{text:?}");
        }
        for text in ["select $1", "select $$ a", "select /* /* a */"] {
            assert!(check(text, Dialect::Postgres).is_err(), "{text:?}");
        }
    }

    #[test]
    fn parameters_are_bound_by_name() {
        let statement = Statement::parse("select :b, :a", Dialect::Sqlite).expect("valid");
        let bind = |parameters: Value| statement.bind(parameters.as_object().expect("an object"), Dialect::Sqlite);
        assert_eq!(bind(json!({ "a": 1, "b": null })), Ok(vec![json!(null), json!(1)]));
        for parameters in [
            json!({ "a": 1 }),
            json!({ "a": 1, "b": 2, "c": 3 }),
            json!({ "a": 1, "b": "x\0" }),
            json!({ "a": 1, "b": u64::MAX }),
        ] {
            assert!(bind(parameters.clone()).is_err(), "{parameters}");
        }
    }
}
