//! Which host gets a token for whom, and above all which gets none.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use http::Uri;
use proptest::prelude::*;
use tower_bearer::{Audience, Error, ErrorKind, FixedAudience, Hosts, Origin, ResolveAudience};

/// What a resolver answers for a URL, in one word or the audience.
fn answer(resolver: &impl ResolveAudience, url: &str) -> String {
    let Ok(uri) = url.parse::<Uri>() else {
        return "unparsable".into();
    };
    match Origin::of(&uri).and_then(|origin| resolver.resolve(&origin)) {
        Ok(Some(audience)) => audience.to_string(),
        Ok(None) => "none".into(),
        Err(error) if error.kind() == ErrorKind::RefusedHost => {
            assert!(error.advice().is_some(), "{error}");
            "refused".into()
        }
        Err(error) if error.kind() == ErrorKind::UnknownHost => "no host".into(),
        Err(error) => panic!("{url}: {error:?}"),
    }
}

fn assert_answers(resolver: &impl ResolveAudience, expected: &[(&str, &str)]) {
    for (url, expected) in expected {
        assert_eq!(answer(resolver, url), *expected, "{url}");
    }
}

fn configuration_error(result: Result<impl Sized, Error>, what: &str) {
    match result {
        Ok(_) => panic!("{what:?} was accepted"),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Configuration, "{what:?}");
            assert!(error.advice().is_some(), "{error}");
        }
    }
}

#[test]
fn i9_a_fixed_audience_is_for_every_https_host_and_nothing_else() {
    let fixed = FixedAudience::new("api://a");
    assert_answers(
        &fixed,
        &[
            ("https://any.example.com/x", "api://a"),
            ("https://ANY.example.com.:8443/", "api://a"),
            ("https://10.0.0.1/", "api://a"),
            ("https://[fd00::1]:444/", "api://a"),
            ("HTTPS://localhost/", "api://a"),
            ("http://any.example.com/", "refused"),
            ("http://localhost/", "refused"),
            ("httpsx://any.example.com/", "refused"),
            ("https://user@any.example.com/", "refused"),
            ("https://user:pw@any.example.com/", "refused"),
            ("https://any.example.com:99999/", "refused"),
            ("https://any.example.com:/", "refused"),
            ("https://any.example.com:0/", "refused"),
            ("https://evil.com;.example.com/", "refused"),
            ("https://2130706433/", "refused"),
            ("/relative", "no host"),
        ],
    );
    let loopback = fixed.allow_http_loopback();
    assert_answers(
        &loopback,
        &[
            ("http://localhost:8080/", "api://a"),
            ("http://127.0.0.2:1/", "api://a"),
            ("http://[::1]/", "api://a"),
            ("http://a.localhost/", "refused"),
            ("http://localhost.evil.com/", "refused"),
            ("http://10.0.0.1/", "refused"),
            ("http://0.0.0.0/", "refused"),
            ("http://[::ffff:127.0.0.1]/", "refused"),
            ("http://2130706433/", "refused"),
            ("http://127.1/", "refused"),
            ("http://user@localhost/", "refused"),
            ("ws://localhost/", "refused"),
            ("ws://localhost:8080/", "refused"),
        ],
    );
}

fn own_hosts() -> Hosts {
    Hosts::new()
        .allow("api.example.com", "api://orders")
        .and_then(|hosts| hosts.allow("Api.Example.com.:8443", "api://admin"))
        .and_then(|hosts| hosts.allow("*.example.com", "api://wide"))
        .and_then(|hosts| hosts.allow("*.team.example.com", "api://team"))
        .and_then(|hosts| hosts.allow("x.team.example.com", "api://x"))
        .and_then(|hosts| hosts.allow("*.port.example.net:444", "api://port"))
        .and_then(|hosts| hosts.allow("10.1.2.3", "api://v4"))
        .and_then(|hosts| hosts.allow("[fd00:0::1]:8443", "api://v6"))
        .and_then(|hosts| hosts.allow("gateway", "api://gateway"))
        .and_then(|hosts| hosts.allow("localhost:8443", "api://emulator"))
        .and_then(|hosts| hosts.allow_http_loopback("localhost:8080", "api://plain"))
        .and_then(|hosts| hosts.allow_http_loopback("127.0.0.1", "api://plain80"))
        .unwrap()
}

