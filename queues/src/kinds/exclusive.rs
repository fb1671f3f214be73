//! A destination that runs one block at a time, in order: what sources need.
//!
//! Serial queues, workloops and main queues do that by themselves. On a concurrent queue or on the
//! workers, a serial queue of its own that targets them does it.

use std::fmt;
use std::num::NonZero;
use std::panic::Location;
use std::ptr::NonNull;

use crate::base::block::{Node, Owned};
use crate::base::catch::Payload;
use crate::base::qos::Qos;
use crate::kinds::main_queue::MainHandle;
use crate::kinds::workloop::Workloop;
use crate::pool::Gone;
use crate::pool::runtime::Runtime;
use crate::queue::Queue;

/// See the module.
///
/// One word, because there may be a hundred thousand sources that wait for sockets: the pointer of
/// a serial queue, or with its lowest bit set that of a boxed [`Other`].
pub struct Exclusive(NonNull<()>);

/// A destination that is no serial queue.
#[derive(Clone)]
enum Other {
    /// In its default class.
    Workloop(Workloop),
    Main(MainHandle),
}

const OTHER: usize = 1;
const _: () = assert!(size_of::<Queue>() == size_of::<usize>() && align_of::<Other>() > OTHER);

// SAFETY: it holds one of two types that can be sent and shared.
unsafe impl Send for Exclusive {}
// SAFETY: as above.
unsafe impl Sync for Exclusive {}

enum Either<'a> {
    Serial(&'a Queue),
    Workloop(&'a Workloop),
    Main(&'a MainHandle),
}

use Either::{Main, Serial};

impl From<Queue> for Exclusive {
    fn from(queue: Queue) -> Self {
        Self(queue.into_raw())
    }
}

impl From<Workloop> for Exclusive {
    fn from(workloop: Workloop) -> Self {
        Self::other(Other::Workloop(workloop))
    }
}

impl From<MainHandle> for Exclusive {
    fn from(main: MainHandle) -> Self {
        Self::other(Other::Main(main))
    }
}

impl Exclusive {
    fn other(other: Other) -> Self {
        Self(NonNull::from(Box::leak(Box::new(other))).cast().map_addr(|address| address | OTHER))
    }

    fn as_other(&self) -> Option<NonNull<Other>> {
        let address = NonZero::new(self.0.addr().get() & !OTHER)?;
        (address != self.0.addr()).then(|| self.0.with_addr(address).cast())
    }

    #[inline]
    fn get(&self) -> Either<'_> {
        if self.0.addr().get() & OTHER == 0 {
            // SAFETY: a pointer without the bit is a queue's, see `into_raw`.
            return Serial(unsafe { Queue::from_raw_ref(&self.0) });
        }
        // SAFETY: a pointer with the bit is that of a box, which lives as long as this.
        match self.as_other().map(|other| unsafe { other.as_ref() }) {
            Some(Other::Workloop(workloop)) => Either::Workloop(workloop),
            Some(Other::Main(main)) => Main(main),
            None => unreachable!("the bit is set"),
        }
    }

    /// The serial queue, if it is one.
    pub(crate) fn queue(&self) -> Option<&Queue> {
        if let Serial(queue) = self.get() { Some(queue) } else { None }
    }

    pub(crate) fn label(&self) -> &str {
        match self.get() {
            Serial(queue) => queue.label(),
            Either::Workloop(workloop) => workloop.label(),
            Main(main) => main.label(),
        }
    }

    /// The runtime that keeps its time.
    pub(crate) fn runtime(&self) -> Runtime {
        match self.get() {
            Serial(queue) => queue.runtime(),
            Either::Workloop(workloop) => workloop.runtime(),
            Main(main) => main.runtime(),
        }
    }

    /// The reason why it takes nothing any more, or gets no more time.
    pub(crate) fn gone(&self) -> Option<Gone> {
        match self.get() {
            Main(main) if main.is_gone() => Some(Gone::MainQueueDropped),
            _ => self.runtime().gone(),
        }
    }

    pub(crate) fn submit_at<F: FnOnce() + Send + 'static>(&self, f: F, site: &'static Location<'static>) {
        match self.get() {
            Serial(queue) => queue.submit_at(f, site),
            Either::Workloop(workloop) => workloop.submit_at(Qos::Default, f, site),
            Main(main) => main.submit_at(f, site),
        }
    }

    /// Submits the next run of a lane. Only a serial queue has room for the lane itself. Elsewhere
    /// a block runs it.
    ///
    /// # Safety
    /// As for [`Owned::new`].
    #[inline]
    pub(crate) unsafe fn push_lane(&self, lane: NonNull<Node>) {
        match self.get() {
            // SAFETY: the caller's promise.
            Serial(queue) => unsafe { queue.push_node(lane) },
            // SAFETY: as above.
            _ => unsafe { self.submit_lane(lane) },
        }
    }

    /// As [`push_lane`](Self::push_lane), but an idle serial queue waits until its worker has
    /// nothing else to do.
    ///
    /// # Safety
    /// As for `push_lane`.
    #[inline]
    pub(crate) unsafe fn push_lane_deferred(&self, lane: NonNull<Node>) {
        match self.get() {
            // SAFETY: the caller's promise.
            Serial(queue) => unsafe { queue.push_node_deferred(lane) },
            // SAFETY: as above.
            _ => unsafe { self.submit_lane(lane) },
        }
    }

    #[inline(never)]
    unsafe fn submit_lane(&self, lane: NonNull<Node>) {
        // SAFETY: the caller's promise.
        let (site, lane) = unsafe { (lane.as_ref().site, Owned::new(lane)) };
        self.submit_at(move || drop(lane.run()), site);
    }

    /// Logs and counts the panic of a run of a lane.
    #[cold]
    pub(crate) fn report_panic(&self, site: &'static Location<'static>, payload: Payload) {
        match self.get() {
            Serial(queue) => queue.report_panic(site, payload),
            Either::Workloop(workloop) => workloop.inner().report_panic(site, payload),
            Main(main) => main.report_panic(site, payload),
        }
    }
}

impl Clone for Exclusive {
    fn clone(&self) -> Self {
        match self.get() {
            Serial(queue) => queue.clone().into(),
            Either::Workloop(workloop) => workloop.clone().into(),
            Main(main) => main.clone().into(),
        }
    }
}

impl Drop for Exclusive {
    fn drop(&mut self) {
        // SAFETY: the one owner gives it up.
        unsafe {
            match self.as_other() {
                Some(other) => drop(Box::from_raw(other.as_ptr())),
                None => drop(Queue::from_raw(self.0)),
            }
        }
    }
}

impl fmt::Debug for Exclusive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Exclusive").field(&self.label()).finish()
    }
}
