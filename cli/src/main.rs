//! The command line: `singletrack serve` runs the room server, `singletrack stress` puts the queues
//! to the test, and `singletrack load` a server.
//!
//! Not for: anything that a program which embeds the library might want. Rules: one line on
//! standard output gives the address of the server; everything else goes to standard error. Exit 0
//! when done, 1 when the machine did not provide what is needed, 2 for arguments that cannot be
//! used.
#![forbid(unsafe_code)]

mod command;
mod load;
mod stress;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    command::run()
}
