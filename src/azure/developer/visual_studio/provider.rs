//! The file `tokenprovider.json`.

use std::path::PathBuf;

use serde::Deserialize;

/// More than there are versions of Visual Studio.
const MAX_PROVIDERS: usize = 16;

/// A program that hands out tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Provider {
    pub(super) path: PathBuf,
    pub(super) arguments: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct File {
    token_providers: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    path: Option<String>,
    arguments: Option<Vec<String>>,
    preference: Option<i64>,
}

/// What the file lists, the lowest `Preference` first.
///
/// # Errors
///
/// Text that says what is wrong with the file.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Provider>, String> {
    const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    let file: File = serde_json::from_slice(bytes).map_err(|cause| {
        format!(
            "is not as Visual Studio writes it (line {}, column {})",
            cause.line(),
            cause.column()
        )
    })?;
    let mut providers = Vec::new();
    for (at, entry) in file.token_providers.into_iter().enumerate() {
        let missing = |field: &str| format!("has no {field} in entry {}", at + 1);
        let path = entry.path.ok_or_else(|| missing("Path"))?;
        let preference = entry.preference.ok_or_else(|| missing("Preference"))?;
        let provider = Provider {
            path: path.into(),
            arguments: split(&entry.arguments.unwrap_or_default().join(" ")),
        };
        providers.push((preference, provider));
    }
    providers.sort_by_key(|(preference, _)| *preference);
    providers.truncate(MAX_PROVIDERS);
    Ok(providers
        .into_iter()
        .map(|(_, provider)| provider)
        .collect())
}

/// Splits a command line as Windows programs do: the entries are pieces of one,
/// with quotes of their own. Blanks separate, unless between quotes; backslashes
/// stand for themselves, unless quotes follow.
fn split(line: &str) -> Vec<String> {
    let mut arguments = Vec::new();
    let mut current: Option<String> = None;
    let mut is_quoted = false;
    let mut rest = line.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            ' ' | '\t' if !is_quoted => arguments.extend(current.take()),
            '\\' => {
                let mut backslashes = 1;
                while rest.next_if_eq(&'\\').is_some() {
                    backslashes += 1;
                }
                let argument = current.get_or_insert_default();
                if rest.peek() == Some(&'"') {
                    argument.extend(std::iter::repeat_n('\\', backslashes / 2));
                    if backslashes % 2 == 1 {
                        argument.extend(rest.next());
                    }
                } else {
                    argument.extend(std::iter::repeat_n('\\', backslashes));
                }
            }
            '"' => {
                let argument = current.get_or_insert_default();
                if is_quoted && rest.next_if_eq(&'"').is_some() {
                    argument.push('"');
                } else {
                    is_quoted = !is_quoted;
                }
            }
            other => current.get_or_insert_default().push(other),
        }
    }
    arguments.extend(current);
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quotes_inside_arguments_are_read_as_windows_programs_do() {
        for (line, expected) in [
            ("", vec![]),
            ("  a  b ", vec!["a", "b"]),
            (
                r#"TokenProvider --serviceHubConfig "C:\Program Files\hub config.json" x"#,
                vec![
                    "TokenProvider",
                    "--serviceHubConfig",
                    r"C:\Program Files\hub config.json",
                    "x",
                ],
            ),
            (r#"--a="b c"d"#, vec!["--a=b cd"]),
            (r#""C:\dir\\" next"#, vec![r"C:\dir\", "next"]),
            (r#"a\"b \\x"#, vec![r#"a"b"#, r"\\x"]),
            (r#""a ""b"" c""#, vec![r#"a "b" c"#]),
            (r#""""#, vec![""]),
            (r#""open end"#, vec!["open end"]),
        ] {
            assert_eq!(split(line), expected, "{line}");
        }
    }

    #[test]
    fn the_most_preferred_one_comes_first() {
        let file = br#"{"TokenProviders":[
            {"Path":"/c","Arguments":null,"Preference":3},
            {"Path":"/a","Arguments":["x","\"y z\""],"Preference":-1,"Else":[]},
            {"Path":"/b","Preference":2}
        ],"Version":1}"#;
        let with_mark = [b"\xef\xbb\xbf".as_slice(), file].concat();
        for bytes in [file.as_slice(), &with_mark] {
            let providers = parse(bytes).unwrap();
            let paths: Vec<_> = providers.iter().map(|p| p.path.to_str().unwrap()).collect();
            assert_eq!(paths, ["/a", "/b", "/c"]);
            assert_eq!(providers[0].arguments, ["x", "y z"]);
        }
    }

    #[test]
    fn a_file_in_another_form_is_told_by_the_field_and_never_by_its_content() {
        let problem = |text: &str| parse(text.as_bytes()).unwrap_err();
        assert_eq!(
            problem(r#"{"TokenProviders":[{"Path":"/canary"}]}"#),
            "has no Preference in entry 1"
        );
        assert_eq!(
            problem(r#"{"TokenProviders":[{"Preference":1}]}"#),
            "has no Path in entry 1"
        );
        for odd in [
            "",
            "canary",
            "{}",
            r#"{"TokenProviders":"canary"}"#,
            r#"{"TokenProviders":[{"Path":1,"Preference":"canary"}]}"#,
        ] {
            assert!(!problem(odd).contains("canary"), "{odd}");
        }
        assert!(parse(br#"{"TokenProviders":[]}"#).unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn what_is_quoted_comes_out_whole(words in prop::collection::vec("[a-z \\\\.]{0,8}", 0..4)) {
            let line: Vec<_> = words
                .iter()
                .map(|word| {
                    let backslashes = word.len() - word.trim_end_matches('\\').len();
                    format!("\"{word}{}\"", "\\".repeat(backslashes))
                })
                .collect();
            prop_assert_eq!(split(&line.join(" ")), words);
        }
    }
}
