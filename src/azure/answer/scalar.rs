//! JSON values of token responses, whose types differ from server to server.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use zeroize::Zeroizing;

/// More numbers than any error has, so that a list has a bound.
const MAX_CODES: usize = 16;

/// One value, of whatever JSON type it came as. Reading it never fails: it is
/// for the reader to say what cannot be used, in words that hold none of it.
#[derive(Default)]
pub(in crate::azure) enum Scalar {
    /// Missing or `null`.
    #[default]
    Absent,
    Number(f64),
    /// Wiped when dropped, since it may be a token.
    Text(Zeroizing<String>),
    /// A boolean, a list or an object.
    Other,
}

impl Scalar {
    /// The text, unless it is empty.
    pub(in crate::azure) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) if !text.is_empty() => Some(text),
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Scalar, E> {
        Ok(Scalar::Absent)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Scalar, E> {
        Ok(Scalar::Other)
    }

    fn visit_u64<E>(self, number: u64) -> Result<Scalar, E> {
        Ok(Scalar::Number(number as f64))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Scalar, E> {
        Ok(Scalar::Number(number as f64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Scalar, E> {
        Ok(Scalar::Number(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Scalar, E> {
        Ok(Scalar::Text(Zeroizing::new(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Scalar, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Scalar, A::Error> {
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }
}

/// The numbers of a list; anything else in it, or in its place, is passed over.
#[derive(Default)]
pub(super) struct Codes(pub(super) Vec<u32>);

impl<'de> Deserialize<'de> for Codes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CodesVisitor)
    }
}

struct CodesVisitor;

impl<'de> Visitor<'de> for CodesVisitor {
    type Value = Codes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Codes, E> {
        Ok(Codes::default())
    }

    fn visit_bool<E>(self, _: bool) -> Result<Codes, E> {
        Ok(Codes::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Codes, E> {
        Ok(Codes::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Codes, E> {
        Ok(Codes::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Codes, E> {
        Ok(Codes::default())
    }

    fn visit_str<E>(self, _: &str) -> Result<Codes, E> {
        Ok(Codes::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Codes, A::Error> {
        let mut codes = Vec::new();
        while let Some(element) = list.next_element::<Scalar>()? {
            if let Scalar::Number(number) = element {
                let in_range = (1.0..=f64::from(u32::MAX)).contains(&number);
                if codes.len() < MAX_CODES && in_range {
                    #[allow(
                        clippy::cast_possible_truncation,
                        clippy::cast_sign_loss,
                        reason = "the range has been checked, and codes are whole numbers"
                    )]
                    codes.push(number as u32);
                }
            }
        }
        Ok(Codes(codes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Codes, A::Error> {
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Codes::default())
    }
}
