//! The parts of a function's signature that its attribute needs.

use syn::{FnArg, GenericArgument, ItemFn, PathArguments, PathSegment, ReturnType, Type, parse_quote};

use crate::Kind;

pub(crate) struct Signature {
    /// The type of the state or the input, if the function takes it.
    pub(crate) input: Option<Type>,
    /// The type of the config inside of the call, if the function takes a call, and one with a config.
    pub(crate) call: Option<Option<Type>>,
    /// The type of its result.
    pub(crate) answer: Type,
    /// Whether it returns a `Result`.
    pub(crate) fallible: bool,
}

impl Signature {
    pub(crate) fn of(kind: Kind, item: &ItemFn) -> syn::Result<Self> {
        let signature = &item.sig;
        if let Some(token) = &signature.asyncness {
            return Err(syn::Error::new_spanned(
                token,
                "a plugin's function cannot be async: the engine awaits its call",
            ));
        }
        if !signature.generics.params.is_empty() {
            return Err(syn::Error::new_spanned(
                &signature.generics,
                "a plugin's function cannot be generic",
            ));
        }
        let (input, call) = parameters(kind, item)?;
        let (answer, fallible) = answer(&signature.output)?;
        Ok(Self {
            input,
            call,
            answer,
            fallible,
        })
    }
}

fn parameters(kind: Kind, item: &ItemFn) -> syn::Result<(Option<Type>, Option<Option<Type>>)> {
    let (mut input, mut call) = (None, None);
    for parameter in &item.sig.inputs {
        let FnArg::Typed(parameter) = parameter else {
            return Err(syn::Error::new_spanned(
                parameter,
                "a plugin's function is not a method",
            ));
        };
        let called = last_segment(&parameter.ty).filter(|last| last.ident == "Call");
        match called {
            Some(last) if kind == Kind::Node && call.is_none() => call = Some(first_argument(last)),
            None if input.is_none() && call.is_none() => input = Some((*parameter.ty).clone()),
            _ => {
                let message = match kind {
                    Kind::Node => "a node function takes the state, then a `Call`, and nothing else",
                    Kind::Tool => "a tool takes its input and nothing else",
                };
                return Err(syn::Error::new_spanned(parameter, message));
            }
        }
    }
    Ok((input, call))
}

fn answer(output: &ReturnType) -> syn::Result<(Type, bool)> {
    let ReturnType::Type(_, ty) = output else {
        return Ok((parse_quote!(()), false));
    };
    match last_segment(ty).filter(|last| last.ident == "Result") {
        Some(last) => match first_argument(last) {
            Some(answer) => Ok((answer, true)),
            None => Err(syn::Error::new_spanned(
                ty,
                "write the type of the function's result: `Result<…>`",
            )),
        },
        None => Ok(((**ty).clone(), false)),
    }
}

fn last_segment(ty: &Type) -> Option<&PathSegment> {
    match ty {
        Type::Path(path) => path.path.segments.last(),
        _ => None,
    }
}

fn first_argument(segment: &PathSegment) -> Option<Type> {
    match &segment.arguments {
        PathArguments::AngleBracketed(arguments) => {
            arguments.args.iter().find_map(|argument| match argument {
                GenericArgument::Type(ty) => Some(ty.clone()),
                _ => None,
            })
        }
        _ => None,
    }
}
