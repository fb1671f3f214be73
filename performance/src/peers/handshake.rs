//! Common parts of the peers' servers: their start, the paths that they know, and a handshake for
//! those that have none.
//!
//! Not for: anything that is measured, which is each peer's own.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};

use rustix::process::{Resource, getrlimit, setrlimit};
use tungstenite::handshake::derive_accept_key;

/// The most bytes of a request's head. Only our own load generator talks to a peer.
pub(crate) const HEAD: usize = 2048;
/// Connections that may wait to be accepted; the kernel caps it.
const BACKLOG: i32 = 4096;

/// The target of a connection.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Wish {
    /// Its own messages back.
    Echo,
    /// The messages of all members of this room.
    Room(String),
}

impl Wish {
    /// The meaning of a path.
    pub(crate) fn of(path: &str) -> Option<Wish> {
        match path.strip_prefix("/room/") {
            Some(name) if !name.is_empty() => Some(Wish::Room(name.to_owned())),
            None if path == "/echo" => Some(Wish::Echo),
            _ => None,
        }
    }
}

/// A head that has arrived whole: its length, its target, and the answer.
pub(crate) struct Upgrade {
    pub(crate) length: usize,
    pub(crate) wish: Wish,
    pub(crate) answer: String,
}

/// Reads a request's head, or returns `None` while it is not whole.
///
/// # Errors
/// When it is no upgrade to a known path.
pub(crate) fn read_head(bytes: &[u8]) -> Result<Option<Upgrade>, String> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut request = httparse::Request::new(&mut headers);
    let length = match request.parse(bytes).map_err(|error| format!("no HTTP: {error}"))? {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial if bytes.len() < HEAD => return Ok(None),
        httparse::Status::Partial => return Err(format!("a head of more than {HEAD} bytes")),
    };
    let path = request.path.unwrap_or_default();
    let wish = Wish::of(path).ok_or_else(|| format!("no such path: {path}"))?;
    let key = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case("sec-websocket-key"));
    let key = derive_accept_key(key.ok_or("no WebSocket handshake")?.value);
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {key}\r\n\r\n"
    );
    Ok(Some(Upgrade { length, wish, answer }))
}

/// A listening socket that does not block, after the limit on open files was raised. Prints its
/// address as `singletrack serve` does.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    raise_file_limit();
    let listener = TcpListener::bind(address)?;
    // The standard library listens with 128 places. A second call changes that and nothing else.
    rustix::net::listen(&listener, BACKLOG)?;
    listener.set_nonblocking(true)?;
    let mut out = io::stdout().lock();
    writeln!(out, "listening on http://{}", listener.local_addr()?)?;
    out.flush()?;
    Ok(listener)
}

/// Each connection takes a descriptor.
pub(crate) fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        eprintln!("the limit on open files stays as it is: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::{Wish, read_head};

    const HEAD: &[u8] = b"GET /room/a HTTP/1.1\r\nHost: x\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\nrest";

    #[test]
    fn a_head_is_read_when_it_is_whole() {
        for cut in 0..HEAD.len() - 4 {
            assert!(read_head(&HEAD[..cut]).unwrap().is_none(), "{cut} bytes are no head");
        }
        let upgrade = read_head(HEAD).unwrap().unwrap();
        assert_eq!((upgrade.length, upgrade.wish), (HEAD.len() - 4, Wish::Room("a".to_owned())));
        assert!(upgrade.answer.contains("Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "the key of RFC 6455, 1.3");
    }

    #[test]
    fn only_echo_and_rooms_are_known() {
        assert_eq!(Wish::of("/echo"), Some(Wish::Echo));
        assert_eq!(Wish::of("/room/x/y"), Some(Wish::Room("x/y".to_owned())));
        for path in ["/", "/room/", "/echo/", "room/x"] {
            assert_eq!(Wish::of(path), None, "{path}");
        }
        assert!(read_head(b"GET /nothing HTTP/1.1\r\n\r\n").is_err());
        assert!(read_head(b"GET /echo HTTP/1.1\r\n\r\n").is_err());
    }
}
