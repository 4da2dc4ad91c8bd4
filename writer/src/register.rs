//! Registration: find the record of a family or series, or publish one.

use dyn_metrics_layout::Representation;
use dyn_metrics_layout::header::Statistic;
use dyn_metrics_layout::kind::Kind;
use dyn_metrics_layout::link::CellLink;
use dyn_metrics_layout::name::{MAX_NAME, clash, clash_candidates};
use dyn_metrics_layout::record::{
    Doubles, Family, RecordHead, STATE_BYTES, Series, State, Texts, cells_place, state_offset,
};
use dyn_metrics_layout::sync::{Ordering, fence, load_acquire};
use dyn_metrics_layout::{extent, gauge};

use crate::cells::{Cells, bytes_to_draw, draw_words};
use crate::error::{Error, Result};
use crate::family::FamilyCore;
use crate::lookup::Identity;
use crate::opts::Opts;
use crate::origin::Origin;
use crate::segment::{Granted, Segment};
use crate::sys;

/// What a family's first series takes, as a rule.
const FIRST_SERIES_BYTES: usize = 256;

/// The record of the family that `opts` describes: what every registry of it agrees on.
pub(crate) fn family_record<'o>(opts: &'o Opts, kind: Kind, states: &'o [&'o str]) -> Family<'o> {
    Family {
        name: &opts.name,
        kind,
        mode: opts.mode_for(kind),
        level: opts.level,
        shared_only: opts.shared,
        help: &opts.help,
        unit: &opts.unit,
        registrant: "",
        created_unix_ns: 0,
        keep_dead: opts.keep_dead,
        max_series: 1,
        bounds: Doubles::Numbers(opts.bounds_for(kind)),
        states: Texts::Strs(states),
    }
}

