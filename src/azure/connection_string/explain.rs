//! How a string is read, for people who wonder why it does not do what they
//! meant.

use std::fmt::Write as _;

use super::identity::{DeveloperTool, Identity, RunAs, StoreLocation};
use super::key::Key;
use super::lexer::Pair;
use super::{ConnectionString, read, warning};
use crate::TenantId;

pub(super) fn explain(text: &str) -> String {
    let pairs = match read(text) {
        Ok(pairs) => pairs,
        Err(error) => return format!("cannot be read\nerror: {error}\n"),
    };
    let mut told = String::new();
    match ConnectionString::from_pairs(pairs.clone()) {
        Ok(string) => {
            let identity = string.identity();
            lead(&mut told, identity.description());
            table(&mut told, &pairs, Some(identity));
            list(&mut told, string.warnings());
            if let Some(error) = identity.unsupported() {
                line(&mut told, format_args!("error: {error}"));
            }
        }
        Err(error) => {
            lead(&mut told, "no identity");
            table(&mut told, &pairs, None);
            // The likely ones are in the error, too.
            list(&mut told, &warning::of_pairs(&pairs));
            line(&mut told, format_args!("error: {error}"));
        }
    }
    told
}

fn lead(told: &mut String, description: &str) {
    line(told, format_args!("selects {description}"));
}

fn list(told: &mut String, warnings: &[super::ConnectionStringWarning]) {
    for warning in warnings {
        line(told, format_args!("warning: {warning}"));
    }
}

fn table(told: &mut String, pairs: &[Pair], identity: Option<&Identity>) {
    let names: Vec<_> = pairs.iter().map(|pair| pair.name.to_string()).collect();
    let width = names
        .iter()
        .map(|name| name.chars().count())
        .max()
        .unwrap_or(0);
    for (pair, name) in pairs.iter().zip(&names) {
        let use_of_it = match (pair.name.key(), identity) {
            (None, _) => "unknown",
            (Some(key), Some(identity)) if !identity.uses(key) => "not used",
            (Some(_), Some(_)) => "used",
            (Some(_), None) => "known",
        };
        let value = shown(pair).unwrap_or_else(|| {
            let length = pair.value.chars().count();
            let quoted = if pair.quoted { ", quoted" } else { "" };
            format!("({length} characters{quoted})")
        });
        line(
            told,
            format_args!("  {name:width$}  {use_of_it:8}  {value}"),
        );
    }
}

fn line(told: &mut String, text: std::fmt::Arguments<'_>) {
    // To write to a string never fails.
    let _ = writeln!(told, "{text}");
}

/// The value, if it is certainly what belongs there: what stands in the wrong
/// place may be a secret.
fn shown(pair: &Pair) -> Option<String> {
    let value = pair.value.trim();
    let known = |names: &[&'static str]| {
        let found = names.iter().find(|name| name.eq_ignore_ascii_case(value));
        found.map(|name| (*name).to_owned())
    };
    match pair.name.key()? {
        Key::RunAs => known(&RunAs::ALL.map(RunAs::name)),
        Key::DeveloperTool => known(&DeveloperTool::ALL.map(DeveloperTool::name)),
        Key::CertificateStoreLocation => known(&StoreLocation::ALL.map(StoreLocation::name)),
        Key::AppId | Key::VaultUserAssignedManagedIdentityId => {
            is_guid(value).then(|| value.to_owned())
        }
        Key::TenantId => (is_guid(value) || is_domain(value)).then(|| value.to_owned()),
        Key::CertificateThumbprint => {
            let is_thumbprint = value.len() == 40 && value.bytes().all(|b| b.is_ascii_hexdigit());
            is_thumbprint.then(|| value.to_owned())
        }
        Key::MsiRetryTimeout => value
            .parse::<i32>()
            .ok()
            .map(|seconds| format!("{seconds} s")),
        _ => None,
    }
}

fn is_guid(text: &str) -> bool {
    let parts: Vec<_> = text.split('-').collect();
    parts.len() == 5
        && parts.iter().zip([8, 4, 4, 4, 12]).all(|(part, length)| {
            part.len() == length && part.bytes().all(|b| b.is_ascii_hexdigit())
        })
}

/// Letters alone behind the last dot: no generated secret has that.
fn is_domain(text: &str) -> bool {
    let last = text.rsplit_once('.').map(|(_, last)| last);
    TenantId::new(text).is_ok()
        && last.is_some_and(|last| last.len() >= 2 && last.bytes().all(|b| b.is_ascii_alphabetic()))
}
