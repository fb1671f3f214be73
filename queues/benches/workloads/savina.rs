//! Four benchmarks of the Savina suite: big (Q16), chameneos (Q17), bounded buffer (Q18), sieve
//! (Q19).
//!
//! S. Imam and V. Sarkar define each of them in "Savina - An Actor Benchmark Suite", AGERE! 2014,
//! as 8 "Big", 9 "Concurrent Chameneos", 13 "Producer-Consumer with Bounded Buffer" and 21 "Sieve
//! of Eratosthenes". The code is our own, and the sizes are chosen so that a round takes a good
//! part of a second. Each verifies more than the original does: which actor answered, which
//! creatures met, the order and the sum of the items, the primes themselves.

mod big;
mod bounded_buffer;
mod chameneos;
mod sieve;

pub(crate) use big::q16;
pub(crate) use bounded_buffer::{CAPACITY, CONSUMERS, Consumed, PRODUCERS, items_each, produce, q18, verify_items};
pub(crate) use chameneos::q17;
pub(crate) use sieve::q19;
