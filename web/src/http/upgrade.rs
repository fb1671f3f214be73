//! WebSocket handshakes: finds them, checks their rules (RFC 6455 4.2.1) and the origins of their
//! pages.
//!
//! Pure. Extensions and subprotocols that a client offers are ignored, as the standard allows. The
//! proof of the handshake for the client is made in `ws`.

use super::{Method, Reject, Request, lists, only, text};

/// A valid WebSocket handshake.
///
/// ```
/// use singletrack_web::{Limits, http, ws};
///
/// let head = b"GET /echo HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
///              Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
/// let (request, _) = http::parse(head, &Limits::default())?.expect("a whole head");
/// let upgrade: &http::Upgrade = request.upgrade().expect("a handshake");
/// assert!(ws::accept(upgrade).starts_with(b"HTTP/1.1 101 "));
/// # Ok::<(), http::Reject>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade {
    key: String,
    origin: Option<String>,
}

impl Upgrade {
    /// The client's `Sec-WebSocket-Key`.
    ///
    /// ```
    /// use singletrack_web::{Limits, http};
    ///
    /// let head = b"GET /echo HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    ///              Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    /// let (request, _) = http::parse(head, &Limits::default())?.expect("a whole head");
    /// assert_eq!(request.upgrade().map(|upgrade| upgrade.key()), Some("dGhlIHNhbXBsZSBub25jZQ=="));
    /// # Ok::<(), http::Reject>(())
    /// ```
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The origin of the page that opened it; browsers always send it, other programs rarely.
    ///
    /// ```
    /// use singletrack_web::{Limits, http};
    ///
    /// let head = b"GET /echo HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    ///              Origin: https://chat.example.org\r\n\
    ///              Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    /// let (request, _) = http::parse(head, &Limits::default())?.expect("a whole head");
    /// let page = request.upgrade().and_then(|upgrade| upgrade.origin());
    /// assert_eq!(page, Some("https://chat.example.org"));
    /// # Ok::<(), http::Reject>(())
    /// ```
    pub fn origin(&self) -> Option<&str> {
        self.origin.as_deref()
    }
}

/// Finds the handshake in a head. A request to upgrade to any other protocol is served as if it had
/// not asked.
pub(super) fn check(
    headers: &[httparse::Header<'_>],
    method: Method,
    http11: bool,
    body: usize,
) -> Result<Option<Upgrade>, Reject> {
    if !lists(headers, "upgrade", "websocket") {
        return Ok(None);
    }
    if !lists(headers, "connection", "upgrade") {
        return Err(Reject::new(400, "a WebSocket handshake has the header Connection: Upgrade"));
    }
    if method != Method::Get || !http11 || body > 0 {
        return Err(Reject::new(400, "a WebSocket handshake is an HTTP/1.1 GET without a body"));
    }
    match only(headers, "sec-websocket-version", "a handshake has one Sec-WebSocket-Version")? {
        Some(b"13") => {}
        Some(_) => {
            return Err(Reject::upgrade_required("this server speaks version 13 of the WebSocket protocol"));
        }
        None => return Err(Reject::new(400, "a handshake has a Sec-WebSocket-Version")),
    }
    let key = only(headers, "sec-websocket-key", "a handshake has one Sec-WebSocket-Key")?;
    let key = key.ok_or_else(|| Reject::new(400, "a handshake has a Sec-WebSocket-Key"))?;
    let is_digit = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/');
    if key.len() != 24 || !key.ends_with(b"==") || !key[..22].iter().all(is_digit) {
        return Err(Reject::new(400, "Sec-WebSocket-Key is not 16 bytes in base64"));
    }
    let origin = only(headers, "origin", "a handshake has one Origin at most")?;
    let origin = origin.map(text).transpose()?.map(str::to_owned);
    Ok(Some(Upgrade { key: text(key)?.to_owned(), origin }))
}

/// The pages that may open WebSockets. Browsers let any page connect anywhere, so the server has to
/// check.
///
/// Programs other than browsers send no `Origin` and are always allowed.
///
/// ```
/// use singletrack_web::{Limits, OriginPolicy, http};
///
/// let head = b"GET /echo HTTP/1.1\r\nHost: bank.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
///              Origin: https://evil.example\r\n\
///              Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
/// let (request, _) = http::parse(head, &Limits::default())?.expect("a whole head");
/// assert!(OriginPolicy::SameHost.check(&request).is_err(), "a page of another host");
/// assert!(OriginPolicy::Any.check(&request).is_ok());
/// # Ok::<(), http::Reject>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OriginPolicy {
    /// Pages of the host that the request names, with any scheme (a proxy may have removed TLS).
    #[default]
    SameHost,
    /// Pages of the same host and of these origins, such as `https://chat.example.org`.
    Listed(Vec<String>),
    /// Pages from anywhere.
    Any,
}

