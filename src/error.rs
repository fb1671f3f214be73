//! What can go wrong while a server is set up or run, told so that the reader knows what to change.
//!
//! Every variant names the thing (which address, which limit, which path), what happened to it and the remedy; [`Error::fault`]
//! says who can act on it. It is not for what one peer does wrong: a bad request is a `Reject` with an HTTP status and a bad
//! frame a `Close` with a close code, both for that peer alone. Closing is not an error either.

use std::error::Error as StdError;
use std::io;
use std::net::SocketAddr;

/// Why a server could not be built, started or kept running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text given as an address is none.
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
        /// What the system said.
        source: io::Error,
    },
    /// The limit on open files leaves no room for connections.
    #[error("the limit on open files is {limit} and at least {needed} are needed: raise it (`ulimit -n {needed}`)")]
    FileLimit {
        /// The limit in force (soft, after it was raised as far as allowed).
        limit: u64,
        /// The smallest limit that would do.
        needed: u64,
    },
    /// One of the [`Limits`](crate::limits::Limits) has a value that cannot work.
    #[error("limit `{name}` cannot be {given}: {remedy}")]
    BadLimit {
        /// The field.
        name: &'static str,
        /// Its value, in words.
        given: String,
        /// What would be accepted.
        remedy: &'static str,
    },
    /// A handler was put on a path that cannot be served.
    #[error("cannot serve path `{path}`: {reason}")]
    BadPath {
        /// The path given.
        path: String,
        /// What is wrong with it and what to do.
        reason: &'static str,
    },
    /// The system refused something that the server needs.
    #[error("{what} failed: {source}")]
    System {
        /// What was tried, such as "creating a poller".
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The runtime that runs the queues could not be made.
    #[error("cannot start the runtime: {source}")]
    Runtime {
        /// What the runtime said.
        source: Box<dyn StdError + Send + Sync>,
    },
}

/// Who can do something about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The caller gave a value that cannot be used: change it.
    Caller,
    /// The machine has not what is needed now: a port, a descriptor, memory. The same call may succeed later.
    Machine,
}

impl Error {
    /// Says what a failed attempt to listen on `address` means.
    pub fn listen(address: SocketAddr, source: io::Error) -> Error {
        match source.kind() {
            io::ErrorKind::AddrInUse => Error::AddressInUse { address },
            io::ErrorKind::AddrNotAvailable => Error::AddressNotHere { address },
            io::ErrorKind::PermissionDenied => Error::NotPermitted { address },
            _ => Error::Listen { address, source },
        }
    }

    /// Wraps a refusal of the system with what was being tried.
    pub fn system(what: &'static str, source: io::Error) -> Error {
        Error::System { what, source }
    }

    /// Who can do something about it.
    pub fn fault(&self) -> Fault {
        match self {
            Error::BadAddress { .. }
            | Error::AddressNotHere { .. }
            | Error::NotPermitted { .. }
            | Error::BadLimit { .. }
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
