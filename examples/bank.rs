//! A bank without locks: each account is a queue, a transfer debits on one and then credits on the
//! other.
//!
//! `cargo run --release --example bank`

use std::time::Instant;

use singletrack::{Group, Isolated, Queue};

const ACCOUNTS: usize = 1_000;
const TRANSFERS: usize = 1_000_000;
const START: i64 = 1_000;

fn main() {
    let accounts: Vec<_> = (0..ACCOUNTS).map(|i| Isolated::new(&Queue::new(format!("account.{i}")), START)).collect();
    let all_done = Group::new();
    let begin = Instant::now();
    let mut random = 0x2545_F491_4F6C_DD1D_u64;
    let mut pick = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random as usize % ACCOUNTS
    };
    for _ in 0..TRANSFERS {
        let (from, to, amount) = (&accounts[pick()], accounts[pick()].clone(), pick() as i64 % 100);
        all_done.enter();
        let done = all_done.clone();
        from.submit(move |balance| {
            *balance -= amount;
            to.submit(move |balance| {
                *balance += amount;
                done.leave().expect("entered for this transfer");
            });
        });
    }
    all_done.wait();
    let took = begin.elapsed();
    let total: i64 = accounts.iter().map(|account| account.sync(|balance| *balance)).sum();
    assert_eq!(total, ACCOUNTS as i64 * START, "money was made or lost");
    println!("{TRANSFERS} transfers between {ACCOUNTS} accounts in {took:.2?}; the total is still {total}");
}
