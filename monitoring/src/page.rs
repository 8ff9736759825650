//! The page of the guide that lists every metric.
//!
//! *Place*: [`crate::files`] writes it; the guide shows it.
//!
//! *Next stop*: [`crate::expression`].

use crate::catalogue::{Component, Topic};
use std::fmt::Write;
use yadkv_metrics::{Description, Kind};

/// Where it is.
pub const PATH: &str = "guide/src/operate/metrics.md";

const HEAD: &str = "\
<!-- Made by `cargo run -p yadkv-monitoring` from what the code says of its metrics: change it there. -->
# Metrics

Every server shows what it measures in Prometheus' text form. Each metric is here with the question that it answers. Times
are in seconds, sizes in bytes. A *counter* only rises, and begins at 0 with the process: look at its `rate`. A *gauge* is as
it is now. A *histogram* says how often values of each size came, under its name with `_bucket`, `_sum` and `_count`.

";

/// The page.
pub fn text(components: &[Component]) -> String {
    let mut text = HEAD.to_owned();
    for component in components {
        add(
            &mut text,
            format_args!("## {}\n\n{}\n\n", component.title, component.place),
        );
        for topic in &component.topics {
            show(&mut text, topic);
        }
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn show(text: &mut String, topic: &Topic) {
    add(text, format_args!("### {}\n\n", topic.title));
    add(
        text,
        format_args!(
            "| metric | kind | by | what is measured | question |\n|---|---|---|---|---|\n"
        ),
    );
    for one in &topic.metrics {
        let Description {
            name,
            what,
            question,
            ..
        } = one;
        let label = one
            .label
            .map_or(String::new(), |label| format!("`{label}`"));
        let (kind, what, question) = (kind(one.kind), cell(what), cell(question));
        add(
            text,
            format_args!("| `{name}` | {kind} | {label} | {what} | {question} |\n"),
        );
    }
    text.push('\n');
}

fn add(text: &mut String, more: std::fmt::Arguments<'_>) {
    text.write_fmt(more)
        .expect("invariant: a string takes everything");
}

/// A text that does not end its cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    }
}
