//! The labels of a family's series: what their identity is made of.

use dyn_metrics_layout::record::{self, MAX_RECORD, Series};

use crate::error::{Error, Result};
use crate::family::{FamilyCore, OVERFLOW};
use crate::lookup::Identity;
use crate::segment::Refusal;

/// Where the value of a label comes from.
#[derive(Clone, Debug)]
enum Source {
    Fixed(String),
    Given(usize),
}

/// The labels of a family's series, sorted by name: what identity is made of.
#[derive(Clone, Debug)]
pub(crate) struct LabelPlan {
    labels: Vec<(String, Source)>,
    /// Number of values that a look-up gives.
    pub(crate) given: usize,
}

/// Bytes before the label block in a series' identity: family offset, length, count.
const IDENTITY_HEAD: usize = 16;
/// Identities up to this long are built on the stack.
const STACK_IDENTITY: usize = 1024;

impl LabelPlan {
    pub(crate) fn new(fixed: &[(String, String)], names: &[&str]) -> Self {
        let fixed = fixed.iter().map(|(name, value)| (name.clone(), Source::Fixed(value.clone())));
        let given = names.iter().enumerate().map(|(at, name)| ((*name).to_owned(), Source::Given(at)));
        let mut labels: Vec<_> = fixed.chain(given).collect();
        labels.sort_by(|a, b| a.0.cmp(&b.0));
        Self { labels, given: names.len() }
    }

    /// The labels of the series with these values, sorted by name.
    pub(crate) fn pairs<'p>(&'p self, values: &'p [&'p str]) -> impl Iterator<Item = (&'p str, &'p str)> {
        self.labels.iter().map(|(name, source)| match source {
            Source::Fixed(value) => (name.as_str(), value.as_str()),
            Source::Given(at) => (name.as_str(), values[*at]),
        })
    }

    /// Builds the identity of the series with these values in `buffer`: the lengths of its label block and of
    /// the whole.
    fn identity(
        &self,
        family: u64,
        values: &[&str],
        buffer: &mut [u8],
    ) -> dyn_metrics_layout::Result<(usize, usize)> {
        let (head, rest) = buffer.split_at_mut(IDENTITY_HEAD);
        let used = record::encode_labels(self.pairs(values), rest)?;
        head[..8].copy_from_slice(&family.to_le_bytes());
        head[8..12].copy_from_slice(&(used as u32).to_le_bytes());
        head[12..].copy_from_slice(&(self.labels.len() as u32).to_le_bytes());
        let end = used.next_multiple_of(8).min(rest.len());
        rest[used..end].fill(0);
        Ok((used, IDENTITY_HEAD + end))
    }

    fn encoded_len(&self, values: &[&str]) -> usize {
        let labels: usize = self.pairs(values).map(|(name, value)| 4 + name.len() + value.len()).sum();
        (IDENTITY_HEAD + labels).next_multiple_of(8)
    }

    /// Runs `work` with the identity of the series with these values in the family of that name and offset, and its
    /// label block's length.
    fn with_identity<R>(
        &self,
        (name, family): (&str, u64),
        values: &[&str],
        work: impl FnOnce(&[u8], usize) -> Result<R>,
    ) -> Result<R> {
        let long = |source| Error::TooLong { metric: name.to_owned(), source };
        let len = self.encoded_len(values);
        if len <= STACK_IDENTITY {
            let mut buffer = [0; STACK_IDENTITY];
            let (labels, end) = self.identity(family, values, &mut buffer).map_err(long)?;
            return work(&buffer[..end], labels);
        }
        let mut buffer = vec![0; len.min(MAX_RECORD)];
        let (labels, end) = self.identity(family, values, &mut buffer).map_err(long)?;
        work(&buffer[..end], labels)
    }

    /// The series with these values, if it is registered.
    pub(crate) fn find(&self, core: &'static FamilyCore, values: &[&str]) -> Result<Option<u64>> {
        self.with_identity((&core.name, core.offset), values, |bytes, _| {
            let identity = Identity::series(core.segment, bytes);
            core.segment.find_record(&identity).map_err(|r| core.error(r))
        })
    }

    /// Finds or registers the series with these values; none when the family is at its limit.
    fn register(&self, core: &'static FamilyCore, values: &[&str], overflow: bool) -> Result<Option<u64>> {
        self.with_identity((&core.name, core.offset), values, |bytes, labels_len| {
            let labels = &bytes[IDENTITY_HEAD..IDENTITY_HEAD + labels_len];
            let count = self.labels.len() as u32;
            let registered = core.segment.series(core, bytes, labels, count, overflow);
            registered.map_err(|r| core.segment.refused(core.error(r)))
        })
    }

    /// Finds or registers the series with these values, or at the family's limit the overflow series; whether it
    /// is that.
    pub(crate) fn find_or_register(&self, core: &'static FamilyCore, values: &[&str]) -> Result<(u64, bool)> {
        if let Some(offset) = self.register(core, values, false)? {
            return Ok((offset, false));
        }
        let (plan, values) = self.overflow();
        let offset = plan.register(core, &values, true)?;
        let offset = offset.ok_or_else(|| core.error(Refusal::Kernel(nix::errno::Errno::ENOSPC)))?;
        Ok((offset, true))
    }

    /// The identity of the series with these values in any family, checked as a segment's record of it would be.
    pub(crate) fn key(&self, name: &str, values: &[&str]) -> Result<Vec<u8>> {
        self.with_identity((name, 0), values, |bytes, labels_len| {
            let labels = &bytes[IDENTITY_HEAD..IDENTITY_HEAD + labels_len];
            let (label_count, overflow, created_unix_ns) = (self.labels.len() as u32, false, 0);
            let series = Series { family: 0, labels, label_count, overflow, created_unix_ns };
            let long = |source| Error::TooLong { metric: name.to_owned(), source };
            series.encode(0, 0, &mut vec![0; series.encoded_len()]).map_err(long)?;
            Ok(bytes.to_vec())
        })
    }

    /// Names and values of the overflow series. Constant labels too: handles that differ in them alone must not
    /// pass the limit either.
    pub(crate) fn overflow(&self) -> (Self, Vec<&'static str>) {
        let names: Vec<&str> = self.labels.iter().map(|(name, _)| name.as_str()).collect();
        (Self::new(&[], &names), vec![OVERFLOW; names.len()])
    }
}

const _: () = assert!(IDENTITY_HEAD == Series::identity_range(56).end - 40);
