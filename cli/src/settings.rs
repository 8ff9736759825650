//! Settings from a file and from `--set`, under the same names.
//!
//! *Place*: `yadkv pd`, `yadkv store` and `yadkv playground` read their flags through it.
//!
//! *Life of a setting*: TOML file → overridden by each `--set section.name=value` in order → handed to the
//! server's own configuration, which refuses unknown names and values out of range.
//!
//! *Next stop*: `yadkv_settings::written`, then [`crate::server`].

use crate::failure::{Context, Outcome};
use std::path::Path;
use toml::Table;
use yadkv_settings::written::{self, Written};

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
        let put = Written::parse(one).and_then(|written| written.put(&mut table));
        put.context("--set")?;
    }
    Ok(table)
}

/// The two halves of `KEY=VALUE`.
pub(crate) fn split(one: &str) -> Outcome<(&str, &str)> {
    written::split(one).context("--set")
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
        for (bad, said) in [
            ("store", "--set: store: use KEY=VALUE"),
            ("store=1", "--set: store=1: names look like section.field"),
        ] {
            let refusal = super::table(None, &[bad.into()]).expect_err("no setting");
            assert_eq!(refusal.to_string(), said);
        }
    }
}
