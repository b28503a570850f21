//! What is wrong with a graph, all of it at once, each with its place and its cure.

use std::fmt;

/// One fault in a graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Stable code, `HP01…`.
    pub code: &'static str,
    /// The file as the caller named it.
    pub file: String,
    /// Line from 1; 0 when the graph does not come from a text.
    pub line: usize,
    /// Column from 1, counted in characters; 0 when the graph does not come from a text.
    pub column: usize,
    /// What is wrong, a lower-case fragment that names the key.
    pub message: String,
    /// What to do about it.
    pub cure: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            write!(formatter, "{}: {} ({})", self.file, self.message, self.cure)
        } else {
            write!(formatter, "{}:{}:{}: {} ({})", self.file, self.line, self.column, self.message, self.cure)
        }
    }
}

/// Everything that is wrong with one graph: never empty, in order of position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// Puts the problems in order of position; those without a position keep their order.
    pub(crate) fn sorted(mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| (problem.line, problem.column));
        Self(problems)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n")?;
            }
            problem.fmt(formatter)?;
        }
        Ok(())
    }
}

/// A text for a message: cut to a length, and without characters that would act on a terminal or hide what follows.
pub(crate) fn printable(text: &str, characters_max: usize) -> String {
    let mut shown = String::new();
    for (index, character) in text.chars().enumerate() {
        if index == characters_max {
            shown.push('…');
            break;
        }
        if character.is_control()
            || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
        {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// The candidate most similar to `text`, if one is close enough to be meant: for "did you mean".
pub(crate) fn similar<'a>(text: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Distances of long texts are costly, and nobody mistypes 64 characters of a name.
    const CHARACTERS_MAX: usize = 64;
    let text: Vec<char> = text.chars().flat_map(char::to_lowercase).take(CHARACTERS_MAX + 1).collect();
    if text.len() > CHARACTERS_MAX {
        return None;
    }
    candidates
        .filter_map(|candidate| {
            let letters: Vec<char> = candidate.chars().flat_map(char::to_lowercase).take(CHARACTERS_MAX + 1).collect();
            let distance_max = (text.len().max(letters.len()) / 3).clamp(1, 3);
            let distance = edit_distance(&text, &letters);
            (distance <= distance_max && distance < letters.len()).then_some((distance, candidate))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours that lead from one text to the other.
fn edit_distance(left: &[char], right: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for (row, left_char) in left.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, right_char) in right.iter().enumerate() {
            let replaced = last[column] + usize::from(left_char != right_char);
            let mut best = replaced.min(last[column + 1] + 1).min(current[column] + 1);
            if row > 0 && column > 0 && left[row - 1] == *right_char && *left_char == right[column - 1] {
                best = best.min(before_last[column - 1] + 1);
            }
            current.push(best);
        }
        before_last = std::mem::replace(&mut last, current);
    }
    last[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_printable() {
        assert_eq!(printable("a\u{1b}[31mé\u{202e}b", 80), "a\\u{1b}[31mé\\u{202e}b");
        assert_eq!(printable("abc", 2), "ab…");
    }

    #[test]
    fn similar_names_are_found() {
        let names = ["next", "reads", "timeout", "connectors"];
        let find = |text: &str| similar(text, names.into_iter());
        assert_eq!(find("nxet"), Some("next"));
        assert_eq!(find("NEXT"), Some("next"));
        assert_eq!(find("conectors"), Some("connectors"));
        assert_eq!(find("timeot"), Some("timeout"));
        assert_eq!(find("rads"), Some("reads"));
        assert_eq!(find("zzz"), None);
        assert_eq!(find(""), None);
        assert_eq!(find(&"x".repeat(1 << 20)), None);
    }

    #[test]
    fn problems_show_in_order_of_position() {
        let problem = |line, column| Problem {
            code: "HP0110",
            file: "a.toml".into(),
            line,
            column,
            message: "it is odd".into(),
            cure: "make it even".into(),
        };
        let problems = Problems::sorted(vec![problem(2, 1), problem(1, 9), problem(0, 0)]);
        assert_eq!(
            problems.to_string(),
            "a.toml: it is odd (make it even)\na.toml:1:9: it is odd (make it even)\na.toml:2:1: it is odd (make it even)"
        );
    }
}
