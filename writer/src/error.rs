//! What can go wrong when a segment is opened or a metric registered.

use std::io;
use std::path::PathBuf;

use dyn_metrics_layout::name::NameError;

/// Result of opening a segment or registering a metric.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a segment can't be opened or a metric not registered.
///
/// Updates have no errors: whatever they lose is counted in the segment.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The path leads to something that is not a regular file.
    #[error("{}: found a {found}, expected a regular file", path.display())]
    NotRegular {
        /// The path.
        path: PathBuf,
        /// What is there.
        found: &'static str,
    },
    /// The kernel denies access.
    #[error(
        "{}: permission denied: uid {uid} gid {gid} may not {action} it, found {found}; remedy: run as its \
         owner, or let the creator set a group (mode 0660) that this process is in",
        path.display()
    )]
    Permission {
        /// The path.
        path: PathBuf,
        /// Effective user id of this process.
        uid: u32,
        /// Effective group id of this process.
        gid: u32,
        /// What was tried.
        action: &'static str,
        /// Mode and owner of what is there.
        found: String,
    },
    /// The file belongs to somebody this process doesn't trust.
    #[error(
        "{}: owned by uid {found}, expected uid {expected}, root or an allowed uid (Builder::allow_uid)",
        path.display()
    )]
    Owner {
        /// The path.
        path: PathBuf,
        /// The file's owner.
        found: u32,
        /// Effective user id of this process.
        expected: u32,
    },
    /// The file has several names.
    #[error("{}: found {found} hard links, expected 1", path.display())]
    Links {
        /// The path.
        path: PathBuf,
        /// Number of links.
        found: u64,
    },
    /// The filesystem can be shared with another kernel, whose CPU numbers would collide with ours.
    #[error("{}: on {found}, expected a filesystem of this machine, such as tmpfs", path.display())]
    Filesystem {
        /// The path.
        path: PathBuf,
        /// Name of the filesystem.
        found: &'static str,
    },
    /// The bytes are not a segment that this version can write.
    #[error("{}: {source}", path.display())]
    Format {
        /// The path.
        path: PathBuf,
        /// What is wrong.
        source: dyn_metrics_layout::Error,
    },
    /// There is no room for more.
    #[error("{}: no space for {what}: {reason}", path.display())]
    Full {
        /// The path.
        path: PathBuf,
        /// What was to be stored.
        what: &'static str,
        /// What ran out, and the remedy.
        reason: String,
    },
    /// A replacement is refused because processes use the segment.
    #[error(
        "{}: found at least one process attached (pid {pid}), expected none; Builder::force replaces it all \
         the same",
        path.display()
    )]
    InUse {
        /// The path.
        path: PathBuf,
        /// Pid of one of them, as it sees itself.
        pid: u32,
    },
    /// Somebody else replaces the segment and doesn't finish.
    #[error("{}: another process is replacing it and did not finish in time", path.display())]
    Busy {
        /// The path.
        path: PathBuf,
    },
    /// A system call failed.
    #[error("{}: {action}: {source}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// A name is not allowed.
    #[error("{what} {} {reason}", shorten(name))]
    Name {
        /// What kind of name: metric name or label name.
        what: &'static str,
        /// The name.
        name: String,
        /// Why not.
        reason: NameError,
    },
    /// The exposition adds a label of this name itself.
    #[error("metric {metric:?}: label {label:?} is added by the exposition of a {kind}; choose another name")]
    ReservedLabel {
        /// The metric.
        metric: String,
        /// The label.
        label: String,
        /// The metric's type.
        kind: &'static str,
    },
    /// A label name occurs twice.
    #[error("metric {metric:?}: label {label:?} given twice")]
    DuplicateLabel {
        /// The metric.
        metric: String,
        /// The label.
        label: String,
    },
    /// Not as many label values as label names.
    #[error("metric {metric:?}: found {found} label values, expected {expected}")]
    LabelCount {
        /// The metric.
        metric: String,
        /// Values given.
        found: usize,
        /// Names the family has.
        expected: usize,
    },
    /// The unit is not the end of the name.
    #[error("metric {metric:?}: expected the name to end in its unit, found unit {unit:?}")]
    Unit {
        /// The metric.
        metric: String,
        /// The unit.
        unit: String,
    },
    /// Histogram bounds are not usable.
    #[error("metric {metric:?}: bounds {reason}, expected finite ones in strictly ascending order")]
    Bounds {
        /// The metric.
        metric: String,
        /// What is wrong.
        reason: String,
    },
    /// States of a state set are not usable.
    #[error("metric {metric:?}: states {reason}")]
    States {
        /// The metric.
        metric: String,
        /// What is wrong.
        reason: String,
    },
    /// The family exists and is different.
    #[error("metric {metric:?}: found {what} {existing} registered by {registrant}, expected {wanted}")]
    Conflict {
        /// The metric.
        metric: String,
        /// Which property differs: type, unit, bounds, mode or states.
        what: &'static str,
        /// The property of the family that exists.
        existing: String,
        /// Who registered it.
        registrant: String,
        /// The property asked for.
        wanted: String,
    },
    /// Samples of another family would carry the same name.
    #[error(
        "metric {metric:?} ({kind}) clashes with {other:?} ({other_kind}) registered by {registrant}: both \
         would expose a sample of the same name"
    )]
    Clash {
        /// The metric.
        metric: String,
        /// Its type.
        kind: &'static str,
        /// The family that exists.
        other: String,
        /// Its type.
        other_kind: &'static str,
        /// Who registered it.
        registrant: String,
    },
    /// A text or list is too long for the format.
    #[error("metric {}: {source}", shorten(metric))]
    TooLong {
        /// The metric.
        metric: String,
        /// What is too long.
        source: dyn_metrics_layout::Error,
    },
    /// An option has a value that makes no sense.
    #[error("option {option}: found {found}, expected {expected}")]
    Option {
        /// Which option or variable.
        option: &'static str,
        /// Its value.
        found: String,
        /// What it may be.
        expected: String,
    },
    /// There is no segment, and this platform or process can't make one.
    #[error("{}: segment damaged: {source}", path.display())]
    Damaged {
        /// The path.
        path: PathBuf,
        /// What is damaged.
        source: dyn_metrics_layout::Error,
    },
}

/// A name in quotes, with its middle left out when it is very long.
fn shorten(name: &str) -> String {
    let count = name.chars().count();
    if count <= 80 {
        return format!("{name:?}");
    }
    let head: String = name.chars().take(60).collect();
    format!("{head:?}... ({} bytes)", name.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_very_long_name_is_shown_shortened() {
        let name = "x".repeat(65_536);
        let error = Error::Name {
            what: "metric name",
            reason: NameError::TooLong { found: name.len(), limit: 512 },
            name,
        };
        let text = error.to_string();
        assert!(text.len() < 200, "{text}");
        assert!(text.contains("65536 bytes"), "{text}");
    }
}
