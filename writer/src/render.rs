//! A registry as text.

use crate::backend::{Descriptor, Value};
use crate::error::Result;
use crate::registry::Registry;

#[cfg(not(feature = "render"))]
const WITHOUT: &str = "render without the crate's feature \"render\"";

/// One series as text.
#[cfg(feature = "render")]
pub(crate) fn series_text(descriptor: &Descriptor, value: Option<Value>) -> Result<String> {
    Ok(crate::backend::text([(descriptor, value)]))
}

#[cfg(not(feature = "render"))]
pub(crate) fn series_text(_: &Descriptor, _: Option<Value>) -> Result<String> {
    Err(crate::error::Error::Unsupported { registry: "any".to_owned(), what: WITHOUT })
}

impl Registry {
    /// Everything that is registered, as Prometheus text 0.0.4; of a [child](Self::child) what it or a child of it
    /// could have registered: names with its prefix, series with its labels.
    ///
    /// This process's callbacks run first ([`Self::on_scrape`]), for at most [`crate::CALLBACK_LIMIT`].
    ///
    /// Up to [`Self::max_level`]. A segment is read as the exporter reads it: with what other processes count, and, unless this is a child,
    /// with its metrics about itself. Cost: the segment is mapped and read anew; the exporter does less for each
    /// scrape.
    ///
    /// # Errors
    /// [`crate::Error::Unsupported`] for a back end that shows nothing, and for a segment where the feature `render`
    /// is off; what the back end says.
    pub fn render(&self) -> Result<String> {
        self.run_callbacks(crate::CALLBACK_LIMIT);
        match self.foreign() {
            Ok(foreign) if self.max_level() == u8::MAX => foreign.backend.render(self.selection()),
            Ok(foreign) => {
                let mut shown = self.selection().clone();
                shown.hidden = foreign.above(self.max_level());
                foreign.backend.render(&shown)
            }
            Err(_) => self.render_segment(),
        }
    }

    #[cfg(not(feature = "render"))]
    fn render_segment(&self) -> Result<String> {
        Err(self.unsupported(WITHOUT))
    }

    #[cfg(feature = "render")]
    fn render_segment(&self) -> Result<String> {
        use dyn_metrics_reader::Collector;
        self.segment()?; // so that there is one, also after somebody has removed it
        let mut collector =
            Collector::new(&[self.path().to_string_lossy().into_owned()]).max_level(self.max_level());
        let (selection, mut text) = (self.selection(), Vec::new());
        if selection.is_all() {
            collector.render(&mut text);
        } else {
            let mut families = collector.collect().families;
            for family in &mut families {
                let name = &family.name;
                family.series.retain(|series| selection.includes(name, &series.labels));
            }
            families.retain(|family| !family.series.is_empty());
            dyn_metrics_reader::encode::text::encode_families(&families, &mut text);
        }
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}
