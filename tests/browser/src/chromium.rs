//! Debian's Chromium as a headless process.
//!
//! For: starting it with its own profile and opening pages in it. Not for: other browsers. Rules:
//! without Chromium the error names the package to install; the process and its profile do not
//! outlive this value.

use serde_json::json;
use std::{
    cell::RefCell,
    env, fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    rc::Rc,
    sync::{
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use crate::page::Page;
use crate::protocol::Connection;
use crate::wait::{DEADLINE, until};

/// The browser runs without a window, a GPU, or network traffic of its own. The sandbox cannot
/// start as root or in most containers, and the browser shows only the test's pages.
const FLAGS: &[&str] = &[
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    // Two pages are open and only one can be in front: the other one must not be throttled.
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--remote-debugging-port=0",
];

/// A running browser; dropping it closes it.
pub struct Chromium {
    child: Child,
    profile: PathBuf,
    connection: Option<Rc<RefCell<Connection>>>,
}

impl Chromium {
    /// Starts the Chromium of this machine: the one in `CHROMIUM`, else the first found on the
    /// path.
    ///
    /// # Errors
    /// A sentence, when there is none or it does not start.
    pub fn start() -> Result<Chromium, String> {
        let on_path =
            |name: &str| env::split_paths(&env::var_os("PATH")?).map(|dir| dir.join(name)).find(|p| p.is_file());
        let named = env::var_os("CHROMIUM").map(PathBuf::from);
        let found = named.or_else(|| ["chromium", "chromium-browser", "google-chrome"].into_iter().find_map(on_path));
        Chromium::start_from(&found.unwrap_or_else(|| "chromium".into()))
    }

    /// Starts the Chromium at `program`.
    ///
    /// # Errors
    /// As [`start`](Chromium::start).
    pub fn start_from(program: &Path) -> Result<Chromium, String> {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let profile = env::temp_dir().join(format!("singletrack-browser-{}-{number}", process::id()));
        let mut child = Command::new(program)
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| {
                let program = program.display();
                format!(
                    "cannot start {program} ({e}): the browser test needs Chromium; on Debian: apt-get install chromium"
                )
            })?;
        let stderr = child.stderr.take().expect("stderr is piped");
        let mut chromium = Chromium { child, profile, connection: None };
        let (said, hear) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _ = said.send(line);
            }
        });
        let mut lines = String::new();
        let url = loop {
            match hear.recv_timeout(DEADLINE) {
                Ok(line) => match line.strip_prefix("DevTools listening on ") {
                    Some(url) => break url.to_string(),
                    None => lines = lines + &line + "\n",
                },
                Err(_) => return Err(format!("Chromium did not start; it said:\n{lines}")),
            }
        };
        chromium.connection = Some(Rc::new(RefCell::new(Connection::open(&url)?)));
        Ok(chromium)
    }

    /// Opens `url` as a separate person: it shares no cookies, storage or cache with other pages.
    ///
    /// # Errors
    /// A sentence, when the page does not load.
    pub fn open(&self, url: &str) -> Result<Page, String> {
        let connection = self.connection.as_ref().expect("a started browser has a connection");
        let text = |value: &serde_json::Value, key: &str| {
            value[key]
                .as_str()
                .map(str::to_string)
                .ok_or_else(|| format!("the browser answered without {key}: {value}"))
        };
        let session = {
            let mut browser = connection.borrow_mut();
            let person = text(&browser.call(None, "Target.createBrowserContext", json!({}))?, "browserContextId")?;
            let target = json!({ "url": "about:blank", "browserContextId": person });
            let target = text(&browser.call(None, "Target.createTarget", target)?, "targetId")?;
            let attach = json!({ "targetId": target, "flatten": true });
            text(&browser.call(None, "Target.attachToTarget", attach)?, "sessionId")?
        };
        Page::load(Rc::clone(connection), session, url)
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // The browser is asked to close first, so that its many processes end too. It is killed if
        // it does not respond.
        if let Some(connection) = self.connection.take() {
            let _ = connection.borrow_mut().call(None, "Browser.close", json!({}));
        }
        let gone = until("the browser to end", Duration::from_secs(5), || match self.child.try_wait() {
            Ok(Some(_)) => Ok(()),
            other => Err(format!("{other:?}")),
        });
        if gone.is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        // A child of the browser may still write its last file; a file that stays behind is in the
        // temporary folder.
        let _ = until("the profile to go", Duration::from_secs(2), || {
            fs::remove_dir_all(&self.profile)
                .or_else(|e| if self.profile.exists() { Err(e.to_string()) } else { Ok(()) })
        });
    }
}
