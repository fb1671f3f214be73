//! Sources that are called when files change.
//!
//! One watcher (the library `notify`, one thread) serves all sources. It watches folders, each
//! once, and reports names in them. A file is a name in its folder, so that a file is still watched
//! after an editor replaces it by another. Changes are kept by path until the handler takes them.
//! Not for: whole trees (only one level is watched), and contents.
//!
//! Rules:
//! - The thread that looks up listeners locks the table; the watcher's thread does so too. The
//!   table is never locked during a call of the watcher: the call waits for that thread. The lock
//!   of the watcher is taken first, and makes a change of both one step.
//! - The watcher's thread may be the one that drops a source's last handle. Then it leaves the
//!   folder to the next caller of the watcher.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use notify::event::{EventKind, ModifyKind, RenameMode};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use singletrack_queues::SourceBuilder;

use super::error::refused;
use super::{AGAIN, EventError, EventSource, Own, unsignalled};

/// The most paths that are kept between two calls of a handler.
const MOST_PATHS: usize = 1024;

bitflags::bitflags! {
    /// A change of a path.
    ///
    /// ```
    /// use singletrack_io::event::Change;
    ///
    /// let saved = Change::CREATED | Change::WRITTEN;
    /// assert!(saved.contains(Change::WRITTEN) && !saved.contains(Change::DELETED));
    /// ```
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Change: u8 {
        /// It is something new: it was made, or renamed to this path, perhaps in place of another,
        /// as editors save.
        const CREATED = 1;
        /// Its contents were written or truncated.
        const WRITTEN = 2;
        /// Its permissions, owner or times were changed.
        const ATTRIBUTES = 4;
        /// It has another name or folder now; nothing is at this path.
        const RENAMED = 8;
        /// It was deleted.
        const DELETED = 16;
    }
}

/// The changes since the last call of the handler.
///
/// ```
/// use singletrack_io::event::{Change, Changes};
///
/// fn must_reload(changes: &Changes) -> bool {
///     changes.and_more || changes.all().intersects(Change::CREATED | Change::WRITTEN)
/// }
/// assert!(!must_reload(&Changes::default()));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Changes {
    /// By path: each begins with the path that [`EventSource::file_changes`] was given, as it was
    /// given.
    pub paths: BTreeMap<PathBuf, Change>,
    /// There were more changes than could be kept (1,024 paths, and the system's buffer): look at
    /// everything again.
    pub and_more: bool,
}

impl Changes {
    /// All changes of any of the paths.
    ///
    /// ```
    /// use singletrack_io::{EventSource, event::Change};
    /// use singletrack_queues::Queue;
    /// use std::{fs, sync::mpsc};
    ///
    /// let (tell, told) = mpsc::channel();
    /// let inbox = std::env::temp_dir().join(format!("inbox-{}", std::process::id()));
    /// fs::create_dir(&inbox)?;
    /// let source = EventSource::file_changes(&Queue::new("inbox"), &inbox, move |changes| {
    ///     tell.send(changes.all()).unwrap_or_default();
    /// })?;
    /// fs::write(inbox.join("letter"), "dear")?;
    /// assert!(told.recv()?.contains(Change::CREATED));
    /// source.cancel();
    /// fs::remove_dir_all(inbox)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn all(&self) -> Change {
        self.paths.values().fold(Change::empty(), |all, change| all | *change)
    }

    fn note(&mut self, path: PathBuf, change: Change) {
        let full = self.paths.len() >= MOST_PATHS;
        match self.paths.get_mut(&path) {
            Some(before) => *before |= change,
            None if full => self.and_more = true,
            None => drop(self.paths.insert(path, change)),
        }
    }

    fn is_empty(&self) -> bool {
        self.paths.is_empty() && !self.and_more
    }
}

