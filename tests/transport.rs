//! The identity transport: TLS and its roots, proxies, limits, and what it
//! says when a provider cannot be reached.
#![cfg(all(feature = "azure", feature = "test-util"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::format_push_string,
    clippy::disallowed_methods,
    missing_docs
)]

#[path = "support/loopback.rs"]
mod loopback;
#[path = "support/scripted.rs"]
mod scripted;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use loopback::{Server, in_own_process, read_request, write_json};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use scripted::{HandClock, TOKEN};
use tokio::io::AsyncWriteExt as _;
use tokio_rustls::TlsAcceptor;
use tower::{Service as _, ServiceExt as _};
use tower_bearer::azure::ClientSecretCredential;
use tower_bearer::{
    AccessToken, BoxError, Credential as _, Error, ErrorKind, TokenRequest, Transport,
    TransportBuilder,
};

fn vault() -> TokenRequest {
    TokenRequest::new("https://vault.azure.net")
}

/// Too short for a wait, so that there is one try. With a clock that stands
/// still it cannot cut that one short.
const ONE_TRY: Duration = Duration::from_millis(500);

fn on_a_clock_that_stands_still() -> TokenRequest {
    vault().with_runtime(Arc::new(HandClock::new()))
}

/// Asks the identity provider at `authority` for a token.
async fn token(authority: &str, transport: TransportBuilder) -> Result<AccessToken, Error> {
    ClientSecretCredential::builder("contoso.com", "app", "s3cret")
        .authority_host(authority)
        .transport(transport.build()?)
        .timeout(ONE_TRY)
        .build()?
        .token(&on_a_clock_that_stands_still())
        .await
}

/// A certificate authority, and an identity provider that it vouches for.
struct Provider {
    server: Server,
    root_pem: String,
}

impl Provider {
    /// Serves tokens as `name`.
    async fn start(name: &str) -> Self {
        Self::start_valid_until(name, 2100).await
    }

    async fn start_valid_until(name: &str, year: i32) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(
            rustls::crypto::aws_lc_rs::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let server = Server::start(move |_, stream| {
            let acceptor = acceptor.clone();
            async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                while read_request(&mut stream).await.is_some() {
                    write_json(&mut stream, "200 OK", TOKEN).await;
                }
            }
        })
        .await;
        Self {
            server,
            root_pem: issuer.pem(),
        }
    }

    fn url(&self) -> String {
        format!("https://{}", self.server.address)
    }
}

/// A directory that is gone when dropped.
struct TempDir(PathBuf);

impl TempDir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tower-bearer-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn a_certificate_is_trusted_by_a_root_that_was_added() {
    let provider = Provider::start("127.0.0.1").await;
    let transport = Transport::builder().add_root_certificates(&provider.root_pem);
    let token = token(&provider.url(), transport).await.unwrap();
    assert_eq!(token.secret(), "t0k3n");
}

