//! A handler of your own on a path of its own: it counts and echoes, and says goodbye when the
//! server stops.
//!
//! A handler belongs to one connection and runs on that connection's queue, so it keeps its state
//! without locks. State that several connections share lives on a queue of its own: here a counter
//! that all of them increment.
//!
//! `cargo run --example echo [ADDRESS]`, then connect to `ws://ADDRESS/count`.

use std::process::ExitCode;

use singletrack::{Close, Conn, Error, Handler, Isolated, Message, Queue, Request, Server};

struct Counting {
    mine: u64,
    all: Isolated<u64>,
}

impl Handler for Counting {
    fn open(&mut self, conn: &Conn, request: &Request) {
        conn.send_text(&format!("welcome to {}", request.path()));
    }

    fn message(&mut self, conn: &Conn, message: Message) {
        self.mine += 1;
        let (mine, conn) = (self.mine, conn.clone());
        // No thread waits: the answer is sent from the counter's queue, when its turn has come.
        self.all.submit(move |all| {
            *all += 1;
            conn.send_text(&format!("your message {mine}, of {all} in all:"));
            conn.send(message);
        });
    }

    fn close(&mut self, conn: &Conn, close: &Close) {
        println!("{} left after {} messages: {close}", conn.id(), self.mine);
    }

    fn drain(&mut self, conn: &Conn) {
        conn.send_text("the server stops, goodbye");
    }
}

fn main() -> ExitCode {
    match serve(&std::env::args().nth(1).unwrap_or("127.0.0.1:8080".into())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(address: &str) -> Result<(), Error> {
    let all = Isolated::new(&Queue::new("count"), 0);
    let server =
        Server::builder().listen(address).handler("/count", move |_| Counting { mine: 0, all: all.clone() }).build()?;
    println!("listening on ws://{}/count", server.local_addr());
    println!("{}", server.run()?);
    Ok(())
}
