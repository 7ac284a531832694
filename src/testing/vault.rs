//! A Key Vault: its public handle, its switches, and who is let in.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::failure::Failure;
use super::record::{Endpoint, RecordedRequest};
use super::secrets::{self, Secrets};
use super::state::State;
use super::switches::{Hold, Switches, lock};
use super::tokens::{Expectation, Verified};
use super::wire::{Answer, Call, json, with_header};
use crate::{Error, ErrorKind};

/// A Key Vault of the embedded Azure, by [`Azure::vault`](super::Azure::vault).
///
/// It lets in who comes with a token of the embedded Azure that is for
/// `https://vault.azure.net`, was issued in its tenant, has not expired (there
/// is no leeway) and has not been revoked. Everybody else gets the challenge
/// that the real one sends.
#[derive(Clone)]
pub struct Vault {
    state: Arc<State>,
    vault: Arc<VaultState>,
}

pub(super) struct VaultState {
    pub(super) name: String,
    pub(super) secrets: Mutex<Secrets>,
    switches: Arc<Switches>,
    unauthorized: AtomicU64,
    always_unauthorized: AtomicBool,
    required_claims: Mutex<Option<Map<String, Value>>>,
    denied: Mutex<BTreeSet<String>>,
}

/// By which URLs a client has come, and must be sent on.
pub(super) struct Place {
    /// Scheme, host and port of the vault.
    pub(super) base: String,
    /// Scheme, host and port of Entra.
    pub(super) authority: String,
}

impl VaultState {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            secrets: Mutex::default(),
            switches: Arc::default(),
            unauthorized: AtomicU64::new(0),
            always_unauthorized: AtomicBool::new(false),
            required_claims: Mutex::default(),
            denied: Mutex::default(),
        }
    }
}

impl Vault {
    pub(super) fn new(state: Arc<State>, vault: Arc<VaultState>) -> Self {
        Self { state, vault }
    }

    /// Its name, the first label of its host.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.vault.name
    }

    /// Its real URL, without a slash at the end, which leads here through
    /// [`Azure::http_client`](super::Azure::http_client) and
    /// [`Azure::connector`](super::Azure::connector).
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}.{}", self.name(), self.state.vault_suffix())
    }

    /// Sets a secret, as a new version if there is one of that name.
    pub fn set_secret(&self, name: &str, value: &str) {
        let (now, version) = (self.state.now(), self.state.runtime.random());
        lock(&self.vault.secrets).set(name, value, now, version, &Map::new());
    }

    /// Sets the secret behind a certificate: certificate and private key as PEM,
    /// with the content type that says so.
    pub fn set_certificate(&self, name: &str, pem: &str) {
        let (now, version) = (self.state.now(), self.state.runtime.random());
        let mut besides = Map::new();
        besides.insert("contentType".to_owned(), "application/x-pem-file".into());
        lock(&self.vault.secrets).set(name, pem, now, version, &besides);
    }

    /// The current value of a secret, such as one that the program under test
    /// has set.
    #[must_use]
    pub fn secret(&self, name: &str) -> Option<String> {
        lock(&self.vault.secrets).value(name).map(str::to_owned)
    }

    /// Requests that came in so far, whatever they were answered with.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.vault.switches.arrived()
    }

    /// Requests that were answered with 401 so far.
    #[must_use]
    pub fn unauthorized(&self) -> u64 {
        self.vault.unauthorized.load(Ordering::SeqCst)
    }

    /// The highest number of requests that were in flight at the same moment.
    #[must_use]
    pub fn max_concurrent_requests(&self) -> u64 {
        self.vault.switches.highest_load()
    }

    /// Waits until `count` requests have come in since the start. Wrap it in a
    /// timeout: it waits for as long as it takes.
    pub async fn wait_for_requests(&self, count: u64) {
        self.vault.switches.wait_for_arrivals(count).await;
    }

    /// Holds all requests back until the guard is dropped.
    pub fn hold_requests(&self) -> Hold {
        self.vault.switches.hold()
    }

    /// Lets each request wait for `latency` on tokio's clock. Zero, the
    /// default, ends it.
    pub fn delay_requests(&self, latency: Duration) {
        self.vault.switches.set_delay(latency);
    }

    /// Answers all requests with `failure` until [`recover`](Self::recover).
    pub fn fail_requests(&self, failure: Failure) {
        self.vault.switches.fail(failure, None);
    }

    /// Answers the next `count` requests with `failure`.
    pub fn fail_next_requests(&self, count: u64, failure: Failure) {
        self.vault.switches.fail(failure, Some(count));
    }

    /// Ends what [`fail_requests`](Self::fail_requests) and
    /// [`fail_next_requests`](Self::fail_next_requests) began.
    pub fn recover(&self) {
        self.vault.switches.recover();
    }

    /// Answers every request with 401 and the usual challenge, however good
    /// its token is.
    pub fn always_unauthorized(&self, on: bool) {
        self.vault.always_unauthorized.store(on, Ordering::SeqCst);
    }

    /// Denies the application or managed identity with this client id (403).
    pub fn deny(&self, client_id: &str) {
        lock(&self.vault.denied).insert(client_id.to_ascii_lowercase());
    }

    /// Ends what [`deny`](Self::deny) began.
    pub fn permit(&self, client_id: &str) {
        lock(&self.vault.denied).remove(&client_id.to_ascii_lowercase());
    }

    /// Takes only tokens that were asked for with these claims, as after an
    /// event that Continuous Access Evaluation watches for. Others get 401
    /// with `error="insufficient_claims"` and the claims to ask for.
    ///
    /// `claims` is a claims request such as
    /// `{"access_token":{"nbf":{"essential":true,"value":"1700000000"}}}`.
    /// Managed identities cannot fulfil one, as in Azure.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`] if `claims` is not a JSON object with an
    /// object `access_token` in it.
    pub fn require_claims(&self, claims: &str) -> Result<(), Error> {
        let parsed: Option<Map<String, Value>> = serde_json::from_str(claims)
            .ok()
            .filter(|claims: &Map<_, _>| claims.get("access_token").is_some_and(Value::is_object));
        if parsed.is_none() {
            return Err(Error::new(
                ErrorKind::Configuration,
                "the required claims are not a JSON object with an object access_token in it",
            ));
        }
        *lock(&self.vault.required_claims) = parsed;
        Ok(())
    }

    /// Ends what [`require_claims`](Self::require_claims) began.
    pub fn require_no_claims(&self) {
        *lock(&self.vault.required_claims) = None;
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault")
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}

