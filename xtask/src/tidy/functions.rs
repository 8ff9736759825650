//! Length of functions.
//!
//! *Next stop*: [`super::crates`].

use super::Source;
use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

const LINES_MAX: usize = 70;
/// In tests, where a function is often one table of commands or answers.
const TEST_LINES_MAX: usize = 120;

pub(super) fn check(source: &Source, complaints: &mut Vec<String>) {
    match syn::parse_file(&source.text) {
        Ok(file) => Lengths { source, complaints }.visit_file(&file),
        Err(error) => complaints.push(format!("{}: {error}", source.path.display())),
    }
}

struct Lengths<'a> {
    source: &'a Source,
    complaints: &'a mut Vec<String>,
}

impl Lengths<'_> {
    fn measure(&mut self, name: &syn::Ident, span: Span) {
        let lines = span.end().line - span.start().line + 1;
        let path = self.source.path.to_string_lossy();
        let test = path.contains("tests/") || path.ends_with("tests.rs");
        let lines_max = if test { TEST_LINES_MAX } else { LINES_MAX };
        if lines > lines_max {
            let (path, line) = (self.source.path.display(), span.start().line);
            self.complaints.push(format!(
                "{path}:{line}: fn {name} has {lines} lines, at most {lines_max}"
            ));
        }
    }
}

impl<'ast> Visit<'ast> for Lengths<'_> {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.measure(
            &function.sig.ident,
            function
                .sig
                .span()
                .join(function.block.span())
                .unwrap_or(function.span()),
        );
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.measure(
            &function.sig.ident,
            function
                .sig
                .span()
                .join(function.block.span())
                .unwrap_or(function.span()),
        );
        visit::visit_impl_item_fn(self, function);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_function_is_seen() {
        let body = "    call();\n".repeat(70);
        let source = Source {
            path: "a.rs".into(),
            text: format!("fn long() {{\n{body}}}\nfn short() {{}}\n"),
        };
        let mut complaints = Vec::new();
        check(&source, &mut complaints);
        assert_eq!(complaints, ["a.rs:1: fn long has 72 lines, at most 70"]);
    }
}
