//! The guide: what it includes, what is marked for it, and where its links lead.
//!
//! *Place*: a page of `guide/src` shows code of the repository by the name of an anchor, which two comments in the
//! source begin and end. For an anchor that is gone mdBook shows nothing, without a word; this check says it.
//!
//! *Types to know*: [`Tree`], all texts by their path, so that the tests need no disk.
//!
//! *Life of a check*: texts are collected → anchors of every source are paired → includes, links and paths of every page
//! are looked up → anchors that no page has asked for, and pages that no chapter leads to, are left.
//!
//! *Invariants*: code enters by anchor, never by line numbers and never whole; an anchor's name is used once a file.
//!
//! *Limits*: what is known of Markdown is what the pages use: fenced blocks, code in one line, links of the form
//! `[text](target)`, headings that begin with `#`.
//!
//! *Next stop*: `guide/src/SUMMARY.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Where the pages are.
const PAGES: &str = "guide/src/";
const SUMMARY: &str = "guide/src/SUMMARY.md";
/// What begins and what ends an anchor; spelled apart, so that this file has none.
const BEGIN: &str = concat!("ANCHOR", ":");
const END: &str = concat!("ANCHOR", "_END:");
const INCLUDE: &str = "{{#include ";

/// Texts by path, relative to the root, with `/` between folders.
type Tree = BTreeMap<String, String>;

pub(super) fn check(root: &Path, complaints: &mut Vec<String>) {
    let mut tree = Tree::new();
    collect(root, root, &mut tree);
    inspect(&tree, complaints);
}

fn inspect(tree: &Tree, complaints: &mut Vec<String>) {
    let mut wanted = BTreeSet::new();
    let mut linked = BTreeSet::new();
    for (path, text) in pages(tree) {
        let page = Page { tree, path, text };
        page.check_includes(&mut wanted, complaints);
        page.check_links(&mut linked, complaints);
        page.check_paths(complaints);
    }
    for (path, text) in tree.iter().filter(|(path, _)| !path.starts_with(PAGES)) {
        for name in anchors(path, text, complaints) {
            if !wanted.contains(&(path.clone(), name.clone())) {
                complaints.push(format!("{path}: no page of the guide has anchor {name}"));
            }
        }
    }
    let chapters = pages(tree).filter(|(path, _)| *path != SUMMARY);
    for (path, _) in chapters.filter(|(path, _)| !linked.contains(*path)) {
        complaints.push(format!("{path}: SUMMARY.md does not lead to it"));
    }
}

fn pages(tree: &Tree) -> impl Iterator<Item = (&String, &String)> {
    let is_page = |path: &str| path.starts_with(PAGES) && path.ends_with(".md");
    tree.iter().filter(move |(path, _)| is_page(path))
}

/// A page of the guide among all texts.
struct Page<'a> {
    tree: &'a Tree,
    path: &'a str,
    text: &'a str,
}