impl EventSource {
    /// Calls `handler` on the queue when `path` changes: a file, or a folder and its direct
    /// contents.
    ///
    /// The handler gets the changes since its last call, by path. A file is known by its name: it
    /// is still watched after it is deleted and made again, or after another file is renamed to it.
    /// A symbolic link is watched, and so is its target at this moment. When a watched *folder* is
    /// itself deleted or renamed, that is reported. When the folder of a watched file is deleted or
    /// renamed, that is not. In either case do not rely on events of a folder that takes its place:
    /// watch that anew.
    ///
    /// ```
    /// use singletrack_io::{EventSource, event::Change};
    /// use singletrack_queues::Queue;
    ///
    /// let (tell, told) = std::sync::mpsc::channel();
    /// let settings = std::env::temp_dir().join(format!("settings-{}", std::process::id()));
    /// std::fs::write(&settings, "colour = blue")?;
    /// let source = EventSource::file_changes(&Queue::new("settings"), &settings, move |changes| {
    ///     tell.send(changes.all()).unwrap();
    /// })?;
    /// std::fs::write(&settings, "colour = red")?;
    /// assert!(told.recv()?.contains(Change::WRITTEN));
    /// # drop(source);
    /// # std::fs::remove_file(settings)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// When nothing is at `path`, or the system watches no more folders for this user.
    #[doc(alias = "DISPATCH_SOURCE_TYPE_VNODE")]
    #[track_caller]
    #[doc(alias = "dispatch_source_get_mask")]
    pub fn file_changes<F>(
        on: impl Into<SourceBuilder>,
        path: impl AsRef<Path>,
        mut handler: F,
    ) -> Result<EventSource, EventError>
    where
        F: FnMut(Changes) + Send + 'static,
    {
        let (builder, path, own) = (on.into(), path.as_ref(), Own::default());
        let label = builder.label().to_string();
        EventError::unless_gone(&builder, format_args!("changes of {}", path.display()))?;
        let listener = Arc::new(Listener { shown: path.into(), own: own.clone(), happened: Mutex::default() });
        let watching = match Watching::begin(&listener) {
            Ok(watching) => watching,
            Err(why) => return Err(EventError::new(&label, format_args!("changes of {}", path.display()), why)),
        };
        let made = unsignalled(builder, &own, move |_| {
            let happened = std::mem::take(&mut *locked(&watching.listener.happened));
            if !happened.is_empty() {
                handler(happened);
            }
        });
        // Reports the changes before there was a source.
        own.merge(AGAIN);
        Ok(made)
    }
}

/// The receiver of changes in one or two places.
struct Listener {
    /// The path as it was given.
    shown: PathBuf,
    own: Own,
    happened: Mutex<Changes>,
}

impl Listener {
    fn tell(&self, note: impl FnOnce(&mut Changes)) {
        note(&mut locked(&self.happened));
        self.own.merge(AGAIN);
    }
}

/// A folder, by the one path that leads to it without links, and the part of it: a name, or
/// everything.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    folder: PathBuf,
    name: Option<OsString>,
}

impl Place {
    /// The places where changes of `path` are reported: a link has two.
    fn of(path: &Path) -> io::Result<Vec<Place>> {
        fs::symlink_metadata(path)?;
        let of_name = |path: &Path| -> Option<Place> {
            let folder =
                path.parent().map(|parent| if parent.as_os_str().is_empty() { Path::new(".") } else { parent })?;
            Some(Place { folder: fs::canonicalize(folder).ok()?, name: Some(path.file_name()?.into()) })
        };
        // A dangling link is watched itself.
        let real = fs::canonicalize(path).ok();
        let target = match &real {
            Some(real) if real.is_dir() => Some(Place { folder: real.clone(), name: None }),
            Some(real) => of_name(real),
            None => None,
        };
        let is_link = fs::symlink_metadata(path)?.is_symlink();
        let mut places: Vec<Place> = is_link.then(|| of_name(path)).flatten().into_iter().chain(target).collect();
        places.dedup();
        if places.is_empty() {
            return Err(refused(io::ErrorKind::NotFound, "no folder leads to it"));
        }
        Ok(places)
    }
}

