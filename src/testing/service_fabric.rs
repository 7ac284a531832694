//! The token service of a Service Fabric cluster.

use std::io;

use http::{Method, StatusCode};
use serde_json::json;

use super::directory::Holder;
use super::imds::reuse_or_issue;
use super::record::{Endpoint, RecordedRequest};
use super::state::State;
use super::token_endpoint::{Fault, Outcome, serve, wanted};
use super::wire::{Answer, Call, json};

pub(super) const PATH: &str = "/metadata/identity/oauth2/token";
pub(super) const API_VERSION: &str = "2019-07-01-preview";

pub(super) struct ServiceFabric {
    pub(super) port: u16,
    /// SHA-1 of its certificate, in hexadecimal digits.
    pub(super) thumbprint: String,
    pub(super) identity_header: String,
}

pub(super) async fn respond(state: &State, call: Call) -> Result<Answer, io::Error> {
    state
        .record
        .add(RecordedRequest::new(Endpoint::ServiceFabric, &call));
    serve(state, || token(state, &call)).await
}

fn token(state: &State, call: &Call) -> Outcome {
    let refused = |status, code, message: &str| Ok(Err(refused(state, status, code, message)));
    if call.path != PATH {
        return refused(StatusCode::NOT_FOUND, "NotFound", "There is nothing here.");
    }
    match call.header("secret") {
        None => {
            return refused(
                StatusCode::BAD_REQUEST,
                "SecretHeaderNotFound",
                "Secret is not found in the request headers.",
            );
        }
        Some(secret) if secret != state.service_fabric.identity_header => {
            return refused(
                StatusCode::NOT_FOUND,
                "ManagedIdentityNotFound",
                "Managed identity not found for the specified application host.",
            );
        }
        Some(_) => {}
    }
    let version = call.query.get("api-version").unwrap_or_default();
    if version != API_VERSION {
        return refused(
            StatusCode::BAD_REQUEST,
            "InvalidApiVersion",
            &format!(
                "The api-version '{version}' is not supported. Supported version is '{API_VERSION}'."
            ),
        );
    }
    let fresh = call.query.get("token_sha256_to_refresh");
    let is_digest = |text: &str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    if fresh.is_some_and(|digest| !is_digest(digest)) {
        return refused(
            StatusCode::BAD_REQUEST,
            "InvalidParameter",
            "The parameter 'token_sha256_to_refresh' is no SHA-256.",
        );
    }
    let names: [&[&str]; 3] = [&[], &["principalId"], &[]];
    let also = ["api-version", "token_sha256_to_refresh", "xms_cc"];
    let asked = wanted(state, call, &Method::GET, &call.query, names, &also);
    let (resource, identity) = match asked {
        Ok(asked) => asked,
        Err(fault) => {
            let (status, code) = match fault {
                Fault::Method => (StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
                Fault::NoIdentity => (StatusCode::NOT_FOUND, "ManagedIdentityNotFound"),
                Fault::NoResource => (StatusCode::BAD_REQUEST, "ArgumentNullOrEmpty"),
                _ => (StatusCode::BAD_REQUEST, "InvalidParameter"),
            };
            return refused(status, code, &fault.text());
        }
    };
    let issued = reuse_or_issue(
        state,
        &resource,
        Holder::Identity(&identity),
        fresh.is_some(),
    )?;
    Ok(Ok(json!({
        "access_token": issued.token,
        "expires_on": issued.expires_on,
        "resource": resource,
        "token_type": "Bearer",
    })))
}

fn refused(state: &State, status: StatusCode, code: &str, message: &str) -> Answer {
    json(
        status,
        &json!({ "error": {
            "correlationId": state.random_uuid(),
            "code": code,
            "message": message,
        } }),
    )
}
