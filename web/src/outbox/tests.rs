//! The order of frames, both sides of each limit, and the memory of an empty outbox.

use super::*;

const CLOSE: SlowMember = SlowMember::Close;
const TELL: SlowMember = SlowMember::DropAndTell;

fn limits(frames: usize, bytes: usize) -> Limits {
    Limits { outbox_frames: frames, outbox_bytes: bytes, ..Limits::default() }
}

fn frame(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// Writes everything in pieces of `piece` bytes, and returns the bytes.
fn drain(outbox: &mut Outbox, piece: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(mut lent) = outbox.lend() {
        let seen: Vec<u8> = lent.frames().concat().split_off(lent.begun()).into_iter().take(piece).collect();
        assert!(!seen.is_empty());
        lent.advance(seen.len());
        outbox.give_back(lent);
        out.extend(seen);
    }
    assert!(outbox.is_empty());
    out
}

/// Writes `bytes` bytes, with all frames lent.
fn advance(outbox: &mut Outbox, bytes: usize) -> bool {
    let mut lent = outbox.lend().unwrap();
    lent.advance(bytes);
    outbox.give_back(lent)
}

#[test]
fn frames_leave_in_order_wherever_writes_stop() {
    for piece in 1..12 {
        let mut outbox = Outbox::new();
        assert_eq!(outbox.push(&frame("one,"), &limits(9, 99), CLOSE), Push::Queued { first: true });
        assert_eq!(outbox.push(&frame("two,"), &limits(9, 99), CLOSE), Push::Queued { first: false });
        assert_eq!(outbox.push(&frame("three"), &limits(9, 99), CLOSE), Push::Queued { first: false });
        assert_eq!((outbox.len(), outbox.bytes()), (3, 13));
        assert_eq!(drain(&mut outbox, piece), b"one,two,three");
        assert_eq!((outbox.len(), outbox.bytes()), (0, 0));
    }
}

#[test]
fn an_empty_outbox_holds_no_memory_and_a_burst_is_forgotten() {
    let mut outbox = Outbox::new();
    assert!(outbox.waiting.is_none());
    for _ in 0..4000 {
        outbox.push(&frame("x"), &limits(4096, 1 << 20), CLOSE);
    }
    let capacity = |outbox: &Outbox| outbox.waiting.as_ref().map_or(0, |waiting| waiting.frames.capacity());
    let most = capacity(&outbox);
    advance(&mut outbox, 3990);
    assert!(capacity(&outbox) <= most / 4, "{}", capacity(&outbox));
    assert_eq!(drain(&mut outbox, 3), b"xxxxxxxxxx");
    assert!(outbox.waiting.is_none());
}

#[test]
fn the_limits_are_inclusive() {
    let mut outbox = Outbox::new();
    assert_eq!(outbox.push(&frame("ab"), &limits(2, 99), TELL), Push::Queued { first: true });
    assert_eq!(outbox.push(&frame("cd"), &limits(2, 99), TELL), Push::Queued { first: false });
    assert_eq!(outbox.push(&frame("ef"), &limits(2, 99), TELL), Push::Missed);
    let mut outbox = Outbox::new();
    outbox.push(&frame("ab"), &limits(9, 4), TELL);
    assert_eq!(outbox.push(&frame("cd"), &limits(9, 4), TELL), Push::Queued { first: false });
    assert_eq!(outbox.push(&frame("e"), &limits(9, 4), TELL), Push::Missed);
}

#[test]
fn an_empty_outbox_takes_a_frame_of_any_size() {
    let mut outbox = Outbox::new();
    assert_eq!(outbox.push(&frame("longer than the limit"), &limits(1, 4), CLOSE), Push::Queued { first: true });
    assert_eq!(outbox.push(&frame("x"), &limits(9, 4), CLOSE), Push::Full);
}

#[test]
fn a_slow_member_is_closed_at_once_behind_the_frame_that_was_begun() {
    let mut outbox = Outbox::new();
    outbox.push(&frame("begun"), &limits(2, 99), CLOSE);
    outbox.push(&frame("waits"), &limits(2, 99), CLOSE);
    advance(&mut outbox, 2);
    assert_eq!(outbox.push(&frame("over"), &limits(2, 99), CLOSE), Push::Full);
    assert!(outbox.is_closing());
    assert_eq!(outbox.push(&frame("late"), &limits(2, 99), CLOSE), Push::Closing);
    assert_eq!(outbox.push_pong(b""), Push::Closing);
    assert_eq!(outbox.push_ping(b""), Push::Closing);
    assert_eq!(outbox.push_close(frame("again")), Push::Closing);
    outbox.abandon(frame("again"));
    let written = drain(&mut outbox, 4);
    assert_eq!(&written[..3], b"gun");
    assert_eq!(written[3], 0x88);
    assert_eq!(written[5..7], 1013u16.to_be_bytes());
    assert_eq!((outbox.len(), outbox.bytes()), (0, 0));
}

#[test]
fn a_member_that_missed_messages_is_told_once_when_there_is_room() {
    let small = limits(2, 999);
    let mut outbox = Outbox::new();
    for text in ["a", "b", "c", "d"] {
        outbox.push(&frame(text), &small, TELL);
    }
    assert_eq!(outbox.missed(), 2);
    // Room for one frame only: not enough for the notice and the message.
    assert!(advance(&mut outbox, 1));
    assert_eq!(outbox.push(&frame("e"), &small, TELL), Push::Missed);
    // Everything is written: the notice comes by itself, since no further message may follow.
    assert!(advance(&mut outbox, 1));
    assert_eq!(outbox.missed(), 0);
    assert_eq!(outbox.push(&frame("f"), &small, TELL), Push::Queued { first: false });
    assert_eq!(drain(&mut outbox, 5), b"\x81\x0c{\"missed\":3}f");
}

#[test]
fn the_notice_stands_before_the_first_message_that_is_not_missed() {
    let small = limits(3, 99);
    let mut outbox = Outbox::new();
    for text in ["a", "b", "c", "d"] {
        outbox.push(&frame(text), &small, TELL);
    }
    advance(&mut outbox, 2);
    assert_eq!(outbox.push(&frame("e"), &small, TELL), Push::Queued { first: false });
    assert_eq!(drain(&mut outbox, 99), b"c\x81\x0c{\"missed\":1}e");
}

#[test]
fn a_close_goes_behind_what_waits_and_nothing_behind_it() {
    let small = limits(1, 99);
    let mut outbox = Outbox::new();
    outbox.push(&frame("a"), &small, TELL);
    outbox.push(&frame("b"), &small, TELL);
    assert_eq!(outbox.push_close(frame("bye")), Push::Queued { first: false });
    assert_eq!(outbox.push(&frame("c"), &small, TELL), Push::Closing);
    assert_eq!(drain(&mut outbox, 3), b"a\x81\x0c{\"missed\":1}bye");
    assert!(outbox.is_closing());
    let mut outbox = Outbox::new();
    assert_eq!(outbox.push_close(frame("bye")), Push::Queued { first: true });
}

#[test]
fn a_flood_of_pings_keeps_the_latest_pong_only() {
    let mut outbox = Outbox::new();
    outbox.push(&frame("data"), &limits(1, 4), CLOSE);
    for i in 0..1000u32 {
        assert_eq!(outbox.push_pong(&i.to_be_bytes()), Push::Queued { first: false });
    }
    assert_eq!((outbox.len(), outbox.bytes()), (2, 4 + 6));
    // A half-written pong cannot be changed any more: one more may wait behind it.
    advance(&mut outbox, 5);
    for i in 0..1000u32 {
        outbox.push_pong(&i.to_be_bytes());
    }
    assert_eq!(outbox.len(), 2);
    assert!(outbox.len() <= 1 + CONTROL_FRAMES);
    let written = drain(&mut outbox, 99);
    assert_eq!(written, [&[4, 0, 0, 3, 0xE7, 0x8A, 4][..], &999u32.to_be_bytes()].concat());
    // The place of the last pong is gone now: a new one is queued.
    assert_eq!(outbox.push_pong(b"x"), Push::Queued { first: true });
    assert_eq!(drain(&mut outbox, 99), b"\x8a\x01x");
}

#[test]
fn what_was_not_written_is_lent_again() {
    let mut outbox = Outbox::new();
    for text in ["ab", "cd", "ef"] {
        outbox.push(&frame(text), &limits(9, 99), CLOSE);
    }
    advance(&mut outbox, 1);
    let mut lent = outbox.lend().unwrap();
    assert_eq!((lent.frames(), lent.begun()), (&[frame("ab"), frame("cd"), frame("ef")][..], 1));
    lent.advance(2);
    assert!(outbox.give_back(lent));
    let mut lent = outbox.lend().unwrap();
    assert_eq!((lent.frames(), lent.begun()), (&[frame("cd"), frame("ef")][..], 1));
    outbox.push(&frame("gh"), &limits(9, 99), CLOSE);
    lent.advance(3);
    assert!(outbox.give_back(lent));
    assert_eq!(drain(&mut outbox, 9), b"gh");
    assert!(outbox.lend().is_none());
}

#[test]
fn lent_frames_count_as_waiting_and_keep_their_place() {
    let mut outbox = Outbox::new();
    outbox.push(&frame("ab"), &limits(3, 99), TELL);
    outbox.push_pong(b"1");
    let mut lent = outbox.lend().unwrap();
    assert_eq!((outbox.len(), outbox.bytes(), outbox.is_empty()), (2, 5, false));
    // The writer returns for more, so no wake is needed; and the limits include the lent frames.
    assert_eq!(outbox.push(&frame("cd"), &limits(3, 99), TELL), Push::Queued { first: false });
    assert_eq!(outbox.push(&frame("ef"), &limits(3, 99), TELL), Push::Missed);
    // The pong may be on the wire already: a second one does not replace it.
    outbox.push_pong(b"2");
    outbox.push_pong(b"3");
    lent.advance(1);
    outbox.give_back(lent);
    assert_eq!(drain(&mut outbox, 99), b"b\x8a\x011cd\x8a\x013\x81\x0c{\"missed\":1}");
}

#[test]
fn a_close_that_comes_while_frames_are_lent_drops_those_that_were_not_begun() {
    for (written, rest) in [(0, &b""[..]), (1, b"b"), (2, b""), (3, b"d"), (4, b"")] {
        let mut outbox = Outbox::new();
        outbox.push(&frame("ab"), &limits(3, 99), CLOSE);
        outbox.push(&frame("cd"), &limits(3, 99), CLOSE);
        let mut lent = outbox.lend().unwrap();
        outbox.push(&frame("ef"), &limits(3, 99), CLOSE);
        assert_eq!(outbox.push(&frame("gh"), &limits(3, 99), CLOSE), Push::Full);
        lent.advance(written);
        assert!(outbox.give_back(lent));
        let left = drain(&mut outbox, 99);
        assert!(left.starts_with(rest) && left[rest.len()] == 0x88, "{written}: {left:?}");
        assert_eq!((outbox.len(), outbox.bytes()), (0, 0));
    }
}

#[test]
fn nothing_is_kept_or_taken_after_the_end() {
    let mut outbox = Outbox::new();
    assert!(!outbox.end());
    assert_eq!(outbox.push_own(frame("late")), Push::Closing);
    let mut outbox = Outbox::new();
    outbox.push_own(frame("unsaid"));
    assert!(outbox.end());
    assert_eq!((outbox.len(), outbox.bytes(), outbox.is_closing()), (0, 0, true));
    assert_eq!(outbox.push(&frame("late"), &limits(9, 99), TELL), Push::Closing);
    assert!(outbox.lend().is_none());
}

#[test]
fn a_pong_takes_the_place_of_one_that_no_write_has_seen() {
    let mut outbox = Outbox::new();
    outbox.push_pong(b"1");
    outbox.push_pong(b"2");
    assert_eq!((outbox.len(), outbox.is_closing()), (1, false));
    outbox.push(&frame("a"), &limits(9, 99), CLOSE);
    let mut lent = outbox.lend().unwrap();
    outbox.push_pong(b"3");
    lent.advance(ws::pong(b"2").len());
    outbox.give_back(lent);
    outbox.push_pong(b"4");
    assert_eq!(drain(&mut outbox, 99), [b"a", &ws::pong(b"4")[..]].concat());
}
