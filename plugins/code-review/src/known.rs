//! The types that the text alone proves: enough to decide which rewrites are safe.
//!
//! A name is known when every binding of it in the function says the same; anything else (a
//! pattern, a closure's parameter, an initialiser that is not recognised) makes it unknown.

use std::collections::HashMap;

use syn::visit::{self, Visit};
use syn::{BinOp, Expr, FnArg, Lit, Pat, Type};

use crate::walk::Found;

/// The properties of a value that rewrites need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// A `bool`, not a reference to one.
    Bool,
    /// A collection of the standard library, or a reference to one: it has `len` and `is_empty`.
    Collection,
}

/// The class of each field of a file's structs, by the names of the struct and the field. Fields of other types are
/// left out.
#[derive(Default)]
pub struct Fields(HashMap<(String, String), Class>);

impl Fields {
    /// Reads the structs of a file.
    pub fn of(file: &syn::File) -> Self {
        let mut fields = Self::default();
        fields.visit_file(file);
        fields
    }
}

impl<'a> Visit<'a> for Fields {
    fn visit_item_struct(&mut self, item: &'a syn::ItemStruct) {
        for field in &item.fields {
            if let (Some(name), Some(class)) = (&field.ident, class_of_type(&field.ty)) {
                self.0.insert((item.ident.to_string(), name.to_string()), class);
            }
        }
    }
}

/// The names that one function binds, and the fields of its `self`.
pub struct Known<'f> {
    names: HashMap<String, Option<Class>>,
    fields: &'f Fields,
    owner: Option<String>,
}

impl<'f> Known<'f> {
    /// Reads a function's parameters and body.
    pub fn of(function: &Found<'_>, fields: &'f Fields) -> Self {
        let mut known = Self {
            names: HashMap::new(),
            fields,
            owner: function.owner.clone(),
        };
        for input in &function.signature.inputs {
            if let FnArg::Typed(typed) = input {
                known.bind(&typed.pat, class_of_type(&typed.ty));
            }
        }
        if let Some(body) = function.body {
            known.visit_block(body);
        }
        known
    }

    /// What is known about a place: a name, or a field of `self`.
    pub fn place(&self, expr: &Expr) -> Option<Class> {
        match expr {
            Expr::Path(path) => self
                .names
                .get(&path.path.get_ident()?.to_string())
                .copied()
                .flatten(),
            Expr::Field(field) => match (&*field.base, &field.member) {
                (Expr::Path(base), syn::Member::Named(name)) if base.path.is_ident("self") => self
                    .fields
                    .0
                    .get(&(self.owner.clone()?, name.to_string()))
                    .copied(),
                _ => None,
            },
            Expr::Paren(inner) => self.place(&inner.expr),
            _ => None,
        }
    }

    /// Whether the expression is a `bool` for certain.
    pub fn is_bool(&self, expr: &Expr) -> bool {
        match expr {
            Expr::Paren(inner) => self.is_bool(&inner.expr),
            Expr::Unary(unary) => matches!(unary.op, syn::UnOp::Not(_)) && self.is_bool(&unary.expr),
            Expr::Binary(both) => is_comparison(&both.op) || matches!(both.op, BinOp::And(_) | BinOp::Or(_)),
            Expr::MethodCall(call) => BOOL_METHODS.contains(&call.method.to_string().as_str()),
            other => self.place(other) == Some(Class::Bool),
        }
    }

    fn bind(&mut self, pattern: &Pat, class: Option<Class>) {
        if let Pat::Ident(name) = pattern {
            self.names
                .entry(name.ident.to_string())
                .and_modify(|earlier| *earlier = earlier.filter(|earlier| Some(*earlier) == class))
                .or_insert(class);
        } else {
            self.visit_pat(pattern);
        }
    }
}

impl<'a> Visit<'a> for Known<'_> {
    fn visit_item(&mut self, _: &'a syn::Item) {}

    fn visit_pat_ident(&mut self, name: &'a syn::PatIdent) {
        self.names.insert(name.ident.to_string(), None);
        visit::visit_pat_ident(self, name);
    }

    fn visit_local(&mut self, local: &'a syn::Local) {
        match &local.pat {
            Pat::Type(typed) => self.bind(&typed.pat, class_of_type(&typed.ty)),
            pattern => {
                let class = local.init.as_ref().and_then(|init| class_of_value(&init.expr));
                self.bind(pattern, class);
            }
        }
        if let Some(init) = &local.init {
            self.visit_expr(&init.expr);
            if let Some((_, diverge)) = &init.diverge {
                self.visit_expr(diverge);
            }
        }
    }
}

