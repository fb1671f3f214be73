//! The DevTools protocol of Chromium: calls and answers as JSON over one WebSocket.
//!
//! For: sending a call and waiting for its answer. Not for: knowing any particular call. Rules: one call at a time;
//! events between call and answer are dropped, except an exception that a page did not catch, which is kept, because a
//! page that throws is broken even where nothing else shows it.

use serde_json::{Value, json};
use std::net::TcpStream;
use tungstenite::{Message, WebSocket};

use crate::wait::DEADLINE;

pub(crate) struct Connection {
    socket: WebSocket<TcpStream>,
    calls: u64,
    /// What pages threw and did not catch: the session of the page, and the words.
    thrown: Vec<(String, String)>,
}

impl Connection {
    /// Connects to `ws://host:port/path`.
    pub(crate) fn open(url: &str) -> Result<Connection, String> {
        let host = url.strip_prefix("ws://").and_then(|rest| rest.split('/').next());
        let host = host.ok_or_else(|| format!("the browser gave an address that is not ws://: {url}"))?;
        let stream = TcpStream::connect(host).map_err(|e| format!("cannot connect to the browser at {host}: {e}"))?;
        stream.set_read_timeout(Some(DEADLINE)).map_err(|e| format!("cannot set a deadline: {e}"))?;
        let (socket, _) = tungstenite::client(url, stream).map_err(|e| format!("the browser refused {url}: {e}"))?;
        Ok(Connection { socket, calls: 0, thrown: Vec::new() })
    }

    /// Calls `method`, of the page with this session or of the browser, and waits for the answer.
    pub(crate) fn call(&mut self, session: Option<&str>, method: &str, parameters: Value) -> Result<Value, String> {
        self.calls += 1;
        let mut call = json!({ "id": self.calls, "method": method, "params": parameters });
        if let Some(session) = session {
            call["sessionId"] = session.into();
        }
        self.socket
            .send(Message::text(call.to_string()))
            .map_err(|e| format!("cannot ask the browser to {method}: {e}"))?;
        loop {
            let message = self.socket.read().map_err(|e| format!("the browser did not answer {method}: {e}"))?;
            let Message::Text(text) = message else {
                continue;
            };
            let mut answer: Value =
                serde_json::from_str(&text).map_err(|e| format!("the browser answered {method} with no JSON: {e}"))?;
            if answer["method"] == "Runtime.exceptionThrown" {
                let details = &answer["params"]["exceptionDetails"];
                let words = details["exception"]["description"].as_str().or(details["text"].as_str());
                let session = answer["sessionId"].as_str().unwrap_or_default();
                self.thrown.push((session.to_string(), words.unwrap_or("something").to_string()));
            }
            if answer["id"] == self.calls {
                return match answer.get("error") {
                    Some(error) => Err(format!("the browser could not {method}: {error}")),
                    None => Ok(answer["result"].take()),
                };
            }
        }
    }

    /// What the page of this session threw and did not catch, so far.
    pub(crate) fn thrown_in(&self, session: &str) -> Vec<String> {
        self.thrown.iter().filter(|(of, _)| of == session).map(|(_, words)| words.clone()).collect()
    }
}
