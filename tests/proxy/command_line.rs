//! What can be asked for, and what not.

use crate::proxy::{Parsed, Settings, TokenSource, identity_of};
use crate::world::settings;

fn refused(arguments: &[&str]) -> String {
    let arguments = arguments.iter().map(ToString::to_string);
    match Settings::parse(arguments) {
        Err(message) => message,
        Ok(Parsed::Help) => panic!("help"),
        Ok(Parsed::Run(settings)) => match identity_of(&settings) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("taken"),
        },
    }
}

#[test]
fn all_options_together() {
    let settings = settings(&[
        "--route",
        "/kv=https://myvault.vault.azure.net",
        "--route",
        "/=h2c://[::1]:9000/base",
        "--audience",
        "/=api://a=b",
        "--listen",
        "[::1]:0",
        "--connections",
        "7",
        "--grace",
        "3",
    ]);
    let routes: Vec<_> = settings.routes.iter().map(ToString::to_string).collect();
    assert_eq!(
        routes,
        [
            "/kv -> https://myvault.vault.azure.net",
            "/ -> http://[::1]:9000/base (HTTP/2)"
        ]
    );
    assert_eq!(settings.limits.connections, 7);
    assert_eq!(settings.limits.grace.as_secs(), 3);
    assert_eq!(settings.token, TokenSource::Environment);
}

#[test]
fn as_many_connections_as_are_let_in_have_the_file_descriptors_they_take() {
    let settings = settings(&["--route", "/kv=https://myvault.vault.azure.net"]);
    // What `ulimit -n` mostly is, less a hundred for all else.
    assert!(settings.limits.connections * 2 <= 1024 - 100);
}

#[test]
fn t1_other_than_loopback_is_listened_on_only_if_that_is_said() {
    let route = "/kv=https://myvault.vault.azure.net";
    for listen in ["0.0.0.0:8080", "[::]:8080", "10.0.0.1:80"] {
        let arguments = ["--route", route, "--listen", listen];
        assert!(refused(&arguments).contains("--allow-remote"), "{listen}");
        let arguments = ["--route", route, "--listen", listen, "--allow-remote"];
        assert_eq!(settings(&arguments).listen, listen.parse().unwrap());
    }
}

#[test]
fn i9_routes_that_no_token_may_take_are_refused_at_the_start() {
    for (arguments, reason) in [
        (&["--route", "/a=http://api.example.com"][..], "plain HTTP"),
        (&["--route", "/a=h2c://10.0.0.1:80"][..], "plain HTTP"),
        (
            &["--route", "/a=https://api.example.com"][..],
            "--audience /a=URI",
        ),
        (
            &["--route", "/a=http://127.0.0.1:9000"][..],
            "--audience /a=URI",
        ),
        (
            &[
                "--route",
                "/a=https://api.example.com",
                "--route",
                "/b=https://API.example.com",
                "--audience",
                "/a=api://a",
                "--audience",
                "/b=api://b",
            ][..],
            "a rule for this host and port already",
        ),
    ] {
        let message = refused(arguments);
        assert!(message.contains(reason), "{message}");
    }
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let route = ["--route", "/kv=https://myvault.vault.azure.net"];
    for (arguments, reason) in [
        (&[][..], "there is no route"),
        (&["--rout"][..], "no option"),
        (&["--route"][..], "needs a value"),
        (&["--route", "kv=https://a.example"][..], "/PREFIX=VALUE"),
        (&["--route", "/kv"][..], "/PREFIX=VALUE"),
        (&["--route", "/kv=a.example"][..], "https://HOST"),
        (&["--route", "/kv=ftp://a.example"][..], "https://HOST"),
        (
            &["--route", "/kv=https://a.example:99999"][..],
            "https://HOST",
        ),
        (&["--route", "/kv=https://a.example/?x"][..], "plain paths"),
        (&["--route", "/kv=https://a.example/#x"][..], "plain paths"),
        (
            &["--route", "/kv=https://a.example/../x"][..],
            "plain paths",
        ),
        (&["--route", "/a/../b=https://a.example"][..], "plain paths"),
        (&["--route", "/a//b=https://a.example"][..], "plain paths"),
        (
            &[route[0], route[1], route[0], "/kv/=https://a.example"][..],
            "two routes",
        ),
        (
            &[route[0], route[1], "--audience", "/x=api://x"][..],
            "no route",
        ),
        (&[route[0], route[1], "--listen", "here"][..], "no address"),
        (
            &[route[0], route[1], "--host", "a.b:80"][..],
            "without a port",
        ),
        (&[route[0], route[1], "--host", "::1"][..], "without a port"),
        (&[route[0], route[1], "--host", "a/b"][..], "without a port"),
        (
            &[route[0], route[1], "--connections", "0"][..],
            "at least 1",
        ),
        (
            &[route[0], route[1], "--max-header", "100"][..],
            "at least 8192",
        ),
        (
            &[route[0], route[1], "--grace", "99999999"][..],
            "1 to 86400",
        ),
        (
            &[route[0], route[1], "--fixed-token", "SURELY_NOT_SET"][..],
            "is not set",
        ),
    ] {
        let message = refused(arguments);
        assert!(message.contains(reason), "{arguments:?}: {message}");
    }
}

#[test]
fn t8_a_password_in_the_wrong_place_is_not_repeated() {
    for arguments in [
        &["--route", "/kv=https://me:pa55@a.example"][..],
        &["--route=/kv=https://me:pa55@a.example"],
        &["https://me:pa55@a.example"],
        &["/kv=https://me:pa55@a.example"],
        &["--route", "https://me:pa55@a.example"],
        &["--route", "kv=https://me:pa55@a.example"],
        &["--route", "/kv=https://me:p#a55@a.example"],
        &["--route", "/kv=https://me:pa55/@a.example"],
        &["--route", "/kv=https://me:pa55?@a.example"],
        &["--route", "/kv=http://a.example/pa55"],
        &["--audience", "me:pa55@a.example"],
        &["--host", "me:pa55@a.example"],
        &["--listen", "me:pa55@a.example"],
        &[
            "--route",
            "/kv=https://a.example",
            "--audience",
            "/kv=api://a",
            "--fixed-token",
            "pa55",
        ],
    ] {
        let message = refused(arguments);
        assert!(!message.contains("a55"), "{arguments:?}: {message}");
    }
}

#[cfg(unix)]
#[test]
fn what_is_not_unicode_is_refused() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    let message = Settings::parse([OsStr::from_bytes(b"--ro\xffte")].into_iter());
    assert!(message.unwrap_err().contains("Unicode"));
}
