//! What can go wrong when a segment is opened or a metric registered.

use std::io;
use std::path::{Path, PathBuf};

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
    #[error("{}: found a {found}, expected a regular file", shown(path))]
    NotRegular {
        /// The path.
        path: PathBuf,
        /// What is there.
        found: &'static str,
    },
    /// The kernel denies access.
    #[error(
        "{}: permission denied: uid {uid} gid {gid} may not {action}, found {}; remedy: {remedy}",
        shown(path),
        one_line(found)
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
        /// What helps.
        remedy: &'static str,
    },
    /// The directory of the path doesn't exist.
    #[error(
        "{}: found no directory {}, expected one to create the segment in",
        shown(path),
        shown(directory)
    )]
    NoDirectory {
        /// The path.
        path: PathBuf,
        /// The directory that is missing.
        directory: PathBuf,
    },
    /// The file belongs to somebody this process doesn't trust.
    #[error(
        "{}: owned by uid {found}, expected uid {expected}, root or an allowed uid (Builder::allow_uid)",
        shown(path)
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
    #[error("{}: found {found} hard links, expected 1", shown(path))]
    Links {
        /// The path.
        path: PathBuf,
        /// Number of links.
        found: u64,
    },
    /// The filesystem can be shared with another kernel, whose CPU numbers would collide with ours.
    #[error("{}: on {found}, expected a filesystem of this machine, such as tmpfs", shown(path))]
    Filesystem {
        /// The path.
        path: PathBuf,
        /// Name of the filesystem.
        found: &'static str,
    },
    /// The bytes are not a segment that this version can write.
    #[error("{}: {source}", shown(path))]
    Format {
        /// The path.
        path: PathBuf,
        /// What is wrong.
        source: dyn_metrics_layout::Error,
    },
    /// There is no room for more.
    #[error("{}: no space for {what}: {reason}", shown(path))]
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
        "{}: found at least one process attached ({}), expected none; Builder::force replaces it all the same",
        shown(path),
        pid.map_or("without a slot, so its pid is unknown".to_owned(), |pid| format!("pid {pid}"))
    )]
    InUse {
        /// The path.
        path: PathBuf,
        /// Pid of one of them, as it sees itself; none of one without a slot, such as a forked child that only counts.
        pid: Option<u32>,
    },
    /// Somebody else replaces the segment and doesn't finish.
    #[error("{}: another process is replacing it and did not finish in time", shown(path))]
    Busy {
        /// The path.
        path: PathBuf,
    },
    /// A system call failed.
    #[error("{}: {action}: {source}", shown(path))]
    Io {
        /// The path.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// An option of a metric that its kind doesn't have, or out of range.
    #[error("metric {}: option {option}: found {found}, expected {expected}", shorten(metric))]
    MetricOption {
        /// The metric's name.
        metric: String,
        /// Name of the option.
        option: &'static str,
        /// What was given.
        found: String,
        /// What is possible.
        expected: String,
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
    #[error(
        "metric {}: found label {label:?}, expected another name: the exposition of a {kind} adds it itself",
        shorten(metric)
    )]
    ReservedLabel {
        /// The metric.
        metric: String,
        /// The label.
        label: String,
        /// The metric's type.
        kind: &'static str,
    },
    /// A label name occurs twice.
    #[error("metric {}: found label {} twice, expected once", shorten(metric), shorten(label))]
    DuplicateLabel {
        /// The metric.
        metric: String,
        /// The label.
        label: String,
    },
    /// Not as many label values as label names.
    #[error("metric {}: found {found} label values, expected {expected}", shorten(metric))]
    LabelCount {
        /// The metric.
        metric: String,
        /// Values given.
        found: usize,
        /// Names the family has.
        expected: usize,
    },
    /// The unit is not the end of the name.
    #[error("metric {}: expected the name to end in its unit, found unit {}", shorten(metric), shorten(unit))]
    Unit {
        /// The metric.
        metric: String,
        /// The unit.
        unit: String,
    },
    /// Histogram bounds are not usable.
    #[error(
        "metric {}: bounds {reason}, expected 1 to 256 finite ones in strictly ascending order",
        shorten(metric)
    )]
    Bounds {
        /// The metric.
        metric: String,
        /// What is wrong.
        reason: String,
    },
    /// States of a state set are not usable.
    #[error("metric {}: states {reason}", shorten(metric))]
    States {
        /// The metric.
        metric: String,
        /// What is wrong.
        reason: String,
    },
    /// The family exists and is different.
    #[error(
        "metric {}: found {what} {existing} registered by {}, expected {wanted}",
        shorten(metric),
        one_line(registrant)
    )]
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
        "metric {} ({kind}) clashes with {} ({other_kind}) registered by {}: both would expose a sample of the same name",
        shorten(metric),
        shorten(other),
        one_line(registrant)
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
    /// The registry behind the metric refuses it.
    #[error("registry {}: metric {}: {}", one_line(registry), shorten(metric), one_line(reason))]
    Backend {
        /// The registry's name.
        registry: String,
        /// The metric.
        metric: String,
        /// What it says.
        reason: String,
    },
    /// This registry can't do what is asked.
    #[error("registry {}: found no way to {what}", one_line(registry))]
    Unsupported {
        /// The registry's name.
        registry: String,
        /// What is asked.
        what: &'static str,
    },
    /// A label that the registry, or a level of its hierarchy, itself puts on series.
    #[error(
        "metric {}: found label {}, expected another name: the registry adds it itself",
        shorten(metric),
        shorten(label)
    )]
    AutomaticLabel {
        /// The metric.
        metric: String,
        /// The label.
        label: String,
    },
    /// A field of a struct of metrics can't be registered.
    #[error("field {field}: {source}")]
    Field {
        /// The struct and the field: `HttpMetrics.requests_total`.
        field: String,
        /// Why not.
        source: Box<Error>,
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
    /// A registry plugin can't be used.
    #[error("{}: plugin: found {}, expected {expected}", shown(path), one_line(found))]
    Plugin {
        /// The path.
        path: PathBuf,
        /// What is there.
        found: String,
        /// What should be.
        expected: String,
    },
    /// A thread that is needed can't be had.
    #[error("thread {name}: {source}; remedy: fewer threads, or a higher limit of processes")]
    Thread {
        /// Its name.
        name: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// What is needed of the segment is damaged.
    #[error("{}: segment damaged: {source}", shown(path))]
    Damaged {
        /// The path.
        path: PathBuf,
        /// What is damaged.
        source: dyn_metrics_layout::Error,
    },
}

/// Most characters of a text of others in an error.
const MOST_CHARACTERS: usize = 80;

/// A path without control characters: errors are one line.
fn shown(path: &Path) -> String {
    escape(&path.to_string_lossy())
}

/// A text of others, without control characters and cut when it is very long.
fn one_line(text: &str) -> String {
    let escaped = escape(text);
    match escaped.char_indices().nth(2 * MOST_CHARACTERS) {
        Some((end, _)) => format!("{}...", &escaped[..end]),
        None => escaped,
    }
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { escaped.extend(c.escape_default()) } else { escaped.push(c) }
    }
    escaped
}

