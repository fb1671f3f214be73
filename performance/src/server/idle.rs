//! Connections that are open and say nothing.
//!
//! Not for: anything about time, since they only have to be there. Rule: one handshake after the
//! other, each checked, so that no server is flooded.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long a server may take for one handshake.
const PATIENCE: Duration = Duration::from_secs(10);
/// More than any answer to a handshake.
const HEAD: usize = 1024;

/// Opens `count` connections to the echo of a server.
///
/// # Errors
/// With a sentence, when one is refused or answered by something other than a handshake.
pub(crate) fn hold(address: SocketAddr, count: usize) -> Result<Vec<TcpStream>, String> {
    let request = format!(
        "GET /echo HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    (0..count)
        .map(|number| open(address, &request).map_err(|error| format!("idle connection {number} of {count}: {error}")))
        .collect()
}

fn open(address: SocketAddr, request: &str) -> Result<TcpStream, String> {
    let connect = || {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(request.as_bytes())?;
        Ok(stream)
    };
    let mut stream: TcpStream = connect().map_err(|error: std::io::Error| error.to_string())?;
    let mut head = [0; HEAD];
    let mut length = 0;
    while !head[..length].ends_with(b"\r\n\r\n") {
        match stream.read(&mut head[length..]) {
            Ok(0) if length == HEAD => return Err(format!("an answer of more than {HEAD} bytes")),
            Ok(0) => return Err("the server closed it".to_owned()),
            Ok(count) => length += count,
            Err(error) => return Err(error.to_string()),
        }
    }
    if !head.starts_with(b"HTTP/1.1 101 ") {
        let first = String::from_utf8_lossy(&head[..length]);
        return Err(format!("answered {:?}", first.lines().next().unwrap_or_default()));
    }
    Ok(stream)
}
