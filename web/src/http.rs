//! HTTP/1.1 request heads as pure data: bytes in, a [`Request`] or a [`Reject`] out. The only door
//! to httparse.
//!
//! Not for: bodies (a small one is announced in [`Request::body`] and skipped by the caller),
//! routing, sockets, time. `http/response.rs` makes the responses; `http/upgrade.rs` has the rules
//! for WebSocket handshakes and origins.
//! Rules: a request that two parsers could read differently is refused, never guessed (both kinds
//! of length, a bare line feed, folded lines, two hosts, an encoded slash). After a refusal the
//! connection ends, because the start of the next request is unknown.

mod response;
mod upgrade;

use bytes::Bytes;

use crate::limits::{Limits, MAX_HEADERS};

pub use response::{Reject, Response, switching_protocols};
pub use upgrade::{OriginPolicy, Upgrade};

/// The methods that are served.
///
/// ```
/// use singletrack_web::{Limits, http};
///
/// let head = b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n";
/// let (request, _) = http::parse(head, &Limits::default())?.expect("a whole head");
/// assert_eq!(request.method(), http::Method::Head);
/// # Ok::<(), http::Reject>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Method {
    /// Requests a page, or an upgrade to a WebSocket.
    Get,
    /// Requests the head of a page only.
    Head,
}

/// A request head that keeps all the rules.
///
/// ```
/// use singletrack_web::{Limits, Request, http};
///
/// fn greeting(request: &Request) -> String {
///     format!("hello, {}", request.query().unwrap_or("stranger"))
/// }
/// let head = b"GET /?ada HTTP/1.1\r\nHost: localhost\r\n\r\n";
/// let (request, _) = http::parse(head, &Limits::default())?.expect("a whole head");
/// assert_eq!(greeting(&request), "hello, ada");
/// # Ok::<(), http::Reject>(())
/// ```
#[derive(Clone, Debug)]
pub struct Request {
    method: Method,
    path: String,
    query: Option<String>,
    host: String,
    http11: bool,
    keep_alive: bool,
    body: usize,
    upgrade: Option<Upgrade>,
    head: Bytes,
    /// The position of each name and value in `head`: starts and lengths.
    headers: Vec<(Span, Span)>,
}

type Span = (usize, usize);

impl Request {
    /// The method.
    ///
    /// ```
    /// use singletrack_web::{Limits, http::{self, Method}};
    ///
    /// let head = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    /// let (request, _) = http::parse(head, &Limits::default())?.expect("a whole head");
    /// assert_eq!(request.method(), Method::Get);
    /// let refused = http::parse(b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\n", &Limits::default()).unwrap_err();
    /// assert_eq!(refused.status, 405, "other methods are refused");
    /// # Ok::<(), http::Reject>(())
    /// ```
    pub fn method(&self) -> Method {
        self.method
    }

    /// The path, percent-decoded, without the query; it begins with `/`.
    ///
    /// ```
    /// use singletrack_web::{Limits, http};
    ///
    /// let head = b"GET /caf%C3%A9?table=7 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    /// let (request, _) = http::parse(head, &Limits::default())?.expect("a whole head");
    /// assert_eq!(request.path(), "/café");
    /// # Ok::<(), http::Reject>(())
    /// ```
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The query behind `?`, as it was sent.
    ///
    /// ```
    /// use singletrack_web::{Limits, http};
    ///
    /// let head = b"GET /search?q=tea%20cup HTTP/1.1\r\nHost: localhost\r\n\r\n";
    /// let (request, _) = http::parse(head, &Limits::default())?.expect("a whole head");
    /// assert_eq!(request.query(), Some("q=tea%20cup"));
    /// # Ok::<(), http::Reject>(())
    /// ```
    pub fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    /// The host, and the port if one was given, in lower case. Empty only for an HTTP/1.0 request
    /// without a `Host`.
    ///
    /// ```
    /// use singletrack_web::{Limits, http};
    ///
    /// let head = b"GET / HTTP/1.1\r\nHost: Chat.Example.org:8080\r\n\r\n";
    /// let (request, _) = http::parse(head, &Limits::default())?.expect("a whole head");
    /// assert_eq!(request.host(), "chat.example.org:8080");
    /// # Ok::<(), http::Reject>(())
    /// ```
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns whether it is HTTP/1.1 (otherwise 1.0).
    ///
    /// ```
    /// use singletrack_web::{Limits, http};
    ///
    /// let (old, _) = http::parse(b"GET / HTTP/1.0\r\n\r\n", &Limits::default())?.expect("a whole head");
    /// assert!(!old.is_http11());
    /// # Ok::<(), http::Reject>(())
    /// ```
    pub fn is_http11(&self) -> bool {
        self.http11
    }