#[tokio::test]
async fn t25_either_provider_works_and_none_is_installed_for_the_process() {
    let provider = Provider::start("127.0.0.1").await;
    for crypto in [
        rustls::crypto::aws_lc_rs::default_provider(),
        #[cfg(feature = "ring")]
        rustls::crypto::ring::default_provider(),
    ] {
        let transport = Transport::builder()
            .crypto_provider(Arc::new(crypto))
            .add_root_certificates(&provider.root_pem);
        token(&provider.url(), transport).await.unwrap();
    }
    assert!(rustls::crypto::CryptoProvider::get_default().is_none());
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_said_to_be_so() {
    let provider = Provider::start("127.0.0.1").await;
    let error = token(&provider.url(), Transport::builder())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    let place = provider.server.address;
    let text = error.to_string();
    assert!(
        text.contains(&format!("the certificate of {place} is not trusted")),
        "{text}"
    );
    assert!(text.contains("set SSL_CERT_FILE"), "{text}");
    assert!(std::error::Error::source(&error).is_some());
    assert_eq!(provider.server.connections(), 1, "tried again in vain");

    let provider = Provider::start("another.example").await;
    let transport = Transport::builder().add_root_certificates(&provider.root_pem);
    let error = token(&provider.url(), transport).await.unwrap_err();
    assert!(
        error.advice().unwrap().contains("check the host name"),
        "{error}"
    );

    let provider = Provider::start_valid_until("127.0.0.1", 2021).await;
    let transport = Transport::builder().add_root_certificates(&provider.root_pem);
    let error = token(&provider.url(), transport).await.unwrap_err();
    assert!(error.advice().unwrap().contains("clock"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_variables_of_openssl_name_the_roots() {
    let provider = Provider::start("127.0.0.1").await;
    let other = Provider::start("127.0.0.1").await;
    let files = TempDir::new("roots");
    let file = files.write("one.pem", &provider.root_pem);
    let missing = format!("{file}.missing");
    files.write("certs/two.pem", &other.root_pem);
    files.write("certs/README", "no certificate");
    let directory = files.0.join("certs").to_str().unwrap().to_owned();
    let directories = format!("{}:{directory}", files.0.join("empty").display());
    std::fs::create_dir_all(files.0.join("empty")).unwrap();

    let (one, two) = (provider.url(), other.url());
    tokio::task::spawn_blocking(move || {
        for (file, directory, first, second) in [
            (file.as_str(), "", "trusted", "not trusted"),
            ("", directory.as_str(), "not trusted", "trusted"),
            ("", directories.as_str(), "not trusted", "trusted"),
            (file.as_str(), directory.as_str(), "trusted", "trusted"),
            (missing.as_str(), "", "Configuration", "Configuration"),
        ] {
            let mut variables = vec![
                ("CHECK_ONE", one.as_str()),
                ("CHECK_TWO", two.as_str()),
                ("EXPECT_ONE", first),
                ("EXPECT_TWO", second),
            ];
            for (name, value) in [("SSL_CERT_FILE", file), ("SSL_CERT_DIR", directory)] {
                if !value.is_empty() {
                    variables.push((name, value));
                }
            }
            in_own_process("child_checks_trust", &variables);
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
#[ignore = "run in a process of its own, by the test above"]
async fn child_checks_trust() {
    for number in ["ONE", "TWO"] {
        let variable = |name: &str| std::env::var(format!("{name}_{number}")).unwrap();
        let found = match token(&variable("CHECK"), Transport::builder()).await {
            Ok(_) => "trusted",
            Err(error) if error.kind() == ErrorKind::Configuration => "Configuration",
            Err(error) if error.to_string().contains("not trusted") => "not trusted",
            Err(error) => panic!("{error}"),
        };
        assert_eq!(found, variable("EXPECT"));
    }
}

/// A proxy that opens every tunnel to `target`, if the user is right.
async fn proxy(target: std::net::SocketAddr) -> (Server, Arc<std::sync::Mutex<Vec<String>>>) {
    let heads = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = Arc::clone(&heads);
    let server = Server::start(move |_, mut stream| {
        let seen = Arc::clone(&seen);
        async move {
            let (head, _) = read_request(&mut stream).await.unwrap();
            seen.lock().unwrap().push(head.clone());
            // user:p@ss
            if !head.contains("Proxy-Authorization: Basic dXNlcjpwQHNz") {
                let refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n";
                stream.write_all(refusal).await.unwrap();
                return;
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            let mut target = tokio::net::TcpStream::connect(target).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut stream, &mut target).await;
        }
    })
    .await;
    (server, heads)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_is_used_as_the_environment_says() {
    let provider = Provider::start("login.tower-bearer.test").await;
    let (proxy, heads) = proxy(provider.server.address).await;
    let files = TempDir::new("proxy");
    let root = files.write("root.pem", &provider.root_pem);
    let address = proxy.address;
    let run = move |variables: &[(&str, String)], expected: &str| {
        let mut all = vec![("SSL_CERT_FILE", root.as_str()), ("EXPECT", expected)];
        all.extend(
            variables
                .iter()
                .map(|(name, value)| (*name, value.as_str())),
        );
        in_own_process("child_goes_through_a_proxy", &all);
    };
    tokio::task::spawn_blocking(move || {
        let right = format!("http://user:p%40ss@{address}");
        for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
            run(&[(name, right.clone())], "");
        }
        run(&[("HTTPS_PROXY", String::new()), ("https_proxy", right.clone())], "");
        run(
            &[("HTTPS_PROXY", format!("http://user:canary@{address}"))],
            &format!("the proxy {address} opened no tunnel: tunnel error: proxy authorization required: check HTTPS_PROXY"),
        );
        run(&[("HTTPS_PROXY", format!("https://user:canary@{address}"))], "a proxy that speaks https, which is not supported");
        run(&[("ALL_PROXY", format!("socks5://user:canary@{address}"))], "ALL_PROXY asks for a proxy that speaks socks5");
        run(&[("HTTPS_PROXY", "ftp://user:canary@x".to_owned())], "HTTPS_PROXY is not the URL of a proxy");
    })
    .await
    .unwrap();
    let heads = heads.lock().unwrap();
    assert!(
        heads
            .iter()
            .all(|head| head.starts_with("CONNECT login.tower-bearer.test:443 HTTP/1.1")),
        "{heads:?}"
    );
    // Five that went through, and one that was refused.
    assert_eq!(heads.len(), 5 + 1, "{heads:?}");
}

#[tokio::test]
#[ignore = "run in a process of its own, by the test above"]
async fn child_goes_through_a_proxy() {
    let expected = std::env::var("EXPECT").unwrap();
    let result = token("login.tower-bearer.test", Transport::builder()).await;
    match result {
        Ok(token) => {
            assert_eq!(token.secret(), "t0k3n");
            assert_eq!(expected, "");
        }
        Err(error) => {
            assert!(
                !expected.is_empty() && error.to_string().contains(&expected),
                "{error}"
            );
            let mut shown = format!("{error} {error:?}");
            let mut cause = std::error::Error::source(&error);
            while let Some(error) = cause {
                shown.push_str(&format!("{error} {error:?}"));
                cause = error.source();
            }
            assert!(
                !shown.contains("canary") && !shown.contains("Y2FuYXJ5"),
                "{shown}"
            );
        }
    }
}

/// This address is this machine too, but no rule says so, so that it stands
/// for any other.
const ELSEWHERE: &str = "0.0.0.0";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loopback_and_excluded_hosts_are_reached_without_a_proxy() {
    for (host, variable, excluded, proxied) in [
        ("127.0.0.1", "HTTPS_PROXY", "", false),
        ("localhost", "ALL_PROXY", "", false),
        (ELSEWHERE, "HTTPS_PROXY", "", true),
        (ELSEWHERE, "HTTPS_PROXY", "a.example, 0.0.0.0/8", false),
        (ELSEWHERE, "HTTPS_PROXY", "*", false),
        (ELSEWHERE, "HTTP_PROXY", "", false),
    ] {
        let provider = Provider::start(host).await;
        let (proxy, heads) = proxy(provider.server.address).await;
        let files = TempDir::new("excluded");
        let root = files.write("root.pem", &provider.root_pem);
        let url = format!("https://{host}:{}", provider.server.address.port());
        let proxy_url = format!("http://user:p%40ss@{}", proxy.address);
        tokio::task::spawn_blocking(move || {
            let variables = [
                (variable, proxy_url.as_str()),
                ("NO_PROXY", excluded),
                ("SSL_CERT_FILE", &root),
                ("CHECK_ONE", &url),
                ("CHECK_TWO", &url),
                ("EXPECT_ONE", "trusted"),
                ("EXPECT_TWO", "trusted"),
            ];
            in_own_process("child_checks_trust", &variables);
        })
        .await
        .unwrap();
        assert_eq!(
            !heads.lock().unwrap().is_empty(),
            proxied,
            "{host} {variable} {excluded}"
        );
    }
}

/// Linux lets nobody connect to a listener whose queue is full.
#[cfg(target_os = "linux")]
#[tokio::test(start_paused = true)]
async fn r13_a_connection_that_does_not_open_is_given_up_early() {
    let listener = tokio::net::TcpSocket::new_v4().unwrap();
    listener.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = listener.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let _queue = [(); 2].map(|()| std::net::TcpStream::connect(address).unwrap());

    let ask = async |builder: TransportBuilder| {
        let started = tokio::time::Instant::now();
        let error = send(builder.build().unwrap(), &format!("https://{address}"))
            .await
            .unwrap_err();
        let mut text = String::new();
        let mut cause: Option<&dyn std::error::Error> = Some(&*error);
        while let Some(error) = cause {
            text.push_str(&error.to_string());
            cause = error.source();
        }
        assert!(text.contains("no connection could be opened"), "{text}");
        started.elapsed().as_secs()
    };
    assert_eq!(ask(Transport::builder()).await, 5);
    let limit = Duration::from_secs(1);
    assert_eq!(ask(Transport::builder().connect_timeout(limit)).await, 1);

    let error = tower_bearer::azure::ManagedIdentityCredential::builder()
        .endpoint(format!("http://{address}"))
        .timeout(Duration::from_secs(3))
        .build()
        .unwrap()
        .token(&vault())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(error.to_string().contains("within 2s"), "{error}");
}

/// Asks `server` for a token, over plain HTTP and with a clock that stands
/// still unless it is moved.
async fn token_over_http(server: &Server, clock: &HandClock) -> Result<AccessToken, Error> {
    ClientSecretCredential::builder("contoso.com", "app", "s3cret")
        .authority_host(server.url())
        .allow_http_loopback()
        .timeout(Duration::from_secs(15))
        .build()?
        .token(&vault().with_runtime(Arc::new(clock.clone())))
        .await
}

#[tokio::test]
async fn r14_a_server_that_drips_is_cut_off_at_the_deadline() {
    let clock = HandClock::new();
    let moved = clock.clone();
    let server = Server::start(move |_, mut stream| {
        let clock = moved.clone();
        async move {
            read_request(&mut stream).await;
            let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n";
            stream.write_all(head).await.unwrap();
            // One byte a second, each well within any limit between two bytes.
            while stream.write_all(b" ").await.is_ok() {
                clock.advance(Duration::from_secs(1));
                tokio::task::yield_now().await;
            }
        }
    })
    .await;
    let error = token_over_http(&server, &clock).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(
        error.to_string().contains("gave no answer within 15.0s"),
        "{error}"
    );
}

#[test]
fn t18_an_answer_without_end_is_read_no_further() {
    in_own_process("child_reads_an_answer_without_end", &[]);
}

#[tokio::test]
#[ignore = "run in a process of its own, by the test above, since it measures memory"]
async fn child_reads_an_answer_without_end() {
    const SIZE: u64 = 300 << 20;
    let written = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&written);
    let server = Server::start(move |_, mut stream| {
        let counter = Arc::clone(&counter);
        async move {
            read_request(&mut stream).await;
            let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
            stream.write_all(head).await.unwrap();
            let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x1_0000));
            let mut sent = 0;
            while sent < SIZE && stream.write_all(chunk.as_bytes()).await.is_ok() {
                sent += 0x1_0000;
                counter.fetch_add(0x1_0000, Ordering::SeqCst);
            }
        }
    })
    .await;
    let peak = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        line.map_or(0, |text| {
            text.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
        })
    };
    // The first transport reads the root certificates, which takes memory too.
    let transport = Transport::builder().allow_http_loopback().build().unwrap();
    let credential = ClientSecretCredential::builder("contoso.com", "app", "s3cret")
        .authority_host(server.url())
        .allow_http_loopback()
        .transport(transport)
        .build()
        .unwrap();
    let before = peak();
    let error = credential.token(&vault()).await.unwrap_err();
    let grown = peak() - before;
    assert_eq!(error.kind(), ErrorKind::InvalidResponse);
    assert!(error.to_string().contains("larger than 1 MiB"), "{error}");
    let written = written.load(Ordering::SeqCst);
    println!("peak memory grew by {grown} KiB; the server got rid of {written} bytes in two tries");
    assert!(grown < 8 << 10, "grew by {grown} KiB");
    assert!(written < SIZE / 4, "{written} bytes");
}

#[tokio::test]
async fn t18_an_answer_that_says_it_is_too_long_is_not_read_at_all() {
    let server = Server::start(|_, mut stream| async move {
        read_request(&mut stream).await;
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1048577\r\n\r\n";
        stream.write_all(head).await.unwrap();
        read_request(&mut stream).await;
    })
    .await;
    let credential = ClientSecretCredential::builder("contoso.com", "app", "s3cret")
        .authority_host(server.url())
        .allow_http_loopback()
        .timeout(ONE_TRY)
        .build()
        .unwrap();
    let error = credential
        .token(&on_a_clock_that_stands_still())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("larger than 1 MiB"), "{error}");
}

async fn send(transport: Transport, uri: &str) -> Result<String, BoxError> {
    let request = Request::get(uri).body(Full::new(Bytes::new()))?;
    let response = transport.oneshot(request).await?;
    Ok(String::from_utf8(
        response.into_body().collect().await?.to_bytes().to_vec(),
    )?)
}

#[tokio::test]
async fn i9_nothing_is_sent_in_the_clear_unless_asked_for_and_to_loopback() {
    let server = Server::start(|_, mut stream| async move {
        read_request(&mut stream).await;
        write_json(&mut stream, "200 OK", "{}").await;
    })
    .await;
    let strict = Transport::builder().build().unwrap();
    let lenient = Transport::builder().allow_http_loopback().build().unwrap();
    for (transport, uri) in [
        (&strict, server.url()),
        (&lenient, "http://login.tower-bearer.test/".to_owned()),
        (&lenient, "ftp://127.0.0.1/".to_owned()),
        (&lenient, "/path".to_owned()),
    ] {
        let error = send(transport.clone(), &uri).await.unwrap_err();
        assert!(error.downcast_ref::<Error>().is_some(), "{uri}: {error}");
    }
    assert_eq!(server.connections(), 0);
    assert_eq!(send(lenient, &server.url()).await.unwrap(), "{}");
}

#[tokio::test]
async fn a_transport_is_a_service_that_returns_redirects_as_they_are() {
    let server = Server::start(|_, mut stream| async move {
        read_request(&mut stream).await;
        let answer = b"HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(answer).await.unwrap();
    })
    .await;
    let mut transport = Transport::builder().allow_http_loopback().build().unwrap();
    let request = Request::get(server.url()).body(Full::default()).unwrap();
    let response = transport
        .ready()
        .await
        .unwrap()
        .call(request)
        .await
        .unwrap();
    assert_eq!(response.status(), 302);
    assert_eq!(server.connections(), 1);
}

#[test]
fn without_a_tokio_runtime_there_is_an_error_and_no_panic() {
    let transport = Transport::builder().build().unwrap();
    let request = Request::get("https://127.0.0.1/")
        .body(Full::default())
        .unwrap();
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let mut sending = std::pin::pin!(transport.oneshot(request));
    let std::task::Poll::Ready(Err(error)) = sending.as_mut().poll(&mut context) else {
        panic!("no error");
    };
    assert!(
        error.to_string().contains("needs a Tokio runtime"),
        "{error}"
    );
}

#[test]
fn what_users_hold_is_cheap_to_clone_and_may_go_to_any_thread() {
    fn check<T: Clone + Send + Sync + std::fmt::Debug + 'static>() {}
    check::<Transport>();
    check::<TransportBuilder>();
    check::<ClientSecretCredential>();
    check::<tower_bearer::azure::ManagedIdentityCredential>();
}