#[test]
fn i9_a_host_gets_the_audience_of_its_nearest_rule() {
    assert_answers(
        &own_hosts(),
        &[
            ("https://api.example.com/x?y", "api://orders"),
            ("https://API.example.com.:443/", "api://orders"),
            ("https://api.example.com:8443/", "api://admin"),
            ("https://b.example.com/", "api://wide"),
            ("https://c.b.example.com/", "api://wide"),
            ("https://a.team.example.com/", "api://team"),
            ("https://b.a.team.example.com/", "api://team"),
            ("https://x.team.example.com/", "api://x"),
            ("https://y.x.team.example.com/", "api://team"),
            ("https://team.example.com/", "api://wide"),
            ("https://a.port.example.net:444/", "api://port"),
            ("https://10.1.2.3/", "api://v4"),
            ("https://[fd00:0:0::0:1]:8443/", "api://v6"),
            ("https://gateway/", "api://gateway"),
            ("https://localhost:8443/", "api://emulator"),
            ("http://localhost:8080/", "api://plain"),
            ("http://127.0.0.1/", "api://plain80"),
        ],
    );
}

#[test]
fn i9_a_host_without_a_rule_has_no_audience() {
    assert_answers(
        &own_hosts(),
        &[
            ("https://example.com/", "none"),
            ("http://example.com/", "none"),
            ("https://notexample.com/", "none"),
            ("https://api.example.com.evil.net/", "none"),
            ("https://port.example.net:444/", "none"),
            ("https://10.1.2.4/", "none"),
            ("https://3.10.1.2.3/", "none"),
            ("https://[fd00::2]:8443/", "none"),
            ("https://[::ffff:10.1.2.3]/", "none"),
            ("https://167838211/", "none"),
            ("https://api.example.com../", "none"),
            ("https://evil.net;.example.com/", "none"),
            ("https://.example.com/", "none"),
            ("https://a..example.com/", "none"),
            ("https://*.example.com/", "none"),
            ("https://xn--a.example.com/", "none"),
            ("https://-a.example.com/", "none"),
            ("https://a_b.example.com/", "none"),
            ("https://user@evil.net/", "none"),
            ("https://api.example.com@evil.net/", "none"),
            ("https://evil.net:443.example.com/", "none"),
        ],
    );
}

#[test]
fn i9_a_listed_host_is_refused_over_plain_http_another_port_or_with_userinfo() {
    assert_answers(
        &own_hosts(),
        &[
            ("http://api.example.com/", "refused"),
            ("http://api.example.com:443/", "refused"),
            ("http://a.team.example.com/", "refused"),
            ("wss://api.example.com/", "refused"),
            ("https://user@api.example.com/", "refused"),
            ("https://evil.net@api.example.com/", "refused"),
            ("https://user:pw@a.team.example.com/", "refused"),
            ("https://api.example.com:444/", "refused"),
            ("https://api.example.com:/", "refused"),
            ("https://api.example.com:+443/", "refused"),
            ("https://api.example.com:65979/", "refused"),
            ("https://api.example.com:443.evil.net/", "refused"),
            ("https://a.port.example.net/", "refused"),
            ("https://10.1.2.3:444/", "refused"),
            ("https://[fd00::1]/", "refused"),
            ("https://[fd00::1]8443/", "refused"),
            ("http://gateway/", "refused"),
        ],
    );
}

