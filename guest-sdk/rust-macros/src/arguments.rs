//! What stands in the parentheses of `#[node(…)]`.

use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Error, Expr, ExprLit, Lit, LitStr, MetaNameValue, Result, Token};

const KNOWN: &str =
    "`connectors`, `name`, `version`, `summary`, `state_schema`, `update_schema` and `config_schema` are known";

/// The arguments of the attribute.
#[derive(Default)]
pub(crate) struct Arguments {
    pub(crate) connectors: Option<Vec<LitStr>>,
    pub(crate) name: Option<LitStr>,
    pub(crate) version: Option<LitStr>,
    pub(crate) summary: Option<LitStr>,
    pub(crate) state_schema: Option<Expr>,
    pub(crate) update_schema: Option<Expr>,
    pub(crate) config_schema: Option<Expr>,
}

impl Parse for Arguments {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut arguments = Self::default();
        for argument in Punctuated::<MetaNameValue, Token![,]>::parse_terminated(input)? {
            let name = argument.path.get_ident().map(ToString::to_string).unwrap_or_default();
            let fresh = match name.as_str() {
                "connectors" => put(&mut arguments.connectors, texts(&argument.value)?),
                "name" => put(&mut arguments.name, text(&argument.value)?),
                "version" => put(&mut arguments.version, text(&argument.value)?),
                "summary" => put(&mut arguments.summary, text(&argument.value)?),
                "state_schema" => put(&mut arguments.state_schema, argument.value),
                "update_schema" => put(&mut arguments.update_schema, argument.value),
                "config_schema" => put(&mut arguments.config_schema, argument.value),
                _ => return Err(Error::new_spanned(&argument.path, format!("unknown argument: {KNOWN}"))),
            };
            if !fresh {
                return Err(Error::new_spanned(&argument.path, format!("`{name}` is given twice")));
            }
        }
        Ok(arguments)
    }
}

/// Fills an empty slot; false when it was filled before.
fn put<T>(slot: &mut Option<T>, value: T) -> bool {
    slot.replace(value).is_none()
}

fn text(value: &Expr) -> Result<LitStr> {
    match value {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Ok(text.clone()),
        other => Err(Error::new_spanned(other, "a string literal is wanted here")),
    }
}

fn texts(value: &Expr) -> Result<Vec<LitStr>> {
    match value {
        Expr::Array(array) => array.elems.iter().map(text).collect(),
        other => Err(Error::new_spanned(other, "a list is wanted here, such as [\"payments\"]")),
    }
}
