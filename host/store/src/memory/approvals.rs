//! Questions across threads in memory, and their changes.

use async_trait::async_trait;
use holdpoint_graph::ids::{QuestionId, Tenant};

use super::thread::{Asked, Thread, count};
use super::{MemoryStore, Performed, State};
use crate::approvals::{
    Approvals, Changed, QuestionChange, QuestionCounts, QuestionFilter, ReplyRecord, ThreadQuestion,
};
use crate::check;
use crate::records::{QuestionStatus, ThreadStatus};
use crate::store::Error;

impl State {
    fn change(&mut self, change: QuestionChange) -> Result<Changed, Error> {
        let QuestionChange { at_ms, .. } = change;
        if let Some(reply) = &change.reply
            && let Some(known) = self.replies.get(&key_of(reply))
            && at_ms < known.expires_at_ms
        {
            return Err(Error::KeyUsed(Box::new(known.clone())));
        }
        let not_found = || Error::QuestionNotFound { thread: change.thread.clone(), question: change.question.clone() };
        let mut thread = self.threads.get(&change.thread).ok_or_else(not_found)?.clone();
        let stored = &mut thread.pending(&change.question)?.record;
        check::say(stored, change.guard, &change.proceedings, at_ms)?;
        stored.proceedings = change.proceedings;
        stored.due_at_ms = change.due_at_ms;
        let mut changed = Changed::default();
        let answered = change.answer.is_some();
        if let Some(answer) = change.answer {
            stored.status = QuestionStatus::Answered;
            stored.answer = Some(answer);
            stored.due_at_ms = None;
            let waited = thread.record.status == ThreadStatus::Interrupted;
            changed.woken = thread.wake(at_ms);
            if waited {
                let record = &mut thread.record;
                record.epoch = record.epoch.next();
                if let Some(claim) = change.claim {
                    record.owner = Some(claim.owner);
                    record.lease_until_ms = claim.lease_until_ms;
                    changed.claimed = Some(record.epoch);
                }
            }
        }
        if let Some(digest) = &change.link {
            let opens = |link: &&mut crate::LinkRecord| {
                let its = link.thread == change.thread && link.question == change.question;
                its && link.used_at_ms.is_none() && at_ms < link.expires_at_ms
            };
            self.links.get_mut(digest).filter(opens).ok_or(Error::LinkUsed)?.used_at_ms = Some(at_ms);
        }

        // Nothing is refused from here on.
        if answered {
            self.revoke_links(&change.thread, &change.question, at_ms);
        }
        for operation in change.operations {
            if self.performed(&operation.key).is_none() {
                let tenant = self.tenant_of(&operation.thread);
                self.operations.push(Performed { tenant, record: operation });
            }
        }
        self.replies.extend(change.reply.map(|reply| (key_of(&reply), reply)));
        self.trail.extend(change.audit);
        self.threads.insert(change.thread, thread);
        self.commits += 1;
        Ok(changed)
    }

    /// All questions with their threads.
    fn asked(&self) -> impl Iterator<Item = (&Thread, &Asked)> {
        self.threads.values().flat_map(|thread| thread.questions.iter().map(move |asked| (thread, &**asked)))
    }
}

#[async_trait]
impl Approvals for MemoryStore {
    async fn change_question(&self, change: QuestionChange) -> Result<Changed, Error> {
        check::change(&change)?;
        self.state().change(change)
    }

    async fn find_question(&self, question: &QuestionId) -> Result<Option<ThreadQuestion>, Error> {
        let state = self.state();
        let found = state.asked().filter(|(_, asked)| asked.record.id == *question);
        let first = found.min_by_key(|(_, asked)| (asked.record.status != QuestionStatus::Pending, asked.number));
        Ok(first.map(with_thread))
    }

