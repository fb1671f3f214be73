//! The DevTools protocol of Chromium: calls and answers as JSON over one WebSocket.
//!
//! For: sending a call and waiting for its answer. Not for: any particular call. Rules: one call at
//! a time; events between call and answer are dropped. Only an uncaught exception of a page is
//! kept, because that page is broken even if nothing else shows it.

use serde_json::{Value, json};
use std::net::TcpStream;
use tungstenite::{Message, WebSocket};

use crate::wait::DEADLINE;

pub(crate) struct Connection {
    socket: WebSocket<TcpStream>,
    calls: u64,
    /// Uncaught exceptions of pages: the session of the page, and the text.
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

    /// Calls `method` of the browser, or of the page with this session, and waits for the answer.
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

    /// The uncaught exceptions of this session's page so far.
    pub(crate) fn thrown_in(&self, session: &str) -> Vec<String> {
        self.thrown.iter().filter(|(of, _)| of == session).map(|(_, words)| words.clone()).collect()
    }
}
