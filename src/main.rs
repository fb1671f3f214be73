//! The command line: `singletrack serve` runs the room server, `singletrack stress` puts the queues to the
//! test, `singletrack load` a server.
//!
//! Not for: anything that a program which embeds the library might want. Rules: one line on standard output says where the server
//! listens, everything else goes to standard error; exit 0 when done, 1 when the machine did not give what is needed, 2 for
//! arguments that cannot be used.

mod cli;
mod load;
mod stress;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::run()
}
