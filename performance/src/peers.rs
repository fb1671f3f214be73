//! The measured servers: singletrack's own, and the peers that speak the same protocol.
//!
//! For: their names, their features, and the start of their processes. `GET /echo` echoes.
//! `GET /room/<name>` joins, and every message goes to all members unchanged, the sender included.
//! Rules: each is written as a competent user of it would write it. Those in Rust allocate with
//! mimalloc. All send without delay, compress nothing, use as many cores as their process may, and
//! print `listening on http://ADDRESS` when they are ready.

mod axum;
mod bare;
mod bun;
mod fastwebsockets;
mod handshake;
mod runtime;
mod tungstenite;

pub(crate) use handshake::raise_file_limit;

use std::net::SocketAddr;
use std::process::Command;

use crate::places::Places;
use crate::results::OURS;

/// A server to be measured.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    /// Whether it has rooms besides the echo.
    pub(crate) rooms: bool,
    start: Start,
}

#[derive(Debug)]
enum Start {
    /// The program of this repository, as it is released.
    Singletrack,
    /// This program, as the peer.
    Here(fn(SocketAddr) -> std::io::Result<()>),
    /// A script for bun.
    Bun,
}

/// All of them, ourselves first.
pub(crate) const PEERS: &[Peer] = &[
    Peer { name: OURS, rooms: true, start: Start::Singletrack },
    Peer { name: "bare", rooms: true, start: Start::Here(bare::serve) },
    Peer { name: "bun", rooms: true, start: Start::Bun },
    Peer { name: "fastwebsockets", rooms: false, start: Start::Here(fastwebsockets::serve) },
    Peer { name: "tokio-tungstenite", rooms: true, start: Start::Here(tungstenite::serve) },
    Peer { name: "axum", rooms: true, start: Start::Here(axum::serve) },
];

/// The peer of this name.
///
/// # Errors
/// With a sentence that lists the known ones.
pub(crate) fn named(name: &str) -> Result<&'static Peer, String> {
    PEERS.iter().find(|peer| peer.name == name).ok_or_else(|| {
        let names: Vec<_> = PEERS.iter().map(|peer| peer.name).collect();
        format!("no peer of that name; there are {}", names.join(", "))
    })
}

impl Peer {
    /// Prepares everything that its start needs.
    ///
    /// # Errors
    /// With a sentence, when something is not available.
    pub(crate) fn prepare(&self, places: &Places) -> Result<(), String> {
        match self.start {
            Start::Bun => bun::install(places),
            Start::Singletrack | Start::Here(_) => Ok(()),
        }
    }

    /// The command that starts it, on a free port of this machine.
    ///
    /// # Errors
    /// With a sentence, when it is not there.
    pub(crate) fn command(&self, places: &Places) -> Result<Command, String> {
        let mut command;
        match self.start {
            Start::Singletrack => {
                command = Command::new(places.singletrack());
                command.args(["serve", "--listen", "127.0.0.1:0"]).env("RUST_LOG", "warn");
            }
            Start::Here(_) => {
                command = Command::new(places.this_program());
                command.args(["--serve", self.name]);
            }
            Start::Bun => command = bun::command(places)?,
        }
        Ok(command)
    }

    /// Runs as the peer, until it is killed.
    pub(crate) fn serve(&self) -> Result<(), String> {
        let Start::Here(serve) = self.start else {
            return Err(format!("{} is a program of its own", self.name));
        };
        serve(([127, 0, 0, 1], 0).into()).map_err(|error| format!("{}: {error}", self.name))
    }
}
