//! Which file the agent wants to be read.

use std::path::{Path, PathBuf};

use http::HeaderMap;

use crate::Challenge;
use crate::error::printable;

/// The key file that a challenge names: `Basic realm=<path>`.
///
/// An agent, or what answers in its place, could name any file of this machine,
/// and would be sent what is in it (CVE-2024-35255). So nothing of the path that
/// it names is used but the name of the file, and only if the path is that of a
/// key in `folder`.
///
/// # Errors
///
/// Text that says what is wrong with the challenge.
pub(super) fn key_file(headers: &HeaderMap, folder: &Path) -> Result<PathBuf, String> {
    let challenges = Challenge::parse(headers);
    let mut basic = challenges.iter().filter(|one| one.is("Basic"));
    let realm = match (basic.next(), basic.next()) {
        (Some(only), None) => only.param("realm"),
        (Some(_), Some(_)) => return Err("names more than one key file".to_owned()),
        (None, _) => return Err("names no key file".to_owned()),
    };
    let Some(path) = realm else {
        return Err("names no key file".to_owned());
    };
    let separator = path.rfind(std::path::is_separator);
    let named = separator.and_then(|at| {
        let (parent, name) = path.split_at(at);
        is_same_folder(parent, folder).then(|| &name[1..])
    });
    match named {
        Some(name) if is_key(name) => Ok(folder.join(name)),
        _ => Err(format!(
            "wants {:?} to be read, which is no .key file in {}",
            printable(path),
            folder.display()
        )),
    }
}

fn is_same_folder(named: &str, folder: &Path) -> bool {
    folder.to_str().is_some_and(|folder| {
        if cfg!(windows) {
            named.eq_ignore_ascii_case(folder)
        } else {
            named == folder
        }
    })
}

fn is_key(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    name.strip_suffix(".key")
        .is_some_and(|stem| !stem.is_empty() && !stem.starts_with('.') && stem.bytes().all(allowed))
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use http::header::WWW_AUTHENTICATE;
    use proptest::prelude::*;

    const FOLDER: &str = "/var/opt/azcmagent/tokens";

    fn asked(lines: &[&str]) -> Result<PathBuf, String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_str(line).unwrap());
        }
        key_file(&headers, Path::new(FOLDER))
    }

    #[test]
    fn t6_a_key_in_the_folder_is_taken_quoted_or_not() {
        for line in [
            "Basic realm=/var/opt/azcmagent/tokens/0f-1_2.key",
            "basic Realm=\"/var/opt/azcmagent/tokens/0f-1_2.key\"",
            "Negotiate, Basic realm=/var/opt/azcmagent/tokens/0f-1_2.key",
        ] {
            let expected = Path::new(FOLDER).join("0f-1_2.key");
            assert_eq!(asked(&[line]), Ok(expected), "{line}");
        }
    }

    #[test]
    fn t6_every_other_path_is_refused() {
        for path in [
            "/etc/shadow",
            "/etc/shadow.key",
            "/var/opt/azcmagent/tokens/a.keys",
            "/var/opt/azcmagent/tokens/a.KEY",
            "/var/opt/azcmagent/tokens/a.key.pem",
            "/var/opt/azcmagent/tokens/a",
            "/var/opt/azcmagent/tokens/.key",
            "/var/opt/azcmagent/tokens/..key",
            "/var/opt/azcmagent/tokens/",
            "/var/opt/azcmagent/tokens",
            "/var/opt/azcmagent/tokens/../tokens/a.key",
            "/var/opt/azcmagent/tokens/../../../../etc/a.key",
            "/var/opt/azcmagent/tokens/./a.key",
            "/var/opt/azcmagent/tokens//a.key",
            "/var/opt/azcmagent/tokens/sub/a.key",
            "/var/opt/azcmagent/tokens\\a.key",
            "/var/opt/azcmagent/tokens/sub\\a.key",
            "/var/opt/azcmagent/tokensx/a.key",
            "/var/opt/azcmagent/Tokens/a.key",
            "//var/opt/azcmagent/tokens/a.key",
            "var/opt/azcmagent/tokens/a.key",
            "file:///var/opt/azcmagent/tokens/a.key",
            "/var/opt/azcmagent/tokens/%2e%2e/a.key",
            "/var/opt/azcmagent/tokens/a%00.key",
            "/var/opt/azcmagent/tokens/a:b.key",
            "/proc/self/environ",
            "/proc/self/root/var/opt/azcmagent/tokens/a.key",
            "a.key",
            "\\\\server\\share\\a.key",
        ] {
            let problem = asked(&[&format!("Basic realm={path}")]).unwrap_err();
            assert!(problem.starts_with("wants \""), "{path}: {problem}");
            // In quotes a backslash is an escape.
            if !path.contains('\\') {
                assert!(asked(&[&format!("Basic realm=\"{path}\"")]).is_err());
            }
        }
    }

    #[test]
    fn t6_no_challenge_and_two_are_refused() {
        const GOOD: &str = "Basic realm=/var/opt/azcmagent/tokens/a.key";
        for lines in [
            &[][..],
            &[""],
            &["Basic"],
            &["Basic realm="],
            &["Basic realm=\"\""],
            &["Basic dGVzdA=="],
            &["Basic realm"],
            &["Bearer realm=/var/opt/azcmagent/tokens/a.key"],
            &["Basic path=/var/opt/azcmagent/tokens/a.key"],
            &[GOOD, GOOD],
            &["Basic realm=/var/opt/azcmagent/tokens/a.key, Basic realm=/etc/passwd"],
            &["Basic realm=/var/opt/azcmagent/tokens/a.key, realm=/etc/passwd"],
            &["Basic realm=\"/var/opt/azcmagent/tokens/a.key"],
            &["Basic realm=/var/opt/azcmagent/tokens/a.key /etc/passwd"],
        ] {
            assert!(asked(lines).is_err(), "{lines:?}");
        }
    }

    proptest! {
        #[test]
        fn t6_whatever_is_named_the_file_lies_in_the_folder(
            path in prop_oneof![
                "[ -~]{0,60}",
                "/var/opt/azcmagent/tokens[/.a-z\\\\%]{0,12}\\.key",
            ],
        ) {
            if let Ok(file) = asked(&[&format!("Basic realm={path}")]) {
                prop_assert_eq!(file.parent(), Some(Path::new(FOLDER)));
                prop_assert!(file.to_str().unwrap() == path);
                prop_assert_eq!(file.extension().unwrap(), "key");
            }
        }
    }
}
