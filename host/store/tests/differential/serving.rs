//! What a script does beside threads and operations: questions across threads, entries, runs, keys, links, the record.

use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::Tenant;
use holdpoint_graph::operation::{OperationRecord, OperationState};
use holdpoint_store::conformance::scene::{self, NOW_MS};
use holdpoint_store::{
    Access, ApiKeyRecord, Approvals, AuditEntry, AuditFilter, AuditTrail, DeadlineGuard, EntryFilter, EntryOrder,
    EntryStatus, Error, ExpiryRule, LinkRecord, QuestionChange, QuestionFilter, QuestionStatus, ReplyRecord, RunCancel,
    RunFilter, RunRecord, RunStatus, Runs, SessionRecord, Store, ThreadEntry, ThreadExpiry,
};
use rand::RngExt;
use rand::seq::IndexedRandom;
use serde_json::json;

use crate::THREADS;
use crate::pair::{Pair, assert_same, key};
use crate::script::{Script, outcome_of, presence, some_or_none};

/// Runs, keys, links and replies of a script are numbered up to this.
const NUMBERS: u64 = 8;

impl Script {
    /// Does one thing on both stores; what was reached.
    pub(crate) async fn serve(&mut self, pair: &Pair) -> String {
        let name = *THREADS.choose(&mut self.random).expect("there are some");
        let thread = scene::thread(name);
        let now_ms = NOW_MS + self.random.random_range(0..60);
        match self.random.random_range(0..34) {
            0..6 => self.change(pair, name).await,
            6 => {
                let question = self.question_id(name);
                presence("find question", &both!(pair, self, find_question(&question)))
            }
            7..9 => {
                let filter = self.question_filter(name);
                let found = both!(pair, self, questions(&filter));
                some_or_none(if filter.after.is_some() { "next questions" } else { "questions" }, &found)
            }
            9 => {
                let limit = self.random.random_range(0..4);
                some_or_none("due questions", &both!(pair, self, due_questions(now_ms, limit)))
            }
            10 => {
                let tenant = self.random.random_bool(0.5).then(|| self.tenant());
                both!(pair, self, count_questions(tenant.as_ref(), now_ms)).expect("the store can be read");
                "counts".to_owned()
            }
            11 => {
                let reply = self.reply();
                presence("reply", &both!(pair, self, reply(&reply.actor, &reply.key, now_ms)))
            }
            12 => {
                let now_ms = NOW_MS + self.random.random_range(0..12);
                let removed = both!(pair, self, clear_replies(now_ms)).expect("the store can be written");
                if removed == 0 { "clear no replies" } else { "clear replies" }.to_owned()
            }
            13 => {
                let (links, audit) = (vec![self.link(name)], self.audit(name));
                both!(pair, self, put_links(links.clone())).expect("the store can be written");
                presence("link", &both!(pair, self, link(&links[0].digest)));
                outcome_of("audit", &both!(pair, self, put_audit(audit.clone())))
            }
            14 => {
                let (key, audit) = (self.api_key(), self.audit(name));
                if self.random.random_bool(0.4) {
                    let revoked = both!(pair, self, revoke_key(&key.tenant, &key.name, now_ms, audit.clone()));
                    format!("revoke {}", revoked.expect("the store can be written"))
                } else {
                    let outcome = both!(pair, self, put_key(key.clone(), audit.clone()));
                    presence("key", &both!(pair, self, key(&key.digest)));
                    outcome_of("key", &outcome)
                }
            }
            15 => {
                let entry = ThreadEntry {
                    expiry: self.expiry(),
                    temporary: self.random.random_bool(0.3),
                    ..ThreadEntry::new(thread, self.tenant(), self.entry_metadata(), now_ms)
                };
                let audit = self.audit(name);
                outcome_of("entry", &both!(pair, self, put_entry(entry.clone(), audit.clone())))
            }
            16 => {
                let (metadata, audit) = (self.entry_metadata(), self.audit(name));
                let outcome = both!(pair, self, merge_metadata(&thread, metadata.clone(), now_ms, audit.clone()));
                outcome_of("merge", &outcome.map(drop))
            }
            17..19 => {
                let filter = self.entry_filter();
                both!(pair, self, count_entries(&filter)).expect("the store can be read");
                some_or_none("entries", &both!(pair, self, entries(&filter)))
            }
            19 => {
                let limit = self.random.random_range(0..4);
                some_or_none("due entries", &both!(pair, self, due_entries(now_ms, limit)))
            }
            20..22 => {
                let (run, alone, audit) = (self.run(name), self.random.random_bool(0.5), self.audit(name));
                outcome_of("run", &both!(pair, self, put_run(run.clone(), alone, audit.clone())))
            }
            22 => {
                let filter = RunFilter {
                    thread: self.random.random_bool(0.4).then_some(thread),
                    tenant: self.random.random_bool(0.4).then(|| self.tenant()),
                    status: self.random.random_bool(0.4).then(|| self.run_status()),
                    limit: self.random.random_range(0..5),
                    offset: self.random.random_range(0..3),
                };
                let limit = self.random.random_range(0..4);
                both!(pair, self, next_runs(now_ms, limit)).expect("the store can be read");
                some_or_none("runs", &both!(pair, self, runs(&filter)))
            }
            23 => {
                let id = scene::run_id(self.random.random_range(0..NUMBERS));
                presence("run", &both!(pair, self, run(&id)));
                match both!(pair, self, delete_run(&id)) {
                    Ok(removed) => format!("delete run {removed}"),
                    Err(error) => format!("delete run {}", error.code()),
                }
            }
            24 => {
                let (update, audit) = (self.run_update(), self.audit(name));
                outcome_of("update run", &both!(pair, self, update_run(update.clone(), now_ms, audit.clone())))
            }
            25 => {
                let (expiry, audit) = (self.expiry(), self.audit(name));
                let outcome = both!(pair, self, set_expiry(&thread, expiry, now_ms, audit.clone()));
                outcome_of("expiry", &outcome.map(drop))
            }
            26 => self.delete_entry(pair, name).await,
            27..29 => {
                let id = scene::run_id(self.random.random_range(0..NUMBERS));
                let cancel = RunCancel::NAMES[self.random.random_range(0..2)].0;
                let audit = self.audit(name);
                outcome_of("cancel", &both!(pair, self, request_cancel(&id, cancel, now_ms, audit.clone())))
            }
            29 => {
                let limit = self.random.random_range(0..9);
                let found = both!(pair, self, cancel_requests(limit));
                if found.as_ref().is_ok_and(|found| found.iter().any(|run| run.status.is_over())) {
                    return "cancel requests of one that is over".to_owned();
                }
                some_or_none("cancel requests", &found)
            }
            30 => self.session(pair, now_ms).await,
            31..33 => self.delete_entry(pair, name).await,
            _ if self.random.random_bool(0.4) => {
                let tenant = self.random.random_bool(0.7).then(|| self.tenant());
                let counts = both!(pair, self, count_operations(tenant.as_ref())).expect("the store can be read");
                if counts.in_doubt > 0 { "open operations some" } else { "open operations none" }.to_owned()
            }
            _ => {
                let filter = AuditFilter {
                    thread: self.random.random_bool(0.4).then_some(thread),
                    tenant: self.random.random_bool(0.4).then(|| self.tenant()),
                    after: self.random.random_range(0..9),
                    limit: self.random.random_range(0..9),
                };
                some_or_none("trail", &both!(pair, self, audit(&filter)))
            }
        }
    }