#[test]
fn i9_on_loopback_another_port_is_another_service() {
    assert_answers(
        &own_hosts(),
        &[
            ("https://localhost/", "none"),
            ("http://localhost:8081/", "none"),
            ("http://127.0.0.1:8080/", "none"),
            ("https://127.0.0.1:8443/", "none"),
            // The right port, but not as the rule says.
            ("http://localhost:8443/", "refused"),
            ("https://localhost:8080/", "refused"),
            ("https://user@localhost:8443/", "refused"),
            ("https://localhost:/", "refused"),
            ("http://a.localhost:8080/", "none"),
        ],
    );
}

#[test]
fn a_rule_that_cannot_be_used_is_an_error_that_says_what_to_do() {
    for bad in [
        "",
        "*",
        "*.",
        "**.example.com",
        "*.com",
        "*.local",
        "*.localhost",
        "*.co.uk",
        "*.com.au",
        "*.CO.UK.",
        "a*.example.com",
        "a.*.example.com",
        "https://api.example.com",
        "api.example.com/",
        "api.example.com/path",
        "api.example.com?x",
        "api.example.com#x",
        "user@api.example.com",
        "api.example.com:0",
        "api.example.com:",
        "api.example.com:65536",
        "api.example.com:+443",
        "api.example.com:https",
        "api.example.com:1:2",
        "api..example.com",
        ".example.com",
        "-a.example.com",
        "a_b.example.com",
        "bücher.example.com",
        "xn--bcher-kva.example.com",
        "fd00::1",
        "[fd00::1",
        "[fd00::1]8443",
        "[fe80::1%25eth0]",
        "*.10.1.2.3",
        "*.[fd00::1]",
        "10.1.2",
        "10.1.2.03",
        "0x7f000001",
        "api.example.com\t",
        " api.example.com",
        "api.example.com\\.evil.com",
        "evil.com;.example.com",
        "a%2eexample.com",
    ] {
        configuration_error(Hosts::new().allow(bad, "api://a"), bad);
    }
    let long = format!("{}.example.com", "a".repeat(64));
    configuration_error(Hosts::new().allow(&long, "api://a"), &long);
    let longer = format!("{}example.com", "a.".repeat(122));
    configuration_error(Hosts::new().allow(&longer, "api://a"), &longer);
    for audience in ["", "api://a b", "api://ä", "a\nb"] {
        configuration_error(Hosts::new().allow("a.example.com", audience), audience);
    }
}

#[test]
fn i9_plain_http_can_be_allowed_for_loopback_only() {
    for good in [
        "localhost",
        "LOCALHOST:80",
        "127.0.0.1:8080",
        "127.9.9.9",
        "[::1]:8080",
    ] {
        assert!(
            Hosts::new().allow_http_loopback(good, "a").is_ok(),
            "{good}"
        );
    }
    for bad in [
        "api.example.com",
        "a.localhost",
        "localhost.example.com",
        "10.0.0.1",
        "0.0.0.0",
        "[::]",
        "[::ffff:127.0.0.1]",
        "169.254.169.254",
        "*.localhost",
    ] {
        configuration_error(Hosts::new().allow_http_loopback(bad, "api://a"), bad);
    }
}

#[test]
fn one_host_and_port_has_one_rule() {
    let twice = Hosts::new()
        .allow("a.example.com", "api://a")
        .and_then(|hosts| hosts.allow("A.example.com:443", "api://b"));
    configuration_error(twice, "a.example.com");
    let both = Hosts::new()
        .allow("localhost:8080", "api://a")
        .and_then(|hosts| hosts.allow_http_loopback("localhost:8080", "api://b"));
    assert!(both.is_ok());
}

#[test]
fn a_rule_never_shows_control_characters_in_its_error() {
    let error = Hosts::new().allow("a\r\nb\x1b[31m", "api://a").unwrap_err();
    assert!(!error.to_string().chars().any(char::is_control), "{error}");
}

