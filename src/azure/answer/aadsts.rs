//! Entra's error codes: which of them pass, and what to do about the others.
//!
//! Microsoft says not to decide by them, since they change. So they only refine
//! what the HTTP status and the OAuth `error` say, and an unknown code changes
//! nothing.

use crate::ErrorKind;

/// "The client has asked for the same thing too often": only time helps.
const LOOP_DETECTED: u32 = 50_196;
const THROTTLED: [u32; 3] = [LOOP_DETECTED, 90_055, 50_166];
const FAILED_ON_ITS_SIDE: [u32; 10] = [
    50_033, 90_006, 90_012, 90_024, 90_033, 90_090, 50_087, 40_010, 70_012, 80_005,
];
/// App Service answers 500 with these.
const NO_SUCH_RESOURCE: [u32; 3] = [500_011, 650_057, 50_001];

/// The kind of failure that a code stands for, if the status may say otherwise.
pub(in crate::azure) fn kind(codes: &[u32]) -> Option<ErrorKind> {
    if codes.iter().any(|code| THROTTLED.contains(code)) {
        Some(ErrorKind::Throttled)
    } else if codes.iter().any(|code| FAILED_ON_ITS_SIDE.contains(code)) {
        Some(ErrorKind::Unreachable)
    } else if codes.iter().any(|code| NO_SUCH_RESOURCE.contains(code)) {
        Some(ErrorKind::Rejected)
    } else {
        None
    }
}

/// Whether Entra takes this client for one that is caught in a loop.
pub(super) fn is_loop(codes: &[u32]) -> bool {
    codes.contains(&LOOP_DETECTED)
}

/// What to do, by the first code that is known, else by the OAuth error.
pub(in crate::azure) fn advice(codes: &[u32], oauth_error: Option<&str>) -> Option<&'static str> {
    codes
        .iter()
        .find_map(|code| by_code(*code))
        .or_else(|| by_oauth_error(oauth_error?))
}

fn by_code(code: u32) -> Option<&'static str> {
    Some(match code {
        7_000_215 => "the client secret is wrong: use the secret's value, not its id",
        7_000_222 => "the client secret has expired: add a new one to the app registration",
        7_000_112 => "the application is disabled in this tenant: enable it",
        70_002 => "check client id and client secret",
        700_016 => "no application with this client id is in this tenant: check both",
        700_011 => "no application with this client id is in any tenant: check it",
        90_002 | 900_023 => "there is no such tenant in this cloud: check tenant id and authority",
        500_011 | 650_057 | 50_001 => {
            "the tenant knows no service of this audience: check the audience, and that the service is of this tenant and cloud"
        }
        70_011 | 28_002 | 700_022 | 700_023 | 901_002 => {
            "the audience is malformed: give one application id URI, such as https://vault.azure.net"
        }
        700_211..=700_213 => {
            "no federated credential of the application matches issuer, subject and audience of the assertion"
        }
        700_027 | 50_012 | 700_030 | 7_000_218 | 700_025 => {
            "the certificate or assertion was not accepted: check that it belongs to the application"
        }
        700_024 | 500_133 | 50_013 => {
            "the assertion is not valid at this time: check the clock of this machine, and whether the token file, if it is from one, is still replaced"
        }
        50_105 => "assign the application to the service's enterprise application",
        53_000..=53_003 | 530_032 | 50_158 => "a Conditional Access policy refuses this sign-in",
        65_001 | 65_004 | 90_094 => "an administrator has to consent for this application",
        50_194 | 9_001_023 => "this application needs a tenant of its own: give a tenant id",
        LOOP_DETECTED => "the same token is asked for in a loop: share one TokenCache",
        _ => return None,
    })
}

fn by_oauth_error(error: &str) -> Option<&'static str> {
    Some(match error {
        "invalid_client" => "check client id and client secret",
        "unauthorized_client" => "check that the application is in this tenant and enabled",
        "invalid_scope" | "invalid_resource" => {
            "check the audience: the application id URI of one service of this tenant and cloud"
        }
        _ => return None,
    })
}

/// The numbers of the `AADSTS…` codes that `text` names.
pub(in crate::azure) fn codes_in(text: &str) -> impl Iterator<Item = u32> {
    text.split("AADSTS").skip(1).filter_map(|rest| {
        let end = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        rest.get(..end)?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_found_in_text() {
        let found = |text: &str| codes_in(text).collect::<Vec<_>>();
        assert_eq!(found("AADSTS7000215: Invalid client secret"), [7_000_215]);
        assert_eq!(found("(AADSTS50196) and AADSTS90002"), [50_196, 90_002]);
        assert_eq!(found("AADSTS AADSTSx AADSTS99999999999999 7"), [0_u32; 0]);
        assert_eq!(found("ÄAADSTS1ä"), [1]);
    }

    /// The table of Microsoft's codes, class by class.
    #[test]
    fn each_code_is_of_its_class() {
        for code in [50_196, 90_055, 50_166] {
            assert_eq!(kind(&[code]), Some(ErrorKind::Throttled), "{code}");
        }
        for code in [
            50_033, 90_006, 90_012, 90_024, 90_033, 90_090, 50_087, 40_010, 70_012, 80_005,
        ] {
            assert_eq!(kind(&[code]), Some(ErrorKind::Unreachable), "{code}");
        }
        // What lasts has a remedy, whatever the OAuth error is.
        for code in [
            7_000_215, 7_000_222, 70_002, 7_000_112, 700_211, 700_212, 700_213, 700_027, 50_012,
            700_030, 7_000_218, 700_025, 700_024, 500_133, 50_013, 700_016, 700_011, 90_002,
            900_023, 70_011, 28_002, 700_022, 700_023, 901_002, 50_158, 53_000, 53_001, 53_002,
            53_003, 530_032, 65_001, 65_004, 90_094, 50_105, 50_194, 9_001_023,
        ] {
            assert_eq!(kind(&[code]), None, "{code}");
            assert!(advice(&[code], None).is_some(), "{code}");
        }
        for code in [500_011, 650_057, 50_001] {
            assert_eq!(kind(&[code]), Some(ErrorKind::Rejected), "{code}");
            assert!(advice(&[code], None).is_some(), "{code}");
        }
    }

    #[test]
    fn codes_that_pass_are_told_from_refusals() {
        assert_eq!(kind(&[50_196]), Some(ErrorKind::Throttled));
        assert_eq!(kind(&[7, 90_033]), Some(ErrorKind::Unreachable));
        assert_eq!(kind(&[500_011]), Some(ErrorKind::Rejected));
        assert_eq!(kind(&[500_011, 90_033]), Some(ErrorKind::Unreachable));
        assert_eq!(kind(&[7_000_215]), None);
        assert!(advice(&[7_000_215], None).unwrap().contains("not its id"));
        assert!(advice(&[1], Some("invalid_client")).is_some());
        assert!(advice(&[1], Some("else")).is_none());
    }
}
