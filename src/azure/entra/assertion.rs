//! Proof by a signed token instead of a secret (RFC 7523 section 2.2).

/// The fields of a token request that hold `assertion`.
pub(super) fn proof(assertion: &str) -> [(&'static str, &str); 2] {
    [
        (
            "client_assertion_type",
            "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        ),
        ("client_assertion", assertion),
    ]
}
