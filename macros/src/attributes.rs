//! What stands in `#[metrics(...)]` and `#[metric(...)]`, and in doc comments.

use proc_macro2::Span;
use syn::ext::IdentExt;
use syn::meta::ParseNestedMeta;
use syn::parse::ParseStream;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Attribute, Error, Expr, ExprLit, Ident, Lit, LitInt, LitStr, Meta, Path, Result, Token, Type};

/// Something given, and the place of its option.
#[derive(Clone)]
pub struct Given<T> {
    pub value: T,
    pub span: Span,
}

/// A label: name and value.
#[derive(Clone)]
pub struct Label {
    pub name: String,
    pub value: LitStr,
    pub span: Span,
}

/// What a whole struct says of itself, or a field of one that it holds.
#[derive(Default)]
pub struct Scope {
    pub prefix: Option<LitStr>,
    pub labels: Vec<Label>,
    /// Where `dyn_metrics` is, if under another name.
    pub krate: Option<Path>,
}

/// What kind of field it is.
pub enum Role {
    Metric(Box<MetricAttributes>),
    /// A struct of metrics.
    Nested(Scope),
    /// The registry that the struct was made with.
    Registry,
    /// None of these: gets its default.
    Skip,
}

/// Upper bounds of a histogram.
pub enum Buckets {
    /// `[0.1, 1.0]`
    List(Vec<Expr>),
    /// What a constant has.
    Constant(Expr),
}

/// What a metric says of itself.
#[derive(Default)]
pub struct MetricAttributes {
    pub name: Option<LitStr>,
    pub help: Option<LitStr>,
    pub unit: Option<LitStr>,
    pub labels: Vec<Label>,
    pub label_names: Option<Given<Vec<LitStr>>>,
    pub buckets: Option<Given<Buckets>>,
    pub states: Option<Given<Vec<LitStr>>>,
    pub mode: Option<Given<Ident>>,
    pub level: Option<LitInt>,
    pub max_series: Option<LitInt>,
    pub keep_dead: Option<Given<LitInt>>,
    pub shared: bool,
    /// The handle behind a trait object.
    pub handle: Option<Given<Type>>,
}

/// What `#[metrics(...)]` on a struct says.
pub fn of_struct(attributes: &[Attribute]) -> Result<Scope> {
    let mut scope = Scope::default();
    for attribute in attributes {
        if attribute.path().is_ident("metric") {
            return Err(Error::new_spanned(
                attribute,
                "#[metric(..)] is for fields, #[metrics(..)] for structs",
            ));
        }
        if attribute.path().is_ident("metrics") {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("prefix") {
                    once(&mut scope.prefix, meta.value()?.parse()?, &meta)
                } else if meta.path.is_ident("labels") {
                    scope.labels.extend(labels(&meta)?);
                    Ok(())
                } else if meta.path.is_ident("crate") {
                    once(&mut scope.krate, meta.value()?.parse()?, &meta)
                } else {
                    Err(meta.error("found an unknown option, expected prefix, labels or crate"))
                }
            })?;
        }
    }
    Ok(scope)
}

/// What `#[metric(...)]` on a field says.
pub fn of_field(attributes: &[Attribute]) -> Result<Role> {
    let mut given = Field::default();
    for attribute in attributes {
        if attribute.path().is_ident("metrics") {
            let text = "#[metrics(..)] is for structs, #[metric(..)] for fields";
            return Err(Error::new_spanned(attribute, text));
        }
        if attribute.path().is_ident("metric") {
            attribute.parse_nested_meta(|meta| given.parse(&meta))?;
        }
    }
    given.role()
}

/// Everything that stands at a field, before it is known what kind of field it is.
#[derive(Default)]
struct Field {
    metric: MetricAttributes,
    prefix: Option<LitStr>,
    role: Option<Ident>,
    options: Vec<Ident>,
}

impl Field {
    fn parse(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        let option = meta.path.require_ident()?.clone();
        if ["nested", "registry", "skip"].iter().any(|role| option == role) {
            return once(&mut self.role, option, meta);
        }
        self.options.push(option.clone());
        match option == "prefix" {
            true => once(&mut self.prefix, meta.value()?.parse()?, meta),
            false => parse_option(&mut self.metric, &option, meta),
        }
    }

