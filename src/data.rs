//! Bytes in regions: what channels read and write, joined and cut without copying.
//!
//! A [`Data`] is a list of shared regions in order. Joining two or taking a part shares the regions; only
//! [`Data::flatten`] copies, and only where there is more than one. Not for: reading or writing anything. Rules: no region is
//! empty; the position of each region's end is kept, so that the region of an offset is found by halving.

use std::collections::VecDeque;
use std::fmt;
use std::io::IoSlice;
use std::ops::{Bound, RangeBounds};

use bytes::{Buf, Bytes, BytesMut};

/// Immutable bytes in any number of regions, whose storage is shared by whoever holds a part of it.
///
/// The size is kept, so asking costs nothing. Cloning and joining cost one count per region and copy no bytes. A part of it
/// keeps alive only the regions that it touches. As a [`Buf`] it is read, or written with gathered writes, from the front.
///
/// ```
/// use singletrack::Data;
///
/// let line = Data::from("hello, ").concat(&Data::from(b"world".to_vec()));
/// assert_eq!((line.len(), line.regions().count()), (12, 2));
/// let part = line.slice(5..9).unwrap();
/// assert_eq!(part.flatten(), ", wo");
/// ```
#[derive(Clone, Default)]
pub struct Data {
    regions: VecDeque<Region>,
    /// The position where the first region begins; they are counted on from there, so that taking from the front changes
    /// no other region.
    start: usize,
}

#[derive(Clone)]
struct Region {
    end: usize,
    bytes: Bytes,
}

impl Data {
    /// No bytes.
    #[must_use]
    pub fn new() -> Data {
        Data::default()
    }

    /// Bytes that belong to something else, such as a mapped file: `owner` is dropped, on whatever thread, when nobody holds
    /// any part of them.
    ///
    /// ```
    /// # use singletrack::Data;
    /// struct Page(Box<[u8; 4096]>);
    /// impl AsRef<[u8]> for Page {
    ///     fn as_ref(&self) -> &[u8] {
    ///         &*self.0
    ///     }
    /// }
    /// impl Drop for Page {
    ///     fn drop(&mut self) {
    ///         println!("nobody needs it any more");
    ///     }
    /// }
    /// assert_eq!(Data::from_owner(Page(Box::new([0; 4096]))).len(), 4096);
    /// ```
    pub fn from_owner<T: AsRef<[u8]> + Send + 'static>(owner: T) -> Data {
        Bytes::from_owner(owner).into()
    }

    /// How many bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.end() - self.start
    }

    /// No bytes at all?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.regions.is_empty()
    }

    fn end(&self) -> usize {
        self.regions.back().map_or(self.start, |last| last.end)
    }

    /// These bytes and then those of `next`; both stay as they are, and all share the storage.
    #[must_use]
    pub fn concat(&self, next: &Data) -> Data {
        let mut joined = self.clone();
        joined.append(next.clone());
        joined
    }

    /// Adds to the end.
    ///
    /// # Panics
    /// When there would be more bytes than an address space has.
    pub fn append(&mut self, next: impl Into<Data>) {
        for region in next.into().regions {
            self.push(region.bytes);
        }
    }

    fn push(&mut self, bytes: Bytes) {
        if self.regions.is_empty() {
            self.start = 0;
        }
        if !bytes.is_empty() {
            let end = self.end().checked_add(bytes.len()).expect("a Data of more bytes than an address space has");
            self.regions.push_back(Region { end, bytes });
        }
    }

    /// A part of it; `None` if `range` is not within it.
    #[must_use]
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Option<Data> {
        let from = match range.start_bound() {
            Bound::Included(&from) => from,
            Bound::Excluded(&before) => before.checked_add(1)?,
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(&last) => last.checked_add(1)?,
            Bound::Excluded(&to) => to,
            Bound::Unbounded => self.len(),
        };
        if from > to || to > self.len() {
            return None;
        }
        let first = self.regions.partition_point(|region| region.end - self.start <= from);
        let mut part = Data::new();
        for Region { end, bytes } in self.regions.range(first..) {
            let begin = end - bytes.len() - self.start;
            if begin >= to {
                break;
            }
            part.push(bytes.slice(from.saturating_sub(begin)..bytes.len().min(to - begin)));
        }
        Some(part)
    }

    /// Takes the first `count` bytes off (all, if there are fewer) and returns them.
    pub fn split_to(&mut self, count: usize) -> Data {
        let mut front = Data::new();
        while let Some(region) = self.regions.front_mut() {
            let wanted = count - front.len();
            if wanted == 0 {
                break;
            }
            if region.bytes.len() > wanted {
                self.start += wanted;
                front.push(region.bytes.split_to(wanted));
                break;
            }
            self.start = region.end;
            front.push(std::mem::take(&mut region.bytes));
            self.regions.pop_front();
        }
        front
    }

    /// The regions in order; stop whenever you like.
    pub fn regions(&self) -> impl ExactSizeIterator<Item = &Bytes> + DoubleEndedIterator {
        self.regions.iter().map(|region| &region.bytes)
    }

    /// The region that has the byte at `offset`, and the offset at which it begins.
    #[must_use]
    pub fn region_at(&self, offset: usize) -> Option<(usize, &Bytes)> {
        let position = self.start.checked_add(offset)?;
        let region = self.regions.get(self.regions.partition_point(|region| region.end <= position))?;
        Some((region.end - region.bytes.len() - self.start, &region.bytes))
    }

    /// All bytes as one region: copied if there are several, the same storage if there is one.
    #[must_use]
    pub fn flatten(&self) -> Bytes {
        let mut regions = self.regions();
        match (regions.next(), regions.len()) {
            (None, _) => Bytes::new(),
            (Some(only), 0) => only.clone(),
            (Some(_), _) => {
                let mut flat = BytesMut::with_capacity(self.len());
                self.regions().for_each(|bytes| flat.extend_from_slice(bytes));
                flat.freeze()
            }
        }
    }
}

