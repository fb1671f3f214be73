//! Responses: those of handlers, those of refusals, and how either is written.
//!
//! Pure. A refusal always ends its connection. Rule: every response carries `Content-Length` and
//! forbids guessing its type.

use std::borrow::Cow;

use bytes::Bytes;

/// A response to a request.
///
/// ```
/// use singletrack_web::http::Response;
///
/// let health = Response::text(200, "ok\n");
/// assert_eq!((health.status, &health.body[..]), (200, &b"ok\n"[..]));
/// assert!(health.encode(false, true).starts_with(b"HTTP/1.1 200 OK\r\n"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// Headers besides those of every response: `Content-Length`, `Connection`,
    /// `X-Content-Type-Options`.
    pub headers: Vec<(&'static str, Cow<'static, str>)>,
    /// The body.
    pub body: Bytes,
}

impl Response {
    /// Makes a response with a body of a type.
    ///
    /// ```
    /// use singletrack_web::http::Response;
    ///
    /// let stats = Response::new(200, "application/json", r#"{"rooms":7}"#);
    /// assert_eq!(stats.headers, [("Content-Type", "application/json".into())]);
    /// ```
    pub fn new(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Response {
        Response { status, headers: vec![("Content-Type", content_type.into())], body: body.into() }
    }

    /// Makes a response of plain text.
    ///
    /// ```
    /// use singletrack_web::http::Response;
    ///
    /// let missing = Response::text(404, "there is nothing here\n");
    /// assert_eq!(missing.status, 404);
    /// ```
    pub fn text(status: u16, body: impl Into<Bytes>) -> Response {
        Response::new(status, "text/plain; charset=utf-8", body)
    }

    /// Makes a page with its own styles and scripts, which loads nothing and may connect to this
    /// host only.
    ///
    /// ```
    /// use singletrack_web::http::Response;
    ///
    /// let page = Response::page("<!doctype html><title>chat</title>");
    /// assert!(page.headers.iter().any(|(name, _)| *name == "Content-Security-Policy"));
    /// ```
    pub fn page(html: &'static str) -> Response {
        Response::new(200, "text/html; charset=utf-8", Bytes::from_static(html.as_bytes()))
            .with(
                "Content-Security-Policy",
                "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                 connect-src 'self' ws: wss:; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            )
            .with("Referrer-Policy", "no-referrer")
            .with("Cache-Control", "no-cache")
    }

    /// Adds a header. Line ends in the value are left out, so that no value can become another
    /// header.
    ///
    /// ```
    /// use singletrack_web::http::Response;
    ///
    /// let moved = Response::text(301, "").with("Location", "/lobby\r\nSet-Cookie: a=b");
    /// let bytes = moved.encode(false, true);
    /// let text = std::str::from_utf8(&bytes).unwrap();
    /// assert!(text.contains("\r\nLocation: /lobbySet-Cookie: a=b\r\n"), "one header, whatever is in it");
    /// ```
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Response {
        let mut value = value.into();
        if value.contains(['\r', '\n']) {
            value = value.replace(['\r', '\n'], "").into();
        }
        self.headers.push((name, value));
        self
    }

    /// Encodes the response, without its body when the request was a `HEAD`. `keep_alive` says
    /// whether the connection stays open.
    ///
    /// ```
    /// use singletrack_web::http::Response;
    ///
    /// let response = Response::text(200, "ok\n");
    /// assert!(response.encode(false, true).ends_with(b"\r\n\r\nok\n"));
    /// assert!(response.encode(true, true).ends_with(b"\r\n\r\n"), "the head only");
    /// ```
    pub fn encode(&self, head_only: bool, keep_alive: bool) -> Bytes {
        let mut out = Vec::with_capacity(256 + self.body.len());
        let line = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        out.extend_from_slice(line.as_bytes());
        let mut has_connection = false;
        for (name, value) in &self.headers {
            has_connection |= name.eq_ignore_ascii_case("connection");
            push_header(&mut out, name, value);
        }
        push_header(&mut out, "Content-Length", &self.body.len().to_string());
        push_header(&mut out, "X-Content-Type-Options", "nosniff");
        if !has_connection {
            push_header(&mut out, "Connection", if keep_alive { "keep-alive" } else { "close" });
        }
        out.extend_from_slice(b"\r\n");
        if !head_only {
            out.extend_from_slice(&self.body);
        }
        Bytes::from(out)
    }
}

/// A refusal of a request: a status and a sentence for that peer alone.
///
/// ```
/// use singletrack_web::{Limits, Reject, http};
///
/// let refused: Reject = http::parse(b"GET / HTTP/1.1\r\n\r\n", &Limits::default()).unwrap_err();
/// assert_eq!(refused.to_string(), "400: a request has one Host header");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// The status.
    pub status: u16,
    /// The mistake, and the remedy.
    pub sentence: Cow<'static, str>,
    headers: Vec<(&'static str, &'static str)>,
}

impl Reject {
    /// Makes a refusal.
    ///
    /// ```
    /// use singletrack_web::Reject;
    ///
    /// fn check(name: &str) -> Result<&str, Reject> {
    ///     if name.is_empty() { Err(Reject::new(400, "give the room a name")) } else { Ok(name) }
    /// }
    /// assert_eq!(check("").unwrap_err().status, 400);
    /// ```
    pub fn new(status: u16, sentence: impl Into<Cow<'static, str>>) -> Reject {
        Reject { status, sentence: sentence.into(), headers: Vec::new() }
    }

    /// Adds a header.
    ///
    /// ```
    /// use singletrack_web::Reject;
    ///
    /// let refused = Reject::new(401, "sign in first").with("WWW-Authenticate", "Basic");
    /// let bytes = refused.encode();
    /// assert!(std::str::from_utf8(&bytes).unwrap().contains("\r\nWWW-Authenticate: Basic\r\n"));
    /// ```
    #[must_use]
    pub fn with(mut self, name: &'static str, value: &'static str) -> Reject {
        self.headers.push((name, value));
        self
    }

