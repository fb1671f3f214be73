//! The chat page in a real browser, against a real server process.
//!
//! For: what a visitor of `/` sees: joining a room, talking, losing the server and finding it
//! again. Not for: the protocol, which the other tests cover. Rules: the tests use only the page's
//! stable ids (#room, #name, #join, #text, #send, #log, #status); each test has its own browser and
//! server; each saves a screenshot in the target folder under `browser`, for a person to look at.

use singletrack_browser_test::{Chromium, Page, Serve};
use std::{net::SocketAddr, path::PathBuf};

/// The condition that the page reports being in a room.
const JOINED: &str =
    "/^(joined|connected|online|live|in )/i.test(document.querySelector('#status').textContent.trim())";

fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// Opens `/` and joins `room` as `name`.
fn join(browser: &Chromium, server: &Serve, room: &str, name: &str) -> Result<Page, String> {
    let page = browser.open(&format!("http://{}/", server.address()))?;
    page.fill("#room", room)?;
    page.fill("#name", name)?;
    page.click("#join")?;
    page.wait_for("the page to say that it joined", JOINED)?;
    Ok(page)
}

fn send(page: &Page, text: &str) -> Result<(), String> {
    page.fill("#text", text)?;
    page.click("#send")?;
    page.wait_for("the field to be empty after sending", "document.querySelector('#text').value == ''")
}

/// Waits until the log of `page` shows `text`, once.
fn sees(page: &Page, text: &str) -> Result<(), String> {
    let times = format!("document.querySelector('#log').textContent.split({text:?}).length == 2");
    page.wait_for(&format!("the log to show {text:?} once"), &times)
}

fn save(page: &Page, name: &str) -> Result<(), String> {
    let workspace = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    page.screenshot(&workspace.join("target/browser").join(name))
}

#[test]
fn two_pages_in_a_room_see_each_others_messages() -> Result<(), String> {
    let (server, browser) = (Serve::start(any_port())?, Chromium::start()?);
    let (ann, bob) = (join(&browser, &server, "kitchen", "Ann")?, join(&browser, &server, "kitchen", "Bob")?);
    let carol = join(&browser, &server, "garden", "Carol")?;
    send(&ann, "Is there any tea left?")?;
    sees(&bob, "Is there any tea left?")?;
    sees(&ann, "Is there any tea left?")?;
    bob.fill("#text", "A whole pot.")?;
    bob.press_enter()?;
    sees(&ann, "A whole pot.")?;
    // The name is sent with the text, and markup in a message is text, never an element.
    assert_eq!(bob.value("document.querySelector('#log').textContent.includes('Ann')")?, true);
    send(&ann, "<b id=planted>1 < 2 && \"3\"</b>")?;
    sees(&bob, "<b id=planted>1 < 2 && \"3\"</b>")?;
    assert_eq!(bob.value("document.querySelector('#planted')")?, serde_json::Value::Null);
    // The other room heard nothing.
    send(&carol, "Alone out here")?;
    sees(&carol, "Alone out here")?;
    assert_eq!(carol.value("document.querySelector('#log').textContent.includes('tea')")?, false);
    save(&bob, "two-pages.png")?;
    bob.window(390, 844)?;
    assert_eq!(bob.value("document.documentElement.scrollWidth <= innerWidth")?, true, "the page fits a telephone");
    save(&bob, "telephone.png")
}

#[test]
fn a_page_tells_that_the_server_is_gone_and_finds_it_again() -> Result<(), String> {
    let (server, browser) = (Serve::start(any_port())?, Chromium::start()?);
    let address = server.address();
    let (ann, bob) = (join(&browser, &server, "kitchen", "Ann")?, join(&browser, &server, "kitchen", "Bob")?);
    send(&ann, "before")?;
    sees(&bob, "before")?;
    server.kill()?;
    for page in [&ann, &bob] {
        page.wait_for("the status to say that the server is gone", &format!("!({JOINED})"))?;
    }
    save(&ann, "server-gone.png")?;
    let _again = Serve::start(address)?;
    for page in [&ann, &bob] {
        page.wait_for("the page to have joined again by itself", JOINED)?;
    }
    send(&bob, "after")?;
    sees(&ann, "after")?;
    sees(&ann, "before")?;
    save(&ann, "back-again.png")
}

#[test]
fn the_address_names_the_room() -> Result<(), String> {
    let (server, browser) = (Serve::start(any_port())?, Chromium::start()?);
    let page = browser.open(&format!("http://{}/#attic", server.address()))?;
    page.wait_for("the room of the address to be filled in", "document.querySelector('#room').value == 'attic'")
}

#[test]
fn without_chromium_the_error_names_the_package() {
    let error = Chromium::start_from("/nowhere/chromium".as_ref()).err().expect("there is no browser there");
    assert!(error.contains("apt-get install chromium"), "{error}");
}
