//! One life of a worker that dies where it is told to: see [`holdpoint_tests::crash`]. Its argument is an
//! [`Order`](holdpoint_tests::crash::order::Order) as JSON, its output a [`Report`](holdpoint_tests::crash::order::Report), if it comes to that.

#![allow(clippy::print_stdout, reason = "its report is its output")]

use std::error::Error;

use holdpoint_tests::crash::worker;
use holdpoint_tests::signal;

/// A life takes milliseconds; one that hangs ends by itself and is seen to.
const LIFE_SECONDS_MAX: u32 = 60;

fn main() -> Result<(), Box<dyn Error>> {
    signal::end_after_seconds(LIFE_SECONDS_MAX);
    let order = std::env::args().nth(1).ok_or("the order is missing")?;
    let order = serde_json::from_str(&order)?;
    // One thread drives the engine, so that the same order reaches the same points in the same order.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(worker::live(order));
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}
