//! Single values out of threads, by path: `values.messages[-1]`.

use serde_json::{Map, Value};

use crate::problem::Problem;

/// Paths of one request.
const PATHS_MAX: usize = 10;

/// Where a path may begin.
const ROOTS: [&str; 4] = ["values", "metadata", "config", "interrupts"];

/// What is taken from each thread, by alias.
#[derive(Debug, Default)]
pub(super) struct Extraction(Vec<(String, Vec<Part>)>);

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Member(String),
    Element(i64),
}

impl Extraction {
    /// Reads paths by alias.
    ///
    /// # Errors
    /// 422 `HP0821` for more than ten, and for one that is no path.
    pub(super) fn read(given: Option<&Map<String, Value>>) -> Result<Self, Problem> {
        let wrong = |detail: String| Problem::invalid("HP0821", format!("`extract`: {detail}"));
        let given = given.into_iter().flatten();
        let read = given.map(|(alias, path)| {
            let path = path.as_str().ok_or_else(|| wrong(format!("the path of {alias:?} is not a string")))?;
            let parts = parse(path).ok_or_else(|| {
                wrong(format!("{path:?} is no path such as `values.messages[-1]` from {}", ROOTS.join(", ")))
            })?;
            Ok((alias.clone(), parts))
        });
        let paths: Vec<_> = read.collect::<Result<_, Problem>>()?;
        if paths.len() > PATHS_MAX {
            return Err(wrong(format!("{} paths are more than {PATHS_MAX}", paths.len())));
        }
        Ok(Self(paths))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What a thread holds there; null where it holds nothing.
    pub(super) fn of(&self, thread: &Value) -> Map<String, Value> {
        self.0.iter().map(|(alias, parts)| (alias.clone(), at(thread, parts).cloned().unwrap_or_default())).collect()
    }
}

fn at<'a>(value: &'a Value, parts: &[Part]) -> Option<&'a Value> {
    parts.iter().try_fold(value, |value, part| match part {
        Part::Member(name) => value.get(name),
        Part::Element(index) => {
            let elements = value.as_array()?;
            let index = usize::try_from(index.unsigned_abs()).ok().and_then(|distance| match index {
                0.. => Some(distance),
                _ => elements.len().checked_sub(distance),
            });
            elements.get(index?)
        }
    })
}

/// Names with points between them, each with any number of indices.
fn parse(path: &str) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    for segment in path.split('.') {
        let (name, mut rest) = match segment.find('[') {
            Some(bracket) => segment.split_at(bracket),
            None => (segment, ""),
        };
        if name.is_empty() {
            return None;
        }
        parts.push(Part::Member(name.to_owned()));
        while !rest.is_empty() {
            let (index, after) = rest.strip_prefix('[')?.split_once(']')?;
            parts.push(Part::Element(index.parse().ok()?));
            rest = after;
        }
    }
    let rooted = matches!(parts.first(), Some(Part::Member(root)) if ROOTS.contains(&root.as_str()));
    rooted.then_some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(path: &str, expected: Option<Value>) {
        let thread = json!({ "values": { "list": [1, [2, 3], { "deep": true }] }, "metadata": {} });
        let given = Map::from_iter([("it".to_owned(), json!(path))]);
        let found = Extraction::read(Some(&given)).ok().map(|extraction| extraction.of(&thread)["it"].clone());
        assert_eq!(found, expected, "{path}");
    }

    #[test]
    fn paths() {
        check("values.list[0]", Some(json!(1)));
        check("values.list[-1].deep", Some(json!(true)));
        check("values.list[1][-2]", Some(json!(2)));
        check("values.list[-4]", Some(Value::Null));
        check("values.list[9223372036854775807]", Some(Value::Null));
        check("values.list[-9223372036854775808]", Some(Value::Null));
        check("metadata.none.of.it", Some(Value::Null));
        check("values", Some(json!({ "list": [1, [2, 3], { "deep": true }] })));
        for odd in
            ["", "thread_id", "values.", "values..a", "values.list[", "values.list[x]", "values.list[0]x", ".values"]
        {
            check(odd, None);
        }
    }

    #[test]
    fn no_more_than_ten() {
        let of = |count: usize| (0..count).map(|index| (index.to_string(), json!("values"))).collect();
        assert!(Extraction::read(Some(&of(10))).is_ok());
        assert_eq!(Extraction::read(Some(&of(11))).expect_err("too many").code, "HP0821");
        assert!(Extraction::read(None).expect("nothing").is_empty());
    }
}
