//! Texts of the configuration that refer to secrets: `Bearer ${env:PAYMENTS_KEY}`, `${file:/run/secrets/key}`.

use std::fmt;
use std::path::{Path, PathBuf};

use super::problem::Place;
use super::secret::Secret;

/// A text with references. Shows itself as it was written, never with its values.
#[derive(Clone)]
pub struct Template {
    source: String,
    parts: Vec<Part>,
    place: Place,
}

#[derive(Clone)]
enum Part {
    Text(String),
    /// The variable's value when the configuration was read.
    Variable {
        name: String,
        value: Option<Secret>,
    },
    /// Read when it is used, so that a rotated secret is found.
    File(PathBuf),
}

/// A template with its values filled in.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The whole text.
    pub text: Secret,
    /// The values that came from references.
    pub secrets: Vec<Secret>,
}

/// A reference that leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{reference}` {reason}")]
pub struct MissingSecret {
    /// The reference as written.
    pub reference: String,
    /// What is wrong with it.
    pub reason: String,
    /// Where the text stands.
    pub place: Place,
}

impl Template {
    /// Reads a text. Relative paths of files start from `folder`.
    ///
    /// # Errors
    /// What is wrong with a reference's form.
    pub fn parse(
        source: &str,
        place: Place,
        folder: &Path,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = source;
        while let Some(start) = rest.find("${") {
            if start > 0 {
                parts.push(Part::Text(rest[..start].to_owned()));
            }
            let reference = &rest[start..];
            let end = reference.find('}').ok_or("a reference has no closing `}`")?;
            parts.push(match reference[2..end].split_once(':') {
                Some(("env", name)) if !name.is_empty() => {
                    Part::Variable { name: name.to_owned(), value: environment(name).map(Secret::new) }
                }
                Some(("file", path)) if !path.is_empty() => Part::File(folder.join(path)),
                _ => return Err(format!("`{}` is not a reference", &reference[..=end])),
            });
            rest = &reference[end + 1..];
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self { source: source.to_owned(), parts, place })
    }

    /// Where the text stands in the file.
    pub fn place(&self) -> Place {
        self.place
    }

    /// Whether it refers to anything.
    pub fn has_references(&self) -> bool {
        self.parts.iter().any(|part| !matches!(part, Part::Text(_)))
    }

    /// Fills the values in. An empty value counts as missing: no secret and no address is empty on purpose.
    ///
    /// # Errors
    /// The first reference that leads nowhere.
    pub fn resolve(&self) -> Result<Resolved, MissingSecret> {
        let mut text = String::new();
        let mut secrets = Vec::new();
        for part in &self.parts {
            let value = match part {
                Part::Text(literal) => {
                    text.push_str(literal);
                    continue;
                }
                Part::Variable { name, value } => value
                    .clone()
                    .filter(|value| !value.expose().is_empty())
                    .ok_or_else(|| self.missing(format!("${{env:{name}}}"), "is not set".into()))?,
                Part::File(path) => self.read_file(path)?,
            };
            text.push_str(value.expose());
            secrets.push(value);
        }
        Ok(Resolved { text: Secret::new(text), secrets })
    }

    /// Tools that write secrets to files end them with a newline.
    fn read_file(&self, path: &Path) -> Result<Secret, MissingSecret> {
        let missing = |reason| self.missing(format!("${{file:{}}}", path.display()), reason);
        let content =
            std::fs::read_to_string(path).map_err(|error| missing(format!("cannot be read: {}", error.kind())))?;
        match content.trim_end_matches(['\r', '\n']) {
            "" => Err(missing("is empty".into())),
            value => Ok(Secret::new(value)),
        }
    }

    fn missing(&self, reference: String, reason: String) -> MissingSecret {
        MissingSecret { reference, reason, place: self.place }
    }
}

impl fmt::Display for Template {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.source)
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Template({:?})", self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str) -> Result<String, String> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("key"), "from-file\r\n").expect("written");
        std::fs::write(folder.path().join("empty"), "\n").expect("written");
        let environment = |name: &str| match name {
            "KEY" => Some("s3cret".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        let template = Template::parse(source, Place::default(), folder.path(), &environment)?;
        assert!(!format!("{template:?} {template}").contains("s3cret"), "a template never shows a value");
        let resolved = template
            .resolve()
            .map_err(|missing| missing.to_string().replace(&folder.path().display().to_string(), "."))?;
        assert!(!format!("{resolved:?}").contains("s3cret"), "nor does a filled one");
        Ok(format!("{} {}", resolved.text.expose(), resolved.secrets.len()))
    }

    #[test]
    fn references_are_filled_in() {
        let table = [
            ("plain", Ok("plain 0")),
            ("Bearer ${env:KEY}", Ok("Bearer s3cret 1")),
            ("${env:KEY}:${file:key}!", Ok("s3cret:from-file! 2")),
            ("$ {}", Ok("$ {} 0")),
            ("${env:NONE}", Err("`${env:NONE}` is not set")),
            ("${env:EMPTY}", Err("`${env:EMPTY}` is not set")),
            ("${file:none}", Err("`${file:./none}` cannot be read: entity not found")),
            ("${file:empty}", Err("`${file:./empty}` is empty")),
            ("${env:KEY", Err("a reference has no closing `}`")),
            ("${KEY}", Err("`${KEY}` is not a reference")),
            ("${env:}", Err("`${env:}` is not a reference")),
        ];
        for (source, expected) in table {
            assert_eq!(check(source), expected.map(str::to_owned).map_err(str::to_owned), "{source}");
        }
    }
}
