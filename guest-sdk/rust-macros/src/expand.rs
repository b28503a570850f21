//! The code that `#[node]` writes.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{Attribute, Error, Expr, ExprLit, ItemFn, Lit, Meta, Result, ReturnType};

use crate::arguments::Arguments;

const SHAPE: &str = "a node has the form `fn name(state: T, cx: Cx) -> Result<Command>`";

/// The function itself, a type of the same name that implements `Node`, and on `wasm32` the exports of the component.
pub(crate) fn expand(attribute: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let arguments: Arguments = syn::parse2(attribute)?;
    let function: ItemFn = syn::parse2(item)?;
    check_shape(&function)?;

    let name = &function.sig.ident;
    let visibility = &function.vis;
    let description = description(&arguments, &function.attrs);
    Ok(quote! {
        #function

        // A braced struct lives among the types only, so that it can share the function's name.
        #[doc(hidden)]
        #[allow(non_camel_case_types, dead_code, missing_docs, missing_debug_implementations)]
        #visibility struct #name {}

        impl ::holdpoint_node::Node for #name {
            fn describe() -> ::holdpoint_node::Description {
                #description
            }

            fn execute(
                host: ::std::rc::Rc<dyn ::holdpoint_node::host::Host>,
                input: ::holdpoint_node::host::InputText,
            ) -> ::holdpoint_node::Result<::holdpoint_node::Command> {
                ::holdpoint_node::execute(#name, host, input)
            }
        }

        // Off wasm only tests call the node; it is no dead code all the same.
        #[cfg(not(target_arch = "wasm32"))]
        const _: () = {
            let _ = <#name as ::holdpoint_node::Node>::execute;
        };

        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code)]
        const _: () = {
            type Component = ::holdpoint_node::wasm::Component<#name>;
            ::holdpoint_node::export_component!(Component);
        };
    })
}

fn check_shape(function: &ItemFn) -> Result<()> {
    let signature = &function.sig;
    if let Some(asyncness) = &signature.asyncness {
        return Err(Error::new_spanned(asyncness, "a node is not async: waiting is what the host does for it"));
    }
    if !signature.generics.params.is_empty() {
        return Err(Error::new_spanned(&signature.generics, format!("a node is not generic: {SHAPE}")));
    }
    if let Some(receiver) = signature.receiver() {
        return Err(Error::new_spanned(receiver, format!("a node is no method: {SHAPE}")));
    }
    if signature.inputs.len() != 2 {
        return Err(Error::new_spanned(signature, format!("two parameters are wanted: {SHAPE}")));
    }
    if matches!(signature.output, ReturnType::Default) {
        return Err(Error::new_spanned(signature, format!("a result is wanted: {SHAPE}")));
    }
    Ok(())
}

fn description(arguments: &Arguments, attributes: &[Attribute]) -> TokenStream {
    let name = or_else(arguments.name.as_ref(), || quote!(::core::env!("CARGO_PKG_NAME")));
    let version = or_else(arguments.version.as_ref(), || quote!(::core::env!("CARGO_PKG_VERSION")));
    let summary = or_else(arguments.summary.as_ref(), || match summary(attributes) {
        Some(summary) => summary.into_token_stream(),
        None => quote!(::core::env!("CARGO_PKG_DESCRIPTION")),
    });
    let state_schema = optional(arguments.state_schema.as_ref());
    let update_schema = optional(arguments.update_schema.as_ref());
    let config_schema = optional(arguments.config_schema.as_ref());
    let connectors = arguments.connectors.iter().flatten();
    quote! {
        ::holdpoint_node::Description {
            name: #name,
            version: #version,
            summary: #summary,
            state_schema: #state_schema,
            update_schema: #update_schema,
            config_schema: #config_schema,
            connectors: &[#(#connectors),*],
        }
    }
}

fn or_else(given: Option<&impl ToTokens>, default: impl FnOnce() -> TokenStream) -> TokenStream {
    given.map_or_else(default, ToTokens::to_token_stream)
}

fn optional(given: Option<&Expr>) -> TokenStream {
    match given {
        Some(value) => quote!(::core::option::Option::Some(#value)),
        None => quote!(::core::option::Option::None),
    }
}

/// The first paragraph of the documentation, as one line.
fn summary(attributes: &[Attribute]) -> Option<String> {
    let lines: Vec<String> = attributes
        .iter()
        .filter_map(documentation)
        .flat_map(|text| text.split('\n').map(|line| line.trim().to_owned()).collect::<Vec<_>>())
        .collect();
    let paragraph: Vec<String> =
        lines.into_iter().skip_while(String::is_empty).take_while(|line| !line.is_empty()).collect();
    (!paragraph.is_empty()).then(|| paragraph.join(" "))
}

fn documentation(attribute: &Attribute) -> Option<String> {
    match &attribute.meta {
        Meta::NameValue(meta) if meta.path.is_ident("doc") => match &meta.value {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value()),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(attribute: TokenStream, item: TokenStream, expected: &str) {
        let error = expand(attribute, item).expect_err(expected);
        assert!(error.to_string().contains(expected), "{error}");
    }

    #[test]
    fn another_shape_is_an_error() {
        let none = TokenStream::new;
        check(
            none(),
            quote!(
                async fn f(s: S, cx: Cx) -> Result<Command> {}
            ),
            "not async",
        );
        check(
            none(),
            quote!(
                fn f<T>(s: T, cx: Cx) -> Result<Command> {}
            ),
            "not generic",
        );
        check(
            none(),
            quote!(
                fn f(&self, cx: Cx) -> Result<Command> {}
            ),
            "no method",
        );
        check(
            none(),
            quote!(
                fn f(s: S) -> Result<Command> {}
            ),
            "two parameters",
        );
        check(
            none(),
            quote!(
                fn f(s: S, cx: Cx) {}
            ),
            "a result is wanted",
        );
        check(
            none(),
            quote!(
                struct F;
            ),
            "expected",
        );
    }

    #[test]
    fn wrong_arguments_are_errors() {
        let item = || {
            quote!(
                fn f(s: S, cx: Cx) -> Result<Command> {}
            )
        };
        check(quote!(conectors = ["a"]), item(), "unknown argument: `connectors`");
        check(quote!(connectors = "a"), item(), "a list is wanted");
        check(quote!(connectors = [a]), item(), "a string literal is wanted");
        check(quote!(name = 7), item(), "a string literal is wanted");
        check(quote!(name = "a", name = "b"), item(), "`name` is given twice");
    }

    #[test]
    fn the_function_stays_as_it_was() {
        let item = quote! {
            /// Pays.
            pub fn pay(Order { id, .. }: Order, cx: Cx) -> Result<Command> { go(id, cx) }
        };
        let code = expand(quote!(connectors = ["payments"]), item.clone()).expect("it has the shape").to_string();
        assert!(code.starts_with(&item.to_string()), "{code}");
        assert!(code.contains("pub struct pay { }"), "{code}");
        assert!(code.contains("connectors : & [\"payments\"]"), "{code}");
        assert!(code.contains("summary : \"Pays.\""), "{code}");
    }

    #[test]
    fn the_summary_is_the_first_paragraph() {
        let item: ItemFn = syn::parse_quote! {
            /// Asks the owner
            /// of the account.
            ///
            /// Then waits.
            #[inline]
            fn f() {}
        };
        assert_eq!(summary(&item.attrs).as_deref(), Some("Asks the owner of the account."));
        assert_eq!(summary(&[]), None);
    }
}
