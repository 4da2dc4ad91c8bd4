//! The code of `#[derive(Metrics)]`.

use dyn_metrics_layout::GaugeMode;
use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{
    Data, DeriveInput, Error, Expr, ExprLit, ExprUnary, Field, Fields, Ident, Lit, LitFloat, LitStr, Path,
    Result, UnOp,
};

use crate::attributes::{self, Buckets, Label, MetricAttributes, Role, Scope};
use crate::check;
use crate::demands;

/// What a field becomes.
struct Expanded {
    /// Its value, in `new`.
    value: TokenStream,
    /// What `declared` adds for it.
    declared: TokenStream,
    /// What the compiler checks, knowing its type.
    asserted: TokenStream,
}

/// A metric's series as far as it is known here, so that two fields don't share one.
type Series = (String, Vec<(String, String)>, Vec<String>);

/// The implementation of `dyn_metrics::Metrics` for a struct.
pub fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let scope = attributes::of_struct(&input.attrs)?;
    check_scope(&scope, &[])?;
    let fields = named_fields(input)?;
    let krate = scope.krate.clone().unwrap_or_else(|| syn::parse_quote!(::dyn_metrics));
    let mut expanded = Vec::new();
    let mut known: Vec<(Series, &Ident)> = Vec::new();
    let mut errors: Option<Error> = None;
    for (field, ident) in fields {
        let context = Context { krate: &krate, scope: &scope, field, ident };
        match context
            .expand()
            .and_then(|(expanded, series)| add_series(&mut known, series, ident).map(|()| expanded))
        {
            Ok(field) => expanded.push(field),
            Err(error) => match &mut errors {
                Some(errors) => errors.combine(error),
                None => errors = Some(error),
            },
        }
    }
    match errors {
        Some(errors) => Err(errors),
        None => Ok(implementation(&input.ident, &krate, &scope, &expanded)),
    }
}

fn implementation(ident: &Ident, krate: &Path, scope: &Scope, fields: &[Expanded]) -> TokenStream {
    let values = fields.iter().map(|field| &field.value);
    let declared = fields.iter().map(|field| &field.declared);
    let asserted = fields.iter().map(|field| &field.asserted);
    let (prefix, labels) = (prefix(scope), pairs(&scope.labels));
    let name = ident.unraw().to_string();
    quote! {
        #[automatically_derived]
        impl #krate::Metrics for #ident {
            fn new(registry: &dyn #krate::MetricsRegistry) -> #krate::Result<Self> {
                let scope = #krate::derive::Scope::new(#name, registry, #prefix, #labels)?;
                ::core::result::Result::Ok(Self { #(#values)* })
            }

            fn declared() -> ::std::vec::Vec<#krate::Declaration> {
                #krate::derive::List::new(#prefix, #labels) #(#declared)* .done()
            }
        }

        #(#asserted)*
    }
}

fn named_fields(input: &DeriveInput) -> Result<impl Iterator<Item = (&Field, &Ident)>> {
    if !input.generics.params.is_empty() {
        let text = "#[derive(Metrics)]: found a generic struct, expected one without parameters";
        return Err(Error::new_spanned(&input.generics, text));
    }
    let Data::Struct(data) = &input.data else {
        let text = "#[derive(Metrics)]: expected a struct, whose fields are metrics";
        return Err(Error::new(input.ident.span(), text));
    };
    let Fields::Named(fields) = &data.fields else {
        let text = "#[derive(Metrics)]: expected fields with names, which are those of metrics";
        return Err(Error::new(input.ident.span(), text));
    };
    Ok(fields.named.iter().filter_map(|field| Some((field, field.ident.as_ref()?))))
}

/// Refuses two fields of one series: each update would be seen in both.
fn add_series<'i>(
    known: &mut Vec<(Series, &'i Ident)>,
    series: Option<Series>,
    ident: &'i Ident,
) -> Result<()> {
    let Some(series) = series else { return Ok(()) };
    if let Some((_, other)) = known.iter().find(|(known, _)| *known == series) {
        let text =
            format!("field {ident}: has name and labels of field {other}, expected another name or label");
        return Err(Error::new(ident.span(), text));
    }
    known.push((series, ident));
    Ok(())
}

