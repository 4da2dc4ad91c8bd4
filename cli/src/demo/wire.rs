//! What the front end and the workers say to each other over a socket.
//!
//! A frame is its length (`u32`) and a body: a tag byte and fixed-width little-endian fields.

use std::io::{self, Read};

use super::arrivals::Prefix;
use super::engine::{End, Job};

/// Longest body that is accepted; the longest that is sent has one item for each sequence of a batch.
const MAX_BODY: usize = 64 * 1024;
/// Bytes of the length in front of a body.
const PREFIX: usize = 4;
/// Stands for "no value" in an optional field.
const NONE: u32 = u32::MAX;

/// What can be wrong with a frame.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The stream ended inside a frame, or failed.
    #[error("cannot read from the socket: {0}")]
    Io(#[from] io::Error),
    /// The length is out of range.
    #[error("frame of {found} bytes, at most {MAX_BODY} are allowed")]
    TooLong {
        /// The length that was announced.
        found: usize,
    },
    /// The body ends before its last field.
    #[error("frame ends inside a field")]
    Truncated,
    /// The body goes on after its last field.
    #[error("{0} bytes after the last field of a frame")]
    Trailing(usize),
    /// No message, or no value of a field, has this number.
    #[error("unknown {what} {found}")]
    Unknown {
        /// The field.
        what: &'static str,
        /// Its value.
        found: u8,
    },
}

/// Front end to worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Answer this request.
    Generate(Job),
    /// Forget this request.
    Cancel(u64),
    /// No more requests will come.
    Drain,
}

/// Worker to front end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// First message: the worker is ready.
    Hello {
        /// Which worker.
        worker: u32,
    },
    /// What one step of the engine gave.
    Step {
        /// KV-cache blocks in use after it.
        active_blocks: u32,
        /// One for each sequence that got a token or is over.
        items: Vec<Item>,
    },
}

/// One sequence's share of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    /// The request's number.
    pub id: u64,
    /// New tokens.
    pub tokens: u32,
    /// Prompt tokens that the prefix cache had.
    pub cached_tokens: u32,
    /// Set on the last one.
    pub end: Option<End>,
}

impl Order {
    /// The whole frame.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Generate(job) => {
                let (id, tokens) = job.prefix.map_or((NONE, 0), |prefix| (prefix.id, prefix.tokens));
                let fields =
                    [job.prompt_tokens, job.output_tokens, id, tokens, job.fail_after.unwrap_or(NONE)];
                fields.iter().fold(Frame::new(1).u64(job.id), |frame, field| frame.u32(*field)).finish()
            }
            Self::Cancel(id) => Frame::new(2).u64(*id).finish(),
            Self::Drain => Frame::new(3).finish(),
        }
    }

    /// Reads the next one and says how many bytes it took; `None` when the other side has closed.
    pub fn read(stream: &mut impl Read) -> Result<Option<(Self, usize)>, WireError> {
        read_body(stream)?.map(|body| Ok((Self::decode(&body)?, PREFIX + body.len()))).transpose()
    }

    fn decode(body: &[u8]) -> Result<Self, WireError> {
        let mut fields = Fields(body);
        let order = match fields.u8()? {
            1 => Self::Generate(decode_job(&mut fields)?),
            2 => Self::Cancel(fields.u64()?),
            3 => Self::Drain,
            found => return Err(WireError::Unknown { what: "order", found }),
        };
        fields.end(order)
    }
}

fn decode_job(fields: &mut Fields<'_>) -> Result<Job, WireError> {
    let id = fields.u64()?;
    let [prompt_tokens, output_tokens, prefix, prefix_tokens, fail_after] =
        [fields.u32()?, fields.u32()?, fields.u32()?, fields.u32()?, fields.u32()?];
    Ok(Job {
        id,
        prompt_tokens,
        output_tokens,
        prefix: (prefix != NONE).then_some(Prefix { id: prefix, tokens: prefix_tokens }),
        fail_after: (fail_after != NONE).then_some(fail_after),
    })
}

impl Reply {
    /// The whole frame.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Hello { worker } => Frame::new(1).u32(*worker).finish(),
            Self::Step { active_blocks, items } => {
                let head = Frame::new(2).u32(*active_blocks).u32(items.len() as u32);
                items.iter().fold(head, Frame::item).finish()
            }
        }
    }

    /// Reads the next one; `None` when the other side has closed.
    pub fn read(stream: &mut impl Read) -> Result<Option<Self>, WireError> {
        read_body(stream)?.map(|body| Self::decode(&body)).transpose()
    }

    fn decode(body: &[u8]) -> Result<Self, WireError> {
        let mut fields = Fields(body);
        let reply = match fields.u8()? {
            1 => Self::Hello { worker: fields.u32()? },
            2 => {
                let active_blocks = fields.u32()?;
                let count = fields.u32()?;
                let items = (0..count).map(|_| fields.item()).collect::<Result<_, _>>()?;
                Self::Step { active_blocks, items }
            }
            found => return Err(WireError::Unknown { what: "reply", found }),
        };
        fields.end(reply)
    }
}

fn read_body(stream: &mut impl Read) -> Result<Option<Vec<u8>>, WireError> {
    let mut length = [0; PREFIX];
    match stream.read_exact(&mut length[..1]) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        result => result?,
    }
    stream.read_exact(&mut length[1..])?;
    let found = u32::from_le_bytes(length) as usize;
    if found > MAX_BODY {
        return Err(WireError::TooLong { found });
    }
    let mut body = vec![0; found];
    stream.read_exact(&mut body)?;
    Ok(Some(body))
}

