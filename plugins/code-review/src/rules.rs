//! The rules: the issues and their severities. The README has them as a table.

use std::ops::Range;

use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, Expr, Lit};

use crate::fixes;
use crate::known::Fields;
use crate::metrics::{macro_arguments, measure};
use crate::model::{Issue, Limits, Metrics, Severity};
use crate::source::{Source, line_of};
use crate::walk::{Found, functions};

/// The shortest message of an `expect` that may be a reason.
const SHORTEST_REASON: usize = 8;

/// Every issue of one file, in the order of its lines.
pub fn issues(path: &str, text: &str, limits: &Limits) -> Vec<Issue> {
    let mut list = List {
        path,
        issues: Vec::new(),
    };
    match Source::parse(text) {
        Err(problem) => {
            let message = format!("the file does not parse: {}", problem.message);
            list.add(problem.line, "parse-error", Severity::Error, message);
        }
        Ok(source) => {
            let fields = Fields::of(&source.tree);
            for function in functions(&source.tree) {
                let test = function.test || is_test_path(path);
                if let Some(metrics) = measure(&function) {
                    list.size(&function, &metrics, limits);
                }
                list.safety_of(&function);
                if !test {
                    list.docs(&function);
                }
                list.body(&source, &function, test);
                list.mendable(&source, &function, &fields);
            }
        }
    }
    list.issues
        .sort_by(|a, b| (a.line, &a.rule).cmp(&(b.line, &b.rule)));
    list.issues
}

/// Whether the whole file is test code: one of its folders is called `tests`.
pub fn is_test_path(path: &str) -> bool {
    path.split('/').rev().skip(1).any(|folder| folder == "tests")
}

struct List<'p> {
    path: &'p str,
    issues: Vec<Issue>,
}

impl List<'_> {
    fn add(&mut self, line: u32, rule: &str, severity: Severity, message: String) {
        let (file, rule) = (self.path.to_string(), rule.to_string());
        self.issues.push(Issue {
            file,
            line,
            rule,
            severity,
            message,
            automatic: false,
        });
    }

    fn size(&mut self, function: &Found<'_>, metrics: &Metrics, limits: &Limits) {
        let (name, line) = (&function.name, line_of(function.span()));
        let Metrics {
            complexity,
            lines,
            parameters,
            nesting,
            ..
        } = *metrics;
        if complexity > limits.complexity {
            let severity = if complexity > 2 * limits.complexity {
                Severity::Error
            } else {
                Severity::Warning
            };
            let message = format!(
                "`{name}` has a cyclomatic complexity of {complexity}, above {}",
                limits.complexity
            );
            self.add(line, "complex-function", severity, message);
        }
        if lines > limits.lines {
            let message = format!("`{name}` has {lines} lines, above {}", limits.lines);
            self.add(line, "long-function", Severity::Warning, message);
        }
        if parameters > limits.parameters {
            let message = format!(
                "`{name}` takes {parameters} parameters, above {}",
                limits.parameters
            );
            self.add(line, "many-parameters", Severity::Warning, message);
        }
        if nesting > limits.nesting {
            let message = format!(
                "`{name}` nests control flow {nesting} deep, above {}",
                limits.nesting
            );
            self.add(line, "deep-nesting", Severity::Warning, message);
        }
    }

    fn docs(&mut self, function: &Found<'_>) {
        if function.public && docs_of(function.attributes).is_empty() {
            let message = format!("`{}` is public and has no documentation", function.name);
            self.add(line_of(function.span()), "missing-docs", Severity::Note, message);
        }
    }

    fn safety_of(&mut self, function: &Found<'_>) {
        if function.signature.unsafety.is_some() && function.public {
            let documented = docs_of(function.attributes).contains("# Safety");
            if !documented {
                let message = format!(
                    "`{}` is unsafe and its documentation has no `# Safety`",
                    function.name
                );
                self.add(
                    line_of(function.span()),
                    "unsafe-without-reason",
                    Severity::Warning,
                    message,
                );
            }
        }
    }

    fn body(&mut self, source: &Source<'_>, function: &Found<'_>, test: bool) {
        let Some(body) = function.body else { return };
        let mut reader = Reader {
            test,
            list: self,
            source,
        };
        reader.visit_block(body);
    }

    fn mendable(&mut self, source: &Source<'_>, function: &Found<'_>, fields: &Fields) {
        for finding in fixes::find(source, function, fields) {
            let (severity, message) = match finding.rule {
                fixes::DBG_LEFT => (Severity::Warning, "`dbg!` was left in the code"),
                fixes::COLLAPSIBLE_IF => (Severity::Warning, "this `if` contains only another `if`"),
                fixes::NEEDLESS_RETURN => (Severity::Note, "`return` is not needed at the end of a function"),
                fixes::BOOL_COMPARISON => (Severity::Note, "a `bool` is compared with a `bool` literal"),
                _ => (Severity::Note, "a length is compared with zero"),
            };
            self.issues.push(Issue {
                file: self.path.to_string(),
                line: finding.line,
                rule: finding.rule.to_string(),
                severity,
                message: message.to_string(),
                automatic: !finding.edits.is_empty(),
            });
        }
    }
}

