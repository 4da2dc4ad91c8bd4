//! Which instructions belong to the protocols, from the program's own tables (ELF, 64 bits, little-endian).

use std::path::Path;

/// What is known of a program's code.
#[derive(Debug)]
pub struct Code {
    /// Functions of the crates that keep the protocols, as ranges of addresses, ascending; relative to where the
    /// program is loaded.
    protocol: Vec<(u64, u64)>,
    /// The whole of the program's code.
    text: (u64, u64),
    /// Place and length of the descriptors of restartable sequences.
    sequences: (u64, u64),
}

/// A restartable sequence in a running program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// Its first instruction.
    pub start: u64,
    /// Behind its last.
    pub end: u64,
    /// Where the kernel has it go on when it was disturbed.
    pub abort: u64,
}

impl Sequence {
    /// From the descriptor: version, flags, start, length, abort address.
    #[must_use]
    pub fn decode(descriptor: &[u8]) -> Self {
        let word = |at| number(descriptor, at, 8);
        Self { start: word(8), end: word(8) + word(16), abort: word(24) }
    }
}

/// A number of `len` bytes.
fn number(bytes: &[u8], at: usize, len: usize) -> u64 {
    bytes[at..at + len].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

fn text_at(bytes: &[u8], at: usize) -> &str {
    let text = &bytes[at..];
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
    std::str::from_utf8(&text[..end]).unwrap_or_default()
}

struct Section {
    name: usize,
    address: u64,
    offset: usize,
    len: usize,
}

fn sections(elf: &[u8]) -> Vec<Section> {
    let (table, size, count) = (number(elf, 40, 8) as usize, number(elf, 58, 2) as usize, number(elf, 60, 2));
    let at = |n: u64| table + n as usize * size;
    let field = |at: usize, offset, len| number(elf, at + offset, len);
    let section = |n| Section {
        name: field(at(n), 0, 4) as usize,
        address: field(at(n), 16, 8),
        offset: field(at(n), 24, 8) as usize,
        len: field(at(n), 32, 8) as usize,
    };
    (0..count).map(section).collect()
}

/// Whether a mangled name is that of a function of `dyn_metrics` or `dyn_metrics_layout`, or one made for a type of
/// theirs.
fn is_protocol(name: &str) -> bool {
    const OTHERS: [&str; 4] = ["reader", "tests", "cli", "exporter"];
    name.match_indices("dyn_metrics").any(|(at, found)| {
        let rest = &name[at + found.len()..];
        !OTHERS.iter().any(|other| rest.strip_prefix('_').is_some_and(|rest| rest.starts_with(other)))
    })
}

impl Code {
    /// Of the program at `path`.
    ///
    /// # Panics
    /// When it isn't such a program, or has no symbols.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        let elf = std::fs::read(path).expect("the program");
        assert!(elf.starts_with(b"\x7fELF\x02\x01"), "{}: an ELF file", path.display());
        let sections = sections(&elf);
        let names = sections[number(&elf, 62, 2) as usize].offset;
        let section = |name: &str| {
            let found = sections.iter().find(|section| text_at(&elf, names + section.name) == name);
            found.unwrap_or_else(|| panic!("{}: has no section {name}", path.display()))
        };
        let (symbols, strings) = (section(".symtab"), section(".strtab").offset);
        let mut protocol = Vec::new();
        for symbol in elf[symbols.offset..symbols.offset + symbols.len].as_chunks::<24>().0 {
            let is_function = symbol[4] & 0xf == 2;
            let (start, len) = (number(symbol, 8, 8), number(symbol, 16, 8));
            if is_function && len > 0 && is_protocol(text_at(&elf, strings + number(symbol, 0, 4) as usize)) {
                protocol.push((start, start + len));
            }
        }
        protocol.sort_unstable();
        let (text, sequences) = (section(".text"), section("__rseq_cs"));
        Self {
            protocol,
            text: (text.address, text.address + text.len as u64),
            sequences: (sequences.address, sequences.len as u64),
        }
    }

    /// Whether an address, relative to where the program is loaded, belongs to a function that keeps the protocols.
    #[must_use]
    pub fn is_protocol(&self, address: u64) -> bool {
        let after = self.protocol.partition_point(|(start, _)| *start <= address);
        after > 0 && self.protocol[..after].iter().rev().take(4).any(|(_, end)| address < *end)
    }

    /// Whether it belongs to the program's own code, no library's.
    #[must_use]
    pub const fn is_own(&self, address: u64) -> bool {
        self.text.0 <= address && address < self.text.1
    }

    /// The restartable sequences of the program that runs at `base` with this memory.
    pub fn sequences(&self, base: u64, read: impl Fn(u64, &mut [u8]) -> usize) -> Vec<Sequence> {
        let mut bytes = vec![0; self.sequences.1 as usize];
        let len = read(base + self.sequences.0, &mut bytes);
        bytes[..len].as_chunks::<32>().0.iter().map(|bytes| Sequence::decode(bytes)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_told_apart_by_their_crates() {
        assert!(is_protocol("_ZN11dyn_metrics7segment7Segment4draw17h0E"));
        assert!(is_protocol("_ZN18dyn_metrics_layout5space7reserve17h0E"));
        assert!(is_protocol("_ZN67_$LT$dyn_metrics..map..Map$u20$as$u20$Memory$GT$7resolve17h0E"));
        assert!(!is_protocol("_ZN18dyn_metrics_reader5check5check17h0E"));
        assert!(!is_protocol("_ZN17dyn_metrics_tests4step17h0E"));
        assert!(!is_protocol("_ZN4core3fmt5write17h0E"));
    }
}
