//! The attributes of `heddle-plugin`: `#[node]` and `#[tool]`.
//!
//! The function itself is not changed, so it can be called and tested. The attribute adds a
//! constant that registers it, with functions that turn JSON into its arguments and its result into
//! JSON, and the custom section by which the host knows the plugin's name and version. The types of
//! the signature are used without inspection, with two exceptions: a parameter whose type is written `Call`
//! is the call, and a return type that is written `Result` may be an error.

mod options;
mod signature;

use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;
use quote::{format_ident, quote};
use syn::{ItemFn, parse_macro_input};

use options::Options;
use signature::Signature;

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Node,
    Tool,
}

/// Makes a function a node function: state in, an update or an outcome out.
///
/// Its parameters are the keys of the state that it reads (a type with `Deserialize` and `JsonSchema`) and,
/// optionally, a `Call` or `Call<Config>`; either may be left out. It returns an update (a type with
/// `Serialize` and `JsonSchema`, an object in JSON), an `Outcome` of one, or a `Result` of either.
///
/// Options: `name = "…"` in place of the function's own name, `routes("a", "end")` for every node
/// that it may go to, `read_only`, `idempotent`. The doc comment's first paragraph is the summary.
#[proc_macro_attribute]
pub fn node(options: TokenStream, item: TokenStream) -> TokenStream {
    let options = parse_macro_input!(options as Options);
    expand(Kind::Node, options, parse_macro_input!(item as ItemFn)).into()
}

/// Makes a function a tool: one value in, one value out.
///
/// It takes a type with `Deserialize` and `JsonSchema`, or nothing, and returns a type with `Serialize` and
/// `JsonSchema`, or a `Result` of one.
///
/// Options: `name = "…"`, `read_only`, `idempotent`. The doc comment's first paragraph is the summary.
#[proc_macro_attribute]
pub fn tool(options: TokenStream, item: TokenStream) -> TokenStream {
    let options = parse_macro_input!(options as Options);
    expand(Kind::Tool, options, parse_macro_input!(item as ItemFn)).into()
}

fn expand(kind: Kind, options: Options, item: ItemFn) -> Tokens {
    let registered = options
        .check(kind)
        .and_then(|()| Signature::of(kind, &item))
        .and_then(|signature| register(kind, &options, &signature, &item))
        .unwrap_or_else(|error| error.to_compile_error());
    quote! { #item #registered }
}

fn register(kind: Kind, options: &Options, signature: &Signature, item: &ItemFn) -> syn::Result<Tokens> {
    let name = options.name_of(&item.sig.ident)?;
    let summary = options::summary(&item.attrs);
    let Options {
        read_only,
        idempotent,
        routes,
        ..
    } = options;
    let input = match &signature.input {
        Some(ty) => quote!(__heddle::schema_of_input::<#ty>),
        None => quote!(__heddle::any_object),
    };
    let config = match &signature.call {
        Some(Some(config)) => quote!(::core::option::Option::Some(__heddle::schema_of_input::<#config>)),
        _ => quote!(::core::option::Option::None),
    };
    let answer = &signature.answer;
    let (output, variant) = match kind {
        Kind::Node => (quote!(__heddle::schema_of_update::<#answer>), quote!(Node)),
        Kind::Tool => (quote!(__heddle::schema_of_output::<#answer>), quote!(Tool)),
    };
    let body = body(kind, &name, signature, item);
    Ok(quote! {
        const _: () = {
            use ::heddle_plugin::__private as __heddle;

            #body

            __heddle::inventory::submit! {
                __heddle::Function {
                    plugin: ::core::env!("CARGO_PKG_NAME"),
                    name: #name,
                    summary: #summary,
                    read_only: #read_only,
                    idempotent: #idempotent,
                    routes: &[#(#routes),*],
                    input: #input,
                    output: #output,
                    config: #config,
                    body: __heddle::Body::#variant(__body),
                }
            }

            // Each function has one, for there may be but one; the host reads up to the first newline.
            #[cfg(target_arch = "wasm32")]
            const __SECTION: &str =
                ::core::concat!(::core::env!("CARGO_PKG_NAME"), "@", ::core::env!("CARGO_PKG_VERSION"), "\n");
            #[cfg(target_arch = "wasm32")]
            #[used]
            #[unsafe(link_section = "heddle-plugin")]
            static __NAME: [u8; __SECTION.len()] = __heddle::section(__SECTION);
        };
    })
}

/// The function from JSON to JSON.
fn body(kind: Kind, name: &str, signature: &Signature, item: &ItemFn) -> Tokens {
    let function = &item.sig.ident;
    let (what, text) = match kind {
        Kind::Node => ("state", quote!(__invocation.state)),
        Kind::Tool => ("input", quote!(__input)),
    };
    let mut arguments = Vec::new();
    let mut read = Tokens::new();
    if let Some(ty) = &signature.input {
        let input = format_ident!("__value");
        read.extend(quote!(let #input: #ty = __heddle::read(#name, #what, #text)?;));
        arguments.push(input);
    }
    if let Some(config) = &signature.call {
        let call = format_ident!("__call");
        read.extend(match config {
            Some(ty) => quote! {
                let #call = __heddle::Invocation::call::<#ty>(#name, __invocation.call, __invocation.config)?;
            },
            None => quote!(let #call = __invocation.call;),
        });
        arguments.push(call);
    }
    let answer = match signature.fallible {
        true => quote!(#function(#(#arguments),*)?),
        false => quote!(#function(#(#arguments),*)),
    };
    match kind {
        Kind::Node => quote! {
            fn __body(__invocation: __heddle::Invocation) -> ::heddle_plugin::Result<__heddle::Written> {
                #read
                __heddle::answer_node(#name, #answer)
            }
        },
        Kind::Tool => quote! {
            #[allow(unused_variables)]
            fn __body(__input: ::std::string::String) -> ::heddle_plugin::Result<::std::string::String> {
                #read
                __heddle::answer_tool(#name, #answer)
            }
        },
    }
}
