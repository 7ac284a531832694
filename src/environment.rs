//! Environment variables, read through one door, so that tests need not set
//! those of the process.

use std::ffi::OsString;
use std::fmt;
use std::sync::Arc;

use crate::{Error, ErrorKind};

/// Where settings are looked up. A variable that is set to nothing counts as
/// not set, as it does in Azure's own libraries.
#[derive(Clone)]
pub(crate) struct Environment(Arc<Lookup>);

type Lookup = dyn Fn(&str) -> Option<OsString> + Send + Sync;

impl Environment {
    /// The variables of this process.
    pub(crate) fn of_process() -> Self {
        Self(Arc::new(|name| std::env::var_os(name)))
    }

    /// These variables and no others.
    #[cfg(any(test, feature = "test-util"))]
    pub(crate) fn of_variables(variables: impl Iterator<Item = (String, OsString)>) -> Self {
        let variables: std::collections::HashMap<_, _> = variables.collect();
        Self(Arc::new(move |name| variables.get(name).cloned()))
    }

    #[cfg(test)]
    pub(crate) fn of(variables: &[(&str, &str)]) -> Self {
        Self::of_variables(
            variables
                .iter()
                .map(|(name, value)| ((*name).to_owned(), OsString::from(value))),
        )
    }

    /// A value that need not be Unicode, such as a path.
    pub(crate) fn raw(&self, name: &str) -> Option<OsString> {
        (self.0)(name).filter(|value| !value.is_empty())
    }

    /// Whether a variable is set, but to nothing.
    pub(crate) fn is_set_to_nothing(&self, name: &str) -> bool {
        (self.0)(name).is_some_and(|value| value.is_empty())
    }

    /// A value that is text.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`] when it is not Unicode. To pass it over
    /// could send a secret where it was not meant to go.
    pub(crate) fn text(&self, name: &str) -> Result<Option<String>, Error> {
        self.raw(name)
            .map(OsString::into_string)
            .transpose()
            .map_err(|_| {
                Error::new(ErrorKind::Configuration, format!("{name} is not Unicode"))
                    .with_advice("set it to text, or unset it")
            })
    }

    /// The first of `names` that is set, and its value.
    pub(crate) fn first(
        &self,
        names: &[&'static str],
    ) -> Result<Option<(&'static str, String)>, Error> {
        for name in names {
            if let Some(value) = self.text(name)? {
                return Ok(Some((name, value)));
            }
        }
        Ok(None)
    }
}

/// Says nothing of what is set: values may be secret.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_counts_as_not_set() {
        let environment = Environment::of(&[("A", ""), ("B", "b")]);
        assert_eq!(environment.text("A").unwrap(), None);
        let first = environment.first(&["A", "B"]).unwrap();
        assert_eq!(first, Some(("B", "b".to_owned())));
        assert!(environment.is_set_to_nothing("A") && !environment.is_set_to_nothing("C"));
    }

    #[cfg(unix)]
    #[test]
    fn what_is_not_unicode_is_an_error_and_not_passed_over() {
        use std::os::unix::ffi::OsStringExt as _;
        let environment = Environment(Arc::new(|_| Some(OsString::from_vec(vec![b'a', 0xff]))));
        let error = environment.text("HTTPS_PROXY").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
    }
}
