//! What an answer of a token endpoint amounts to: a token, or an error.

pub(super) mod aadsts;
mod complaint;
mod date;
pub(super) mod expiry;
mod retry_after;
pub(super) mod scalar;

use std::time::{Duration, SystemTime};

use http::StatusCode;
use serde::Deserialize;

pub(super) use self::retry_after::parse as retry_after;

use self::complaint::Complaint;
use self::scalar::{Codes, Scalar};
use crate::error::printable;
use crate::runtime::Timestamp;
use crate::token::Lifetime;
use crate::transport::Answer;
use crate::{AccessToken, Error, ErrorKind};

/// What Entra wants before a client that it takes for one in a loop asks again.
const LOOP_PAUSE: Duration = Duration::from_secs(300);

/// What must be known to read an answer.
pub(super) struct Reader<'a> {
    /// Host and port that answered, for messages.
    pub(super) place: &'a str,
    /// Read just before the request was sent.
    pub(super) asked: Timestamp,
    /// Read when the answer had come.
    pub(super) received: SystemTime,
    /// What the request held and no message may, should the server echo it.
    pub(super) secrets: &'a [&'a str],
    /// Whether `token_type` may be missing. RFC 6749 section 5.1 says no, and
    /// Entra keeps to it; some metadata endpoints do not.
    pub(super) token_type_optional: bool,
}

/// A token, and what the answer says of the identity it is for.
pub(super) struct Issued {
    pub(super) token: AccessToken,
    pub(super) client_id: Option<String>,
    pub(super) object_id: Option<String>,
    /// The id of the identity's Azure resource.
    pub(super) resource_id: Option<String>,
}

/// Every field that is read, of answers of either kind. What else there is is
/// passed over without being kept.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    access_token: Scalar,
    token_type: Scalar,
    expires_in: Scalar,
    expires_on: Scalar,
    refresh_in: Scalar,
    client_id: Scalar,
    object_id: Scalar,
    msi_res_id: Scalar,
    mi_res_id: Scalar,
    error: Complaint,
    error_description: Scalar,
    /// App Service's word for it; version 2017-09-01 begins with a capital.
    #[serde(alias = "Message")]
    message: Scalar,
    error_codes: Codes,
    #[serde(alias = "correlationId", alias = "CorrelationId")]
    correlation_id: Scalar,
}

impl Body {
    fn description(&self) -> &Scalar {
        [&self.error_description, self.error.message()]
            .into_iter()
            .find(|text| text.text().is_some())
            .unwrap_or(&self.message)
    }

    fn correlation_id(&self) -> &Scalar {
        match self.error.correlation_id() {
            Scalar::Absent => &self.correlation_id,
            nested => nested,
        }
    }
}

