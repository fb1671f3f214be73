//! tokio-tungstenite with buffers of 4 KiB: a task for each connection, an unbounded channel for
//! each member of a room.
//!
//! Rule: all messages that wait for a member are fed to its socket as one batch and flushed once.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::StatusCode;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::handshake::Wish;
use super::runtime;

const BUFFER: usize = 4096;

type Socket = WebSocketStream<TcpStream>;

#[derive(Default)]
struct Room {
    members: Mutex<Members>,
}

#[derive(Default)]
struct Members {
    next: u64,
    all: Vec<(u64, UnboundedSender<Message>)>,
}

type Rooms = Arc<Mutex<HashMap<String, Arc<Room>>>>;

/// Serves until it is killed.
pub(crate) fn serve(address: SocketAddr) -> std::io::Result<()> {
    let rooms = Rooms::default();
    runtime::serve(address, move |stream| {
        let rooms = Arc::clone(&rooms);
        async move {
            // The load generator judges how a connection ends.
            let _ = connection(stream, &rooms).await;
        }
    })
}

async fn connection(stream: TcpStream, rooms: &Mutex<HashMap<String, Arc<Room>>>) -> Result<(), Error> {
    let config = WebSocketConfig::default().read_buffer_size(BUFFER).write_buffer_size(BUFFER);
    let mut wish = None;
    // The size of the error is the library's choice.
    #[expect(clippy::result_large_err)]
    let callback = |request: &Request, response: Response| {
        wish = Wish::of(request.uri().path());
        if wish.is_some() {
            return Ok(response);
        }
        let mut refusal = ErrorResponse::new(None);
        *refusal.status_mut() = StatusCode::NOT_FOUND;
        Err(refusal)
    };
    let mut socket = tokio_tungstenite::accept_hdr_async_with_config(stream, callback, Some(config)).await?;
    match wish {
        Some(Wish::Room(name)) => {
            let room = Arc::clone(locked(rooms).entry(name).or_default());
            member(socket, &room).await
        }
        _ => {
            while let Some(message) = socket.next().await {
                let message = message?;
                if is_data(&message) {
                    socket.send(message).await?;
                }
            }
            Ok(())
        }
    }
}

async fn member(mut socket: Socket, room: &Room) -> Result<(), Error> {
    let (sender, mut inbox) = unbounded_channel();
    let number = room.join(sender);
    let result = loop {
        tokio::select! {
            message = socket.next() => match message {
                Some(Ok(message)) if is_data(&message) => room.broadcast(&message),
                Some(Ok(_)) => {}
                Some(Err(error)) => break Err(error),
                None => break Ok(()),
            },
            Some(message) = inbox.recv() => {
                let mut next = Some(message);
                let mut fed = Ok(());
                while let (Some(message), Ok(())) = (next.take(), &fed) {
                    fed = socket.feed(message).await;
                    next = inbox.try_recv().ok();
                }
                if let Err(error) = fed.and(socket.flush().await) {
                    break Err(error);
                }
            }
        }
    };
    room.leave(number);
    result
}

fn is_data(message: &Message) -> bool {
    message.is_text() || message.is_binary()
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Room {
    fn join(&self, sender: UnboundedSender<Message>) -> u64 {
        let mut members = locked(&self.members);
        members.next += 1;
        let number = members.next;
        members.all.push((number, sender));
        number
    }

    fn leave(&self, number: u64) {
        locked(&self.members).all.retain(|(other, _)| *other != number);
    }

    fn broadcast(&self, message: &Message) {
        for (_, member) in &locked(&self.members).all {
            // A member that has just ended removes itself from the list.
            let _ = member.send(message.clone());
        }
    }
}