impl Segment {
    /// Finds or registers the family that `opts` describes, already checked.
    pub(crate) fn family(&'static self, opts: &Opts, kind: Kind) -> Result<&'static FamilyCore> {
        let mut identity = [0; MAX_NAME + 32];
        let len = Family::encode_identity(&opts.name, &mut identity).map_err(|e| self.too_long(opts, e))?;
        let identity = Identity::family(self, &identity[..len]);
        let refuse = |refusal| self.refused(self.error("a metric family", refusal));
        if let Some(offset) = self.find_record(&identity).map_err(refuse)? {
            return self.existing_family(offset, opts, kind);
        }
        self.check_clashes(opts, kind, u64::MAX)?;
        let registrant = self.registrant();
        let states: Vec<&str> = opts.states.iter().map(String::as_str).collect();
        let family = Family {
            registrant: &registrant,
            created_unix_ns: sys::unix_ns(),
            max_series: opts.max_series.unwrap_or(self.header.max_series).max(1),
            ..family_record(opts, kind, &states)
        };
        let mut record = vec![0; family.encoded_len()];
        // Once for its lengths: what is too long must not draw space.
        family.encode(0, 0, &mut record).map_err(|e| self.refused(self.too_long(opts, e)))?;
        self.make_room_for(kind, opts.shared, family.bounds.len(), &[record.len(), FIRST_SERIES_BYTES])
            .map_err(refuse)?;
        let seed = self.header.hash_seed;
        let encode = |offset, out: &mut [u8]| family.encode(offset, seed, out).map(drop);
        let (offset, mine) = self.publish(&identity, &mut record, encode).map_err(refuse)?;
        if !mine {
            return self.existing_family(offset, opts, kind);
        }
        // Whoever registers a clashing name at this moment publishes before it looks, too: one sees the other. When
        // that is the lower one alone, both go on, and readers skip and count the other.
        fence(Ordering::SeqCst);
        self.check_clashes(opts, kind, offset)?;
        self.try_again();
        log::debug!("{}: registered {} {:?}", self.path.display(), kind.name(), opts.name);
        self.family_core(offset).map_err(refuse)
    }

    /// Makes sure that these records, and the cells of one series of `kind`, find space: a registration that is
    /// refused leaves nothing.
    fn make_room_for(
        &'static self,
        kind: Kind,
        shared_only: bool,
        bounds: usize,
        records: &[usize],
    ) -> Granted<()> {
        let mut sizes: Vec<u64> = records.iter().map(|len| (STATE_BYTES + len) as u64).collect();
        match kind.cell_words(bounds) {
            0 if kind.is_per_process() => sizes.push(gauge::BYTES as u64),
            0 => (),
            words => sizes.push(bytes_to_draw(self, words as u32, shared_only)?),
        }
        self.make_room(&sizes)
    }

    /// Completes a record in space that nobody else sees and publishes it: the offset of the record that
    /// counts, and whether it is this one.
    fn publish(
        &'static self,
        identity: &Identity<'_>,
        record: &mut [u8],
        encode: impl FnOnce(u64, &mut [u8]) -> dyn_metrics_layout::Result<()>,
    ) -> Granted<(u64, bool)> {
        let bytes = (STATE_BYTES + record.len()) as u64;
        let space = self.draw_record(bytes)?;
        let offset = space + STATE_BYTES as u64;
        encode(offset, record)?;
        self.reach(offset)?.store(offset, record)?;
        let published = self.publish_record(identity, offset);
        if !matches!(published, Ok((_, true))) {
            self.keep_spare(space, bytes.next_multiple_of(64));
        }
        published
    }

    fn registrant(&self) -> String {
        registrant(&self.role)
    }

    fn too_long(&self, opts: &Opts, source: dyn_metrics_layout::Error) -> Error {
        Error::TooLong { metric: opts.name.clone(), source }
    }

    /// Counts a refused registration by its reason and hands the error on.
    pub(crate) fn refused(&'static self, error: Error) -> Error {
        self.count(refusal_statistic(&error), 1);
        error
    }

    /// The family at `offset`, if it is the one that `opts` describes.
    fn existing_family(&'static self, offset: u64, opts: &Opts, kind: Kind) -> Result<&'static FamilyCore> {
        let core = self
            .family_core(offset)
            .map_err(|refusal| self.refused(self.error("a metric family", refusal)))?;
        core.shape().check_same(opts, kind).map_err(|error| self.refused(error))?;
        self.check_clashes(opts, kind, offset)?;
        if core.help != opts.help {
            self.count(Statistic::HelpDiffers, 1);
        }
        if core.level != opts.level {
            self.count(Statistic::LevelDiffers, 1);
        }
        Ok(core)
    }

    /// The family whose record lies at `offset`.
    pub(crate) fn family_core(&'static self, offset: u64) -> Granted<&'static FamilyCore> {
        self.families.get_or_try(offset, || {
            let record = self.read_record(offset)?;
            let family = Family::decode(&record, offset, self.header.hash_seed)?;
            Ok(FamilyCore::new(self, offset, &family))
        })
    }

    /// The bytes of the record at `offset`.
    pub(crate) fn read_record(&'static self, offset: u64) -> Granted<Vec<u8>> {
        let view = self.reach(offset)?;
        let mut head = [0; 8];
        view.copy(offset, &mut head)?;
        let mut record = vec![0; RecordHead::peek(&head, offset)?];
        view.copy(offset, &mut record)?;
        Ok(record)
    }

    /// Refuses a name whose samples a family below `offset` would expose too: of two, readers serve the lower one.
    fn check_clashes(&'static self, opts: &Opts, kind: Kind, offset: u64) -> Result<()> {
        let (mut buffer, mut found) = ([0; MAX_NAME + 32], None);
        clash_candidates(&opts.name, kind, &mut buffer, |candidate| {
            if found.is_some() || candidate.len() > MAX_NAME {
                return;
            }
            let mut bytes = [0; MAX_NAME + 32];
            let Ok(len) = Family::encode_identity(candidate, &mut bytes) else { return };
            let identity = Identity::family(self, &bytes[..len]);
            let other = self.find_record(&identity).ok().flatten().and_then(|o| self.family_core(o).ok());
            let is_lower = |other: &&FamilyCore| other.offset < offset;
            found = other.filter(is_lower).filter(|other| clash(&opts.name, kind, &other.name, other.kind));
        });
        let Some(other) = found else { return Ok(()) };
        Err(self.refused(other.shape().clash(opts, kind)))
    }

    /// Finds or registers the series with this identity: see [`Series`]. None when the family is at its limit.
    ///
    /// Registrations of different series at the same moment may pass the limit by their number.
    pub(crate) fn series(
        &'static self,
        family: &'static FamilyCore,
        identity_bytes: &[u8],
        labels: &[u8],
        label_count: u32,
        overflow: bool,
    ) -> Granted<Option<u64>> {
        let identity = Identity::series(self, identity_bytes);
        if let Some(offset) = self.find_record(&identity)? {
            return Ok(Some(offset));
        }
        let created_unix_ns = sys::unix_ns();
        let series = Series { family: family.offset, labels, label_count, overflow, created_unix_ns };
        let mut record = vec![0; series.encoded_len()];
        let seed = self.header.hash_seed;
        // Once for its length: what is too long must not draw space.
        series.encode(0, seed, &mut record)?;
        // Counted once published: whoever sees the limit reached sees the series that reached it.
        if !overflow && family.is_full()? {
            let found = self.find_record(&identity)?; // another thread or process registers it, too
            if found.is_none() {
                family.count_refused_series()?;
            }
            return Ok(found);
        }
        self.make_room_for(family.kind, family.shared_only, family.bounds().len(), &[record.len()])?;
        let encode = |offset, out: &mut [u8]| series.encode(offset, seed, out).map(drop);
        let (offset, mine) = self.publish(&identity, &mut record, encode)?;
        if mine {
            let state: &'static State = self.at(state_offset(family.offset))?;
            state.series.fetch_add(u64::from(!overflow), Ordering::Release); // pairs with: is_full()
            self.try_again();
            log::debug!("{}: registered a series of {:?}", self.path.display(), family.name);
        }
        Ok(Some(offset))
    }

    /// The cells of a series in one representation; drawn by whoever needs them first.
    pub(crate) fn series_cells(
        &'static self,
        family: &'static FamilyCore,
        series: u64,
        representation: Representation,
    ) -> Granted<Cells> {
        let place = cells_place(series, representation);
        let words = family.kind.cell_words(family.bounds().len());
        let reached = self.cells[representation as usize].get_or_try(series, || {
            let word = self.word(place)?;
            let link = match CellLink::unpack(load_acquire(word), place)? {
                Some(link) => link,
                None => {
                    let drawn = draw_words(self, words as u32, family.shared_only)?;
                    extent::publish_cells(word, place, drawn)?
                }
            };
            Cells::reach(Origin::new(family, series), link, words)
        });
        reached.copied()
    }
}

/// This process, for those who are told that it registered something.
pub(crate) fn registrant(role: &str) -> String {
    let command = std::fs::read_to_string("/proc/self/comm").unwrap_or_default();
    let role = if role.is_empty() { String::new() } else { format!(", role {role}") };
    let mut text = format!("{} (pid {}{role})", command.trim_end(), std::process::id());
    while text.len() > dyn_metrics_layout::record::MAX_REGISTRANT {
        text.pop();
    }
    text
}

/// The statistic that counts a refusal.
pub(crate) const fn refusal_statistic(error: &Error) -> Statistic {
    match error {
        Error::Conflict { .. } => Statistic::RefusedConflict,
        Error::Clash { .. } => Statistic::RefusedClash,
        Error::Full { .. } | Error::Io { .. } => Statistic::RefusedFull,
        _ => Statistic::RefusedInvalid,
    }
}
