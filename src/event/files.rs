//! Sources that are called when files change.
//!
//! One watcher (the library `notify`, one thread) serves all sources. It watches folders, each once, and tells of names in
//! them; a file is a name in its folder, so that a file which an editor replaces by another is still the one that is watched.
//! What happened is kept by path until the handler takes it. Not for: whole trees (only one level is watched), and contents.
//!
//! Rules:
//! - The table is locked by whoever looks up listeners, the watcher's thread too, and never while the watcher is called: its
//!   calls wait for that thread. The lock of the watcher is taken first, and makes a change of both one step.
//! - The watcher's thread may be the one that drops a source's last handle. Then it leaves the folder to whoever calls the
//!   watcher next.

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

/// So many paths are kept between two calls of a handler.
const MOST_PATHS: usize = 1024;

bitflags::bitflags! {
    /// What happened to a path.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Change: u8 {
        /// Something new is there now: it was made, or renamed to this path, perhaps in place of another, as editors save.
        const CREATED = 1;
        /// Its contents were written or cut.
        const WRITTEN = 2;
        /// Its permissions, owner or times were changed.
        const ATTRIBUTES = 4;
        /// It has another name or place now; nothing is at this path.
        const RENAMED = 8;
        /// It was deleted.
        const DELETED = 16;
    }
}

/// What happened since the last call of the handler.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Changes {
    /// By path: below the one that was given to [`EventSource::file_changes`], as that was given.
    pub paths: BTreeMap<PathBuf, Change>,
    /// More happened than could be kept (1,024 paths, and what the system holds): look at everything again.
    pub and_more: bool,
}

impl Changes {
    /// All that happened to any of the paths.
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
    /// Calls `handler` on the queue when `path` changes: a file, or a folder and what is directly in it.
    ///
    /// The handler gets what happened since its last call, by path. A file is known by its name: it may be deleted and made
    /// again, or replaced by another that is renamed to it, and is still watched. A symbolic link and what it leads to at
    /// this moment are both watched. When a *folder* that is watched, or the one that a watched file is in, is itself deleted or
    /// renamed, that is told of a watched folder, and nothing of one that takes its place can be relied on: watch that anew.
    ///
    /// ```
    /// use singletrack::{EventSource, Queue, event::Change};
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
    #[track_caller]
    pub fn file_changes<F>(
        on: impl Into<SourceBuilder>,
        path: impl AsRef<Path>,
        mut handler: F,
    ) -> Result<EventSource, EventError>
    where
        F: FnMut(Changes) + Send + 'static,
    {
        let (builder, path, own) = (on.into(), path.as_ref(), Own::default());
        let queue = builder.queue().clone();
        let listener = Arc::new(Listener { shown: path.into(), own: own.clone(), happened: Mutex::default() });
        let watching = match Watching::begin(&listener) {
            Ok(watching) => watching,
            Err(why) => return Err(EventError::new(&queue, format_args!("changes of {}", path.display()), why)),
        };
        let made = unsignalled(builder, &own, move |_| {
            let happened = std::mem::take(&mut *locked(&watching.listener.happened));
            if !happened.is_empty() {
                handler(happened);
            }
        });
        // What happened before there was a source to tell of it.
        own.merge(AGAIN);
        Ok(made)
    }
}

/// Who is told of changes in one or two places.
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

/// A folder, by the one path that leads to it without links, and what in it: a name, or everything.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    folder: PathBuf,
    name: Option<OsString>,
}

impl Place {
    /// Where changes of `path` are told: it may be a link, and then there are two places.
    fn of(path: &Path) -> io::Result<Vec<Place>> {
        fs::symlink_metadata(path)?;
        let of_name = |path: &Path| -> Option<Place> {
            let folder =
                path.parent().map(|parent| if parent.as_os_str().is_empty() { Path::new(".") } else { parent })?;
            Some(Place { folder: fs::canonicalize(folder).ok()?, name: Some(path.file_name()?.into()) })
        };
        // A link that leads nowhere is watched itself.
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

/// Who listens for what.
#[derive(Default)]
struct Table {
    /// By folder: for a name in it, or for all.
    listeners: HashMap<PathBuf, Listeners>,
    /// Folders that were deleted or renamed: what is told under their paths may be about another place, and when one of them
    /// is there again, it is not watched yet.
    lost: HashSet<PathBuf>,
}

static TABLE: Mutex<Option<Table>> = Mutex::new(None);
static FOLDERS: Mutex<Option<Folders>> = Mutex::new(None);

thread_local! {
    static IS_WATCHER: Cell<bool> = const { Cell::new(false) };
}

/// The watcher, and what it was asked to watch.
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

    /// Watches folders with listeners, and no others. Those of `new` must be there.
    fn settle(&mut self, new: &[Place]) -> io::Result<()> {
        let (wanted, lost): (HashSet<PathBuf>, _) =
            with_table(|table| (table.listeners.keys().cloned().collect(), std::mem::take(&mut table.lost)));
        let keep = |folder: &PathBuf| wanted.contains(folder) && !lost.contains(folder);
        for folder in self.watched.extract_if(|folder| !keep(folder)) {
            if let Err(error) = self.watcher.unwatch(&folder) {
                // It was deleted, and that ended it.
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

/// A listener in the table; taken out when this is dropped.
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

/// On the watcher's thread: tells whom it concerns. Nobody is told while the table is locked.
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
    /// Who is to be told of a change of `path`, and how they call it.
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
        // It may be a folder that is watched.
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

/// What an event says of its paths, in their order; `None`: nothing changed.
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

/// What is under these locks is whole between any two statements, so a panic elsewhere does not spoil it.
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
