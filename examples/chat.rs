//! A chat server of your own: rooms at `/room/<name>`, a page that joins one, and a limit. Run it
//! and open two windows.
//!
//! `cargo run --example chat [ADDRESS]`

use std::process::ExitCode;

use singletrack::{Error, Limits, Server, SlowMember};

const PAGE: &str = r#"<!doctype html><meta charset="utf-8"><title>chat</title>
<ul id="said"></ul><form id="say"><input id="text" autofocus placeholder="Say something"></form>
<script>
  const socket = new WebSocket(`ws://${location.host}/room/lobby`);
  socket.onmessage = ({ data }) => said.append(Object.assign(document.createElement("li"), { textContent: data }));
  say.onsubmit = () => { socket.send(text.value); text.value = ""; return false; };
</script>"#;

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
    let mut limits = Limits::default();
    limits.room_members = 1_000;
    let server =
        Server::builder().listen(address).limits(limits).slow_members(SlowMember::DropAndTell).page(PAGE).build()?;
    println!("listening on http://{}", server.local_addr());
    let report = server.run()?;
    println!("{report}");
    Ok(())
}
