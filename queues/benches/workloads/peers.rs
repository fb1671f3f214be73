//! The peers that are measured: one file for each, and the trait that says what a peer can do.
//!
//! A peer does the workloads that it has a natural means for, as its own users would write them.
//! For the rest it keeps the default, "not supported", and the report prints `-`. A peer makes its
//! runtime for a measurement and ends it afterwards, so that no idle thread of one peer disturbs
//! another.

mod desync;
mod mail;
mod mutex;
mod rayon;
mod singletrack;
mod threads;
mod tokio;

use super::measure::Sample;
use super::workloads::Load;

/// A runtime or library that is measured. Each method is one round of one workload; `None` is "not
/// supported".
#[rustfmt::skip]
pub(crate) trait Peer: Sync {
    fn name(&self) -> &'static str;

    fn q1(&self, _: &Load) -> Option<Sample> { None }
    fn q2(&self, _: &Load) -> Option<Sample> { None }
    fn q2c(&self, _: &Load) -> Option<Sample> { None }
    fn q2b(&self, _: &Load) -> Option<Sample> { None }
    fn q3(&self, _: &Load, _producers: u32) -> Option<Sample> { None }
    fn q4(&self, _: &Load) -> Option<Sample> { None }
    fn q5(&self, _: &Load) -> Option<Sample> { None }
    fn q6(&self, _: &Load) -> Option<Sample> { None }
    fn q7(&self, _: &Load) -> Option<Sample> { None }
    fn q7o(&self, _: &Load) -> Option<Sample> { None }
    fn q8(&self, _: &Load) -> Option<Sample> { None }
    fn q8j(&self, _: &Load) -> Option<Sample> { None }
    fn q8q(&self, _: &Load) -> Option<Sample> { None }
    fn q9(&self, _: &Load) -> Option<Sample> { None }
    fn q10(&self, _: &Load, _pinned: bool) -> Option<Sample> { None }
    fn q11(&self, _: &Load) -> Option<Sample> { None }
    fn q12(&self, _: &Load) -> Option<Sample> { None }
    fn q13(&self, _: &Load) -> Option<Sample> { None }
    fn q14(&self, _: &Load) -> Option<Sample> { None }
    fn q15(&self, _: &Load) -> Option<Sample> { None }
    fn q15u(&self, _: &Load) -> Option<Sample> { None }
    fn q16(&self, _: &Load) -> Option<Sample> { None }
    fn q17(&self, _: &Load) -> Option<Sample> { None }
    fn q18(&self, _: &Load) -> Option<Sample> { None }
    fn q19(&self, _: &Load) -> Option<Sample> { None }
    fn q20(&self, _: &Load) -> Option<Sample> { None }
    fn q20g(&self, _: &Load) -> Option<Sample> { None }
}

/// All peers, ourselves first.
pub(crate) const PEERS: &[&dyn Peer] = &[
    &singletrack::Singletrack,
    &tokio::Tokio,
    &desync::DesyncPeer,
    &threads::ThreadsPeer,
    &rayon::Rayon,
    &mutex::Std,
    &mutex::ParkingLot,
];

/// The methods that are the same for every runtime of serial queues: `actor_workloads!(TheQueues)`
/// inside `impl Peer`.
macro_rules! actor_workloads {
    ($queues:ty) => {
        fn q1(&self, load: &Load) -> Option<Sample> {
            Some(actors::q1::<$queues>(load))
        }
        fn q3(&self, load: &Load, producers: u32) -> Option<Sample> {
            Some(actors::q3::<$queues>(load, producers))
        }
        fn q4(&self, load: &Load) -> Option<Sample> {
            Some(actors::q4::<$queues>(load))
        }
        fn q5(&self, load: &Load) -> Option<Sample> {
            Some(actors::q5::<$queues>(load))
        }
        fn q6(&self, load: &Load) -> Option<Sample> {
            Some(actors::q6::<$queues>(load))
        }
        fn q9(&self, load: &Load) -> Option<Sample> {
            Some(actors::q9::<$queues>(load))
        }
        fn q12(&self, load: &Load) -> Option<Sample> {
            Some(idle::q12::<$queues>(load))
        }
        fn q16(&self, load: &Load) -> Option<Sample> {
            Some(savina::q16::<$queues>(load))
        }
        fn q17(&self, load: &Load) -> Option<Sample> {
            Some(savina::q17::<$queues>(load))
        }
        fn q18(&self, load: &Load) -> Option<Sample> {
            Some(savina::q18::<$queues>(load))
        }
        fn q19(&self, load: &Load) -> Option<Sample> {
            Some(savina::q19::<$queues>(load))
        }
    };
}
use actor_workloads;
