//! What the server can do with a request.

/// One way of dealing with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Behaviour {
    /// Pays and answers 201 with a receipt.
    #[default]
    Pay,
    /// Pays and closes the connection without an answer.
    ApplyThenDrop,
    /// Answers nothing, and pays once the client has given up.
    ApplyLate,
    /// Refuses for good: 409.
    Conflict,
    /// Asks to come again in a second: 429 with `Retry-After`.
    Busy,
    /// 500, and nothing was paid.
    FailBefore,
    /// Pays, then 500.
    FailAfter,
    /// Pays, then 200 with something that says to be JSON and is not.
    Garbage,
    /// Pays and answers 201 half a second later.
    Slow,
    /// Neither pays nor answers.
    Never,
}

impl Behaviour {
    /// All behaviours with their names in flags and control requests.
    pub const NAMES: [(Self, &'static str); 10] = [
        (Self::Pay, "pay"),
        (Self::ApplyThenDrop, "apply-then-drop"),
        (Self::ApplyLate, "apply-late"),
        (Self::Conflict, "conflict"),
        (Self::Busy, "busy"),
        (Self::FailBefore, "fail-before"),
        (Self::FailAfter, "fail-after"),
        (Self::Garbage, "garbage"),
        (Self::Slow, "slow"),
        (Self::Never, "never"),
    ];

    /// The name.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize].1
    }

    /// Reads a name back.
    pub fn parse(text: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, name)| *name == text).map(|(behaviour, _)| *behaviour)
    }
}

/// Which requests are dealt with how: what was said for a key goes before what was said for all.
#[derive(Debug, Default)]
pub struct Rules {
    rules: Vec<Rule>,
}

/// One control request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What is done.
    pub behaviour: Behaviour,
    /// For this key only; none is for all.
    pub key: Option<String>,
    /// For so many requests; none is until another rule comes.
    pub times: Option<u32>,
}

impl Rules {
    /// Takes the place of the rule for the same key.
    pub fn set(&mut self, rule: Rule) {
        self.rules.retain(|other| other.key != rule.key);
        self.rules.push(rule);
    }

    /// What to do with a request under a key; counts it.
    pub fn next(&mut self, key: &str) -> Behaviour {
        let of_key = self.rules.iter().position(|rule| rule.key.as_deref() == Some(key));
        let Some(found) = of_key.or_else(|| self.rules.iter().position(|rule| rule.key.is_none())) else {
            return Behaviour::Pay;
        };
        let rule = &mut self.rules[found];
        let behaviour = rule.behaviour;
        if let Some(times) = &mut rule.times {
            *times = times.saturating_sub(1);
            if *times == 0 {
                self.rules.remove(found);
            }
        }
        behaviour
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_for_a_key_goes_first_and_ends() {
        let mut rules = Rules::default();
        assert_eq!(rules.next("a"), Behaviour::Pay);
        rules.set(Rule { behaviour: Behaviour::Busy, key: None, times: None });
        rules.set(Rule { behaviour: Behaviour::Never, key: Some("a".into()), times: Some(1) });
        assert_eq!(
            [rules.next("a"), rules.next("a"), rules.next("b")],
            [Behaviour::Never, Behaviour::Busy, Behaviour::Busy]
        );
        rules.set(Rule { behaviour: Behaviour::Pay, key: None, times: None });
        assert_eq!(rules.next("b"), Behaviour::Pay);
    }

    #[test]
    fn names_are_read_back() {
        for (behaviour, name) in Behaviour::NAMES {
            assert_eq!((behaviour.name(), Behaviour::parse(name)), (name, Some(behaviour)));
        }
    }
}
