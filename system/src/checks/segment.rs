//! The segment.

use dyn_metrics::Registry;
use dyn_metrics::own::{Standing, standing};

use crate::check::{Check, Context, Outcome};

/// Fails when the registry's path does not lead to the segment in which this process registers.
pub struct SegmentAttached(Result<Registry, String>);

impl SegmentAttached {
    /// Of this registry.
    #[must_use]
    pub fn new(registry: &Registry) -> Self {
        Self(Ok(registry.clone()))
    }

    /// Of a segment that could not be opened, for this reason.
    #[must_use]
    pub fn refused(reason: &str) -> Self {
        Self(Err(reason.to_owned()))
    }
}

impl Check for SegmentAttached {
    fn check(&self, _: &Context) -> Outcome {
        let registry = self.0.as_ref().map_err(|reason| format!("no segment: {reason}"))?;
        if !registry.is_segment() {
            return Ok(format!("no segment: the registry is {}", registry.kind()));
        }
        let path = registry.path().display();
        match standing(registry) {
            Standing::Attached => Ok(path.to_string()),
            Standing::Replaced => Err(format!(
                "{path}: another segment has the name now, and what was registered counts into the old one"
            )),
            Standing::Removed => {
                Err(format!("{path}: removed, and what was registered counts where no name leads"))
            }
            Standing::Unreachable(reason) => Err(format!("{path}: {reason}")),
        }
    }
}
