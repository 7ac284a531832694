//! The `error` of an answer, in either of its two forms.

use serde::Deserialize;

use super::scalar::Scalar;

/// A code (RFC 6749 section 5.2), or an object with a code and what belongs to
/// it, as Service Fabric, Cloud Shell and Azure Functions answer.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Complaint {
    Nested(Nested),
    Flat(Scalar),
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Nested {
    code: Scalar,
    message: Scalar,
    #[serde(rename = "correlationId")]
    correlation_id: Scalar,
}

impl Default for Complaint {
    fn default() -> Self {
        Self::Flat(Scalar::Absent)
    }
}

impl Complaint {
    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Flat(Scalar::Absent))
    }

    pub(super) fn code(&self) -> &Scalar {
        match self {
            Self::Nested(nested) => &nested.code,
            Self::Flat(code) => code,
        }
    }

    pub(super) fn message(&self) -> &Scalar {
        match self {
            Self::Nested(nested) => &nested.message,
            Self::Flat(_) => &Scalar::Absent,
        }
    }

    pub(super) fn correlation_id(&self) -> &Scalar {
        match self {
            Self::Nested(nested) => &nested.correlation_id,
            Self::Flat(_) => &Scalar::Absent,
        }
    }
}
