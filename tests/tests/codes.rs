//! Every error code has its row on the page, and every row its code: a code that nobody can look up helps nobody.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use holdpoint_tests::program::repository;

/// The codes in a text: `HP` and four digits, not part of a longer word.
fn codes(text: &str) -> BTreeSet<String> {
    let is_code =
        |word: &&str| word.len() == 6 && word.starts_with("HP") && word[2..].bytes().all(|byte| byte.is_ascii_digit());
    text.split(|character: char| !character.is_ascii_alphanumeric()).filter(is_code).map(str::to_owned).collect()
}

fn codes_of_sources(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        // The conformance suite makes up a code for the errors that it stores.
        if path.is_dir() && !path.ends_with("conformance") {
            codes_of_sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.extend(codes(&fs::read_to_string(&path).unwrap()));
        }
    }
}

#[test]
fn the_page_lists_what_the_code_uses() {
    let mut used = BTreeSet::new();
    for part in ["graph", "store", "engine", "effects", "sandbox", "server", "holdpoint"] {
        codes_of_sources(&repository().join("host").join(part).join("src"), &mut used);
    }
    // Examples of the form in comments.
    used.remove("HP0123");
    let page = codes(&fs::read_to_string(repository().join("host/holdpoint/src/codes.md")).unwrap());
    let (unlisted, unused): (Vec<_>, Vec<_>) = (used.difference(&page).collect(), page.difference(&used).collect());
    assert!(used.len() > 100, "the sources were found");
    assert!(unlisted.is_empty() && unused.is_empty(), "not on the page: {unlisted:?}; on the page only: {unused:?}");
}