impl Page<'_> {
    /// Every include names a file and an anchor in it; notes which.
    fn check_includes(
        &self,
        wanted: &mut BTreeSet<(String, String)>,
        complaints: &mut Vec<String>,
    ) {
        for (line, text) in numbered(self.text) {
            for rest in text.split(INCLUDE).skip(1) {
                let place = format!("{}:{line}", self.path);
                let Some((target, _)) = rest.split_once("}}") else {
                    complaints.push(format!("{place}: an include without end"));
                    continue;
                };
                let Some((file, anchor)) = target.trim().split_once(':') else {
                    complaints.push(format!("{place}: {target}: name an anchor"));
                    continue;
                };
                if !anchor.starts_with(|first: char| first.is_ascii_alphabetic()) {
                    complaints.push(format!("{place}: {target}: lines move, name an anchor"));
                    continue;
                }
                let file = joined(self.path, file);
                match self.tree.get(&file) {
                    None => complaints.push(format!("{place}: {file} does not exist")),
                    Some(source) if !has_anchor(source, anchor) => {
                        complaints.push(format!("{place}: {file} has no anchor {anchor}"));
                    }
                    Some(_) => {}
                }
                wanted.insert((file, anchor.to_owned()));
            }
        }
    }

    /// Every link within the book leads to a page, and to a heading if it names one; notes the chapters.
    fn check_links(&self, linked: &mut BTreeSet<String>, complaints: &mut Vec<String>) {
        for (line, text) in prose(self.text) {
            let text = without_code(text);
            for rest in text.split("](").skip(1) {
                let target = rest.split(')').next().unwrap_or_default();
                if target.contains("://") {
                    continue;
                }
                let place = format!("{}:{line}", self.path);
                let (file, heading) = target.split_once('#').unwrap_or((target, ""));
                let file = match file.is_empty() {
                    true => self.path.to_owned(),
                    false => joined(self.path, file),
                };
                let page = self.tree.get(&file).filter(|_| file.starts_with(PAGES));
                let Some(page) = page else {
                    complaints.push(format!("{place}: {target} is no page of the guide"));
                    continue;
                };
                if !heading.is_empty() && !headings(page).contains(heading) {
                    complaints.push(format!("{place}: {file} has no heading #{heading}"));
                }
                if self.path == SUMMARY {
                    linked.insert(file);
                }
            }
        }
    }

    /// Every source that is named by its path exists.
    fn check_paths(&self, complaints: &mut Vec<String>) {
        for (line, text) in prose(self.text) {
            for code in text.split('`').skip(1).step_by(2) {
                let names_source = code.contains('/')
                    && [".rs", ".proto"].iter().any(|end| code.ends_with(end))
                    && !code.contains(['{', '*', ' ', ':']);
                if names_source && !self.tree.contains_key(code) {
                    complaints.push(format!("{}:{line}: {code} does not exist", self.path));
                }
            }
        }
    }
}

/// The names of a source's anchors, each of which begins once and ends once behind that.
fn anchors(path: &str, text: &str, complaints: &mut Vec<String>) -> BTreeSet<String> {
    let mut ended: BTreeMap<String, bool> = BTreeMap::new();
    for (line, text) in numbered(text) {
        if let Some(name) = named(text, BEGIN)
            && ended.insert(name.to_owned(), false).is_some()
        {
            complaints.push(format!("{path}:{line}: anchor {name} begins again"));
        }
        if let Some(name) = named(text, END)
            && ended.insert(name.to_owned(), true) != Some(false)
        {
            complaints.push(format!(
                "{path}:{line}: anchor {name} ends without beginning"
            ));
        }
    }
    for (name, _) in ended.iter().filter(|(_, ended)| !**ended) {
        complaints.push(format!("{path}: anchor {name} has no end"));
    }
    ended.into_keys().collect()
}

fn has_anchor(text: &str, name: &str) -> bool {
    let mut lines = text.lines();
    lines.any(|line| named(line, BEGIN) == Some(name))
        && lines.any(|line| named(line, END) == Some(name))
}

/// The name that follows a mark, if the line has it.
fn named<'a>(line: &'a str, mark: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(mark)?;
    let rest = rest.trim_start();
    let belongs = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
    let end = rest.find(|letter| !belongs(letter)).unwrap_or(rest.len());
    (end > 0).then_some(&rest[..end])
}

/// The anchors that mdBook gives to the headings of a page.
fn headings(text: &str) -> BTreeSet<String> {
    let titles = prose(text).filter_map(|(_, line)| {
        let title = line.trim_start_matches('#');
        (title.len() < line.len() && title.starts_with(' ')).then_some(title.trim())
    });
    let kept = |letter: char| match letter {
        letter if letter.is_alphanumeric() || "-_".contains(letter) => {
            Some(letter.to_ascii_lowercase())
        }
        ' ' => Some('-'),
        _ => None,
    };
    titles
        .map(|title| title.chars().filter_map(kept).collect())
        .collect()
}

