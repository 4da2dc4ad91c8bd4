//! How many descriptors the process may have, and how many of these clients get.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Most connections at once.
const MAX_CONNECTIONS: u64 = 512;

/// What the process has open for itself: standard streams, listener, signals, the runtime.
const OWN: u64 = 32;

/// Raises the soft limit to the hard one. The usual soft limit is there for programs that call `select`, and each
/// segment keeps a descriptor.
///
/// # Errors
/// What the system said.
pub fn raise_limit() -> std::io::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?)
}

/// How many connections there may be at once: clients must not take the descriptors with which segments are opened.
#[must_use]
pub fn connections() -> usize {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
    usize::try_from(connections_within(limit)).unwrap_or(1)
}

fn connections_within(limit: u64) -> u64 {
    (limit.saturating_sub(OWN) / 2).clamp(1, MAX_CONNECTIONS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_descriptors_are_left_for_segments() {
        for (limit, connections) in [(0, 1), (32, 1), (64, 16), (1024, 496), (1056, 512), (u64::MAX, 512)] {
            assert_eq!(connections_within(limit), connections, "{limit}");
        }
    }
}
