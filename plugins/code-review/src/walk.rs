//! Finds every function of a file: free ones, methods, trait methods, functions within functions.

use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, Block, Signature, Visibility};

/// A function in the syntax tree.
pub struct Found<'a> {
    /// Modules, type or trait, and its own name, with `::` between.
    pub name: String,
    /// The signature, with name, parameters and modifiers.
    pub signature: &'a Signature,
    /// Its body; a trait method may have none.
    pub body: Option<&'a Block>,
    /// Its attributes, docs among them.
    pub attributes: &'a [Attribute],
    /// Whether it is declared `pub` to everybody.
    pub public: bool,
    /// The name of the type whose impl block it is in.
    pub owner: Option<String>,
    /// Whether it is test code: `#[test]`, `#[cfg(test)]`, or within such a module.
    pub test: bool,
}

impl Found<'_> {
    /// From the first word of the signature to the closing brace, or the semicolon's place.
    pub fn lines(&self) -> (u32, u32) {
        let start = self.signature.span().start().line;
        let end = self
            .body
            .map_or(self.signature.span(), |body| body.brace_token.span.close())
            .end()
            .line;
        (start as u32, end as u32)
    }

    /// Where the signature is.
    pub fn span(&self) -> Span {
        self.signature.span()
    }
}

/// All functions of a file in the order of their signatures.
pub fn functions(file: &syn::File) -> Vec<Found<'_>> {
    let mut walk = Walk {
        found: Vec::new(),
        path: Vec::new(),
        owner: None,
        test: false,
    };
    walk.visit_file(file);
    walk.found
}

struct Walk<'a> {
    found: Vec<Found<'a>>,
    path: Vec<String>,
    owner: Option<String>,
    test: bool,
}

impl<'a> Walk<'a> {
    fn within(&mut self, name: String, test: bool, visit: impl FnOnce(&mut Self)) {
        let outer = self.test;
        self.test |= test;
        self.path.push(name);
        visit(self);
        self.path.pop();
        self.test = outer;
    }

    fn function(
        &mut self,
        attributes: &'a [Attribute],
        public: bool,
        signature: &'a Signature,
        body: Option<&'a Block>,
    ) {
        let own = signature.ident.to_string();
        let mut name = self.path.join("::");
        if !name.is_empty() {
            name.push_str("::");
        }
        name.push_str(&own);
        let test = self.test || is_test(attributes);
        self.found.push(Found {
            name,
            signature,
            body,
            attributes,
            public,
            owner: self.owner.clone(),
            test,
        });
        if let Some(body) = body {
            let owner = self.owner.take();
            self.within(own, test, |walk| visit::visit_block(walk, body));
            self.owner = owner;
        }
    }
}

impl<'a> Visit<'a> for Walk<'a> {
    fn visit_item_mod(&mut self, item: &'a syn::ItemMod) {
        self.within(item.ident.to_string(), is_test(&item.attrs), |walk| {
            visit::visit_item_mod(walk, item)
        });
    }

    fn visit_item_impl(&mut self, item: &'a syn::ItemImpl) {
        let name = type_name(&item.self_ty);
        let outer = self.owner.replace(name.clone());
        self.within(name, is_test(&item.attrs), |walk| {
            for inner in &item.items {
                if let syn::ImplItem::Fn(function) = inner {
                    // A method of a trait is as public as its trait, and documented there.
                    let public = item.trait_.is_none() && is_public(&function.vis);
                    walk.function(&function.attrs, public, &function.sig, Some(&function.block));
                }
            }
        });
        self.owner = outer;
    }

    fn visit_item_trait(&mut self, item: &'a syn::ItemTrait) {
        let public = is_public(&item.vis);
        self.within(item.ident.to_string(), is_test(&item.attrs), |walk| {
            for inner in &item.items {
                if let syn::TraitItem::Fn(function) = inner {
                    walk.function(&function.attrs, public, &function.sig, function.default.as_ref());
                }
            }
        });
    }

    fn visit_item_fn(&mut self, item: &'a syn::ItemFn) {
        self.function(&item.attrs, is_public(&item.vis), &item.sig, Some(&item.block));
    }
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

/// Whether an attribute is `#[test]`, one that ends in it (`#[tokio::test]`), or `#[cfg(test)]`.
fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let path = attribute.path();
        let last_is = |name: &str| path.segments.last().is_some_and(|segment| segment.ident == name);
        let cfg_test = || {
            attribute
                .parse_args::<syn::Path>()
                .is_ok_and(|inner| inner.is_ident("test"))
        };
        last_is("test") || (path.is_ident("cfg") && cfg_test())
    })
}

/// The last word of a type's path: `Vec` for `std::vec::Vec<u8>`.
fn type_name(ty: &syn::Type) -> String {
    match ty {
        syn::Type::Path(path) => path
            .path
            .segments
            .last()
            .map_or_else(|| "?".into(), |segment| segment.ident.to_string()),
        syn::Type::Reference(reference) => type_name(&reference.elem),
        _ => "?".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_found_wherever_they_are() {
        let text = "
            async fn free() { fn inner() {} }
            struct S;
            impl S { pub unsafe fn method(&self) {} }
            impl Clone for S { fn clone(&self) -> S { S } }
            pub trait T { fn declared(&self); fn given(&self) {} }
            mod m { impl<T> super::T for Vec<T> { fn declared(&self) {} } }
            #[cfg(test)] mod tests { #[test] fn checks() {} fn helper() {} }
        ";
        let file = syn::parse_file(text).expect("it is Rust");
        let found = functions(&file);
        let names: Vec<_> = found.iter().map(|f| f.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "free",
                "free::inner",
                "S::method",
                "S::clone",
                "T::declared",
                "T::given",
                "m::Vec::declared",
                "tests::checks",
                "tests::helper"
            ]
        );
        let tests: Vec<_> = found.iter().filter(|f| f.test).map(|f| f.name.as_str()).collect();
        assert_eq!(tests, ["tests::checks", "tests::helper"]);
        let public: Vec<_> = found
            .iter()
            .filter(|f| f.public)
            .map(|f| f.name.as_str())
            .collect();
        assert_eq!(public, ["S::method", "T::declared", "T::given"]);
        assert!(found[4].body.is_none());
    }
}
