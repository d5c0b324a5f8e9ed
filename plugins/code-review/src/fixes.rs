//! Finds issues that can be fixed mechanically, and fixes them by editing the text.
//!
//! A fix never touches more than the bytes that it is about: formatting and comments elsewhere stay
//! as they are. It is made only where the text proves that the program stays the same; where it
//! might not (an unknown type, a temporary whose drop would move), the finding has no edits.

use std::ops::Range;

use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{BinOp, Block, Expr, Lit, ReturnType, Stmt};

use crate::known::{Class, Fields, Known, is_comparison};
use crate::metrics::macro_arguments;
use crate::model::Change;
use crate::source::{Source, line_of};
use crate::temporaries::{moves_no_drop, reads_places_only};
use crate::walk::{Found, functions};

/// `return` at the end of a function.
pub const NEEDLESS_RETURN: &str = "needless-return";
/// A comparison with `true` or `false`.
pub const BOOL_COMPARISON: &str = "bool-comparison";
/// An `if` whose body is nothing but another `if`.
pub const COLLAPSIBLE_IF: &str = "collapsible-if";
/// A length compared with zero.
pub const LEN_ZERO: &str = "len-zero";
/// A call of `dbg!` outside of tests.
pub const DBG_LEFT: &str = "dbg-left";

/// The length in characters at which a line of a change is cut.
const MAX_SHOWN: usize = 100;

/// A place that breaks one of the rules of this module, with its fix.
pub struct Finding {
    /// The rule's id, such as `len-zero`.
    pub rule: &'static str,
    /// The first line of the place, from 1.
    pub line: u32,
    /// The edits, in the order of the text; empty if the fix is not safe.
    pub edits: Vec<(Range<usize>, String)>,
    extent: Range<usize>,
}

/// All findings in one function for the rules of this module.
pub fn find(source: &Source<'_>, function: &Found<'_>, fields: &Fields) -> Vec<Finding> {
    let Some(body) = function.body else {
        return Vec::new();
    };
    let known = Known::of(function, fields);
    let mut finder = Finder {
        source,
        known,
        found: Vec::new(),
        bare: Vec::new(),
    };
    finder.last_return(body, &function.signature.output);
    finder.visit_block(body);
    finder.found
}

/// Fixes one rule's findings in a text. Of findings that overlap, the outermost is fixed and the
/// others are left for another turn. The text is returned unchanged if it does not parse, or would not
/// after the edits.
pub fn apply(text: &str, rule: &str) -> (String, Vec<Change>) {
    let unchanged = || (text.to_string(), Vec::new());
    let Ok(source) = Source::parse(text) else {
        return unchanged();
    };
    let fields = Fields::of(&source.tree);
    let mut findings: Vec<_> = functions(&source.tree)
        .iter()
        .flat_map(|function| find(&source, function, &fields))
        .filter(|finding| finding.rule == rule && !finding.edits.is_empty())
        .collect();
    findings.sort_by_key(|finding| finding.extent.start);
    let mut done = 0;
    findings.retain(|finding| {
        let apart = finding.extent.start >= done;
        done = if apart { finding.extent.end } else { done };
        apart
    });

    let mut mended = text.to_string();
    let mut changes = Vec::new();
    for finding in findings.iter().rev() {
        let mut after = text[finding.extent.clone()].to_string();
        for (range, new) in finding.edits.iter().rev() {
            mended.replace_range(range.clone(), new);
            // An edit may reach past the extent, to take a line's end along.
            let end = range.end.min(finding.extent.end);
            let start = range.start.max(finding.extent.start);
            after.replace_range(start - finding.extent.start..end - finding.extent.start, new);
        }
        changes.push(Change {
            file: String::new(),
            line: finding.line,
            rule: rule.to_string(),
            before: one_line(&text[finding.extent.clone()]),
            after: one_line(&after),
        });
    }
    changes.reverse();
    if Source::parse(&mended).is_err() {
        unchanged()
    } else {
        (mended, changes)
    }
}

fn one_line(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    crate::model::cut(&words.join(" "), MAX_SHOWN)
}

struct Finder<'s, 't> {
    source: &'s Source<'t>,
    known: Known<'s>,
    found: Vec<Finding>,
    /// Places where an expression stands alone, so that its replacement needs no brackets.
    bare: Vec<Range<usize>>,
}

