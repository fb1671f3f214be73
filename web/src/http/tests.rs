//! Accepted heads, refused heads and their errors, on both sides of each limit.

use super::*;

const SOCKET: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\n";
const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const VERSION: &str = "Sec-WebSocket-Version: 13\r\n";

fn parse_with(head: &str, limits: &Limits) -> Result<Option<(Request, usize)>, Reject> {
    parse(head.as_bytes(), limits)
}

fn good(head: &str) -> Request {
    let head = format!("{head}\r\n");
    let (request, used) = parse_with(&head, &Limits::default()).unwrap().unwrap();
    assert_eq!(used, head.len());
    request
}

fn refused(head: &str) -> u16 {
    parse_with(&format!("{head}\r\n"), &Limits::default()).unwrap_err().status
}

fn get(headers: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a.example\r\n{headers}")
}

#[test]
fn a_head_is_taken_once_it_is_whole_and_what_follows_is_left() {
    let head = "GET /room/a%20b?x=1 HTTP/1.1\r\nHost: A.example:80\r\nX-Name: v\r\n\r\n";
    for end in 0..head.len() {
        assert!(parse_with(&head[..end], &Limits::default()).unwrap().is_none(), "{end}");
        assert!(parse_more(&head.as_bytes()[..end], end.saturating_sub(1), &Limits::default()).unwrap().is_none());
    }
    for seen in 0..head.len() {
        assert!(parse_more(head.as_bytes(), seen, &Limits::default()).unwrap().is_some(), "{seen}");
    }
    let (request, used) = parse_with(&format!("{head}GET /"), &Limits::default()).unwrap().unwrap();
    assert_eq!(used, head.len());
    assert_eq!((request.method(), request.path(), request.query()), (Method::Get, "/room/a b", Some("x=1")));
    assert_eq!((request.host(), request.keep_alive(), request.body()), ("a.example:80", true, 0));
    assert_eq!(request.header("x-name"), Some(&b"v"[..]));
    assert_eq!(request.header("x-other"), None);
    assert_eq!(request.headers().count(), 2);
    assert!(request.upgrade().is_none());
}

#[test]
fn connections_are_kept_as_each_version_says() {
    assert!(good(&get("")).keep_alive() && good(&get("")).is_http11());
    assert!(!good(&get("Connection: x, Close\r\n")).keep_alive());
    assert!(!good("GET / HTTP/1.0\r\n").keep_alive());
    assert!(good("GET / HTTP/1.0\r\nConnection: keep-alive\r\n").keep_alive());
    assert!(!good("GET / HTTP/1.0\r\nHost: a\r\n").is_http11());
    assert_eq!(good("HEAD / HTTP/1.1\r\nHost: a\r\n").method(), Method::Head);
}

#[test]
fn request_lines_that_cannot_be_served_are_refused() {
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT"] {
        assert_eq!(refused(&format!("{method} / HTTP/1.1\r\nHost: a\r\n")), 405, "{method}");
    }
    assert_eq!(refused("BREW / HTTP/1.1\r\nHost: a\r\n"), 501);
    assert_eq!(refused("GET / HTTP/2.0\r\nHost: a\r\n"), 505);
    assert_eq!(refused("PRI * HTTP/2.0\r\n\r\nSM\r\n"), 505);
    assert_eq!(refused("GET x HTTP/1.1\r\nHost: a\r\n"), 400);
    assert_eq!(refused("GET * HTTP/1.1\r\nHost: a\r\n"), 400);
    assert_eq!(refused("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n"), 400);
    assert_eq!(refused("GET  / HTTP/1.1\r\nHost: a\r\n"), 400);
    // The first bytes of TLS are refused at once.
    assert_eq!(parse(b"\x16\x03\x01\x02\x00", &Limits::default()).unwrap_err().status, 400);
}

