//! Text from nodes and callers, made safe to judge.
//!
//! A payload can be written so that a person reads something else than what will be done: characters that show nothing or turn the direction of
//! writing, and letters of one script that look like those of another. Nothing of it is hidden here: what cannot be seen is written out, and a word
//! that mixes scripts is marked, with the reason.

use maud::{Markup, html};
use unicode_script::{Script, UnicodeScript as _};
use unicode_security::GeneralSecurityProfile as _;

/// Longest text that is shown as a whole; what is cut says how much.
const SHOWN_CHARACTERS_MAX: usize = 20_000;

/// A text as it may be looked at.
pub(super) fn text(text: &str) -> Markup {
    let shown: String = text.chars().take(SHOWN_CHARACTERS_MAX).collect();
    let left = text.chars().count() - shown.chars().count();
    html! {
        @for part in parts(&shown) {
            @match part {
                Part::Plain(text) => { (text) }
                Part::Hidden(character) => {
                    mark.hidden title=(format!("a character that does not show: {}", what(character))) {
                        (format!("⟨U+{:04X}⟩", u32::from(character)))
                    }
                }
                Part::Mixed(word, scripts) => {
                    mark.mixed title=(format!("this word mixes letters of {scripts} that look alike")) { (word) }
                }
            }
        }
        @if left > 0 { span.cut { "… and " (left) " more characters" } }
    }
}

/// Whether a text holds anything that is marked.
pub(super) fn is_suspicious(text: &str) -> bool {
    parts(text).iter().any(|part| !matches!(part, Part::Plain(_)))
}

#[derive(Debug, PartialEq)]
enum Part<'t> {
    Plain(&'t str),
    Hidden(char),
    Mixed(&'t str, String),
}

fn parts(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut begun = 0;
    let mut word: Option<usize> = None;
    let ends = text.char_indices().map(|(at, character)| (at, Some(character))).chain([(text.len(), None)]);
    for (at, character) in ends {
        let in_word = character.is_some_and(|character| character.is_alphanumeric());
        match (word, in_word) {
            (None, true) => word = Some(at),
            (Some(from), false) => {
                word = None;
                if let Some(scripts) = mixture(&text[from..at]) {
                    if begun < from {
                        parts.push(Part::Plain(&text[begun..from]));
                    }
                    parts.push(Part::Mixed(&text[from..at], scripts));
                    begun = at;
                }
            }
            _ => {}
        }
        if let Some(character) = character.filter(|character| is_hidden(*character)) {
            if begun < at {
                parts.push(Part::Plain(&text[begun..at]));
            }
            parts.push(Part::Hidden(character));
            begun = at + character.len_utf8();
        }
    }
    if begun < text.len() {
        parts.push(Part::Plain(&text[begun..]));
    }
    parts
}

/// The scripts of a word that mixes them though its letters could be taken for one another; none for an honest word.
fn mixture(word: &str) -> Option<String> {
    let mut scripts: Vec<Script> = Vec::new();
    for character in word.chars() {
        let script = character.script();
        if !matches!(script, Script::Common | Script::Inherited | Script::Unknown) && !scripts.contains(&script) {
            scripts.push(script);
        }
    }
    // Only these three look like one another letter by letter; Han with Kana is Japanese, not a trick.
    let alike = scripts.iter().filter(|script| matches!(script, Script::Latin | Script::Greek | Script::Cyrillic));
    let odd = word.chars().any(|character| character.is_alphabetic() && !character.identifier_allowed());
    (alike.count() > 1 || (odd && scripts.len() > 1))
        .then(|| scripts.iter().map(|script| script.full_name()).collect::<Vec<_>>().join(" and "))
}

/// Whether a character shows nothing, or changes how others show.
fn is_hidden(character: char) -> bool {
    match character {
        '\n' | '\t' => false,
        _ if character.is_control() => true,
        // Soft hyphen, combining grapheme joiner, Arabic letter mark, Hangul fillers, Mongolian separators.
        '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}' => true,
        '\u{180B}'..='\u{180F}' | '\u{3164}' | '\u{FFA0}' | '\u{FEFF}' => true,
        // Zero width, directions, invisible operators, interlinear annotation, variation selectors, tags.
        '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' => true,
        '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E0FFF}' => true,
        '\u{FE00}'..='\u{FE0F}' => true,
        // Spaces that are not a space.
        '\u{A0}' | '\u{1680}' | '\u{2000}'..='\u{200A}' | '\u{202F}' | '\u{205F}' | '\u{3000}' => true,
        _ => false,
    }
}

fn what(character: char) -> &'static str {
    match character {
        '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{200E}' | '\u{200F}' | '\u{61C}' => {
            "it turns the direction of writing"
        }
        '\u{200B}'..='\u{200D}' | '\u{2060}' | '\u{FEFF}' => "it has no width",
        _ if character.is_whitespace() => "a space that is not a space",
        _ if character.is_control() => "a control character",
        _ => "it draws nothing",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(given: &str) -> String {
        text(given).into_string()
    }

    #[test]
    fn honest_text_is_left_alone() {
        for honest in ["refund order 9241", "Straße, naïve, Ελλάδα, Москва", "承認する テスト", "a\n\tb", "50 €, 3×4"]
        {
            assert!(!is_suspicious(honest), "{honest}");
            assert_eq!(shown(honest), honest, "{honest}");
        }
    }

    #[test]
    fn markup_is_text() {
        assert_eq!(shown("<script>alert(1)</script>"), "&lt;script&gt;alert(1)&lt;/script&gt;");
    }

    #[test]
    fn what_does_not_show_is_written_out() {
        for hidden in ["a\u{200B}b", "a\u{202E}b", "a\u{0}b", "a\u{A0}b", "a\u{E0041}b", "a\u{FEFF}b", "a\rb"] {
            assert!(is_suspicious(hidden), "{hidden:?}");
            let shown = shown(hidden);
            assert!(shown.starts_with("a<mark class=\"hidden\"") && shown.ends_with("</mark>b"), "{shown}");
            assert!(!shown.chars().any(is_hidden), "{shown:?}");
        }
        assert!(shown("pay\u{202E}001").contains("⟨U+202E⟩"));
    }

    #[test]
    fn letters_that_look_alike_are_marked() {
        // The second letter is Cyrillic.
        let shown = shown("to pаypal now");
        assert!(shown.starts_with("to <mark class=\"mixed\"") && shown.contains("Latin and Cyrillic"), "{shown}");
        assert!(shown.ends_with("</mark> now"), "{shown}");
    }

    #[test]
    fn long_text_says_what_is_cut() {
        let long = "x".repeat(SHOWN_CHARACTERS_MAX + 5);
        assert!(shown(&long).contains("and 5 more characters"));
    }
}
