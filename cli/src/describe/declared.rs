//! What structs of metrics declare, as `Metrics::declared_json` writes it.

use std::io::{self, Read};

use serde_json::Value;

use super::{Label, Row, buckets};
use crate::error::CliError;

/// The metrics in a file, or in standard input if it is called `-`.
pub fn read(file: &str) -> Result<Vec<Row>, CliError> {
    let fault = |reason: String| CliError::Declared { file: file.to_owned(), reason };
    let mut text = String::new();
    match file {
        "-" => io::stdin().lock().read_to_string(&mut text).map(drop),
        _ => std::fs::read_to_string(file).map(|found| text = found),
    }
    .map_err(|error| fault(error.to_string()))?;
    parse(&text).map_err(fault)
}

fn parse(text: &str) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    let mut lists = 0;
    for value in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
        let value = value.map_err(|error| error.to_string())?;
        let metrics = value["metrics"].as_array().ok_or("found no list \"metrics\"")?;
        for metric in metrics {
            let row = row(metric).map_err(|key| format!("metric {}: found no {key}", rows.len() + 1))?;
            rows.push(row);
        }
        lists += 1;
    }
    if lists == 0 { Err("found nothing".to_owned()) } else { Ok(rows) }
}

/// A metric's row; the key that is wrong where one is.
fn row(metric: &Value) -> Result<Row, &'static str> {
    let text = |key: &'static str| metric[key].as_str().map(str::to_owned).ok_or(key);
    let mut labels = Vec::new();
    for (name, value) in metric["labels"].as_object().ok_or("labels")? {
        let value = value.as_str().ok_or("labels")?.to_owned();
        labels.push(Label { name: name.clone(), values: vec![value] });
    }
    let names = texts(&metric["label_names"]).ok_or("label_names")?;
    labels.extend(names.into_iter().map(|name| Label { name, values: Vec::new() }));
    let bounds = metric["buckets"].as_array().ok_or("buckets")?.iter().map(Value::as_f64);
    let bounds = bounds.collect::<Option<Vec<_>>>().ok_or("buckets")?;
    let states = texts(&metric["states"]).ok_or("states")?;
    let mode = metric["mode"].as_str().unwrap_or_default().to_owned();
    let details = [buckets(&bounds), states.join(", "), mode];
    Ok(Row {
        name: text("name")?,
        kind: text("type")?,
        detail: details.into_iter().find(|detail| !detail.is_empty()).unwrap_or_default(),
        unit: text("unit")?,
        labels,
        level: metric["level"].as_u64().ok_or("level")?,
        help: text("help")?,
    })
}

fn texts(list: &Value) -> Option<Vec<String>> {
    list.as_array()?.iter().map(|text| text.as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named() {
        for (text, expected) in [
            ("", "found nothing"),
            ("{", "EOF while parsing"),
            ("[]", "found no list \"metrics\""),
            (r#"{"metrics":[{}]}"#, "metric 1: found no labels"),
            (r#"{"metrics":[{"labels":{"a":1}}]}"#, "metric 1: found no labels"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
        assert_eq!(parse(r#"{"metrics":[]}"#), Ok(Vec::new()));
    }
}
