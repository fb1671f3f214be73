//! The cost of a silent WebSocket: every byte of the heap that lives because of it, tables and
//! their growth included.
//!
//! An allocator of this program counts the bytes, and rounds them as the binary's allocator
//! (mimalloc) does. So the figure is the same in every run, which resident memory is not. Not for:
//! the system's memory for a socket. Rules: peers are bare sockets, which own no memory here. There
//! is one server at a time. The measurement excludes the server's fixed costs. The numbers of
//! connections are those at which tables that double have as much room to spare as with 10,000 and
//! with 19,000.

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use singletrack::{RunningServer, Server};

/// The promise: bytes for a connection of any kind.
const PROMISED: f64 = 512.0;
/// 10,000 / 16 and 19,000 / 16.
const CROWDS: [usize; 2] = [625, 1188];
/// The time after which a server counts as never coming to rest.
const DEADLINE: Duration = Duration::from_secs(20);

/// Sizes from here on are tables and buffers: counted in bytes, not by size.
const LARGE: usize = 2048;
/// Blocks from here on are buffers of threads, made when a thread first needs one. The tables of
/// the smaller crowd, with entries of up to 50 bytes, are smaller.
const OF_THREADS: usize = 32 * 1024;
/// The number of live blocks of each size.
static LIVE: [AtomicI64; LARGE] = [const { AtomicI64::new(0) }; LARGE];
/// The number of live bytes in larger blocks.
static LIVE_LARGE: AtomicI64 = AtomicI64::new(0);

/// The system's allocator, counted.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(size: usize, sign: i64) {
    if size >= OF_THREADS {
        return;
    }
    match LIVE.get(size) {
        Some(blocks) => blocks.fetch_add(sign, Relaxed),
        None => LIVE_LARGE.fetch_add(sign * size as i64, Relaxed),
    };
}

// SAFETY: the system's allocator does it all; the counters are atomics that allocate nothing.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(layout.size(), -1);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(block, layout) }
    }
}

/// The live heap at one moment: blocks by size, and bytes of larger ones. On the stack, so that it
/// does not count itself.
#[derive(Clone, PartialEq)]
struct Heap {
    blocks: [i64; LARGE],
    large: i64,
}

impl Heap {
    fn now() -> Heap {
        Heap { blocks: std::array::from_fn(|size| LIVE[size].load(Relaxed)), large: LIVE_LARGE.load(Relaxed) }
    }

    /// The live heap once nothing has changed for a while.
    fn at_rest() -> Heap {
        let (began, mut last) = (Instant::now(), Heap::now());
        loop {
            std::thread::sleep(Duration::from_millis(50)); // between two looks: rest is what is waited for
            let next = Heap::now();
            if next == last {
                return next;
            }
            assert!(began.elapsed() < DEADLINE, "the heap does not come to rest");
            last = next;
        }
    }

    /// The bytes beyond `before`, as mimalloc rounds them, and the blocks that they consist of.
    fn beyond(&self, before: &Heap) -> (f64, BTreeMap<usize, i64>) {
        let more = self.blocks.iter().zip(&before.blocks).map(|(after, before)| after - before).enumerate();
        let more: BTreeMap<usize, i64> = more.filter(|(_, blocks)| *blocks != 0).collect();
        let small: i64 = more.iter().map(|(size, blocks)| rounded(*size) as i64 * blocks).sum();
        ((small + self.large - before.large) as f64, more)
    }
}

/// The size class of mimalloc: multiples of 16 bytes up to 128, then four to each doubling.
fn rounded(size: usize) -> usize {
    match size {
        0..=8 => 8,
        9..=128 => size.next_multiple_of(16),
        _ => size.next_multiple_of(size.next_power_of_two() / 8),
    }
}

#[test]
fn sizes_are_rounded_as_mimalloc_rounds_them() {
    let sizes = [1, 9, 17, 112, 113, 129, 161, 200, 257, 321, 513, 1025];
    assert_eq!(sizes.map(rounded), [8, 16, 32, 112, 128, 160, 192, 224, 320, 384, 640, 1280]);
}

/// Shakes hands and says nothing more.
fn open(address: SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("connect");
    stream.set_read_timeout(Some(DEADLINE)).expect("timeout");
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    .expect("send");
    let mut answer = [0; 512];
    let mut len = 0;
    while !answer[..len].ends_with(b"\r\n\r\n") {
        let count = stream.read(&mut answer[len..]).expect("an answer");
        assert!(count > 0, "the server ended");
        len += count;
    }
    assert!(answer.starts_with(b"HTTP/1.1 101 "), "{:?}", answer[..len].escape_ascii().to_string());
    stream
}

/// The cost of each connection of a crowd to a fresh server. `path` gives the path of each peer.
fn each_of(crowd: usize, path: impl Fn(usize) -> String) -> f64 {
    let server: RunningServer =
        Server::builder().listen("127.0.0.1:0").workers(2).build().expect("build").start().expect("start");
    let address = server.local_addr();
    // State that the server and each of its workers own once, such as a read buffer, exists before
    // the measurement.
    let warm = |peer: usize| [open(address, "/echo"), open(address, &format!("/room/first.{}", peer % 8))];
    let _first: Vec<TcpStream> = (0..64).flat_map(warm).collect();
    let mut peers = Vec::with_capacity(crowd);
    let before = Heap::at_rest();
    for peer in 0..crowd {
        peers.push(open(address, &path(peer)));
    }
    let after = Heap::at_rest();
    let (bytes, blocks) = after.beyond(&before);
    let each = bytes / crowd as f64;
    println!(
        "{} at {}: {each:.0} bytes a connection, {} of them in blocks above 2 KiB",
        crowd,
        path(0),
        (after.large - before.large) / crowd as i64
    );
    for (size, count) in blocks {
        println!("  {count:6} of {size} bytes");
    }
    server.shutdown(Duration::ZERO);
    each
}

#[test]
fn a_silent_connection_costs_no_more_than_is_promised() {
    type Path = fn(usize) -> String;
    // With each kind, its limit: a little above its present cost, so that growth is noticed long
    // before the promise breaks.
    let kinds: [(&str, f64, Path); 3] = [
        ("an echo socket", 400.0, |_| "/echo".to_owned()),
        ("one of a room of ten", 470.0, |peer| format!("/room/{}", peer / 10)),
        ("one of a giant room", 440.0, |_| "/room/giant".to_owned()),
    ];
    for (crowd, (what, most, path)) in CROWDS.into_iter().flat_map(|crowd| kinds.map(|kind| (crowd, kind))) {
        // Retried if it was more: on a loaded machine a replacement thread may have allocated
        // memory of its own meanwhile.
        let each = (0..5).map(|_| each_of(crowd, path)).find(|each| *each <= most);
        assert!(each.is_some(), "with {crowd} of them {what} costs more than {most} bytes");
        assert!(most <= PROMISED);
    }
}
