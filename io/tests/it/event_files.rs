//! Sources on files and folders: the reported changes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};

use singletrack_io::EventSource;
use singletrack_io::event::{Change, Changes};
use singletrack_queues::Queue;

use crate::{DEADLINE, scratch};

fn watch(path: &Path) -> (EventSource, Receiver<Changes>) {
    let (tell, told) = channel();
    let queue = Queue::new("files");
    let source = EventSource::file_changes(&queue, path, move |changes| tell.send(changes).unwrap_or_default());
    (source.expect("it is there"), told)
}

/// Collects the reported changes of `path` until `all` of these have come; no other path may be
/// reported.
#[track_caller]
fn told_of(told: &Receiver<Changes>, path: &Path, all: Change) -> Change {
    let mut sum = Change::empty();
    while !sum.contains(all) {
        let changes = told.recv_timeout(DEADLINE).unwrap_or_else(|_| panic!("reported {sum:?}, not {all:?}"));
        assert!(changes.paths.keys().all(|one| one == path), "{changes:?}");
        sum |= changes.all();
    }
    sum
}

fn file(folder: &Path) -> PathBuf {
    let path = folder.join("file");
    fs::write(&path, "old").unwrap();
    path
}

#[test]
fn a_file_is_written_renamed_and_deleted() {
    let folder = scratch("files-single");
    let path = file(&folder);
    let (_source, told) = watch(&path);
    fs::write(&path, "new").unwrap();
    let sum = told_of(&told, &path, Change::WRITTEN);
    assert!(!sum.intersects(Change::DELETED | Change::RENAMED | Change::CREATED), "{sum:?}");
    let mut read_only = fs::metadata(&path).unwrap().permissions();
    read_only.set_readonly(true);
    fs::set_permissions(&path, read_only).unwrap();
    told_of(&told, &path, Change::ATTRIBUTES);
    fs::rename(&path, folder.join("elsewhere")).unwrap();
    let sum = told_of(&told, &path, Change::RENAMED);
    assert!(!sum.contains(Change::DELETED), "{sum:?}");
    fs::write(&path, "again").unwrap();
    told_of(&told, &path, Change::CREATED | Change::WRITTEN);
    fs::remove_file(&path).unwrap();
    told_of(&told, &path, Change::DELETED);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_file_that_an_editor_replaces_is_still_watched() {
    let folder = scratch("files-editor");
    let path = file(&folder);
    let (_source, told) = watch(&path);
    for text in ["first", "second"] {
        let draft = folder.join(".file.draft");
        fs::write(&draft, text).unwrap();
        fs::rename(&draft, &path).unwrap();
        told_of(&told, &path, Change::CREATED);
    }
    fs::write(&path, "in place").unwrap();
    told_of(&told, &path, Change::WRITTEN);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_folder_tells_what_happened_in_it_by_path() {
    let folder = scratch("files-folder");
    let (source, told) = watch(&folder);
    source.suspend();
    for name in ["a", "b", "c"] {
        fs::write(folder.join(name), name).unwrap();
    }
    fs::rename(folder.join("b"), folder.join("d")).unwrap();
    fs::remove_file(folder.join("c")).unwrap();
    // A later change in another file was reported after all these; so all these have been reported.
    witness(&folder.with_extension("witness"));
    source.resume().unwrap();
    let changes = told.recv_timeout(DEADLINE).unwrap();
    let names: Vec<_> = changes.paths.keys().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!((names, changes.and_more), (vec!["a", "b", "c", "d"], false), "one call for all");
    let of = |name: &str| changes.paths[&folder.join(name)];
    assert_eq!(of("a"), Change::CREATED | Change::WRITTEN);
    assert!(of("b").contains(Change::RENAMED) && !of("b").contains(Change::DELETED));
    assert!(of("c").contains(Change::DELETED));
    assert_eq!(of("d"), Change::CREATED);
    fs::remove_dir_all(&folder).unwrap();
    assert!(told.iter().any(|changes| changes.paths.get(&folder).is_some_and(|c| c.contains(Change::DELETED))));
}

/// Returns when a change that it makes now has been reported.
fn witness(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    let path = file(folder);
    let (_source, told) = watch(&path);
    fs::write(&path, "seen").unwrap();
    told_of(&told, &path, Change::WRITTEN);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn two_sources_on_one_folder_are_told_and_one_goes_on_alone() {
    let folder = scratch("files-two");
    let path = file(&folder);
    let (first, told_first) = watch(&path);
    let (_second, told_second) = watch(&path);
    fs::write(&path, "both").unwrap();
    told_of(&told_first, &path, Change::WRITTEN);
    told_of(&told_second, &path, Change::WRITTEN);
    first.cancel();
    first.queue().expect("a serial queue").sync(|| ());
    assert!(told_first.iter().all(|changes| changes.all() == Change::WRITTEN), "its handler is gone");
    fs::remove_file(&path).unwrap();
    told_of(&told_second, &path, Change::DELETED);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_folder_that_is_made_again_can_be_watched_again() {
    let folder = scratch("files-again");
    let mut former = Vec::new();
    for _ in 0..3 {
        fs::create_dir_all(&folder).unwrap();
        let path = file(&folder);
        let (source, told) = watch(&folder);
        fs::write(&path, "seen").unwrap();
        told_of(&told, &path, Change::WRITTEN);
        fs::remove_dir_all(&folder).unwrap();
        while !told.recv_timeout(DEADLINE).unwrap().paths.contains_key(&folder) {}
        // It still exists, but is of no use: its folder is gone.
        former.push(source);
    }
}

#[test]
fn a_link_is_watched_with_what_it_leads_to() {
    let folder = scratch("files-link");
    fs::create_dir(folder.join("real")).unwrap();
    let (path, link) = (file(&folder.join("real")), folder.join("link"));
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let (_source, told) = watch(&link);
    fs::write(&path, "behind the link").unwrap();
    told_of(&told, &link, Change::WRITTEN);
    fs::remove_file(&link).unwrap();
    told_of(&told, &link, Change::DELETED);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_path_with_nothing_there_is_an_error_that_names_it() {
    let error = EventSource::file_changes(&Queue::new("strict"), "/nowhere/at/all", |_| ()).expect_err("refused");
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    let said = error.to_string();
    assert!(said.contains("strict") && said.contains("/nowhere/at/all"), "{said}");
}
