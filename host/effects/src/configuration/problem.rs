//! What is wrong with a configuration.

use std::fmt;

/// A position in the configuration file: line and column from 1, columns counted in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Place {
    /// Line from 1.
    pub line: usize,
    /// Column from 1.
    pub column: usize,
}

/// One fault in the configuration. Never contains a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigurationProblem {
    /// Stable code, `HP05…`.
    pub code: &'static str,
    /// The file as the caller named it.
    pub file: String,
    /// Line from 1.
    pub line: usize,
    /// Column from 1, counted in characters.
    pub column: usize,
    /// What is wrong, a lower-case fragment that names the key.
    pub message: String,
    /// What to do about it.
    pub cure: String,
}

impl fmt::Display for ConfigurationProblem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, file, line, column, message, cure } = self;
        write!(formatter, "{file}:{line}:{column}: {message} ({cure}) [{code}]")
    }
}

/// Codes of what can be wrong with the file itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// Not TOML.
    Syntax,
    /// A key that is not known.
    UnknownKey,
    /// A key that has to be there.
    MissingKey,
    /// A value that does not fit its key.
    Value,
}

impl Code {
    /// The stable code.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Syntax => "HP0501",
            Self::UnknownKey => "HP0502",
            Self::MissingKey => "HP0503",
            Self::Value => "HP0504",
        }
    }
}
