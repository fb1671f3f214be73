//! axum, as in its chat example: a broadcast channel for each room, two tasks for each member.
//!
//! As there, a member that falls a channel's length behind is dropped.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use axum::serve::ListenerExt;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpListener;
use tokio::sync::broadcast;

use super::{handshake, runtime};

/// The number of messages that a member may be behind, as in axum's example.
const BEHIND: usize = 100;
/// The same size as for the other peers, instead of 128 KiB.
const BUFFER: usize = 4096;

type Rooms = Arc<Mutex<HashMap<String, broadcast::Sender<Message>>>>;

/// Serves until it is killed.
pub(crate) fn serve(address: SocketAddr) -> std::io::Result<()> {
    runtime::run(async {
        let listener = TcpListener::from_std(handshake::listen(address)?)?.tap_io(|stream| {
            if let Err(error) = stream.set_nodelay(true) {
                eprintln!("a connection without TCP_NODELAY: {error}");
            }
        });
        let router = Router::new().route("/echo", get(echo)).route("/room/{name}", get(room));
        axum::serve(listener, router.with_state(Rooms::default())).await
    })
}

fn with_buffers(upgrade: WebSocketUpgrade) -> WebSocketUpgrade {
    upgrade.read_buffer_size(BUFFER).write_buffer_size(BUFFER)
}

async fn echo(upgrade: WebSocketUpgrade) -> Response {
    with_buffers(upgrade).on_upgrade(|mut socket| async move {
        while let Some(Ok(message)) = socket.recv().await {
            if is_data(&message) && socket.send(message).await.is_err() {
                break;
            }
        }
    })
}

async fn room(upgrade: WebSocketUpgrade, Path(name): Path<String>, State(rooms): State<Rooms>) -> Response {
    let mut rooms = rooms.lock().unwrap_or_else(PoisonError::into_inner);
    let sender = rooms.entry(name).or_insert_with(|| broadcast::channel(BEHIND).0).clone();
    drop(rooms);
    with_buffers(upgrade).on_upgrade(|socket| member(socket, sender))
}

async fn member(socket: WebSocket, room: broadcast::Sender<Message>) {
    let mut inbox = room.subscribe();
    let (mut sink, mut stream) = socket.split();
    let mut sending = tokio::spawn(async move {
        while let Ok(message) = inbox.recv().await {
            if sink.send(message).await.is_err() {
                break;
            }
        }
    });
    let mut receiving = tokio::spawn(async move {
        while let Some(Ok(message)) = stream.next().await {
            if is_data(&message) && room.send(message).is_err() {
                break;
            }
        }
    });
    tokio::select! {
        _ = &mut sending => receiving.abort(),
        _ = &mut receiving => sending.abort(),
    }
}

fn is_data(message: &Message) -> bool {
    matches!(message, Message::Text(_) | Message::Binary(_))
}
