//! Fork and join on our pool. A block leaves tasks to other workers, goes on, and
//! waits for the tasks before it ends.
//!
//! A task waits in a deque of its thread (`pool/forked`). A worker that has nothing else to do may
//! take it. Otherwise its own thread runs it when that thread comes to wait. A waiting thread runs
//! the tasks that it left itself, the last one first, and nothing else. No block of any queue, and
//! no task of another scope, ever runs on its stack. For the tasks that other workers took, it
//! waits like any block that waits: a replacement thread takes over if there is work.
//!
//! A task is a part of the block that left it, wherever it runs. It is in the queues that the
//! block is in, so that a `sync` that can never return is reported there too. It has the block's
//! class. A shutdown lets it run, as it lets the block run.
//!
//! The thread itself counts the tasks that it left and took back, without a locked instruction.
//! Only tasks that other workers took are counted in a shared word, when they end.
//!
//! The shared state of the tasks of one scope is in `state`. A thread that is no worker uses
//! `outside`.
//!
//! Not for: blocks that another thread waits for (`group`), loops over numbers (`apply`).

mod outside;
pub(crate) mod state;

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::panic::Location;
use std::ptr::NonNull;

use crate::base::block::{Node, Runnable, VTable};
use crate::base::catch::{self, Payload};
use crate::base::memory;
use crate::pool::Forked;
use crate::pool::runtime::Runtime;
use outside::on_a_worker;
use state::{ForkedTask, ScopeState};

type Site = &'static Location<'static>;

/// Calls `f`, which may [`spawn`](Scope::spawn) tasks that borrow. Returns when `f` and
/// all tasks have ended.
///
/// The tasks run on the workers of the current runtime. From a thread that is no worker, `f` runs
/// on a worker of the default runtime; see [`Runtime::scope`]. Scopes nest.
///
/// Do not hold a lock that a task needs, and let no task wait for what `f` does after it: a task
/// may run while `f` waits, on the same thread. Queues are no lock: a `sync` on a queue whose block
/// this is part of is reported, as in the block itself.
///
/// # Panics
/// With the panic of `f`, or else with the first panic of a task, after all have ended.
///
/// ```
/// use singletrack_queues::scope;
///
/// let text = String::from("the quick brown fox");
/// let mut lengths = vec![0; 4];
/// scope(|scope| {
///     for (word, length) in text.split(' ').zip(&mut lengths) {
///         scope.spawn(move || *length = word.len());
///     }
/// });
/// assert_eq!(lengths, [3, 5, 5, 3]);
/// ```
#[track_caller]
pub fn scope<'env, R: Send, F: FnOnce(&Scope<'env>) -> R + Send>(f: F) -> R {
    match Forked::here() {
        Some(tasks) => Scope::run(Some(tasks), f),
        None => Runtime::global().scope(f),
    }
}

/// Calls both closures and returns both values. `b` runs on another worker if one has nothing else
/// to do, and after `a` otherwise.
///
/// This is a [`scope`] with one task, without an allocation. From a thread that is no worker, both
/// run on a worker of the default runtime; see [`Runtime::join`].
///
/// # Panics
/// With the panic of `a`, after `b` has ended or without it having begun, or else with the panic of
/// `b`.
///
/// ```
/// use singletrack_queues::join;
///
/// fn sum(numbers: &[u64]) -> u64 {
///     if numbers.len() < 1_000 {
///         return numbers.iter().sum();
///     }
///     let (left, right) = numbers.split_at(numbers.len() / 2);
///     let (left, right) = join(|| sum(left), || sum(right));
///     left + right
/// }
/// assert_eq!(sum(&(0..10_000).collect::<Vec<_>>()), 49_995_000);
/// ```
#[track_caller]
pub fn join<A: Send, B: Send>(a: impl FnOnce() -> A + Send, b: impl FnOnce() -> B + Send) -> (A, B) {
    match Forked::here() {
        Some(tasks) => join_here(Some(tasks), a, b, Location::caller()),
        None => Runtime::global().join(a, b),
    }
}