impl Finder<'_, '_> {
    fn report(&mut self, rule: &'static str, span: Span, edits: Vec<(Range<usize>, String)>) {
        let extent = self.source.range(span);
        self.found.push(Finding {
            rule,
            line: line_of(span),
            edits,
            extent,
        });
    }

    /// The text of what replaces an expression within another.
    fn operand(&self, expr: &Expr) -> String {
        let text = self.source.slice(expr.span());
        if is_atom(expr) {
            text.to_string()
        } else {
            format!("({text})")
        }
    }

    /// The whole line of a statement where nothing else is on it, else the statement alone.
    fn line_around(&self, range: Range<usize>) -> Range<usize> {
        let text = self.source.text;
        let start = text[..range.start].rfind('\n').map_or(0, |at| at + 1);
        let end = text[range.end..]
            .find('\n')
            .map_or(text.len(), |at| range.end + at + 1);
        let alone = text[start..range.start].trim().is_empty() && text[range.end..end].trim().is_empty();
        if alone { start..end } else { range }
    }

    fn last_return(&mut self, body: &Block, output: &ReturnType) {
        let Some(Stmt::Expr(Expr::Return(last), semicolon)) = body.stmts.last() else {
            return;
        };
        if !last.attrs.is_empty() {
            return;
        }
        let span = semicolon.map_or(last.span(), |mark| {
            last.span().join(mark.span()).unwrap_or(last.span())
        });
        let whole = self.source.range(span);
        let edits = match &last.expr {
            Some(value) if moves_no_drop(value) => {
                let text = self.source.slice(value.span()).to_string();
                vec![(whole, text)]
            }
            None if matches!(output, ReturnType::Default) => vec![(self.line_around(whole), String::new())],
            _ => Vec::new(),
        };
        self.report(NEEDLESS_RETURN, span, edits);
    }

    fn collapsible(&mut self, outer: &syn::ExprIf) {
        if outer.else_branch.is_some() {
            return;
        }
        let [Stmt::Expr(Expr::If(inner), _)] = outer.then_branch.stmts.as_slice() else {
            return;
        };
        if inner.else_branch.is_some() || !inner.attrs.is_empty() {
            return;
        }
        if binds(&outer.cond) || binds(&inner.cond) {
            return;
        }
        let (first, second) = (
            self.source.range(outer.cond.span()),
            self.source.range(inner.cond.span()),
        );
        let inner_end = self.source.range(inner.then_branch.brace_token.span.close()).end;
        let outer_end = self.source.range(outer.then_branch.brace_token.span.close()).end;
        let between: String = self.source.text[first.end..second.start]
            .split_whitespace()
            .collect();
        let behind: String = self.source.text[inner_end..outer_end]
            .split_whitespace()
            .collect();
        // A comment in between explains one of the two conditions: leave both.
        if between != "{if" || !matches!(behind.as_str(), "}" | ";}") {
            return;
        }
        let edits = if reads_places_only(&outer.cond) {
            self.collapse(outer, inner, [first, second, inner_end..outer_end])
        } else {
            Vec::new()
        };
        self.report(COLLAPSIBLE_IF, outer.span(), edits);
    }

    fn collapse(
        &self,
        outer: &syn::ExprIf,
        inner: &syn::ExprIf,
        at: [Range<usize>; 3],
    ) -> Vec<(Range<usize>, String)> {
        let [first, second, tail] = at;
        let mut edits = Vec::new();
        let (first_open, second_open) = (!is_operand_of_and(&outer.cond), !is_operand_of_and(&inner.cond));
        if first_open {
            edits.push((first.start..first.start, "(".into()));
        }
        let close = if first_open { ")" } else { "" };
        let open = if second_open { "(" } else { "" };
        edits.push((first.end..second.start, format!("{close} && {open}")));
        if second_open {
            edits.push((second.end..second.end, ")".into()));
        }
        edits.extend(self.dedent(outer, inner));
        edits.push((tail, String::new()));
        edits.sort_by_key(|(range, _)| range.start);
        edits
    }

