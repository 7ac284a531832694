//! The grammar once more, as regular expressions after .NET's: what the lexer
//! is compared with.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use regex::Regex;

use super::ConnectionString;
use super::lexer::{self, Pair};

static ORACLE: LazyLock<Oracle> = LazyLock::new(Oracle::new);

/// Keys and values, all `=` and quotes undone.
type Pairs = Vec<(String, String)>;

struct Oracle {
    pair: Regex,
    end: Regex,
}

impl Oracle {
    /// Without looking around, which the crate cannot do and the original does:
    /// what may not follow is spelled out.
    fn new() -> Self {
        let key = r"(?P<key>(?:[^=;\s\p{Cc}]|==)(?:[^=\s\p{Cc}]|\s+[^=\s\p{Cc}]|\s+==|==)*)";
        let quoted = r#""(?:[^"\x00]|"")*"|'(?:[^'\x00]|'')*'"#;
        let rest = r#"(?:(?:\s*[^;\s\p{Cc}])*\s*[^;\s\p{Cc}"'])?"#;
        let after_blanks = format!(r#"(?P<a>{quoted}|(?:[^;\s\p{{Cc}}"']{rest})?)"#);
        let at_once = format!(r#"(?P<b>{quoted}|(?:[^;=\s\p{{Cc}}"']{rest})?)"#);
        let pair = format!(r"\A[\s;]*{key}\s*=(?:\s+{after_blanks}|{at_once})\s*(?:;|[\x00\s]*\z)");
        Self {
            pair: Regex::new(&pair).unwrap(),
            end: Regex::new(r"\A[\s;]*[\x00\s]*\z").unwrap(),
        }
    }

    fn pairs(&self, mut text: &str) -> Option<Pairs> {
        let mut pairs = Vec::new();
        while let Some(found) = self.pair.captures(text) {
            let value = found.name("a").or(found.name("b")).unwrap().as_str();
            let value = match value.chars().next() {
                Some(quote @ ('"' | '\'')) => value[1..value.len() - 1]
                    .replace(&format!("{quote}{quote}"), &quote.to_string()),
                _ => value.to_owned(),
            };
            pairs.push((found["key"].replace("==", "="), value));
            text = &text[found.get(0).unwrap().end()..];
        }
        self.end.is_match(text).then_some(pairs)
    }
}

/// Upper and lower case of keys is left out: known ones are told in their own.
fn lower_keys(pairs: impl Iterator<Item = (String, String)>) -> Pairs {
    pairs
        .map(|(key, value)| (key.to_ascii_lowercase(), value))
        .collect()
}

fn written(pair: &Pair) -> (String, String) {
    (pair.name.text().to_owned(), pair.value.to_string())
}

fn assert_agree(text: &str) {
    let read = lexer::pairs(text).ok();
    let end = text.chars().count() + 1;
    let mut last = 0;
    for pair in read.iter().flatten() {
        assert!(last < pair.position && pair.position < pair.value_position);
        assert!(pair.value_position <= end, "{text:?}");
        last = pair.position;
    }
    let read = read.map(|pairs| lower_keys(pairs.iter().map(written)));
    let expected = ORACLE
        .pairs(text)
        .map(|pairs| lower_keys(pairs.into_iter()));
    assert_eq!(read, expected, "{text:?}");
}

/// What strings are made of, each of it more often than chance would have it.
const PIECES: &[&str] = &[
    "=",
    "=",
    "=",
    "==",
    ";",
    ";",
    ";",
    " ",
    "\t",
    "\r\n",
    "\u{2003}",
    "\u{85}",
    "\"",
    "\"",
    "'",
    "'",
    "\"\"",
    "''",
    "\0",
    "\u{1}",
    "\u{7f}",
    "\u{9f}",
    "\u{1c}",
    "\u{feff}",
    "\u{200b}",
    "“",
    "–",
    "<",
    "}",
    "é",
    "ſ",
    "\u{1f600}",
    "a",
    "b",
    "RunAs=App",
    "RunAs",
    "AppId",
    "appkey",
    "TenantId=contoso.com",
    "DeveloperTool=AzureCLI",
    "RunAs=Developer",
    "CertificatePath=/a",
    "CertificateStoreLocation=LocalMachine",
    "MsiRetryTimeout=0",
    "ClientId",
    "AppKey='a;b'",
    CANARY,
    "AppKey=c4n4ry~",
    "='c4n4ry~;'",
    "TenantId=c4n4ry~",
    "RunAs=c4n4ry~;",
    "\"c4n4ry~\"",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn the_lexer_reads_what_the_regular_expression_of_dot_net_does(
        pieces in prop::collection::vec(prop::sample::select(PIECES), 0..12),
    ) {
        assert_agree(&pieces.concat());
    }

    #[test]
    fn any_text_is_read_as_by_the_regular_expression(text in any::<String>()) {
        assert_agree(&text);
    }
}

/// Strings that are read, or nearly so, for the fuzzer to change.
const SEEDS: &[&str] = &[
    "RunAs=App;",
    "RunAs=App;AppId=f0b1f84a-ec74-4cef-8034-adbad168ce33",
    "RunAs=App;AppId=a;TenantId=contoso.com;AppKey=\"a\"\"b;c'=d\"",
    "RunAs=App;AppId=a;TenantId=contoso.com;AppKey='a''b;c\"=d'",
    "RunAs=App;AppId=a;TenantId=contoso.com;AppKey=ab;cd=e;f;g=h",
    "RunAs = App; AppId = a;\r\n TenantId = contoso.com; CertificatePath = /a b/c.pem",
    "RunAs=App;AppId=a;TenantId=t;CertificateThumbprint=1;CertificateStoreLocation=CurrentUser",
    "RunAs=App;AppId=a;KeyVaultCertificateSecretIdentifier=https://v.vault.azure.net/secrets/c",
    "RunAs=App;MsiRetryTimeout=0",
    "runas=developer; developertool=azurecli; ",
    "RunAs=CurrentUser;\0\0",
    "RunAs=Workload;TokenFile=/var/run/token;a==b=c;;;",
    "\u{feff}RunAs=“App”;ClientId=<id>",
    "\"RunAs=App;AppKey=x\"",
];

/// One thing that is done to a string, at a place in it.
fn change() -> impl Strategy<Value = (prop::sample::Index, usize, String)> {
    let piece = prop_oneof![
        3 => prop::sample::select(PIECES).prop_map(str::to_owned),
        1 => any::<char>().prop_map(String::from),
        1 => Just(String::new()),
    ];
    (any::<prop::sample::Index>(), 0..4_usize, piece)
}

fn changed(seed: &str, changes: &[(prop::sample::Index, usize, String)]) -> String {
    let mut chars: Vec<char> = seed.chars().collect();
    for (place, removed, inserted) in changes {
        let from = place.index(chars.len() + 1);
        let to = (from + removed).min(chars.len());
        chars.splice(from..to, inserted.chars());
    }
    chars.into_iter().collect()
}

/// Whatever is read, nothing of a value is told.
fn assert_nothing_is_told(text: &str) {
    let told = match ConnectionString::parse(text) {
        Ok(string) => format!(
            "{string:?}{:?}{:?}",
            string.warnings(),
            string.clone().deny_warnings()
        ),
        Err(error) => format!("{error}{error:?}"),
    };
    let told = format!("{told}{}", ConnectionString::explain(text));
    assert!(!told.contains(CANARY), "{text:?}: {told}");
}

/// With characters that no word has, which could be taken for a key's.
const CANARY: &str = "c4n4ry~";

#[test]
#[ignore = "runs for FUZZ_SECONDS, 10 unless that is set: see CONTRIBUTING.md"]
#[allow(clippy::disallowed_methods, clippy::print_stdout)]
fn t22_fuzz() {
    let set = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let limit = Duration::from_secs(set("FUZZ_SECONDS").unwrap_or(10));
    let seed = set("FUZZ_SEED").unwrap_or(0);
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), random);
    let strategy = (
        prop::sample::select(SEEDS),
        prop::collection::vec(change(), 0..8),
    );
    let start = Instant::now();
    let (mut cases, mut read) = (0_u64, 0_u64);
    while start.elapsed() < limit {
        let (seed, changes) = strategy.new_tree(&mut runner).unwrap().current();
        let text = changed(seed, &changes);
        assert_agree(&text);
        assert_nothing_is_told(&text);
        cases += 1;
        read += u64::from(ConnectionString::parse(&text).is_ok());
    }
    println!(
        "{cases} cases in {:.0} s from seed {seed}: {read} were read, {} refused, none panicked",
        start.elapsed().as_secs_f64(),
        cases - read
    );
    assert!(read > cases / 20 && read < cases);
}