    /// Returns whether the connection may serve another request after this one.
    ///
    /// ```
    /// use singletrack_web::{Limits, http};
    ///
    /// let head = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    /// let (request, _) = http::parse(head, &Limits::default())?.expect("a whole head");
    /// assert!(!request.keep_alive());
    /// # Ok::<(), http::Reject>(())
    /// ```
    pub fn keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// The length of the body behind the head, at most [`Limits::body_bytes`]. The caller must skip
    /// it.
    ///
    /// ```
    /// use singletrack_web::{Limits, http};
    ///
    /// let input = b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabcGET /next";
    /// let (request, head) = http::parse(input, &Limits::default())?.expect("a whole head");
    /// let next = &input[head + request.body()..];
    /// assert_eq!(next, b"GET /next");
    /// # Ok::<(), http::Reject>(())
    /// ```
    pub fn body(&self) -> usize {
        self.body
    }

    /// The WebSocket handshake in the request, if there is one; its rules are checked.
    ///
    /// ```
    /// use singletrack_web::{Limits, http};
    ///
    /// let head = b"GET /echo HTTP/1.1\r\nHost: localhost\r\n\r\n";
    /// let (plain, _) = http::parse(head, &Limits::default())?.expect("a whole head");
    /// assert!(plain.upgrade().is_none(), "an ordinary request");
    /// # Ok::<(), http::Reject>(())
    /// ```
    pub fn upgrade(&self) -> Option<&Upgrade> {
        self.upgrade.as_ref()
    }

    /// The first header of this name; case does not matter.
    ///
    /// ```
    /// use singletrack_web::{Limits, http};
    ///
    /// let head = b"GET / HTTP/1.1\r\nHost: localhost\r\nCookie: theme=dark\r\n\r\n";
    /// let (request, _) = http::parse(head, &Limits::default())?.expect("a whole head");
    /// assert_eq!(request.header("cookie"), Some(&b"theme=dark"[..]));
    /// # Ok::<(), http::Reject>(())
    /// ```
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// All headers in the order in which they came.
    ///
    /// ```
    /// use singletrack_web::{Limits, http};
    ///
    /// let head = b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n";
    /// let (request, _) = http::parse(head, &Limits::default())?.expect("a whole head");
    /// let names: Vec<_> = request.headers().map(|(name, _)| name).collect();
    /// assert_eq!(names, ["Host", "Accept"]);
    /// # Ok::<(), http::Reject>(())
    /// ```
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.headers.iter().filter_map(|&((name, name_len), (value, value_len))| {
            let name = std::str::from_utf8(self.head.get(name..name + name_len)?).ok()?;
            Some((name, self.head.get(value..value + value_len)?))
        })
    }
}

/// Reads a request head from the front of `input`.
///
/// Returns the request and the length of its head, or `None` while the head is incomplete.
///
/// ```
/// use singletrack_web::{Limits, http};
///
/// let input = b"GET /index HTTP/1.1\r\nHost: localhost\r\n\r\n";
/// assert!(http::parse(&input[..20], &Limits::default())?.is_none(), "read more");
/// let (request, length) = http::parse(input, &Limits::default())?.expect("a whole head");
/// assert_eq!((request.path(), length), ("/index", input.len()));
/// # Ok::<(), http::Reject>(())
/// ```
///
/// # Errors
/// A [`Reject`] with the status and the sentence for a request that breaks a rule or a limit; close
/// the connection after it.
pub fn parse(input: &[u8], limits: &Limits) -> Result<Option<(Request, usize)>, Reject> {
    parse_more(input, 0, limits)
}