#[test]
fn a_request_names_one_host() {
    assert_eq!(refused("GET / HTTP/1.1\r\n"), 400);
    assert_eq!(refused("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n"), 400);
    assert_eq!(refused("GET / HTTP/1.1\r\nHost: a/b\r\n"), 400);
    assert_eq!(refused("GET / HTTP/1.1\r\nHost: a b\r\n"), 400);
    assert_eq!(good("GET / HTTP/1.0\r\n").host(), "");
    let absolute = good("GET http://b.example/x?y HTTP/1.1\r\nHost: a\r\n");
    assert_eq!((absolute.host(), absolute.path(), absolute.query()), ("b.example", "/x", Some("y")));
    assert_eq!(good("GET http://b.example HTTP/1.1\r\nHost: a\r\n").path(), "/");
}

#[test]
fn what_two_parsers_could_read_differently_is_refused() {
    assert_eq!(refused(&get("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n")), 400);
    assert_eq!(refused(&get("Transfer-Encoding: chunked\r\n")), 501);
    assert_eq!(refused(&get("Content-Length: 3\r\nContent-Length: 3\r\n")), 400);
    for length in ["3, 3", "+3", "-1", "0x3", "", "3 3"] {
        assert_eq!(refused(&get(&format!("Content-Length: {length}\r\n"))), 400, "{length}");
    }
    assert_eq!(refused(&get("X: a\r\n folded\r\n")), 400);
    assert_eq!(refused(&get("X : a\r\n")), 400);
    assert_eq!(refused(&get("X: a\rb\r\n")), 400);
    assert_eq!(refused(&get("X: a\u{0}\r\n")), 400);
    assert_eq!(parse(b"GET / HTTP/1.1\nHost: a\n\n", &Limits::default()).unwrap_err().status, 400);
    assert_eq!(parse(b"GET / HTTP/1.1\r\nHost: a\n", &Limits::default()).unwrap_err().status, 400);
    assert_eq!(parse_more(b"GET / HTTP/1.1\r\nHost: a\n", 20, &Limits::default()).unwrap_err().status, 400);
}

#[test]
fn a_small_body_is_announced_and_a_large_one_refused() {
    let limits = Limits { body_bytes: 5, ..Limits::default() };
    let of = |length: &str| parse_with(&get(&format!("Content-Length: {length}\r\n\r\n")), &limits);
    assert_eq!(of("5").unwrap().unwrap().0.body(), 5);
    assert_eq!(of("6").unwrap_err().status, 413);
    assert_eq!(of("99999999999999999999999999").unwrap_err().status, 413);
    assert_eq!(refused(&get("Content-Length: 5\r\nExpect: 100-continue\r\n")), 417);
}

#[test]
fn a_head_may_fill_its_limit_and_not_one_byte_more() {
    let limits = Limits { head_bytes: 256, ..Limits::default() };
    let filled = |len: usize| {
        let start = get("X: ");
        format!("{start}{}\r\n\r\n", "x".repeat(len - start.len() - 4))
    };
    assert!(parse_with(&filled(256), &limits).unwrap().is_some());
    assert_eq!(parse_with(&filled(257), &limits).unwrap_err().status, 431);
    assert!(parse_with(&filled(257)[..255], &limits).unwrap().is_none());
    assert_eq!(parse_with(&filled(257)[..256], &limits).unwrap_err().status, 431);
    assert_eq!(parse_more(&filled(257).as_bytes()[..256], 255, &limits).unwrap_err().status, 431);
    let line = format!("GET /{}", "x".repeat(251));
    assert_eq!(parse_with(&line, &limits).unwrap_err().status, 414);
    assert!(parse_with(&line[..255], &limits).unwrap().is_none());
    // A body behind a head that fits does not count.
    assert!(parse_with(&format!("{}{}", filled(256), "x".repeat(500)), &limits).unwrap().is_some());
}

