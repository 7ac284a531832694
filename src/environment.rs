//! Environment variables, read through one door, so that tests need not set
//! those of the process.

use std::ffi::OsString;

use crate::{Error, ErrorKind};

/// Where settings are looked up. A variable that is set to nothing counts as
/// not set, as it does in Azure's own libraries.
pub(crate) struct Environment(Box<Lookup>);

type Lookup = dyn Fn(&str) -> Option<OsString>;

impl Environment {
    /// The variables of this process.
    pub(crate) fn of_process() -> Self {
        Self(Box::new(|name| std::env::var_os(name)))
    }

    #[cfg(test)]
    pub(crate) fn of(variables: &[(&str, &str)]) -> Self {
        let variables: std::collections::HashMap<String, OsString> = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), OsString::from(value)))
            .collect();
        Self(Box::new(move |name| variables.get(name).cloned()))
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
        let environment = Environment(Box::new(|_| Some(OsString::from_vec(vec![b'a', 0xff]))));
        let error = environment.text("HTTPS_PROXY").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
    }
}