/// A name in quotes, cut when it is very long.
pub(crate) fn shorten(name: &str) -> String {
    let whole = format!("{name:?}");
    match whole.char_indices().nth(MOST_CHARACTERS) {
        Some((end, _)) => format!("{}...\" ({} bytes)", &whole[..end], name.len()),
        None => whole,
    }
}

/// Two lists that differ: whole when they are short, otherwise from the first difference on.
pub(crate) fn difference(ours: &[String], theirs: &[String]) -> (String, String) {
    let short = |list: &[String]| list.iter().map(|item| item.len() + 2).sum::<usize>() < MOST_CHARACTERS;
    let from = if short(ours) && short(theirs) {
        0
    } else {
        ours.iter().zip(theirs).take_while(|(a, b)| a == b).count()
    };
    (excerpt(ours, from), excerpt(theirs, from))
}

fn excerpt(list: &[String], from: usize) -> String {
    let mut text = String::new();
    for (at, item) in list.iter().enumerate().skip(from) {
        if text.len() + item.len() > MOST_CHARACTERS && at > from {
            text.push_str(", ...");
            break;
        }
        let comma = if at > 0 { ", " } else { "" };
        text.push_str(comma);
        text.push_str(item);
    }
    match from {
        0 => format!("[{text}]"),
        _ => format!("[...{text}] ({} in all)", list.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "takes Miri minutes, and no unsafe code is reached")]
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

    #[test]
    fn texts_of_others_stay_on_one_line() {
        let error = Error::Conflict {
            metric: "x".to_owned(),
            what: "unit",
            existing: shorten("a\nb"),
            registrant: format!("evil\n{}", "y".repeat(256)),
            wanted: "z".to_owned(),
        };
        let text = error.to_string();
        assert!(text.starts_with(r#"metric "x": found unit "a\nb" registered by evil\nyyy"#), "{text}");
        assert!(!text.contains('\n') && text.len() < 250, "{text}");
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes Miri minutes, and no unsafe code is reached")]
    fn long_lists_are_shown_from_their_first_difference_on() {
        let list = |last: u32| -> Vec<String> { (0..200).chain([last]).map(|n| n.to_string()).collect() };
        let (ours, theirs) = difference(&list(7), &list(8));
        assert_eq!((&*ours, &*theirs), ("[..., 7] (201 in all)", "[..., 8] (201 in all)"));
        let (ours, theirs) = difference(&list(7)[..2], &list(7)[..3]);
        assert_eq!((&*ours, &*theirs), ("[0, 1]", "[0, 1, 2]"));
        let (ours, theirs) = difference(&list(7), &[]);
        assert!(ours.starts_with("[0, 1, 2") && ours.ends_with(", ...]") && ours.len() < 100, "{ours}");
        assert_eq!(theirs, "[]");
    }
}