impl Runtime {
    /// As [`scope`], on the workers of this runtime. From another thread, `f` runs as a block of
    /// the runtime, and the thread waits for it. After a shutdown, everything runs on the calling
    /// thread.
    ///
    /// ```
    /// use singletrack_queues::Runtime;
    ///
    /// let runtime = Runtime::builder().workers(2).build().unwrap();
    /// let mut pixels = [1, 2, 3, 4];
    /// let (left, right) = pixels.split_at_mut(2);
    /// runtime.scope(|scope| {
    ///     scope.spawn(|| left.iter_mut().for_each(|pixel| *pixel *= 10));
    ///     scope.spawn(|| right.iter_mut().for_each(|pixel| *pixel *= 10));
    /// });
    /// assert_eq!(pixels, [10, 20, 30, 40]);
    /// ```
    ///
    /// # Panics
    /// As [`scope`].
    #[track_caller]
    pub fn scope<'env, R: Send, F: FnOnce(&Scope<'env>) -> R + Send>(&self, f: F) -> R {
        on_a_worker(self.pool(), Location::caller(), |tasks| Scope::run(tasks, f))
    }

    /// As [`join`], on the workers of this runtime. From other threads it works as
    /// [`scope`](Self::scope) does.
    ///
    /// ```
    /// use singletrack_queues::Runtime;
    ///
    /// let runtime = Runtime::builder().workers(2).build().unwrap();
    /// let text = "the quick fox";
    /// let (words, vowels) = runtime.join(
    ///     || text.split(' ').count(),
    ///     || text.chars().filter(|letter| "aeiou".contains(*letter)).count(),
    /// );
    /// assert_eq!((words, vowels), (3, 4));
    /// ```
    ///
    /// # Panics
    /// As [`join`].
    #[track_caller]
    pub fn join<A: Send, B: Send>(&self, a: impl FnOnce() -> A + Send, b: impl FnOnce() -> B + Send) -> (A, B) {
        let site = Location::caller();
        on_a_worker(self.pool(), site, |tasks| join_here(tasks, a, b, site))
    }
}

/// Where tasks that borrow are spawned; see [`scope`]. Only the closure that receives it
/// can use it: a task that has tasks of its own opens a scope of its own.
///
/// ```compile_fail,E0277
/// use singletrack_queues::scope;
///
/// scope(|outer| scope(|_| outer.spawn(|| ())));
/// ```
///
/// The values that a task borrows must live longer than the scope.
///
/// ```compile_fail,E0373
/// use singletrack_queues::scope;
///
/// scope(|scope| {
///     let word = String::from("gone");
///     scope.spawn(|| println!("{word}"));
/// });
/// ```
///
/// ```
/// use singletrack_queues::{Scope, scope};
///
/// struct Tree(u32, Vec<Tree>);
///
/// fn double<'a>(tree: &'a mut Tree, scope: &Scope<'a>) {
///     tree.0 *= 2;
///     for child in &mut tree.1 {
///         scope.spawn(move || child.0 *= 2);
///     }
/// }
/// let mut tree = Tree(1, vec![Tree(2, vec![]), Tree(3, vec![])]);
/// scope(|scope| double(&mut tree, scope));
/// assert_eq!((tree.0, tree.1[0].0, tree.1[1].0), (2, 4, 6));
/// ```
pub struct Scope<'env> {
    state: ScopeState,
    /// The number of tasks that this thread left and did not take back yet.
    left: Cell<usize>,
    /// Invariant: the borrows of a task must outlive the scope, and no less.
    _env: PhantomData<Cell<&'env ()>>,
}

