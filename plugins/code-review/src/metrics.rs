//! Measures a function: cyclomatic complexity, size, nesting.
//!
//! Complexity is McCabe's (T. J. McCabe, "A Complexity Measure", IEEE Transactions on Software
//! Engineering SE-2(4), 1976): 1 plus one for every decision. What counts as a decision in Rust:
//! `if` (and `let … else`), `while`, `for`, `loop`, `&&`, `||`, `?`, a guard of a match arm, and the
//! arms of a `match` less one. Closures belong to the function that they are in; a function within a
//! function counts on its own. The arguments of a macro count when they read as expressions.

use proc_macro2::Span;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{BinOp, Expr, FnArg, Token};

use crate::model::Metrics;
use crate::source::{end_line_of, line_of};
use crate::walk::Found;

/// The numbers of a function that has a body.
pub fn measure(function: &Found<'_>) -> Option<Metrics> {
    let body = function.body?;
    let mut count = Count::default();
    count.visit_block(body);
    let (start, end) = function.lines();
    let parameters = function
        .signature
        .inputs
        .iter()
        .filter(|input| matches!(input, FnArg::Typed(_)))
        .count();
    Some(Metrics {
        complexity: 1 + count.decisions,
        lines: end - start + 1,
        parameters: parameters as u32,
        nesting: count.deepest,
        longest: count.longest,
    })
}

/// The arguments of a macro, where they are expressions with commas between.
pub fn macro_arguments(call: &syn::Macro) -> Option<Punctuated<Expr, Token![,]>> {
    call.parse_body_with(Punctuated::parse_terminated).ok()
}

#[derive(Default)]
struct Count {
    decisions: u32,
    depth: u32,
    deepest: u32,
    longest: Option<(u32, u32)>,
}

impl Count {
    fn flow(&mut self, span: Span, visit: impl FnOnce(&mut Self)) {
        let lines = (line_of(span), end_line_of(span));
        if self
            .longest
            .is_none_or(|(start, end)| lines.1 - lines.0 > end - start)
        {
            self.longest = Some(lines);
        }
        self.depth += 1;
        self.deepest = self.deepest.max(self.depth);
        visit(self);
        self.depth -= 1;
    }

    /// `else if` has the depth of its `if`.
    fn chain(&mut self, branch: &syn::ExprIf) {
        self.decisions += 1;
        self.visit_expr(&branch.cond);
        self.visit_block(&branch.then_branch);
        match branch.else_branch.as_ref().map(|(_, otherwise)| &**otherwise) {
            Some(Expr::If(next)) => self.chain(next),
            Some(otherwise) => self.visit_expr(otherwise),
            None => {}
        }
    }
}

impl<'a> Visit<'a> for Count {
    fn visit_item(&mut self, _: &'a syn::Item) {}

    fn visit_expr_if(&mut self, branch: &'a syn::ExprIf) {
        self.flow(branch.span(), |count| count.chain(branch));
    }

    fn visit_expr_match(&mut self, branch: &'a syn::ExprMatch) {
        self.decisions += (branch.arms.len() as u32).saturating_sub(1);
        self.decisions += branch.arms.iter().filter(|arm| arm.guard.is_some()).count() as u32;
        self.flow(branch.span(), |count| visit::visit_expr_match(count, branch));
    }

    fn visit_expr_while(&mut self, each: &'a syn::ExprWhile) {
        self.decisions += 1;
        self.flow(each.span(), |count| visit::visit_expr_while(count, each));
    }

    fn visit_expr_for_loop(&mut self, each: &'a syn::ExprForLoop) {
        self.decisions += 1;
        self.flow(each.span(), |count| visit::visit_expr_for_loop(count, each));
    }

    fn visit_expr_loop(&mut self, each: &'a syn::ExprLoop) {
        self.decisions += 1;
        self.flow(each.span(), |count| visit::visit_expr_loop(count, each));
    }

    fn visit_expr_binary(&mut self, both: &'a syn::ExprBinary) {
        self.decisions += u32::from(matches!(both.op, BinOp::And(_) | BinOp::Or(_)));
        visit::visit_expr_binary(self, both);
    }

    fn visit_expr_try(&mut self, attempt: &'a syn::ExprTry) {
        self.decisions += 1;
        visit::visit_expr_try(self, attempt);
    }

    fn visit_local(&mut self, local: &'a syn::Local) {
        self.decisions += u32::from(local.init.as_ref().is_some_and(|init| init.diverge.is_some()));
        visit::visit_local(self, local);
    }

    fn visit_macro(&mut self, call: &'a syn::Macro) {
        for argument in macro_arguments(call).iter().flatten() {
            self.visit_expr(argument);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::walk::functions;

    /// Measures the first function of the text.
    fn first(text: &str) -> Metrics {
        let file = syn::parse_file(text).expect("it is Rust");
        measure(&functions(&file)[0]).expect("it has a body")
    }

    fn complexity(body: &str) -> u32 {
        first(&format!("fn f() {{ {body} }}")).complexity
    }

    // Each number is counted by hand; the decisions are in the order of the text.
    #[test]
    fn every_decision_counts_once() {
        assert_eq!(complexity(""), 1);
        assert_eq!(complexity("if a { b() }"), 2);
        assert_eq!(complexity("if a { b() } else { c() }"), 2);
        assert_eq!(complexity("if a { b() } else if c { d() } else { e() }"), 3);
        assert_eq!(complexity("if a && b || c { d() }"), 1 + 1 + 2);
        assert_eq!(complexity("if let Some(a) = b { c(a) }"), 2);
        assert_eq!(complexity("let Some(a) = b else { return };"), 2);
        assert_eq!(complexity("for a in b { while c { d() } }"), 3);
        assert_eq!(complexity("loop { if a { break } }"), 3);
        assert_eq!(complexity("a()?.b()?;"), 3);
        assert_eq!(complexity("match a { 1 => b(), 2 => c(), _ => d() }"), 1 + 2);
        assert_eq!(complexity("match a { n if n > 1 => b(), _ => d() }"), 1 + 1 + 1);
        assert_eq!(complexity("match a {}"), 1);
    }

    #[test]
    fn closures_and_macro_arguments_count_and_inner_functions_do_not() {
        assert_eq!(complexity("a.map(|b| if b { 1 } else { 2 })"), 2);
        assert_eq!(complexity("println!(\"{}\", a()? && b)"), 3);
        assert_eq!(complexity("select! { a = b() => if c {}, }"), 1);
        assert_eq!(complexity("fn g() { if a { b() } }"), 1);
    }

    #[test]
    fn size_is_lines_and_parameters_without_self() {
        let text = "impl S {\n    /// Docs.\n    fn f(\n        &self,\n        a: u8,\n        (b, c): (u8, u8),\n    ) {\n        a();\n    }\n}";
        let metrics = first(text);
        assert_eq!((metrics.lines, metrics.parameters), (7, 2));
    }

    #[test]
    fn nesting_grows_inwards_and_not_along_else_if() {
        let nesting = |body: &str| first(&format!("fn f() {{ {body} }}")).nesting;
        assert_eq!(nesting("a(); b();"), 0);
        assert_eq!(nesting("if a { } else if b { } else if c { }"), 1);
        assert_eq!(nesting("if a { } else if b { for c in d { } }"), 2);
        assert_eq!(nesting("for a in b { match c { _ => if d { loop { } } } }"), 4);
    }

    #[test]
    fn the_longest_piece_of_control_flow_is_named() {
        let text = "fn f() {\n    if a {\n    }\n    for b in c {\n        d();\n    }\n}";
        assert_eq!(first(text).longest, Some((4, 6)));
    }
}
