//! Microsoft Entra: the token endpoint and what clients look up before it.

use std::io;

use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::assertion::{Expected, is_federated};
use super::directory::Application;
use super::federation;
use super::imds::is_resource;
use super::record::{Endpoint, RecordedRequest};
use super::state::State;
use super::switches::lock;
use super::tokens::Grant;
use super::wire::{Answer, Call, Parameters, answer, entra_timestamp, json, with_header};
use crate::BoxError;

/// Applications get tokens for an hour.
const LIFETIME: u64 = 3_599;

/// From this lifetime on, Entra says when it wishes to be asked again.
const LONG_LIFETIME: u64 = 7_200;

/// An OAuth error in Entra's form.
struct Refusal {
    status: StatusCode,
    error: &'static str,
    code: u32,
    text: String,
}

impl Refusal {
    fn new(error: &'static str, code: u32, text: impl Into<String>) -> Self {
        Self {
            status: match error {
                "invalid_client" => StatusCode::UNAUTHORIZED,
                _ => StatusCode::BAD_REQUEST,
            },
            error,
            code,
            text: text.into(),
        }
    }

    fn missing(parameter: &str) -> Self {
        Self::new(
            "invalid_request",
            900_144,
            format!("The request body must contain the following parameter: '{parameter}'."),
        )
    }
}

/// `base` is scheme, host and port by which the client has come.
pub(super) async fn respond(state: &State, base: &str, call: Call) -> Result<Answer, io::Error> {
    state
        .record
        .add(RecordedRequest::new(Endpoint::Entra, &call));
    let segments = call.segments();
    match segments[..] {
        // AD FS is like one more tenant.
        [tenant @ "adfs", "oauth2", "token"] | [tenant, "oauth2", "v2.0", "token"] => {
            token_endpoint(state, tenant, &call).await
        }
        [tenant, "v2.0", ".well-known", "openid-configuration"] => {
            Ok(configuration(state, base, tenant, "/v2.0"))
        }
        [tenant, ".well-known", "openid-configuration"] => {
            Ok(configuration(state, base, tenant, ""))
        }
        [_, "discovery", "instance"] => Ok(instance_discovery(base)),
        [_, "discovery", "v2.0", "keys"] | [_, "discovery", "keys"] => {
            Ok(json(StatusCode::OK, &state.issuer.key_set()))
        }
        _ => Ok(answer(
            StatusCode::NOT_FOUND,
            "text/html",
            "<html><h1>404 - Not Found</h1></html>".to_owned(),
        )),
    }
}

async fn token_endpoint(state: &State, tenant: &str, call: &Call) -> Result<Answer, io::Error> {
    let _in_flight = state.token_switches.arrive();
    if let Some(failure) = state.token_switches.admit().await {
        return failure.play().await;
    }
    let correlation_id = call
        .header("client-request-id")
        .map_or_else(|| state.random_uuid(), str::to_owned);
    let answered = match token(state, tenant, call) {
        Ok(Ok(text)) => {
            let text = match state.token_switches.rewrite() {
                Some(rewrite) => rewrite(text),
                None => text,
            };
            answer(StatusCode::OK, "application/json; charset=utf-8", text)
        }
        Ok(Err(refusal)) => refused(state, &refusal, &correlation_id),
        Err(broken) => return Err(io::Error::other(broken)),
    };
    let answered = with_header(answered, "cache-control", "no-store, no-cache");
    let answered = with_header(answered, "x-ms-request-id", &state.random_uuid());
    Ok(if call.header("return-client-request-id") == Some("true") {
        with_header(answered, "client-request-id", &correlation_id)
    } else {
        answered
    })
}

fn token(state: &State, tenant: &str, call: &Call) -> Result<Result<String, Refusal>, BoxError> {
    let form = call.form();
    let granted = match understand(state, tenant, call, &form) {
        Ok(granted) => granted,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let lifetime = state.lifetime_or(LIFETIME);
    let issued = state.issuer.issue(&Grant {
        audience: granted.audience,
        tenant: &granted.tenant,
        app_id: &granted.client_id,
        object_id: &granted.object_id,
        resource_id: None,
        person: None,
        claims: granted.claims.as_ref(),
        now: state.now(),
        lifetime,
        random: state.runtime.random(),
    })?;
    let mut body = json!({
        "token_type": "Bearer",
        "expires_in": lifetime,
        "ext_expires_in": lifetime,
        "access_token": issued.token,
    });
    if lifetime >= LONG_LIFETIME {
        body["refresh_in"] = (lifetime / 2).into();
    }
    Ok(Ok(body.to_string()))
}

struct Granted<'a> {
    audience: &'a str,
    tenant: String,
    client_id: String,
    object_id: String,
    claims: Option<Map<String, Value>>,
}