    async fn questions(&self, filter: &QuestionFilter) -> Result<Vec<ThreadQuestion>, Error> {
        let state = self.state();
        let by_deadline = filter.status == Some(QuestionStatus::Pending) || filter.deadline_until_ms.is_some();
        let place = |asked: &Asked| {
            let deadline = asked.record.deadline_at_ms.filter(|_| by_deadline).unwrap_or(u64::MAX);
            (deadline, std::cmp::Reverse(asked.record.asked_at_ms), asked.number)
        };
        let of_thread = |thread: &Thread| filter.thread.as_ref().is_none_or(|id| thread.record.id == *id);
        let after = match &filter.after {
            None => None,
            Some(id) => {
                // Of several the last one: a page must not begin where it began before.
                let its = state.asked().filter(|(thread, asked)| of_thread(thread) && asked.record.id == *id);
                let Some((_, last)) = its.max_by_key(|(_, asked)| asked.number) else { return Ok(Vec::new()) };
                Some(place(last))
            }
        };
        let wanted = |(thread, asked): &(&Thread, &Asked)| {
            let question = &asked.record;
            let in_time = |until_ms| {
                let pending = question.status == QuestionStatus::Pending;
                pending && question.deadline_at_ms.is_some_and(|deadline_ms| deadline_ms <= until_ms)
            };
            filter.tenant.as_ref().is_none_or(|tenant| thread.record.tenant == *tenant)
                && filter.status.is_none_or(|status| question.status == status)
                && filter.graph_name.as_ref().is_none_or(|name| thread.record.graph_name == *name)
                && of_thread(thread)
                && filter.deadline_until_ms.is_none_or(in_time)
                && after.is_none_or(|after| place(asked) > after)
        };
        let mut found: Vec<(&Thread, &Asked)> = state.asked().filter(wanted).collect();
        found.sort_by_key(|(_, asked)| place(asked));
        Ok(found.into_iter().take(filter.limit).map(with_thread).collect())
    }

    async fn due_questions(&self, now_ms: u64, limit: usize) -> Result<Vec<ThreadQuestion>, Error> {
        let state = self.state();
        let due = |asked: &Asked| {
            let pending = asked.record.status == QuestionStatus::Pending;
            asked.record.due_at_ms.filter(|due_at_ms| pending && *due_at_ms <= now_ms)
        };
        let mut found: Vec<_> =
            state.asked().filter_map(|(thread, asked)| Some((due(asked)?, asked.number, thread, asked))).collect();
        found.sort_by_key(|(due_at_ms, number, ..)| (*due_at_ms, *number));
        Ok(found.into_iter().take(limit).map(|(_, _, thread, asked)| with_thread((thread, asked))).collect())
    }

    async fn count_questions(&self, tenant: Option<&Tenant>, now_ms: u64) -> Result<QuestionCounts, Error> {
        let state = self.state();
        let pending = state.asked().filter(|(thread, asked)| {
            let its = tenant.is_none_or(|tenant| thread.record.tenant == *tenant);
            its && asked.record.status == QuestionStatus::Pending
        });
        let mut counts = QuestionCounts::default();
        for (_, Asked { record, .. }) in pending {
            counts.pending += 1;
            counts.overdue += u64::from(record.deadline_at_ms.is_some_and(|deadline_ms| deadline_ms <= now_ms));
            let oldest = counts.oldest_asked_at_ms.map_or(record.asked_at_ms, |oldest| oldest.min(record.asked_at_ms));
            counts.oldest_asked_at_ms = Some(oldest);
        }
        Ok(counts)
    }

    async fn reply(&self, actor: &str, key: &str, now_ms: u64) -> Result<Option<ReplyRecord>, Error> {
        let state = self.state();
        let found = state.replies.get(&(actor.to_owned(), key.to_owned()));
        Ok(found.filter(|reply| now_ms < reply.expires_at_ms).cloned())
    }

    async fn clear_replies(&self, now_ms: u64) -> Result<u64, Error> {
        let mut state = self.state();
        let before = state.replies.len() + state.links.len();
        state.replies.retain(|_, reply| now_ms < reply.expires_at_ms);
        state.links.retain(|_, link| now_ms < link.expires_at_ms);
        Ok(count(before - state.replies.len() - state.links.len()))
    }
}

fn key_of(reply: &ReplyRecord) -> (String, String) {
    (reply.actor.clone(), reply.key.clone())
}

fn with_thread((thread, asked): (&Thread, &Asked)) -> ThreadQuestion {
    ThreadQuestion {
        thread: thread.record.id.clone(),
        tenant: thread.record.tenant.clone(),
        graph_name: thread.record.graph_name.clone(),
        thread_status: thread.record.status,
        question: asked.record.clone(),
    }
}
