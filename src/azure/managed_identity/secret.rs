//! What a host gives to its processes and wants to see again.

use std::fmt;

use http::HeaderValue;
use zeroize::Zeroizing;

use crate::environment::Environment;
use crate::{Error, ErrorKind};

/// A secret that goes into a header of each request, to the endpoint that came
/// with it and nowhere else.
pub(super) struct Secret {
    text: Zeroizing<String>,
    variable: &'static str,
}

impl Secret {
    /// The one in `variable`, if that is set.
    pub(super) fn read(
        environment: &Environment,
        variable: &'static str,
    ) -> Result<Option<Self>, Error> {
        let Some(text) = environment.text(variable)?.map(Zeroizing::new) else {
            return Ok(None);
        };
        let secret = Self { text, variable };
        secret.header().map(|_| Some(secret))
    }

    pub(super) fn header(&self) -> Result<HeaderValue, Error> {
        let mut value = HeaderValue::from_str(&self.text).map_err(|_| {
            Error::new(
                ErrorKind::Configuration,
                format!("{} has characters that no header can carry", self.variable),
            )
            .with_advice("leave the variable as the host has set it")
        })?;
        value.set_sensitive(true);
        Ok(value)
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}
