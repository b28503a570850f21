//! What is used once: idempotency keys and approval links.

use std::sync::Arc;

use holdpoint_graph::digest::Digest;

use super::decisions::{asking, link, reply, stored};
use super::scene::{self, NOW_MS, apply, change, decide, update};
use crate::access::LinkRecord;
use crate::approvals::{QuestionChange, ReplyRecord};
use crate::records::{QuestionRecord, ThreadStatus};
use crate::store::{Commit, Error, Store};

/// With an idempotency key a request is carried out once: a second gets what was replied to the first, until the reply's time is over.
pub async fn a_key_is_used_once(store: Arc<dyn Store>) {
    let questions = asking(&store, "t", 4, ThreadStatus::Running).await;
    let with = |question: &QuestionRecord, reply: ReplyRecord| QuestionChange {
        reply: Some(reply),
        ..decide("t", question, "user:ana")
    };
    assert_eq!(store.reply("user:ana", "k", NOW_MS).await, Ok(None));
    assert!(store.change_question(with(&questions[0], reply("k", 200))).await.is_ok());
    assert_eq!(store.reply("user:ana", "k", NOW_MS).await, Ok(Some(reply("k", 200))));
    assert_eq!(store.reply("user:ana", "k", NOW_MS + 49).await, Ok(Some(reply("k", 200))));
    assert_eq!(store.reply("user:ana", "k", NOW_MS + 50).await, Ok(None));
    let used = Err(Error::KeyUsed(Box::new(reply("k", 200))));
    // Rather this than that it was decided, which it was by the first.
    assert_eq!(store.change_question(with(&questions[0], reply("k", 409))).await, used);
    assert_eq!(store.change_question(with(&questions[1], reply("k", 201))).await, used);
    assert_eq!(stored(&store, "t", &questions[1]).await, questions[1], "nothing was decided");
    let of_another = ReplyRecord { actor: "user:ben".to_owned(), ..reply("k", 202) };
    assert!(store.change_question(with(&questions[1], of_another.clone())).await.is_ok());
    assert_eq!(store.reply("user:ben", "k", NOW_MS).await, Ok(Some(of_another)));
    // What was refused was not replied to.
    let settled = store.change_question(with(&questions[1], reply("l", 200))).await;
    assert!(matches!(settled, Err(Error::QuestionSettled(_))), "{settled:?}");
    assert_eq!(store.reply("user:ana", "l", NOW_MS).await, Ok(None));
    // At its end it gives way.
    let late = ReplyRecord { expires_at_ms: NOW_MS + 99, ..reply("k", 203) };
    let changing = QuestionChange { at_ms: NOW_MS + 50, ..with(&questions[2], late.clone()) };
    assert!(store.change_question(changing).await.is_ok());
    assert_eq!(store.reply("user:ana", "k", NOW_MS + 50).await, Ok(Some(late)));
    assert_eq!(store.clear_replies(NOW_MS + 49).await, Ok(0));
    assert_eq!(store.clear_replies(NOW_MS + 50).await, Ok(1), "that of user:ben");
    assert_eq!(store.clear_replies(NOW_MS + 99).await, Ok(1));
    // Of many at once with one key one is carried out.
    let mut asking_at_once = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (store, changing) = (Arc::clone(&store), with(&questions[3], reply("m", 200)));
        asking_at_once.spawn(async move { store.change_question(changing).await });
    }
    let outcomes = asking_at_once.join_all().await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    let used = Err(Error::KeyUsed(Box::new(reply("m", 200))));
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == used).count(), 7);
}

/// A link opens one change of its question, in its time, and none once the question is answered.
pub async fn a_link_is_used_once(store: Arc<dyn Store>) {
    let questions = asking(&store, "t", 3, ThreadStatus::Running).await;
    let links = [
        link("one", "t", &questions[0]),
        link("two", "t", &questions[0]),
        LinkRecord { expires_at_ms: NOW_MS, ..link("late", "t", &questions[0]) },
        link("other", "t", &questions[1]),
        link("third", "t", &questions[2]),
    ];
    assert_eq!(store.put_links(links.to_vec()).await, Ok(()));
    let twice = LinkRecord { subject: "user:eve".to_owned(), ..links[0].clone() };
    assert_eq!(store.put_links(vec![twice]).await, Ok(()));
    let found = async |secret: &str| {
        let digest = Digest::of_bytes(secret.as_bytes());
        store.link(&digest).await.expect("the store can be read").map(|link| (link.subject, link.used_at_ms))
    };
    let ana = |used_at_ms| Some(("user:ana".to_owned(), used_at_ms));
    assert_eq!((found("one").await, found("unknown").await), (ana(None), None), "it stays as it was stored first");
    let by = |secret: &str| Some(Digest::of_bytes(secret.as_bytes()));
    for secret in ["late", "other", "unknown"] {
        let changing = QuestionChange { link: by(secret), ..decide("t", &questions[0], "user:ana") };
        assert_eq!(store.change_question(changing).await, Err(Error::LinkUsed), "{secret}");
    }
    assert_eq!(stored(&store, "t", &questions[0]).await, questions[0]);
    // A vote uses its own link only.
    let voting = QuestionChange { link: by("one"), at_ms: NOW_MS + 1, ..change("t", &questions[0]) };
    assert!(store.change_question(voting).await.is_ok());
    assert_eq!((found("one").await, found("two").await), (ana(Some(NOW_MS + 1)), ana(None)));
    let voted = stored(&store, "t", &questions[0]).await;
    let again = QuestionChange { link: by("one"), ..decide("t", &voted, "user:ana") };
    assert_eq!(store.change_question(again).await, Err(Error::LinkUsed));
    assert_eq!(stored(&store, "t", &questions[0]).await, voted, "nothing was decided");
    // An answer closes those of its question, and who comes late is told who won.
    let decision = QuestionChange { at_ms: NOW_MS + 2, ..decide("t", &voted, "user:ben") };
    assert!(store.change_question(decision).await.is_ok());
    assert_eq!((found("one").await, found("two").await), (ana(Some(NOW_MS + 1)), ana(Some(NOW_MS + 2))));
    assert_eq!(found("other").await, ana(None));
    let late = QuestionChange { link: by("two"), ..decide("t", &voted, "user:ana") };
    let outcome = store.change_question(late).await;
    assert!(matches!(outcome, Err(Error::QuestionSettled(_))), "{outcome:?}");
    // So does one that came with a commit.
    let commit =
        Commit { settlements: vec![scene::settle(&questions[2], "cli:ana")], at_ms: NOW_MS + 3, ..update("t", 1) };
    apply(&store, commit).await;
    assert_eq!(found("third").await, ana(Some(NOW_MS + 3)));
    assert_eq!(store.clear_replies(NOW_MS + 49).await, Ok(1), "the one that was late from the beginning");
    assert_eq!(store.clear_replies(NOW_MS + 50).await, Ok(4));
    assert_eq!(found("one").await, None);
}