impl<'env> Scope<'env> {
    /// Leaves `f` to a worker that has nothing else to do, and does not wait. If a thousand tasks
    /// of this thread are waiting already, `f` is called at once instead. So a scope of a million
    /// tasks needs no memory for a million.
    ///
    /// ```
    /// use singletrack_queues::scope;
    ///
    /// let mut squares = [0; 5];
    /// scope(|scope| {
    ///     for (n, square) in squares.iter_mut().enumerate() {
    ///         scope.spawn(move || *square = n * n);
    ///     }
    /// });
    /// assert_eq!(squares, [0, 1, 4, 9, 16]);
    /// ```
    #[track_caller]
    #[inline]
    pub fn spawn<F: FnOnce() + Send + 'env>(&self, f: F) {
        let site = Location::caller();
        let tasks = match self.state.tasks {
            Some(tasks) if !tasks.are_plenty() => tasks,
            // There is no worker to leave it to, or enough tasks are waiting.
            _ => return self.state.keep(catch::catch(f)),
        };
        let head = ForkedTask { node: Node::new(const { &Child::<F>::VTABLE }, site), state: &raw const self.state };
        let child = memory::boxed(Child { head, body: f });
        self.left.set(self.left.get() + 1);
        tasks.leave(Runnable(child.cast()));
    }

    fn run<R>(tasks: Option<Forked>, f: impl FnOnce(&Self) -> R) -> R {
        let scope = Self { state: ScopeState::new(tasks), left: Cell::new(0), _env: PhantomData };
        let result = catch::catch(|| f(&scope));
        scope.wait();
        scope.state.unwind_or(result)
    }

    /// Runs the tasks that no other worker took, then waits for those that were taken.
    fn wait(&self) {
        let (Some(tasks), mut left) = (self.state.tasks, self.left.get()) else { return };
        while left > 0 {
            let Some(task) = tasks.take_back() else { break };
            // SAFETY: only tasks are left there, and the thread that takes one is its only holder.
            unsafe {
                if task.0.cast::<ForkedTask>().as_ref().state != &raw const self.state {
                    // The task belongs to a scope around this one. All tasks of this scope were
                    // taken, because they would be in front.
                    tasks.put_back(task);
                    break;
                }
                left -= 1;
                (task.0.as_ref().vtable.run)(task.0);
            }
        }
        if left > 0 {
            self.state.stolen.wait_for(left);
        }
    }
}

impl fmt::Debug for Scope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").finish_non_exhaustive()
    }
}

/// A task of a scope, on the heap.
#[repr(C)]
struct Child<F> {
    head: ForkedTask,
    body: F,
}

impl<F: FnOnce() + Send> Child<F> {
    const VTABLE: VTable = VTable::lane(Self::run, Self::discard);

    /// Takes the task from the heap.
    ///
    /// # Safety
    /// `node` was made by `spawn`. Called once, by its only holder.
    #[inline]
    unsafe fn take(node: NonNull<Node>) -> Self {
        let child = node.cast::<Self>();
        // SAFETY: the caller's promise.
        unsafe {
            let taken = child.read();
            memory::free(child);
            taken
        }
    }

    #[inline]
    unsafe fn run(node: NonNull<Node>) -> Option<Payload> {
        // SAFETY: made by `spawn`, and the thread that took it is its only holder. Its memory is
        // freed first: the next task may get it warm.
        let Self { head, body } = unsafe { Self::take(node) };
        // SAFETY: the scope waits for it.
        unsafe { ScopeState::run(head.state, head.node.site, body) };
        None
    }

    /// A pool that ends finds no tasks in its lines. If a task were dropped, its scope would have
    /// to know.
    unsafe fn discard(node: NonNull<Node>) -> u64 {
        // SAFETY: as in `run`.
        let Self { head, body } = unsafe { Self::take(node) };
        // SAFETY: as in `run`.
        unsafe { ScopeState::run(head.state, head.node.site, || drop(body)) };
        1
    }
}

/// The second half of a [`join`], on the stack of the thread that waits for it.
#[repr(C)]
struct Half<F> {
    head: ForkedTask,
    body: ManuallyDrop<F>,
}

impl<F: FnOnce() + Send> Half<F> {
    const VTABLE: VTable = VTable::lane(Self::run, Self::discard);