type Listeners = Vec<(Option<OsString>, Arc<Listener>)>;

/// The listeners, by place.
#[derive(Default)]
struct Table {
    /// By folder: for a name in it, or for everything.
    listeners: HashMap<PathBuf, Listeners>,
    /// Folders that were deleted or renamed. Reports under their paths may be about another place,
    /// and a folder that is there again is not watched yet.
    lost: HashSet<PathBuf>,
}

static TABLE: Mutex<Option<Table>> = Mutex::new(None);
static FOLDERS: Mutex<Option<Folders>> = Mutex::new(None);

thread_local! {
    static IS_WATCHER: Cell<bool> = const { Cell::new(false) };
}

/// The watcher, and the folders that it was asked to watch.
struct Folders {
    watcher: RecommendedWatcher,
    watched: HashSet<PathBuf>,
}

impl Folders {
    fn new() -> io::Result<Folders> {
        let watcher = notify::recommended_watcher(|event| {
            IS_WATCHER.set(true);
            tell(event);
        });
        Ok(Folders { watcher: watcher.map_err(told_plainly)?, watched: HashSet::new() })
    }

    /// Watches the folders with listeners, and no others. The folders of `new` must exist.
    fn settle(&mut self, new: &[Place]) -> io::Result<()> {
        let (wanted, lost): (HashSet<PathBuf>, _) =
            with_table(|table| (table.listeners.keys().cloned().collect(), std::mem::take(&mut table.lost)));
        let keep = |folder: &PathBuf| wanted.contains(folder) && !lost.contains(folder);
        for folder in self.watched.extract_if(|folder| !keep(folder)) {
            if let Err(error) = self.watcher.unwatch(&folder) {
                // The folder was deleted, which ended its watch.
                log::debug!("{} is not watched any more: {error}", folder.display());
            }
        }
        let mut settled = Ok(());
        for folder in wanted.difference(&self.watched.clone()) {
            match self.watcher.watch(folder, RecursiveMode::NonRecursive) {
                Ok(()) => drop(self.watched.insert(folder.clone())),
                Err(error) if new.iter().any(|place| place.folder == *folder) => settled = Err(told_plainly(error)),
                Err(error) => log::debug!("{} is lost: {error}", folder.display()),
            }
        }
        settled
    }
}

/// A listener in the table; dropping it removes the listener.
struct Watching {
    listener: Arc<Listener>,
    places: Vec<Place>,
}

impl Watching {
    fn begin(listener: &Arc<Listener>) -> io::Result<Watching> {
        let places = Place::of(&listener.shown)?;
        let mut folders = locked(&FOLDERS);
        let folders = match &mut *folders {
            Some(folders) => folders,
            none => none.insert(Folders::new()?),
        };
        with_table(|table| {
            for place in &places {
                let listeners = table.listeners.entry(place.folder.clone()).or_default();
                listeners.push((place.name.clone(), listener.clone()));
            }
        });
        let settled = folders.settle(&places);
        if settled.is_err() {
            leave(&places, listener);
        }
        settled.map(|()| Watching { listener: listener.clone(), places })
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        if IS_WATCHER.get() {
            return leave(&self.places, &self.listener);
        }
        let mut folders = locked(&FOLDERS);
        leave(&self.places, &self.listener);
        if let Some(Err(error)) = folders.as_mut().map(|folders| folders.settle(&[])) {
            log::warn!("watching folders: {error}");
        }
    }
}

fn leave(places: &[Place], listener: &Arc<Listener>) {
    with_table(|table| {
        for place in places {
            if let Some(listeners) = table.listeners.get_mut(&place.folder) {
                listeners.retain(|(_, other)| !Arc::ptr_eq(other, listener));
                if listeners.is_empty() {
                    table.listeners.remove(&place.folder);
                }
            }
        }
    });
}

fn with_table<R>(f: impl FnOnce(&mut Table) -> R) -> R {
    f(locked(&TABLE).get_or_insert_default())
}

