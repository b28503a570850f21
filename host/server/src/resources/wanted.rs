//! Which approvals somebody wants to see, and a page of them: for programs and for people.

use std::collections::BTreeSet;

use holdpoint_engine::{Approval, ApprovalStatus};
use holdpoint_graph::ids::QuestionId;
use holdpoint_store::QuestionFilter;

use super::approvals::refusal;
use crate::caller::Caller;
use crate::context::Context;
use crate::problem::Problem;

/// Questions that are looked at for one page: where a filter passes over more, the page is shorter and says where to go on.
const LOOKED_AT_MAX: usize = 5_000;

/// See the module.
pub(crate) struct Wanted {
    /// What the store can tell apart. Its limit is how many are read at once.
    pub(crate) filter: QuestionFilter,
    /// In one of these statuses.
    pub(crate) statuses: Vec<ApprovalStatus>,
    /// Only those that the caller may answer.
    pub(crate) mine: bool,
    /// Only those that name a group of each of these sets.
    pub(crate) groups: Vec<BTreeSet<String>>,
}

impl Wanted {
    /// At most `limit` of them, and where to go on when there may be more.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn page(
        &self,
        context: &Context,
        caller: &Caller,
        limit: usize,
    ) -> Result<(Vec<Approval>, Option<QuestionId>), Problem> {
        let engine = context.engine(caller);
        let mut filter = self.filter.clone();
        // Mostly all that is read fits; where little of it does, more is read at once.
        filter.limit = limit.saturating_add(1).min(self.filter.limit);
        let (mut found, mut looked_at) = (Vec::new(), 0);
        let next = loop {
            let page = engine.approvals(&filter).await.map_err(refusal)?;
            let is_last = page.len() < filter.limit;
            looked_at += page.len();
            filter.after = page.last().map(|approval| approval.id.clone()).or(filter.after);
            let room = limit - found.len();
            let mut fitting = page.into_iter().filter(|approval| self.fits(approval));
            found.extend(fitting.by_ref().take(room));
            if found.len() == limit {
                // The page ends before what else was read, if anything was.
                let more = !is_last || fitting.next().is_some();
                break found.last().filter(|_| more).map(|approval: &Approval| approval.id.clone());
            }
            if is_last {
                break None;
            }
            if looked_at >= LOOKED_AT_MAX {
                break filter.after;
            }
            filter.limit = filter.limit.saturating_mul(4).min(self.filter.limit);
        };
        Ok((found, next))
    }

    fn fits(&self, approval: &Approval) -> bool {
        let named = approval.assignees.iter().chain(approval.added.iter().map(|added| &added.to));
        let named: BTreeSet<&str> = named.filter_map(|label| label.strip_prefix("group:")).collect();
        self.statuses.contains(&approval.status)
            && (!self.mine || approval.eligibility.may())
            && self.groups.iter().all(|groups| groups.iter().any(|group| named.contains(group.as_str())))
    }
}