fn understand<'a>(
    state: &State,
    tenant: &str,
    call: &Call,
    form: &'a Parameters,
) -> Result<Granted<'a>, Refusal> {
    if call.method != Method::POST {
        let mut refusal = Refusal::new(
            "invalid_request",
            900_561,
            format!(
                "The endpoint only accepts POST, OPTIONS requests. Received a {} request.",
                call.method
            ),
        );
        refusal.status = StatusCode::METHOD_NOT_ALLOWED;
        return Err(refusal);
    }
    if let Some(name) = form.duplicate() {
        return Err(Refusal::new(
            "invalid_request",
            9_000_411,
            format!("The request is not properly formatted. The parameter '{name}' is duplicated."),
        ));
    }
    let required = |name| form.filled(name).ok_or_else(|| Refusal::missing(name));
    let grant_type = required("grant_type")?;
    if grant_type != "client_credentials" {
        return Err(Refusal::new(
            "unsupported_grant_type",
            70_003,
            format!("The app requested an unsupported grant type '{grant_type}'."),
        ));
    }
    let client_id = required("client_id")?;
    let scope = required("scope")?;
    let proof = Proof::of(form)?;
    let audience = scope
        .strip_suffix("/.default")
        .filter(|resource| !scope.contains(' ') && is_resource(resource))
        .ok_or_else(|| {
            Refusal::new(
                "invalid_scope",
                70_011,
                format!(
                    "The provided request must include a 'scope' input parameter. The provided value for the input parameter 'scope' is not valid. The scope {scope} is not valid."
                ),
            )
        })?;
    let claims = form.filled("claims").map(claims_request).transpose()?;

    let directory = lock(&state.directory);
    if !directory.has_tenant(tenant) {
        return Err(Refusal::new(
            "invalid_request",
            90_002,
            format!(
                "Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud."
            ),
        ));
    }
    let Some(application) = directory.application(tenant, client_id) else {
        return Err(Refusal::new(
            "unauthorized_client",
            700_016,
            format!(
                "Application with identifier '{client_id}' was not found in the directory '{tenant}'."
            ),
        ));
    };
    proof.check(state, application)?;
    Ok(Granted {
        audience,
        tenant: application.tenant.clone(),
        client_id: application.client_id.clone(),
        object_id: application.object_id.clone(),
        claims,
    })
}

/// What an application proves itself by.
enum Proof<'a> {
    Secret(&'a str),
    Assertion(&'a str),
}

impl<'a> Proof<'a> {
    fn of(form: &'a Parameters) -> Result<Self, Refusal> {
        const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

        match (
            form.filled("client_secret"),
            form.filled("client_assertion"),
        ) {
            (Some(secret), None) => Ok(Self::Secret(secret)),
            (None, Some(assertion)) => {
                if form.filled("client_assertion_type") != Some(JWT_BEARER) {
                    return Err(Refusal::new(
                        "invalid_request",
                        90_023,
                        "The 'client_assertion_type' parameter is missing or not supported.",
                    ));
                }
                Ok(Self::Assertion(assertion))
            }
            (Some(_), Some(_)) => Err(Refusal::new(
                "invalid_request",
                90_023,
                "Only one of 'client_assertion' and 'client_secret' may be given.",
            )),
            (None, None) => Err(Refusal::new(
                "invalid_client",
                7_000_218,
                "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
            )),
        }
    }

    fn check(&self, state: &State, application: &Application) -> Result<(), Refusal> {
        let client_id = &application.client_id;
        match self {
            Self::Secret(secret) if application.client_secret.as_deref() == Some(*secret) => Ok(()),
            Self::Secret(_) => Err(Refusal::new(
                "invalid_client",
                7_000_215,
                format!(
                    "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '{client_id}'."
                ),
            )),
            Self::Assertion(assertion) => if is_federated(assertion) {
                federation::check(&state.issuer, application, assertion, state.now())
            } else {
                Expected {
                    client_id,
                    tenant: &application.tenant,
                    certificates: &application.certificates,
                    now: state.now(),
                }
                .check(assertion)
            }
            .map_err(|(code, text)| Refusal::new("invalid_client", code, text)),
        }
    }
}

/// The `claims` parameter (section 5.5 of `OpenID` Connect Core).
fn claims_request(text: &str) -> Result<Map<String, Value>, Refusal> {
    serde_json::from_str(text).map_err(|_| {
        Refusal::new(
            "invalid_request",
            90_100,
            "The 'claims' parameter is empty or not valid.",
        )
    })
}

fn refused(state: &State, refusal: &Refusal, correlation_id: &str) -> Answer {
    let trace_id = state.random_uuid();
    let timestamp = entra_timestamp(state.now());
    let code = refusal.code;
    json(
        refusal.status,
        &json!({
            "error": refusal.error,
            "error_description": format!(
                "AADSTS{code}: {} Trace ID: {trace_id} Correlation ID: {correlation_id} Timestamp: {timestamp}",
                refusal.text
            ),
            "error_codes": [code],
            "timestamp": timestamp,
            "trace_id": trace_id,
            "correlation_id": correlation_id,
            "error_uri": format!("https://login.microsoftonline.com/error?code={code}"),
        }),
    )
}

fn configuration(state: &State, base: &str, tenant: &str, version: &str) -> Answer {
    if !lock(&state.directory).has_tenant(tenant) {
        let refusal = Refusal::new(
            "invalid_tenant",
            90_002,
            format!("Tenant '{tenant}' not found."),
        );
        return refused(state, &refusal, &state.random_uuid());
    }
    let root = format!("{base}/{tenant}");
    json(
        StatusCode::OK,
        &json!({
            "issuer": format!("{root}{version}"),
            "authorization_endpoint": format!("{root}/oauth2/v2.0/authorize"),
            "token_endpoint": format!("{root}/oauth2/v2.0/token"),
            "device_authorization_endpoint": format!("{root}/oauth2/v2.0/devicecode"),
            "jwks_uri": format!("{root}/discovery/v2.0/keys"),
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
            "response_types_supported": ["code"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
        }),
    )
}

fn instance_discovery(base: &str) -> Answer {
    let host = base.trim_start_matches("https://");
    json(
        StatusCode::OK,
        &json!({
            "tenant_discovery_endpoint": format!("{base}/common/v2.0/.well-known/openid-configuration"),
            "api-version": "1.1",
            "metadata": [{
                "preferred_network": host,
                "preferred_cache": host,
                "aliases": [host],
            }],
        }),
    )
}
