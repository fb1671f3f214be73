//! Bytes in regions, joined and cut without copying: the data that channels read and write.
//!
//! A [`Data`] is a list of shared regions in order. Joining two or taking a part shares the
//! regions; only [`Data::flatten`] copies, and only where there is more than one. Not for: reading
//! or writing anything. Rules: no region is empty; the position of each region's end is kept, so
//! that a binary search finds the region of an offset.

use std::collections::VecDeque;
use std::fmt;
use std::io::IoSlice;
use std::ops::{Bound, RangeBounds};

use bytes::{Buf, Bytes, BytesMut};

/// Immutable bytes in any number of regions; all holders of a part share its storage.
///
/// The size is kept, so asking for it costs nothing. Cloning and joining cost one count per region
/// and copy no bytes. A part keeps only the regions alive that it touches. As a [`Buf`] it is read
/// from the front, or written with gathered writes.
///
/// ```
/// use singletrack_io::Data;
///
/// let line = Data::from("hello, ").concat(&Data::from(b"world".to_vec()));
/// assert_eq!((line.len(), line.regions().count()), (12, 2));
/// let part = line.slice(5..9).unwrap();
/// assert_eq!(part.flatten(), ", wo");
/// ```
#[derive(Clone, Default)]
pub struct Data {
    regions: VecDeque<Region>,
    /// The position where the first region begins; the ends count on from it, so that taking from
    /// the front changes no other region.
    start: usize,
}

#[derive(Clone)]
struct Region {
    end: usize,
    bytes: Bytes,
}

impl Data {
    /// Returns a `Data` of no bytes.
    ///
    /// ```
    /// use singletrack_io::Data;
    ///
    /// let mut page = Data::new();
    /// assert!(page.is_empty());
    /// page.append("<h1>hello</h1>");
    /// assert_eq!(page.len(), 14);
    /// ```
    #[must_use]
    #[doc(alias = "dispatch_data_empty")]
    pub fn new() -> Data {
        Data::default()
    }

    /// Makes a `Data` of bytes that another object owns, such as a mapped file. `owner` is dropped,
    /// on any thread, when no part of them is held any more.
    ///
    /// ```
    /// # use singletrack_io::Data;
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
    #[doc(alias = "dispatch_data_create")]
    #[doc(alias = "dispatch_data_create_f")]
    #[doc(alias = "dispatch_data_create_alloc")]
    #[doc(alias = "dispatch_data_alloc")]
    pub fn from_owner<T: AsRef<[u8]> + Send + 'static>(owner: T) -> Data {
        Bytes::from_owner(owner).into()
    }

    /// Returns the number of bytes.
    ///
    /// ```
    /// use singletrack_io::Data;
    ///
    /// let page = Data::from("head").concat(&Data::from("body"));
    /// assert_eq!(page.len(), 8);
    /// ```
    #[must_use]
    #[doc(alias = "dispatch_data_get_size")]
    pub fn len(&self) -> usize {
        self.end() - self.start
    }

    /// Are there no bytes at all?
    ///
    /// ```
    /// use singletrack_io::Data;
    ///
    /// let mut rest = Data::from("hello");
    /// rest.split_to(5);
    /// assert!(rest.is_empty());
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.regions.is_empty()
    }

    fn end(&self) -> usize {
        self.regions.back().map_or(self.start, |last| last.end)
    }

    /// Returns these bytes followed by those of `next`. Both stay as they are, and all share the
    /// storage.
    ///
    /// ```
    /// use singletrack_io::Data;
    ///
    /// let (head, body) = (Data::from("head, "), Data::from("body"));
    /// assert_eq!(head.concat(&body).flatten(), "head, body");
    /// assert_eq!(head.len(), 6, "as before");
    /// ```
    #[must_use]
    #[doc(alias = "dispatch_data_create_concat")]
    pub fn concat(&self, next: &Data) -> Data {
        let mut joined = self.clone();
        joined.append(next.clone());
        joined
    }

    /// Adds bytes to the end.
    ///
    /// ```
    /// use singletrack_io::Data;
    ///
    /// let mut page = Data::from("hello");
    /// page.append(", ");
    /// page.append(b"world".to_vec());
    /// assert_eq!(page.flatten(), "hello, world");
    /// ```
    ///
    /// # Panics
    /// When the sum is more bytes than an address space has.
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

    /// Returns a part of it; `None` if `range` is not within it.
    ///
    /// ```
    /// use singletrack_io::Data;
    ///
    /// let line = Data::from("key=value");
    /// assert_eq!(line.slice(4..).unwrap().flatten(), "value");
    /// assert!(line.slice(4..100).is_none());
    /// ```
    #[must_use]
    #[doc(alias = "dispatch_data_create_subrange")]
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
    ///
    /// ```
    /// use singletrack_io::Data;
    ///
    /// let mut input = Data::from("GET /index");
    /// assert_eq!(input.split_to(4).flatten(), "GET ");
    /// assert_eq!(input.flatten(), "/index");
    /// ```
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

    /// Iterates over the regions in order.
    ///
    /// ```
    /// use singletrack_io::Data;
    ///
    /// let page = Data::from("head").concat(&Data::from("body"));
    /// let regions: Vec<_> = page.regions().map(|region| &region[..]).collect();
    /// assert_eq!(regions, [b"head", b"body"]);
    /// ```
    #[doc(alias = "dispatch_data_apply")]
    #[doc(alias = "dispatch_data_apply_f")]
    pub fn regions(&self) -> impl ExactSizeIterator<Item = &Bytes> + DoubleEndedIterator {
        self.regions.iter().map(|region| &region.bytes)
    }

    /// Returns the region that has the byte at `offset`, and the offset at which the region begins.
    ///
    /// ```
    /// use singletrack_io::Data;
    ///
    /// let page = Data::from("head").concat(&Data::from("body"));
    /// let (begin, region) = page.region_at(6).unwrap();
    /// assert_eq!((begin, &region[..]), (4, &b"body"[..]));
    /// assert!(page.region_at(8).is_none());
    /// ```
    #[must_use]
    #[doc(alias = "dispatch_data_copy_region")]
    pub fn region_at(&self, offset: usize) -> Option<(usize, &Bytes)> {
        let position = self.start.checked_add(offset)?;
        let region = self.regions.get(self.regions.partition_point(|region| region.end <= position))?;
        Some((region.end - region.bytes.len() - self.start, &region.bytes))
    }

    /// Returns all bytes as one region: copied if there are several, the same storage if there is
    /// one.
    ///
    /// ```
    /// use singletrack_io::Data;
    ///
    /// let page = Data::from("head, ").concat(&Data::from("body"));
    /// assert_eq!(page.flatten(), "head, body"); // one copy
    /// ```
    #[must_use]
    #[doc(alias = "dispatch_data_create_map")]
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
    /// Compares the bytes, whatever their regions.
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
