//! Which path leads where: the table of a server's paths, and the allowed names of rooms.
//!
//! Pure: a path goes in, a [`Route`] or a refusal comes out. Not for methods, handshakes or what
//! happens at the end of a route. Rules: an exact path wins over a prefix and a longer prefix over
//! a shorter one, regardless of the order in which they were added. The same path added again
//! replaces the first, so a program may put its own handler on a path of ours.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use singletrack_web::Limits;
use singletrack_web::http::Reject;

use crate::error::Error;

/// The name of a room, checked: 1 to [`Limits::room_name_bytes`] bytes of UTF-8.
///
/// ASCII letters, digits and `-_.~` are allowed, and any other visible character. Not allowed are
/// spaces, control characters, characters that are invisible or change the direction of writing,
/// and the names `.` and `..`, which browsers take out of a path. Names that look the same but are
/// composed differently are different rooms.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RoomName(Arc<str>);

/// What is wrong with the name of a room.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum BadRoomName {
    /// The name is empty.
    #[error("a room has a name: /room/<name>")]
    Empty,
    /// The name is longer than the limit.
    #[error("the name of a room has at most {most} bytes, this one has {given}")]
    TooLong {
        /// The length of the name in bytes.
        given: usize,
        /// The limit.
        most: usize,
    },
    /// The name has a character that no name can have.
    #[error("the name of a room has letters, digits and - _ . ~, not {character:?}")]
    Character {
        /// The first such character.
        character: char,
    },
    /// The name is `.` or `..`.
    #[error("a room cannot be called `.` or `..`")]
    Dots,
}

impl RoomName {
    /// Checks a name.
    ///
    /// # Errors
    /// The fault of the name, in a sentence.
    pub(crate) fn new(name: &str, limits: &Limits) -> Result<RoomName, BadRoomName> {
        if name.is_empty() {
            return Err(BadRoomName::Empty);
        }
        if name.len() > limits.room_name_bytes {
            return Err(BadRoomName::TooLong { given: name.len(), most: limits.room_name_bytes });
        }
        if name == "." || name == ".." {
            return Err(BadRoomName::Dots);
        }
        match name.chars().find(|&c| !may_be_in_a_name(c)) {
            Some(character) => Err(BadRoomName::Character { character }),
            None => Ok(RoomName(name.into())),
        }
    }
}

fn may_be_in_a_name(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_alphanumeric() || "-_.~".contains(c);
    }
    // Soft hyphen, joiners and marks of direction, line separators, invisible operators, byte order
    // mark, specials, tags.
    let unseen = matches!(c, '\u{AD}' | '\u{61C}' | '\u{180E}' | '\u{200B}' | '\u{200E}' | '\u{200F}'
        | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{FFF0}'..='\u{FFFF}' | '\u{E0000}'..='\u{E0FFF}');
    !unseen && !c.is_control() && !c.is_whitespace()
}

impl Borrow<str> for RoomName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The target of a path. `T` is what the server keeps for a handler of its user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route<'r, T> {
    /// The chat page.
    Page,
    /// A socket that echoes.
    Echo,
    /// The socket of a room.
    Room(RoomName),
    /// The health of the server.
    Health,
    /// Figures in Prometheus' text format.
    Metrics,
    /// A handler of the user's, and the rest of the path after its prefix (empty for an exact
    /// path).
    Handler(&'r T, String),
}

/// An entry's target in the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target<T> {
    /// See [`Route::Page`].
    Page,
    /// See [`Route::Echo`].
    Echo,
    /// See [`Route::Room`]; the rest of the path is the name.
    Rooms,
    /// See [`Route::Health`].
    Health,
    /// See [`Route::Metrics`].
    Metrics,
    /// See [`Route::Handler`].
    Handler(T),
}

/// The table of a server's paths.
#[derive(Clone, Debug)]
pub(crate) struct Router<T> {
    entries: Vec<Entry<T>>,
}

#[derive(Clone, Debug)]
struct Entry<T> {
    path: String,
    /// Whether everything below `path`, which then ends with a slash, leads there.
    prefix: bool,
    target: Target<T>,
}

