//! Sockets of a generator: connected without waiting, and with as little room as a member that does not read should have.
//!
//! Not for: what is said on them (`peer`).

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::net::sockopt::set_socket_recv_buffer_size;
use singletrack::io::{Attach, Interest, Io, Registered};
use socket2::{Domain, Protocol, Socket, Type};

/// What a slow member's system may hold for it: little, so that what it does not read waits in the server.
const SLOW_BUFFER: usize = 4096;
/// And once it reads.
const WIDE_BUFFER: usize = 1 << 20;

/// Begins to connect, and watches the socket: an event tells that it stands or has failed.
pub(super) fn begin(io: &Io, address: SocketAddr, slow: bool) -> io::Result<(Registered<TcpStream>, Attach)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if slow {
        // Before connecting: the first window is told with the first segment.
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
    io.register_spread(TcpStream::from(socket), Interest::Both)
}

/// From now on a slow member reads, and fast.
pub(super) fn widen(socket: &TcpStream) {
    // Without it, it reads all the same.
    if let Err(error) = set_socket_recv_buffer_size(socket.as_fd(), WIDE_BUFFER) {
        log::debug!("a receive buffer stays small: {error}");
    }
}