/// Whether the operator compares; its result is a `bool` whatever the operands are.
pub fn is_comparison(op: &BinOp) -> bool {
    matches!(
        op,
        BinOp::Eq(_) | BinOp::Ne(_) | BinOp::Lt(_) | BinOp::Le(_) | BinOp::Gt(_) | BinOp::Ge(_)
    )
}

/// Methods of the standard library that give a `bool`.
const BOOL_METHODS: [&str; 19] = [
    "all",
    "any",
    "contains",
    "contains_key",
    "ends_with",
    "eq_ignore_ascii_case",
    "exists",
    "is_alphabetic",
    "is_alphanumeric",
    "is_ascii_digit",
    "is_dir",
    "is_empty",
    "is_err",
    "is_file",
    "is_none",
    "is_ok",
    "is_some",
    "is_whitespace",
    "starts_with",
];

const COLLECTIONS: [&str; 9] = [
    "BTreeMap",
    "BTreeSet",
    "BinaryHeap",
    "HashMap",
    "HashSet",
    "String",
    "Vec",
    "VecDeque",
    "str",
];

fn class_of_type(ty: &Type) -> Option<Class> {
    match ty {
        Type::Path(path) if path.qself.is_none() => {
            let last = path.path.segments.last()?.ident.to_string();
            if path.path.is_ident("bool") {
                Some(Class::Bool)
            } else {
                COLLECTIONS.contains(&last.as_str()).then_some(Class::Collection)
            }
        }
        Type::Slice(_) | Type::Array(_) => Some(Class::Collection),
        // A reference to a `bool` cannot be compared with `true`, so it needs no class.
        Type::Reference(reference) => {
            class_of_type(&reference.elem).filter(|class| *class == Class::Collection)
        }
        _ => None,
    }
}

fn class_of_value(expr: &Expr) -> Option<Class> {
    match expr {
        Expr::Lit(literal) => match literal.lit {
            Lit::Bool(_) => Some(Class::Bool),
            Lit::Str(_) => Some(Class::Collection),
            _ => None,
        },
        Expr::Macro(call) => {
            let is = |name: &str| call.mac.path.is_ident(name);
            (is("vec") || is("format")).then_some(Class::Collection)
        }
        Expr::MethodCall(call) if call.method == "to_string" => Some(Class::Collection),
        Expr::Call(call) => {
            let Expr::Path(path) = &*call.func else {
                return None;
            };
            let segments: Vec<_> = path
                .path
                .segments
                .iter()
                .map(|segment| segment.ident.to_string())
                .collect();
            let [.., owner, function] = segments.as_slice() else {
                return None;
            };
            let constructor = ["new", "with_capacity", "from"].contains(&function.as_str());
            (constructor && COLLECTIONS.contains(&owner.as_str())).then_some(Class::Collection)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::walk::functions;

    fn class(text: &str, place: &str) -> Option<Class> {
        let file = syn::parse_file(text).expect("it is Rust");
        let fields = Fields::of(&file);
        let known = Known::of(&functions(&file)[0], &fields);
        known.place(&syn::parse_str(place).expect("it is an expression"))
    }

    #[test]
    fn parameters_annotations_and_fields_are_known() {
        let text = "impl S { fn f(&self, a: &mut Vec<u8>, b: bool) { let c: [u8; 2] = g(); let d = String::new(); } }
            struct S { names: std::collections::HashMap<u8, u8>, other: Odd }";
        assert_eq!(class(text, "a"), Some(Class::Collection));
        assert_eq!(class(text, "b"), Some(Class::Bool));
        assert_eq!(class(text, "c"), Some(Class::Collection));
        assert_eq!(class(text, "d"), Some(Class::Collection));
        assert_eq!(class(text, "self.names"), Some(Class::Collection));
        assert_eq!(class(text, "self.other"), None);
    }

    #[test]
    fn a_name_that_is_bound_twice_is_known_only_if_both_agree() {
        assert_eq!(class("fn f(a: bool) { let a = g(); }", "a"), None);
        assert_eq!(class("fn f(a: bool) { let a = true; }", "a"), Some(Class::Bool));
        assert_eq!(class("fn f(a: bool) { x.map(|a| a); }", "a"), None);
        assert_eq!(
            class("fn f(a: bool) { match x { Some(a) => a, None => b }; }", "a"),
            None
        );
        assert_eq!(class("fn f(a: Custom) { let a = true; }", "a"), None);
    }
}
