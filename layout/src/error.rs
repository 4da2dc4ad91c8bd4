//! What can be wrong with the bytes of a segment.

use core::fmt;

/// Result of reading or writing segment bytes.
pub type Result<T> = core::result::Result<T, Error>;

/// A fault in the bytes of a segment, or in what somebody wants to put there.
///
/// Offsets are bytes from the start of the file.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The file ends before the structure does.
    TooShort {
        /// Bytes there are.
        found: u64,
        /// Bytes needed.
        expected: u64,
    },
    /// The first eight bytes are not a segment's.
    BadMagic {
        /// The first eight bytes, as a little-endian number.
        found: u64,
    },
    /// The first eight bytes are those of a segment written on a big-endian machine.
    WrongEndian,
    /// The format's version is not one this code knows.
    BadVersion {
        /// The version in the file.
        found: u32,
        /// The version this code reads and writes.
        supported: u32,
    },
    /// The file uses features that this code must know to touch it, and doesn't.
    UnknownFeatures {
        /// The unknown bits.
        bits: u64,
    },
    /// A field holds a value that it can't have.
    Corrupt {
        /// Which field.
        what: &'static str,
        /// Where it lies.
        offset: u64,
        /// What it holds.
        found: u64,
        /// What it should hold (or the limit it should keep).
        expected: u64,
    },
    /// An offset or length leads outside the mapped bytes or off its alignment.
    OutOfBounds {
        /// Where.
        offset: u64,
        /// How many bytes.
        len: u64,
    },
    /// A text or list is longer than its field can say.
    TooLong {
        /// Which one.
        what: &'static str,
        /// Bytes or elements given.
        found: usize,
        /// Bytes or elements allowed.
        limit: usize,
    },
    /// No space is left under the segment's limit.
    Full {
        /// Bytes asked for.
        wanted: u64,
        /// The limit, in bytes.
        limit: u64,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TooShort { found, expected } => {
                write!(f, "too short: found {found} bytes, expected at least {expected}")
            }
            Self::BadMagic { found } => write!(
                f,
                "not a dyn-metrics segment: found magic {found:#018x}, expected {:#018x}",
                crate::header::MAGIC
            ),
            Self::WrongEndian => write!(f, "segment of a big-endian machine, expected little-endian"),
            Self::BadVersion { found, supported } => {
                write!(f, "format version {found}, expected {supported}")
            }
            Self::UnknownFeatures { bits } => {
                write!(f, "segment uses unknown features {bits:#x}, expected none that this version lacks")
            }
            Self::Corrupt { what, offset, found, expected } => {
                write!(f, "corrupt {what} at offset {offset}: found {found:#x}, expected {expected:#x}")
            }
            Self::OutOfBounds { offset, len } => {
                write!(f, "{len} bytes at offset {offset} lie outside the segment")
            }
            Self::TooLong { what, found, limit } => {
                write!(f, "{what} too long: found {found}, expected at most {limit}")
            }
            Self::Full { wanted, limit } => {
                write!(f, "segment full: {wanted} more bytes would pass its limit of {limit}")
            }
        }
    }
}

impl core::error::Error for Error {}