/// A path as it is seen from the folder of a page.
fn joined(page: &str, relative: &str) -> String {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in relative.split('/') {
        match part {
            "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(at, line)| (at + 1, line))
}

/// The lines outside of fenced blocks.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    numbered(text).filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect()
}

/// Whatever may have anchors, or is a page.
fn collect(root: &Path, folder: &Path, tree: &mut Tree) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        let relative = path.strip_prefix(root).unwrap_or(&path).to_string_lossy();
        let relative = relative.replace('\\', "/");
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                collect(root, &path, tree);
            }
            continue;
        }
        let extension = name.rsplit_once('.').map(|(_, extension)| extension);
        let taken = match extension {
            None | Some("rs" | "proto" | "toml") => true,
            Some("md") => relative.starts_with(PAGES),
            Some(_) => false,
        };
        if taken && let Ok(text) = std::fs::read_to_string(&path) {
            tree.insert(relative, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(name: &str) -> String {
        format!("// {BEGIN} {name}\nfn a() {{}}\n// {END} {name}\n")
    }

    /// What is said of a summary, one page and one source.
    fn said(page: &str, source: &str) -> Vec<String> {
        let mut tree = Tree::new();
        tree.insert(SUMMARY.into(), "# Guide\n\n- [One](one.md)\n".into());
        tree.insert("guide/src/one.md".into(), page.into());
        tree.insert("a/b.rs".into(), source.into());
        let mut complaints = Vec::new();
        inspect(&tree, &mut complaints);
        complaints
    }

    fn include(target: &str) -> String {
        format!("```rust\n{INCLUDE}../../{target}}}}}\n```\n")
    }

    #[test]
    fn a_page_that_includes_an_anchor_is_fine() {
        let page = include("a/b.rs:one");
        assert_eq!(said(&page, &source("one")), Vec::<String>::new());
    }

    #[test]
    fn what_an_include_lacks_is_seen() {
        let gone = said(&include("a/c.rs:one"), "");
        assert_eq!(gone, ["guide/src/one.md:2: a/c.rs does not exist"]);
        let gone = said(&include("a/b.rs:one"), "fn a() {}\n");
        assert_eq!(gone, ["guide/src/one.md:2: a/b.rs has no anchor one"]);
        let half = source("one").replace(END, "");
        let half = said(&include("a/b.rs:one"), &half);
        assert_eq!(
            half,
            [
                "guide/src/one.md:2: a/b.rs has no anchor one",
                "a/b.rs: anchor one has no end"
            ]
        );
        for target in ["a/b.rs", "a/b.rs:1:9"] {
            let lines = said(&include(target), "");
            assert_eq!(lines.len(), 1, "{lines:?}");
            assert!(lines[0].contains("name an anchor"), "{lines:?}");
        }
    }

    #[test]
    fn an_anchor_that_nobody_uses_or_that_comes_twice_is_seen() {
        let unused = said("", &source("one"));
        assert_eq!(unused, ["a/b.rs: no page of the guide has anchor one"]);
        let twice = said(&include("a/b.rs:one"), &source("one").repeat(2));
        assert_eq!(twice, ["a/b.rs:4: anchor one begins again"]);
    }

    #[test]
    fn links_and_paths_lead_somewhere() {
        let page = "# A Title, here\n\n[x](#a-title-here) [y](SUMMARY.md) [z](https://example.org/no)\n`a/b.rs`\n\n\
                    ```text\n[no](link.md)\n```\n";
        assert_eq!(said(page, ""), Vec::<String>::new());
        let page = "[x](two.md)\n[y](#gone)\n[z](../../a/b.rs)\n`a/c.rs`\n";
        assert_eq!(
            said(page, ""),
            [
                "guide/src/one.md:1: two.md is no page of the guide",
                "guide/src/one.md:2: guide/src/one.md has no heading #gone",
                "guide/src/one.md:3: ../../a/b.rs is no page of the guide",
                "guide/src/one.md:4: a/c.rs does not exist",
            ]
        );
    }

    #[test]
    fn a_page_without_chapter_is_seen() {
        let mut tree = Tree::new();
        tree.insert(SUMMARY.into(), "# Guide\n".into());
        tree.insert("guide/src/one.md".into(), String::new());
        let mut complaints = Vec::new();
        inspect(&tree, &mut complaints);
        assert_eq!(
            complaints,
            ["guide/src/one.md: SUMMARY.md does not lead to it"]
        );
    }
}
