//! A registry for the tests of those who use this crate: it records what is asked of it, and refuses on demand.
//!
//! ```
//! use dyn_metrics::Registry;
//! use dyn_metrics::testing::Fake;
//!
//! /// What is tested.
//! fn serve(registry: &Registry) -> dyn_metrics::Result<()> {
//!     registry.counter("requests_total", "Requests served")?.inc_by(2);
//!     Ok(())
//! }
//!
//! let fake = Fake::new();
//! serve(&fake.registry())?;
//! assert_eq!(fake.updates("requests_total").len(), 1);
//! assert_eq!(fake.total("requests_total", &[]), Some(2.0));
//!
//! fake.refuse("requests_total", "the disk is full");
//! let other = fake.registry();
//! assert!(serve(&other).unwrap_err().to_string().ends_with("the disk is full"));
//! # Ok::<(), dyn_metrics::Error>(())
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::backend::{Backend, Cell, Descriptor, Dropped, Instrument, Number, Selection, Value};
use crate::error::{Error, Result};
use crate::registry::Registry;

/// Something that was asked of a [`Fake`], in order.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    /// A family was registered.
    Family(Descriptor),
    /// A series was registered.
    Series(Descriptor),
    /// A registration was refused.
    Refused(Descriptor),
    /// A series was removed.
    Remove {
        /// Its family.
        name: String,
        /// Its labels, sorted by name.
        labels: Vec<(String, String)>,
    },
    /// A series was updated.
    Update {
        /// Its family.
        name: String,
        /// Its labels, sorted by name.
        labels: Vec<(String, String)>,
        /// How.
        update: Update,
    },
}

/// An update of a series.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Update {
    /// An amount was added to a counter or gauge.
    Add(Number),
    /// A gauge was set.
    Set(Number),
    /// A histogram or tally observed.
    Observe {
        /// The value.
        value: f64,
        /// How often at once.
        count: u64,
    },
    /// A state set's states were switched.
    Switch {
        /// Bits of those that are on now.
        on: u64,
        /// Bits of those that are off now.
        off: u64,
    },
    /// Something that says nothing countable was left out.
    Dropped(Dropped),
}

/// Calls in order, shared with every series.
type Calls = Arc<Mutex<Vec<Call>>>;

/// A back end that records every registration and update, and keeps the numbers too.
///
/// Cheap to clone: clones share what they record. Updates lock and allocate, which nothing else here does.
#[derive(Clone, Debug, Default)]
pub struct Fake {
    calls: Calls,
    /// Reasons by name.
    refusals: Arc<Mutex<BTreeMap<String, String>>>,
    series: Arc<Mutex<Vec<Arc<Recorded>>>>,
}

/// A series of a [`Fake`].
#[derive(Debug)]
struct Recorded {
    descriptor: Descriptor,
    cell: Cell,
    calls: Calls,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Fake {
    /// One that has recorded nothing and refuses nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A registry that nothing is registered in yet, as a process has it that starts; all of them record here.
    #[must_use]
    pub fn registry(&self) -> Registry {
        Registry::with_backend(Arc::new(self.clone()))
    }

    /// From now on refuses families and series of this name, with prefix.
    pub fn refuse(&self, name: &str, reason: &str) {
        locked(&self.refusals).insert(name.to_owned(), reason.to_owned());
    }

    /// Ends [`Self::refuse`].
    pub fn accept(&self, name: &str) {
        locked(&self.refusals).remove(name);
    }

    /// Everything that was asked so far.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        locked(&self.calls).clone()
    }

    /// Forgets what was asked so far; numbers stay.
    pub fn clear(&self) {
        locked(&self.calls).clear();
    }

    /// Every series that was registered, in order.
    #[must_use]
    pub fn series(&self) -> Vec<Descriptor> {
        locked(&self.series).iter().map(|series| series.descriptor.clone()).collect()
    }