impl Buf for Data {
    fn remaining(&self) -> usize {
        self.len()
    }

    fn chunk(&self) -> &[u8] {
        self.regions.front().map_or(&[], |region| &region.bytes)
    }

    fn chunks_vectored<'a>(&'a self, pieces: &mut [IoSlice<'a>]) -> usize {
        let filled = pieces.iter_mut().zip(self.regions()).map(|(piece, bytes)| *piece = IoSlice::new(bytes));
        filled.count()
    }

    fn advance(&mut self, count: usize) {
        assert!(count <= self.len(), "cannot advance by {count} bytes: a Data of {} has no more", self.len());
        drop(self.split_to(count));
    }
}

impl From<Bytes> for Data {
    fn from(bytes: Bytes) -> Data {
        let mut data = Data::new();
        data.push(bytes);
        data
    }
}

impl From<Vec<u8>> for Data {
    fn from(bytes: Vec<u8>) -> Data {
        Bytes::from(bytes).into()
    }
}

impl From<String> for Data {
    fn from(text: String) -> Data {
        Bytes::from(text).into()
    }
}

impl From<&'static [u8]> for Data {
    fn from(bytes: &'static [u8]) -> Data {
        Bytes::from_static(bytes).into()
    }
}

impl From<&'static str> for Data {
    fn from(text: &'static str) -> Data {
        text.as_bytes().into()
    }
}

impl FromIterator<Bytes> for Data {
    fn from_iter<I: IntoIterator<Item = Bytes>>(regions: I) -> Data {
        let mut data = Data::new();
        regions.into_iter().for_each(|bytes| data.push(bytes));
        data
    }
}

impl PartialEq for Data {
    /// The same bytes, in whatever regions.
    fn eq(&self, other: &Data) -> bool {
        self.len() == other.len() && self.regions().flatten().eq(other.regions().flatten())
    }
}

impl Eq for Data {}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Data").field("len", &self.len()).field("regions", &self.regions.len()).finish()
    }
}

#[cfg(test)]
mod tests;