impl Reader<'_> {
    /// The token in `answer`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidResponse`] when it is neither a token that can be
    /// used nor an error; else what the error in it says, with all that it says
    /// as data.
    pub(super) fn read(&self, answer: &Answer) -> Result<Issued, Error> {
        let status = answer.status();
        let parsed = serde_json::from_slice::<Body>(answer.body());
        if !status.is_success() {
            return Err(self.refusal(answer, &parsed.unwrap_or_default()));
        }
        // Serde would take the values of an array for the fields, in order.
        if answer.body().trim_ascii_start().first() == Some(&b'[') {
            return Err(self.unusable(status, "but the JSON in its body is no object"));
        }
        let body = parsed.map_err(|cause| self.unusable(status, &no_json(answer, &cause)))?;
        if !body.error.is_absent() {
            return Err(self.refusal(answer, &body));
        }
        self.token(&body)
            .map_err(|problem| self.unusable(status, problem.as_ref()))
    }

    fn token(&self, body: &Body) -> Result<Issued, Problem> {
        let secret = match &body.access_token {
            Scalar::Text(text) if !text.is_empty() => text,
            Scalar::Text(_) => return Err("with an empty access_token".into()),
            Scalar::Absent => return Err("without an access_token".into()),
            Scalar::Number(_) | Scalar::Other => {
                return Err("with an access_token that is no string".into());
            }
        };
        match &body.token_type {
            Scalar::Text(kind) if kind.eq_ignore_ascii_case("Bearer") => {}
            Scalar::Absent if self.token_type_optional => {}
            Scalar::Absent => return Err("without a token_type".into()),
            _ => return Err("with a token that is no bearer token".into()),
        }
        let lifetime = expiry::lifetime(&body.expires_in, &body.expires_on, self.asked)
            .map_err(|problem| format!("with a token {problem}"))?;
        let (token, life) = match lifetime {
            Lifetime::In(life) => (AccessToken::expiring_in(secret, life), life),
            Lifetime::On(end) => (
                AccessToken::expiring_on(secret, end),
                end.duration_since(self.asked.wall).unwrap_or_default(),
            ),
        };
        let token = token
            .map_err(|error| format!("but {}", error.message()))?
            .requested_at(self.asked);
        Ok(Issued {
            token: match expiry::refresh_in(&body.refresh_in, life) {
                Some(refresh_in) => token.with_refresh_in(refresh_in),
                None => token,
            },
            client_id: body.client_id.text().map(printable),
            object_id: body.object_id.text().map(printable),
            resource_id: [&body.msi_res_id, &body.mi_res_id]
                .into_iter()
                .find_map(Scalar::text)
                .map(str::to_owned),
        })
    }

    fn unusable(&self, status: StatusCode, problem: &str) -> Error {
        Error::new(
            ErrorKind::InvalidResponse,
            format!("{} answered {status}, {problem}", self.place),
        )
        .with_status(status)
        .with_advice(
            "check the endpoint's address and this machine's clock; a proxy or a sign-in page may be answering in its place",
        )
    }

    fn refusal(&self, answer: &Answer, body: &Body) -> Error {
        let status = answer.status();
        let description = self.shown(body.description());
        let oauth_error = self.shown(body.error.code());
        let codes = {
            let text = body.description().text().unwrap_or_default();
            let mut codes = body.error_codes.0.clone();
            for code in aadsts::codes_in(text) {
                if !codes.contains(&code) {
                    codes.push(code);
                }
            }
            codes
        };
        let kind = aadsts::kind(&codes).unwrap_or(match (status, oauth_error.as_deref()) {
            (StatusCode::TOO_MANY_REQUESTS, _) => ErrorKind::Throttled,
            (StatusCode::REQUEST_TIMEOUT, _)
            | (_, Some("temporarily_unavailable" | "server_error")) => ErrorKind::Unreachable,
            (status, _) if status.is_server_error() => ErrorKind::Unreachable,
            _ => ErrorKind::Rejected,
        });

        let mut message = format!("{} answered {status}", self.place);
        for (before, text) in [(", ", &oauth_error), (": ", &description)] {
            if let Some(text) = text {
                message.push_str(before);
                message.push_str(text);
            }
        }
        let correlation_id = self.shown(body.correlation_id()).or_else(|| {
            ["client-request-id", "x-ms-request-id"]
                .iter()
                .find_map(|name| answer.headers().get(*name)?.to_str().ok())
                .map(|id| printable(&self.without_secrets(id)))
        });
        if let Some(id) = &correlation_id {
            message.push_str(" (correlation id ");
            message.push_str(id);
            message.push(')');
        }
        let mut error = Error::new(kind, message)
            .with_status(status)
            .with_aadsts_codes(codes.iter().copied());
        if let Some(advice) = aadsts::advice(&codes, oauth_error.as_deref()) {
            error = error.with_advice(advice);
        }
        if let Some(code) = oauth_error {
            error = error.with_oauth_error(&code);
        }
        if let Some(id) = correlation_id {
            error = error.with_correlation_id(&id);
        }
        let mut retry_after = retry_after(answer.headers(), self.received);
        if aadsts::is_loop(&codes) {
            retry_after = Some(retry_after.unwrap_or_default().max(LOOP_PAUSE));
        }
        match retry_after {
            Some(wait) => error.with_retry_after(wait),
            None => error,
        }
    }

    /// Text of the server, fit to be shown.
    fn shown(&self, value: &Scalar) -> Option<String> {
        let text = value.text()?;
        // Entra goes on with ids and a time, which are here as data.
        let text = text.split(" Trace ID:").next().unwrap_or(text);
        let text = text.split("\r\nTrace ID:").next().unwrap_or(text);
        Some(printable(self.without_secrets(text).trim_end()))
    }

    fn without_secrets(&self, text: &str) -> String {
        self.secrets
            .iter()
            .filter(|secret| !secret.is_empty())
            .fold(text.to_owned(), |text, secret| text.replace(secret, "***"))
    }
}

type Problem = std::borrow::Cow<'static, str>;

