//! One open page, used as a person uses it: type, click, look.
//!
//! For: the chat page's tests. Not for: the contents of the chat page. Rules: keys and clicks go
//! through the browser's input, so a field that is hidden, covered or disabled fails as it would
//! for a person; an uncaught exception of the page fails the next query.

use data_encoding::BASE64;
use serde_json::{Value, json};
use std::{cell::RefCell, fs, path::Path, rc::Rc};

use crate::protocol::Connection;
use crate::wait::{DEADLINE, until};

/// An open page; it closes with its browser.
pub struct Page {
    connection: Rc<RefCell<Connection>>,
    session: String,
}

impl Page {
    pub(crate) fn load(connection: Rc<RefCell<Connection>>, session: String, url: &str) -> Result<Page, String> {
        let page = Page { connection, session };
        page.call("Runtime.enable", json!({}))?;
        page.call("Page.enable", json!({}))?;
        page.window(1000, 700)?;
        let loaded = page.call("Page.navigate", json!({ "url": url }))?;
        if let Some(error) = loaded["errorText"].as_str() {
            return Err(format!("cannot open {url}: {error}"));
        }
        page.wait_for("the page to load", "location.href != 'about:blank' && document.readyState == 'complete'")?;
        Ok(page)
    }

    /// Sets the size of the window, in CSS pixels.
    ///
    /// # Errors
    /// A sentence, when the browser does not answer.
    pub fn window(&self, width: u32, height: u32) -> Result<(), String> {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", size).map(drop)
    }

    /// The value of a JavaScript expression in the page.
    ///
    /// # Errors
    /// The exception that the expression threw, or that the page threw since it was opened.
    pub fn value(&self, expression: &str) -> Result<Value, String> {
        let call = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let mut answer = self.call("Runtime.evaluate", call)?;
        if let Some(details) = answer.get("exceptionDetails") {
            return Err(format!("`{expression}` threw {}", details["exception"]["description"]));
        }
        let thrown = self.connection.borrow().thrown_in(&self.session);
        if !thrown.is_empty() {
            return Err(format!("the page threw: {}", thrown.join("; ")));
        }
        Ok(answer["result"]["value"].take())
    }

    /// Waits until a JavaScript expression is true.
    ///
    /// # Errors
    /// After the deadline: `awaited`, and what the page showed instead.
    pub fn wait_for(&self, awaited: &str, expression: &str) -> Result<(), String> {
        until(awaited, DEADLINE, || match self.value(expression)? {
            Value::Bool(true) => Ok(()),
            other => Err(format!(
                "`{expression}` is {other}, and the page shows {}",
                self.value("document.body?.innerText")?
            )),
        })
    }

    /// Types `text` into the field; it replaces the present content.
    ///
    /// # Errors
    /// A sentence, when a person could not do that.
    pub fn fill(&self, field: &str, text: &str) -> Result<(), String> {
        self.click(field)?;
        self.value(&format!("document.querySelector('{field}').select()"))?;
        self.call("Input.insertText", json!({ "text": text }))?;
        match self.value(&format!("document.querySelector('{field}').value"))? {
            Value::String(value) if value == text => Ok(()),
            other => Err(format!("typed {text:?} into {field}, and it holds {other}")),
        }
    }

    /// Presses and releases the Enter key where the focus is.
    ///
    /// # Errors
    /// A sentence, when the browser does not answer.
    pub fn press_enter(&self) -> Result<(), String> {
        let key = |kind: &str| json!({ "type": kind, "key": "Enter", "code": "Enter", "text": "\r", "windowsVirtualKeyCode": 13 });
        self.call("Input.dispatchKeyEvent", key("keyDown"))?;
        self.call("Input.dispatchKeyEvent", key("keyUp")).map(drop)
    }

    /// Clicks in the middle of the element, once it can be clicked.
    ///
    /// # Errors
    /// A sentence, when it is absent, disabled, or covered by another element.
    pub fn click(&self, element: &str) -> Result<(), String> {
        let middle = format!(
            "(() => {{
                const e = document.querySelector('{element}');
                if (!e) return 'is not there';
                if (e.disabled) return 'is disabled';
                e.scrollIntoView({{ block: 'center', behavior: 'instant' }});
                const r = e.getBoundingClientRect(), x = r.x + r.width / 2, y = r.y + r.height / 2;
                const top = document.elementFromPoint(x, y);
                return e.contains(top) ? [x, y] : 'is hidden or covered';
            }})()"
        );
        let (x, y) = until(&format!("{element} to be clickable"), DEADLINE, || {
            let found = self.value(&middle)?;
            found[0].as_f64().zip(found[1].as_f64()).ok_or_else(|| format!("{element} {found}"))
        })?;
        self.call("Page.bringToFront", json!({}))?;
        for kind in ["mousePressed", "mouseReleased"] {
            let mouse = json!({ "type": kind, "x": x, "y": y, "button": "left", "clickCount": 1 });
            self.call("Input.dispatchMouseEvent", mouse)?;
        }
        Ok(())
    }

    /// Saves what the page shows as a PNG file.
    ///
    /// # Errors
    /// A sentence, when the file cannot be written.
    pub fn screenshot(&self, file: &Path) -> Result<(), String> {
        let answer = self.call("Page.captureScreenshot", json!({ "format": "png" }))?;
        let data = answer["data"].as_str().unwrap_or_default();
        let png = BASE64.decode(data.as_bytes()).map_err(|e| format!("the screenshot is no base64: {e}"))?;
        let folder = file.parent().unwrap_or(Path::new("."));
        let written = fs::create_dir_all(folder).and_then(|()| fs::write(file, png));
        written.map_err(|e| format!("cannot write {}: {e}", file.display()))
    }

    fn call(&self, method: &str, parameters: Value) -> Result<Value, String> {
        self.connection.borrow_mut().call(Some(&self.session), method, parameters)
    }
}