#[test]
fn a_head_may_have_its_number_of_headers_and_not_one_more() {
    let limits = Limits { head_headers: 8, ..Limits::default() };
    let with = |count: usize| parse_with(&get(&format!("{}\r\n", "X: y\r\n".repeat(count - 1))), &limits);
    assert!(with(8).unwrap().is_some());
    assert_eq!(with(9).unwrap_err().status, 431);
}

#[test]
fn paths_are_decoded_once_and_unclear_ones_refused() {
    let path = |path: &str| good(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n")).path().to_owned();
    assert_eq!(path("/room/%C3%A9%2541+"), "/room/é%41+");
    for bad in ["/%", "/%4", "/%zz", "/%2F", "/%2f", "/%00", "/%0a", "/%7F", "/%FF", "/%C3"] {
        assert_eq!(refused(&format!("GET {bad} HTTP/1.1\r\nHost: a\r\n")), 400, "{bad}");
    }
}

#[test]
fn a_handshake_is_recognised_whatever_else_it_offers() {
    let offers =
        "Sec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Protocol: chat\r\nOrigin: http://a.example\r\n";
    let request = good(&get(&format!("{SOCKET}{KEY}{VERSION}{offers}")));
    let upgrade = request.upgrade().unwrap();
    assert_eq!(upgrade.key(), "dGhlIHNhbXBsZSBub25jZQ==");
    assert_eq!(upgrade.origin(), Some("http://a.example"));
    assert!(good(&get("Upgrade: h2c\r\nConnection: Upgrade\r\n")).upgrade().is_none());
}

#[test]
fn a_handshake_that_breaks_a_rule_is_refused() {
    assert_eq!(refused(&get(&format!("Upgrade: websocket\r\n{KEY}{VERSION}"))), 400);
    assert_eq!(refused(&get(&format!("{SOCKET}{VERSION}"))), 400);
    assert_eq!(refused(&get(&format!("{SOCKET}{KEY}{KEY}{VERSION}"))), 400);
    assert_eq!(refused(&get(&format!("{SOCKET}{KEY}"))), 400);
    assert_eq!(refused(&get(&format!("{SOCKET}{KEY}{VERSION}{VERSION}"))), 400);
    assert_eq!(refused(&get(&format!("{SOCKET}{KEY}{VERSION}Content-Length: 1\r\n"))), 400);
    assert_eq!(refused(&get(&format!("{SOCKET}{KEY}{VERSION}Origin: a\r\nOrigin: b\r\n"))), 400);
    assert_eq!(refused(&format!("HEAD / HTTP/1.1\r\nHost: a\r\n{SOCKET}{KEY}{VERSION}")), 400);
    assert_eq!(refused(&format!("GET / HTTP/1.0\r\nHost: a\r\n{SOCKET}{KEY}{VERSION}")), 400);
    for key in [
        "",
        "c2hvcnQ=",
        "dGhlIHNhbXBsZSBub25jZQ=",
        "dGhlIHNhbXBsZSBub25jZWU=",
        "dGhlIHNhbXBsZSBub25j!Q==",
        "dGhlIHNhbXBsZSBub25jZQ===",
    ] {
        assert_eq!(refused(&get(&format!("{SOCKET}Sec-WebSocket-Key: {key}\r\n{VERSION}"))), 400, "{key}");
    }
    for version in ["8", "14", "13, 8", ""] {
        let head = get(&format!("{SOCKET}{KEY}Sec-WebSocket-Version: {version}\r\n\r\n"));
        let reject = parse_with(&head, &Limits::default()).unwrap_err();
        assert_eq!(reject.status, 426, "{version}");
        let said = String::from_utf8(reject.encode().to_vec()).unwrap();
        assert!(said.contains("Sec-WebSocket-Version: 13\r\n"), "{said}");
    }
}

#[test]
fn an_empty_body_may_be_expected() {
    assert_eq!(good(&get("Content-Length: 0\r\nExpect: 100-continue\r\n")).body(), 0);
}