#[test]
fn resolvers_can_be_shared_between_threads_and_printed() {
    fn check<T: Clone + std::fmt::Debug + Send + Sync + 'static>() {}
    check::<Hosts>();
    check::<FixedAudience>();
    #[cfg(feature = "azure")]
    check::<tower_bearer::azure::Audiences>();
    let shared: std::sync::Arc<dyn ResolveAudience> = std::sync::Arc::new(own_hosts());
    assert_answers(&shared, &[("https://api.example.com/", "api://orders")]);
}

#[test]
fn the_first_resolver_that_names_a_host_decides() {
    let chain = Hosts::new()
        .allow("a.example.com", "api://first")
        .unwrap()
        .or(FixedAudience::new("api://second"));
    assert_answers(
        &chain,
        &[
            ("https://a.example.com/", "api://first"),
            ("https://b.example.com/", "api://second"),
            // Refused by the first, so not offered to the second.
            ("https://a.example.com:444/", "refused"),
        ],
    );
}

#[test]
fn a_rule_of_ones_own_is_checked_for_https_only_where_it_fits() {
    let rule = |host: &str| (host == "a.example.com").then(|| Audience::from("api://a"));
    for (url, expected) in [
        ("https://a.example.com/", Ok(Some("api://a"))),
        ("https://b.example.com/", Ok(None)),
        ("http://b.example.com/", Ok(None)),
        ("http://a.example.com/", Err(ErrorKind::RefusedHost)),
        ("https://a.example.com:444/", Err(ErrorKind::RefusedHost)),
        ("https://u@a.example.com/", Err(ErrorKind::RefusedHost)),
        ("https://127.0.0.1/", Ok(None)),
    ] {
        let uri: Uri = url.parse().unwrap();
        let answer = Origin::of(&uri).unwrap().resolve_secure(rule);
        let answer = answer.as_ref().map(|a| a.as_ref().map(Audience::as_str));
        assert_eq!(answer.map_err(Error::kind), expected, "{url}");
    }
}

/// URLs made of what has fooled URL checks before, and of what has not.
fn tricky_url() -> impl Strategy<Value = String> {
    let pick = |from: &'static [&'static str]| prop::sample::select(from);
    let scheme = prop_oneof![
        6 => Just("https://"),
        2 => pick(&["HTTPS://", "hTtPs://", "http://", "httpsx://", "https:/", "https:\\\\", "//", "", " https://", "https:///", "ftp://"]),
    ];
    let userinfo = prop_oneof![
        6 => Just(""),
        1 => pick(&["user@", "user:pw@", ":@", "@", "evil.com@", "evil.com:443@", "evil.com\\@", "evil.com/@", "evil.com#@", "evil.com%40", "api.example.com@", "myvault.vault.azure.net:443@"]),
    ];
    let word = pick(&[
        "api",
        "API",
        "a",
        "myvault",
        "evil",
        "evil.com",
        "example.com",
        "EXAMPLE.com",
        "api.example.com",
        "team.example.com",
        "vault.azure.net",
        "vault.azure.net",
        "Vault.Azure.NET",
        "kusto.windows.net",
        "xn--vault-",
        "xn--a",
        "\u{ff45}xample",
        "ex\u{e4}mple",
        "*",
        "127.0.0.1",
        "10.1.2.3",
        "[::1]",
        "0x7f000001",
        "2130706433",
        "017700000001",
        "1",
        "evilvault",
        "-a",
        "a-",
        "a_b",
        "%65xample",
        "",
        "azurewebsites.net",
        "localhost",
        "a\u{200d}b",
        "a\u{ad}",
    ]);
    let joint = prop_oneof![
        8 => Just("."),
        1 => pick(&["", "..", "-", ";.", "%2e", "%2E", "%00.", "\u{3002}", "\u{ff0e}", "\t", "\n", "\\", "\\.", "/", "/.", "#", "?", "@", ":", ":443.", ":80.", ",", " ", "[", "]", "&.", "'.", "|."]),
    ];
    let host =
        (word.clone(), prop::collection::vec((joint, word), 0..4)).prop_map(|(first, rest)| {
            rest.iter()
                .fold(first.to_owned(), |mut host, (joint, word)| {
                    host.push_str(joint);
                    host.push_str(word);
                    host
                })
        });
    let port = prop_oneof![
        6 => Just(""),
        3 => Just(":443"),
        2 => pick(&[".", "..", ".:443", ":", ":0", ":80", ":0443", ":00000443", ":+443", ":-443", ":8443", ":65979", ":443:443", ":443@evil.com", ":4 43", ":\u{ff14}43", ":443\\@evil.com", "%3a443"]),
    ];
    let path = pick(&[
        "/",
        "",
        "/x",
        "/@api.example.com/",
        "?@api.example.com",
        "#.vault.azure.net",
        "\\@evil.com",
        "/..//api.example.com",
    ]);
    (scheme, userinfo, host, port, path).prop_map(|(scheme, userinfo, host, port, path)| {
        format!("{scheme}{userinfo}{host}{port}{path}")
    })
}

