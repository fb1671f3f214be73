//! The table of `queues/GCD.md`: every call of libdispatch has a row, and every test that a row
//! names exists.
//!
//! For: a table that neither leaves a call out nor names a test that is gone. Not for: whether a
//! test shows what the row says, which is left to readers. Rule: a row without a test says "none",
//! and why. Broken samples show that the check can fail.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Every public call, constant and type of libdispatch on Linux and macOS, and the private ones
/// that are exported.
const CALLS: &str = "
dispatch_retain dispatch_release dispatch_get_context dispatch_set_context dispatch_set_finalizer_f dispatch_activate
dispatch_suspend dispatch_resume dispatch_wait dispatch_notify dispatch_cancel dispatch_testcancel dispatch_debug
dispatch_debugv dispatch_object_t dispatch_block_t dispatch_function_t dispatch_queue_create DISPATCH_QUEUE_SERIAL
DISPATCH_QUEUE_CONCURRENT dispatch_queue_create_with_target dispatch_set_target_queue DISPATCH_TARGET_QUEUE_DEFAULT
dispatch_queue_attr_make_initially_inactive DISPATCH_QUEUE_SERIAL_INACTIVE DISPATCH_QUEUE_CONCURRENT_INACTIVE
dispatch_queue_attr_make_with_qos_class dispatch_qos_class_t dispatch_queue_get_qos_class
dispatch_queue_attr_make_with_autorelease_frequency DISPATCH_QUEUE_SERIAL_WITH_AUTORELEASE_POOL
DISPATCH_QUEUE_CONCURRENT_WITH_AUTORELEASE_POOL DISPATCH_AUTORELEASE_FREQUENCY_INHERIT
DISPATCH_AUTORELEASE_FREQUENCY_WORK_ITEM DISPATCH_AUTORELEASE_FREQUENCY_NEVER dispatch_queue_attr_make_with_overcommit
DISPATCH_QUEUE_OVERCOMMIT dispatch_get_global_queue dispatch_queue_priority_t dispatch_get_main_queue dispatch_main
dispatch_async dispatch_async_f dispatch_sync dispatch_sync_f dispatch_barrier_async dispatch_barrier_async_f
dispatch_barrier_sync dispatch_barrier_sync_f dispatch_apply dispatch_apply_f DISPATCH_APPLY_AUTO dispatch_after
dispatch_after_f dispatch_queue_get_label DISPATCH_CURRENT_QUEUE_LABEL dispatch_get_current_queue
dispatch_queue_set_specific dispatch_queue_get_specific dispatch_get_specific dispatch_assert_queue
dispatch_assert_queue_barrier dispatch_assert_queue_not dispatch_assert_queue_debug
dispatch_assert_queue_barrier_debug dispatch_assert_queue_not_debug dispatch_block_create
dispatch_block_create_with_qos_class DISPATCH_BLOCK_BARRIER DISPATCH_BLOCK_NO_QOS_CLASS
DISPATCH_BLOCK_INHERIT_QOS_CLASS DISPATCH_BLOCK_ENFORCE_QOS_CLASS DISPATCH_BLOCK_ASSIGN_CURRENT
dispatch_async_enforce_qos_class_f DISPATCH_BLOCK_DETACHED dispatch_block_perform dispatch_block_wait
dispatch_block_notify dispatch_block_cancel dispatch_block_testcancel dispatch_group_create dispatch_group_enter
dispatch_group_leave dispatch_group_async dispatch_group_async_f dispatch_group_wait dispatch_group_notify
dispatch_group_notify_f dispatch_semaphore_create dispatch_semaphore_wait dispatch_semaphore_signal dispatch_once
dispatch_once_f dispatch_once_t dispatch_time dispatch_walltime dispatch_time_t DISPATCH_TIME_NOW
DISPATCH_TIME_FOREVER DISPATCH_WALLTIME_NOW DISPATCH_MONOTONICTIME_NOW NSEC_PER_SEC NSEC_PER_MSEC NSEC_PER_USEC
USEC_PER_SEC DISPATCH_SOURCE_TYPE_READ DISPATCH_SOURCE_TYPE_WRITE DISPATCH_SOURCE_TYPE_TIMER DISPATCH_TIMER_STRICT
DISPATCH_SOURCE_TYPE_INTERVAL dispatch_source_set_timer DISPATCH_SOURCE_TYPE_SIGNAL DISPATCH_SOURCE_TYPE_DATA_ADD
DISPATCH_SOURCE_TYPE_DATA_OR DISPATCH_SOURCE_TYPE_DATA_REPLACE dispatch_source_merge_data DISPATCH_SOURCE_TYPE_PROC
DISPATCH_PROC_EXIT DISPATCH_PROC_FORK DISPATCH_PROC_EXEC DISPATCH_PROC_SIGNAL DISPATCH_SOURCE_TYPE_VNODE
DISPATCH_VNODE_DELETE DISPATCH_VNODE_WRITE DISPATCH_VNODE_EXTEND DISPATCH_VNODE_ATTRIB DISPATCH_VNODE_LINK
DISPATCH_VNODE_RENAME DISPATCH_VNODE_REVOKE DISPATCH_VNODE_FUNLOCK DISPATCH_SOURCE_TYPE_MEMORYPRESSURE
DISPATCH_MEMORYPRESSURE_NORMAL DISPATCH_MEMORYPRESSURE_WARN DISPATCH_MEMORYPRESSURE_CRITICAL
DISPATCH_SOURCE_TYPE_MACH_SEND DISPATCH_SOURCE_TYPE_MACH_RECV DISPATCH_MACH_SEND_DEAD dispatch_mach_connect
dispatch_mach_create dispatch_mach_send dispatch_source_create dispatch_source_set_event_handler
dispatch_source_set_event_handler_f dispatch_source_set_cancel_handler dispatch_source_set_cancel_handler_f
dispatch_source_set_mandatory_cancel_handler dispatch_source_set_mandatory_cancel_handler_f
dispatch_source_set_registration_handler dispatch_source_set_registration_handler_f dispatch_source_cancel
dispatch_source_testcancel dispatch_source_cancel_and_wait dispatch_source_get_handle dispatch_source_get_mask
dispatch_source_get_data dispatch_source_get_extended_data dispatch_read dispatch_read_f dispatch_write
dispatch_write_f dispatch_io_create dispatch_io_create_f DISPATCH_IO_STREAM DISPATCH_IO_RANDOM
dispatch_io_create_with_path dispatch_io_create_with_path_f dispatch_io_create_with_io dispatch_io_create_with_io_f
dispatch_io_read dispatch_io_read_f dispatch_io_write dispatch_io_write_f dispatch_io_close DISPATCH_IO_STOP
dispatch_io_barrier dispatch_io_get_descriptor dispatch_io_set_high_water dispatch_io_set_low_water
dispatch_io_set_interval DISPATCH_IO_STRICT_INTERVAL dispatch_data_create dispatch_data_create_f
dispatch_data_create_alloc dispatch_data_alloc DISPATCH_DATA_DESTRUCTOR_DEFAULT DISPATCH_DATA_DESTRUCTOR_FREE
DISPATCH_DATA_DESTRUCTOR_MUNMAP dispatch_data_empty dispatch_data_get_size dispatch_data_create_map
dispatch_data_create_concat dispatch_data_create_subrange dispatch_data_apply dispatch_data_apply_f
dispatch_data_copy_region dispatch_data_create_with_transform dispatch_introspection_hook_queue_create
dispatch_introspection_hook_queue_destroy dispatch_introspection_hook_queue_item_enqueue
dispatch_introspection_hook_queue_item_dequeue dispatch_introspection_hook_queue_item_complete
dispatch_introspection_hook_queue_callout_begin dispatch_introspection_hook_queue_callout_end dispatch_async_and_wait
dispatch_async_and_wait_f dispatch_barrier_async_and_wait dispatch_barrier_async_and_wait_f dispatch_workloop_create
dispatch_workloop_create_inactive dispatch_workloop_is_current dispatch_workloop_copy_current
dispatch_workloop_set_qos_class dispatch_workloop_set_qos_class_floor dispatch_workloop_set_autorelease_frequency
dispatch_workloop_set_cpupercent dispatch_queue_set_width dispatch_set_qos_class dispatch_set_qos_class_floor
dispatch_set_qos_class_fallback dispatch_block_create_with_voucher dispatch_block_create_with_voucher_and_qos_class
voucher_adopt voucher_copy _dispatch_get_main_queue_handle_4CF _dispatch_get_main_queue_port_4CF
_dispatch_main_queue_callback_4CF _dispatch_runloop_root_queue_create_4CF _dispatch_runloop_root_queue_perform_4CF
_dispatch_runloop_root_queue_wakeup_4CF dispatch_benchmark dispatch_benchmark_f dispatch_atfork_prepare
dispatch_atfork_parent dispatch_atfork_child _dispatch_is_multithreaded _dispatch_prohibit_transition_to_multithreaded
dispatch_pthread_root_queue_create
";

