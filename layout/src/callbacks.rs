//! How a process is asked to run its on-scrape callbacks: names of its sockets, and what is said over them.
//!
//! A socket (`AF_UNIX`, `SOCK_SEQPACKET`) lies beside the segment's file. Who reads the segment connects, sends a
//! [`Request`], and gets one [`Answer`] when all callbacks have run, or the time given is nearly over.

/// What the names of sockets begin with.
pub const NAME_PREFIX: &str = ".dynm-ask-";
/// Bytes of a socket's name.
pub const NAME_BYTES: usize = NAME_PREFIX.len() + 16 + 1 + 16 + 1 + 1;
/// Most sockets of a process in a segment: each copy of the library in it has its own.
pub const MAX_SOCKETS: u32 = 8;
/// Bytes of a request, and of an answer.
pub const MESSAGE_BYTES: usize = 16;
/// Longest time that a request may give.
pub const MAX_LIMIT_MS: u32 = 10_000;

const REQUEST: u64 = u64::from_le_bytes(*b"dynmask1");
const ANSWER: u64 = u64::from_le_bytes(*b"dynmans1");

/// The name of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketName([u8; NAME_BYTES]);

impl SocketName {
    /// Of socket `number`, below [`MAX_SOCKETS`], of a process in a segment. Nothing of it changes when the segment's file
    /// is superseded.
    #[must_use]
    pub fn new(segment_id: [u64; 2], process_id: u64, number: u32) -> Self {
        let mut name = [b'-'; NAME_BYTES];
        name[..NAME_PREFIX.len()].copy_from_slice(NAME_PREFIX.as_bytes());
        let (segment, process) = (NAME_PREFIX.len(), NAME_PREFIX.len() + 17);
        put_hex(&mut name[segment..segment + 16], segment_id[0]);
        put_hex(&mut name[process..process + 16], process_id);
        put_hex(&mut name[NAME_BYTES - 1..], u64::from(number));
        Self(name)
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// Whether a file's name is that of a socket of ours.
#[must_use]
pub fn is_socket_name(name: &[u8]) -> bool {
    name.len() == NAME_BYTES && name.starts_with(NAME_PREFIX.as_bytes())
}

/// The process whose socket in the segment with this identity has the name `name`; none when it is no such name.
#[must_use]
pub fn process_of(name: &[u8], segment_id: [u64; 2]) -> Option<u64> {
    let digits = name.get(NAME_PREFIX.len() + 17..NAME_PREFIX.len() + 33).filter(|_| is_socket_name(name))?;
    let process_id = u64::from_str_radix(core::str::from_utf8(digits).ok()?, 16).ok()?;
    let known = (0..MAX_SOCKETS).any(|n| SocketName::new(segment_id, process_id, n).0 == *name);
    known.then_some(process_id)
}

fn put_hex(out: &mut [u8], number: u64) {
    for (place, digit) in out.iter_mut().rev().enumerate() {
        *digit = b"0123456789abcdef"[(number >> (4 * place) & 15) as usize];
    }
}

/// Asks for all callbacks to be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// How long the asker waits, in milliseconds.
    pub limit_ms: u32,
}

/// Says that callbacks have run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Callbacks that were not done in time: what they set is from an earlier run.
    pub late: u32,
    /// Callbacks that failed.
    pub failed: u32,
}

impl Request {
    /// Its bytes.
    #[must_use]
    pub fn encode(self) -> [u8; MESSAGE_BYTES] {
        message(REQUEST, self.limit_ms, 0)
    }

    /// From bytes that were received; none when they are no request. A longer time than may be given is cut.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        parts(REQUEST, bytes).map(|(limit_ms, _)| Self { limit_ms: limit_ms.min(MAX_LIMIT_MS) })
    }
}

impl Answer {
    /// Its bytes.
    #[must_use]
    pub fn encode(self) -> [u8; MESSAGE_BYTES] {
        message(ANSWER, self.late, self.failed)
    }

    /// From bytes that were received; none when they are no answer.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        parts(ANSWER, bytes).map(|(late, failed)| Self { late, failed })
    }
}

fn message(magic: u64, first: u32, second: u32) -> [u8; MESSAGE_BYTES] {
    let mut bytes = [0; MESSAGE_BYTES];
    bytes[..8].copy_from_slice(&magic.to_le_bytes());
    bytes[8..12].copy_from_slice(&first.to_le_bytes());
    bytes[12..].copy_from_slice(&second.to_le_bytes());
    bytes
}

fn parts(magic: u64, bytes: &[u8]) -> Option<(u32, u32)> {
    let bytes: &[u8; MESSAGE_BYTES] = bytes.try_into().ok()?;
    let (found, rest) = bytes.split_first_chunk()?;
    let (first, rest) = rest.split_first_chunk()?;
    let second = rest.first_chunk()?;
    (u64::from_le_bytes(*found) == magic).then(|| (u32::from_le_bytes(*first), u32::from_le_bytes(*second)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_its_process_and_no_other_segment_takes_it_for_its_own() {
        let name = SocketName::new([0xab, 7], 0x1234, 3);
        assert_eq!(name.as_str(), ".dynm-ask-00000000000000ab-0000000000001234-3");
        assert_eq!(process_of(name.as_str().as_bytes(), [0xab, 7]), Some(0x1234));
        assert_eq!(process_of(name.as_str().as_bytes(), [0xac, 7]), None);
        for other in ["", ".dynm-ask-", ".dynm-ask-00000000000000ab-0000000000001234-9", "dynamo"] {
            assert_eq!(process_of(other.as_bytes(), [0xab, 7]), None, "{other}");
        }
    }

    #[test]
    fn messages_are_read_back_and_anything_else_is_none() {
        assert_eq!(Request::decode(&Request { limit_ms: 70 }.encode()), Some(Request { limit_ms: 70 }));
        let cut = Request::decode(&Request { limit_ms: u32::MAX }.encode());
        assert_eq!(cut, Some(Request { limit_ms: MAX_LIMIT_MS }));
        let answer = Answer { late: 1, failed: 2 };
        assert_eq!(Answer::decode(&answer.encode()), Some(answer));
        assert_eq!(Answer::decode(&Request { limit_ms: 1 }.encode()), None);
        assert_eq!(Answer::decode(&answer.encode()[..15]), None);
        assert_eq!(Request::decode(&[0; MESSAGE_BYTES]), None);
    }
}
