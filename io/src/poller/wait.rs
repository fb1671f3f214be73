//! The wait itself: sleeping in the system's readiness facility until an event, a token or the end
//! of a timeout.
//!
//! On Linux the wait is one system call on the descriptor of the `polling` poller, ended by an
//! event descriptor of our own (`polling`'s own wait makes five calls). Elsewhere it is `polling`'s
//! wait and notify. Not for: finding the receiver of an event.
//!
//! # Why no wake-up is lost
//! One word, [`Waiting`], holds the number of threads in a wait and a token. Only
//! read-modify-writes change it, so all changes have one order:
//! - [`Waiting::enter`] (waiter) is before [`Waiting::put_token`] (waker): the waker sees a waiter
//!   and, if the token was not there already, rings the bell. The bell stays rung until a thread
//!   waits, so it does not matter how far the waiter has come.
//! - `put_token` is before `enter`: the waiter sees the token and does not wait.
//! - The token was there already: the thread that put it either rang for the waiter, or came before
//!   its `enter`, as above.
//!
//! A bell that the wrong thread hears (a poll without waiting, or one of two waiters) is rung again
//! for the other waiters. Orderings: `put_token` releases, `enter` and `leave` acquire, so that
//! stores before an unpark are visible to the thread whose park it ended. The waker's store and the
//! sleeper's last look for work need an order of their own; the pool's fences provide it, not this
//! module.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const TOKEN: usize = 1;
const WAITER: usize = 2;

/// The number of waiting threads (times two), and the token.
#[derive(Debug, Default)]
pub(super) struct Waiting(AtomicUsize);

impl Waiting {
    /// A thread is about to wait. Returns `true` if it need not, because the token is there.
    fn enter(&self) -> bool {
        self.0.fetch_add(WAITER, Ordering::AcqRel) & TOKEN != 0
    }

    /// The wait is over: takes the token, if any. Returns `true` if other threads still wait.
    fn leave(&self) -> bool {
        // Two steps are enough: this thread takes a token that is put between them, and has yet to
        // look for work.
        let before = self.0.fetch_sub(WAITER, Ordering::AcqRel);
        self.0.fetch_and(!TOKEN, Ordering::AcqRel);
        before / WAITER > 1
    }

    /// Puts the token. Returns `true` if the bell must be rung.
    fn put_token(&self) -> bool {
        let before = self.0.fetch_or(TOKEN, Ordering::AcqRel);
        before & TOKEN == 0 && before >= WAITER
    }

    /// Does any thread wait? Only a hint: used to pass a bell on.
    fn anybody(&self) -> bool {
        self.0.load(Ordering::Acquire) >= WAITER
    }
}

/// One event of the system: the key of the registration and the bits of its readiness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ready {
    pub(super) key: usize,
    pub(super) bits: u64,
}

/// The events of one look at the system.
pub(super) type Events<'a> = &'a mut dyn Iterator<Item = Ready>;

/// A readiness facility that threads wait in.
pub(super) struct Waiter {
    poller: polling::Poller,
    waiting: Waiting,
    #[cfg(target_os = "linux")]
    bell: rustix::fd::OwnedFd,
}

impl Waiter {
    /// The facility, for registrations.
    pub(super) fn poller(&self) -> &polling::Poller {
        &self.poller
    }

    /// Ends the current wait or the next one.
    pub(super) fn unpark(&self) {
        if self.waiting.put_token() {
            self.ring();
        }
    }

