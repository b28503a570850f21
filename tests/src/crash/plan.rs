//! Where a run dies, as text: `refund:3,5` is the refund graph, killed at its 3rd point, and at the 5th after that.

use std::fmt;
use std::str::FromStr;

use super::scenario::Scenario;

/// See the module. Points are counted anew after each death, over lives that ended by themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The graph.
    pub scenario: Scenario,
    /// After how many points each death comes, from 1.
    pub deaths: Vec<u32>,
}

impl Plan {
    /// A plan.
    pub fn new(scenario: Scenario, deaths: impl Into<Vec<u32>>) -> Self {
        Self { scenario, deaths: deaths.into() }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let deaths: Vec<String> = self.deaths.iter().map(u32::to_string).collect();
        write!(formatter, "{}:{}", self.scenario.name(), deaths.join(","))
    }
}

impl FromStr for Plan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, deaths) = text.split_once(':').ok_or("a plan is written GRAPH:K1,K2,K3")?;
        let scenario = Scenario::parse(name).ok_or_else(|| format!("there is no graph {name}"))?;
        let deaths = deaths.split(',').filter(|death| !death.is_empty()).map(|death| match death.parse() {
            Ok(0) | Err(_) => Err(format!("{death} is no point: they count from 1")),
            Ok(point) => Ok(point),
        });
        Ok(Self { scenario, deaths: deaths.collect::<Result<_, _>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_are_read_back() {
        for text in ["refund:", "refund:3", "three-effects:3,5,12"] {
            assert_eq!(text.parse::<Plan>().unwrap().to_string(), text);
        }
        for text in ["refund", "nothing:1", "refund:0", "refund:x"] {
            text.parse::<Plan>().unwrap_err();
        }
    }
}
