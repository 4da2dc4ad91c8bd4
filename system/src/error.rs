//! What can go wrong with a process's own server and its checks.

use std::io;
use std::net::SocketAddr;

/// Why a server did not start, or a check was not registered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An environment variable, or the option that it stands for, holds what can't be used.
    #[error("{variable}: found {found:?}, expected {expected}")]
    Variable {
        /// The variable.
        variable: &'static str,
        /// What it holds.
        found: String,
        /// What it may hold.
        expected: &'static str,
    },

    /// Two things would be served at one path.
    #[error("path {path:?}: found {first} and {second} at the same path, expected different ones")]
    SamePath {
        /// The path.
        path: String,
        /// What has it.
        first: &'static str,
        /// What would have it, too.
        second: &'static str,
    },

    /// Somebody else listens there.
    #[error(
        "cannot listen on {address}: the address is already in use, choose another DYN_SYSTEM_PORT, or 0 for any"
    )]
    AddressInUse {
        /// The address that was asked for.
        address: SocketAddr,
    },

    /// The address could not be bound for another reason: not ours, or a port that needs privileges.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },

    /// The system gave no thread, or no runtime for one.
    #[error("cannot start thread {name:?}: {source}")]
    Thread {
        /// Its name.
        name: String,
        /// What the system said.
        source: io::Error,
    },

    /// A check's name can't be a name.
    #[error("check {name:?}: found {found}, expected 1 to 64 of A-Z a-z 0-9 _ . : / -")]
    CheckName {
        /// The name, cut where it is long.
        name: String,
        /// What is wrong with it.
        found: String,
    },

    /// There is a check of this name.
    #[error("check {name:?}: found one of the same name, expected another name")]
    DuplicateCheck {
        /// The name.
        name: String,
    },

    /// An option of a check is out of range.
    #[error("check {name:?}: found {what} {found}, expected {expected}")]
    CheckOption {
        /// The check.
        name: String,
        /// The option.
        what: &'static str,
        /// Its value.
        found: String,
        /// What it may be.
        expected: String,
    },

    /// A check that asks others over the network would feed the liveness probe.
    #[error(
        "check {name:?}: it asks others over the network, expected another probe than liveness: \
         their failure would restart this process"
    )]
    NetworkLiveness {
        /// The check.
        name: String,
    },

    /// There are as many checks as there may be.
    #[error("check {name:?}: found {limit} checks already, expected fewer")]
    TooManyChecks {
        /// The check that was not registered.
        name: String,
        /// Most checks.
        limit: usize,
    },

    /// The threads of this system are in the process that this one was forked from.
    #[error(
        "started in process {parent}, of which this one is a fork: threads stay behind, start another one here"
    )]
    Forked {
        /// The process that started it.
        parent: u32,
    },

    /// The system was stopped.
    #[error("stopped already, start another one")]
    Stopped,

    /// An address of a server isn't one, or asks for what isn't spoken here.
    #[error("{what}: found {found:?}, expected {expected}")]
    Url {
        /// What it is the address of.
        what: &'static str,
        /// What was given.
        found: String,
        /// What may be given.
        expected: &'static str,
    },
}

/// What everything here that may fail gives.
pub type Result<T> = std::result::Result<T, Error>;
