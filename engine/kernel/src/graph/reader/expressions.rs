//! Compiles the expressions of a definition, up to its limits.

use super::*;

impl Reader<'_> {
    pub(in crate::graph) fn expression(
        &mut self,
        value: &Value,
        pointer: &str,
        variables: &[&str],
        want: Want,
    ) -> Option<Expr> {
        let Value::String(source) = value else {
            self.error(
                pointer,
                format!("expected an expression (CEL) as a string, got {}", kind(value)),
            );
            return None;
        };
        if self.found.has_enough_errors() || !self.fits_budget(source, pointer) {
            return None;
        }
        let compile = Compile {
            is_stored: self.origin != Origin::New,
            suggestions: &self.suggestions,
            patterns: &self.expression_patterns,
        };
        match compile.expr(source, variables, want) {
            Ok(expr) => Some(expr),
            Err(problems) => {
                problems
                    .into_iter()
                    .for_each(|problem| self.error(pointer, problem.message));
                None
            }
        }
    }

    /// Counts an expression. The first one beyond a limit is an error; later ones are not read.
    fn fits_budget(&mut self, source: &str, pointer: &str) -> bool {
        let (count, bytes) = &mut self.expressions;
        let fitted = *count <= MAX_EXPRESSIONS && *bytes <= MAX_EXPRESSION_BYTES;
        *count += 1;
        *bytes += source.len();
        let (count, bytes) = (*count, *bytes);
        if self.origin == Origin::Stored || count <= MAX_EXPRESSIONS && bytes <= MAX_EXPRESSION_BYTES {
            return true;
        }
        if fitted {
            let (which, limit) = match count > MAX_EXPRESSIONS {
                true => (
                    format!("it has more than {MAX_EXPRESSIONS} expressions"),
                    "graph_expressions",
                ),
                false => (
                    format!("its expressions have more than {MAX_EXPRESSION_BYTES} bytes together"),
                    "graph_expression_bytes",
                ),
            };
            self.error(
                pointer,
                format!("the graph is too large to be checked: {which} ({limit}); split it into graphs"),
            );
        }
        false
    }

    /// Reads an object of names and expressions.
    pub(in crate::graph) fn expressions(
        &mut self,
        value: &Value,
        pointer: &str,
        variables: &[&str],
    ) -> Vec<(Arc<str>, Expr)> {
        let Some(map) = self.object(value, pointer, "this") else {
            return Vec::new();
        };
        let mut read = Vec::with_capacity(map.len());
        for (name, value) in map {
            let pointer = format!("{pointer}/{}", part(name));
            if let Some(expr) = self.expression(value, &pointer, variables, Want::Any) {
                read.push((name.as_str().into(), expr));
            }
        }
        read
    }
}
