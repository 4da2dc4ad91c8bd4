//! What can be said before a registry is there: names, labels, units, buckets, states, limits.

use dyn_metrics_layout::GaugeMode;
use dyn_metrics_layout::name::{check_label_name, check_metric_name};
use dyn_metrics_layout::record::{MAX_BOUNDS, MAX_HELP, MAX_LABEL_VALUE, MAX_LABELS, MAX_STATES, MAX_UNIT};
use proc_macro2::{Ident, Span};
use syn::{Error, Expr, ExprLit, ExprUnary, Lit, LitInt, LitStr, Result, UnOp};

use crate::attributes::{Given, Label};

/// A prefix, as `Registry::child` wants it: with the shortest name behind it.
pub fn prefix(prefix: &LitStr) -> Result<()> {
    check_metric_name(&format!("{}x", prefix.value()))
        .map_err(|reason| Error::new(prefix.span(), format!("prefix {:?} {reason}", prefix.value())))
}

/// A metric's name with its struct's prefix.
pub fn name(name: &str, span: Span) -> Result<()> {
    check_metric_name(name).map_err(|reason| Error::new(span, format!("metric name {name:?} {reason}")))
}

/// The unit is the end of the name, before `_total`.
pub fn unit(name: &str, unit: &LitStr) -> Result<()> {
    let found = unit.value();
    if found.len() > MAX_UNIT {
        return Err(Error::new(
            unit.span(),
            format!("unit has {} bytes, expected at most {MAX_UNIT}", found.len()),
        ));
    }
    let stem = name.strip_suffix("_total").unwrap_or(name);
    let rest = stem.strip_suffix(found.as_str());
    if rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('_')) {
        return Ok(());
    }
    let expected = format!("metric {name:?}: expected the name to end in its unit, found unit {found:?}");
    Err(Error::new(unit.span(), expected))
}

/// The help fits into a record.
pub fn help(help: &str, span: Span) -> Result<()> {
    match help.len() {
        ..=MAX_HELP => Ok(()),
        found => Err(Error::new(span, format!("help has {found} bytes, expected at most {MAX_HELP}"))),
    }
}

/// Names of labels that a metric has: those of its struct, its own, and those that its series differ in.
pub fn labels<'l>(of_struct: &[Label], own: &[Label], names: impl Iterator<Item = &'l LitStr>) -> Result<()> {
    let fixed = of_struct.iter().chain(own).map(|label| (label.name.clone(), label.span));
    let mut seen: Vec<String> = Vec::new();
    for (label, span) in fixed.chain(names.map(|name| (name.value(), name.span()))) {
        check_label_name(&label)
            .map_err(|reason| Error::new(span, format!("label name {label:?} {reason}")))?;
        if seen.contains(&label) {
            return Err(Error::new(span, format!("found label {label:?} twice, expected once")));
        }
        seen.push(label);
        if seen.len() > MAX_LABELS {
            return Err(Error::new(span, format!("found more than {MAX_LABELS} labels")));
        }
    }
    for value in own.iter().map(|label| &label.value) {
        let found = value.value().len();
        if found > MAX_LABEL_VALUE {
            let text = format!("label value has {found} bytes, expected at most {MAX_LABEL_VALUE}");
            return Err(Error::new(value.span(), text));
        }
    }
    Ok(())
}

/// Buckets that are written out: finite and in ascending order. What is no literal is the compiler's to check.
pub fn buckets(list: &[Expr], option: Span) -> Result<()> {
    if list.is_empty() || list.len() > MAX_BOUNDS {
        let text = format!("found {} buckets, expected 1 to {MAX_BOUNDS}", list.len());
        return Err(Error::new(option, text));
    }
    let mut before = f64::NEG_INFINITY;
    for bound in list {
        let Some(value) = literal(bound) else { return Ok(()) };
        if !value.is_finite() {
            return Err(Error::new_spanned(
                bound,
                "found a bucket that is not finite; the last one is +Inf anyway",
            ));
        }
        if value <= before {
            let text = format!("found bucket {value} after {before}, expected strictly ascending order");
            return Err(Error::new_spanned(bound, text));
        }
        before = value;
    }
    Ok(())
}

/// A number that is written out.
fn literal(expr: &Expr) -> Option<f64> {
    match expr {
        Expr::Lit(ExprLit { lit: Lit::Float(value), .. }) => value.base10_parse().ok(),
        Expr::Lit(ExprLit { lit: Lit::Int(value), .. }) => value.base10_parse().ok(),
        Expr::Unary(ExprUnary { op: UnOp::Neg(_), expr, .. }) => literal(expr).map(|value| -value),
        _ => None,
    }
}

/// States of a state set whose metric has this name.
pub fn states(name: &str, states: &Given<Vec<LitStr>>) -> Result<()> {
    if states.value.is_empty() || states.value.len() > MAX_STATES {
        let text = format!("found {} states, expected 1 to {MAX_STATES}", states.value.len());
        return Err(Error::new(states.span, text));
    }
    if name.contains(':') {
        let text = "states are exposed under a label of the metric's name, expected a name without ':'";
        return Err(Error::new(states.span, text));
    }
    let mut seen = Vec::new();
    for state in &states.value {
        let (found, bytes) = (state.value(), state.value().len());
        if !(1..=MAX_LABEL_VALUE).contains(&bytes) {
            let text = format!("found a state of {bytes} bytes, expected 1 to {MAX_LABEL_VALUE}");
            return Err(Error::new(state.span(), text));
        }
        if seen.contains(&found) {
            return Err(Error::new(state.span(), format!("found state {found:?} twice, expected once")));
        }
        seen.push(found);
    }
    Ok(())
}

/// The mode of this name.
pub fn mode(mode: &Given<Ident>) -> Result<GaugeMode> {
    let known = |known: &GaugeMode| mode.value == format!("{known:?}");
    GaugeMode::EVERY.into_iter().find(known).ok_or_else(|| {
        let names = GaugeMode::EVERY.map(|mode| format!("{mode:?}")).join(", ");
        Error::new(mode.value.span(), format!("found mode {}, expected one of {names}", mode.value))
    })
}

/// A number within what its option may be.
pub fn number(option: &str, found: &LitInt, least: u32, most: u32) -> Result<()> {
    let suits =
        found.suffix().is_empty() && found.base10_parse::<u32>().is_ok_and(|n| (least..=most).contains(&n));
    if suits {
        return Ok(());
    }
    Err(Error::new(found.span(), format!("option {option}: found {found}, expected {least} to {most}")))
}
