//! What is left of a secret in memory.

use tower_bearer::azure::{ConnectionString, ConnectionStringBuilder};
use zeroize::Zeroizing;

use crate::loopback::in_own_process;
use crate::memory;

#[test]
fn t22_t20_no_copy_of_a_secret_is_left_in_memory() {
    in_own_process("wiped::child_leaves_no_secret_in_memory", &[]);
}

#[test]
#[ignore = "run in a process of its own, by the test above"]
fn child_leaves_no_secret_in_memory() {
    // Kept in another form, so that the search does not find itself.
    const MASK: u8 = 0x15;
    let hidden = |parts: [&str; 2]| -> Vec<u8> {
        let bytes = parts.iter().flat_map(|part| part.bytes());
        bytes.map(|byte| byte ^ MASK).collect()
    };
    let secret = hidden(["long-enough-", "canary~1"]);
    let mut search = memory::Search::new();
    let mut copies = || search.copies(&secret, MASK);
    let text = |before: &str, after: &str| {
        let mut text = Zeroizing::new(String::with_capacity(500));
        text.push_str(before);
        // What is freed loses its beginning to the allocator.
        text.push_str(&"x".repeat(40));
        text.extend(secret.iter().map(|byte| char::from(byte ^ MASK)));
        text.push_str(after);
        text
    };
    let app = "RunAs=App;AppId=a;TenantId=b.com;";
    for (before, after) in [
        ("AppKey=", ""),
        ("AppKey='a''", ";'"),
        ("AppKey=ab; ", "\u{df}==\u{2003}c=d"),
        ("CertificatePath=p;CertificatePassword=\"\"\"", "\""),
        ("AppKey=", "'"),
        ("AppKey='x';", "=1;=2"),
        ("RunAs=", ""),
    ] {
        let text = text(&format!("{app}{before}"), after);
        assert!(copies() > 0, "the search finds nothing at all");
        let read = ConnectionString::parse(&text);
        let told = format!("{read:?}{}", ConnectionString::explain(&text));
        if let Ok(string) = read {
            drop((string.to_string_with_secrets(), string.clone()));
            drop(string.deny_warnings());
        }
        drop((text, told));
        assert_eq!(copies(), 0, "{before}…{after}");
    }
    let mut secret = text("", "");
    let builder =
        ConnectionStringBuilder::client_secret("b.com", "a", std::mem::take(&mut *secret));
    drop(builder.clone().build().unwrap());
    drop(builder);
    assert_eq!(copies(), 0);
}
