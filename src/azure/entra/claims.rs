//! Claims that are asked for, and what this client says it can do.

use serde_json::{Map, Value, json};

use crate::{Claims, Error, ErrorKind};

/// The `claims` parameter: what is asked for, and that this client understands
/// claims challenges (`CP1`), without which Entra heeds none.
pub(super) fn with_capability(asked: Option<&Claims>) -> Result<String, Error> {
    let mut claims: Map<String, Value> = match asked {
        Some(claims) => serde_json::from_str(claims.as_json()).map_err(|_| no_claims())?,
        None => Map::new(),
    };
    let for_access_token = claims.entry("access_token").or_insert_with(|| json!({}));
    if for_access_token.is_null() {
        *for_access_token = json!({});
    }
    let Value::Object(for_access_token) = for_access_token else {
        return Err(no_claims());
    };
    for_access_token.insert("xms_cc".to_owned(), json!({ "values": ["CP1"] }));
    Ok(Value::Object(claims).to_string())
}

fn no_claims() -> Error {
    Error::new(
        ErrorKind::Configuration,
        "the claims that are asked for are not as OpenID Connect has them",
    )
    .with_advice("give them as {\"access_token\":{…}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(asked: &str) -> Result<Value, Error> {
        let claims = Claims::from_json(asked)?;
        Ok(serde_json::from_str(&with_capability(Some(&claims))?).unwrap())
    }

    #[test]
    fn the_capability_is_added_and_nothing_is_lost() {
        assert_eq!(
            with_capability(None).unwrap(),
            r#"{"access_token":{"xms_cc":{"values":["CP1"]}}}"#
        );
        assert_eq!(
            merged(
                r#"{"access_token":{"nbf":{"essential":true,"value":"1"}},"id_token":{"a":null}}"#
            )
            .unwrap(),
            json!({
                "access_token": {
                    "nbf": {"essential": true, "value": "1"},
                    "xms_cc": {"values": ["CP1"]},
                },
                "id_token": {"a": null},
            })
        );
        assert!(merged(r#"{"access_token":null}"#).is_ok());
        assert!(merged(r#"{"access_token":[]}"#).is_err());
    }
}
