//! Runtimes: which are the same, their names and parkers, and why one could not be made.

use crate::{LONG, runtime};
use singletrack_queues::{BuildError, ConcurrentQueue, MainQueue, Runtime};
use std::collections::HashSet;
use std::error::Error;
use std::io;
use std::sync::mpsc;

#[test]
fn handles_of_one_runtime_are_equal_and_others_are_not() {
    let (one, other) = (runtime(1), runtime(1));
    assert!(one == one.clone() && one != other);
    assert_eq!(HashSet::from([one.clone(), other, one]).len(), 2);
}

#[test]
fn a_runtime_has_its_name_and_a_worker_its_parker() {
    let runtime = Runtime::builder().workers(1).name("disk").build().expect("a thread");
    assert_eq!((runtime.name(), Runtime::current_parker()), ("disk", None));
    let (tell, told) = mpsc::channel();
    runtime.spawn(move || tell.send(Runtime::current_parker()).expect("the test listens"));
    assert_eq!(told.recv_timeout(LONG), Ok(Some(0)));
    assert!(runtime.parker(0).is_some() && runtime.parker(1).is_none());
}

#[test]
fn a_runtime_that_could_not_be_made_has_the_systems_error_as_its_source() {
    let refuses = Runtime::builder().workers(1).parkers(|_| Err(io::Error::other("no poller")));
    let error = refuses.build().expect_err("it has no parker");
    assert_eq!(error.source().map(ToString::to_string).as_deref(), Some("no poller"));
    let error = Runtime::builder().workers(0).build().expect_err("it has no worker");
    assert!(matches!(error, BuildError::Workers(0)) && error.source().is_none());
}

#[test]
fn a_submitter_has_the_label_of_its_queue() {
    let runtime = runtime(1);
    let table = ConcurrentQueue::builder("table").runtime(&runtime).build();
    let main = MainQueue::new("main");
    let submitters = [runtime.queue("serial").submitter(), table.submitter(), main.handle().submitter()];
    assert_eq!(submitters.each_ref().map(|submitter| submitter.label()), ["serial", "table", "main"]);
}
