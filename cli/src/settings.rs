//! Settings from a file and from `--set`, under the same names.
//!
//! *Place*: `yadkv pd`, `yadkv store` and `yadkv playground` read their flags through it.
//!
//! *Life of a setting*: TOML file → overridden by each `--set section.name=value` in order → handed to the
//! server's own configuration, which refuses unknown names and values out of range.
//!
//! *Next stop*: [`crate::server`].

use crate::failure::{Context, Failure, Outcome};
use std::path::Path;
use toml::{Table, Value};

/// A file (if any) with the overrides applied.
pub(crate) fn table(file: Option<&Path>, overrides: &[String]) -> Outcome<Table> {
    let mut table = match file {
        None => Table::new(),
        Some(path) => {
            let text = std::fs::read_to_string(path).context(path.display())?;
            text.parse().context(path.display())?
        }
    };
    for one in overrides {
        let (name, value) = split(one)?;
        let (section, field) = name
            .split_once('.')
            .ok_or_else(|| Failure(format!("--set {one}: names look like section.field")))?;
        let section = table
            .entry(section)
            .or_insert_with(|| Value::Table(Table::new()));
        let Value::Table(section) = section else {
            return Err(Failure(format!(
                "--set {one}: the file has a value where a section belongs"
            )));
        };
        section.insert(field.into(), parse(value));
    }
    Ok(table)
}

/// The two halves of `KEY=VALUE`.
pub(crate) fn split(one: &str) -> Outcome<(&str, &str)> {
    one.split_once('=')
        .ok_or_else(|| Failure(format!("--set {one}: use KEY=VALUE")))
}

/// A TOML value if it is one (numbers, booleans, lists), else text.
fn parse(written: &str) -> Value {
    let document = format!("value = {written}").parse::<Table>().ok();
    document
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| Value::String(written.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_two_overrides_wins() {
        let overrides = [
            "store.memory=64MiB".into(),
            "store.memory=1GiB".into(),
            "store.workers=2".into(),
        ];
        let table = table(None, &overrides).expect("well formed");
        assert_eq!(
            table.to_string(),
            "[store]\nmemory = \"1GiB\"\nworkers = 2\n"
        );
        assert!(super::table(None, &["store".into()]).is_err());
        assert!(super::table(None, &["store=1".into()]).is_err());
    }
}
