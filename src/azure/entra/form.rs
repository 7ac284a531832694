//! `application/x-www-form-urlencoded` bodies that hold secrets.

use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use zeroize::Zeroizing;

/// All but the unreserved characters of RFC 3986 section 2.3.
pub(crate) const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Encodes `fields`. The bytes are wiped when the last clone is dropped.
pub(crate) fn encode(fields: &[(&str, &str)]) -> Bytes {
    // A vector that grows leaves its old bytes behind, so it may not grow.
    let longest = fields
        .iter()
        .map(|(name, value)| 3 * (name.len() + value.len()) + 2)
        .sum();
    let mut body = Zeroizing::new(Vec::with_capacity(longest));
    for (name, value) in fields {
        if !body.is_empty() {
            body.push(b'&');
        }
        push(&mut body, name);
        body.push(b'=');
        push(&mut body, value);
    }
    Bytes::from_owner(body)
}

/// Encodes one value, as [`encode`] does.
pub(crate) fn encode_value(value: &str) -> Zeroizing<String> {
    let mut encoded = Zeroizing::new(String::with_capacity(3 * value.len()));
    encoded.extend(utf8_percent_encode(value, RESERVED));
    encoded
}

fn push(body: &mut Vec<u8>, text: &str) {
    for part in utf8_percent_encode(text, RESERVED) {
        body.extend_from_slice(part.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reserved_is_encoded() {
        let body = encode(&[
            ("scope", "https://vault.azure.net//.default"),
            ("s", "a+b&c=d ~é%"),
        ]);
        assert_eq!(
            body,
            "scope=https%3A%2F%2Fvault.azure.net%2F%2F.default&s=a%2Bb%26c%3Dd%20~%C3%A9%25"
        );
    }
}
