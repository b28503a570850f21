//! Where edges lead in a given state.

use serde_json::{Map, Value};

use crate::definition::{Branch, Graph, Next, Target};

use super::StateError;

impl Next {
    /// The targets in this state: all of a plain edge, those of the first branch that holds of a conditional one.
    ///
    /// # Errors
    /// [`StateError::ConditionFailed`] when a condition has no answer, [`StateError::NoBranch`] when none holds.
    pub fn resolve(&self, state: &Map<String, Value>, graph: &Graph) -> Result<Vec<Target>, StateError> {
        let branches = match self {
            Self::None => return Ok(Vec::new()),
            Self::All(targets) => return Ok(targets.clone()),
            Self::First(branches) => branches,
        };
        for branch in branches {
            let taken = match &branch.when {
                Some(condition) => condition.holds(state, &graph.channels)?,
                None => true,
            };
            if taken {
                return Ok(branch.to.clone());
            }
        }
        Err(StateError::NoBranch { conditions: branches.iter().filter_map(condition_text).collect() })
    }
}

fn condition_text(branch: &Branch) -> Option<String> {
    branch.when.as_ref().map(|condition| condition.text().to_owned())
}
