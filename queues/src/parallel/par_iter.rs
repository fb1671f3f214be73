//! `par_iter` inside blocks: the only door to rayon (feature `rayon`).
//!
//! Queues never run on rayon's threads, because a block that waits in rayon would run other blocks
//! nested on its stack. Rayon gets a pool of its own, made at its first use. The worker that
//! computes there counts as blocked meanwhile, so a replacement thread serves the other queues.

use once_cell::sync::OnceCell;

use crate::pool;

/// Runs `f` on rayon's pool of this crate. Calls of `par_iter`, `join` and `scope` inside use all
/// its threads.
///
/// ```
/// use rayon::prelude::*;
/// let sum = singletrack_queues::parallel(|| (0..1_000_u64).into_par_iter().sum::<u64>());
/// assert_eq!(sum, 499_500);
/// ```
///
/// # Panics
/// With the panic of `f`. When the system refuses rayon's threads.
pub fn parallel<R: Send, F: FnOnce() -> R + Send>(f: F) -> R {
    static POOL: OnceCell<rayon::ThreadPool> = OnceCell::new();
    let made = POOL.get_or_try_init(|| {
        rayon::ThreadPoolBuilder::new().thread_name(|index| format!("singletrack-par-{index}")).build()
    });
    match made {
        Ok(threads) => pool::blocking(|| threads.install(f)),
        Err(error) => panic!("rayon's pool cannot start: {error}"),
    }
}