/// The calls that have a counterpart in the language, or need none: a search in the docs for them
/// would lead nowhere better than the table.
const WITHOUT_ALIAS: &str = "
dispatch_retain dispatch_release dispatch_debug dispatch_debugv dispatch_object_t dispatch_block_t dispatch_function_t
dispatch_block_perform dispatch_introspection_hook_queue_create dispatch_introspection_hook_queue_destroy
dispatch_introspection_hook_queue_item_enqueue dispatch_introspection_hook_queue_item_dequeue
dispatch_introspection_hook_queue_item_complete dispatch_introspection_hook_queue_callout_begin
dispatch_introspection_hook_queue_callout_end dispatch_atfork_prepare dispatch_atfork_parent dispatch_atfork_child
";

/// Folders with tests of both packages.
const FOLDERS: [&str; 4] = ["queues/src", "queues/tests", "io/src", "io/tests"];

/// The tests in a file: functions below `#[test]`, by the file's name and their own.
fn tests_in(stem: &str, text: &str) -> Vec<String> {
    let mut is_test = false;
    let mut names = Vec::new();
    for line in text.lines().map(str::trim) {
        if line == "#[test]" {
            is_test = true;
        } else if let Some((_, rest)) = line.split_once("fn ").filter(|_| is_test) {
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            names.push(format!("{stem}::{name}"));
            is_test = false;
        }
    }
    names
}