    /// Moves the lines of the inner condition and body out by what the inner `if` is indented more than the outer one. Lines
    /// that begin within a string are part of its value and stay.
    fn dedent(&self, outer: &syn::ExprIf, inner: &syn::ExprIf) -> Vec<(Range<usize>, String)> {
        let text = self.source.text;
        let column = |span: Span| {
            let at = self.source.range(span).start;
            let line = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
            text[line..at]
                .chars()
                .all(char::is_whitespace)
                .then_some(at - line)
        };
        let outer_column = column(outer.then_branch.brace_token.span.close());
        let (Some(inner_column), Some(outer_column)) = (column(inner.if_token.span), outer_column) else {
            return Vec::new();
        };
        let by = inner_column.saturating_sub(outer_column);
        let open = self.source.range(inner.cond.span()).start;
        let close = self
            .source
            .range(inner.then_branch.brace_token.span.close())
            .start;
        let mut strings = MultiLine::default();
        strings.visit_expr_if(inner);
        text[open..close]
            .match_indices('\n')
            .map(|(newline, _)| open + newline + 1)
            .filter(|start| {
                !strings
                    .0
                    .iter()
                    .any(|span| self.source.range(*span).contains(start))
            })
            .filter(|start| {
                text[*start..].len() >= by && text.as_bytes()[*start..*start + by].iter().all(|b| *b == b' ')
            })
            .map(|start| (start..start + by, String::new()))
            .collect()
    }

    fn bool_comparison(&mut self, both: &syn::ExprBinary) {
        let equal = match both.op {
            BinOp::Eq(_) => true,
            BinOp::Ne(_) => false,
            _ => return,
        };
        let (value, literal) = match (bool_literal(&both.left), bool_literal(&both.right)) {
            (None, Some(literal)) => (&both.left, literal),
            (Some(literal), None) => (&both.right, literal),
            _ => return,
        };
        // Types of other crates may compare with `bool` too, and a JSON value is not a condition.
        if !self.known.is_bool(value) {
            return;
        }
        let mended = if literal == equal {
            self.source.slice(value.span()).to_string()
        } else {
            format!("!{}", self.operand(value))
        };
        let edits = vec![(self.source.range(both.span()), mended)];
        self.report(BOOL_COMPARISON, both.span(), edits);
    }

    fn len_zero(&mut self, both: &syn::ExprBinary) {
        if !is_comparison(&both.op) {
            return;
        }
        let (call, number, turned) = match (&*both.left, &*both.right) {
            (Expr::MethodCall(call), Expr::Lit(number)) => (call, number, false),
            (Expr::Lit(number), Expr::MethodCall(call)) => (call, number, true),
            _ => return,
        };
        let Lit::Int(number) = &number.lit else { return };
        if call.method != "len" || !call.args.is_empty() {
            return;
        }
        let empty = match (&both.op, number.base10_digits(), turned) {
            (BinOp::Eq(_), "0", _) => true,
            (BinOp::Lt(_), "1", false) | (BinOp::Gt(_), "1", true) => true,
            (BinOp::Ne(_), "0", _) => false,
            (BinOp::Gt(_), "0", false) | (BinOp::Lt(_), "0", true) => false,
            (BinOp::Ge(_), "1", false) | (BinOp::Le(_), "1", true) => false,
            _ => return,
        };
        let edits = if self.known.place(&call.receiver) == Some(Class::Collection) {
            let not = if empty { "" } else { "!" };
            let mended = format!("{not}{}.is_empty()", self.source.slice(call.receiver.span()));
            vec![(self.source.range(both.span()), mended)]
        } else {
            Vec::new()
        };
        self.report(LEN_ZERO, both.span(), edits);
    }

    fn dbg_left(&mut self, call: &syn::Macro, statement: Option<Range<usize>>) {
        let name = call.path.segments.last();
        if name.is_none_or(|segment| segment.ident != "dbg") {
            return;
        }
        let whole = self.source.range(call.span());
        let edits = match macro_arguments(call) {
            None => Vec::new(),
            Some(arguments) => {
                let only = if arguments.len() == 1 {
                    arguments.first()
                } else {
                    None
                };
                match (only, statement) {
                    (None, Some(statement)) if arguments.is_empty() => {
                        vec![(self.line_around(statement), String::new())]
                    }
                    (Some(value), Some(statement)) if has_no_effect(value) => {
                        vec![(self.line_around(statement), String::new())]
                    }
                    (Some(value), _) if self.bare.contains(&whole) => {
                        vec![(whole, self.source.slice(value.span()).to_string())]
                    }
                    (Some(value), _) => vec![(whole, self.operand(value))],
                    (None, _) => {
                        let all: Vec<_> = arguments
                            .iter()
                            .map(|value| self.source.slice(value.span()))
                            .collect();
                        vec![(whole, format!("({})", all.join(", ")))]
                    }
                }
            }
        };
        self.report(DBG_LEFT, call.span(), edits);
    }