/// The origins that may have a token, told without any of the crate's code: by
/// another URL parser and a list.
fn may_have_a_token(url: &url::Url) -> Option<String> {
    let host = url.host_str()?;
    let host = host.strip_suffix('.').unwrap_or(host);
    let below = |suffix: &str| {
        host.strip_suffix(suffix)
            .and_then(|name| name.strip_suffix('.'))
            .is_some_and(|name| !name.is_empty())
    };
    let audience = if host == "api.example.com" {
        "api://orders".to_owned()
    } else if below("team.example.com") {
        "api://team".to_owned()
    } else if host == "10.1.2.3" {
        "api://v4".to_owned()
    } else if cfg!(feature = "azure") && (host == "vault.azure.net" || below("vault.azure.net")) {
        "https://vault.azure.net".to_owned()
    } else if cfg!(feature = "azure") && (host == "kusto.windows.net" || below("kusto.windows.net"))
    {
        format!("https://{host}")
    } else {
        return None;
    };
    let plain = url.scheme() == "https"
        && url.username().is_empty()
        && url.password().is_none()
        && url.port_or_known_default() == Some(443);
    plain.then_some(audience)
}

fn guarded() -> impl ResolveAudience {
    let hosts = Hosts::new()
        .allow("api.example.com", "api://orders")
        .and_then(|hosts| hosts.allow("*.team.example.com", "api://team"))
        .and_then(|hosts| hosts.allow("10.1.2.3", "api://v4"))
        .unwrap();
    #[cfg(feature = "azure")]
    let hosts = hosts.or(tower_bearer::azure::Audiences::new());
    hosts
}

fn allowed(resolver: &impl ResolveAudience, text: &str) -> Option<Audience> {
    let uri = text.parse::<Uri>().ok()?;
    let origin = Origin::of(&uri).ok()?;
    resolver.resolve(&origin).ok().flatten()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn t1_t2_no_tricky_url_gets_a_token_for_another_origin(text in tricky_url()) {
        if let Some(audience) = allowed(&guarded(), &text) {
            let other = url::Url::parse(&text);
            let expected = other.ok().as_ref().and_then(may_have_a_token);
            prop_assert_eq!(Some(audience.to_string()), expected, "{}", text);
        }
    }

    #[test]
    fn t2_no_text_at_all_gets_a_token_for_another_origin(text in "\\PC{0,12}(https?://)\\PC{0,40}(vault.azure.net|api.example.com)\\PC{0,12}") {
        if let Some(audience) = allowed(&guarded(), &text) {
            let other = url::Url::parse(&text);
            let expected = other.ok().as_ref().and_then(may_have_a_token);
            prop_assert_eq!(Some(audience.to_string()), expected, "{}", text);
        }
    }
}

#[test]
fn t1_the_generator_also_makes_urls_that_get_a_token() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let resolver = guarded();
    let strategy = tricky_url();
    let granted = (0..10_000)
        .filter(|_| {
            let text = strategy.new_tree(&mut runner).unwrap().current();
            allowed(&resolver, &text).is_some()
        })
        .count();
    assert!(granted > 100, "{granted} of 10000");
}

