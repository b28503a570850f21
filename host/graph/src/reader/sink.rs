//! Where problems are gathered, with their places.

use crate::problem::{Problem, Problems};

/// Problems reported of one graph; a text made of nothing else must not fill the memory.
const PROBLEMS_MAX: usize = 1000;

/// Kinds of problems; each has a stable code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    Syntax,
    UnknownKey,
    MissingKey,
    Type,
    Value,
    Name,
    UnknownNode,
    UnknownChannel,
    Schema,
    Reducer,
    Condition,
    Unit,
    Edge,
    Duplicate,
    Component,
    Format,
    Initial,
    Empty,
    Combination,
    Handler,
    Managed,
}

impl Code {
    fn text(self) -> &'static str {
        match self {
            Self::Syntax => "HP0101",
            Self::UnknownKey => "HP0102",
            Self::MissingKey => "HP0103",
            Self::Type => "HP0104",
            Self::Value => "HP0105",
            Self::Name => "HP0106",
            Self::UnknownNode => "HP0107",
            Self::UnknownChannel => "HP0108",
            Self::Schema => "HP0109",
            Self::Reducer => "HP0110",
            Self::Condition => "HP0111",
            Self::Unit => "HP0112",
            Self::Edge => "HP0113",
            Self::Duplicate => "HP0114",
            Self::Component => "HP0116",
            Self::Format => "HP0117",
            Self::Initial => "HP0118",
            Self::Empty => "HP0119",
            Self::Combination => "HP0120",
            Self::Handler => "HP0121",
            Self::Managed => "HP0122",
        }
    }

    /// Whether a part of the text that could not be read may be all there is to it.
    fn may_follow_from_syntax(self) -> bool {
        matches!(
            self,
            Self::UnknownKey | Self::MissingKey | Self::UnknownNode | Self::UnknownChannel | Self::Empty | Self::Type
        )
    }
}

/// Gathers problems.
pub(crate) struct Sink<'a> {
    file: &'a str,
    text: Option<&'a str>,
    /// Offsets at which lines begin.
    lines: Vec<usize>,
    problems: Vec<Problem>,
    omitted: usize,
    syntax_faulty: bool,
}

impl<'a> Sink<'a> {
    /// `text` is what the offsets count in.
    pub(crate) fn new(file: &'a str, text: Option<&'a str>) -> Self {
        let newlines =
            text.unwrap_or_default().bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(index, _)| index + 1);
        Self {
            file,
            text,
            lines: std::iter::once(0).chain(newlines).collect(),
            problems: Vec::new(),
            omitted: 0,
            syntax_faulty: false,
        }
    }

    /// Reports a problem at a place. After a syntax error, problems that may be its mere consequences are left out.
    pub(crate) fn report(&mut self, code: Code, offset: Option<usize>, message: String, cure: impl Into<String>) {
        if code == Code::Syntax {
            self.syntax_faulty = true;
        } else if self.syntax_faulty && code.may_follow_from_syntax() {
            return;
        }
        if self.problems.len() == PROBLEMS_MAX {
            self.omitted += 1;
            return;
        }
        let (line, column) = self.position(offset);
        self.problems.push(Problem {
            code: code.text(),
            file: self.file.to_owned(),
            line,
            column,
            message,
            cure: cure.into(),
        });
    }

    /// The problems; `None` when there are none.
    pub(crate) fn finish(mut self) -> Option<Problems> {
        if let Some(last) = self.problems.last()
            && self.omitted > 0
        {
            let mut note = last.clone();
            note.message = format!("{} further problems are not shown", self.omitted);
            note.cure = "mend those above first".to_owned();
            self.problems.push(note);
        }
        (!self.problems.is_empty()).then(|| Problems::sorted(self.problems))
    }

    fn position(&self, offset: Option<usize>) -> (usize, usize) {
        let (Some(text), Some(offset)) = (self.text, offset) else { return (0, 0) };
        let line = self.lines.partition_point(|start| *start <= offset).max(1);
        let start = self.lines[line - 1];
        let before = text.as_bytes().get(start..offset.min(text.len())).unwrap_or_default();
        // Every byte but the continuations of UTF-8 begins a character.
        let column = before.iter().filter(|byte| **byte & 0xc0 != 0x80).count() + 1;
        (line, column)
    }
}
