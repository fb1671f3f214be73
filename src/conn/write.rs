//! Out of the outbox and into the socket: several frames with one system call.
//!
//! Not for: what is queued and whether there is room for it (`outbox`).
//! Rules: an empty outbox costs no system call; the outbox is not locked while the system writes, so a room never waits for a
//! socket; a peer that takes nothing is noticed by the time since it last took something.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;

use bytes::Bytes;

use super::deadlines::Moment;
use super::{Connection, Signs};
use crate::io::socket::{self, MAX_PIECES};

/// System calls for one connection before others get their turn.
const WRITES: usize = 16;

thread_local! {
    /// Frames on their way from an outbox to the system: lent by the thread, so that no connection keeps room for them.
    static BATCH: Cell<VecDeque<Bytes>> = const { Cell::new(VecDeque::new()) };
}

impl Connection {
    /// Writes what waits, as far as there is room.
    pub(super) fn write(&mut self, now: Moment) {
        if self.is(Signs::BLOCKED) || self.is(Signs::BROKEN) {
            return;
        }
        let mut batch = BATCH.take();
        let (mut bytes, mut calls) = (0, 0);
        loop {
            let mut output = self.member().output();
            if output.outbox.is_empty() {
                break;
            }
            if calls == WRITES {
                drop(output);
                self.member().signal(super::MORE);
                break;
            }
            let begun = output.outbox.lend(&mut batch, MAX_PIECES);
            drop(output);
            calls += 1;
            let sent = self.send(&batch, begun);
            let written = sent.as_ref().map_or(0, |sent| sent.unwrap_or(0));
            let more = self.member().output().outbox.give_back(&mut batch, written);
            match sent {
                Ok(Some(_)) => {
                    bytes += written;
                    self.stalled = None;
                    if !more {
                        break;
                    }
                }
                Ok(None) => {
                    self.signs.insert(Signs::BLOCKED);
                    self.stalled.get_or_insert(now);
                    break;
                }
                Err(error) => {
                    log::debug!("{}: writing failed: {error}", self.member().queue().label());
                    self.signs.insert(Signs::BROKEN);
                    break;
                }
            }
        }
        BATCH.set(batch);
        if calls > 0 {
            let traffic = self.hub.terms.metrics.traffic();
            traffic.writes.add(calls as u64);
            traffic.bytes_out.add(bytes as u64);
        }
    }

    /// One system call for all of `batch`, without the first `begun` bytes.
    fn send(&self, batch: &VecDeque<Bytes>, begun: usize) -> io::Result<Option<usize>> {
        let frames = batch.iter().enumerate().map(|(i, frame)| if i == 0 { &frame[begun..] } else { &frame[..] });
        socket::write_together(&self.socket, frames)
    }
}
