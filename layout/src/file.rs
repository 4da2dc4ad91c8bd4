//! The names of a segment's files.

/// What stands between a segment's name and the identity (16 hexadecimal digits) of a superseded file.
pub const SUPERSEDED_INFIX: &str = ".superseded-";

/// What stands between a segment's name and a random number while it is being made where the filesystem has no
/// unnamed files.
pub const BIRTH_INFIX: &str = ".birth-";

/// Longest name of a segment, in bytes: a superseded file's name, with its identity, must fit into 255.
pub const MAX_FILE_NAME: usize = 255 - SUPERSEDED_INFIX.len() - 16;

/// Length of the name that the superseded file with the name `file` once had; none when it is no such name.
#[must_use]
pub fn superseded_base(file: &[u8]) -> Option<usize> {
    let infix = SUPERSEDED_INFIX.as_bytes();
    let at = file.windows(infix.len()).position(|window| window == infix)?;
    (at > 0 && file.len() > at + infix.len()).then_some(at)
}

/// Length of the name that the file with the name `file` was to have once made; none when it is no such name.
#[must_use]
pub fn birth_base(file: &[u8]) -> Option<usize> {
    let infix = BIRTH_INFIX.as_bytes();
    let at = file.windows(infix.len()).rposition(|window| window == infix)?;
    (at > 0 && file.len() > at + infix.len()).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_being_made_is_known_by_its_name() {
        assert_eq!(birth_base(b"dynamo.birth-0123456789abcdef"), Some(6));
        assert_eq!(birth_base(b"dynamo.superseded-1.birth-2"), Some(19));
        for other in ["dynamo", "dynamo.birth-", ".birth-1", "dynamo.superseded-1", ""] {
            assert_eq!(birth_base(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn a_superseded_file_is_known_by_its_name() {
        assert_eq!(superseded_base(b"dynamo.superseded-0123456789abcdef"), Some(6));
        for other in ["dynamo", "dynamo.superseded-", ".superseded-1", "dynamo.birth-1", ""] {
            assert_eq!(superseded_base(other.as_bytes()), None, "{other}");
        }
    }
}
