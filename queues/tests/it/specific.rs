//! Queue-specific values are found through the target chain, from inside and from outside.

use crate::{runtime, wait_until};
use singletrack_queues::{ConcurrentQueue, Queue, SpecificKey};
use std::sync::Arc;

static NAME: SpecificKey<String> = SpecificKey::new();
static PLACE: SpecificKey<&str> = SpecificKey::new();
static DEPTH: SpecificKey<u32> = SpecificKey::new();
static DEPTH_TOO: SpecificKey<u32> = SpecificKey::new();
static TOKEN: SpecificKey<Arc<()>> = SpecificKey::new();

#[test]
fn the_nearest_value_up_the_target_chain_is_found() {
    let runtime = runtime(2);
    let root = runtime.queue("root");
    let middle = Queue::builder("middle").target(&root).build();
    let leaf = Queue::builder("leaf").target(&middle).build();
    root.set_specific(&NAME, "root".to_owned());
    root.set_specific(&DEPTH, 0);
    middle.set_specific(&DEPTH, 1);
    assert_eq!(leaf.get_specific(&NAME).as_deref().map(String::as_str), Some("root"));
    assert_eq!(leaf.get_specific(&DEPTH).as_deref(), Some(&1));
    assert_eq!(root.get_specific(&DEPTH).as_deref(), Some(&0));
    assert!(leaf.get_specific(&DEPTH_TOO).is_none(), "another key of the same type");
    let on_worker = leaf.call(|| (NAME.current().is_some(), DEPTH.current().as_deref().copied()));
    assert_eq!(on_worker.wait().ok(), Some((true, Some(1))));
    assert_eq!(leaf.sync(|| DEPTH.current().as_deref().copied()), Some(1));
    assert!(DEPTH.current().is_none());
}

#[test]
fn the_queue_of_an_outer_sync_is_not_asked() {
    let runtime = runtime(1);
    let (outer, inner) = (runtime.queue("outer"), runtime.queue("inner"));
    outer.set_specific(&DEPTH, 7);
    outer.sync(|| {
        assert!(inner.sync(|| DEPTH.current().is_none()));
        assert_eq!(DEPTH.current().as_deref(), Some(&7));
    });
}

#[test]
fn what_was_replaced_or_removed_comes_back_and_the_rest_goes_with_the_queue() {
    let runtime = runtime(1);
    let queue = runtime.queue("owner");
    let token = Arc::new(());
    assert!(queue.set_specific(&TOKEN, Arc::new(())).is_none());
    assert!(queue.set_specific(&TOKEN, token.clone()).is_some_and(|before| Arc::strong_count(&before) == 1));
    assert!(queue.remove_specific(&TOKEN).is_some_and(|before| Arc::ptr_eq(&*before, &token)));
    assert!(queue.get_specific(&TOKEN).is_none() && queue.remove_specific(&TOKEN).is_none());
    queue.set_specific(&TOKEN, token.clone());
    queue.submit(|| assert!(TOKEN.current().is_some()));
    drop(queue);
    wait_until("the value goes with its queue", || Arc::strong_count(&token) == 1);
    assert_eq!(runtime.stats().panics, 0);
}

#[test]
fn blocks_of_every_kind_know_where_they_are_and_find_the_values_of_their_targets() {
    let runtime = runtime(2);
    let root = runtime.queue("root");
    let table = ConcurrentQueue::builder("table").target(&root).build();
    let leaf = Queue::builder("leaf").target(&table).build();
    root.set_specific(&PLACE, "root");
    let look = |own: &ConcurrentQueue| (own.is_current(), PLACE.current().as_deref().copied());
    let (own, above) = (table.clone(), root.clone());
    let seen = table.call(move || (look(&own), above.is_current()));
    assert_eq!(seen.wait().ok(), Some(((true, Some("root")), true)));
    assert!(table.set_specific(&PLACE, "table").is_none());
    assert_eq!(leaf.get_specific(&PLACE).as_deref(), Some(&"table"));
    let own = table.clone();
    assert_eq!(leaf.call(move || look(&own)).wait().ok(), Some((true, Some("table"))));
    let own = table.clone();
    assert_eq!(table.barrier_call(move || look(&own)).wait().ok(), Some((true, Some("table"))));
    assert!(!root.sync(|| table.is_current()));
    assert_eq!(table.remove_specific(&PLACE).as_deref(), Some(&"table"));
    assert_eq!(table.get_specific(&PLACE).as_deref(), Some(&"root"));
}