fn check_scope(scope: &Scope, outer: &[Label]) -> Result<()> {
    if let Some(prefix) = scope.prefix.as_ref().filter(|prefix| !prefix.value().is_empty()) {
        check::prefix(prefix)?;
    }
    check::labels(outer, &scope.labels, std::iter::empty())
}

/// A scope's prefix, or an empty one.
fn prefix(scope: &Scope) -> LitStr {
    scope.prefix.clone().unwrap_or_else(|| LitStr::new("", Span::call_site()))
}

/// `&[("name", "value"), ..]`
fn pairs(labels: &[Label]) -> TokenStream {
    let pairs = labels.iter().map(|Label { name, value, .. }| quote! { (#name, #value) });
    quote! { &[#(#pairs),*] }
}

/// Where errors shall point, with names as the derive sees them, also where a macro has written what is there.
pub fn place(span: Span) -> Span {
    span.resolved_at(Span::call_site())
}

/// A field, and what is around it.
struct Context<'s> {
    krate: &'s Path,
    scope: &'s Scope,
    field: &'s Field,
    ident: &'s Ident,
}

impl Context<'_> {
    fn expand(&self) -> Result<(Expanded, Option<Series>)> {
        let (ident, ty, krate) = (self.ident, &self.field.ty, self.krate);
        let span = place(ty.span());
        let constant = |value| Expanded { value, declared: quote! {}, asserted: quote! {} };
        match attributes::of_field(&self.field.attrs)? {
            Role::Metric(metric) => self.metric(&metric),
            Role::Nested(scope) => self.nested(&scope).map(|expanded| (expanded, None)),
            Role::Registry => {
                let value = quote_spanned! {span=>
                    #ident: <#ty as #krate::derive::Kept>::of(registry),
                };
                Ok((constant(value), None))
            }
            Role::Skip => {
                let value = quote_spanned! {span=> #ident: <#ty as ::core::default::Default>::default(), };
                Ok((constant(value), None))
            }
        }
    }

    fn nested(&self, scope: &Scope) -> Result<Expanded> {
        check_scope(scope, &self.scope.labels)?;
        let (ident, ty) = (self.ident, &self.field.ty);
        let span = place(ty.span());
        let (name, prefix, labels) = (ident.unraw().to_string(), prefix(scope), pairs(&scope.labels));
        Ok(Expanded {
            value: quote_spanned! {span=> #ident: scope.nested::<#ty>(#name, #prefix, #labels)?, },
            declared: quote_spanned! {span=> .nested::<#ty>(#name, #prefix, #labels) },
            asserted: quote! {},
        })
    }

    fn metric(&self, metric: &MetricAttributes) -> Result<(Expanded, Option<Series>)> {
        let (ident, ty) = (self.ident, &self.field.ty);
        let span = place(ty.span());
        let (full, name) = self.name(metric);
        let mode = self.check(metric, &full)?;
        let empty = Vec::new();
        let names = metric.label_names.as_ref().map_or(&empty, |names| &names.value);
        let opts = self.opts(metric, &name);
        let handle = metric.handle.as_ref().map_or(ty, |handle| &handle.value);
        let field = ident.unraw().to_string();
        let into = metric.handle.as_ref().map(|handle| {
            let span = place(handle.value.span());
            quote_spanned! {span=> .into() }
        });
        let expanded = Expanded {
            value: quote_spanned! {span=>
                #ident: scope.metric::<#handle>(#field, &#opts, &[#(#names),*])? #into,
            },
            declared: quote_spanned! {span=> .metric::<#handle>(#field, &#opts, &[#(#names),*]) },
            asserted: demands::assertions(self.krate, ident, handle, metric, mode),
        };
        Ok((expanded, Some(series(full, metric, names))))
    }

    /// The metric's name with the struct's prefix, and without.
    fn name(&self, metric: &MetricAttributes) -> (String, LitStr) {
        let own = || LitStr::new(&self.ident.unraw().to_string(), self.ident.span());
        let name = metric.name.clone().unwrap_or_else(own);
        (prefix(self.scope).value() + &name.value(), name)
    }

    /// Everything that doesn't depend on the type.
    fn check(&self, metric: &MetricAttributes, full: &str) -> Result<Option<GaugeMode>> {
        let span = metric.name.as_ref().map_or(self.ident.span(), LitStr::span);
        if metric.name.as_ref().is_some_and(|name| name.value().is_empty()) {
            return Err(Error::new(span, "metric name is empty"));
        }
        check::name(full, span)?;
        check::help(&self.help(metric).value(), self.ident.span())?;
        if let Some(unit) = metric.unit.as_ref().filter(|unit| !unit.value().is_empty()) {
            check::unit(full, unit)?;
        }
        let names = metric.label_names.iter().flat_map(|names| &names.value);
        check::labels(&self.scope.labels, &metric.labels, names)?;
        if let Some(buckets) = &metric.buckets
            && let Buckets::List(list) = &buckets.value
        {
            check::buckets(list, buckets.span)?;
        }
        if let Some(states) = &metric.states {
            check::states(full, states)?;
        }
        for (option, found, least, most) in [
            ("level", metric.level.as_ref(), 0, u8::MAX.into()),
            ("max_series", metric.max_series.as_ref(), 1, u32::MAX),
            ("keep_dead", metric.keep_dead.as_ref().map(|given| &given.value), 0, u32::MAX),
        ] {
            found.map_or(Ok(()), |found| check::number(option, found, least, most))?;
        }
        metric.mode.as_ref().map(check::mode).transpose()
    }

    fn help(&self, metric: &MetricAttributes) -> LitStr {
        let doc = || LitStr::new(&attributes::doc(&self.field.attrs), self.ident.span());
        metric.help.clone().unwrap_or_else(doc)
    }

    /// The metric's description.
    fn opts(&self, metric: &MetricAttributes, name: &LitStr) -> TokenStream {
        let (krate, help) = (self.krate, self.help(metric));
        let unit = metric.unit.iter().map(|unit| quote! { .unit(#unit) });
        let labels = metric.labels.iter().map(|Label { name, value, .. }| quote! { .label(#name, #value) });
        let bounds = metric.buckets.iter().map(|buckets| {
            let bounds = bounds(&buckets.value);
            quote! { .bounds(#bounds) }
        });
        let states = metric.states.iter().map(|states| {
            let states = &states.value;
            quote! { .states(&[#(#states),*]) }
        });
        let mode = metric.mode.iter().map(|mode| {
            let mode = &mode.value;
            quote! { .mode(#krate::GaugeMode::#mode) }
        });
        let level = metric.level.iter().map(|level| quote! { .level(#level) });
        let max_series = metric.max_series.iter().map(|most| quote! { .max_series(#most) });
        let keep_dead = metric.keep_dead.iter().map(|given| {
            let most = &given.value;
            quote! { .keep_dead(#most) }
        });
        let shared = metric.shared.then(|| quote! { .shared(true) });
        quote! {
            #krate::Opts::new(#name, #help)
                #(#unit)* #(#labels)* #(#bounds)* #(#states)* #(#mode)* #(#level)* #(#max_series)* #(#keep_dead)* #shared
        }
    }
}

/// `&[..]` of a histogram's bounds, of any constant that has some.
pub fn bounds(buckets: &Buckets) -> TokenStream {
    match buckets {
        Buckets::List(list) => {
            let list = list.iter().map(float);
            quote! { &[#(#list),*] }
        }
        Buckets::Constant(constant) => quote! { &#constant },
    }
}

/// A bound, where a whole number is one, too.
fn float(bound: &Expr) -> TokenStream {
    match bound {
        Expr::Lit(ExprLit { lit: Lit::Int(whole), .. }) if whole.suffix().is_empty() => {
            let float = LitFloat::new(&format!("{}f64", whole.base10_digits()), whole.span());
            quote! { #float }
        }
        Expr::Unary(ExprUnary { op: UnOp::Neg(_), expr, .. }) => {
            let float = float(expr);
            quote! { -#float }
        }
        other => quote! { #other },
    }
}

fn series(name: String, metric: &MetricAttributes, names: &[LitStr]) -> Series {
    let mut labels: Vec<_> =
        metric.labels.iter().map(|label| (label.name.clone(), label.value.value())).collect();
    labels.sort();
    let mut names: Vec<_> = names.iter().map(LitStr::value).collect();
    names.sort();
    (name, labels, names)
}
