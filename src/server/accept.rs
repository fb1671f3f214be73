//! Accepting connections, also when there are more of them than descriptors.
//!
//! Not for: what happens on a connection. Rules:
//! - The listening socket is edge-triggered: accept until nobody waits, a bounded number per turn.
//! - Beyond the capacity a connection is accepted only to be told 503, and few of those at a time; the others wait in the system's
//!   backlog until there is room.
//! - Out of descriptors: the spare one is given up to accept, refuse and close the next in line. If even that fails, a timer tries
//!   again later. Nothing ever spins.

use std::fs::File;
use std::io::{self, IoSlice};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use singletrack_queues::{Queue, Source};

use crate::conn::{Connection, Hub};
use crate::http::Reject;
use crate::io::{FIRST_FREE_BIT, Interest, Registered, socket};

/// Stop listening.
const STOP: u64 = FIRST_FREE_BIT;
/// Somebody may wait still.
const AGAIN: u64 = FIRST_FREE_BIT << 1;
/// A pause is over.
const RETRY: u64 = FIRST_FREE_BIT << 2;
/// Connections accepted before others get their turn.
const TURN: usize = 64;
/// Connections beyond the capacity that may be on their way to a 503.
pub(super) const REFUSALS: usize = 32;
/// How long connections are left waiting when they cannot be accepted: doubled each time, up to the second value.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// Accepts connections until it is stopped.
pub(super) struct Acceptor {
    source: Source,
    queue: Queue,
}

impl Acceptor {
    pub(super) fn start(hub: &Arc<Hub>, listener: TcpListener, capacity: usize) -> io::Result<Acceptor> {
        let queue = hub.runtime.queue("accept");
        let (listener, attach) = hub.io.register_spread(listener, Interest::Readable)?;
        let own = Arc::new(OnceLock::new());
        let accepting = Accepting {
            hub: hub.clone(),
            listener,
            own: own.clone(),
            capacity,
            spare: spare(),
            pause: PAUSE.0,
            pausing: false,
        };
        let mut accepting = Some(accepting);
        let source = Source::new(&queue, move |bits| {
            if bits & STOP != 0 {
                // Closes the listening socket: whoever comes now is refused by the system.
                accepting = None;
            } else if let Some(accepting) = &mut accepting {
                accepting.pausing &= bits & RETRY == 0;
                accepting.turn();
            }
        });
        let _ = own.set(source.clone());
        attach.to(source.clone());
        Ok(Acceptor { source, queue })
    }

    /// Stops listening and waits until that is done, for at most `timeout`.
    pub(super) fn stop(&self, timeout: Duration) {
        self.cancel();
        let (tell, told) = mpsc::channel();
        self.queue.submit(move || {
            let _ = tell.send(());
        });
        let _ = told.recv_timeout(timeout);
    }

    /// Stops listening, soon.
    pub(super) fn cancel(&self) {
        self.source.merge(STOP);
    }
}

/// The state of the accept queue.
struct Accepting {
    hub: Arc<Hub>,
    listener: Registered<TcpListener>,
    /// The source whose handler this belongs to.
    own: Arc<OnceLock<Source>>,
    capacity: usize,
    /// Held so that it can be given up.
    spare: Option<File>,
    pause: Duration,
    /// A timer that ends the pause is set. Whoever arrives meanwhile may bring a turn, but never a second timer.
    pausing: bool,
}

impl Accepting {
    fn turn(&mut self) {
        for _ in 0..TURN {
            let open = self.hub.open();
            if open >= self.capacity.saturating_add(REFUSALS) {
                return self.pause();
            }
            match socket::accept(&self.listener) {
                Ok(Some(stream)) => {
                    self.pause = PAUSE.0;
                    self.hub.terms.metrics.accepted.add(1);
                    Connection::start(&self.hub, stream, open >= self.capacity);
                }
                Ok(None) => return,
                Err(error) => {
                    self.hub.terms.metrics.accept_errors.add(1);
                    if !socket::out_of_descriptors(&error) {
                        log::warn!("accepting a connection failed: {error}");
                        return self.pause();
                    }
                    if !self.refuse_with_spare() {
                        return self.pause();
                    }
                }
            }
        }
        self.again();
    }

    /// Gives up the spare descriptor to tell the next in line that there is none. `false`: leave the others waiting.
    fn refuse_with_spare(&mut self) -> bool {
        if self.spare.take().is_none() {
            self.spare = spare();
            return false;
        }
        let accepted = socket::accept(&self.listener);
        let refused = matches!(accepted, Ok(Some(_)));
        if let Ok(Some(stream)) = accepted {
            self.hub.terms.metrics.refused.add(1);
            refuse(&stream);
        }
        self.spare = spare();
        refused && self.spare.is_some()
    }

    /// Leaves connections waiting for a while.
    fn pause(&mut self) {
        if self.pausing {
            return;
        }
        log::debug!("accepting pauses for {:?}: {} connections", self.pause, self.hub.open());
        if let Some(own) = self.own.get().cloned() {
            let queue = own.queue().clone();
            queue.submit_after(self.pause, move || own.merge(RETRY));
            self.pausing = true;
        }
        self.pause = (self.pause * 2).min(PAUSE.1);
    }

    fn again(&self) {
        if let Some(own) = self.own.get() {
            own.merge_later(AGAIN);
        }
    }
}

fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}

/// Tells a connection that there is no descriptor for it. What it has sent is taken first: unread input would reset the
/// connection, and with it what we say.
fn refuse(stream: &TcpStream) {
    let answer = Reject::busy("this server has no descriptors left").encode();
    let _ = socket::with_read_buffer(|buffer| socket::read(stream, buffer));
    let _ = socket::write_gathered(stream, &[IoSlice::new(&answer)]);
    socket::end_sending(stream);
}
