//! A server on threads that echoes by the rules, except for one message, or does not even shake
//! hands.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use singletrack::Limits;
use singletrack::ws::{Close, CloseCode, Decoder, Event, Message, Opcode, Role, accept_key, encode, encode_frame};
use socket2::SockRef;

/// The lie of a server. A lie about a message is about the twentieth of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lie {
    None,
    Doubles,
    Swaps,
    Changes,
    ChangesTheOpcode,
    Loses,
    /// Sends the message to the other connections.
    Crosses,
    Masks,
    Closes,
    HangsUp,
    /// Claims that a connection that reads missed something.
    SaysMissed,
    /// Sends pongs that nobody asked for, as fast as it can, and nothing else.
    FloodsPongs,
    /// Pings, and reads no answer.
    FloodsPings,
    /// Closes with a reason of several lines.
    ClosesWithLines,
    /// Claims that the second connection missed a thousand messages.
    SaysMuchMissed,
    /// Begins a message to the second connection, and resets it.
    ResetsTheSecond,
    /// No lie: each message in two frames, with a ping in between.
    Fragments,
    NotFound,
    WrongKey,
    NoHttp,
    Silent,
    HangsUpAtOnce,
}

const WHICH: usize = 20;

/// All connections of a server.
type Everybody = Arc<Mutex<Vec<TcpStream>>>;

/// Starts a server, which lasts as long as the process.
pub(super) fn liar(lie: Lie) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    let everybody = Everybody::default();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, everybody) = (stream.expect("a connection"), everybody.clone());
            // The generator leaves when it has seen enough, so a failure is not worth a report.
            std::thread::spawn(move || serve(lie, stream, &everybody));
        }
    });
    address
}

fn serve(lie: Lie, mut stream: TcpStream, everybody: &Everybody) -> io::Result<()> {
    if lie == Lie::HangsUpAtOnce {
        return stream.shutdown(Shutdown::Write);
    }
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap_or_default();
    let key = if lie == Lie::WrongKey { "dGhlIHNhbXBsZSBub25jZQ==" } else { key };
    match lie {
        Lie::NotFound => stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")?,
        Lie::NoHttp => stream.write_all(b"220 mail.example.org ESMTP\r\n")?,
        Lie::Silent => {}
        _ => write!(
            stream,
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n",
            accept_key(key)
        )?,
    }
    let is_second = {
        let mut everybody = everybody.lock().unwrap();
        everybody.push(stream.try_clone()?);
        everybody.len() == 2
    };
    if lie == Lie::ResetsTheSecond && is_second {
        stream.write_all(b"\x81\x40some of 64 bytes")?;
        SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    }
    if lie == Lie::SaysMuchMissed && is_second {
        stream.write_all(&encode(Opcode::Text, b"{\"missed\":1000}"))?;
    }
    if let Lie::FloodsPongs | Lie::FloodsPings = lie {
        let opcode = if lie == Lie::FloodsPongs { Opcode::Pong } else { Opcode::Ping };
        let flood = encode(opcode, b"").repeat(1 << 19);
        loop {
            stream.write_all(&flood)?;
        }
    }
    let (mut decoder, mut buffer, limits) = (Decoder::new(Role::Server), vec![0; 64 * 1024], Limits::default());
    let (mut count, mut held) = (0, None);
    loop {
        let got = stream.read(&mut buffer)?;
        if got == 0 {
            return Ok(());
        }
        let mut input = &mut buffer[..got];
        while let Ok(Some(event)) = decoder.decode(&mut input, &limits) {
            match event {
                Event::Message(message) => {
                    let bytes = answer(lie, count, message, &mut held, everybody, &stream)?;
                    stream.write_all(&bytes)?;
                    if lie == Lie::HangsUp && count == WHICH {
                        return stream.shutdown(Shutdown::Both);
                    }
                    count += 1;
                }
                Event::Close(_) => return stream.write_all(&Close::new(CloseCode::NORMAL, "").frame()),
                Event::Ping(_) | Event::Pong(_) => {}
            }
        }
    }
}

/// The answer to message `count` of a connection.
fn answer(
    lie: Lie,
    count: usize,
    message: Message,
    held: &mut Option<Message>,
    everybody: &Everybody,
    own: &TcpStream,
) -> io::Result<Vec<u8>> {
    let frame = message.frame().to_vec();
    if lie == Lie::Fragments {
        let (first, second) = message.payload().split_at(message.payload().len() / 2);
        let parts = [
            encode_frame(false, Opcode::Text, first, None),
            encode(Opcode::Ping, b"still there?").to_vec(),
            encode_frame(true, Opcode::Continuation, second, None),
        ];
        return Ok(parts.concat());
    }
    if let Some(before) = held.take() {
        return Ok([&frame[..], before.frame()].concat());
    }
    if count != WHICH {
        return Ok(frame);
    }
    Ok(match lie {
        Lie::Doubles => frame.repeat(2),
        Lie::Swaps => {
            *held = Some(message);
            Vec::new()
        }
        Lie::Changes => {
            let mut frame = frame;
            if let Some(byte) = frame.last_mut() {
                *byte ^= 1;
            }
            frame
        }
        Lie::ChangesTheOpcode => encode(Opcode::Binary, message.payload()).to_vec(),
        Lie::Loses => Vec::new(),
        Lie::Crosses => {
            let address = own.peer_addr()?;
            for mut other in everybody.lock().unwrap().iter() {
                if other.peer_addr()? != address {
                    other.write_all(&frame)?;
                }
            }
            frame
        }
        Lie::Masks => encode_frame(true, Opcode::Text, message.payload(), Some([1, 2, 3, 4])),
        Lie::Closes => Close::new(CloseCode::NORMAL, "").frame().to_vec(),
        Lie::ResetsTheSecond => {
            // That ends its thread, which holds the last handle.
            let second = everybody.lock().unwrap().pop();
            second.into_iter().try_for_each(|second| second.shutdown(Shutdown::Read))?;
            frame
        }
        Lie::ClosesWithLines => Close::new(CloseCode::NORMAL, "one\n\u{1b}[31mtwo").frame().to_vec(),
        Lie::SaysMissed => [&encode(Opcode::Text, b"{\"missed\":1}")[..], &frame].concat(),
        _ => frame,
    })
}
