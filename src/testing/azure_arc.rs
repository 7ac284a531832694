//! The agent of Azure Arc.

use std::collections::VecDeque;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{Method, StatusCode};
use serde_json::json;

use super::directory::Holder;
use super::folder::Folder;
use super::imds::reuse_or_issue;
use super::record::{Endpoint, RecordedRequest};
use super::state::State;
use super::switches::lock;
use super::token_endpoint::{Fault, Outcome, serve, wanted};
use super::wire::{Answer, Call, json, with_header};
use crate::Error;

pub(super) const PATH: &str = "/arc/metadata/identity/oauth2/token";

/// Clients that never come back leave no more keys behind than this.
const MOST_KEYS: usize = 100;

pub(super) struct AzureArc {
    folder: Folder,
    /// The names of the key files, oldest first, and what they hold.
    keys: Mutex<VecDeque<(String, String)>>,
    pub(super) challenge: Mutex<Option<String>>,
    pub(super) knows_user_assigned: AtomicBool,
}

impl AzureArc {
    pub(super) fn new() -> Result<Self, Error> {
        Ok(Self {
            folder: Folder::make("arc")?,
            keys: Mutex::default(),
            challenge: Mutex::default(),
            knows_user_assigned: AtomicBool::new(true),
        })
    }

    pub(super) fn key_folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a key that is good for one request.
    fn make_key(&self, name: String, key: String) -> io::Result<PathBuf> {
        let path = self.folder.path().join(format!("{name}.key"));
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)?;
        file.write_all(key.as_bytes())?;
        let mut keys = lock(&self.keys);
        if keys.len() >= MOST_KEYS {
            if let Some((oldest, _)) = keys.pop_front() {
                self.remove(&oldest);
            }
        }
        keys.push_back((name, key));
        Ok(path)
    }

    fn use_up(&self, given: &str) -> bool {
        let mut keys = lock(&self.keys);
        let known = keys.iter().position(|(_, key)| key == given);
        match known.and_then(|at| keys.remove(at)) {
            Some((name, _)) => {
                self.remove(&name);
                true
            }
            None => false,
        }
    }

    fn remove(&self, name: &str) {
        // A test may have done so before.
        let _ = std::fs::remove_file(self.folder.path().join(format!("{name}.key")));
    }
}

pub(super) async fn respond(state: &State, call: Call) -> Result<Answer, io::Error> {
    state
        .record
        .add(RecordedRequest::new(Endpoint::AzureArc, &call));
    if call.header("metadata") != Some("true") {
        return Ok(refused(
            StatusCode::BAD_REQUEST,
            "bad_request_102",
            "Required metadata header not specified",
        ));
    }
    let proof = call
        .header("authorization")
        .and_then(|value| value.strip_prefix("Basic "));
    let Some(proof) = proof else {
        return challenge(state);
    };
    serve(state, || {
        if state.arc.use_up(proof) {
            token(state, &call)
        } else {
            Ok(Err(refused(
                StatusCode::UNAUTHORIZED,
                "unauthorized_client",
                "The authorization is not that of a key file",
            )))
        }
    })
    .await
}

fn challenge(state: &State) -> Result<Answer, io::Error> {
    let fake = lock(&state.arc.challenge).clone();
    let challenge = match fake {
        Some(challenge) => challenge,
        None => {
            let path = state
                .arc
                .make_key(state.random_uuid(), state.random_uuid())?;
            format!("Basic realm={}", path.display())
        }
    };
    let refusal = refused(
        StatusCode::UNAUTHORIZED,
        "unauthorized_client",
        "Missing Basic Authorization header",
    );
    Ok(with_header(refusal, "www-authenticate", &challenge))
}

fn token(state: &State, call: &Call) -> Outcome {
    if call.query.filled("api-version").is_none() {
        return Ok(Err(refused(
            StatusCode::BAD_REQUEST,
            "invalid_request",
            "Required query variable 'api-version' is missing",
        )));
    }
    // An agent that does not know the ids of others passes them over.
    let knows_others = state.arc.knows_user_assigned.load(Ordering::SeqCst);
    let (names, also): ([&[&str]; 3], &[&str]) = if knows_others {
        (
            [&["client_id"], &["object_id"], &["msi_res_id"]],
            &["api-version"],
        )
    } else {
        (
            [&[], &[], &[]],
            &["api-version", "client_id", "object_id", "msi_res_id"],
        )
    };
    let asked = wanted(state, call, &Method::GET, &call.query, names, also);
    let (resource, identity) = match asked {
        Ok(asked) => asked,
        Err(fault) => {
            let (status, error) = match fault {
                Fault::Method => (StatusCode::METHOD_NOT_ALLOWED, "invalid_request"),
                Fault::UnknownResource(_) => (StatusCode::BAD_REQUEST, "invalid_resource"),
                _ => (StatusCode::BAD_REQUEST, "invalid_request"),
            };
            let text = match fault {
                Fault::NoIdentity => "Identity not found".to_owned(),
                _ => fault.text(),
            };
            return Ok(Err(refused(status, error, &text)));
        }
    };
    let issued = reuse_or_issue(state, &resource, Holder::Identity(&identity), false)?;
    let expires_in = issued.expires_on.saturating_sub(state.now()).to_string();
    let mut body = json!({
        "access_token": issued.token,
        "expires_in": expires_in,
        "expires_on": issued.expires_on.to_string(),
        "not_before": issued.not_before.to_string(),
        "resource": resource,
        "token_type": "Bearer",
    });
    if knows_others {
        body["client_id"] = identity.client_id().into();
        body["object_id"] = identity.object_id().into();
        body["msi_res_id"] = identity.resource_id().into();
    }
    Ok(Ok(body))
}

fn refused(status: StatusCode, error: &str, description: &str) -> Answer {
    json(
        status,
        &json!({ "error": error, "error_description": description }),
    )
}