fn collect(folder: &Path, tests: &mut BTreeSet<String>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for path in entries.map(|entry| entry.expect("a folder can be read").path()) {
        if path.is_dir() {
            collect(&path, tests);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let stem = path.file_stem().expect("a file has a name").to_string_lossy();
            tests.extend(tests_in(&stem, &fs::read_to_string(&path).expect("text")));
        }
    }
}

/// The texts in backticks.
fn names(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// The faults of the table.
fn findings(table: &str, tests: &BTreeSet<String>, calls: &[&str]) -> Vec<String> {
    let mut findings = Vec::new();
    let mut found = BTreeSet::new();
    for row in table.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [theirs, ours, differs, shown] = cells[..] else {
            findings.push(format!("not four cells: {row}"));
            continue;
        };
        for call in names(theirs) {
            if !found.insert(call) {
                findings.push(format!("{call} has two rows"));
            }
        }
        if differs.len() < 5 {
            findings.push(format!("say how it differs, or \"The same.\": {theirs}"));
        }
        let shown = names(shown);
        let reason = ours == "none" && differs.len() > 40;
        if shown.is_empty() && !reason {
            findings.push(format!("name a test, or say \"none\" and why: {theirs}"));
        }
        let gone = shown.iter().filter(|test| !tests.contains(**test));
        findings.extend(gone.map(|test| format!("there is no test {test}, named for {theirs}")));
    }
    let missing = calls.iter().filter(|call| !found.contains(**call));
    findings.extend(missing.map(|call| format!("{call} has no row")));
    findings
}

#[test]
fn every_call_has_a_row_and_every_test_that_is_named_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut tests = BTreeSet::new();
    FOLDERS.iter().for_each(|folder| collect(&root.join(folder), &mut tests));
    let table = fs::read_to_string(root.join("queues/GCD.md")).expect("the table is there");
    let calls: Vec<&str> = CALLS.split_whitespace().collect();
    let findings = findings(&table, &tests, &calls);
    assert!(findings.is_empty(), "\n\n{}\n", findings.join("\n"));
}

