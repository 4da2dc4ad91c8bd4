//! Where processes answer who wants their on-scrape callbacks run.
//!
//! The reader only says where: asking is for programs that may wait.

use std::path::PathBuf;

use dyn_metrics_layout::callbacks::SocketName;

/// A socket of a living process, for asking it to run its on-scrape callbacks; see FORMAT.md, "Callbacks".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallbackSocket {
    /// The directory that it lies in.
    pub directory: PathBuf,
    /// Its name there.
    pub name: SocketName,
    /// Users whose socket is the process's: what belongs to somebody else is an impostor's. The segment's owner, and the
    /// user that the process has said that it is.
    pub owners: [u32; 2],
}

/// Is told which sockets there are, before values are read; says whether it has asked anybody.
pub(crate) type Ask = Box<dyn FnMut(&[CallbackSocket]) -> bool + Send>;
