//! Azure Cloud Shell.

use std::io;

use http::{Method, StatusCode};
use serde_json::json;

use super::directory::Holder;
use super::imds::reuse_or_issue;
use super::record::{Endpoint, RecordedRequest};
use super::state::State;
use super::token_endpoint::{Fault, Outcome, serve, wanted_resource};
use super::wire::{Answer, Call, json};

pub(super) const PATH: &str = "/oauth2/token";

pub(super) async fn respond(state: &State, call: Call) -> Result<Answer, io::Error> {
    state
        .record
        .add(RecordedRequest::new(Endpoint::CloudShell, &call));
    serve(state, || token(state, &call)).await
}

fn token(state: &State, call: &Call) -> Outcome {
    if call.header("metadata") != Some("true") {
        return Ok(Err(refused(
            StatusCode::BAD_REQUEST,
            "BadRequest",
            "Required metadata header not specified.",
        )));
    }
    let resource = match wanted_resource(call, &Method::POST, &call.form(), &[]) {
        Ok(resource) => resource,
        Err(fault) => {
            let (status, code) = match fault {
                Fault::Method => (StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
                Fault::UnknownResource(_) => (StatusCode::BAD_REQUEST, "AudienceNotSupported"),
                _ => (StatusCode::BAD_REQUEST, "BadRequest"),
            };
            return Ok(Err(refused(status, code, &fault.text())));
        }
    };
    let issued = reuse_or_issue(state, &resource, Holder::Person, false)?;
    Ok(Ok(json!({
        "access_token": issued.token,
        "refresh_token": "",
        "expires_in": issued.expires_on.saturating_sub(state.now()).to_string(),
        "expires_on": issued.expires_on.to_string(),
        "not_before": issued.not_before.to_string(),
        "resource": resource,
        "token_type": "Bearer",
    })))
}

fn refused(status: StatusCode, code: &str, message: &str) -> Answer {
    json(
        status,
        &json!({ "error": { "code": code, "message": message } }),
    )
}