#[cfg(feature = "azure")]
mod azure {
    use super::*;
    use tower_bearer::azure::Audiences;

    struct Row {
        suffix: &'static str,
        audience: &'static str,
        kind: &'static str,
    }

    fn rows() -> Vec<Row> {
        include_str!("../data/azure_audiences.tsv")
            .lines()
            .skip(1)
            .map(|line| {
                let columns: Vec<_> = line.split('\t').collect();
                assert_eq!(columns.len(), 6, "{line}");
                Row {
                    suffix: columns[0],
                    audience: columns[1],
                    kind: columns[4],
                }
            })
            .collect()
    }

    /// What the rows say, looked up in the plainest way.
    fn by_rows(rows: &[Row], host: &str) -> String {
        let nearest = rows
            .iter()
            .filter(|row| host == row.suffix || host.ends_with(&format!(".{}", row.suffix)))
            .max_by_key(|row| row.suffix.len());
        match nearest.map(|row| (row.kind, row.audience)) {
            None => "none".to_owned(),
            Some(("fixed" | "app-id", audience)) => audience.to_owned(),
            Some(("per-host", _)) => format!("https://{host}"),
            Some(("ambiguous", _)) => "refused".to_owned(),
            Some((other, _)) => panic!("{other}"),
        }
    }

    #[test]
    fn every_row_of_the_table_resolves_as_it_says() {
        let rows = rows();
        assert!(rows.len() >= 260);
        let audiences = Audiences::new();
        for row in &rows {
            for host in [
                row.suffix.to_owned(),
                format!("name-1.{}", row.suffix),
                format!("b.a.{}", row.suffix),
            ] {
                let expected = by_rows(&rows, &host);
                assert_ne!(expected, "none");
                for url in [
                    format!("https://{host}/path?query"),
                    format!("https://{}:443", host.to_uppercase()),
                    format!("https://{host}./"),
                ] {
                    assert_eq!(answer(&audiences, &url), expected, "{url}");
                }
                for url in [
                    format!("http://{host}/"),
                    format!("http://{host}:443/"),
                    format!("https://{host}:8443/"),
                    format!("https://{host}:/"),
                    format!("https://user@{host}/"),
                    format!("httpsx://{host}/"),
                ] {
                    assert_eq!(answer(&audiences, &url), "refused", "{url}");
                }
                for url in [
                    format!("https://{host}.evil.com/"),
                    format!("https://{host}@evil.com/"),
                    format!("https://evil.com;.{host}/"),
                    format!("https://xn--evil.{host}/"),
                    format!("https://{host}../"),
                    format!("https://.{host}/"),
                ] {
                    assert_eq!(answer(&audiences, &url), "none", "{url}");
                }
            }
            // Not at a label border, but perhaps inside a wider row.
            let host = format!("evil{}", row.suffix);
            let url = format!("https://{host}/");
            assert_eq!(answer(&audiences, &url), by_rows(&rows, &host), "{url}");
        }
    }

    #[test]
    fn t3_domains_in_which_customers_run_code_have_no_rule() {
        let audiences = Audiences::new();
        for zone in [
            "azurewebsites.net",
            "azurewebsites.us",
            "cloudapp.azure.com",
            "cloudapp.net",
            "azurefd.net",
            "azureedge.net",
            "trafficmanager.net",
            "azure-api.net",
            "azurestaticapps.net",
            "azurecontainerapps.io",
            "azurecontainer.io",
            "azuredevcompute.io",
            "web.core.windows.net",
            "web.storage.azure.net",
            // Too wide.
            "azure.com",
            "azure.net",
            "azure.us",
            "azure.cn",
            "windows.net",
            "core.windows.net",
            "fabric.microsoft.com",
            "monitor.azure.com",
            "dynamics.com",
            "microsoft.com",
            "usgovcloudapi.net",
            "chinacloudapi.cn",
            "net",
            "com",
        ] {
            for host in [
                zone.to_owned(),
                format!("evil.{zone}"),
                format!("b.evil.{zone}"),
            ] {
                let url = format!("https://{host}/");
                assert_eq!(answer(&audiences, &url), "none", "{url}");
            }
        }
    }