    async fn delete_entry(&mut self, pair: &Pair, name: &str) -> String {
        let (thread, audit) = (scene::thread(name), self.audit(name));
        match both!(pair, self, delete_entry(&thread, audit.clone())) {
            Ok(removed) => format!("delete entry {removed}"),
            Err(error) => format!("delete entry {}", error.code()),
        }
    }

    /// Logs somebody in, looks who is logged in, or logs out.
    async fn session(&mut self, pair: &Pair, now_ms: u64) -> String {
        let digest = key(self.random.random_range(0..5));
        match self.random.random_range(0..4) {
            0 => {
                let session = SessionRecord {
                    digest: digest.clone(),
                    caller: self.value(2),
                    created_at_ms: now_ms,
                    expires_at_ms: NOW_MS + self.random.random_range(0..60),
                };
                both!(pair, self, put_session(session.clone())).expect("the store can be written");
                presence("session", &both!(pair, self, session(&digest)))
            }
            1 => presence("session", &both!(pair, self, session(&digest))),
            2 => {
                let ended = both!(pair, self, delete_session(&digest)).expect("the store can be written");
                format!("end session {ended}")
            }
            _ => {
                let removed = both!(pair, self, clear_sessions(now_ms)).expect("the store can be written");
                if removed == 0 { "clear no sessions" } else { "clear sessions" }.to_owned()
            }
        }
    }

