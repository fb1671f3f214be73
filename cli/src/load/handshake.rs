//! The client's side of a WebSocket handshake (RFC 6455 4.1): the request, and the check of the
//! answer.
//!
//! Pure. The client asks for no extensions and subprotocols, so a server that names one is at
//! fault.

use singletrack::ws::accept_key;

/// The most bytes of a server's answer, and the most headers of it.
const HEAD: usize = 16 * 1024;
const HEADERS: usize = 64;

/// The request for `path`. `key` is 16 bytes in base64.
pub(crate) fn request(host: &str, path: &str, key: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    )
}

/// Sixteen bytes that depend on `number`, in base64: a key that a server cannot know beforehand.
pub(crate) fn key(number: u64) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let wide = u128::from(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)) << 64 | u128::from(number);
    // 128 bits are 21 digits of 6 bits. The last 2 bits, with 4 empty ones behind them, make one
    // more digit.
    let bits = |place: u32| if place < 21 { wide >> (122 - 6 * place) } else { wide << 4 };
    (0..22).map(|place| char::from(DIGITS[(bits(place) & 63) as usize])).chain(['=', '=']).collect()
}

/// Reads the answer at the front of `input`, and returns its length once it has come whole.
///
/// # Errors
/// A sentence that says what is wrong with it.
pub(crate) fn answer(input: &[u8], key: &str) -> Result<Option<usize>, String> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let used = match response.parse(input) {
        Ok(httparse::Status::Complete(used)) => used,
        Ok(httparse::Status::Partial) if input.len() <= HEAD => return Ok(None),
        Ok(httparse::Status::Partial) => return Err(format!("answered the handshake with more than {HEAD} bytes")),
        Err(error) => return Err(format!("answered the handshake with something that is not HTTP: {error}")),
    };
    if response.code != Some(101) {
        let (code, reason) = (response.code.unwrap_or_default(), response.reason.unwrap_or_default());
        return Err(format!("answered the handshake with {code} {reason} instead of 101"));
    }
    let header = |name: &str| {
        let found = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        found.map(|header| String::from_utf8_lossy(header.value).trim().to_owned())
    };
    if !header("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket")) {
        return Err("answered 101 without `Upgrade: websocket`".into());
    }
    match header("sec-websocket-accept") {
        Some(accept) if accept == accept_key(key) => {}
        Some(_) => return Err("answered with a Sec-WebSocket-Accept that does not belong to the key".into()),
        None => return Err("answered 101 without a Sec-WebSocket-Accept".into()),
    }
    for unasked in ["sec-websocket-extensions", "sec-websocket-protocol"] {
        if header(unasked).is_some_and(|value| !value.is_empty()) {
            return Err(format!("answered with a {unasked} that was not asked for"));
        }
    }
    Ok(Some(used))
}

#[cfg(test)]
mod tests {
    use super::*;
    use singletrack::{Limits, http, ws};

    fn said(answer_text: &str) -> String {
        answer(answer_text.as_bytes(), &key(7)).unwrap_err()
    }

    fn good(extra: &str) -> String {
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: WebSocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: {}\r\n{extra}\r\n",
            ws::accept_key(&key(7))
        )
    }

    #[test]
    fn servers_of_this_library_accept_the_request_and_their_answer_is_accepted() {
        for number in [0, 1, 7, u64::MAX] {
            let key = key(number);
            let text = request("localhost:80", "/echo", &key);
            let (request, used) = http::parse(text.as_bytes(), &Limits::default()).unwrap().unwrap();
            assert_eq!(used, text.len());
            let bytes = ws::accept(request.upgrade().expect("a handshake"));
            for cut in 0..bytes.len() {
                assert_eq!(answer(&bytes[..cut], &key), Ok(None));
            }
            let mut more = bytes.to_vec();
            more.extend_from_slice(b"\x81\x02hi");
            assert_eq!(answer(&more, &key), Ok(Some(bytes.len())));
        }
    }

    #[test]
    fn the_name_of_a_header_may_be_written_in_any_case() {
        assert_eq!(answer(good("").as_bytes(), &key(7)), Ok(Some(good("").len())));
    }

    #[test]
    fn keys_differ() {
        let keys: std::collections::HashSet<_> = (0..1000).map(key).collect();
        assert_eq!(keys.len(), 1000);
    }

    #[test]
    fn wrong_answers_are_told_apart() {
        assert!(said("HTTP/1.1 404 Not Found\r\n\r\n").contains("404 Not Found instead of 101"));
        assert!(said("SSH-2.0-OpenSSH\r\n").contains("not HTTP"));
        assert!(said("HTTP/1.1 101 x\r\nUpgrade: websocket\r\n\r\n").contains("without a Sec-WebSocket-Accept"));
        assert!(said("HTTP/1.1 101 x\r\n\r\n").contains("without `Upgrade"));
        assert!(said(&good("").replace("Accept: ", "Accept: x")).contains("does not belong to the key"));
        assert!(said(&good("Sec-WebSocket-Extensions: permessage-deflate\r\n")).contains("not asked for"));
        assert!(said(&format!("HTTP/1.1 101 x\r\nx: {}", "y".repeat(HEAD))).contains("more than"));
    }
}
