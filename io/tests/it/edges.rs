//! Odd and hostile programs: each of these tests failed before what it guards was there, and ends
//! by itself without it.

#[cfg(target_os = "linux")]
mod forked;
mod gone;
mod last_handle;
mod messages;
mod wrong_descriptors;
