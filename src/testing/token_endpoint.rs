//! What all endpoints that give tokens to managed identities have in common.

use std::io;

use http::{Method, StatusCode};
use serde_json::Value;

use super::directory::{ManagedIdentity, Wanted};
use super::imds::is_resource;
use super::state::State;
use super::switches::lock;
use super::wire::{Answer, Call, Parameters, answer};
use crate::BoxError;

/// A good answer, or the refusal in its place.
pub(super) type Outcome = Result<Result<Value, Answer>, BoxError>;

/// Counts a request for a token in, holds it, fails it on demand, and answers
/// it with what `respond` says.
pub(super) async fn serve(
    state: &State,
    respond: impl FnOnce() -> Outcome,
) -> Result<Answer, io::Error> {
    let _in_flight = state.token_switches.arrive();
    if let Some(failure) = state.token_switches.admit().await {
        return failure.play().await;
    }
    match respond() {
        Ok(Ok(body)) => {
            let text = match state.token_switches.rewrite() {
                Some(rewrite) => rewrite(body.to_string()),
                None => body.to_string(),
            };
            Ok(answer(
                StatusCode::OK,
                "application/json; charset=utf-8",
                text,
            ))
        }
        Ok(Err(refusal)) => Ok(refusal),
        Err(broken) => Err(io::Error::other(broken)),
    }
}

/// What is wrong with a request, for hosts to put into their own words.
pub(super) enum Fault {
    Method,
    Duplicate(String),
    NoResource,
    UnknownResource(String),
    UnknownParameter(String),
    SeveralIdentities,
    NoIdentity,
}

impl Fault {
    pub(super) fn text(&self) -> String {
        match self {
            Self::Method => "The HTTP method is not allowed.".to_owned(),
            Self::Duplicate(name) => format!("The parameter '{name}' occurs more than once."),
            Self::NoResource => {
                "The parameter 'resource' should not be null or empty string.".to_owned()
            }
            Self::UnknownResource(name) => format!(
                "AADSTS500011: The resource principal named {name} was not found in the tenant."
            ),
            Self::UnknownParameter(name) => format!("The parameter '{name}' is not known here."),
            Self::SeveralIdentities => "More than one identity is named.".to_owned(),
            Self::NoIdentity => {
                "No User Assigned or Delegated Managed Identity found for specified ClientId/ResourceId/PrincipalId.".to_owned()
            }
        }
    }
}

/// What `parameters` ask for. `names` are those of client id, object id and
/// resource id; other parameters than these, `resource` and `also` are refused:
/// a host that passes one over answers for another identity than was meant.
pub(super) fn wanted(
    state: &State,
    call: &Call,
    method: &Method,
    parameters: &Parameters,
    names: [&[&str]; 3],
    also: &[&str],
) -> Result<(String, ManagedIdentity), Fault> {
    let known = [&names.concat(), also].concat();
    let resource = wanted_resource(call, method, parameters, &known)?;
    let given = |names: &[&str]| names.iter().find_map(|name| parameters.get(name));
    let wanted = match names.map(given) {
        [None, None, None] => Wanted::SystemAssigned,
        [Some(id), None, None] => Wanted::ClientId(id),
        [None, Some(id), None] => Wanted::ObjectId(id),
        [None, None, Some(id)] => Wanted::ResourceId(id),
        _ => return Err(Fault::SeveralIdentities),
    };
    match lock(&state.directory).identity(wanted) {
        Some(identity) => Ok((resource, identity.clone())),
        None => Err(Fault::NoIdentity),
    }
}

/// The resource that `parameters` ask for; other parameters than those that are
/// `known` are refused.
pub(super) fn wanted_resource(
    call: &Call,
    method: &Method,
    parameters: &Parameters,
    known: &[&str],
) -> Result<String, Fault> {
    if call.method != method {
        return Err(Fault::Method);
    }
    if let Some(name) = parameters.duplicate() {
        return Err(Fault::Duplicate(name.to_owned()));
    }
    let is_known = |name: &str| name == "resource" || known.contains(&name);
    if let Some(name) = parameters.names().find(|name| !is_known(name)) {
        return Err(Fault::UnknownParameter(name.to_owned()));
    }
    let resource = parameters.filled("resource").ok_or(Fault::NoResource)?;
    if is_resource(resource) {
        Ok(resource.to_owned())
    } else {
        Err(Fault::UnknownResource(resource.to_owned()))
    }
}
