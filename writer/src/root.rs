//! The process's registry, and which kind of registry it is.

use crate::error::{Error, Result};
use crate::once_map::OnceValue;
use crate::registry::Registry;

/// The variable that says which.
const VARIABLE: &str = "DYN_METRICS_REGISTRY";
/// What a plugin's path stands behind.
#[cfg(feature = "plugin")]
const PLUGIN: &str = "plugin:";

impl Registry {
    /// The process's registry: the same at each call, chosen by [`Self::from_env`] at the first one.
    ///
    /// A segment is the same for every process, and so for C++ and Python in this one, however often it is opened.
    ///
    /// # Errors
    /// As [`Self::from_env`]; the next call tries again.
    pub fn root() -> Result<Self> {
        static ROOT: OnceValue<Registry> = OnceValue::new();
        let mut failed = None;
        let made = ROOT.get_or(|| Self::from_env().map_err(|error| failed = Some(error)).ok());
        match (made, failed) {
            (Some(root), _) => Ok(root.clone()),
            (None, Some(error)) => Err(error),
            (None, None) => Self::from_env(),
        }
    }

    /// A registry of the kind that `DYN_METRICS_REGISTRY` names:
    ///
    /// | value | registry |
    /// | --- | --- |
    /// | `shm`, empty or unset | the segment at `DYN_METRICS_SHM`: [`Self::open`] |
    /// | `prometheus` | the `prometheus` crate's default registry, where the feature `prometheus` is on |
    /// | `otel` | OpenTelemetry, as the variables of its specification say, where the feature `otel` is on |
    /// | `plugin:PATH`, `plugin:PATH?CONFIG` | the plugin in that shared object, where the feature `plugin` is on; it gets CONFIG |
    /// | `null` | none: [`Self::null`] |
    ///
    /// # Errors
    /// [`Error::Option`] for another value; as [`Self::open`];
    /// [`Error::Plugin`] for a plugin that can't be used, and for each where the process has more rights than who
    /// started it (set-user-id): whoever names a plugin says what the process does.
    pub fn from_env() -> Result<Self> {
        let value = std::env::var_os(VARIABLE).unwrap_or_default();
        #[cfg(feature = "plugin")]
        if let Some(plugin) = std::os::unix::ffi::OsStrExt::as_bytes(&*value).strip_prefix(PLUGIN.as_bytes())
        {
            return crate::backend::Plugin::of_environment(plugin);
        }
        Self::of_kind(&value.to_string_lossy())
    }

    /// As [`Self::from_env`], of the kind that `kind` names instead of the variable.
    ///
    /// # Errors
    /// As there; plugins that the program names are for any process.
    pub fn of_kind(kind: &str) -> Result<Self> {
        match kind {
            "" | "shm" => Self::open(),
            "null" => Ok(Self::null()),
            #[cfg(feature = "prometheus")]
            "prometheus" => Ok(crate::backend::Prometheus::default_registry()),
            #[cfg(feature = "otel")]
            "otel" => crate::backend::OpenTelemetry::default_registry(),
            #[cfg(feature = "plugin")]
            _ if kind.starts_with(PLUGIN) => {
                crate::backend::Plugin::of_text(&kind.as_bytes()[PLUGIN.len()..])
            }
            _ => Err(unknown(kind)),
        }
    }
}

/// The refusal of a kind that this build doesn't have.
fn unknown(kind: &str) -> Error {
    let optional = [
        (cfg!(feature = "prometheus"), "prometheus", ""),
        (cfg!(feature = "otel"), "otel", ""),
        (cfg!(feature = "plugin"), "plugin", ":PATH"),
    ];
    let mut expected = "shm".to_owned();
    for (_, name, rest) in optional.iter().filter(|(has, ..)| *has) {
        expected += &format!(", {name}{rest}");
    }
    expected += " or null";
    let wanted = kind.split(':').next().unwrap_or_default();
    if let Some((_, name, _)) = optional.iter().find(|(has, name, _)| !has && *name == wanted) {
        expected += &format!(": this build has no {name}");
    }
    Error::Option { option: VARIABLE, found: format!("{kind:?}"), expected }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_is_named_and_what_this_build_lacks_is_said() {
        assert_eq!(Registry::of_kind("null").unwrap().kind(), "null");
        let refusal = |kind| Registry::of_kind(kind).unwrap_err().to_string();
        #[cfg(not(feature = "otel"))]
        assert!(refusal("otel").ends_with("this build has no otel"), "{}", refusal("otel"));
        if !cfg!(feature = "plugin") {
            assert!(
                refusal("plugin:/x.so").contains("found \"plugin:/x.so\""),
                "{}",
                refusal("plugin:/x.so")
            );
            assert!(refusal("plugin:/x.so").ends_with("this build has no plugin"));
        }
        #[cfg(feature = "plugin")]
        assert!(refusal("plugin:/none/x.so").starts_with("/none/x.so: plugin: found no file"));
        assert!(!refusal("null:x").contains("this build"));
        for (has, name) in
            [(cfg!(feature = "prometheus"), "prometheus:x"), (cfg!(feature = "otel"), "otel:x")]
        {
            assert_eq!(refusal(name).contains("this build has no"), !has, "{}", refusal(name));
        }
        assert!(refusal("Null").starts_with("option DYN_METRICS_REGISTRY: found \"Null\", expected shm"));
        assert_eq!(Registry::of_kind("prometheus").is_ok(), cfg!(feature = "prometheus"));
    }
}
