//! The first ten minutes: a queue, blocks, `sync`, state that only the queue can touch, a group, a
//! timer.
//!
//! `cargo run --example hello_queue`

use std::time::Duration;

use singletrack::{Group, Isolated, Queue};

fn main() {
    // Blocks run one at a time, in order, on any free worker.
    let queue = Queue::new("hello");
    queue.submit(|| println!("first"));
    queue.submit(|| println!("second"));

    // `sync` waits, may borrow, and returns a value.
    let name = String::from("a borrowed name");
    let length = queue.sync(|| name.len());
    println!("\"{name}\" has {length} bytes");

    // State that lives on the queue needs no lock: the compiler keeps all other threads out.
    let counter = Isolated::new(&queue, 0);
    let group = Group::new();
    for i in 0..8 {
        let counter = counter.clone();
        group.submit(&Queue::new(format!("worker.{i}")), move || {
            for _ in 0..1_000 {
                counter.submit(|n| *n += 1);
            }
        });
    }
    group.wait();
    println!("counted to {}", counter.sync(|n| *n));

    // A block with a delay, and a result to wait for.
    let later = Group::new();
    later.enter();
    let done = later.clone();
    let _timer = queue.submit_after(Duration::from_millis(50), move || {
        println!("a moment later");
        done.leave().expect("entered above");
    });
    later.wait();
    let sum = queue.call(|| (1..=100).sum::<u32>());
    println!("1 + ... + 100 = {}", sum.wait().expect("the block does not panic"));
}