impl<T> Default for Router<T> {
    fn default() -> Router<T> {
        Router::standard()
    }
}

impl<T> Router<T> {
    /// A table without paths.
    #[cfg(test)]
    pub(crate) fn empty() -> Router<T> {
        Router { entries: Vec::new() }
    }

    /// The paths that every room server has: `/`, `/echo`, `/room/<name>`, `/healthz` and
    /// `/metrics`.
    pub(crate) fn standard() -> Router<T> {
        let entry = |path: &str, prefix, target| Entry { path: path.to_owned(), prefix, target };
        Router {
            entries: vec![
                entry("/", false, Target::Page),
                entry("/echo", false, Target::Echo),
                entry("/room/", true, Target::Rooms),
                entry("/healthz", false, Target::Health),
                entry("/metrics", false, Target::Metrics),
            ],
        }
    }

    /// Keeps the handlers only.
    pub(crate) fn remove_standard(&mut self) {
        self.entries.retain(|entry| matches!(entry.target, Target::Handler(_)));
    }

    /// Adds a path, or everything below a path if it ends with `/*`. The same path again replaces
    /// what was there.
    ///
    /// # Errors
    /// [`Error::BadPath`] if no request could have this path, or if rooms are given a path that
    /// leaves no place for a name.
    pub(crate) fn add(&mut self, path: &str, target: Target<T>) -> Result<(), Error> {
        let bad = |reason| Err(Error::BadPath { path: path.to_owned(), reason });
        let (plain, prefix) = match path.strip_suffix('*') {
            Some(plain) if plain.ends_with('/') => (plain, true),
            _ => (path, false),
        };
        if !plain.starts_with('/') {
            return bad("a path begins with a slash");
        }
        if plain.contains('*') {
            return bad("a star stands at the end only, behind a slash");
        }
        if plain.contains(['?', '#', '%']) || plain.chars().any(char::is_control) {
            return bad("give the path as it is after percent-decoding, without query and fragment");
        }
        if matches!(target, Target::Rooms) && !prefix {
            return bad("rooms need a path that ends with /*, where the name stands");
        }
        self.entries.retain(|entry| entry.path != plain || entry.prefix != prefix);
        self.entries.push(Entry { path: plain.to_owned(), prefix, target });
        Ok(())
    }