/// Runs on the watcher's thread and calls the listeners concerned. None is called while the table
/// is locked.
fn tell(event: notify::Result<notify::Event>) {
    let event = match event {
        Ok(event) if !event.need_rescan() => event,
        missed => {
            log::warn!("changes of files were missed: {missed:?}");
            let all: Vec<_> =
                with_table(|table| table.listeners.values().flatten().map(|(_, one)| one.clone()).collect());
            all.iter().for_each(|listener| listener.tell(|happened| happened.and_more = true));
            return;
        }
    };
    let Some(changes) = meaning(event.kind) else { return };
    for (path, change) in event.paths.iter().zip(changes) {
        let concerned = with_table(|table| table.concerned(path, change));
        for (listener, shown) in concerned {
            listener.tell(|happened| happened.note(shown, change));
        }
    }
}

impl Table {
    /// Returns the listeners concerned by a change of `path`, each with its name for the path.
    fn concerned(&mut self, path: &Path, change: Change) -> Vec<(Arc<Listener>, PathBuf)> {
        let mut concerned = Vec::new();
        let folder = path.parent().filter(|folder| !self.lost.contains(*folder));
        if let (Some(listeners), Some(name)) = (folder.and_then(|one| self.listeners.get(one)), path.file_name()) {
            for (only, listener) in listeners {
                match only {
                    None => concerned.push((listener.clone(), listener.shown.join(name))),
                    Some(only) if only == name => concerned.push((listener.clone(), listener.shown.clone())),
                    Some(_) => {}
                }
            }
        }
        // The path may itself be a watched folder.
        if let Some(listeners) = self.listeners.get(path) {
            let all = listeners.iter().filter(|(only, _)| only.is_none());
            concerned.extend(all.map(|(_, listener)| (listener.clone(), listener.shown.clone())));
            if change.intersects(Change::DELETED | Change::RENAMED) {
                self.lost.insert(path.to_owned());
            }
        }
        concerned
    }
}

/// Returns the changes that an event means for its paths, in their order; `None`: nothing changed.
fn meaning(kind: EventKind) -> Option<[Change; 2]> {
    Some(match kind {
        EventKind::Access(_) => return None,
        EventKind::Create(_) | EventKind::Modify(ModifyKind::Name(RenameMode::To)) => [Change::CREATED; 2],
        EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => [Change::RENAMED, Change::CREATED],
        EventKind::Modify(ModifyKind::Name(_)) => [Change::RENAMED; 2],
        EventKind::Modify(ModifyKind::Metadata(_)) => [Change::ATTRIBUTES; 2],
        EventKind::Remove(_) => [Change::DELETED; 2],
        EventKind::Any | EventKind::Other | EventKind::Modify(_) => [Change::WRITTEN; 2],
    })
}

fn told_plainly(error: notify::Error) -> io::Error {
    match error.kind {
        notify::ErrorKind::Io(error) => error,
        notify::ErrorKind::MaxFilesWatch => refused(
            io::ErrorKind::QuotaExceeded,
            "the system watches no more folders for this user: raise fs.inotify.max_user_watches",
        ),
        _ => io::Error::other(error),
    }
}

/// The data under these locks is consistent between any two statements, so a panic elsewhere does
/// not spoil it.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_paths_than_are_kept_are_said_to_be_more() {
        let mut changes = Changes::default();
        assert!(changes.is_empty());
        for n in 0..MOST_PATHS {
            changes.note(PathBuf::from(n.to_string()), Change::CREATED);
        }
        assert!(!changes.and_more);
        changes.note(PathBuf::from("0"), Change::WRITTEN);
        assert_eq!((changes.and_more, changes.paths[Path::new("0")]), (false, Change::CREATED | Change::WRITTEN));
        changes.note(PathBuf::from("one more"), Change::DELETED);
        assert!(changes.and_more && changes.paths.len() == MOST_PATHS);
        assert_eq!(changes.all(), Change::CREATED | Change::WRITTEN);
    }
}
