//! Tables of fields: the source of the tables in `docs/FORMAT.md`.

/// One field of a structure.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Its first byte, from the start of the structure.
    pub offset: usize,
    /// Its length in bytes; 0 for what fills the rest.
    pub bytes: usize,
    /// What it holds.
    pub doc: &'static str,
}

/// Makes a [`Field`].
#[must_use]
pub const fn field(name: &'static str, offset: usize, bytes: usize, doc: &'static str) -> Field {
    Field { name, offset, bytes, doc }
}

/// One structure of the format: its name, its size in bytes (0: variable) and its fields.
pub type Structure = (&'static str, usize, &'static [Field]);

/// Every structure of the format, in the order of `docs/FORMAT.md`.
#[must_use]
pub fn structures() -> [Structure; 9] {
    [
        ("Header", crate::header::BYTES, crate::header::FIELDS),
        ("Process slot", crate::process::STRIDE, crate::process::FIELDS),
        ("Index table", crate::index::HEADER_BYTES, crate::index::FIELDS),
        ("Record header", crate::record::HEADER_BYTES, crate::record::HEADER_FIELDS),
        ("Family record", 0, crate::record::FAMILY_FIELDS),
        ("Series record", 0, crate::record::SERIES_FIELDS),
        ("State block", crate::record::STATE_BYTES, crate::record::STATE_FIELDS),
        ("Extent", crate::extent::HEADER_BYTES, crate::extent::FIELDS),
        ("Gauge cell", crate::gauge::BYTES, crate::gauge::FIELDS),
    ]
}

/// Reads a little-endian number of 2 bytes; 0 past the end.
#[must_use]
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |b| u16::from_le_bytes([b[0], b[1]]))
}

/// Reads a little-endian number of 4 bytes; 0 past the end.
#[must_use]
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

/// Reads a little-endian number of 8 bytes; 0 past the end.
#[must_use]
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

/// Writes `value` at `at`; the caller has checked the length.
pub(crate) fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_cover_every_byte_once() {
        for (name, size, fields) in structures() {
            let mut next = fields.first().map_or(0, |f| f.offset);
            for field in fields {
                assert_eq!(field.offset, next, "{name}.{} leaves a gap or overlaps", field.name);
                next += field.bytes;
            }
            assert!(size == 0 || next == size, "{name} ends at {next}, not at {size}");
        }
    }
}