    fn stands_alone(&mut self, expr: &Expr) {
        self.bare.push(self.source.range(expr.span()));
    }
}

impl<'a> Visit<'a> for Finder<'_, '_> {
    fn visit_item(&mut self, _: &'a syn::Item) {}

    fn visit_local(&mut self, local: &'a syn::Local) {
        if let Some(init) = &local.init {
            self.stands_alone(&init.expr);
        }
        visit::visit_local(self, local);
    }

    fn visit_expr_call(&mut self, call: &'a syn::ExprCall) {
        call.args.iter().for_each(|argument| self.stands_alone(argument));
        visit::visit_expr_call(self, call);
    }

    fn visit_expr_method_call(&mut self, call: &'a syn::ExprMethodCall) {
        call.args.iter().for_each(|argument| self.stands_alone(argument));
        visit::visit_expr_method_call(self, call);
    }

    fn visit_expr_if(&mut self, branch: &'a syn::ExprIf) {
        self.collapsible(branch);
        visit::visit_expr_if(self, branch);
    }

    fn visit_expr_binary(&mut self, both: &'a syn::ExprBinary) {
        self.bool_comparison(both);
        self.len_zero(both);
        visit::visit_expr_binary(self, both);
    }

    fn visit_stmt_macro(&mut self, statement: &'a syn::StmtMacro) {
        let ended = statement.semi_token.is_some();
        let range = self.source.range(statement.span());
        if !ended {
            self.bare.push(self.source.range(statement.mac.span()));
        }
        self.dbg_left(&statement.mac, ended.then_some(range));
    }

    fn visit_macro(&mut self, call: &'a syn::Macro) {
        self.dbg_left(call, None);
    }
}

/// Literals that go over several lines.
#[derive(Default)]
struct MultiLine(Vec<Span>);

impl MultiLine {
    fn tokens(&mut self, tokens: proc_macro2::TokenStream) {
        for token in tokens {
            match token {
                proc_macro2::TokenTree::Group(group) => self.tokens(group.stream()),
                proc_macro2::TokenTree::Literal(literal) => self.note(literal.span()),
                _ => {}
            }
        }
    }

    fn note(&mut self, span: Span) {
        if span.start().line != span.end().line {
            self.0.push(span);
        }
    }
}

impl<'a> Visit<'a> for MultiLine {
    fn visit_lit(&mut self, literal: &'a Lit) {
        self.note(literal.span());
    }

    fn visit_macro(&mut self, call: &'a syn::Macro) {
        self.tokens(call.tokens.clone());
    }
}

/// Whether the condition has a `let` in it.
fn binds(cond: &Expr) -> bool {
    match cond {
        Expr::Let(_) => true,
        Expr::Binary(both) => binds(&both.left) || binds(&both.right),
        Expr::Paren(inner) => binds(&inner.expr),
        _ => false,
    }
}

fn bool_literal(expr: &Expr) -> Option<bool> {
    match expr {
        Expr::Lit(literal) => match &literal.lit {
            Lit::Bool(value) => Some(value.value),
            _ => None,
        },
        _ => None,
    }
}

/// Whether an expression only names something, so that a statement of it does nothing.
fn has_no_effect(expr: &Expr) -> bool {
    match expr {
        Expr::Path(_) | Expr::Lit(_) => true,
        Expr::Reference(inner) => has_no_effect(&inner.expr),
        Expr::Field(inner) => has_no_effect(&inner.base),
        Expr::Paren(inner) => has_no_effect(&inner.expr),
        _ => false,
    }
}

/// Whether the expression needs no brackets anywhere.
fn is_atom(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::Path(_)
            | Expr::Lit(_)
            | Expr::Call(_)
            | Expr::MethodCall(_)
            | Expr::Field(_)
            | Expr::Index(_)
            | Expr::Paren(_)
            | Expr::Tuple(_)
            | Expr::Array(_)
            | Expr::Macro(_)
    )
}

/// Whether the expression needs no brackets beside `&&`.
fn is_operand_of_and(expr: &Expr) -> bool {
    match expr {
        Expr::Binary(both) => is_comparison(&both.op) || matches!(both.op, BinOp::And(_)),
        Expr::Unary(_) | Expr::Try(_) | Expr::Await(_) => true,
        other => is_atom(other),
    }
}

#[cfg(test)]
mod tests;
