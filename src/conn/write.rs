//! Out of the outbox and into the socket: several frames with one system call.
//!
//! Not for: what is queued and whether there is room for it (`outbox`).
//! Rules: an empty outbox costs no system call; a peer that takes nothing is noticed by the time since it last took something.

use std::io::IoSlice;
use std::time::Instant;

use super::Connection;
use crate::io::socket::{self, MAX_PIECES};

/// System calls for one connection before others get their turn.
const WRITES: usize = 16;

impl Connection {
    /// Writes what waits, as far as there is room.
    pub(super) fn write(&mut self, now: Instant) {
        let (mut bytes, mut calls) = (0, 0);
        while !self.blocked && !self.broken {
            let mut output = self.member.output();
            if output.outbox.is_empty() {
                break;
            }
            if calls == WRITES {
                drop(output);
                self.member.signal(super::MORE);
                break;
            }
            let mut pieces = [IoSlice::new(&[]); MAX_PIECES];
            let count = output.outbox.gather(&mut pieces);
            calls += 1;
            match socket::write_gathered(&self.socket, &pieces[..count]) {
                Ok(Some(written)) => {
                    output.outbox.advance(written);
                    bytes += written;
                    self.stalled = None;
                }
                Ok(None) => {
                    self.blocked = true;
                    self.stalled.get_or_insert(now);
                }
                Err(error) => {
                    drop(output);
                    log::debug!("{}: writing failed: {error}", self.member.queue().label());
                    self.broken = true;
                }
            }
        }
        if calls > 0 {
            let traffic = self.hub.metrics.traffic();
            traffic.writes.add(calls as u64);
            traffic.bytes_out.add(bytes as u64);
        }
    }
}
