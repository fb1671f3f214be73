//! Accepts connections, also when there are more of them than descriptors.
//!
//! Not for: what happens on a connection. Rules:
//! - The listening socket is edge-triggered: accept until nobody waits, a bounded number per turn.
//! - Beyond the capacity a connection is accepted only to be answered with 503, and few of those at
//!   a time. The others wait in the system's backlog until there is room.
//! - Out of descriptors: the spare one is given up to accept, refuse and close the next in line. If
//!   even that fails, a timer tries again later. Nothing ever spins.

use std::fs::File;
use std::io::{self, IoSlice};
use std::sync::mpsc;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use singletrack_io::socket::{self, Socket};
use singletrack_io::{FIRST_FREE_BIT, Interest, Registered};
use singletrack_queues::{Queue, Source};
use singletrack_web::http::Reject;

use crate::conn::{Connection, ServerState};

/// Stop listening.
const STOP: u64 = FIRST_FREE_BIT;
/// Connections may still be waiting.
const AGAIN: u64 = FIRST_FREE_BIT << 1;
/// A pause is over.
const RETRY: u64 = FIRST_FREE_BIT << 2;
/// Connections accepted before others get their turn.
const TURN: usize = 64;
/// Connections beyond the capacity that may be on their way to a 503.
pub(super) const REFUSALS: usize = 32;
/// How long connections are left waiting when they cannot be accepted. The first value doubles each
/// time, up to the second.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// Accepts connections until it is stopped.
pub(super) struct Acceptor {
    source: Source,
    queue: Queue,
}

impl Acceptor {
    pub(super) fn start(server: &Arc<ServerState>, listener: impl Socket, capacity: usize) -> io::Result<Acceptor> {
        let queue = server.runtime.queue("accept");
        let (listener, attach) = server.io.register_spread(listener, Interest::Readable)?;
        let own = Arc::new(OnceLock::new());
        let accepting = Accepting {
            server: server.clone(),
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
                // Closes the listening socket: from now on the system refuses new connections.
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
struct Accepting<S: Socket> {
    server: Arc<ServerState>,
    listener: Registered<S>,
    /// The source whose handler this belongs to.
    own: Arc<OnceLock<Source>>,
    capacity: usize,
    /// A spare descriptor, to be given up.
    spare: Option<File>,
    pause: Duration,
    /// The timer that ends the pause is set. New arrivals may bring a turn meanwhile, but never a
    /// second timer.
    pausing: bool,
}

impl<S: Socket> Accepting<S> {
    fn turn(&mut self) {
        for _ in 0..TURN {
            let open = self.server.open();
            if open >= self.capacity.saturating_add(REFUSALS) {
                return self.pause();
            }
            match self.listener.accept() {
                Ok(Some(stream)) => {
                    self.pause = PAUSE.0;
                    self.server.policy.metrics.accepted.add(1);
                    Connection::start(&self.server, stream, open >= self.capacity);
                }
                Ok(None) => return,
                Err(error) => {
                    self.server.policy.metrics.accept_errors.add(1);
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

    /// Gives up the spare descriptor to refuse the next connection in line. `false`: leave the
    /// others waiting.
    fn refuse_with_spare(&mut self) -> bool {
        if self.spare.take().is_none() {
            self.spare = spare();
            return false;
        }
        let accepted = self.listener.accept();
        let refused = matches!(accepted, Ok(Some(_)));
        if let Ok(Some(stream)) = accepted {
            self.server.policy.metrics.refused.add(1);
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
        log::debug!("accepting pauses for {:?}: {} connections", self.pause, self.server.open());
        if let Some(own) = self.own.get() {
            own.merge_after(self.pause, RETRY);
            self.pausing = true;
        }
        self.pause = (self.pause * 2).min(PAUSE.1);
    }

    fn again(&self) {
        if let Some(own) = self.own.get() {
            own.merge_deferred(AGAIN);
        }
    }
}

fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}

/// Answers a connection that there is no descriptor for it. Its input is taken first: unread input
/// would reset the connection, and with it our answer.
fn refuse(socket: &impl Socket) {
    let answer = Reject::busy("this server has no descriptors left").encode();
    let _ = socket::with_read_buffer(|buffer| socket.read(buffer));
    let _ = socket.write_gathered(&[IoSlice::new(&answer)]);
    socket.end_sending();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Server;
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    /// A socket that takes three bytes at a time.
    struct Crumbs(OwnedFd, Arc<AtomicUsize>);

    impl AsFd for Crumbs {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.0.as_fd()
        }
    }

    impl AsRawFd for Crumbs {
        fn as_raw_fd(&self) -> RawFd {
            self.0.as_raw_fd()
        }
    }

    impl Socket for Crumbs {
        fn accept(&self) -> io::Result<Option<Self>> {
            Ok(self.0.accept()?.map(|socket| Crumbs(socket, self.1.clone())))
        }

        fn read(&self, buffer: &mut [u8]) -> io::Result<socket::Arrived> {
            self.0.read(buffer)
        }

        fn write_gathered(&self, pieces: &[IoSlice<'_>]) -> io::Result<Option<usize>> {
            self.1.fetch_add(1, SeqCst);
            let first = pieces.iter().find(|piece| !piece.is_empty()).map_or(&[][..], |piece| &**piece);
            self.0.write_gathered(&[IoSlice::new(&first[..first.len().min(3)])])
        }

        fn end_sending(&self) {
            self.0.end_sending();
        }

        fn reset_on_close(&self) {
            self.0.reset_on_close();
        }
    }

    #[test]
    fn a_server_runs_on_sockets_of_another_kind() {
        let Server { server, listener, address, capacity, .. } =
            Server::builder().listen("127.0.0.1:0").workers(1).build().unwrap();
        let writes = Arc::new(AtomicUsize::new(0));
        let acceptor = Acceptor::start(&server, Crumbs(listener, writes.clone()), capacity).unwrap();
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(b"GET /healthz HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok\n"), "{answer}");
        assert_eq!(writes.load(SeqCst), answer.len().div_ceil(3), "{answer}");
        acceptor.cancel();
        server.runtime.shutdown(Duration::from_secs(10));
    }
}