    #[test]
    fn t1_t2_hosts_that_look_like_azure_get_nothing() {
        assert_answers(
            &Audiences::new(),
            &[
                ("https://evil.com;.vault.azure.net/", "none"),
                ("https://*.vault.azure.net/", "none"),
                ("https://.vault.azure.net/", "none"),
                ("https://a..vault.azure.net/", "none"),
                ("https://evil.com\\@myvault.vault.azure.net/", "unparsable"),
                ("https://evil.com\\.vault.azure.net/", "unparsable"),
                ("https://myvault.vault.azure.net\t.evil.com/", "unparsable"),
                ("https://user@myvault.vault.azure.net/", "refused"),
                ("https://evil.com:443.vault.azure.net/", "none"),
                ("https://[::1].vault.azure.net/", "none"),
                ("https://339870977/", "none"),
                ("https://0x14320101/", "none"),
                ("https://20.66.5.1/", "none"),
                ("https://[::1]/", "none"),
                (
                    "https://MYVAULT.VAULT.AZURE.NET/",
                    "https://vault.azure.net",
                ),
                ("https://myvault%2Evault.azure.net/", "unparsable"),
                ("https://ｍyvault.vault.azure.net/", "unparsable"),
                ("https://myvault。vault。azure。net/", "unparsable"),
                (
                    "https://myvault.vault.azure.net./",
                    "https://vault.azure.net",
                ),
                ("https://myvault.vault.azure.net../", "none"),
                (
                    "https://myvault.vault.azure.net:443/",
                    "https://vault.azure.net",
                ),
                ("https://myvault.vault.azure.net:8443/", "refused"),
                ("https://myvault.vault.azure.net:443@evil.com/", "none"),
                ("https://myvault.vault.azure.net@evil.com/", "none"),
                ("https://evil.com/myvault.vault.azure.net", "none"),
                ("https://evil.com?myvault.vault.azure.net", "none"),
                ("https://evil.com#.vault.azure.net", "none"),
                ("https://evilvault.azure.net/", "none"),
                ("https://myvault-vault.azure.net/", "none"),
                ("https://myvault.vault.azure.net.evil.com/", "none"),
                ("https://management.azure.com.evil.com/", "none"),
                ("https://management.evil.com/", "none"),
                ("https://x.azconfig.evil.com/", "none"),
                ("https://x.table.cosmos.evil.com/", "none"),
                ("https://xn--myvault.vault.azure.net/", "none"),
                ("https://-.vault.azure.net/", "none"),
                ("httpsx://myvault.vault.azure.net/", "refused"),
                ("http://myvault.vault.azure.net/", "refused"),
                ("https://localhost/", "none"),
                ("https://vault/", "none"),
            ],
        );
        let long = format!("https://{}.vault.azure.net/", "a".repeat(64));
        assert_eq!(answer(&Audiences::new(), &long), "none");
        let longer = format!("https://{}vault.azure.net/", "a.".repeat(121));
        assert_eq!(answer(&Audiences::new(), &longer), "none");
    }

    #[test]
    fn the_longest_suffix_decides_in_every_cloud() {
        assert_answers(
            &Audiences::new(),
            &[
                (
                    "https://s.postgres.database.usgovcloudapi.net/",
                    "https://ossrdbms-aad.database.usgovcloudapi.net",
                ),
                (
                    "https://s.database.usgovcloudapi.net/",
                    "https://database.usgovcloudapi.net/",
                ),
                (
                    "https://s.mysql.database.chinacloudapi.cn/",
                    "https://ossrdbms-aad.database.chinacloudapi.cn",
                ),
                (
                    "https://w.dicom.azurehealthcareapis.com/",
                    "https://dicom.healthcareapis.azure.com",
                ),
                (
                    "https://w.fhir.azurehealthcareapis.com/",
                    "https://w.fhir.azurehealthcareapis.com",
                ),
                (
                    "https://x.ingest.monitor.azure.com/",
                    "https://monitor.azure.com",
                ),
                (
                    "https://x.metrics.monitor.azure.com/",
                    "https://metrics.monitor.azure.com",
                ),
            ],
        );
    }

