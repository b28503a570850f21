//! A payments server for tests: see [`holdpoint_tests::payment_server`].
//!
//! `payments_server --log FILE [--deduplicate] [--behaviour NAME] [--may-kill] [--address HOST:PORT] [--until-input-ends]` prints its address and
//! serves. With the last flag it ends when its standard input does: it does not outlive the test that started it.

#![allow(clippy::print_stdout, reason = "its address is its output")]

use std::error::Error;
use std::io::{Read as _, Write as _};

use holdpoint_tests::payment_server::Behaviour;
use holdpoint_tests::payment_server::books::Books;
use holdpoint_tests::payment_server::server::Server;
use tokio::net::TcpListener;

fn main() -> Result<(), Box<dyn Error>> {
    let mut log = None;
    let mut address = "127.0.0.1:0".to_owned();
    let mut behaviour = Behaviour::Pay;
    let (mut deduplicate, mut may_kill) = (false, false);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--log" => log = Some(value()?),
            "--address" => address = value()?,
            "--behaviour" => {
                let name = value()?;
                behaviour = Behaviour::parse(&name).ok_or_else(|| format!("there is no behaviour {name}"))?;
            }
            "--deduplicate" => deduplicate = true,
            "--may-kill" => may_kill = true,
            "--until-input-ends" => end_with_input(),
            other => return Err(format!("unknown argument {other}").into()),
        }
    }
    let log = log.ok_or("--log FILE is missing")?;
    let books = Books::open(log.as_ref(), deduplicate, behaviour)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(&address).await?;
        println!("http://{}", listener.local_addr()?);
        std::io::stdout().flush()?;
        Server::new(books, may_kill).serve(listener).await?;
        Ok(())
    })
}

fn end_with_input() {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
}
