//! Out of the outbox and into the socket: several frames with one system call.
//!
//! Not for: the contents of the outbox and its limits (`outbox`). Rules: an empty outbox costs no
//! system call. The outbox is not locked while the system writes, so a room never waits for a
//! socket. A peer that takes nothing is detected by the time since it last took something.

use singletrack_io::socket::{Socket, write_together};

use super::{Connection, Flags};

/// System calls for one connection before others get their turn.
const WRITES: usize = 16;

impl<S: Socket> Connection<S> {
    /// Writes what waits, as far as there is room.
    pub(super) fn write(&mut self) {
        if self.is(Flags::BLOCKED) || self.is(Flags::BROKEN) {
            return;
        }
        let (mut bytes, mut calls) = (0, 0);
        loop {
            // Bound to a name, so that the outbox is no longer locked when the frames go out.
            let lent = self.member().output().outbox.lend();
            let Some(mut lent) = lent else { break };
            calls += 1;
            let sent = write_together(&*self.socket, lent.frames(), lent.begun());
            let written = sent.as_ref().map_or(0, |sent| sent.unwrap_or(0));
            lent.advance(written);
            let more = self.member().output().outbox.give_back(lent);
            match sent {
                Ok(Some(_)) => {
                    bytes += written;
                    self.stalled = None;
                    if !more {
                        break;
                    }
                    if calls == WRITES {
                        self.member().signal(super::MORE);
                        break;
                    }
                }
                Ok(None) => {
                    self.flags.insert(Flags::BLOCKED);
                    self.stalled.get_or_insert_with(|| self.server.now());
                    break;
                }
                Err(error) => {
                    log::debug!("{}: writing failed: {error}", self.member().queue().label());
                    self.flags.insert(Flags::BROKEN);
                    break;
                }
            }
        }
        if calls > 0 {
            let traffic = self.server.policy.metrics.traffic();
            traffic.writes.add(calls as u64);
            traffic.bytes_out.add(bytes as u64);
        }
    }
}