    fn expiry(&mut self) -> Option<ThreadExpiry> {
        self.random.random_bool(0.6).then(|| ThreadExpiry {
            at_ms: NOW_MS + self.random.random_range(0..60),
            ttl_ms: self.random.random_range(0..9),
            rule: ExpiryRule::NAMES[self.random.random_range(0..2)].0,
        })
    }

    /// Says something of a question, mostly one that is there, on the newest reading.
    async fn change(&mut self, pair: &Pair, name: &str) -> String {
        let id = self.question_id(name);
        let thread = scene::thread(name);
        let stored = pair.memory.question(&thread, &id).await.expect("memory can be read");
        let question = stored.unwrap_or_else(|| scene::question(&scene::task(name, 0, "pull:x"), name, 0));
        let at_ms = NOW_MS + self.random.random_range(0..60);
        let mut change = match self.random.random_range(0..3) {
            0 => scene::change(name, &question),
            1 => scene::decide(name, &question, "user:ana"),
            _ => scene::expire(name, &question, at_ms),
        };
        change = QuestionChange { question: id, at_ms, ..change };
        if self.random.random_bool(0.1) {
            change.proceedings.version = self.random.random_range(0..4);
        }
        change.proceedings.escalated = self.random.random_range(0..3);
        change.due_at_ms = self.random.random_bool(0.5).then(|| NOW_MS + self.random.random_range(0..60));
        if self.random.random_bool(0.3) {
            change.claim = Some(scene::claim("answers"));
        }
        if self.random.random_bool(0.05) {
            change.guard = DeadlineGuard::Passed;
        }
        change.reply = self.random.random_bool(0.3).then(|| self.reply());
        change.link = self.random.random_bool(0.2).then(|| self.link(name).digest);
        if self.random.random_bool(0.3) {
            let task = scene::task(name, 0, "pull:x");
            let state = OperationState::Queued { attempts: 0, due_at_ms: self.random.random_range(0..10) };
            change.operations.push(OperationRecord { state, ..self.operation(name, &task) });
        }
        change.audit = self.audit(name);
        let outcome = both!(pair, self, change_question(change.clone()));
        both!(pair, self, thread(&thread)).expect("the store can be read");
        match outcome {
            Ok(changed) => {
                if changed.woken {
                    // It may have a new epoch.
                    let found = pair.memory.thread(&thread).await.expect("memory can be read").expect("it was woken");
                    self.epochs.insert(thread, found.epoch.0);
                }
                match (changed.claimed, changed.woken) {
                    (Some(_), _) => "change claimed".to_owned(),
                    (None, true) => "change woke".to_owned(),
                    (None, false) => "change ok".to_owned(),
                }
            }
            Err(error) => format!("change {}", error.code()),
        }
    }

    fn question_filter(&mut self, name: &str) -> QuestionFilter {
        let statuses = QuestionStatus::NAMES.map(|(status, _)| status);
        QuestionFilter {
            tenant: self.random.random_bool(0.5).then(|| self.tenant()),
            status: self.random.random_bool(0.7).then(|| *statuses.choose(&mut self.random).expect("there are some")),
            graph_name: self.random.random_bool(0.2).then(|| self.graph_name()),
            thread: self.random.random_bool(0.2).then(|| scene::thread(name)),
            deadline_until_ms: self.random.random_bool(0.2).then(|| NOW_MS + self.random.random_range(0..60)),
            after: self.random.random_bool(0.4).then(|| self.question_id(name)),
            limit: self.random.random_range(0..6),
        }
    }

    fn entry_filter(&mut self) -> EntryFilter {
        let statuses = [EntryStatus::Idle, EntryStatus::Busy, EntryStatus::Interrupted, EntryStatus::Error];
        let orders = [EntryOrder::Updated, EntryOrder::Created, EntryOrder::Id];
        EntryFilter {
            tenant: self.random.random_bool(0.5).then(|| self.tenant()),
            threads: THREADS.into_iter().filter(|_| self.random.random_bool(0.3)).map(scene::thread).collect(),
            status: self.random.random_bool(0.3).then(|| *statuses.choose(&mut self.random).expect("there are some")),
            metadata: if self.random.random_bool(0.3) { self.entry_metadata() } else { serde_json::Map::new() },
            order: *orders.choose(&mut self.random).expect("there are some"),
            ascending: self.random.random_bool(0.5),
            limit: self.random.random_range(0..4),
            offset: self.random.random_range(0..2),
        }
    }

    fn entry_metadata(&mut self) -> serde_json::Map<String, serde_json::Value> {
        let mut metadata = self.metadata();
        if self.random.random_bool(0.4) {
            metadata.insert("graph_id".to_owned(), self.graph_name().as_str().into());
        }
        metadata
    }