/// Where the JSON is wrong and how. The parser's own words may hold parts of
/// what it read.
fn no_json(answer: &Answer, cause: &serde_json::Error) -> String {
    if answer.body().is_empty() {
        return "but with an empty body".to_owned();
    }
    let class = match cause.classify() {
        serde_json::error::Category::Eof => "but the JSON in its body is cut off",
        serde_json::error::Category::Data => "but the JSON in its body is no token response",
        serde_json::error::Category::Syntax | serde_json::error::Category::Io => {
            "but its body is no JSON"
        }
    };
    format!("{class} (line {}, column {})", cause.line(), cause.column())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;
    use zeroize::Zeroizing;

    fn read(body: &str, token_type_optional: bool) -> Result<Issued, Error> {
        let asked = Timestamp::new(
            Duration::from_secs(7),
            UNIX_EPOCH + Duration::from_secs(1_750_000_000),
        );
        let reader = Reader {
            place: "login.example",
            asked,
            received: asked.wall,
            secrets: &[],
            token_type_optional,
        };
        reader.read(&http::Response::new(Zeroizing::new(
            body.as_bytes().to_vec(),
        )))
    }

    #[test]
    fn a_lifetime_counts_from_before_the_request() {
        let body = r#"{"token_type":"Bearer","access_token":"abc","expires_in":86399,"refresh_in":"43199","client_id":"me"}"#;
        let issued = read(body, false).unwrap();
        let anchor = issued.token.anchor().unwrap();
        assert_eq!(anchor.monotonic, Duration::from_secs(7));
        assert_eq!(
            issued.token.expires_on(),
            anchor.wall + Duration::from_secs(86_399)
        );
        assert_eq!(issued.token.refresh_in(), Some(Duration::from_secs(43_199)));
        assert_eq!(issued.client_id.as_deref(), Some("me"));
    }

    #[test]
    fn the_token_type_may_be_missing_where_servers_leave_it_out() {
        let body = r#"{"access_token":"abc","expires_in":3599}"#;
        assert!(read(body, false).is_err());
        assert!(read(body, true).is_ok());
        let pop = r#"{"access_token":"abc","expires_in":3599,"token_type":"pop"}"#;
        assert!(read(pop, true).is_err());
    }

    #[test]
    fn the_identity_is_echoed_by_whichever_ids_there_are() {
        let body = r#"{"access_token":"abc","expires_in":9,"client_id":"c","object_id":"o","mi_res_id":"/r"}"#;
        let issued = read(body, true).unwrap();
        assert_eq!(issued.client_id.as_deref(), Some("c"));
        assert_eq!(issued.object_id.as_deref(), Some("o"));
        assert_eq!(issued.resource_id.as_deref(), Some("/r"));
    }

    fn refused(body: &str) -> Error {
        let asked = Timestamp::new(Duration::ZERO, UNIX_EPOCH);
        let reader = Reader {
            place: "host.example",
            asked,
            received: asked.wall,
            secrets: &["canary"],
            token_type_optional: true,
        };
        let mut answer = http::Response::new(Zeroizing::new(body.as_bytes().to_vec()));
        *answer.status_mut() = StatusCode::BAD_REQUEST;
        reader.read(&answer).err().unwrap()
    }

    #[test]
    fn errors_are_read_in_the_form_of_every_host() {
        for (body, code, message) in [
            (
                r#"{"error":"invalid_request","error_description":"Identity not found"}"#,
                Some("invalid_request"),
                "host.example answered 400 Bad Request, invalid_request: Identity not found",
            ),
            (
                r#"{"statusCode":400,"message":"No such canary","correlationId":"c-1"}"#,
                None,
                "host.example answered 400 Bad Request: No such *** (correlation id c-1)",
            ),
            (
                r#"{"StatusCode":400,"Message":"No MSI found","CorrelationId":"c-2"}"#,
                None,
                "host.example answered 400 Bad Request: No MSI found (correlation id c-2)",
            ),
            (
                r#"{"error":{"code":"ManagedIdentityNotFound","correlationId":"c-3","message":"none"}}"#,
                Some("ManagedIdentityNotFound"),
                "host.example answered 400 Bad Request, ManagedIdentityNotFound: none (correlation id c-3)",
            ),
            (
                r#"{"error":{"code":7,"message":["none"]}}"#,
                None,
                "host.example answered 400 Bad Request",
            ),
            (
                r#"{"error":{"code":"A","innererror":{"code":"canary"}}}"#,
                Some("A"),
                "host.example answered 400 Bad Request, A",
            ),
            (
                "<html>canary",
                None,
                "host.example answered 400 Bad Request",
            ),
        ] {
            let error = refused(body);
            assert_eq!(error.oauth_error(), code, "{body}");
            assert_eq!(error.message(), message, "{body}");
            assert!(!format!("{error:?}").contains("canary"), "{body}");
        }
    }
}