/// The names that `#[doc(alias)]` gives in the sources below a folder.
fn aliases(folder: &Path, found: &mut BTreeSet<String>) {
    for path in fs::read_dir(folder).expect("a folder can be read").map(|entry| entry.expect("as above").path()) {
        if path.is_dir() {
            aliases(&path, found);
        } else {
            let text = fs::read_to_string(&path).unwrap_or_default();
            let after = text.split("#[doc(alias = \"").skip(1);
            found.extend(after.filter_map(|rest| rest.split('"').next()).map(str::to_owned));
        }
    }
}

/// The functions with a counterpart of ours in the table that the docs cannot be searched for.
fn not_in_the_docs<'a>(table: &'a str, aliases: &BTreeSet<String>, exempt: &str) -> Vec<&'a str> {
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    let ours = rows.filter(|row| row.split('|').nth(2).is_some_and(|ours| ours.trim() != "none"));
    let calls = ours.flat_map(|row| names(row.split('|').nth(1).expect("it begins with a cell")));
    let functions = calls.filter(|call| call.starts_with("dispatch_"));
    functions.filter(|call| !aliases.contains(*call) && !exempt.split_whitespace().any(|name| name == *call)).collect()
}

#[test]
fn the_docs_can_be_searched_for_every_function_that_has_a_counterpart() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeSet::new();
    ["queues/src", "io/src", "src"].iter().for_each(|folder| aliases(&root.join(folder), &mut found));
    let table = fs::read_to_string(root.join("queues/GCD.md")).expect("the table is there");
    assert_eq!(not_in_the_docs(&table, &found, WITHOUT_ALIAS), [""; 0], "add `#[doc(alias)]` to the counterpart");
    let stale = WITHOUT_ALIAS.split_whitespace().filter(|name| found.contains(*name) || !CALLS.contains(name));
    assert_eq!(stale.collect::<Vec<_>>(), [""; 0], "these need no exemption");
}

#[test]
fn a_function_without_an_alias_is_found_out() {
    let table = "| `dispatch_a`, `dispatch_b` | `x` | | |\n| `dispatch_c` | none | | |\n| `DISPATCH_D` | `y` | | |";
    let aliases = BTreeSet::from(["dispatch_a".to_owned()]);
    assert_eq!(not_in_the_docs(table, &aliases, ""), ["dispatch_b"]);
    assert_eq!(not_in_the_docs(table, &aliases, "dispatch_b"), [""; 0]);
}

#[test]
fn a_broken_table_is_found_out() {
    let tests = BTreeSet::from(["order::fifo".to_owned()]);
    let whole = "| `a`, `b` | `x` | The same. | `order::fifo` |\n| `c` | none | It exists in the kernel of another system alone, \
                 and nowhere else. | |";
    let calls = ["a", "b", "c"];
    assert_eq!(findings(whole, &tests, &calls), [""; 0]);
    let broken = [
        (whole.replace("`b`", "`d`"), "b has no row"),
        (whole.replace("`b`", "`c`"), "c has two rows"),
        (whole.replace("fifo", "lifo"), "there is no test order::lifo"),
        (whole.replace("`order::fifo`", ""), "name a test"),
        (whole.replace("| none |", "| `y` |"), "name a test"),
        (whole.replace("The same.", ""), "say how it differs"),
        (whole.replace("| `x` |", ""), "not four cells"),
    ];
    for (table, finding) in broken {
        let findings = findings(&table, &tests, &calls);
        assert!(findings.iter().any(|found| found.contains(finding)), "{finding}: {findings:?}");
    }
}

#[test]
fn only_what_stands_below_test_counts_as_one() {
    let text = "fn not_one() {}\n#[test]\n#[cfg(unix)]\nfn one() {}\nfn nor_this() {}\n    #[test]\n    fn inner() {}";
    assert_eq!(tests_in("file", text), ["file::one", "file::inner"]);
}
