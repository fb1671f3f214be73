//! A window on a display, seen and used over the X protocol as a person would.
//!
//! For: its title, its picture, a click, a new size, the close button. Not for: the inside of the
//! program. Rules: there is no window manager, so this module sends the events that one would send.

use x11rb::{
    connection::Connection,
    protocol::{
        xproto::{
            BUTTON_PRESS_EVENT, BUTTON_RELEASE_EVENT, ClientMessageEvent, ConfigureWindowAux, ConnectionExt, EventMask,
            ImageFormat, MOTION_NOTIFY_EVENT, MapState,
        },
        xtest::ConnectionExt as _,
    },
    rust_connection::RustConnection,
};

use crate::display::Display;
use crate::picture::Picture;
use crate::wait::{DEADLINE, until};

/// A window that was found.
pub struct Window {
    connection: RustConnection,
    root: u32,
    id: u32,
}

fn say<E: std::fmt::Display>(e: E) -> String {
    format!("the X server says: {e}")
}

impl Window {
    /// Waits for a window whose title begins with `title`.
    ///
    /// # Errors
    /// When none appears in time.
    pub fn wait_for(title: &str, display: &Display) -> Result<Self, String> {
        let (connection, screen) = x11rb::connect(Some(display.name())).map_err(say)?;
        let root = connection.setup().roots[screen].root;
        let mut window = Self { connection, root, id: root };
        window.id = until(&format!("a window \"{title}...\""), DEADLINE, || {
            let children = window.connection.query_tree(root).map_err(say)?.reply().map_err(say)?.children;
            let mut titles = Vec::new();
            for id in children {
                // The window may go between two requests.
                let Ok(found) = window.title_of(id) else { continue };
                let shown = window.connection.get_window_attributes(id).map_err(say)?.reply();
                if found.starts_with(title) && shown.is_ok_and(|about| about.map_state == MapState::VIEWABLE) {
                    return Ok(id);
                }
                titles.push(found);
            }
            Err(format!("windows {titles:?}"))
        })?;
        Ok(window)
    }

    fn atom(&self, name: &str) -> Result<u32, String> {
        Ok(self.connection.intern_atom(false, name.as_bytes()).map_err(say)?.reply().map_err(say)?.atom)
    }

    fn title_of(&self, id: u32) -> Result<String, String> {
        let (name, utf8) = (self.atom("_NET_WM_NAME")?, self.atom("UTF8_STRING")?);
        let asked = self.connection.get_property(false, id, name, utf8, 0, 1000).map_err(say)?;
        Ok(String::from_utf8_lossy(&asked.reply().map_err(say)?.value).into_owned())
    }

    /// Waits until `wanted` accepts its title.
    ///
    /// # Errors
    /// When it does not come to that, or the window goes.
    pub fn wait_for_title(&self, awaited: &str, wanted: impl Fn(&str) -> bool) -> Result<(), String> {
        until(&format!("the title to say {awaited}"), DEADLINE, || {
            let title = self.title_of(self.id)?;
            if wanted(&title) { Ok(()) } else { Err(format!("{title:?}")) }
        })
    }

    /// A picture of its present content.
    ///
    /// # Errors
    /// When the window is gone.
    pub fn picture(&self) -> Result<Picture, String> {
        let about = self.connection.get_geometry(self.id).map_err(say)?.reply().map_err(say)?;
        let all = u32::MAX;
        let asked = self.connection.get_image(ImageFormat::Z_PIXMAP, self.id, 0, 0, about.width, about.height, all);
        Ok(Picture::from_bgrx(about.width, &asked.map_err(say)?.reply().map_err(say)?.data))
    }

    /// Waits until `wanted` accepts its picture; `wanted` reports what is wrong.
    ///
    /// # Errors
    /// When it does not come to that, or the window goes.
    pub fn wait_for_picture<T>(
        &self,
        awaited: &str,
        wanted: impl Fn(&Picture) -> Result<T, String>,
    ) -> Result<T, String> {
        until(awaited, DEADLINE, || wanted(&self.picture()?))
    }

    /// Moves the pointer to a place in the window, and presses the first button.
    ///
    /// # Errors
    /// When the window is gone.
    pub fn click(&self, x: i16, y: i16) -> Result<(), String> {
        let at = self.connection.translate_coordinates(self.id, self.root, x, y).map_err(say)?.reply().map_err(say)?;
        let events = [(MOTION_NOTIFY_EVENT, 0), (BUTTON_PRESS_EVENT, 1), (BUTTON_RELEASE_EVENT, 1)];
        for (event, button) in events {
            let input = self.connection.xtest_fake_input(event, button, 0, self.root, at.dst_x, at.dst_y, 0);
            input.map_err(say)?.check().map_err(say)?;
        }
        Ok(())
    }

    /// Resizes it, as when a person drags its corner.
    ///
    /// # Errors
    /// When the window is gone.
    pub fn resize(&self, width: u32, height: u32) -> Result<(), String> {
        let size = ConfigureWindowAux::new().width(width).height(height);
        self.connection.configure_window(self.id, &size).map_err(say)?.check().map_err(say)
    }

    /// Closes it, as when a person presses its close button.
    ///
    /// # Errors
    /// When the window is gone.
    pub fn close(&self) -> Result<(), String> {
        let (protocols, delete) = (self.atom("WM_PROTOCOLS")?, self.atom("WM_DELETE_WINDOW")?);
        let message = ClientMessageEvent::new(32, self.id, protocols, [delete, 0, 0, 0, 0]);
        self.connection.send_event(false, self.id, EventMask::NO_EVENT, message).map_err(say)?.check().map_err(say)
    }
}
