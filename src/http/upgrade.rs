//! WebSocket handshakes: which requests are one, which break its rules (RFC 6455 4.2.1), and from which pages they may come.
//!
//! Pure. Extensions and subprotocols that a client offers are ignored, as the standard allows. What proves the handshake to the
//! client is made in `ws`.

use super::{Method, Reject, Request, lists, only, text};

/// A valid WebSocket handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade {
    key: String,
    origin: Option<String>,
}

impl Upgrade {
    /// The client's `Sec-WebSocket-Key`.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Where the page that opened it comes from; browsers always say so, other programs rarely.
    pub fn origin(&self) -> Option<&str> {
        self.origin.as_deref()
    }
}

/// Finds the handshake in a head. A request to become anything but a WebSocket is served as if it had not asked.
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

/// From which pages WebSockets may be opened. Browsers let any page connect anywhere, so the server has to ask.
///
/// Programs that are no browsers send no `Origin` and are always let in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum OriginPolicy {
    /// Pages of the host that the request names, whatever the scheme (a proxy may have removed TLS).
    #[default]
    SameHost,
    /// Pages of the same host and of these origins, such as `https://chat.example.org`.
    Listed(Vec<String>),
    /// Pages from anywhere.
    Any,
}

impl OriginPolicy {
    /// Reads an option's value: `*`, or origins separated by commas.
    pub fn parse(value: &str) -> OriginPolicy {
        let listed: Vec<String> =
            value.split(',').map(|o| o.trim().trim_end_matches('/').to_owned()).filter(|o| !o.is_empty()).collect();
        match listed.as_slice() {
            [] => OriginPolicy::SameHost,
            _ if listed.iter().any(|o| o == "*") => OriginPolicy::Any,
            _ => OriginPolicy::Listed(listed),
        }
    }

    /// Lets a handshake in or not.
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

/// Compares an origin with a host; the default port of the origin's scheme may be left out on either side.
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
