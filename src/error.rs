//! The errors of setting up or running a server, worded so that the reader knows what to change.
//!
//! Every variant names the thing (which address, which limit, which path), what happened to it and
//! the remedy. [`Error::fault`] says who can act on it. Not for: faults of one peer. A bad request
//! is a `Reject` with an HTTP status and a bad frame a `Close` with a close code, both for that
//! peer alone. Closing is not an error either.

use std::error::Error as StdError;
use std::io;
use std::net::SocketAddr;

use singletrack_web::limits::BadLimit;

/// Why a server could not be built, started or kept running.
///
/// ```
/// use singletrack::{Error, Server};
///
/// match Server::builder().listen("localhost, port 80").build() {
///     Err(error @ Error::BadAddress { .. }) => println!("{error}"), // it says what to give instead
///     other => unreachable!("{other:?}"),
/// }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text given is not an address.
    #[error(
        "`{given}` is not an address to listen on: give an IP address and a port, such as 127.0.0.1:8080 or [::1]:8080"
    )]
    BadAddress {
        /// What was given.
        given: String,
    },
    /// Another socket already listens there.
    #[error(
        "{address} is already in use: stop the program that listens there, choose another port, or port 0 for any free one"
    )]
    AddressInUse {
        /// The address asked for.
        address: SocketAddr,
    },
    /// The address belongs to no interface of this machine.
    #[error(
        "{address} is not an address of this machine: use 127.0.0.1 for this machine only, or 0.0.0.0 for all its interfaces"
    )]
    AddressNotHere {
        /// The address asked for.
        address: SocketAddr,
    },
    /// The system does not let this user listen there.
    #[error("not permitted to listen on {address}: ports below 1024 are commonly reserved, choose a higher one")]
    NotPermitted {
        /// The address asked for.
        address: SocketAddr,
    },
    /// Listening failed for another reason.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// The error of the system.
        source: io::Error,
    },
    /// The limit on open files leaves no room for connections.
    #[error("the limit on open files is {limit} and at least {needed} are needed: raise it (`ulimit -n {needed}`)")]
    FileLimit {
        /// The limit in force (soft, after it was raised as far as allowed).
        limit: u64,
        /// The smallest sufficient limit.
        needed: u64,
    },
    /// One of the [`Limits`](singletrack_web::Limits) has a value that cannot work.
    #[error(transparent)]
    BadLimit(#[from] BadLimit),
    /// A handler was put on a path that cannot be served.
    #[error("cannot serve path `{path}`: {reason}")]
    BadPath {
        /// The path given.
        path: String,
        /// The fault, and the remedy.
        reason: &'static str,
    },
    /// The system refused something that the server needs.
    #[error("{what} failed: {source}")]
    System {
        /// The operation that failed, such as "creating a poller".
        what: &'static str,
        /// The error of the system.
        source: io::Error,
    },
    /// The runtime that was given waits in something that watches no sockets.
    #[error(
        "the runtime `{name}` watches no sockets: build it with pollers, \
         `Runtime::builder().workers(n).parkers(Io::new(n)?.parkers())`"
    )]
    NoPollers {
        /// What the runtime is called.
        name: String,
    },
    /// The runtime that runs the queues could not be made.
    #[error("cannot start the runtime: {source}")]
    Runtime {
        /// The error of the runtime.
        source: Box<dyn StdError + Send + Sync>,
    },
}

/// The party that can do something about an [`Error`].
///
/// ```
/// use singletrack::{Server, error::Fault};
/// use std::net::TcpListener;
///
/// let other = TcpListener::bind("127.0.0.1:0")?;
/// let error = Server::builder().listen(other.local_addr()?).build().unwrap_err();
/// assert_eq!(error.fault(), Fault::Machine, "later it may succeed");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The caller gave a value that cannot be used: change it.
    Caller,
    /// The machine now lacks what is needed: a port, a descriptor, memory. The same call may
    /// succeed later.
    Machine,
}

impl Error {
    /// Turns a failed attempt to listen on `address` into the error that it means.
    ///
    /// ```
    /// use singletrack::Error;
    /// use std::net::TcpListener;
    ///
    /// let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    /// let first = TcpListener::bind(address)?;
    /// let error = TcpListener::bind(address).map_err(|source| Error::listen(address, source)).unwrap_err();
    /// assert!(matches!(error, Error::AddressInUse { .. }));
    /// # drop(first);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn listen(address: SocketAddr, source: io::Error) -> Error {
        match source.kind() {
            io::ErrorKind::AddrInUse => Error::AddressInUse { address },
            io::ErrorKind::AddrNotAvailable => Error::AddressNotHere { address },
            io::ErrorKind::PermissionDenied => Error::NotPermitted { address },
            _ => Error::Listen { address, source },
        }
    }

    /// Wraps a refusal of the system with the operation that was tried.
    ///
    /// ```
    /// use singletrack::Error;
    /// use std::io::ErrorKind;
    ///
    /// let error = Error::system("reading the certificate", ErrorKind::NotFound.into());
    /// assert!(error.to_string().starts_with("reading the certificate failed: "));
    /// ```
    pub fn system(what: &'static str, source: io::Error) -> Error {
        Error::System { what, source }
    }

    /// The party that can do something about it.
    ///
    /// ```
    /// use singletrack::{Server, error::Fault};
    ///
    /// let error = Server::builder().handler("no slash", |_| singletrack::Echo).build().unwrap_err();
    /// assert_eq!(error.fault(), Fault::Caller, "the program has to change");
    /// ```
    pub fn fault(&self) -> Fault {
        match self {
            Error::BadAddress { .. }
            | Error::AddressNotHere { .. }
            | Error::NotPermitted { .. }
            | Error::BadLimit(_)
            | Error::NoPollers { .. }
            | Error::BadPath { .. } => Fault::Caller,
            Error::AddressInUse { .. }
            | Error::Listen { .. }
            | Error::FileLimit { .. }
            | Error::System { .. }
            | Error::Runtime { .. } => Fault::Machine,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 80))
    }

    #[test]
    fn listening_errors_are_told_apart() {
        let of = |kind: io::ErrorKind| Error::listen(address(), kind.into());
        assert!(matches!(of(io::ErrorKind::AddrInUse), Error::AddressInUse { .. }));
        assert!(matches!(of(io::ErrorKind::AddrNotAvailable), Error::AddressNotHere { .. }));
        assert!(matches!(of(io::ErrorKind::PermissionDenied), Error::NotPermitted { .. }));
        assert!(matches!(of(io::ErrorKind::OutOfMemory), Error::Listen { .. }));
    }

    #[test]
    fn each_error_names_the_thing_and_the_remedy() {
        let taken = Error::AddressInUse { address: address() };
        assert_eq!(taken.fault(), Fault::Machine);
        let said = taken.to_string();
        assert!(said.contains("127.0.0.1:80") && said.contains("choose another port"), "{said}");
        let bad = Error::BadAddress { given: "here".into() };
        assert_eq!(bad.fault(), Fault::Caller);
        assert!(bad.to_string().contains("`here`"));
        let few = Error::FileLimit { limit: 16, needed: 64 };
        assert!(few.to_string().contains("ulimit -n 64"));
    }

    #[test]
    fn the_system_error_is_kept_as_the_source() {
        let error = Error::system("creating a poller", io::ErrorKind::OutOfMemory.into());
        assert!(StdError::source(&error).is_some());
    }
}
