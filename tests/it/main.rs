//! The server as its peers see it: real sockets and servers, one module per behaviour.
//!
//! Rules: a test waits for a condition with a deadline, never for a time. No test asserts how fast
//! something is, except in comparison with itself in the same run.

mod embedding;
mod handlers;
mod http;
mod idle;
mod refusals;
mod rooms;
mod slow;
mod stop;
mod stuck;

use singletrack::{Limits, RunningServer, Server, ServerBuilder};

/// A server on a port of its own.
fn serve(change: impl FnOnce(ServerBuilder) -> ServerBuilder) -> RunningServer {
    let builder = Server::builder().listen("127.0.0.1:0").workers(2);
    change(builder).build().expect("build").start().expect("start")
}

fn limits(change: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::default();
    change(&mut limits);
    limits
}
