//! Each check is a function from the sources to complaints; all run, all complaints are shown.
//!
//! | check | rule |
//! |---|---|
//! | [`files`] | at most 800 lines, a module doc first, no unfinished marks |
//! | [`functions`] | at most 70 lines a function, 120 in tests |
//! | [`crates`] | dependencies point down the house's list |
//! | [`guide`] | the guide's includes, links and chapters lead somewhere, and every anchor is used |
//!
//! *Next stop*: [`files`].

mod crates;
mod files;
mod functions;
mod guide;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A Rust source of the repository.
struct Source {
    /// Relative to the root.
    path: PathBuf,
    text: String,
}

/// Runs every check.
pub(crate) fn run() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("."));
    let mut sources = Vec::new();
    collect(root, root, &mut sources);
    sources.sort_by(|left, right| left.path.cmp(&right.path));
    let mut complaints = Vec::new();
    for source in &sources {
        files::check(source, &mut complaints);
        functions::check(source, &mut complaints);
    }
    crates::check(root, &mut complaints);
    guide::check(root, &mut complaints);
    for complaint in &complaints {
        eprintln!("{complaint}");
    }
    eprintln!(
        "tidy: {} files, {} complaints",
        sources.len(),
        complaints.len()
    );
    if complaints.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn collect(root: &Path, folder: &Path, sources: &mut Vec<Source>) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() {
            if name != "target" && !name.to_string_lossy().starts_with('.') {
                collect(root, &path, sources);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && let Ok(text) = std::fs::read_to_string(&path)
        {
            let path = path.strip_prefix(root).unwrap_or(&path).to_path_buf();
            sources.push(Source { path, text });
        }
    }
}
