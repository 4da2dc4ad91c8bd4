//! Nothing: a registry that checks what it is asked, and keeps no number.

use std::sync::Arc;

use super::{Backend, Descriptor, Instrument, Selection};
use crate::error::Result;

/// The back end whose updates go nowhere, at the cost of a comparison.
///
/// What is wrong with a name, a label or a conflict is an error as anywhere else.
#[derive(Clone, Copy, Debug, Default)]
pub struct Null;

impl Backend for Null {
    fn name(&self) -> &str {
        "null"
    }

    fn series(&self, _: &Descriptor) -> Result<Option<Arc<dyn Instrument>>> {
        Ok(None)
    }

    fn remove(&self, _: &str, _: &[(String, String)]) -> Result<()> {
        Ok(())
    }

    fn render(&self, _: &Selection) -> Result<String> {
        Ok(String::new())
    }
}
