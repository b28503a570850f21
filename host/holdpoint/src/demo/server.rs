//! The refund graph behind a real server, to try: `holdpoint demo --serve`.

use std::path::Path;

use tokio::process::Command;

use super::Story;
use crate::cli::output::print_text;
use crate::failure::Failure;

/// Where the demo listens.
const ADDRESS: &str = "127.0.0.1:2024";

/// Starts a payments server and a `holdpoint serve` process with the refund graph, says what to try, and waits until the server ends.
///
/// # Errors
/// When a part is missing, or the server does not start or ends with an error.
pub async fn serve(example: &Path) -> Result<(), Failure> {
    let story = Story::prepare(example).await?;
    print_text(&try_out());
    let graphs = story.graphs_folder()?;
    let mut command: Command = story.command(&["serve", "--listen", ADDRESS, "--graphs"]);
    let status = command.arg(&graphs).status().await.map_err(|error| {
        Failure::host("HP0780", format!("a process cannot be started: {error}"), "check the process limits")
    })?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::host("HP0782", format!("the server ended with {status}"), "see what it printed above"))
}

fn try_out() -> String {
    format!(
        "\nTry, in another terminal:\n\
         1. a refund that asks\n   \
            curl -s http://{ADDRESS}/runs/wait -H 'content-type: application/json' \\\n     \
                 -d '{{\"assistant_id\":\"refund\",\"input\":{{\"order_id\":\"9241\",\"amount_cents\":50000}},\"on_completion\":\"keep\"}}'\n\
         2. what waits for you\n   \
            curl -s http://{ADDRESS}/approvals     or, for people: http://{ADDRESS}/inbox\n\
         3. a yes, with the id and digest that the second gave\n   \
            curl -s http://{ADDRESS}/approvals/ID/answers -H 'content-type: application/json' \\\n     \
                 -d '{{\"verdict\":\"accept\",\"payload_digest\":\"DIGEST\"}}'\n"
    )
}