    #[test]
    fn exported_managed_disks_are_refused() {
        assert_answers(
            &Audiences::new(),
            &[
                ("https://md-abc.z01.blob.storage.azure.net/", "refused"),
                ("https://MD-abc.blob.core.windows.net/", "refused"),
                (
                    "https://md.blob.core.windows.net/",
                    "https://storage.azure.com",
                ),
                ("https://md-abc.vault.azure.net/", "https://vault.azure.net"),
            ],
        );
    }

    #[test]
    fn an_ambiguous_host_is_refused_with_its_candidates() {
        let uri: Uri = "https://orders.servicebus.windows.net/q".parse().unwrap();
        let error = Audiences::new()
            .resolve(&Origin::of(&uri).unwrap())
            .unwrap_err();
        let text = error.to_string();
        for part in [
            "orders.servicebus.windows.net",
            "https://servicebus.azure.net",
            "https://eventhubs.azure.net",
            "https://relay.azure.net",
            "Audiences::hint",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn a_hint_unlocks_its_host_and_nothing_else() {
        let audiences = Audiences::new()
            .hint(
                "Orders.servicebus.windows.net",
                "https://servicebus.azure.net",
            )
            .and_then(|audiences| {
                audiences.hint(
                    "servicebus.usgovcloudapi.net",
                    "https://eventhubs.azure.net",
                )
            })
            .and_then(|audiences| {
                audiences.hint(
                    "a.servicebus.usgovcloudapi.net",
                    "https://servicebus.azure.net",
                )
            })
            .unwrap();
        assert_answers(
            &audiences,
            &[
                (
                    "https://orders.servicebus.windows.net/",
                    "https://servicebus.azure.net",
                ),
                ("https://other.servicebus.windows.net/", "refused"),
                ("https://servicebus.windows.net/", "refused"),
                ("https://evilorders.servicebus.windows.net/", "refused"),
                ("http://orders.servicebus.windows.net/", "refused"),
                ("https://orders.servicebus.windows.net:5671/", "refused"),
                ("https://u@orders.servicebus.windows.net/", "refused"),
                ("https://orders.servicebus.windows.net.evil.com/", "none"),
                (
                    "https://x.servicebus.usgovcloudapi.net/",
                    "https://eventhubs.azure.net",
                ),
                (
                    "https://a.servicebus.usgovcloudapi.net/",
                    "https://servicebus.azure.net",
                ),
                ("https://x.servicebus.chinacloudapi.cn/", "refused"),
                ("https://f.scm.azurewebsites.net/", "refused"),
            ],
        );
    }

    #[test]
    fn a_hint_where_none_is_needed_is_an_error_that_says_what_to_do() {
        for bad in [
            "myvault.vault.azure.net",
            "windows.net",
            "example.com",
            "localhost",
            "10.0.0.1",
            "*.servicebus.windows.net",
            "orders.servicebus.windows.net:5671",
            "https://orders.servicebus.windows.net",
            "",
        ] {
            configuration_error(Audiences::new().hint(bad, "api://a"), bad);
        }
        let twice = Audiences::new()
            .hint("servicebus.windows.net", "https://servicebus.azure.net")
            .and_then(|audiences| {
                audiences.hint("servicebus.windows.net", "https://relay.azure.net")
            });
        configuration_error(twice, "servicebus.windows.net");
        assert!(
            Audiences::new()
                .hint("servicebus.windows.net", "a b")
                .is_err()
        );
    }
}
