//! Infos.

use dyn_metrics_layout::Kind;

use crate::error::Result;
use crate::family::FamilyCore;
use crate::metric::{Metric, sealed::Handle};
use crate::metrics::Buckets;

/// Facts that don't change, carried by the labels of a series whose value is 1.
///
/// Registering it is all there is to do.
#[derive(Clone, Debug, Default)]
pub struct Info(());

impl Metric for Info {
    const KIND: Kind = Kind::Info;
}

impl Handle for Info {
    fn attach(_: &'static FamilyCore, _: u64) -> Result<Self> {
        Ok(Self(()))
    }

    fn private(_: Option<&'static Buckets>, _: &'static [String]) -> Self {
        Self(())
    }
}
