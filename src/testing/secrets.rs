//! The secrets of a Key Vault and their REST interface.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::state::State;
use super::switches::lock;
use super::vault::{Place, VaultState, error};
use super::wire::{Answer, Call, json};

const KEPT_VERSIONS: usize = 100;
const KEPT_SECRETS: usize = 10_000;

/// Key Vault's own limits.
const MAX_VALUE: usize = 25_600;
const MAX_PAGE: usize = 25;

#[derive(Default)]
pub(super) struct Secrets(BTreeMap<String, VecDeque<Version>>);

/// One version of a secret; the newest stands last.
struct Version {
    id: String,
    value: String,
    created: u64,
    /// What was sent beside the value: content type, tags, attributes.
    extra: Map<String, Value>,
}

impl Secrets {
    pub(super) fn set(
        &mut self,
        name: &str,
        value: &str,
        now: u64,
        random: u64,
        extra: &Map<String, Value>,
    ) {
        // Names are told apart without regard to case, as in Key Vault.
        let versions = self.0.entry(name.to_ascii_lowercase()).or_default();
        if versions.len() == KEPT_VERSIONS {
            versions.pop_front();
        }
        versions.push_back(Version {
            id: format!("{random:016x}{:016x}", !random),
            value: value.to_owned(),
            created: now,
            extra: extra.clone(),
        });
    }

    pub(super) fn value(&self, name: &str) -> Option<&str> {
        Some(&self.newest(name)?.value)
    }

    fn newest(&self, name: &str) -> Option<&Version> {
        self.0.get(&name.to_ascii_lowercase())?.back()
    }

    fn version(&self, name: &str, id: &str) -> Option<&Version> {
        let versions = self.0.get(&name.to_ascii_lowercase())?;
        versions.iter().find(|version| version.id == id)
    }
}

impl Version {
    fn bundle(&self, place: &Place, name: &str) -> Value {
        let mut bundle = self.extra.clone();
        bundle.insert("value".to_owned(), self.value.as_str().into());
        bundle.insert(
            "id".to_owned(),
            format!("{}/secrets/{name}/{}", place.base, self.id).into(),
        );
        bundle.insert("attributes".to_owned(), self.attributes());
        Value::Object(bundle)
    }

    /// An entry of a list, which never holds the value.
    fn item(&self, place: &Place, name: &str, id: Option<&str>) -> Value {
        let mut url = format!("{}/secrets/{name}", place.base);
        if let Some(id) = id {
            // Writing to a string cannot fail.
            let _ = write!(url, "/{id}");
        }
        json!({ "id": url, "attributes": self.attributes() })
    }

    fn attributes(&self) -> Value {
        let mut attributes = json!({
            "enabled": true,
            "created": self.created,
            "updated": self.created,
            "recoveryLevel": "Purgeable",
        });
        let asked = self.extra.get("attributes").and_then(Value::as_object);
        for name in ["enabled", "nbf", "exp"] {
            if let Some(value) = asked.and_then(|asked| asked.get(name)) {
                attributes[name] = value.clone();
            }
        }
        attributes
    }
}

/// Answers somebody who has been let in.
pub(super) fn respond(state: &State, vault: &VaultState, place: &Place, call: &Call) -> Answer {
    match call.query.filled("api-version") {
        None => return bad_parameter("The request URI does not specify an api-version."),
        Some(version) if !is_version(version) => {
            return bad_parameter(&format!("The api-version '{version}' is not supported."));
        }
        Some(_) => {}
    }
    let segments = call.segments();
    match (call.method.as_str(), &segments[..]) {
        ("GET", ["secrets"]) => list(vault, place, call),
        ("GET", ["secrets", name, "versions"]) => versions(vault, place, name),
        ("GET", ["secrets", name]) => get(vault, place, name, None),
        ("GET", ["secrets", name, version]) => get(vault, place, name, Some(version)),
        ("PUT", ["secrets", name]) => put(state, vault, place, name, call),
        ("DELETE", ["secrets", name]) => delete(vault, place, name),
        (_, ["secrets", ..]) => error(
            StatusCode::METHOD_NOT_ALLOWED,
            "MethodNotAllowed",
            &format!("{} is not allowed here.", call.method),
        ),
        _ => error(
            StatusCode::NOT_FOUND,
            "NotFound",
            "The embedded vault has secrets only.",
        ),
    }
}

