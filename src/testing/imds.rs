//! The instance metadata service of a virtual machine.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use http::{Method, StatusCode};
use serde_json::json;

use super::directory::{Holder, ManagedIdentity, Wanted};
use super::record::{Endpoint, RecordedRequest};
use super::state::State;
use super::switches::{Switches, lock};
use super::token_endpoint::{Outcome, serve};
use super::tokens::{Grant, Issued};
use super::wire::{Answer, Call, Parameters, json};
use crate::BoxError;

pub(super) const TOKEN_PATH: &str = "/metadata/identity/oauth2/token";

/// Managed identities get tokens for a day.
const LIFETIME: u64 = 86_400;
const KEPT_TOKENS: usize = 1_000;

pub(super) struct Imds {
    pub(super) probe_switches: Arc<Switches>,
    pub(super) reuses_tokens: AtomicBool,
    pub(super) keeps_revoked_tokens: AtomicBool,
    /// By the object id of who holds it, and resource.
    issued: Mutex<HashMap<(String, String), Issued>>,
}

impl Default for Imds {
    fn default() -> Self {
        Self {
            probe_switches: Arc::default(),
            reuses_tokens: AtomicBool::new(true),
            keeps_revoked_tokens: AtomicBool::new(false),
            issued: Mutex::default(),
        }
    }
}

/// Why a request is refused: status, `error`, `error_description`.
type Refusal = (StatusCode, &'static str, String);

pub(super) async fn respond(state: &State, call: Call) -> Result<Answer, io::Error> {
    state
        .record
        .add(RecordedRequest::new(Endpoint::Imds, &call));
    if call.header("metadata") != Some("true") {
        state.record.add_probe();
        let _in_flight = state.imds.probe_switches.arrive();
        if let Some(failure) = state.imds.probe_switches.admit().await {
            return failure.play().await;
        }
        return Ok(refused(bad_request(
            "bad_request_102",
            "Required metadata header not specified",
        )));
    }
    if call.path == "/metadata/instance" {
        let instance = json!({ "compute": {
            "azEnvironment": "AzurePublicCloud", "location": "embedded", "name": "embedded",
        } });
        return Ok(json(StatusCode::OK, &instance));
    }
    if call.path != TOKEN_PATH {
        return Ok(refused((
            StatusCode::UNAUTHORIZED,
            "unknown_source",
            format!("Unknown Source {}", call.path),
        )));
    }
    serve(state, || token(state, &call)).await
}

fn refused((status, error, description): Refusal) -> Answer {
    json(
        status,
        &json!({ "error": error, "error_description": description }),
    )
}

fn bad_request(error: &'static str, description: impl Into<String>) -> Refusal {
    (StatusCode::BAD_REQUEST, error, description.into())
}

fn token(state: &State, call: &Call) -> Outcome {
    let (resource, identity) = match understand(state, call) {
        Ok(understood) => understood,
        Err(refusal) => return Ok(Err(refused(refusal))),
    };
    let issued = reuse_or_issue(state, &resource, Holder::Identity(&identity), false)?;
    let expires_in = issued.expires_on.saturating_sub(state.now()).to_string();
    // Every value is a string here, other than at Entra.
    Ok(Ok(json!({
        "access_token": issued.token,
        "refresh_token": "",
        "client_id": identity.client_id(),
        "expires_in": expires_in,
        "expires_on": issued.expires_on.to_string(),
        "ext_expires_in": expires_in,
        "not_before": issued.not_before.to_string(),
        "resource": resource,
        "token_type": "Bearer",
    })))
}

fn understand(state: &State, call: &Call) -> Result<(String, ManagedIdentity), Refusal> {
    if call.method != Method::GET {
        return Err((
            StatusCode::METHOD_NOT_ALLOWED,
            "invalid_request",
            "The HTTP method is not allowed".to_owned(),
        ));
    }
    if call.headers.contains_key("x-forwarded-for") {
        return Err(bad_request(
            "invalid_request",
            "Requests with an X-Forwarded-For header are not served",
        ));
    }
    if let Some(name) = call.query.duplicate() {
        return Err(bad_request(
            "invalid_request",
            format!("Query variable '{name}' occurs more than once"),
        ));
    }
    match call.query.filled("api-version") {
        None => {
            return Err(bad_request(
                "invalid_request",
                "Required query variable 'api-version' is missing",
            ));
        }
        Some(version) if !is_date(version) => {
            return Err(bad_request(
                "invalid_request",
                format!("api-version '{version}' is not supported"),
            ));
        }
        Some(_) => {}
    }
    let Some(resource) = call.query.filled("resource") else {
        return Err(bad_request(
            "invalid_request",
            "Required query variable 'resource' is missing",
        ));
    };
    if !is_resource(resource) {
        return Err(bad_request(
            "invalid_resource",
            format!(
                "AADSTS50001: The application named {resource} was not found in the tenant named {}.",
                state.tenant
            ),
        ));
    }
    let wanted = wanted_identity(&call.query)?;
    let directory = lock(&state.directory);
    match directory.identity(wanted) {
        Some(identity) => Ok((resource.to_owned(), identity.clone())),
        None => Err(bad_request("invalid_request", "Identity not found")),
    }
}

fn wanted_identity(query: &Parameters) -> Result<Wanted<'_>, Refusal> {
    // IMDS ignores the name that App Service has for this, and answers with
    // a token of another identity than the one that was meant.
    if query.get("mi_res_id").is_some() {
        return Err(bad_request(
            "invalid_request",
            "mi_res_id is App Service's name for it, IMDS wants msi_res_id",
        ));
    }
    let ids = ["client_id", "object_id", "msi_res_id"].map(|name| query.get(name));
    match ids {
        [None, None, None] => Ok(Wanted::Default),
        [Some(id), None, None] => Ok(Wanted::ClientId(id)),
        [None, Some(id), None] => Ok(Wanted::ObjectId(id)),
        [None, None, Some(id)] => Ok(Wanted::ResourceId(id)),
        _ => Err(bad_request(
            "invalid_request",
            "Only one of client_id, object_id and msi_res_id may be given",
        )),
    }
}