/// A frame under construction.
struct Frame(Vec<u8>);

impl Frame {
    fn new(tag: u8) -> Self {
        Self(vec![0, 0, 0, 0, tag])
    }

    fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn item(self, item: &Item) -> Self {
        let mut frame = self.u64(item.id).u32(item.tokens).u32(item.cached_tokens);
        frame.0.push(match item.end {
            None => 0,
            Some(End::Stop) => 1,
            Some(End::Length) => 2,
            Some(End::Error) => 3,
        });
        frame
    }

    fn finish(mut self) -> Vec<u8> {
        let length = (self.0.len() - PREFIX) as u32;
        self.0[..PREFIX].copy_from_slice(&length.to_le_bytes());
        self.0
    }
}

/// What is left of a body.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (field, rest) = self.0.split_first_chunk().ok_or(WireError::Truncated)?;
        self.0 = rest;
        Ok(*field)
    }

    fn u8(&mut self) -> Result<u8, WireError> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Result<u32, WireError> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, WireError> {
        self.take().map(u64::from_le_bytes)
    }

    fn item(&mut self) -> Result<Item, WireError> {
        let (id, tokens, cached_tokens) = (self.u64()?, self.u32()?, self.u32()?);
        let end = match self.u8()? {
            0 => None,
            1 => Some(End::Stop),
            2 => Some(End::Length),
            3 => Some(End::Error),
            found => return Err(WireError::Unknown { what: "end", found }),
        };
        Ok(Item { id, tokens, cached_tokens, end })
    }

    fn end<T>(&self, message: T) -> Result<T, WireError> {
        if self.0.is_empty() { Ok(message) } else { Err(WireError::Trailing(self.0.len())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orders() -> [Order; 4] {
        let plain = Job { id: 7, prompt_tokens: 300, output_tokens: 40, prefix: None, fail_after: None };
        let full = Job { prefix: Some(Prefix { id: 3, tokens: 128 }), fail_after: Some(0), ..plain };
        [Order::Generate(plain), Order::Generate(full), Order::Cancel(u64::MAX), Order::Drain]
    }

    fn replies() -> [Reply; 3] {
        let ends = [None, Some(End::Stop), Some(End::Length), Some(End::Error)];
        let items = ends.map(|end| Item { id: 1 << 40, tokens: 1, cached_tokens: 64, end });
        [
            Reply::Hello { worker: 63 },
            Reply::Step { active_blocks: 12, items: Vec::new() },
            Reply::Step { active_blocks: 0, items: items.into() },
        ]
    }

    #[test]
    fn messages_survive_the_way_there_one_after_the_other() {
        let bytes: Vec<u8> = orders().iter().flat_map(Order::encode).collect();
        let mut stream = bytes.as_slice();
        for order in orders() {
            let bytes = order.encode().len();
            assert_eq!(Order::read(&mut stream).unwrap(), Some((order, bytes)));
        }
        assert_eq!(Order::read(&mut stream).unwrap(), None);

        let bytes: Vec<u8> = replies().iter().flat_map(Reply::encode).collect();
        let mut stream = bytes.as_slice();
        for reply in replies() {
            assert_eq!(Reply::read(&mut stream).unwrap(), Some(reply));
        }
        assert_eq!(Reply::read(&mut stream).unwrap(), None);
    }

    #[test]
    fn every_frame_that_is_cut_short_is_an_error() {
        for frame in replies().iter().map(Reply::encode) {
            for end in 1..frame.len() {
                assert!(matches!(Reply::read(&mut &frame[..end]), Err(WireError::Io(_))), "{end} bytes");
                let mut lying = frame[..end].to_vec();
                if end >= 4 {
                    lying[..4].copy_from_slice(&(end as u32 - 4).to_le_bytes());
                    assert!(
                        matches!(Reply::read(&mut lying.as_slice()), Err(WireError::Truncated)),
                        "{end} bytes"
                    );
                }
            }
        }
    }

    #[test]
    fn frames_that_are_too_long_are_refused_before_they_are_read() {
        let bytes = (MAX_BODY as u32 + 1).to_le_bytes();
        assert!(
            matches!(Order::read(&mut bytes.as_slice()), Err(WireError::TooLong { found }) if found > MAX_BODY)
        );
    }

    #[test]
    fn unknown_tags_and_extra_bytes_are_refused() {
        assert!(matches!(Order::decode(&[9]), Err(WireError::Unknown { what: "order", found: 9 })));
        assert!(matches!(Reply::decode(&[0]), Err(WireError::Unknown { what: "reply", found: 0 })));
        assert!(matches!(Order::decode(&[3, 0, 0]), Err(WireError::Trailing(2))));
    }

    #[test]
    fn a_full_batch_fits_into_a_frame() {
        let item = Item { id: 0, tokens: 1, cached_tokens: 0, end: None };
        let largest = super::super::models::MODELS.iter().map(|model| model.max_num_seqs).max().unwrap();
        let reply = Reply::Step { active_blocks: 0, items: vec![item; largest as usize] };
        assert!(reply.encode().len() - PREFIX <= MAX_BODY);
    }
}