/// Like [`parse`], for input whose first `seen` bytes were an incomplete head before.
///
/// This keeps the cost of a head that arrives byte by byte in proportion to its length.
///
/// ```
/// use singletrack_web::{Limits, http};
///
/// let mut input = Vec::new();
/// for piece in [&b"GET /index HT"[..], b"TP/1.1\r\nHost: local", b"host\r\n\r\n"] {
///     let seen = input.len();
///     input.extend_from_slice(piece);
///     if let Some((request, _)) = http::parse_more(&input, seen, &Limits::default())? {
///         assert_eq!(request.path(), "/index");
///     }
/// }
/// # Ok::<(), http::Reject>(())
/// ```
///
/// # Errors
/// As for [`parse`].
pub fn parse_more(input: &[u8], seen: usize, limits: &Limits) -> Result<Option<(Request, usize)>, Reject> {
    let within = &input[..input.len().min(limits.head_bytes)];
    let fresh = seen.min(within.len()).saturating_sub(3);
    let fresh = &within[fresh..];
    let ends = fresh.windows(4).any(|end| end == b"\r\n\r\n");
    // A bare line feed counts as the end of a line, too: it is refused at once.
    let bare = fresh.windows(2).any(|pair| pair[0] != b'\r' && pair[1] == b'\n');
    if seen > 0 && !ends && !bare && input.len() < limits.head_bytes {
        return Ok(None);
    }
    let most = limits.head_headers.min(MAX_HEADERS);
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut head = httparse::Request::new(&mut headers[..most]);
    match head.parse(within) {
        Ok(httparse::Status::Complete(used)) => {
            refuse_bare_line_feeds(&within[..used])?;
            Ok(Some((check(&head, &within[..used], limits)?, used)))
        }
        Ok(httparse::Status::Partial) if input.len() < limits.head_bytes => {
            refuse_bare_line_feeds(within)?;
            Ok(None)
        }
        Ok(httparse::Status::Partial) => Err(if within.contains(&b'\n') {
            Reject::new(431, format!("a request head has at most {} bytes", limits.head_bytes))
        } else {
            Reject::new(414, format!("a request line and its headers have at most {} bytes", limits.head_bytes))
        }),
        Err(httparse::Error::TooManyHeaders) => Err(Reject::new(431, format!("a request has at most {most} headers"))),
        Err(httparse::Error::Version) => Err(Reject::new(505, "this server speaks HTTP/1.1 and HTTP/1.0")),
        Err(httparse::Error::Token) => Err(Reject::new(400, "malformed request line")),
        Err(httparse::Error::NewLine) => Err(Reject::new(400, "malformed line end")),
        Err(_) => Err(Reject::new(400, "malformed header")),
    }
}

/// Proxies differ on whether a lone line feed ends a line.
fn refuse_bare_line_feeds(head: &[u8]) -> Result<(), Reject> {
    let bare = head.iter().enumerate().any(|(i, &b)| b == b'\n' && (i == 0 || head[i - 1] != b'\r'));
    if bare { Err(Reject::new(400, "lines end with a carriage return and a line feed")) } else { Ok(()) }
}

fn check(head: &httparse::Request<'_, '_>, bytes: &[u8], limits: &Limits) -> Result<Request, Reject> {
    let headers = &*head.headers;
    let http11 = head.version == Some(1);
    let method = match head.method.unwrap_or_default() {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" | "PUT" | "DELETE" | "CONNECT" | "OPTIONS" | "TRACE" | "PATCH" => {
            return Err(Reject::new(405, "only GET and HEAD are served here").with("Allow", "GET, HEAD"));
        }
        _ => return Err(Reject::new(501, "unknown method")),
    };
    let body = body(headers, limits)?;
    let (authority, target) = split_target(head.path.unwrap_or_default())?;
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (target, None),
    };
    let path = decode_path(path)?;
    let host = match only(headers, "host", "a request has one Host header")? {
        Some(host) => text(host)?,
        None if http11 => return Err(Reject::new(400, "a request has one Host header")),
        None => "",
    };
    let host = authority.unwrap_or(host).to_ascii_lowercase();
    if !host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~:[]%".contains(&b)) {
        return Err(Reject::new(400, "the Host header is not a host"));
    }
    let keep_alive = if http11 {
        !lists(headers, "connection", "close")
    } else {
        lists(headers, "connection", "keep-alive") && !lists(headers, "connection", "close")
    };
    let upgrade = upgrade::check(headers, method, http11, body)?;
    let span = |part: &[u8]| (part.as_ptr() as usize - bytes.as_ptr() as usize, part.len());
    let spans = headers.iter().map(|h| (span(h.name.as_bytes()), span(h.value))).collect();
    let head = Bytes::copy_from_slice(bytes);
    Ok(Request { method, path, query, host, http11, keep_alive, body, upgrade, head, headers: spans })
}

