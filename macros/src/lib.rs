//! `#[derive(Metrics)]`: use it as `dyn_metrics::Metrics`, where it is documented.
//!
//! Three steps: what stands in the attributes (`attributes`), whether that can be registered (`check`), and the code
//! that registers and declares it (`expand`). What depends on a field's type, which is not known here, becomes an
//! assertion that the compiler evaluates (`demands`). The rules for names and limits are the format's own.

#![forbid(unsafe_code)]

mod attributes;
mod check;
mod demands;
mod expand;

use proc_macro::TokenStream;
use syn::DeriveInput;

/// A struct of metrics: see `dyn_metrics::Metrics`.
#[proc_macro_derive(Metrics, attributes(metrics, metric))]
pub fn derive_metrics(input: TokenStream) -> TokenStream {
    let input = syn::parse_macro_input!(input as DeriveInput);
    expand::expand(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}
