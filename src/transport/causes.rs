//! What lies behind an error.

use std::error::Error as StdError;
use std::io;

/// Longer chains are cut: a chain may come from anybody's code.
const MAX_DEPTH: usize = 16;

/// `error` and what caused it, outermost first.
///
/// The standard library hides the error inside an [`io::Error`]: `source` gives
/// the source of that one. Here none is left out.
pub(super) fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| behind(*error)).take(MAX_DEPTH)
}

/// The innermost cause, which is the one that says something to people.
pub(super) fn root_cause(error: &(dyn StdError + 'static)) -> String {
    let text = causes(error)
        .last()
        .map_or_else(String::new, ToString::to_string);
    crate::error::printable(&text)
}

fn behind<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref)
    {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}