impl OriginPolicy {
    /// Reads an option's value: `*`, or origins separated by commas.
    ///
    /// ```
    /// use singletrack_web::OriginPolicy;
    ///
    /// assert_eq!(OriginPolicy::parse("*"), OriginPolicy::Any);
    /// assert_eq!(OriginPolicy::parse(""), OriginPolicy::SameHost);
    /// let listed = OriginPolicy::parse("https://a.example, https://b.example/");
    /// assert_eq!(listed, OriginPolicy::Listed(vec!["https://a.example".into(), "https://b.example".into()]));
    /// ```
    pub fn parse(value: &str) -> OriginPolicy {
        let listed: Vec<String> =
            value.split(',').map(|o| o.trim().trim_end_matches('/').to_owned()).filter(|o| !o.is_empty()).collect();
        match listed.as_slice() {
            [] => OriginPolicy::SameHost,
            _ if listed.iter().any(|o| o == "*") => OriginPolicy::Any,
            _ => OriginPolicy::Listed(listed),
        }
    }

    /// Allows or refuses a handshake.
    ///
    /// ```
    /// use singletrack_web::{Limits, OriginPolicy, http};
    ///
    /// let head = b"GET /echo HTTP/1.1\r\nHost: localhost\r\n\r\n";
    /// let (request, _) = http::parse(head, &Limits::default())?.expect("a whole head");
    /// assert!(OriginPolicy::SameHost.check(&request).is_ok(), "no page sent it");
    /// # Ok::<(), http::Reject>(())
    /// ```
    ///
    /// # Errors
    /// 403, for a page that may not connect.
    pub fn check(&self, request: &Request) -> Result<(), Reject> {
        let Some(origin) = request.upgrade().and_then(Upgrade::origin) else {
            return Ok(());
        };
        let allowed = match self {
            OriginPolicy::Any => true,
            OriginPolicy::SameHost => same_host(origin, request.host()),
            OriginPolicy::Listed(listed) => {
                same_host(origin, request.host()) || listed.iter().any(|o| o.eq_ignore_ascii_case(origin))
            }
        };
        if allowed { Ok(()) } else { Err(Reject::new(403, "pages of this origin may not connect here")) }
    }
}

/// Compares an origin with a host; the default port of the origin's scheme may be left out on
/// either side.
fn same_host(origin: &str, host: &str) -> bool {
    let (port, authority) = match origin.split_once("://") {
        Some(("http", authority)) => (":80", authority),
        Some(("https", authority)) => (":443", authority),
        _ => return false,
    };
    let plain = |name: &str| name.strip_suffix(port).unwrap_or(name).to_ascii_lowercase();
    !host.is_empty() && plain(authority) == plain(host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::parse;
    use crate::limits::Limits;

    fn request(host: &str, origin: &str) -> Request {
        let origin = if origin.is_empty() { String::new() } else { format!("Origin: {origin}\r\n") };
        let head = format!(
            "GET /echo HTTP/1.1\r\nHost: {host}\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n{origin}\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        parse(head.as_bytes(), &Limits::default()).unwrap().unwrap().0
    }

    #[test]
    fn pages_of_the_same_host_and_programs_are_let_in() {
        let policy = OriginPolicy::default();
        let pairs = [
            ("example.org", "http://example.org"),
            ("example.org", "https://example.org"),
            ("example.org:80", "http://example.org"),
            ("example.org", "https://example.org:443"),
            ("Example.Org:8080", "http://example.org:8080"),
            ("[::1]:8080", "http://[::1]:8080"),
            ("example.org", ""),
        ];
        for (host, origin) in pairs {
            assert_eq!(policy.check(&request(host, origin)), Ok(()), "{host} {origin}");
        }
    }

    #[test]
    fn pages_of_other_hosts_are_refused() {
        for origin in ["http://evil.example", "http://example.org:81", "null", "file://", "example.org", "http://"] {
            let refused = OriginPolicy::SameHost.check(&request("example.org", origin)).unwrap_err();
            assert_eq!(refused.status, 403, "{origin}");
        }
    }

    #[test]
    fn an_option_lists_more_origins_or_all() {
        let policy = OriginPolicy::parse("https://a.example/, http://b.example:81");
        for (origin, ok) in [
            ("https://a.example", true),
            ("http://a.example", false),
            ("http://b.example:81", true),
            ("http://example.org", true),
            ("http://c.example", false),
        ] {
            assert_eq!(policy.check(&request("example.org", origin)).is_ok(), ok, "{origin}");
        }
        assert_eq!(OriginPolicy::parse("*"), OriginPolicy::Any);
        assert_eq!(OriginPolicy::parse(" "), OriginPolicy::SameHost);
        assert_eq!(OriginPolicy::Any.check(&request("example.org", "null")), Ok(()));
    }
}
