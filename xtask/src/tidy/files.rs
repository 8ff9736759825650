//! Length of files, module docs, unfinished marks.
//!
//! *Next stop*: [`super::functions`].

use super::Source;

const LINES_MAX: usize = 800;

pub(super) fn check(source: &Source, complaints: &mut Vec<String>) {
    let path = source.path.display();
    let lines = source.text.lines().count();
    if lines > LINES_MAX {
        complaints.push(format!(
            "{path}: {lines} lines, at most {LINES_MAX}: split it by operation"
        ));
    }
    if !source.text.starts_with("//!") {
        complaints.push(format!("{path}: begins without a module doc (//!)"));
    }
    // Spelled apart, so that this file does not complain about itself.
    let marks = [
        concat!("FIX", "ME"),
        concat!("TO", "DO"),
        concat!("XX", "X:"),
    ];
    for (number, line) in source.text.lines().enumerate() {
        if let Some(mark) = marks.iter().find(|mark| line.contains(**mark)) {
            complaints.push(format!("{path}:{}: unfinished ({mark})", number + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_without_doc_is_seen() {
        let source = Source {
            path: "a.rs".into(),
            text: "fn a() {}\n".repeat(801),
        };
        let mut complaints = Vec::new();
        check(&source, &mut complaints);
        assert_eq!(complaints.len(), 2, "{complaints:?}");
    }
}