/// The token that was issued before, as long as it serves, unless one is
/// wanted that is `fresh`. All hosts have such a cache.
pub(super) fn reuse_or_issue(
    state: &State,
    resource: &str,
    holder: Holder<'_>,
    fresh: bool,
) -> Result<Issued, BoxError> {
    let now = state.now();
    let key = (holder.object_id().to_owned(), resource.to_owned());
    // One lock around looking and issuing: two requests at the same moment
    // must get the same token. Signing takes about a millisecond.
    let mut kept = lock(&state.imds.issued);
    if state.imds.reuses_tokens.load(Ordering::SeqCst) && !fresh {
        if let Some(issued) = kept.get(&key) {
            let keeps_revoked = state.imds.keeps_revoked_tokens.load(Ordering::SeqCst);
            let half = issued.asked_at + (issued.expires_on - issued.asked_at) / 2;
            if now < half && (keeps_revoked || !state.issuer.is_revoked(issued.serial)) {
                return Ok(issued.clone());
            }
        }
    }
    let issued = state.issuer.issue(&Grant {
        audience: resource,
        tenant: &state.tenant,
        app_id: holder.app_id(),
        object_id: holder.object_id(),
        resource_id: holder.resource_id(),
        person: holder.person(),
        claims: None,
        now,
        lifetime: state.lifetime_or(LIFETIME),
        random: state.runtime.random(),
    })?;
    if kept.len() >= KEPT_TOKENS {
        kept.clear();
    }
    kept.insert(key, issued.clone());
    Ok(issued)
}

/// `2018-02-01` and the like.
pub(super) fn is_date(version: &str) -> bool {
    version.len() == 10
        && version.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        })
}

/// What can be the name of a resource: an absolute URI or a UUID.
pub(super) fn is_resource(text: &str) -> bool {
    let uri = text
        .split_once("://")
        .is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty());
    let uuid = text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    uri || uuid
}
