//! Approvals (DESIGN 8, `reference/approvals.md` B3): who may decide what, what is replied, and what time does.
//!
//! * `desk`: a thread that waits for one answer, and people around it.
//! * `ending`: ends without an answer. `alone`: an administrator's word. `step_up`: having signed in.
//! * `replies`: the table of B3, row by row. `people`: who may answer. `quorum`: several votes. `shapes`: payloads and values.
//! * `time`: reminders, the ladder, the deadline. `races`: one winner each. `sqlite`: some of it against SQLite.

mod desk;

mod alone;
mod ending;
mod people;
mod quorum;
mod races;
mod replies;
mod shapes;
mod sqlite;
mod step_up;
mod time;