    fn role(self) -> Result<Role> {
        match self.role.as_ref().map(Ident::to_string).as_deref() {
            Some("nested") => {
                self.refuse(
                    |option| option != "prefix" && option != "labels",
                    "a nested struct, expected prefix or labels",
                )?;
                Ok(Role::Nested(Scope { prefix: self.prefix, labels: self.metric.labels, krate: None }))
            }
            Some(other) => {
                self.refuse(|_| true, "a field that is no metric, expected none")?;
                Ok(if other == "registry" { Role::Registry } else { Role::Skip })
            }
            None => {
                let expected = "a metric, expected it on a nested struct: #[metric(nested, prefix = \"..\")]";
                self.refuse(|option| option == "prefix", expected)?;
                Ok(Role::Metric(Box::new(self.metric)))
            }
        }
    }

    /// Refuses the first option that is not for this kind of field.
    fn refuse(&self, is_wrong: impl Fn(&Ident) -> bool, of: &str) -> Result<()> {
        match self.options.iter().find(|option| is_wrong(option)) {
            Some(option) => Err(Error::new(option.span(), format!("found option {option} of {of}"))),
            None => Ok(()),
        }
    }
}

/// The first paragraph of a doc comment, in one line.
pub fn doc(attributes: &[Attribute]) -> String {
    let mut lines: Vec<String> = Vec::new();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("doc")) {
        let Meta::NameValue(doc) = &attribute.meta else { continue };
        let Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) = &doc.value else { continue };
        lines.extend(text.value().split('\n').map(|line| line.trim().to_owned()));
    }
    let paragraph = lines.into_iter().skip_while(String::is_empty).take_while(|line| !line.is_empty());
    paragraph.collect::<Vec<_>>().join(" ")
}

fn parse_option(metric: &mut MetricAttributes, option: &Ident, meta: &ParseNestedMeta<'_>) -> Result<()> {
    let span = option.span();
    match option.to_string().as_str() {
        "name" => once(&mut metric.name, meta.value()?.parse()?, meta),
        "help" => once(&mut metric.help, meta.value()?.parse()?, meta),
        "unit" => once(&mut metric.unit, meta.value()?.parse()?, meta),
        "labels" => {
            metric.labels.extend(labels(meta)?);
            Ok(())
        }
        "label_names" => once(&mut metric.label_names, Given { value: strings(meta)?, span }, meta),
        "states" => once(&mut metric.states, Given { value: strings(meta)?, span }, meta),
        "buckets" => once(&mut metric.buckets, Given { value: buckets(meta)?, span }, meta),
        "mode" => once(&mut metric.mode, Given { value: meta.value()?.parse()?, span }, meta),
        "level" => once(&mut metric.level, meta.value()?.parse()?, meta),
        "max_series" => once(&mut metric.max_series, meta.value()?.parse()?, meta),
        "keep_dead" => once(&mut metric.keep_dead, Given { value: meta.value()?.parse()?, span }, meta),
        "handle" => once(&mut metric.handle, Given { value: meta.value()?.parse()?, span }, meta),
        "shared" => {
            metric.shared = true;
            Ok(())
        }
        _ => Err(meta.error(
            "found an unknown option, expected name, help, unit, labels, label_names, buckets, states, mode, level, \
             max_series, keep_dead, shared, handle, nested, registry or skip",
        )),
    }
}

/// `labels(name = "value", ..)`.
fn labels(meta: &ParseNestedMeta<'_>) -> Result<Vec<Label>> {
    let content;
    syn::parenthesized!(content in meta.input);
    let label = |input: ParseStream<'_>| {
        let name = input.call(Ident::parse_any)?;
        input.parse::<Token![=]>()?;
        Ok(Label { name: name.unraw().to_string(), value: input.parse()?, span: name.span() })
    };
    Ok(Punctuated::<_, Token![,]>::parse_terminated_with(&content, label)?.into_iter().collect())
}

/// `= ["a", "b"]`.
fn strings(meta: &ParseNestedMeta<'_>) -> Result<Vec<LitStr>> {
    let input = meta.value()?;
    let content;
    syn::bracketed!(content in input);
    Ok(Punctuated::<LitStr, Token![,]>::parse_terminated(&content)?.into_iter().collect())
}

/// `= [0.1, 1.0]` or `= CONSTANT`.
fn buckets(meta: &ParseNestedMeta<'_>) -> Result<Buckets> {
    let input = meta.value()?;
    if !input.peek(syn::token::Bracket) {
        return input.parse().map(Buckets::Constant);
    }
    let content;
    syn::bracketed!(content in input);
    let list = Punctuated::<Expr, Token![,]>::parse_terminated(&content)?;
    Ok(Buckets::List(list.into_iter().collect()))
}

fn once<T>(slot: &mut Option<T>, value: T, meta: &ParseNestedMeta<'_>) -> Result<()> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Error::new(meta.path.span(), "found this twice, expected once")),
    }
}
