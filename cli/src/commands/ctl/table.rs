//! What people see: tables, sizes, times.
//!
//! *Next stop*: [`crate::output`].

use serde_json::Value;

/// What a command shows.
pub(super) struct Shown {
    /// For programs.
    pub(super) rows: Vec<Value>,
    /// For people; the fields of the rows if there is nothing better.
    pub(super) people: Option<Vec<String>>,
}

impl Shown {
    /// Rows that people read as they are.
    pub(super) fn rows(rows: Vec<Value>) -> Self {
        Self { rows, people: None }
    }

    /// Rows, and lines for people.
    pub(super) fn both(rows: Vec<Value>, people: Vec<String>) -> Self {
        Self {
            rows,
            people: Some(people),
        }
    }
}

/// `name=value` pairs of an object.
pub(super) fn line(row: &Value) -> String {
    let fields = row.as_object().into_iter().flatten();
    fields
        .map(|(name, value)| format!("{name}={}", text(value)))
        .collect::<Vec<_>>()
        .join("  ")
}

/// A value; `-` for what is not known.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) if text.is_empty() => "-".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Columns under their names, as wide as what is in them; the last one is not filled up.
pub(super) fn columns(names: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let own = names.iter().map(ToString::to_string).collect();
    let all: Vec<&Vec<String>> = std::iter::once(&own).chain(rows).collect();
    let width = |column: usize| {
        let cells = all.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..names.len()).map(width).collect();
    let show = |row: &&Vec<String>| {
        let cells = row.iter().zip(&widths);
        let cells: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    all.iter().map(show).collect()
}

/// The beginning of a long text.
pub(super) fn shortened(value: &Value) -> String {
    const CHARS_MAX: usize = 40;
    let text = text(value);
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// A number of bytes: `1.5 GiB`.
pub(super) fn bytes(value: &Value) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let Some(bytes) = value.as_u64() else {
        return text(value);
    };
    let mut size = bytes as f64;
    let mut shown = format!("{bytes} B");
    for unit in UNITS {
        if size < 1024.0 {
            break;
        }
        size /= 1024.0;
        shown = format!("{size:.1} {unit}");
    }
    shown
}

/// A number of seconds: `3 h 5 min`.
pub(super) fn duration(value: &Value) -> String {
    let Some(seconds) = value.as_f64() else {
        return text(value);
    };
    let whole = seconds as u64;
    match whole {
        0..10 => format!("{seconds:.1} s"),
        10..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        3600..86_400 => format!("{} h {} min", whole / 3600, whole / 60 % 60),
        _ => format!("{} d {} h", whole / 86_400, whole / 3600 % 24),
    }
}

/// Seconds since the epoch as date and time: `2024-02-29 12:00:00Z`.
pub(super) fn moment(value: &Value) -> String {
    let Some(seconds) = value.as_u64().filter(|seconds| *seconds > 0) else {
        return text(&Value::Null);
    };
    let (mut days, time) = (seconds / 86_400, seconds % 86_400);
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    let day = days + 1;
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn units_are_those_of_people() {
        for (value, shown) in [
            (json!(0), "0 B"),
            (json!(1023), "1023 B"),
            (json!(1536), "1.5 KiB"),
            (json!(1u64 << 40), "1.0 TiB"),
            (json!(u64::MAX), "16384.0 PiB"),
            (Value::Null, "-"),
        ] {
            assert_eq!(bytes(&value), shown);
        }
        for (value, shown) in [
            (json!(0.25), "0.2 s"),
            (json!(59), "59 s"),
            (json!(3599.9), "59 min 59 s"),
            (json!(7260), "2 h 1 min"),
            (json!(90_000), "1 d 1 h"),
            (Value::Null, "-"),
        ] {
            assert_eq!(duration(&value), shown);
        }
        for (value, shown) in [
            (json!(1), "1970-01-01 00:00:01Z"),
            (json!(951_782_400), "2000-02-29 00:00:00Z"),
            (json!(1_709_251_199), "2024-02-29 23:59:59Z"),
            (json!(1_735_689_600), "2025-01-01 00:00:00Z"),
            (json!(4_102_444_799u64), "2099-12-31 23:59:59Z"),
            (json!(0), "-"),
        ] {
            assert_eq!(moment(&value), shown);
        }
    }

    #[test]
    fn long_texts_are_cut() {
        assert_eq!(shortened(&json!("é".repeat(40))), "é".repeat(40));
        assert_eq!(shortened(&json!("é".repeat(41))), "é".repeat(40) + "…");
    }

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        let rows = [
            vec!["1".to_owned(), "Üp".into()],
            vec!["100".into(), String::new()],
        ];
        let lines = columns(&["ID", "STATE"], &rows);
        assert_eq!(lines, ["ID   STATE", "1    Üp", "100"]);
    }
}
