//! Decides whether an expression may be moved to a place where its temporaries live longer.
//!
//! A guard that a lock or a `RefCell` hands out lives to the end of the expression that made it. Taking
//! `return` off the last statement, or joining two conditions with `&&`, would make it live longer, which
//! can dead-lock or fail to compile. Only a value that is used as a place (a receiver, an indexed or
//! referenced value) becomes such a temporary.

use syn::Expr;

/// Methods of the standard library that give no guard, so that calling on their result is harmless.
const PLAIN: [&str; 24] = [
    "as_bytes",
    "as_ref",
    "as_str",
    "bytes",
    "chars",
    "clone",
    "cloned",
    "copied",
    "enumerate",
    "filter",
    "first",
    "get",
    "iter",
    "keys",
    "last",
    "len",
    "lines",
    "map",
    "rev",
    "skip",
    "split_whitespace",
    "trim",
    "values",
    "zip",
];

/// Whether the value of a last `return` leaves no temporary behind that would then be dropped after the
/// function's locals.
pub fn moves_no_drop(expr: &Expr) -> bool {
    match expr {
        Expr::Path(_) | Expr::Lit(_) => true,
        Expr::Macro(call) => ["format", "vec"].iter().any(|name| call.mac.path.is_ident(name)),
        Expr::Paren(inner) => moves_no_drop(&inner.expr),
        Expr::Field(field) => is_place(&field.base),
        Expr::Index(index) => is_place(&index.expr) && moves_no_drop(&index.index),
        Expr::Reference(reference) => is_place(&reference.expr),
        Expr::Unary(unary) => match unary.op {
            syn::UnOp::Deref(_) => is_place(&unary.expr),
            _ => moves_no_drop(&unary.expr),
        },
        Expr::Try(attempt) => moves_no_drop(&attempt.expr),
        Expr::Cast(cast) => moves_no_drop(&cast.expr),
        Expr::Binary(both) => moves_no_drop(&both.left) && moves_no_drop(&both.right),
        Expr::Tuple(tuple) => tuple.elems.iter().all(moves_no_drop),
        Expr::Array(array) => array.elems.iter().all(moves_no_drop),
        Expr::Struct(literal) => {
            literal.fields.iter().all(|field| moves_no_drop(&field.expr))
                && literal.rest.as_deref().is_none_or(moves_no_drop)
        }
        Expr::Call(call) => matches!(&*call.func, Expr::Path(_)) && call.args.iter().all(moves_no_drop),
        Expr::MethodCall(call) => is_place(&call.receiver) && call.args.iter().all(moves_no_drop),
        _ => false,
    }
}

/// Whether a condition uses no value as a place, but for the results of methods that give no guard.
pub fn reads_places_only(expr: &Expr) -> bool {
    match expr {
        Expr::MethodCall(call) => is_receiver(&call.receiver) && call.args.iter().all(argument),
        Expr::Binary(both) => reads_places_only(&both.left) && reads_places_only(&both.right),
        Expr::Unary(unary) if !matches!(unary.op, syn::UnOp::Deref(_)) => reads_places_only(&unary.expr),
        Expr::Paren(inner) => reads_places_only(&inner.expr),
        Expr::Call(call) => matches!(&*call.func, Expr::Path(_)) && call.args.iter().all(argument),
        Expr::Macro(call) => call.mac.path.is_ident("matches") && !call.mac.tokens.to_string().contains('('),
        other => moves_no_drop(other),
    }
}

fn argument(expr: &Expr) -> bool {
    // Temporaries of a closure are dropped when the closure returns.
    matches!(expr, Expr::Closure(_)) || reads_places_only(expr)
}

fn is_receiver(expr: &Expr) -> bool {
    match expr {
        Expr::MethodCall(call) => {
            PLAIN.contains(&call.method.to_string().as_str())
                && is_receiver(&call.receiver)
                && call.args.iter().all(argument)
        }
        other => is_place(other),
    }
}

/// Whether the expression names a place that exists already.
fn is_place(expr: &Expr) -> bool {
    match expr {
        Expr::Path(_) | Expr::Lit(_) => true,
        Expr::Field(field) => is_place(&field.base),
        Expr::Index(index) => is_place(&index.expr) && moves_no_drop(&index.index),
        Expr::Paren(inner) => is_place(&inner.expr),
        Expr::Unary(unary) => matches!(unary.op, syn::UnOp::Deref(_)) && is_place(&unary.expr),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expr(text: &str) -> Expr {
        syn::parse_str(text).expect("it is an expression")
    }

    #[test]
    fn a_return_of_something_borrowed_from_a_guard_stays() {
        for text in [
            "x",
            "Ok(x + 1)",
            "x.clone()",
            "Point { x, y: f(z)? }",
            "&self.items[0]",
            "format!(\"{x}\")",
        ] {
            assert!(moves_no_drop(&expr(text)), "{text}");
        }
        for text in [
            "x.borrow().clone()",
            "*x.lock()",
            "&f()",
            "match x.lock() { _ => 1 }",
            "Ok(x.read().len())",
        ] {
            assert!(!moves_no_drop(&expr(text)), "{text}");
        }
    }

    #[test]
    fn a_condition_that_holds_a_lock_is_not_joined() {
        for text in [
            "a",
            "a > 1 || !b.is_some()",
            "a.iter().any(|x| x.lock().is_ok())",
            "f(a) == 1",
        ] {
            assert!(reads_places_only(&expr(text)), "{text}");
        }
        for text in [
            "a.lock().is_ok()",
            "a.borrow().b",
            "f(&g())",
            "a.lock().iter().any(|x| x)",
        ] {
            assert!(!reads_places_only(&expr(text)), "{text}");
        }
    }
}
