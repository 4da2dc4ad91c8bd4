//! Infos.

use dyn_metrics_layout::{Kind, Representation};

use crate::backend::Value;
use crate::error::Result;
use crate::family::FamilyCore;
use crate::foreign::ForeignSeries;
use crate::metric::{Metric, sealed::Handle};
use crate::metrics::Buckets;
use crate::origin::{Identity, Origin};

/// Facts that don't change, carried by the labels of a series whose value is 1.
///
/// Registering it is all there is to do.
#[derive(Clone, Debug, Default)]
pub struct Info(Option<Identity>);

impl Metric for Info {
    const KIND: Kind = Kind::Info;
}

impl Handle for Info {
    const REPRESENTATION: Representation = Representation::Integer;

    fn attach(core: &'static FamilyCore, series: u64) -> Result<Self> {
        let made = core.segment.infos.get_or_try(series, || Ok(Origin::new(core, series)));
        made.map(|origin| Self(Some(Identity::Segment(origin))))
    }

    fn of_foreign(series: &'static ForeignSeries) -> Self {
        Self(Some(Identity::Foreign(series)))
    }

    fn nowhere(_: Option<&'static Buckets>, _: &'static [String]) -> Self {
        Self(None)
    }

    fn private(_: Option<&'static Buckets>, _: &'static [String]) -> Self {
        Self(None)
    }

    fn reading(&self) -> Option<Value> {
        None
    }

    fn identity(&self) -> Option<Identity> {
        self.0
    }
}