    /// Waits for at most `timeout`, calls `awake`, then delivers the ready events.
    pub(super) fn wait(&self, timeout: Option<Duration>, awake: &mut dyn FnMut(), deliver: &mut dyn FnMut(Events<'_>)) {
        let timeout = if self.waiting.enter() { Some(Duration::ZERO) } else { timeout };
        let mut left = false;
        let mut awake_once = |rang: bool| {
            if !std::mem::replace(&mut left, true) {
                if self.waiting.leave() && rang {
                    self.ring();
                }
                awake();
            }
        };
        let waited = self.once(timeout, &mut |rang, ready| {
            awake_once(rang);
            deliver(ready);
        });
        awake_once(false);
        if let Err(error) = waited {
            // Only a wrong descriptor or wrong memory can cause this. Whatever the cause, it must
            // not become a busy loop.
            log::error!("waiting for sockets failed: {error}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Delivers the events that are ready now.
    pub(super) fn poll(&self, deliver: &mut dyn FnMut(Events<'_>)) {
        let polled = self.once(Some(Duration::ZERO), &mut |rang, ready| {
            if rang && self.waiting.anybody() {
                self.ring();
            }
            deliver(ready);
        });
        if let Err(error) = polled {
            log::error!("polling sockets failed: {error}");
        }
    }
}

#[cfg(target_os = "linux")]
mod imp {
    use super::{Duration, Events, Ready, Waiter, Waiting, io};
    use crate::poller::{HANGUP, Interest, READABLE, WRITABLE};
    use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
    use rustix::fd::AsFd;
    use std::mem::MaybeUninit;

    /// Events taken per system call; the rest stay for the next.
    const BATCH: usize = 1024;
    /// The key of our own bell. No registration has it: see the limits on indices in `Key`.
    const BELL: u64 = u64::MAX - 1;

    impl Waiter {
        pub(in crate::poller) fn new() -> io::Result<Waiter> {
            let poller = polling::Poller::new()?;
            let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
            // Edge-triggered: each write rings once, and no thread ever has to read the counter.
            epoll::add(
                poller.as_fd(),
                &bell,
                epoll::EventData::new_u64(BELL),
                epoll::EventFlags::IN | epoll::EventFlags::ET,
            )?;
            Ok(Waiter { poller, waiting: Waiting::default(), bell })
        }

        /// Begins to watch, edge-triggered. It asks for the end of the peer's stream as an event of
        /// its own, which `polling` does not: without it a short read does not prove that a socket
        /// is drained, because the end may hide behind the data. One call asks for everything. With
        /// a second one, a descriptor that is ready would be reported twice.
        pub(in crate::poller) fn watch(&self, socket: &impl AsFd, key: usize, interest: Interest) -> io::Result<()> {
            use epoll::EventFlags as Is;
            let flags = match interest {
                Interest::Readable => Is::IN | Is::RDHUP,
                Interest::Writable => Is::OUT,
                Interest::Both => Is::IN | Is::OUT | Is::RDHUP,
                Interest::Urgent => Is::PRI,
            } | Is::ET;
            Ok(epoll::add(self.poller.as_fd(), socket, epoll::EventData::new_u64(key as u64), flags)?)
        }

        pub(super) fn ring(&self) {
            // The counter cannot overflow in the lifetime of a machine, and nothing else can fail
            // here.
            if let Err(error) = rustix::io::write(&self.bell, &1_u64.to_ne_bytes()) {
                log::error!("waking a worker failed: {error}");
            }
        }

        pub(super) fn once(
            &self,
            timeout: Option<Duration>,
            deliver: &mut dyn FnMut(bool, Events<'_>),
        ) -> io::Result<()> {
            // A timeout too long for the system is as good as none.
            let timeout = timeout.and_then(|t| Timespec::try_from(t).ok());
            let mut space = [const { MaybeUninit::<epoll::Event>::uninit() }; BATCH];
            let events = match epoll::wait(self.poller.as_fd(), &mut space, timeout.as_ref()) {
                Ok((events, _)) => events,
                Err(rustix::io::Errno::INTR) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            if events.is_empty() {
                return Ok(());
            }
            // Copied out of the system's record, which is packed.
            let rang = events.iter().any(|event| event.data.u64() == BELL);
            let mut ready = events.iter().filter(|event| event.data.u64() != BELL).filter_map(|event| {
                let (key, flags) = (event.data.u64(), event.flags);
                Some(Ready { key: usize::try_from(key).ok()?, bits: bits_of(flags) })
            });
            deliver(rang, &mut ready);
            Ok(())
        }
    }

    fn bits_of(flags: epoll::EventFlags) -> u64 {
        use epoll::EventFlags as Is;
        let mut bits = 0;
        if flags.intersects(Is::IN | Is::PRI | Is::RDHUP | Is::HUP | Is::ERR) {
            bits |= READABLE;
        }
        if flags.intersects(Is::OUT | Is::HUP | Is::ERR) {
            bits |= WRITABLE;
        }
        if flags.intersects(Is::RDHUP | Is::HUP | Is::ERR) {
            bits |= HANGUP;
        }
        bits
    }
}

#[cfg(not(target_os = "linux"))]
mod imp {
    use std::os::fd::AsRawFd;

    use polling::{Event, PollMode};

    use super::{Duration, Events, Ready, Waiter, Waiting, io};
    use crate::poller::{HANGUP, Interest, READABLE, WRITABLE};

    impl Waiter {
        pub(in crate::poller) fn new() -> io::Result<Waiter> {
            let poller = polling::Poller::new()?;
            if !poller.supports_edge() {
                let why = "this system has no edge-triggered readiness events, which this library needs";
                return Err(io::Error::new(io::ErrorKind::Unsupported, why));
            }
            Ok(Waiter { poller, waiting: Waiting::default() })
        }

        /// Begins to watch, edge-triggered.
        #[allow(unsafe_code)]
        pub(in crate::poller) fn watch(&self, socket: &impl AsRawFd, key: usize, interest: Interest) -> io::Result<()> {
            let event = match interest {
                Interest::Readable => Event::readable(key),
                Interest::Writable => Event::writable(key),
                Interest::Both => Event::all(key),
                // It may be readable at any time, and this system cannot ask for the rest alone.
                Interest::Urgent => Event::none(key),
            };
            // SAFETY: the descriptor must be taken out of the poller before it is closed.
            // `Poller::watch` takes it out if this fails. Otherwise `Registered` owns it, gives out
            // nothing but shared references to it, and takes it out when it goes to another poller
            // or is dropped, before the socket itself is dropped.
            unsafe { self.poller.add_with_mode(socket, event, PollMode::Edge) }
        }

        pub(super) fn ring(&self) {
            if let Err(error) = self.poller.notify() {
                log::error!("waking a worker failed: {error}");
            }
        }

        pub(super) fn once(
            &self,
            timeout: Option<Duration>,
            deliver: &mut dyn FnMut(bool, Events<'_>),
        ) -> io::Result<()> {
            let mut events = polling::Events::new();
            match self.poller.wait(&mut events, timeout) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
                Err(error) => return Err(error),
                Ok(_) => {}
            }
            let mut ready = events.iter().map(|event| {
                let mut bits = 0;
                if event.readable {
                    // The system does not report whether the stream's end hides behind the data:
                    // always read until there is no more.
                    bits |= READABLE | HANGUP;
                }
                if event.writable {
                    bits |= WRITABLE;
                }
                Ready { key: event.key, bits }
            });
            // `polling` does not say whether it was notified. Saying yes costs at most one early
            // return of another waiter.
            deliver(true, &mut ready);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_token_put_before_the_wait_ends_it_at_once() {
        let waiter = Waiter::new().unwrap();
        waiter.unpark();
        waiter.unpark();
        let mut awake = 0;
        // This would hang if the token were lost.
        waiter.wait(None, &mut || awake += 1, &mut |_| {});
        assert_eq!(awake, 1);
        // Tokens do not add up.
        waiter.wait(Some(Duration::from_millis(1)), &mut || awake += 1, &mut |_| {});
        assert_eq!(awake, 2);
    }

    #[test]
    fn every_unpark_ends_a_wait_beside_any_poll() {
        let waiter = Arc::new(Waiter::new().unwrap());
        let rounds = 20_000;
        let woken = Arc::new(AtomicUsize::new(0));
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let sleeper = {
            let (waiter, woken) = (waiter.clone(), woken.clone());
            std::thread::spawn(move || {
                for round in 0..rounds {
                    // `published` stands for the stores that an unpark makes visible; an early
                    // return just waits again.
                    while woken.load(Ordering::Acquire) == round {
                        waiter.wait(None, &mut || {}, &mut |_| {});
                    }
                }
            })
        };
        let meddler = {
            let (waiter, stop) = (waiter.clone(), stop.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    waiter.poll(&mut |_| {});
                }
            })
        };
        for _ in 0..rounds {
            woken.fetch_add(1, Ordering::Release);
            waiter.unpark();
        }
        sleeper.join().unwrap();
        stop.store(true, Ordering::Relaxed);
        meddler.join().unwrap();
    }

    #[test]
    fn a_second_waiter_is_not_left_behind() {
        let waiter = Arc::new(Waiter::new().unwrap());
        let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let sleepers: Vec<_> = (0..2)
            .map(|_| {
                let (waiter, done) = (waiter.clone(), done.clone());
                std::thread::spawn(move || {
                    while !done.load(Ordering::Acquire) {
                        waiter.wait(None, &mut || {}, &mut |_| {});
                    }
                    // The thread that takes the token passes the news on, as a pool does.
                    waiter.unpark();
                })
            })
            .collect();
        done.store(true, Ordering::Release);
        waiter.unpark();
        for sleeper in sleepers {
            sleeper.join().unwrap();
        }
    }
}