    /// Finds where a decoded path leads.
    ///
    /// # Errors
    /// 404 where nothing is served; 400 for a room whose name is not allowed.
    pub(crate) fn find(&self, path: &str, limits: &Limits) -> Result<Route<'_, T>, Reject> {
        let exact = self.entries.iter().find(|entry| !entry.prefix && entry.path == path);
        let below = || {
            let matching = self.entries.iter().filter(|entry| entry.prefix && path.starts_with(&entry.path));
            matching.max_by_key(|entry| entry.path.len())
        };
        let Some(entry) = exact.or_else(below) else {
            return Err(Reject::new(404, "nothing is served at this path"));
        };
        Ok(match &entry.target {
            Target::Page => Route::Page,
            Target::Echo => Route::Echo,
            Target::Health => Route::Health,
            Target::Metrics => Route::Metrics,
            Target::Handler(handler) => {
                let rest = if entry.prefix { &path[entry.path.len()..] } else { "" };
                Route::Handler(handler, rest.to_owned())
            }
            Target::Rooms => match RoomName::new(&path[entry.path.len()..], limits) {
                Ok(name) => Route::Room(name),
                Err(bad @ BadRoomName::Empty) => return Err(Reject::new(404, bad.to_string())),
                Err(bad) => return Err(Reject::new(400, bad.to_string())),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(path: &str) -> Result<Route<'static, ()>, u16> {
        static ROUTER: std::sync::OnceLock<Router<()>> = std::sync::OnceLock::new();
        ROUTER.get_or_init(Router::standard).find(path, &Limits::default()).map_err(|reject| reject.status)
    }

    #[test]
    fn the_standard_paths_lead_where_the_manual_says() {
        assert_eq!(find("/"), Ok(Route::Page));
        assert_eq!(find("/echo"), Ok(Route::Echo));
        assert_eq!(find("/healthz"), Ok(Route::Health));
        assert_eq!(find("/metrics"), Ok(Route::Metrics));
        match find("/room/lobby") {
            Ok(Route::Room(name)) => assert_eq!(name.to_string(), "lobby"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn other_paths_are_not_found() {
        for path in ["", "/Echo", "/echo/", "/echo/x", "/room", "/room/", "//", "/favicon.ico"] {
            assert_eq!(find(path), Err(404), "{path}");
        }
    }

    #[test]
    fn names_of_rooms_have_limits_on_both_sides() {
        let limits = Limits::default();
        assert_eq!(RoomName::new("", &limits), Err(BadRoomName::Empty));
        assert!(RoomName::new("a", &limits).is_ok());
        assert!(RoomName::new(&"a".repeat(64), &limits).is_ok());
        assert_eq!(RoomName::new(&"a".repeat(65), &limits), Err(BadRoomName::TooLong { given: 65, most: 64 }));
        // Bytes count, not characters.
        assert!(RoomName::new(&"é".repeat(32), &limits).is_ok());
        assert!(RoomName::new(&"é".repeat(33), &limits).is_err());
    }

    #[test]
    fn names_of_rooms_are_visible_text() {
        for good in ["Lobby-1_2.3~", "кафе", "हिन्दी", "日本", "🚂", "..."] {
            assert!(RoomName::new(good, &Limits::default()).is_ok(), "{good}");
        }
        for bad in ["a b", "a/b", "a?b", "a\u{0}", "a\n", "<b>", "a\u{202E}b", "\u{200B}", "\u{A0}", "\u{FEFF}", "%41"]
        {
            let result = RoomName::new(bad, &Limits::default());
            assert!(matches!(result, Err(BadRoomName::Character { .. })), "{bad:?}");
        }
        assert_eq!(RoomName::new(".", &Limits::default()), Err(BadRoomName::Dots));
        assert_eq!(RoomName::new("..", &Limits::default()), Err(BadRoomName::Dots));
        assert_eq!(find("/room/a b"), Err(400));
        assert_eq!(find("/room/a/b"), Err(400));
    }

    #[test]
    fn exact_paths_win_over_prefixes_and_long_prefixes_over_short_ones() {
        let mut router = Router::empty();
        router.add("/*", Target::Handler(1)).unwrap();
        router.add("/a/b/*", Target::Handler(2)).unwrap();
        router.add("/a/*", Target::Handler(3)).unwrap();
        router.add("/a/b/c", Target::Handler(4)).unwrap();
        let limits = Limits::default();
        let at = |path: &str| match router.find(path, &limits) {
            Ok(Route::Handler(handler, rest)) => (*handler, rest),
            other => panic!("{path}: {other:?}"),
        };
        assert_eq!(at("/x"), (1, "x".into()));
        assert_eq!(at("/a/x/y"), (3, "x/y".into()));
        assert_eq!(at("/a/b/x"), (2, "x".into()));
        assert_eq!(at("/a/b/c"), (4, String::new()));
        assert_eq!(at("/a/b"), (3, "b".into()));
    }

    #[test]
    fn a_path_added_again_replaces_the_first() {
        let mut router = Router::standard();
        router.add("/echo", Target::Handler(7)).unwrap();
        assert_eq!(router.find("/echo", &Limits::default()), Ok(Route::Handler(&7, String::new())));
    }

    #[test]
    fn paths_that_no_request_can_have_are_refused() {
        let mut router = Router::standard();
        for path in ["", "echo", "/a*", "/*/a", "/a?b", "/a#b", "/a%20b", "/a\n"] {
            assert!(matches!(router.add(path, Target::Handler(())), Err(Error::BadPath { .. })), "{path:?}");
        }
        assert!(router.add("/rooms", Target::Rooms).is_err());
        assert!(router.add("/rooms/*", Target::Rooms).is_ok());
    }
}
