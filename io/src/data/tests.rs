//! Joining, cutting and flattening, compared with the same done on a plain `Vec`.

use std::sync::Arc;

use bytes::{Buf, Bytes};

use super::Data;

/// "abc" in one region and "defgh" in another.
fn two() -> Data {
    Data::from("abc").concat(&Data::from("defgh"))
}

#[test]
fn every_part_is_the_same_as_of_plain_bytes() {
    let (data, plain) = (two(), b"abcdefgh");
    for from in 0..=plain.len() {
        for to in from..=plain.len() {
            let part = data.slice(from..to).unwrap();
            assert_eq!(part.flatten(), plain[from..to]);
            assert_eq!(part.len(), to - from);
            assert!(part.regions().all(|region| !region.is_empty()));
        }
    }
    assert_eq!(data.slice(2..=3).unwrap().flatten(), "cd");
    assert_eq!(data.slice(..).unwrap(), data);
    assert!(data.slice(0..9).is_none() && data.slice(9..).is_none());
    #[expect(clippy::reversed_empty_ranges, reason = "that it is refused is what is tested")]
    let reversed = data.slice(5..4);
    assert!(reversed.is_none());
}

#[test]
fn joining_and_cutting_share_the_storage_and_flattening_one_region_too() {
    let storage = Bytes::from(vec![7; 100]);
    let data = Data::from(storage.clone()).concat(&Data::from("x"));
    assert_eq!(data.regions().next().unwrap().as_ptr(), storage.as_ptr());
    let part = data.slice(40..60).unwrap();
    assert_eq!(part.flatten().as_ptr(), storage[40..].as_ptr());
    assert_eq!(data.flatten().len(), 101);
}

#[test]
fn a_destructor_runs_once_nobody_holds_any_part() {
    struct Owner {
        _alive: Arc<()>,
    }
    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            b"owned"
        }
    }
    let alive = Arc::new(());
    let data = Data::from_owner(Owner { _alive: alive.clone() }).concat(&Data::from("more"));
    let (inside, outside) = (data.slice(1..3).unwrap(), data.slice(6..8).unwrap());
    drop(data);
    assert_eq!(Arc::strong_count(&alive), 2, "a part of it is held");
    drop(inside);
    assert_eq!(Arc::strong_count(&alive), 1, "what is held is not a part of it");
    assert_eq!(outside.flatten(), "or");
}

#[test]
fn the_region_of_an_offset_is_found_also_after_the_front_was_taken() {
    let mut data = two();
    assert_eq!(data.region_at(2).unwrap(), (0, &Bytes::from("abc")));
    assert_eq!(data.region_at(3).unwrap(), (3, &Bytes::from("defgh")));
    assert!(data.region_at(8).is_none() && data.region_at(usize::MAX).is_none());
    assert_eq!(data.split_to(1).flatten(), "a");
    assert_eq!(data.region_at(0).unwrap(), (0, &Bytes::from("bc")));
    assert_eq!(data.region_at(2).unwrap(), (2, &Bytes::from("defgh")));
    assert_eq!(data.split_to(4).flatten(), "bcde");
    assert_eq!(data.region_at(0).unwrap(), (0, &Bytes::from("fgh")));
    assert_eq!(data.split_to(100).flatten(), "fgh");
    assert!(data.is_empty() && data.region_at(0).is_none());
    data.append("again");
    assert_eq!(data.region_at(4).unwrap(), (0, &Bytes::from("again")));
}

#[test]
fn regions_come_in_order_and_one_may_stop() {
    let data: Data = ["one", "", "two", "three"].map(Bytes::from).into_iter().collect();
    assert_eq!(data.regions().count(), 3, "an empty region is none");
    let mut seen = Vec::new();
    for region in data.regions() {
        seen.push(region.clone());
        if region == "two" {
            break;
        }
    }
    assert_eq!(seen, ["one", "two"]);
}

#[test]
fn as_a_buffer_it_is_read_from_the_front() {
    let mut data = two();
    let mut pieces = [std::io::IoSlice::new(&[]); 4];
    assert_eq!(data.chunks_vectored(&mut pieces), 2);
    assert_eq!((&*pieces[0], &*pieces[1]), (&b"abc"[..], &b"defgh"[..]));
    data.advance(4);
    assert_eq!((data.remaining(), data.chunk()), (4, &b"efgh"[..]));
    assert_eq!(data.copy_to_bytes(4), "efgh");
}

#[test]
#[should_panic(expected = "cannot advance by 9 bytes: a Data of 8 has no more")]
fn to_advance_too_far_is_told() {
    two().advance(9);
}

#[test]
fn equal_is_what_has_the_same_bytes() {
    assert_eq!(two(), Data::from("abcdefgh"));
    assert_ne!(two(), Data::from("abcdefgx"));
    assert_ne!(two(), Data::from("abc"));
    assert_eq!(Data::new(), Data::from(Vec::new()));
}