/// Why somebody is not let in.
enum Denial {
    Unauthorized(String),
    InsufficientClaims(Map<String, Value>),
    Forbidden(String),
}

pub(super) async fn respond(
    state: &State,
    vault: &VaultState,
    place: &Place,
    call: Call,
) -> Result<Answer, io::Error> {
    state
        .record
        .add(RecordedRequest::new(Endpoint::Vault, &call));
    let _in_flight = vault.switches.arrive();
    if let Some(failure) = vault.switches.admit().await {
        return failure.play().await;
    }
    let answer = match admit(state, vault, &call) {
        Ok(()) => secrets::respond(state, vault, place, &call),
        Err(denial) => denied(state, vault, place, denial),
    };
    let answer = with_header(answer, "cache-control", "no-cache");
    Ok(with_header(answer, "x-ms-request-id", &state.random_uuid()))
}

fn admit(state: &State, vault: &VaultState, call: &Call) -> Result<(), Denial> {
    let token = call
        .header("authorization")
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim_start());
    let Some(token) = token else {
        return Err(Denial::Unauthorized(
            "AKV10000: Request is missing a Bearer or PoP token.".to_owned(),
        ));
    };
    let expected = Expectation {
        audience: &state.vault_audience,
        tenant: &state.tenant,
        now: state.now(),
    };
    let verified = state
        .issuer
        .verify(token, &expected)
        .map_err(Denial::Unauthorized)?;
    if vault.always_unauthorized.load(Ordering::SeqCst) {
        return Err(Denial::Unauthorized(
            "Error validating token: every token is refused on demand.".to_owned(),
        ));
    }
    if let Some(required) = lock(&vault.required_claims).as_ref() {
        let conditions = required.get("access_token").and_then(Value::as_object);
        if conditions.is_some_and(|conditions| !verified.fulfils(conditions)) {
            return Err(Denial::InsufficientClaims(required.clone()));
        }
    }
    if lock(&vault.denied).contains(&verified.text("appid").to_ascii_lowercase()) {
        return Err(Denial::Forbidden(no_permission(vault, &verified)));
    }
    Ok(())
}

fn no_permission(vault: &VaultState, who: &Verified) -> String {
    format!(
        "The user, group or application 'appid={};oid={};iss={}' does not have secrets get permission on key vault '{};location=embedded'.",
        who.text("appid"),
        who.text("oid"),
        who.text("iss"),
        vault.name
    )
}

fn denied(state: &State, vault: &VaultState, place: &Place, denial: Denial) -> Answer {
    let (challenge, message) = match denial {
        Denial::Forbidden(message) => {
            return json(
                StatusCode::FORBIDDEN,
                &json!({ "error": {
                    "code": "Forbidden",
                    "message": message,
                    "innererror": { "code": "AccessDenied" },
                } }),
            );
        }
        Denial::Unauthorized(message) => (
            format!(
                r#"Bearer authorization="{}/{}", resource="{}""#,
                place.authority, state.tenant, state.vault_audience
            ),
            message,
        ),
        Denial::InsufficientClaims(required) => (
            format!(
                r#"Bearer realm="", authorization_uri="{}/common/oauth2/authorize", error="insufficient_claims", claims="{}""#,
                place.authority,
                STANDARD.encode(Value::Object(required).to_string())
            ),
            "Continuous access evaluation resulted in a challenge.".to_owned(),
        ),
    };
    vault.unauthorized.fetch_add(1, Ordering::SeqCst);
    let answer = error(StatusCode::UNAUTHORIZED, "Unauthorized", &message);
    with_header(answer, "www-authenticate", &challenge)
}

pub(super) fn error(status: StatusCode, code: &str, message: &str) -> Answer {
    json(
        status,
        &json!({ "error": { "code": code, "message": message } }),
    )
}