/// Searches one body for forbidden code.
struct Reader<'l, 'p, 's, 't> {
    test: bool,
    list: &'l mut List<'p>,
    source: &'s Source<'t>,
}

impl Reader<'_, '_, '_, '_> {
    fn add(&mut self, span: Span, rule: &str, severity: Severity, message: &str) {
        self.list.add(line_of(span), rule, severity, message.to_string());
    }
}

impl<'a> Visit<'a> for Reader<'_, '_, '_, '_> {
    fn visit_item(&mut self, _: &'a syn::Item) {}

    fn visit_expr_method_call(&mut self, call: &'a syn::ExprMethodCall) {
        if !self.test {
            let span = call.method.span();
            if call.method == "unwrap" && call.args.is_empty() {
                self.add(
                    span,
                    "unwrap",
                    Severity::Warning,
                    "`unwrap` panics without saying why it cannot",
                );
            }
            if call.method == "expect" && call.args.first().is_some_and(is_no_reason) {
                self.add(
                    span,
                    "expect-without-reason",
                    Severity::Note,
                    "this `expect` does not say why it holds",
                );
            }
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_expr_unsafe(&mut self, block: &'a syn::ExprUnsafe) {
        let at = self.source.range(block.unsafe_token.span);
        if !has_safety_comment(self.source.text, at) {
            let message = "this `unsafe` block has no `// SAFETY:` comment";
            self.add(
                block.unsafe_token.span,
                "unsafe-without-reason",
                Severity::Warning,
                message,
            );
        }
        visit::visit_expr_unsafe(self, block);
    }

    fn visit_macro(&mut self, call: &'a syn::Macro) {
        let name = call
            .path
            .segments
            .last()
            .map(|segment| segment.ident.to_string())
            .unwrap_or_default();
        if !self.test {
            match name.as_str() {
                "panic" => self.add(
                    call.span(),
                    "panic",
                    Severity::Warning,
                    "`panic!` takes the whole program down",
                ),
                "todo" | "unimplemented" => {
                    self.add(call.span(), "unfinished", Severity::Error, "this is not finished");
                }
                _ => {}
            }
        }
        for argument in macro_arguments(call).iter().flatten() {
            self.visit_expr(argument);
        }
    }
}

fn is_no_reason(message: &Expr) -> bool {
    match message {
        Expr::Lit(literal) => match &literal.lit {
            Lit::Str(text) => text.value().trim().len() < SHORTEST_REASON,
            _ => false,
        },
        _ => false,
    }
}

fn docs_of(attributes: &[Attribute]) -> String {
    let mut docs = String::new();
    for attribute in attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("doc"))
    {
        match &attribute.meta {
            syn::Meta::NameValue(pair) => match &pair.value {
                Expr::Lit(syn::ExprLit {
                    lit: Lit::Str(text), ..
                }) => docs.push_str(&text.value()),
                _ => docs.push_str("from elsewhere"),
            },
            // `#[doc(hidden)]`: it has no documentation.
            _ => docs.push_str("hidden"),
        }
        docs.push('\n');
    }
    docs
}

/// Whether there is a comment with `SAFETY:` on the line of `unsafe` or directly above its statement.
fn has_safety_comment(text: &str, at: Range<usize>) -> bool {
    let line_start = text[..at.start].rfind('\n').map_or(0, |newline| newline + 1);
    let line_end = text[at.end..]
        .find('\n')
        .map_or(text.len(), |newline| at.end + newline);
    if says_why(&text[line_start..line_end]) {
        return true;
    }
    let is_part = |line: &&str| {
        let line = line.trim_start();
        // An attribute, or a statement that continues on the line of `unsafe`.
        line.starts_with("//") || line.starts_with("#[") || line.ends_with('=') || line.ends_with('(')
    };
    text[..line_start].lines().rev().take_while(is_part).any(says_why)
}

/// Whether a line has `SAFETY:` in it; some write `Safety:`.
fn says_why(line: &str) -> bool {
    line.contains("SAFETY:") || line.contains("Safety:")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rules that a text breaks, each with its line.
    fn broken(path: &str, text: &str) -> Vec<(String, u32)> {
        issues(path, text, &Limits::default())
            .into_iter()
            .map(|issue| (issue.rule, issue.line))
            .collect()
    }

    fn rules_of(text: &str) -> Vec<String> {
        broken("src/a.rs", text)
            .into_iter()
            .map(|(rule, _)| rule)
            .collect()
    }

    #[test]
    fn panics_count_outside_of_tests_and_reasons_are_read() {
        assert_eq!(rules_of("fn f() { a.unwrap(); }"), ["unwrap"]);
        assert_eq!(rules_of("fn f() { a.unwrap_or(1); b.unwrap(c); }"), [""; 0]);
        assert_eq!(
            rules_of("fn f() { a.expect(\"no\"); }"),
            ["expect-without-reason"]
        );
        assert_eq!(
            rules_of("fn f() { a.expect(\"the lock is never poisoned\"); }"),
            [""; 0]
        );
        assert_eq!(rules_of("fn f() { todo!() }"), ["unfinished"]);
        assert_eq!(rules_of("fn f() { assert!(a.unwrap()); }"), ["unwrap"]);
        assert_eq!(rules_of("#[test] fn f() { a.unwrap(); panic!(); }"), [""; 0]);
        assert_eq!(broken("tests/a.rs", "fn f() { a.unwrap(); }"), []);
    }

    #[test]
    fn unsafe_needs_a_reason_close_by() {
        assert_eq!(
            rules_of("fn f() {\n    unsafe { a() }\n}"),
            ["unsafe-without-reason"]
        );
        assert_eq!(
            rules_of("fn f() {\n    // SAFETY: it is\n    // checked above.\n    unsafe { a() }\n}"),
            [""; 0]
        );
        assert_eq!(
            rules_of("fn f() {\n    // SAFETY: yes\n    let b =\n        unsafe { a() };\n}"),
            [""; 0]
        );
        assert_eq!(
            rules_of("fn f() {\n    // SAFETY: yes\n    b();\n    unsafe { a() }\n}"),
            ["unsafe-without-reason"]
        );
        assert_eq!(
            rules_of("fn f() { let b = unsafe { a() }; // Safety: yes\n}"),
            [""; 0]
        );
        assert_eq!(
            rules_of("/// A.\npub unsafe fn f() {}"),
            ["unsafe-without-reason"]
        );
        assert_eq!(
            rules_of("/// A.\n///\n/// # Safety\n/// Never.\npub unsafe fn f() {}"),
            [""; 0]
        );
    }

    #[test]
    fn public_items_need_docs() {
        assert_eq!(rules_of("pub fn f() {}"), ["missing-docs"]);
        assert_eq!(
            rules_of("pub(crate) fn f() {} fn g() {} /** C. */ pub fn h() {} #[doc(hidden)] pub fn i() {}"),
            [""; 0]
        );
        assert_eq!(
            rules_of("impl Clone for A { fn clone(&self) -> A { A } }"),
            [""; 0]
        );
    }

    #[test]
    fn size_counts_above_the_limit_and_not_at_it() {
        let ifs = |count: usize| format!("fn f() {{ {} }}", "if a {}".repeat(count));
        assert_eq!(rules_of(&ifs(9)), [""; 0]);
        assert_eq!(
            issues("a.rs", &ifs(10), &Limits::default())[0].severity,
            Severity::Warning
        );
        assert_eq!(
            issues("a.rs", &ifs(20), &Limits::default())[0].severity,
            Severity::Error
        );
        let lines = |count: usize| format!("fn f() {{{}}}", "\n".repeat(count - 1));
        assert_eq!(rules_of(&lines(70)), [""; 0]);
        assert_eq!(rules_of(&lines(71)), ["long-function"]);
        let nested = |depth: usize| format!("fn f() {{ {}{} }}", "loop {".repeat(depth), "}".repeat(depth));
        assert_eq!(rules_of(&nested(4)), [""; 0]);
        assert_eq!(rules_of(&nested(5)), ["deep-nesting"]);
        let parameters = |count: usize| format!("fn f({}) {{}}", "a: u8,".repeat(count));
        assert_eq!(rules_of(&parameters(7)), [""; 0]);
        assert_eq!(rules_of(&parameters(8)), ["many-parameters"]);
    }
}