    /// 408: the head did not arrive in time.
    ///
    /// ```
    /// use singletrack_web::Reject;
    ///
    /// assert!(Reject::too_late().encode().starts_with(b"HTTP/1.1 408 "));
    /// ```
    pub fn too_late() -> Reject {
        Reject::new(408, "the request head did not arrive in time")
    }

    /// 426: only a WebSocket is served at this path, or only version 13 of it.
    ///
    /// ```
    /// use singletrack_web::Reject;
    ///
    /// let refused = Reject::upgrade_required("only WebSockets are served here");
    /// assert!(refused.encode().starts_with(b"HTTP/1.1 426 Upgrade Required\r\n"));
    /// ```
    pub fn upgrade_required(sentence: &'static str) -> Reject {
        Reject::new(426, sentence)
            .with("Upgrade", "websocket")
            .with("Connection", "upgrade, close")
            .with("Sec-WebSocket-Version", "13")
    }

    /// 503: there is no room for this now.
    ///
    /// ```
    /// use singletrack_web::Reject;
    ///
    /// let bytes = Reject::busy("the room is full").encode();
    /// assert!(std::str::from_utf8(&bytes).unwrap().contains("\r\nRetry-After: 5\r\n"));
    /// ```
    pub fn busy(sentence: impl Into<Cow<'static, str>>) -> Reject {
        Reject::new(503, sentence).with("Retry-After", "5")
    }

    /// The refusal as a response with the sentence as its text.
    ///
    /// ```
    /// use singletrack_web::Reject;
    ///
    /// let response = Reject::new(404, "there is nothing here").response();
    /// assert_eq!((response.status, &response.body[..]), (404, &b"there is nothing here\n"[..]));
    /// ```
    pub fn response(&self) -> Response {
        let mut response = Response::text(self.status, format!("{}\n", self.sentence));
        for (name, value) in &self.headers {
            response = response.with(name, *value);
        }
        response
    }

    /// The bytes to send before the connection is closed.
    ///
    /// ```
    /// use singletrack_web::Reject;
    ///
    /// let bytes = Reject::new(403, "not for you").encode();
    /// let text = std::str::from_utf8(&bytes).unwrap();
    /// assert!(text.starts_with("HTTP/1.1 403 Forbidden\r\n") && text.contains("\r\nConnection: close\r\n"));
    /// ```
    pub fn encode(&self) -> Bytes {
        self.response().encode(false, false)
    }
}

impl std::fmt::Display for Reject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.status, self.sentence)
    }
}

impl std::error::Error for Reject {}

/// The response that makes a connection a WebSocket, without extensions and subprotocols.
///
/// ```
/// use singletrack_web::{http, ws};
///
/// let answer = http::switching_protocols(&ws::accept_key("dGhlIHNhbXBsZSBub25jZQ=="));
/// assert!(answer.starts_with(b"HTTP/1.1 101 Switching Protocols\r\n"));
/// ```
pub fn switching_protocols(accept_key: &str) -> Bytes {
    let mut out = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n".to_vec();
    push_header(&mut out, "Sec-WebSocket-Accept", accept_key);
    out.extend_from_slice(b"\r\n");
    Bytes::from(out)
}

fn push_header(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The usual reason phrase of a status.
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Status",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(bytes: &Bytes) -> String {
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[test]
    fn an_answer_has_its_length_and_says_whether_the_connection_goes_on() {
        let said = written(&Response::text(200, "ok\n").encode(false, true));
        assert_eq!(
            said,
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 3\r\n\
             X-Content-Type-Options: nosniff\r\nConnection: keep-alive\r\n\r\nok\n"
        );
        let said = written(&Response::text(200, "ok\n").encode(true, false));
        assert!(said.ends_with("Content-Length: 3\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"));
    }

    #[test]
    fn a_value_cannot_smuggle_a_header_in() {
        let said =
            written(&Response::text(200, "").with("X-Name", String::from("a\r\nSet-Cookie: b")).encode(true, true));
        assert!(said.contains("X-Name: aSet-Cookie: b\r\n"), "{said}");
    }

    #[test]
    fn a_refusal_closes_and_tells_why() {
        let said = written(&Reject::upgrade_required("only WebSockets here").encode());
        assert!(said.starts_with("HTTP/1.1 426 Upgrade Required\r\n"), "{said}");
        assert!(said.contains("\r\nSec-WebSocket-Version: 13\r\n"), "{said}");
        assert!(said.contains("\r\nUpgrade: websocket\r\n"), "{said}");
        assert_eq!(said.matches("Connection:").count(), 1, "{said}");
        assert!(said.ends_with("\r\n\r\nonly WebSockets here\n"), "{said}");
        assert!(written(&Reject::busy("full").encode()).contains("\r\nRetry-After: 5\r\n"));
        assert!(written(&Reject::too_late().encode()).starts_with("HTTP/1.1 408 Request Timeout\r\n"));
        assert!(written(&Reject::new(400, "no").encode()).contains("\r\nConnection: close\r\n"));
    }

    #[test]
    fn switching_protocols_has_the_key_and_no_length() {
        assert_eq!(
            written(&switching_protocols("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")),
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
        );
    }

    #[test]
    fn every_status_that_is_sent_has_its_phrase() {
        let sent =
            [200, 204, 301, 302, 304, 400, 401, 403, 404, 405, 408, 413, 414, 417, 426, 429, 431, 500, 501, 503, 505];
        assert!(sent.iter().all(|&status| reason(status) != reason(299)));
    }
}
