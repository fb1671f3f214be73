//! Awaiting a group: a future that ends when the group is empty.
//!
//! The first poll leaves a note with the group, as `notify` does; the last member finds the waker
//! of the latest poll there.
//! Not for: waiting with a thread.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::Group;
use crate::base::catch;
use crate::base::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Release},
};
use crate::base::sync::{Mutex, lock};

impl IntoFuture for Group {
    type Output = ();
    type IntoFuture = Empty;

    /// Waits until the group is empty, in async code. A clone of the handle is enough.
    ///
    /// ```
    /// # use singletrack_queues::{Group, Queue};
    /// async fn all(queues: &[Queue]) {
    ///     let group = Group::new();
    ///     queues.iter().for_each(|queue| group.submit(queue, || println!("work")));
    ///     group.await;
    /// }
    /// ```
    fn into_future(self) -> Empty {
        Empty { group: self, told: None }
    }
}

/// The future of a [`Group`]: it ends when the group is empty.
///
/// ```
/// use singletrack_queues::{Empty, Group};
/// use std::pin::pin;
/// use std::task::{Context, Waker};
///
/// let group = Group::new();
/// group.enter();
/// let mut empty: std::pin::Pin<&mut Empty> = pin!(group.clone().into_future());
/// let mut context = Context::from_waker(Waker::noop());
/// assert!(empty.as_mut().poll(&mut context).is_pending());
/// group.leave().unwrap();
/// assert!(empty.as_mut().poll(&mut context).is_ready());
/// ```
#[must_use = "it waits for nothing before it is awaited"]
pub struct Empty {
    group: Group,
    told: Option<Arc<Told>>,
}

/// The state that the last member updates.
struct Told(Mutex<Option<Waker>>, AtomicBool);

impl Future for Empty {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        // This runs foreign code, as does dropping the previous waker: no lock is held.
        let waker = Some(context.waker().clone());
        let Some(told) = &self.told else {
            if self.group.is_empty() {
                return Poll::Ready(());
            }
            let told = Arc::new(Told(Mutex::new(waker), AtomicBool::new(false)));
            self.told = Some(told.clone());
            self.group.when_empty({
                let told = told.clone();
                move || told.tell()
            });
            return told.poll();
        };
        let before = std::mem::replace(&mut *lock(&told.0), waker);
        drop(before);
        told.poll()
    }
}

impl Told {
    fn tell(&self) {
        // Release: what the members did; partner: the Acquire in `poll`. It happens under the lock,
        // so that a later poll that stores a waker sees it.
        let waker = {
            let mut waker = lock(&self.0);
            self.1.store(true, Release);
            waker.take()
        };
        if let Some(waker) = waker {
            catch::call_quietly("a waker", move || waker.wake());
        }
    }

    fn poll(&self) -> Poll<()> {
        if self.1.load(Acquire) { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl fmt::Debug for Empty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Empty(..)")
    }
}
