//! Sockets of a generator: connected without waiting, and with as little buffer space as a member
//! that does not read should have.
//!
//! Not for: the traffic on them (`peer`).

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_recv_buffer_size, socket_error};
use singletrack::io::{Attach, Interest, Io, Registered};
use socket2::{Domain, Protocol, Socket, Type};

/// The most that the system may hold for a slow member: little, so that unread messages wait in the
/// server.
const SLOW_BUFFER: usize = 4096;
/// The same, once it reads.
const WIDE_BUFFER: usize = 1 << 20;

/// The time that each address of a host with several addresses has to accept a connection.
const PROBE: Duration = Duration::from_secs(1);

/// Of a host with several addresses, such as `localhost`, the first that accepts a connection. If
/// none does, the first, so that the run reports what is wrong with it.
pub(crate) fn reachable(addresses: &[SocketAddr]) -> Option<SocketAddr> {
    let answers = |address: &&SocketAddr| TcpStream::connect_timeout(address, PROBE).is_ok();
    let found = if addresses.len() > 1 { addresses.iter().find(answers) } else { None };
    found.or(addresses.first()).copied()
}

/// Begins to connect, and watches the socket: an event reports that it is connected or has failed.
pub(super) fn begin(io: &Io, address: SocketAddr, slow: bool) -> io::Result<(Registered<OwnedFd>, Attach)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if slow {
        // Before connecting: the first segment announces the first window.
        socket.set_recv_buffer_size(SLOW_BUFFER)?;
    }
    match socket.connect(&address.into()) {
        Ok(()) => {}
        Err(error) if Errno::from_io_error(&error) == Some(Errno::INPROGRESS) => {}
        Err(error) if Errno::from_io_error(&error) == Some(Errno::ADDRNOTAVAIL) => {
            let why = "this machine has no free port left towards it: ask for fewer connections, or wait a minute";
            return Err(io::Error::new(error.kind(), why));
        }
        Err(error) => return Err(error),
    }
    io.register_spread(OwnedFd::from(socket), Interest::Both)
}

/// Whether it is connected, after the event that reports that it is or has failed.
pub(super) fn outcome(socket: &OwnedFd) -> io::Result<()> {
    Ok(socket_error(socket)??)
}

/// From now on a slow member reads, and fast.
pub(super) fn widen(socket: &OwnedFd) {
    // A failure does not stop it from reading.
    if let Err(error) = set_socket_recv_buffer_size(socket, WIDE_BUFFER) {
        log::debug!("a receive buffer stays small: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn of_several_addresses_the_first_that_answers_is_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let open = listener.local_addr().unwrap();
        let shut = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(reachable(&[shut, open]), Some(open));
        assert_eq!(reachable(&[shut, shut]), Some(shut));
        assert_eq!(reachable(&[]), None);
        // A single address is left to the run: no connection more than was asked for.
        assert_eq!(reachable(&[open]), Some(open));
        assert!(listener.accept().is_ok());
        listener.set_nonblocking(true).unwrap();
        assert!(listener.accept().is_err());
    }
}