/// The length of the body. A request that could be read in two ways is refused.
fn body(headers: &[httparse::Header<'_>], limits: &Limits) -> Result<usize, Reject> {
    let length = only(headers, "content-length", "a request has one Content-Length at most")?;
    if named(headers, "transfer-encoding").next().is_some() {
        return Err(match length {
            Some(_) => Reject::new(400, "Content-Length and Transfer-Encoding exclude each other"),
            None => Reject::new(501, "Transfer-Encoding is not supported"),
        });
    }
    let Some(length) = length else { return Ok(0) };
    if length.is_empty() || !length.iter().all(u8::is_ascii_digit) {
        return Err(Reject::new(400, "Content-Length is not a number"));
    }
    // Digits that do not fit into a number are too many bytes, too.
    let length = text(length)?.parse().unwrap_or(usize::MAX);
    if length > limits.body_bytes {
        return Err(Reject::new(413, format!("a request body has at most {} bytes", limits.body_bytes)));
    }
    if length > 0 && named(headers, "expect").next().is_some() {
        return Err(Reject::new(417, "no request here needs a body"));
    }
    Ok(length)
}

/// Splits a target of the form `http://host/path` into host and path; most targets are only a path.
fn split_target(target: &str) -> Result<(Option<&str>, &str), Reject> {
    if target.starts_with('/') {
        return Ok((None, target));
    }
    let scheme = target.find("://").map(|end| (&target[..end], &target[end + 3..]));
    match scheme {
        Some((scheme, rest)) if ["http", "https", "ws", "wss"].iter().any(|s| scheme.eq_ignore_ascii_case(s)) => {
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            let (authority, path) = rest.split_at(end);
            if authority.is_empty() {
                return Err(Reject::new(400, "the target has no host"));
            }
            Ok((Some(authority), if path.is_empty() { "/" } else { path }))
        }
        _ => Err(Reject::new(400, "the target is not a path")),
    }
}

/// Undoes percent-encoding. An encoded slash is refused: it would change the segments.
fn decode_path(path: &str) -> Result<String, Reject> {
    let mut decoded = Vec::with_capacity(path.len().max(1));
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
                let (Some(high), Some(low)) = (digit(bytes.next()), digit(bytes.next())) else {
                    return Err(Reject::new(400, "a percent sign in the path needs two hex digits"));
                };
                match (high * 16 + low) as u8 {
                    b'/' => {
                        return Err(Reject::new(400, "an encoded slash cannot be part of a path here"));
                    }
                    control if control.is_ascii_control() => {
                        return Err(Reject::new(400, "a control character cannot be part of a path"));
                    }
                    other => other,
                }
            }
            other => other,
        });
    }
    if !decoded.starts_with(b"/") {
        decoded.insert(0, b'/');
    }
    String::from_utf8(decoded).map_err(|_| Reject::new(400, "the path is not UTF-8"))
}

fn named<'h>(headers: &'h [httparse::Header<'h>], name: &'h str) -> impl Iterator<Item = &'h [u8]> {
    headers.iter().filter(move |h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value)
}

/// The value of a header that must not appear twice.
fn only<'h>(
    headers: &'h [httparse::Header<'h>],
    name: &'h str,
    sentence: &'static str,
) -> Result<Option<&'h [u8]>, Reject> {
    let mut values = named(headers, name);
    let first = values.next();
    if values.next().is_some() { Err(Reject::new(400, sentence)) } else { Ok(first) }
}

/// Whether a comma-separated header, which may appear more than once, lists a token.
fn lists(headers: &[httparse::Header<'_>], name: &str, token: &str) -> bool {
    named(headers, name)
        .any(|value| value.split(|&b| b == b',').any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes())))
}

fn text(value: &[u8]) -> Result<&str, Reject> {
    std::str::from_utf8(value).map_err(|_| Reject::new(400, "a header that must be ASCII is not"))
}

#[cfg(test)]
mod tests;