    /// The updates of all series of a family, in order.
    #[must_use]
    pub fn updates(&self, name: &str) -> Vec<Update> {
        let of_name = |call: &Call| match call {
            Call::Update { name: of, update, .. } if of == name => Some(*update),
            _ => None,
        };
        locked(&self.calls).iter().filter_map(of_name).collect()
    }

    /// What the series of this name and exactly these labels, in any order, has; the last one registered where
    /// several registries did.
    #[must_use]
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<Value> {
        let mut wanted: Vec<_> = labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        wanted.sort_unstable();
        let series = locked(&self.series);
        let is_it = |one: &&Arc<Recorded>| one.descriptor.name == name && one.descriptor.labels == wanted;
        series.iter().rev().find(is_it)?.cell.value()
    }

    /// As [`Self::value`], the number of a counter or gauge.
    #[must_use]
    pub fn total(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        match self.value(name, labels)? {
            Value::Number(number) => Some(number.as_f64()),
            _ => None,
        }
    }

    /// The refusal of what `descriptor` asks, if its name is refused.
    fn check(&self, descriptor: &Descriptor) -> Result<()> {
        let Some(reason) = locked(&self.refusals).get(&descriptor.name).cloned() else { return Ok(()) };
        locked(&self.calls).push(Call::Refused(descriptor.clone()));
        Err(Error::backend(self.name(), &descriptor.name, reason))
    }
}

impl Backend for Fake {
    fn name(&self) -> &str {
        "fake"
    }

    fn family(&self, family: &Descriptor) -> Result<()> {
        self.check(family)?;
        locked(&self.calls).push(Call::Family(family.clone()));
        Ok(())
    }

    fn series(&self, series: &Descriptor) -> Result<Option<Arc<dyn Instrument>>> {
        self.check(series)?;
        locked(&self.calls).push(Call::Series(series.clone()));
        let (descriptor, calls) = (series.clone(), Arc::clone(&self.calls));
        let recorded = Arc::new(Recorded { cell: Cell::new(series), descriptor, calls });
        locked(&self.series).push(Arc::clone(&recorded));
        Ok(Some(recorded))
    }

    fn remove(&self, name: &str, labels: &[(String, String)]) -> Result<()> {
        locked(&self.calls).push(Call::Remove { name: name.to_owned(), labels: labels.to_vec() });
        locked(&self.series).retain(|one| one.descriptor.name != name || one.descriptor.labels != labels);
        Ok(())
    }

    #[cfg(feature = "render")]
    fn render(&self, selection: &Selection) -> Result<String> {
        let series = locked(&self.series);
        let shown = series.iter().map(|one| (&one.descriptor, one.cell.value()));
        let selected = shown.filter(|(one, _)| selection.includes(&one.name, &one.labels));
        Ok(crate::backend::text(selected))
    }

    #[cfg(not(feature = "render"))]
    fn render(&self, _: &Selection) -> Result<String> {
        Err(Error::Unsupported {
            registry: self.name().to_owned(),
            what: "render without feature \"render\"",
        })
    }
}

impl Recorded {
    fn record(&self, update: Update) {
        let (name, labels) = (self.descriptor.name.clone(), self.descriptor.labels.clone());
        locked(&self.calls).push(Call::Update { name, labels, update });
    }
}

impl Instrument for Recorded {
    fn add(&self, amount: Number) {
        self.record(Update::Add(amount));
        self.cell.add(amount);
    }

    fn set(&self, value: Number) {
        self.record(Update::Set(value));
        self.cell.set(value);
    }

    fn observe(&self, value: f64, count: u64) {
        self.record(Update::Observe { value, count });
        self.cell.observe(value, count);
    }

    fn switch(&self, on: u64, off: u64) {
        self.record(Update::Switch { on, off });
        self.cell.switch(on, off);
    }

    fn dropped(&self, reason: Dropped) {
        self.record(Update::Dropped(reason));
        self.cell.dropped(reason);
    }

    fn value(&self) -> Option<Value> {
        self.cell.value()
    }
}
