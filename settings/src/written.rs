//! One setting as it is written: `section.field=value`, on command lines and in changes online.
//!
//! *Invariants*: a value is read as in a TOML file if it is one, else as text, so that sizes and times need no quotes.
//!
//! *Next stop*: [`crate::live`].

use toml::{Table, Value};

/// The text is no setting: shown to whoever wrote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrittenError {
    /// No value.
    #[error("{0}: use KEY=VALUE")]
    NoValue(String),
    /// A name without a section.
    #[error("{0}: names look like section.field")]
    NoSection(String),
    /// The file has something else there.
    #[error("{0}: the file has a value where a section belongs")]
    NoTable(String),
}

/// A setting and its wanted value.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// `section.field`.
    pub name: String,
    /// As a file has it.
    pub value: Value,
}

impl Written {
    /// Reads `section.field=value`.
    pub fn parse(text: &str) -> Result<Self, WrittenError> {
        let (name, value) = split(text)?;
        let (name, value) = (name.trim(), value.trim());
        if !name.contains('.') {
            return Err(WrittenError::NoSection(text.into()));
        }
        Ok(Self {
            name: name.into(),
            value: read(value),
        })
    }

    /// Puts it into a file's table, over what is there.
    pub fn put(self, table: &mut Table) -> Result<(), WrittenError> {
        let Some((section, field)) = self.name.split_once('.') else {
            return Err(WrittenError::NoSection(self.name));
        };
        let section = table
            .entry(section)
            .or_insert_with(|| Value::Table(Table::new()));
        let Value::Table(section) = section else {
            return Err(WrittenError::NoTable(self.name));
        };
        section.insert(field.into(), self.value);
        Ok(())
    }
}

/// The two halves of `KEY=VALUE`.
pub fn split(text: &str) -> Result<(&str, &str), WrittenError> {
    text.split_once('=')
        .ok_or_else(|| WrittenError::NoValue(text.into()))
}

/// A TOML value if it is one (numbers, booleans, lists), else text.
fn read(written: &str) -> Value {
    let document = format!("value = {written}").parse::<Table>().ok();
    document
        .filter(|table| table.len() == 1)
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| Value::String(written.into()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_a_file_or_text() {
        let value = |text| Written::parse(text).unwrap().value;
        assert_eq!(value("region.split_keys=16"), Value::Integer(16));
        assert_eq!(
            value("region.split_size = 1MiB"),
            Value::String("1MiB".into())
        );
        assert_eq!(value("schedule.balance=true"), Value::Boolean(true));
        assert_eq!(value("store.addr=\"a\""), Value::String("a".into()));
        // Not two settings.
        let two = value("store.addr=1\nx = 2");
        assert_eq!(two, Value::String("1\nx = 2".into()));
        for bad in ["store.addr", "addr=1"] {
            assert!(Written::parse(bad).is_err(), "{bad}");
        }
    }
}
