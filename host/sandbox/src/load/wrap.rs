//! Core modules as components.

use std::borrow::Cow;

use wit_component::ComponentEncoder;

use crate::error::Error;
use crate::load::shape::{Kind, Shape};

/// Wraps a core module that was built with wit-bindgen as a component. Bytes that are a component already come back as they are.
///
/// The same module always gives the same component.
///
/// # Errors
/// [`Error::NotWasm`], [`Error::ForeignImports`] with everything that a node does not get, [`Error::NotWrappable`].
pub fn componentize(bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let shape = Shape::read(bytes)?;
    shape.check_imports()?;
    Ok(as_component(bytes, &shape)?.into_owned())
}

pub(crate) fn as_component<'a>(bytes: &'a [u8], shape: &Shape) -> Result<Cow<'a, [u8]>, Error> {
    if shape.kind == Kind::Component {
        return Ok(Cow::Borrowed(bytes));
    }
    if !shape.has_component_type {
        return Err(Error::NotWrappable("it does not say which world it was built for".to_owned()));
    }
    ComponentEncoder::default()
        .module(bytes)
        .and_then(|encoder| encoder.validate(true).encode())
        .map(Cow::Owned)
        .map_err(|error| Error::NotWrappable(format!("{error:#}")))
}
