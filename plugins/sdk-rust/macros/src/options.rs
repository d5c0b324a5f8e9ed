//! The attribute's options, and the name and summary of the function.

use syn::{
    Attribute, Expr, ExprLit, Ident, Lit, LitStr, Meta, Token, parenthesized,
    parse::{Parse, ParseStream},
    punctuated::Punctuated,
};

use crate::Kind;

/// A name is part of URLs and of graph files; the contract allows no more.
const NAME_LEN: usize = 100;

#[derive(Default)]
pub(crate) struct Options {
    name: Option<LitStr>,
    pub(crate) read_only: bool,
    pub(crate) idempotent: bool,
    pub(crate) routes: Vec<LitStr>,
}

impl Parse for Options {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut options = Self::default();
        while !input.is_empty() {
            let option: Ident = input.parse()?;
            match option.to_string().as_str() {
                "name" => {
                    input.parse::<Token![=]>()?;
                    options.name = Some(input.parse()?);
                }
                "read_only" => options.read_only = true,
                "idempotent" => options.idempotent = true,
                "routes" => {
                    let routes;
                    parenthesized!(routes in input);
                    options.routes = Punctuated::<LitStr, Token![,]>::parse_terminated(&routes)?
                        .into_iter()
                        .collect();
                }
                _ => {
                    let message =
                        "the options are `name = \"…\"`, `routes(\"…\", …)`, `read_only` and `idempotent`";
                    return Err(syn::Error::new(option.span(), message));
                }
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(options)
    }
}

impl Options {
    /// Refuses options that this kind of function cannot have.
    pub(crate) fn check(&self, kind: Kind) -> syn::Result<()> {
        match self.routes.first() {
            Some(route) if kind == Kind::Tool => Err(syn::Error::new(
                route.span(),
                "a tool has no routes; a `#[node]` has",
            )),
            _ => Ok(()),
        }
    }

    /// The name that the graph uses: the option, or else the function's own.
    pub(crate) fn name_of(&self, function: &Ident) -> syn::Result<String> {
        let (name, span) = match &self.name {
            Some(name) => (name.value(), name.span()),
            None => (
                function.to_string().trim_start_matches("r#").to_owned(),
                function.span(),
            ),
        };
        let fits = (1..=NAME_LEN).contains(&name.len())
            && name
                .chars()
                .all(|char| char.is_ascii_alphanumeric() || "_-.".contains(char));
        if !fits {
            let message =
                format!("a function's name has letters, digits, `_`, `-` and `.`, at most {NAME_LEN}");
            return Err(syn::Error::new(span, message));
        }
        Ok(name)
    }
}

/// The first paragraph of the doc comment, in one line.
pub(crate) fn summary(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(doc) if doc.path.is_ident("doc") => match &doc.value {
            Expr::Lit(ExprLit {
                lit: Lit::Str(text), ..
            }) => Some(text.value()),
            _ => None,
        },
        _ => None,
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    let paragraph = text.trim().split("\n\n").next().unwrap_or_default();
    // A doc comment's empty line may hold a space.
    let lines = paragraph
        .lines()
        .map(str::trim)
        .take_while(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join(" ")
}
