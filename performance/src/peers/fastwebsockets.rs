//! fastwebsockets: echo only. Writing from a task other than the reading one is marked unstable
//! there, so it has no rooms.

use std::error::Error;
use std::net::SocketAddr;

use fastwebsockets::{FragmentCollector, OpCode, Role, WebSocket};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::handshake::{self, HEAD, Wish};
use super::runtime;

/// Serves until it is killed.
pub(crate) fn serve(address: SocketAddr) -> std::io::Result<()> {
    runtime::serve(address, |stream| async {
        // The load generator judges how a connection ends.
        let _ = echo(stream).await;
    })
}

async fn echo(mut stream: TcpStream) -> Result<(), Box<dyn Error>> {
    let mut head = Vec::with_capacity(HEAD);
    let upgrade = loop {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
        if let Some(upgrade) = handshake::read_head(&head)? {
            break upgrade;
        }
    };
    if upgrade.wish != Wish::Echo || upgrade.length != head.len() {
        return Err("only /echo, and nothing before the answer".into());
    }
    stream.write_all(upgrade.answer.as_bytes()).await?;
    drop(head);
    let mut socket = WebSocket::after_handshake(stream, Role::Server);
    socket.set_auto_close(true);
    let mut socket = FragmentCollector::new(socket);
    loop {
        let frame = socket.read_frame().await?;
        match frame.opcode {
            OpCode::Close => return Ok(()),
            OpCode::Text | OpCode::Binary => socket.write_frame(frame).await?,
            _ => {}
        }
    }
}