fn get(vault: &VaultState, place: &Place, name: &str, version: Option<&str>) -> Answer {
    let secrets = lock(&vault.secrets);
    let found = match version {
        Some(id) => secrets.version(name, id),
        None => secrets.newest(name),
    };
    match found {
        Some(version) => json(StatusCode::OK, &version.bundle(place, name)),
        None => not_found(name),
    }
}

fn put(state: &State, vault: &VaultState, place: &Place, name: &str, call: &Call) -> Answer {
    let valid = (1..=127).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if !valid {
        return bad_parameter(
            "The secret's name is not made of 1 to 127 letters, digits and hyphens.",
        );
    }
    let Ok(mut body) = serde_json::from_slice::<Map<String, Value>>(&call.body) else {
        return bad_parameter("The request body is not a JSON object.");
    };
    let Some(Value::String(value)) = body.remove("value") else {
        return bad_parameter("Property 'value' is required.");
    };
    if value.len() > MAX_VALUE {
        return bad_parameter("The secret's value has more than 25600 bytes.");
    }
    body.retain(|field, _| matches!(field.as_str(), "contentType" | "tags" | "attributes"));
    let mut secrets = lock(&vault.secrets);
    if secrets.0.len() >= KEPT_SECRETS && secrets.newest(name).is_none() {
        return error(
            StatusCode::FORBIDDEN,
            "Forbidden",
            "The embedded vault holds no more secrets than this.",
        );
    }
    secrets.set(name, &value, state.now(), state.runtime.random(), &body);
    match secrets.newest(name) {
        Some(version) => json(StatusCode::OK, &version.bundle(place, name)),
        None => not_found(name),
    }
}

/// There is no bin to recover from: what is deleted is purged.
fn delete(vault: &VaultState, place: &Place, name: &str) -> Answer {
    let removed = lock(&vault.secrets).0.remove(&name.to_ascii_lowercase());
    match removed.as_ref().and_then(VecDeque::back) {
        Some(version) => json(
            StatusCode::OK,
            &version.item(place, name, Some(&version.id)),
        ),
        None => not_found(name),
    }
}

fn list(vault: &VaultState, place: &Place, call: &Call) -> Answer {
    let size = match call.query.get("maxresults").map(str::parse::<usize>) {
        None => MAX_PAGE,
        Some(Ok(size)) if (1..=MAX_PAGE).contains(&size) => size,
        Some(_) => return bad_parameter("'maxresults' is not a number from 1 to 25."),
    };
    let after = call.query.get("$skiptoken").unwrap_or_default();
    let secrets = lock(&vault.secrets);
    let mut rest = secrets
        .0
        .iter()
        .filter(|(name, _)| name.as_str() > after)
        .peekable();
    let mut last = "";
    let mut page = Vec::new();
    for (name, versions) in rest.by_ref().take(size) {
        page.extend(versions.back().map(|newest| newest.item(place, name, None)));
        last = name;
    }
    let next = rest.peek().map(|_| {
        let version = call.query.get("api-version").unwrap_or_default();
        format!(
            "{}/secrets?api-version={version}&$skiptoken={last}&maxresults={size}",
            place.base
        )
    });
    json(StatusCode::OK, &json!({ "value": page, "nextLink": next }))
}

fn versions(vault: &VaultState, place: &Place, name: &str) -> Answer {
    let secrets = lock(&vault.secrets);
    match secrets.0.get(&name.to_ascii_lowercase()) {
        Some(versions) => {
            let all: Vec<_> = versions
                .iter()
                .map(|version| version.item(place, name, Some(&version.id)))
                .collect();
            json(StatusCode::OK, &json!({ "value": all, "nextLink": null }))
        }
        None => not_found(name),
    }
}

fn not_found(name: &str) -> Answer {
    error(
        StatusCode::NOT_FOUND,
        "SecretNotFound",
        &format!(
            "A secret with (name/id) {name} was not found in this key vault. If you recently deleted this secret you may be able to recover it using the correct recovery command."
        ),
    )
}

fn bad_parameter(message: &str) -> Answer {
    error(StatusCode::BAD_REQUEST, "BadParameter", message)
}

/// `7.4`, `2025-07-01`, and previews of both.
fn is_version(version: &str) -> bool {
    let plain = version.split_once("-preview").map_or(version, |(v, _)| v);
    let numbered = plain
        .strip_prefix("7.")
        .is_some_and(|minor| !minor.is_empty() && minor.bytes().all(|b| b.is_ascii_digit()));
    numbered || super::imds::is_date(plain)
}
