//! App Service by both of its protocols, and Azure Machine Learning, which
//! speaks the older one.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::directory::Holder;
use super::imds::reuse_or_issue;
use super::record::{Endpoint, RecordedRequest};
use super::state::State;
use super::token_endpoint::{Fault, Outcome, serve, wanted};
use super::wire::{Answer, Call, civil_date, json};

pub(super) const APP_SERVICE_PATH: &str = "/msi/token";
pub(super) const MACHINE_LEARNING_PATH: &str = "/MSI/auth";

pub(super) struct AppService {
    /// For the protocol of 2019-08-01.
    pub(super) identity_header: String,
    /// For that of 2017-09-01.
    pub(super) msi_secret: String,
    pub(super) refuses_2019: AtomicBool,
    pub(super) on_windows: AtomicBool,
}

impl AppService {
    pub(super) fn new(identity_header: String, msi_secret: String) -> Self {
        Self {
            identity_header,
            msi_secret,
            refuses_2019: AtomicBool::new(false),
            on_windows: AtomicBool::new(false),
        }
    }
}

pub(super) async fn respond(state: &State, call: Call) -> Result<Answer, io::Error> {
    state
        .record
        .add(RecordedRequest::new(Endpoint::AppService, &call));
    serve(state, || match call.query.get("api-version") {
        Some("2019-08-01") if !state.app_service.refuses_2019.load(Ordering::SeqCst) => {
            version_2019(state, &call)
        }
        Some("2017-09-01") => version_2017(state, &call, |expires_on| {
            let on_windows = state.app_service.on_windows.load(Ordering::SeqCst);
            Value::from(date(expires_on, on_windows))
        }),
        version => Ok(Err(unsupported(version.unwrap_or_default()))),
    })
    .await
}

pub(super) async fn respond_as_machine_learning(
    state: &State,
    call: Call,
) -> Result<Answer, io::Error> {
    state
        .record
        .add(RecordedRequest::new(Endpoint::MachineLearning, &call));
    serve(state, || match call.query.get("api-version") {
        Some("2017-09-01") => version_2017(state, &call, Value::from),
        version => Ok(Err(unsupported(version.unwrap_or_default()))),
    })
    .await
}

fn version_2019(state: &State, call: &Call) -> Outcome {
    if call.header("x-identity-header") != Some(&state.app_service.identity_header) {
        return Ok(Err(refused_2019(
            state,
            StatusCode::UNAUTHORIZED,
            "The X-IDENTITY-HEADER is missing or wrong.",
        )));
    }
    let names: [&[&str]; 3] = [
        &["client_id"],
        &["principal_id", "object_id"],
        &["mi_res_id"],
    ];
    let asked = wanted(
        state,
        call,
        &Method::GET,
        &call.query,
        names,
        &["api-version"],
    );
    let (resource, identity) = match asked {
        Ok(asked) => asked,
        Err(fault) => {
            let status = match fault {
                Fault::Method => StatusCode::METHOD_NOT_ALLOWED,
                // As in life.
                Fault::UnknownResource(_) => StatusCode::INTERNAL_SERVER_ERROR,
                _ => StatusCode::BAD_REQUEST,
            };
            return Ok(Err(refused_2019(state, status, &fault.text())));
        }
    };
    let issued = reuse_or_issue(state, &resource, Holder::Identity(&identity), false)?;
    Ok(Ok(json!({
        "access_token": issued.token,
        "client_id": identity.client_id(),
        "expires_on": issued.expires_on.to_string(),
        "not_before": issued.not_before.to_string(),
        "resource": resource,
        "token_type": "Bearer",
    })))
}

fn version_2017(state: &State, call: &Call, expiry: impl Fn(u64) -> Value) -> Outcome {
    if call.header("secret") != Some(&state.app_service.msi_secret) {
        return Ok(Err(refused_2017(
            state,
            StatusCode::UNAUTHORIZED,
            "The secret is missing or wrong.",
        )));
    }
    let names: [&[&str]; 3] = [&["clientid"], &[], &[]];
    let asked = wanted(
        state,
        call,
        &Method::GET,
        &call.query,
        names,
        &["api-version"],
    );
    let (resource, identity) = match asked {
        Ok(asked) => asked,
        Err(fault) => {
            let (status, text) = match fault {
                Fault::Method => (StatusCode::METHOD_NOT_ALLOWED, fault.text()),
                Fault::NoIdentity => (
                    StatusCode::BAD_REQUEST,
                    "No MSI found for specified ClientId/ResourceId.".to_owned(),
                ),
                _ => (StatusCode::BAD_REQUEST, fault.text()),
            };
            return Ok(Err(refused_2017(state, status, &text)));
        }
    };
    let issued = reuse_or_issue(state, &resource, Holder::Identity(&identity), false)?;
    Ok(Ok(json!({
        "access_token": issued.token,
        "expires_on": expiry(issued.expires_on),
        "resource": resource,
        "token_type": "Bearer",
    })))
}

fn refused_2019(state: &State, status: StatusCode, message: &str) -> Answer {
    json(
        status,
        &json!({
            "statusCode": status.as_u16(),
            "message": message,
            "correlationId": state.random_uuid(),
        }),
    )
}

fn refused_2017(state: &State, status: StatusCode, message: &str) -> Answer {
    json(
        status,
        &json!({
            "StatusCode": status.as_u16(),
            "Message": message,
            "CorrelationId": state.random_uuid(),
        }),
    )
}

fn unsupported(version: &str) -> Answer {
    json(
        StatusCode::BAD_REQUEST,
        &json!({ "error": {
            "code": "UnsupportedApiVersion",
            "message": format!(
                "The HTTP resource that matches the request URI does not support the API version '{version}'."
            ),
            "innerError": null,
        } }),
    )
}

/// As the older protocol writes it on Windows, and everywhere else.
fn date(seconds: u64, on_windows: bool) -> String {
    let (year, month, day) = civil_date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    if !on_windows {
        return format!("{month:02}/{day:02}/{year:04} {hour:02}:{minute:02}:{second:02} +00:00");
    }
    let half = if hour < 12 { "AM" } else { "PM" };
    let hour = match hour % 12 {
        0 => 12,
        hour => hour,
    };
    format!("{month}/{day}/{year:04} {hour}:{minute:02}:{second:02} {half} +00:00")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_have_the_two_forms_of_the_older_protocol() {
        for (seconds, elsewhere, on_windows) in [
            (
                1_560_999_478,
                "06/20/2019 02:57:58 +00:00",
                "6/20/2019 2:57:58 AM +00:00",
            ),
            (
                1_574_026_411,
                "11/17/2019 21:33:31 +00:00",
                "11/17/2019 9:33:31 PM +00:00",
            ),
            (
                1_573_948_800,
                "11/17/2019 00:00:00 +00:00",
                "11/17/2019 12:00:00 AM +00:00",
            ),
        ] {
            assert_eq!(date(seconds, false), elsewhere);
            assert_eq!(date(seconds, true), on_windows);
        }
    }
}