    unsafe fn run(node: NonNull<Node>) -> Option<Payload> {
        let this = node.cast::<Self>().as_ptr();
        // SAFETY: `join_here` waits for it. The thread that took it is the one that takes its
        // closure.
        unsafe {
            let body = ManuallyDrop::take(&mut (*this).body);
            ScopeState::run((*this).head.state, (*this).head.node.site, body);
        }
        None
    }

    /// As for [`Child`].
    unsafe fn discard(node: NonNull<Node>) -> u64 {
        let this = node.cast::<Self>().as_ptr();
        // SAFETY: as in `run`.
        unsafe {
            let body = ManuallyDrop::take(&mut (*this).body);
            ScopeState::run((*this).head.state, (*this).head.node.site, || drop(body));
        }
        1
    }
}

fn join_here<A, B: Send>(
    tasks: Option<Forked>,
    a: impl FnOnce() -> A,
    b: impl FnOnce() -> B + Send,
    site: Site,
) -> (A, B) {
    let Some(tasks) = tasks else {
        let a = a();
        return (a, b());
    };
    let state = ScopeState::new(Some(tasks));
    let mut second = None;
    let result = {
        let second = &mut second;
        half_and(&state, tasks, a, move || *second = Some(b()), site)
    };
    match (state.unwind_or(result), second) {
        (first, Some(second)) => (first, second),
        (_, None) => unreachable!("the second half ran, or there was a panic"),
    }
}

/// Leaves `b` to other workers while `a` runs here. Both have ended when this returns, or, after a
/// panic of `a`, `b` will never begin.
fn half_and<A, F: FnOnce() + Send>(
    state: &ScopeState,
    tasks: Forked,
    a: impl FnOnce() -> A,
    b: F,
    site: Site,
) -> Result<A, Payload> {
    let head = ForkedTask { node: Node::new(const { &Half::<F>::VTABLE }, site), state };
    let mut half = Half { head, body: ManuallyDrop::new(b) };
    let this = &raw mut half;
    // SAFETY: a pointer to a local is not null.
    let node = unsafe { NonNull::new_unchecked(this) }.cast();
    tasks.leave(Runnable(node));
    let first = catch::catch(a);
    match tasks.take_back() {
        Some(task) if task.0 == node => {
            // SAFETY: no other thread took it, so the closure is there, and only this takes it.
            let b = unsafe { ManuallyDrop::take(&mut (*this).body) };
            match &first {
                Ok(_) => state.keep(catch::catch(b)),
                Err(_) => catch::drop_quietly(b),
            }
            return first;
        }
        Some(task) => tasks.put_back(task),
        None => {}
    }
    state.stolen.wait_for(1);
    first
}

#[cfg(all(test, not(queues_loom)))]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    use std::time::{Duration, Instant};

    /// As `spawn`, without waking a sleeper: as if it had missed a worker that fell asleep just
    /// then.
    fn leave_unheard<F: FnOnce() + Send>(scope: &Scope<'_>, f: F) {
        let node = Node::new(const { &Child::<F>::VTABLE }, Location::caller());
        let head = ForkedTask { node, state: &raw const scope.state };
        let child = memory::boxed(Child { head, body: f });
        scope.left.set(scope.left.get() + 1);
        scope.state.tasks.expect("on a worker").put_back(Runnable(child.cast()));
    }

    fn compute_until(stop: impl Fn() -> bool, longest: Duration) {
        let begin = Instant::now();
        while !stop() && begin.elapsed() < longest {
            std::hint::spin_loop();
        }
    }

    #[test]
    fn a_sleeper_that_missed_a_task_is_woken_though_its_block_computes() {
        let runtime = Runtime::builder().workers(2).build().expect("a few threads");
        let taken = AtomicBool::new(false);
        let in_time = runtime.scope(|scope| {
            compute_until(|| false, Duration::from_millis(20));
            leave_unheard(scope, || taken.store(true, Relaxed));
            compute_until(|| taken.load(Relaxed), Duration::from_secs(5));
            taken.load(Relaxed)
        });
        assert!(in_time, "the other worker slept on");
    }
}
