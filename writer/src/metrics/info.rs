//! Infos.

use dyn_metrics_layout::Kind;

use crate::error::Result;
use crate::family::FamilyCore;
use crate::metric::{Metric, sealed::Handle};
use crate::metrics::Buckets;
use crate::origin::Origin;

/// Facts that don't change, carried by the labels of a series whose value is 1.
///
/// Registering it is all there is to do.
#[derive(Clone, Debug, Default)]
pub struct Info(Option<&'static Origin>);

impl Metric for Info {
    const KIND: Kind = Kind::Info;
}

impl Handle for Info {
    fn attach(core: &'static FamilyCore, series: u64) -> Result<Self> {
        let made = core.segment.infos.get_or_try(series, || Ok(Origin::new(core, series)));
        made.map(|origin| Self(Some(origin)))
    }

    fn private(_: Option<&'static Buckets>, _: &'static [String]) -> Self {
        Self(None)
    }

    fn origin(&self) -> Option<&'static Origin> {
        self.0
    }
}
