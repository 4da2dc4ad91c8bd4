//! What options demand of a field's type, as assertions that the compiler evaluates: it knows the type also behind an
//! alias or another name.

use dyn_metrics_layout::GaugeMode;
use proc_macro2::{Group, Ident, Span, TokenStream, TokenTree};
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Path, Type};

use crate::attributes::MetricAttributes;
use crate::expand::{bounds, place};

/// Conditions on the constants `KIND` and `FAMILY`.
struct Demands<'f> {
    krate: &'f Path,
    field: &'f Ident,
    assertions: Vec<TokenStream>,
}

impl Demands<'_> {
    fn add(&mut self, span: Span, wanted: &TokenStream, fault: &str) {
        let (krate, fault) = (self.krate, format!("field {}: {fault}", self.field));
        let assertion = quote! { if !(#wanted) { #krate::derive::refuse(#fault) } };
        self.assertions.push(at(place(span), assertion));
    }
}

/// Everything that `metric` demands of the type of its handle.
pub fn assertions(
    krate: &Path,
    field: &Ident,
    handle: &Type,
    metric: &MetricAttributes,
    mode: Option<GaugeMode>,
) -> TokenStream {
    let mut demands = Demands { krate, field, assertions: Vec::new() };
    of_kind(&mut demands, krate, handle, metric, mode);
    of_labels(&mut demands, krate, handle, metric, mode);
    if let Some(buckets) = &metric.buckets {
        let bounds = bounds(&buckets.value);
        let refuse = at(place(buckets.span), quote! { #krate::derive::refuse(fault) });
        demands.assertions.push(quote! {
            if let ::core::option::Option::Some(fault) = #krate::derive::fault_of_bounds(#bounds) { #refuse }
        });
    }
    if demands.assertions.is_empty() {
        return quote! {};
    }
    let (assertions, span) = (demands.assertions, place(handle.span()));
    let constants = quote_spanned! {span=>
        const KIND: #krate::Kind = <#handle as #krate::derive::Field>::KIND;
        const FAMILY: bool = <#handle as #krate::derive::Field>::FAMILY;
    };
    quote! {
        const _: () = {
            #constants
            #(#assertions)*
        };
    }
}

/// Options that only some kinds have.
fn of_kind(
    demands: &mut Demands<'_>,
    krate: &Path,
    handle: &Type,
    metric: &MetricAttributes,
    mode: Option<GaugeMode>,
) {
    let is = |kind: TokenStream| quote! { ::core::matches!(KIND, #krate::Kind::#kind) };
    if let Some(buckets) = &metric.buckets {
        demands.add(buckets.span, &is(quote! { Histogram }), "option buckets is for histograms only");
    }
    let is_states = is(quote! { StateSet });
    match &metric.states {
        Some(states) => demands.add(states.span, &is_states, "option states is for state sets only"),
        None => demands.add(
            handle.span(),
            &quote! { !#is_states },
            "a state set needs its states: #[metric(states = [\"..\"])]",
        ),
    }
    let per_process = quote! { KIND.is_per_process() };
    if let Some(given) = &metric.mode {
        demands.add(given.span, &per_process, "option mode is for gauges and state sets only");
    }
    if let Some(given) = &metric.keep_dead {
        demands.add(given.span, &per_process, "option keep_dead is for gauges and state sets only");
    }
    if let (Some(given), Some(GaugeMode::Sum | GaugeMode::LiveSum)) = (&metric.mode, mode) {
        demands.add(given.span, &quote! { !#is_states }, "states don't add up, expected another mode");
    }
}

/// Labels that only families have, and those that the exposition of some kinds adds itself.
fn of_labels(
    demands: &mut Demands<'_>,
    krate: &Path,
    handle: &Type,
    metric: &MetricAttributes,
    mode: Option<GaugeMode>,
) {
    match &metric.label_names {
        Some(names) => {
            demands.add(names.span, &quote! { FAMILY }, "option label_names is for Family<..> only");
        }
        None => demands.add(
            handle.span(),
            &quote! { !FAMILY },
            "a family needs the names of its labels: #[metric(label_names = [\"..\"])]",
        ),
    }
    let own = metric.labels.iter().map(|label| (label.name.clone(), label.span));
    let names = metric.label_names.iter().flat_map(|names| &names.value);
    for (label, span) in own.chain(names.map(|name| (name.value(), name.span()))) {
        let wanted = match label.as_str() {
            "le" => quote! { !::core::matches!(KIND, #krate::Kind::Histogram) },
            "quantile" => quote! { !::core::matches!(KIND, #krate::Kind::Tally) },
            "pid" if mode.is_some_and(GaugeMode::is_all) => quote! { false },
            _ => continue,
        };
        let fault = format!("found label {label:?}, expected another name: the exposition adds it itself");
        demands.add(span, &wanted, &fault);
    }
}

/// Code of which the compiler says that it is there: the place of a call is that of all its parts.
fn at(span: Span, code: TokenStream) -> TokenStream {
    let moved = code.into_iter().map(|token| match token {
        TokenTree::Group(group) => {
            let mut moved = Group::new(group.delimiter(), at(span, group.stream()));
            moved.set_span(span);
            TokenTree::Group(moved)
        }
        mut other => {
            other.set_span(span);
            other
        }
    });
    moved.collect()
}