    /// Mostly the one that all are of.
    pub(crate) fn tenant(&mut self) -> Tenant {
        if self.random.random_bool(0.9) { Tenant::default() } else { scene::tenant("other") }
    }

    pub(crate) fn run_status(&mut self) -> RunStatus {
        RunStatus::NAMES[self.random.random_range(0..5)].0
    }

    fn run(&mut self, name: &str) -> RunRecord {
        RunRecord {
            tenant: self.tenant(),
            status: if self.random.random_bool(0.8) { RunStatus::Pending } else { self.run_status() },
            cancel: self.random.random_bool(0.1).then_some(RunCancel::Rollback),
            base: self.random.random_bool(0.1).then(|| self.random.random_bool(0.5).then(|| self.checkpoint(name))),
            not_before_ms: NOW_MS + self.random.random_range(0..60),
            metadata: self.metadata(),
            ..scene::run(name, self.random.random_range(0..NUMBERS))
        }
    }

    pub(crate) fn run_update(&mut self) -> holdpoint_store::RunUpdate {
        let from = if self.random.random_bool(0.6) { RunStatus::Pending } else { self.run_status() };
        scene::run_update(self.random.random_range(0..NUMBERS), from, self.run_status())
    }

    pub(crate) fn audit(&mut self, name: &str) -> Vec<AuditEntry> {
        (0..self.random.random_range(0..3))
            .map(|_| {
                let about = self.random.random_bool(0.7).then_some(name);
                let body = [("value".to_owned(), self.value(2))].into_iter().collect();
                AuditEntry { tenant: self.tenant(), body, ..scene::audit("said", about) }
            })
            .collect()
    }

    fn reply(&mut self) -> ReplyRecord {
        ReplyRecord {
            actor: format!("user:{}", self.random.random_range(0..2)),
            key: self.random.random_range(0..NUMBERS).to_string(),
            request: Digest::of_bytes(b"request"),
            status: self.random.random_range(200..500),
            body: json!({ "body": self.value(1) }),
            expires_at_ms: NOW_MS + self.random.random_range(0..60),
        }
    }

    fn link(&mut self, name: &str) -> LinkRecord {
        LinkRecord {
            digest: Digest::of_bytes(&self.random.random_range(0..NUMBERS).to_le_bytes()),
            thread: scene::thread(name),
            question: self.question_id(name),
            subject: "user:ana".to_owned(),
            created_at_ms: NOW_MS,
            expires_at_ms: NOW_MS + self.random.random_range(0..60),
            used_at_ms: None,
        }
    }

    fn api_key(&mut self) -> ApiKeyRecord {
        ApiKeyRecord {
            name: self.random.random_range(0..NUMBERS).to_string(),
            digest: key(self.random.random_range(0..20)),
            tenant: self.tenant(),
            roles: vec!["viewer".to_owned()],
            groups: Vec::new(),
            created_at_ms: NOW_MS,
            created_by: "cli:ana".to_owned(),
            expires_at_ms: None,
            revoked_at_ms: None,
        }
    }
}

impl Pair {
    /// All of it.
    pub(crate) async fn same_beside(&self, script: &Script) {
        let read = |error: Error| -> Error { panic!("the store can be read: {error}") };
        for status in QuestionStatus::NAMES.map(|(status, _)| Some(status)).into_iter().chain([None]) {
            let filter = QuestionFilter { status, ..QuestionFilter::pending(usize::MAX) };
            both!(self, script, questions(&filter)).map_err(read).ok();
        }
        both!(self, script, due_questions(u64::MAX, usize::MAX)).map_err(read).ok();
        let entries = EntryFilter { limit: usize::MAX, ..EntryFilter::default() };
        both!(self, script, entries(&entries)).map_err(read).ok();
        let runs = RunFilter { limit: usize::MAX, ..RunFilter::default() };
        both!(self, script, runs(&runs)).map_err(read).ok();
        both!(self, script, keys(None)).map_err(read).ok();
        both!(self, script, due_entries(u64::MAX, usize::MAX)).map_err(read).ok();
        both!(self, script, cancel_requests(usize::MAX)).map_err(read).ok();
        for tenant in [None, Some(Tenant::default()), Some(scene::tenant("other"))] {
            both!(self, script, count_operations(tenant.as_ref())).map_err(read).ok();
        }
        let trail = AuditFilter { limit: usize::MAX, ..AuditFilter::default() };
        both!(self, script, audit(&trail)).map_err(read).ok();
        both!(self, script, audit_head()).map_err(read).ok();
    }
}
