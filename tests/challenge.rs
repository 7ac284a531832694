//! What servers may ask for with `WWW-Authenticate`, and what comes of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, HeaderValue, Uri};
use proptest::prelude::*;
use tower_bearer::{Challenge, ClaimsChallenges, Demand, FollowChallenge, Origin};

fn headers(lines: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(WWW_AUTHENTICATE, HeaderValue::from_str(line).unwrap());
    }
    headers
}

fn parse(lines: &[&str]) -> Vec<Challenge> {
    Challenge::parse(&headers(lines))
}

/// Challenges in one plain spelling: `Scheme token68` or `Scheme{a=b;c=d}`.
fn spell(lines: &[&str]) -> String {
    let spelled: Vec<_> = parse(lines)
        .iter()
        .map(|challenge| {
            let params: Vec<_> = challenge
                .params()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            match challenge.token68() {
                Some(token68) => format!("{} {token68}", challenge.scheme()),
                None => format!("{}{{{}}}", challenge.scheme(), params.join(";")),
            }
        })
        .collect();
    spelled.join(" | ")
}

fn assert_spells(cases: &[(&str, &str)]) {
    for (line, expected) in cases {
        assert_eq!(spell(&[line]), *expected, "{line}");
    }
}

#[test]
fn the_grammar_of_rfc_9110_is_read() {
    assert_spells(&[
        ("", ""),
        (" , ,, ", ""),
        ("Basic", "Basic{}"),
        ("Basic ", "Basic{}"),
        ("Basic realm=foo", "Basic{realm=foo}"),
        (r#"Basic realm="foo""#, "Basic{realm=foo}"),
        (r#"Basic realm="""#, "Basic{realm=}"),
        (
            r#"Basic realm = "foo" , charset	=	"UTF-8""#,
            "Basic{realm=foo;charset=UTF-8}",
        ),
        (r#"Basic   realm="foo""#, "Basic{realm=foo}"),
        (
            r#",,Basic realm="foo",,,Bearer,,"#,
            "Basic{realm=foo} | Bearer{}",
        ),
        (r#"Basic , realm="foo""#, "Basic{realm=foo}"),
        (
            r#"Newauth realm="apps", type=1, title="Login to \"apps\"", Basic realm="simple""#,
            r#"Newauth{realm=apps;type=1;title=Login to "apps"} | Basic{realm=simple}"#,
        ),
        (
            r#"Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=SHA-256, nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe""#,
            "Digest{realm=http-auth@example.org;qop=auth, auth-int;algorithm=SHA-256;nonce=7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v;opaque=FQhe}",
        ),
        (
            "Negotiate, NTLM, Basic realm=x",
            "Negotiate{} | NTLM{} | Basic{realm=x}",
        ),
        (
            "Negotiate oWwBggxyzABC==, Bearer",
            "Negotiate oWwBggxyzABC== | Bearer{}",
        ),
        ("Negotiate a, Negotiate b=", "Negotiate a | Negotiate b="),
        ("Scheme a-._~+/9==", "Scheme a-._~+/9=="),
        (r#"A b="\\\"\x",C"#, r#"A{b=\"x} | C{}"#),
        (r#"A b=", C d=\"e\"", F"#, r#"A{b=, C d="e"} | F{}"#),
        ("!#$%&'*+-.^_`|~ a=b", "!#$%&'*+-.^_`|~{a=b}"),
    ]);
}

#[test]
fn all_lines_are_read_in_their_order() {
    assert_eq!(
        spell(&["Basic realm=a, Negotiate", "", "Bearer realm=b"]),
        "Basic{realm=a} | Negotiate{} | Bearer{realm=b}"
    );
    assert_eq!(spell(&["Basic", "realm=a"]), "Basic{}");
    assert_eq!(spell(&[]), "");
}

#[test]
fn names_have_no_case_and_values_have() {
    let challenges = parse(&["BEARER Realm=Foo"]);
    assert!(challenges[0].is("bearer"));
    assert!(!challenges[0].is("bearer2"));
    assert_eq!(challenges[0].scheme(), "BEARER");
    assert_eq!(challenges[0].param("rEALM"), Some("Foo"));
    assert_eq!(challenges[0].param("foo"), None);
}

#[test]
fn the_forms_of_azure_are_read() {
    assert_spells(&[
        (
            "Bearer authorization_uri=https://login.microsoftonline.com/t/oauth2/authorize resource_id=https://storage.azure.com",
            "Bearer{authorization_uri=https://login.microsoftonline.com/t/oauth2/authorize;resource_id=https://storage.azure.com}",
        ),
        (
            r#"Bearer authorization="https://login.microsoftonline.com/t", resource="https://vault.azure.net""#,
            "Bearer{authorization=https://login.microsoftonline.com/t;resource=https://vault.azure.net}",
        ),
        (
            r#"Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize", error="insufficient_claims", claims=eyJhIjoxfQ=="#,
            "Bearer{realm=;authorization_uri=https://login.microsoftonline.com/common/oauth2/authorize;error=insufficient_claims;claims=eyJhIjoxfQ==}",
        ),
        ("Bearer a=b c=d, e=f", "Bearer{a=b;c=d;e=f}"),
        (r#"Bearer a="b" c="d""#, "Bearer{a=b;c=d}"),
        ("Bearer a=b=c==, Basic", "Bearer{a=b=c==} | Basic{}"),
        ("Bearer a=b=c==", "Bearer{a=b=c==}"),
    ]);
}

#[test]
fn a_malformed_challenge_is_dropped_and_its_neighbours_stay() {
    assert_spells(&[
        // No value, junk behind a value, no name.
        ("Basic, Bearer a=b, c=, Digest e=f", "Basic{} | Digest{e=f}"),
        (r#"Bearer a="b"c, Basic"#, "Basic{}"),
        (r#"Bearer a="b"c="d", Basic"#, "Basic{}"),
        (r#"Bearer a=b"c", Basic"#, "Basic{}"),
        ("Bearer =b, Basic", "Basic{}"),
        (
            "Basic, Bearer a=b, =c, d=e, Negotiate",
            "Basic{} | Negotiate{}",
        ),
        // Words that are no parameters.
        ("Bearer a b, Basic", "Basic{}"),
        (
            "Bearer error_description=The token expired, Basic",
            "Basic{}",
        ),
        ("Bearer a=b Basic realm=c, d=e, Digest", "Digest{}"),
        // token68 and parameters exclude each other.
        ("Negotiate abc=, a=b, Basic", "Basic{}"),
        ("Negotiate abc def, Basic", "Basic{}"),
        // No scheme.
        ("a=b", ""),
        ("a=b, Basic", "Basic{}"),
        ("(comment), Basic", "Basic{}"),
        ("Basic, {junk}", ""),
        (r#""quoted, Bearer x=y", Basic"#, "Basic{}"),
        // A quoted string without an end swallows the line.
        (r#"Basic, Bearer a="b, Digest c=d"#, "Basic{}"),
        (r#"Basic, Bearer a="b\"#, "Basic{}"),
        (r#"Basic, Bearer a="b\", Digest c=d"#, "Basic{}"),
        (r#"Basic, x"y, Digest c=d"#, "Basic{}"),
    ]);
    assert_eq!(
        spell(&[r#"Bearer a="b"#, "Basic realm=x"]),
        "Basic{realm=x}",
        "the next line is not touched"
    );
}

#[test]
fn a_challenge_with_a_parameter_twice_is_not_trusted() {
    assert_spells(&[
        ("Bearer a=b, A=c, Basic", "Basic{}"),
        ("Bearer a=b a=b, d=e, Basic", "Basic{}"),
        ("Bearer a=b, Bearer a=c", "Bearer{a=b} | Bearer{a=c}"),
    ]);
}

#[test]
fn bytes_that_are_no_text_break_nothing() {
    let mut headers = HeaderMap::new();
    let line =
        HeaderValue::from_bytes(b"Basic realm=\"\xff\xc3\xa4\", \xff=a, Bearer error=x").unwrap();
    headers.insert(WWW_AUTHENTICATE, line);
    headers.append(
        WWW_AUTHENTICATE,
        HeaderValue::from_bytes(b"Basic realm=\"\xff\xc3\xa4\"").unwrap(),
    );
    let challenges = Challenge::parse(&headers);
    assert_eq!(challenges.len(), 2);
    assert!(challenges[0].is("Bearer"));
    assert_eq!(challenges[1].param("realm"), Some("\u{fffd}\u{e4}"));
}

#[test]
fn what_is_read_is_bounded() {
    let many = vec!["Basic realm=x"; 100].join(", ");
    assert_eq!(parse(&[&many]).len(), 16);
    assert_eq!(parse(&vec!["Basic realm=x"; 100]).len(), 16);

    let params = |count: usize| {
        let params: Vec<_> = (0..count).map(|n| format!("p{n}=x")).collect();
        format!("Bearer {}, Basic", params.join(", "))
    };
    assert_eq!(parse(&[&params(64)]).len(), 2);
    assert_eq!(parse(&[&params(65)]).len(), 1);

    let long = format!("Bearer a={}", "x".repeat(32 * 1024));
    assert_eq!(spell(&["Basic", &long, "Digest"]), "Basic{}");
    let fits = format!("Bearer a={}", "x".repeat(32 * 1024 - 9));
    assert_eq!(parse(&[&fits]).len(), 1);
    assert_eq!(parse(&["B", &fits]).len(), 1);
}

#[test]
fn t29_debug_shows_no_control_characters_and_no_long_text() {
    let line = format!("Bearer a=\"\tx\", b={}", "y".repeat(1000));
    let shown = format!("{:?}", parse(&[&line]));
    assert!(shown.contains("Bearer") && !shown.contains('\t') && !shown.contains("\\t"));
    assert!(shown.len() < 500, "{}", shown.len());
}

/// A challenge as a strict server would send it.
fn write(scheme: &str, token68: Option<&str>, params: &[(String, String)], quote: bool) -> String {
    if let Some(token68) = token68 {
        return format!("{scheme} {token68}");
    }
    let params: Vec<_> = params
        .iter()
        .map(|(name, value)| {
            let is_token = !value.is_empty()
                && value
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
            if is_token && !quote {
                format!("{name}={value}")
            } else {
                let escaped = value.replace('\\', r"\\").replace('"', "\\\"");
                format!("{name}=\"{escaped}\"")
            }
        })
        .collect();
    format!("{scheme} {}", params.join(" , "))
        .trim_end()
        .to_owned()
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        written in prop::collection::vec(
            (
                "[A-Za-z][A-Za-z0-9!#$%&'*+.^_`|~-]{0,9}",
                prop::option::weighted(0.2, "[A-Za-z0-9._~+/-]{1,20}={0,3}"),
                prop::collection::vec(("[a-z][a-z0-9_-]{0,8}", "[\\t -~\u{e4}-\u{ff}]{0,20}"), 0..6),
                any::<bool>(),
            ),
            0..8,
        ),
        on_one_line in any::<bool>(),
    ) {
        let mut expected = Vec::new();
        let mut parts = Vec::new();
        for (scheme, token68, mut params, quote) in written {
            params.sort();
            params.dedup_by(|a, b| a.0 == b.0);
            let params = if token68.is_some() { Vec::new() } else { params };
            parts.push(write(&scheme, token68.as_deref(), &params, quote));
            expected.push((scheme, token68, params));
        }
        let lines = if on_one_line { vec![parts.join(", ")] } else { parts };
        let mut headers = HeaderMap::new();
        for line in &lines {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        let read: Vec<_> = Challenge::parse(&headers)
            .iter()
            .map(|challenge| {
                let params: Vec<_> = challenge
                    .params()
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .collect();
                (
                    challenge.scheme().to_owned(),
                    challenge.token68().map(str::to_owned),
                    params,
                )
            })
            .collect();
        prop_assert_eq!(read, expected, "{:?}", lines);
    }

    #[test]
    fn no_bytes_make_the_parser_panic(lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..4)) {
        let mut headers = HeaderMap::new();
        for line in lines {
            if let Ok(line) = HeaderValue::from_bytes(&line) {
                headers.append(WWW_AUTHENTICATE, line);
            }
        }
        check_bounds(&headers);
    }

    #[test]
    fn no_punctuation_makes_the_parser_panic(line in "[A-Za-z=\", \\\\\t\u{e4}]{0,200}") {
        let mut headers = HeaderMap::new();
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        check_bounds(&headers);
    }
}

fn check_bounds(headers: &HeaderMap) {
    let challenges = Challenge::parse(headers);
    assert!(challenges.len() <= 16);
    for challenge in &challenges {
        assert!(!challenge.scheme().is_empty());
        assert!(challenge.params().count() <= 64);
        assert!(challenge.token68().is_none() || challenge.params().count() == 0);
    }
    let uri: Uri = "https://myvault.vault.azure.net/".parse().unwrap();
    let origin = Origin::of(&uri).unwrap();
    let _ = ClaimsChallenges::new().follow(&origin, &challenges);
    #[cfg(feature = "azure")]
    let _ = tower_bearer::azure::Challenges::new().follow(&origin, &challenges);
}

#[test]
fn time_grows_with_the_length_of_the_line_only() {
    // Fifty times over, this takes minutes if any part is read again and again.
    for pattern in [
        "a ",
        "a=",
        "a,",
        "a\",",
        "\\\"",
        "a=\"",
        "a= ,",
        "a b=\"\" ",
        ",",
        " ",
        "=",
        "a=b ",
    ] {
        let line = pattern.repeat(32 * 1024 / pattern.len() - 1);
        for _ in 0..25 {
            let _ = parse(&[&line]);
            let _ = parse(&[&format!("x {line}")]);
        }
    }
}

const CLAIMS: &str =
    r#"{"access_token":{"nbf":{"essential":true,"value":"1726077595"},"x":"~~~???>>>"}}"#;

fn follow(follower: &impl FollowChallenge, url: &str, lines: &[&str]) -> Demand {
    let uri: Uri = url.parse().unwrap();
    follower.follow(&Origin::of(&uri).unwrap(), &parse(lines))
}

#[test]
fn r39_claims_are_read_in_both_alphabets_with_and_without_padding() {
    for padded in [
        STANDARD.encode(CLAIMS),
        URL_SAFE.encode(CLAIMS),
        STANDARD_NO_PAD.encode(CLAIMS),
        URL_SAFE_NO_PAD.encode(CLAIMS),
    ] {
        for line in [
            format!(
                r#"Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize", client_id="x", error="insufficient_claims", claims="{padded}""#
            ),
            format!("bearer ERROR=insufficient_claims, Claims={padded}"),
            format!(
                r#"Negotiate, Bearer realm="x", bearer claims="{padded}" error="insufficient_claims""#
            ),
        ] {
            let demand = follow(
                &ClaimsChallenges::new(),
                "https://graph.microsoft.com/",
                &[&line],
            );
            assert_eq!(demand.claims().unwrap().as_json(), CLAIMS, "{line}");
            assert!(demand.tenant().is_none() && demand.audience().is_none());
        }
    }
    assert_ne!(STANDARD.encode(CLAIMS), URL_SAFE.encode(CLAIMS));
}

#[test]
fn r39_claims_that_are_not_asked_for_in_order_are_ignored() {
    let good = STANDARD.encode(CLAIMS);
    let no_json = STANDARD.encode("not json");
    let no_object = STANDARD.encode("[1]");
    let no_text = STANDARD.encode(b"{\"a\":\"\xff\"}");
    let long = STANDARD.encode(format!(r#"{{"a":"{}"}}"#, "x".repeat(16 * 1024)));
    for line in [
        "Bearer".to_owned(),
        "Bearer error=insufficient_claims".to_owned(),
        r#"Bearer error="insufficient_claims", claims="""#.to_owned(),
        format!("Bearer claims={good}"),
        format!("Bearer error=invalid_token, claims={good}"),
        format!("Bearer error=INSUFFICIENT_CLAIMS, claims={good}"),
        format!("Basic error=insufficient_claims, claims={good}"),
        format!("Bearer error=insufficient_claims, claims={good}, claims={good}"),
        format!("Bearer error=insufficient_claims, claims={no_json}"),
        format!("Bearer error=insufficient_claims, claims={no_object}"),
        format!("Bearer error=insufficient_claims, claims={no_text}"),
        format!("Bearer error=insufficient_claims, claims={long}"),
        format!("Bearer error=insufficient_claims, claims=%%{good}"),
        format!("Bearer error=insufficient_claims, claims=\"{good} {good}\""),
        format!("Bearer error=insufficient_claims, claims=\"{CLAIMS}\"").replace(r#":{""#, ":{"),
    ] {
        let demand = follow(
            &ClaimsChallenges::new(),
            "https://graph.microsoft.com/",
            &[&line],
        );
        assert!(demand.is_empty(), "{line}: {demand:?}");
    }
}

#[test]
fn t5_only_claims_are_followed_by_default() {
    let demand = follow(
        &ClaimsChallenges::new(),
        "https://myvault.vault.azure.net/",
        &[
            r#"Bearer authorization="https://login.microsoftonline.com/72f988bf-86f1-41af-91ab-2d7cd011db47", resource="https://vault.azure.net""#,
        ],
    );
    assert!(demand.is_empty());
}

#[cfg(feature = "azure")]
mod azure {
    use super::*;
    use tower_bearer::azure::Challenges;
    use tower_bearer::{ErrorKind, TenantId};

    const TENANT: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";
    const VAULT: &str = "https://myvault.vault.azure.net/secrets/db";

    fn challenge(authority: &str, resource: &str) -> String {
        format!(r#"Bearer authorization="{authority}", resource="{resource}""#)
    }

    fn tenant_of(demand: &Demand) -> Option<&str> {
        demand.tenant().map(TenantId::as_str)
    }

    #[test]
    fn the_tenant_of_a_vault_is_taken_from_its_challenge() {
        let login = format!("https://login.microsoftonline.com/{TENANT}");
        for (url, line) in [
            (VAULT, challenge(&login, "https://vault.azure.net")),
            (
                VAULT,
                challenge(
                    &format!("{login}/oauth2/authorize?x=y"),
                    "https://VAULT.azure.net/",
                ),
            ),
            (
                VAULT,
                challenge(
                    &format!("https://LOGIN.windows.net:443/{}", TENANT.to_uppercase()),
                    "https://vault.azure.net:443",
                ),
            ),
            (
                "https://MyVault.Vault.Azure.Net.:443/",
                challenge(&login, "https://vault.azure.net"),
            ),
            (
                "https://h.managedhsm.azure.net/",
                challenge(&login, "https://managedhsm.azure.net"),
            ),
            (
                "https://v.vault.azure.cn/",
                challenge(
                    &format!("https://login.chinacloudapi.cn/{TENANT}"),
                    "https://vault.azure.cn",
                ),
            ),
            (
                VAULT,
                format!(
                    r#"Bearer authorization_uri="{login}", scope="https://vault.azure.net/.default""#
                ),
            ),
            (
                VAULT,
                format!(
                    r#"bearer AUTHORIZATION="{login}", authorization_uri="{login}", scope="https://vault.azure.net/.default", resource="https://vault.azure.net""#
                ),
            ),
            (
                VAULT,
                format!(
                    r#"Basic realm="x", Bearer realm="y", Bearer authorization="{login}" resource="https://vault.azure.net""#
                ),
            ),
            // Here the resource is no parent of the host, but what the table has for it.
            (
                "https://acct.blob.core.windows.net/",
                format!(
                    "Bearer authorization_uri={login}/oauth2/authorize resource_id=https://storage.azure.com"
                ),
            ),
            (
                "https://acct.queue.core.usgovcloudapi.net/",
                format!("Bearer authorization_uri={login} resource_id=https://storage.azure.com/"),
            ),
            (
                "https://myvault.privatelink.vaultcore.azure.net/",
                challenge(&login, "https://vault.azure.net"),
            ),
            (
                "https://a.documents.azure.com/",
                challenge(&login, "https://a.documents.azure.com"),
            ),
        ] {
            let demand = follow(&Challenges::new(), url, &[&line]);
            assert_eq!(tenant_of(&demand), Some(TENANT), "{url} {line}");
            assert!(demand.audience().is_none(), "{line}");
            assert!(demand.claims().is_none(), "{line}");
        }
        let line = challenge(
            "https://login.microsoftonline.com/Contoso.onmicrosoft.com",
            "https://vault.azure.net",
        );
        let demand = follow(&Challenges::new(), VAULT, &[&line]);
        assert_eq!(tenant_of(&demand), Some("contoso.onmicrosoft.com"));
    }

    #[test]
    fn the_tenant_is_the_first_part_of_the_authoritys_path_in_every_cloud() {
        for (authority, vault, resource) in [
            (
                "https://login.microsoftonline.com/TENANT/",
                VAULT,
                "https://vault.azure.net",
            ),
            (
                "https://login.microsoftonline.com/TENANT/oauth2/v2.0",
                VAULT,
                "https://vault.azure.net",
            ),
            (
                "https://login.microsoftonline.us/TENANT/",
                "https://v.vault.usgovcloudapi.net/secrets/a",
                "https://vault.usgovcloudapi.net",
            ),
        ] {
            let line = challenge(&authority.replace("TENANT", TENANT), resource);
            let demand = follow(&Challenges::new(), vault, &[&line]);
            assert_eq!(tenant_of(&demand), Some(TENANT), "{line}");
        }
    }

    /// Challenges that must not be followed, with the URL that they answer.
    #[allow(clippy::too_many_lines)] // A list.
    fn hostile() -> Vec<(String, String)> {
        let login = format!("https://login.microsoftonline.com/{TENANT}");
        let vault = "https://vault.azure.net";
        let mut cases = Vec::new();
        let mut add = |url: &str, line: String| cases.push((url.to_owned(), line));

        // Hosts that are not below the resource.
        for url in [
            "https://evil.example/",
            "https://evilvault.azure.net/",
            "https://vault.azure.net.evil.example/",
            "https://myvault.vault.azure.net@evil.example/",
            "https://evil.com;.vault.azure.net/",
            "https://xn--evil.vault.azure.net/",
            "https://vault.azure.net.:444/",
            "https://.vault.azure.net/",
            "https://127.0.0.1/",
            "https://localhost:8443/",
            "https://acct.blob.core.windows.net/",
            "https://orders.servicebus.windows.net/",
            // The right host in a way that it may not be asked.
            "http://myvault.vault.azure.net/",
            "https://user@myvault.vault.azure.net/",
            "https://myvault.vault.azure.net:8443/",
            "https://myvault.vault.azure.net:/",
            "httpsx://myvault.vault.azure.net/",
        ] {
            add(url, challenge(&login, vault));
        }
        // Resources that are not the server's to name.
        for resource in [
            "https://management.azure.com",
            "https://graph.microsoft.com",
            "https://storage.azure.com",
            "https://evil.vault.azure.net",
            "https://a.myvault.vault.azure.net",
            "https://ault.azure.net",
            "https://net",
            "https://",
            "https://.",
            "https://.net",
            "https:// ",
            "https://vault.azure.net.evil.example",
            "https://evil.example/vault.azure.net",
            "https://evil.example#vault.azure.net",
            "https://evil.example?vault.azure.net",
            "https://user@vault.azure.net",
            "https://vault.azure.net@evil.example",
            "https://vault.azure.net:8443",
            "https://vault.azure.net:",
            "https://vault.azure.net/x",
            "https://vault.azure.net//",
            "https://vault.azure.net?x",
            "https://vault.azure.net#x",
            "https://*.azure.net",
            "http://vault.azure.net",
            "httpsx://vault.azure.net",
            "vault.azure.net",
            "//vault.azure.net",
            "api://vault.azure.net",
            "https://vault。azure。net",
            "https://vault%2eazure.net",
            "cfa8b339-82a2-471a-a3c9-0fc0be7a4093",
            "",
        ] {
            add(VAULT, challenge(&login, resource));
        }
        // Authorities that name no tenant, or are none of Entra ID's.
        for authority in [
            "https://evil.example/TENANT",
            "https://login.microsoftonline.com.evil.example/TENANT",
            "https://evillogin.microsoftonline.com/TENANT",
            "https://x.login.microsoftonline.com/TENANT",
            "https://evil.example\\@login.microsoftonline.com/TENANT",
            "https://login.microsoftonline.com@evil.example/TENANT",
            "https://evil@login.microsoftonline.com/TENANT",
            "https://login.microsoftonline.com:8443/TENANT",
            "http://login.microsoftonline.com/TENANT",
            "//login.microsoftonline.com/TENANT",
            "/TENANT",
            "TENANT",
            "https://login.microsoftonline.com",
            "https://login.microsoftonline.com/",
            "https://login.microsoftonline.com//TENANT",
            "https://login.microsoftonline.com/common",
            "https://login.microsoftonline.com/Common/oauth2/authorize",
            "https://login.microsoftonline.com/organizations",
            "https://login.microsoftonline.com/consumers",
            "https://login.microsoftonline.com/adfs",
            "https://login.microsoftonline.com/oauth2/TENANT",
            "https://login.microsoftonline.com/..",
            "https://login.microsoftonline.com/../TENANT",
            "https://login.microsoftonline.com/%2e%2e",
            "https://login.microsoftonline.com/TENANT%2fx",
            "https://login.microsoftonline.com/TENANTx",
            "https://login.microsoftonline.com/TENANT;x",
            "https://login.microsoftonline.com?TENANT",
            "https://login.microsoftonline.com/a.b:8443",
            "https://login.microsoftonline.com/user@a.example",
            "https://login.microsoftonline.com/1.2.3.4:1",
            "",
        ] {
            add(
                VAULT,
                challenge(&authority.replace("TENANT", TENANT), vault),
            );
        }
        // Challenges that contradict themselves, or lack a half.
        for line in [
            format!(r#"Bearer authorization="{login}""#),
            format!(r#"Bearer authorization="{login}", error="invalid_token""#),
            format!(r#"Bearer resource="{vault}""#),
            format!(r#"Basic authorization="{login}", resource="{vault}""#),
            format!(r#"Bearer authorization="{login}", resource="{vault}", resource="{vault}""#),
            format!(
                r#"Bearer authorization="{login}", resource="{vault}", Resource="https://management.azure.com""#
            ),
            format!(
                r#"Bearer authorization="{login}", resource="{vault}", scope="https://management.azure.com/.default""#
            ),
            format!(
                r#"Bearer authorization="{login}", resource="https://management.azure.com", scope="{vault}/.default""#
            ),
            format!(
                r#"Bearer authorization="{login}", resource="{vault}", resource_id="https://storage.azure.com""#
            ),
            format!(r#"Bearer authorization="{login}", scope="{vault}""#),
            format!(r#"Bearer authorization="{login}", scope="{vault}/.default openid""#),
            format!(
                r#"Bearer authorization="{login}", authorization_uri="https://login.microsoftonline.com/contoso.com", resource="{vault}""#
            ),
            format!(r#"Bearer authorization="{login}", Bearer resource="{vault}""#),
            format!(r#"Bearer realm="x, Bearer authorization={login}, resource={vault}"#),
        ] {
            add(VAULT, line);
        }
        cases
    }

    #[test]
    fn t5_hostile_challenges_are_not_followed() {
        let cases = hostile();
        assert!(cases.len() >= 90);
        for (url, line) in cases {
            let Ok(uri) = url.parse::<Uri>() else {
                panic!("{url}");
            };
            let mut headers = HeaderMap::new();
            headers.insert(
                WWW_AUTHENTICATE,
                HeaderValue::from_bytes(line.as_bytes()).unwrap(),
            );
            let challenges = Challenge::parse(&headers);
            let demand = Challenges::new().follow(&Origin::of(&uri).unwrap(), &challenges);
            assert!(demand.is_empty(), "{url} {line}: {demand:?}");
        }
    }

    #[test]
    fn t5_no_hostile_challenge_chooses_an_audience_even_when_resources_are_trusted() {
        let follower = Challenges::new()
            .trust_resource()
            .trust_host("emulator.example.com")
            .unwrap();
        for (url, line) in hostile() {
            let uri: Uri = url.parse().unwrap();
            let mut headers = HeaderMap::new();
            headers.insert(
                WWW_AUTHENTICATE,
                HeaderValue::from_bytes(line.as_bytes()).unwrap(),
            );
            let demand = follower.follow(&Origin::of(&uri).unwrap(), &Challenge::parse(&headers));
            let audience = demand.audience().map(ToString::to_string);
            // The vault may name its resource; a strange authority beside it
            // takes nothing from that and adds nothing to it.
            let own = ["https://vault.azure.net", "https://vault.azure.net/"];
            assert!(
                audience.is_none() || (url == VAULT && own.contains(&audience.unwrap().as_str())),
                "{url} {line}: {demand:?}"
            );
            assert!(demand.tenant().is_none(), "{url} {line}: {demand:?}");
        }
    }

    #[test]
    fn an_audience_is_taken_only_when_asked_for_and_only_from_below_it() {
        let login = format!("https://login.microsoftonline.com/{TENANT}");
        let trusting = Challenges::new().trust_resource();
        for (url, resource, expected) in [
            (
                VAULT,
                "https://vault.azure.net",
                Some("https://vault.azure.net"),
            ),
            (
                VAULT,
                "https://VAULT.Azure.net/",
                Some("https://vault.azure.net/"),
            ),
            (
                VAULT,
                "https://vault.azure.net.",
                Some("https://vault.azure.net"),
            ),
            (
                "https://a.b.example.com/",
                "https://b.example.com",
                Some("https://b.example.com"),
            ),
            (
                "https://a.b.example.com/",
                "https://example.com",
                Some("https://example.com"),
            ),
            ("https://b.example.com/", "https://b.example.com", None),
            ("https://ab.example.com/", "https://b.example.com", None),
            ("http://a.b.example.com/", "https://b.example.com", None),
            (
                "https://acct.blob.core.windows.net/",
                "https://storage.azure.com",
                None,
            ),
            (VAULT, "https://management.azure.com", None),
        ] {
            let line = challenge(&login, resource);
            let demand = follow(&trusting, url, &[&line]);
            let audience = demand.audience().map(ToString::to_string);
            assert_eq!(audience.as_deref(), expected, "{url} {resource}");
            let plain = follow(&Challenges::new(), url, &[&line]);
            assert!(plain.audience().is_none());
        }
    }

    #[test]
    fn an_emulator_is_believed_on_its_host_and_port_only() {
        let follower = Challenges::new()
            .trust_resource()
            .trust_host("localhost:8443")
            .and_then(|follower| follower.trust_host("Vault.Example.com"))
            .and_then(|follower| follower.trust_host("10.1.2.3:8080"))
            .unwrap();
        let line = challenge(
            &format!("https://127.0.0.1:5000/{TENANT}"),
            "https://vault.azure.net",
        );
        for (url, tenant, audience) in [
            ("https://localhost:8443/", true, true),
            ("http://localhost:8443/", true, false),
            ("https://vault.example.com/", true, true),
            ("https://10.1.2.3:8080/", true, true),
            ("http://10.1.2.3:8080/", false, false),
            ("https://localhost:8444/", false, false),
            ("https://localhost/", false, false),
            ("http://vault.example.com/", false, false),
            ("https://a.vault.example.com/", false, false),
            ("https://user@localhost:8443/", false, false),
            ("https://127.0.0.1:8443/", false, false),
        ] {
            let demand = follow(&follower, url, &[&line]);
            assert_eq!(tenant_of(&demand), tenant.then_some(TENANT), "{url}");
            assert_eq!(demand.audience().is_some(), audience, "{url}");
        }
        for bad in [
            "",
            "*.example.com",
            "https://localhost",
            "localhost:0",
            "a b",
        ] {
            let error = Challenges::new().trust_host(bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration, "{bad}");
        }
    }

    #[test]
    fn claims_and_tenant_are_followed_together() {
        let claims = URL_SAFE_NO_PAD.encode(CLAIMS);
        let vault = challenge(
            &format!("https://login.microsoftonline.com/{TENANT}"),
            "https://vault.azure.net",
        );
        let demand = follow(
            &Challenges::new(),
            VAULT,
            &[&format!(
                r#"{vault}, error="insufficient_claims", claims="{claims}""#
            )],
        );
        assert_eq!(demand.claims().unwrap().as_json(), CLAIMS);
        assert_eq!(tenant_of(&demand), Some(TENANT));

        let demand = follow(
            &Challenges::new(),
            "https://evil.example/",
            &[
                &vault,
                &format!("Bearer error=insufficient_claims, claims={claims}"),
            ],
        );
        assert!(demand.claims().is_some() && demand.tenant().is_none());
    }
}
