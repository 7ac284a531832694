//! Microsoft Entra, as it checks what applications sign themselves.

use tower_bearer::azure::{ClientCertificate, ClientCertificateCredential};
use tower_bearer::{Credential as _, TokenRequest};

use super::certificates::Made;
use super::scripted::{Script, token};
use super::*;

/// What an application signs for `tenant`, by the clock of `runtime`.
async fn signed(made: &Made, client_id: &str, tenant: &str, runtime: &ManualRuntime) -> String {
    let script = Script::new([token()]);
    let request = TokenRequest::new(VAULT).with_runtime(Arc::new(runtime.clone()));
    ClientCertificateCredential::builder(
        tenant,
        client_id,
        ClientCertificate::from_bytes(made.pem()),
    )
    .send_certificate_chain(true)
    .transport(script.transport())
    .build()
    .unwrap()
    .token(&request)
    .await
    .unwrap();
    script.seen()[0].field("client_assertion").unwrap()
}

/// The same with another header.
fn under(header: &Value, assertion: &str) -> String {
    let (_, rest) = assertion.split_once('.').unwrap();
    format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header.to_string()))
}

fn header(assertion: &str) -> Value {
    let (header, _) = assertion.split_once('.').unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap()
}

struct Entra {
    azure: Azure,
    client: HttpClient,
}

impl Entra {
    /// The code of the refusal, or 0 with a token.
    async fn says(&self, changes: &[(&'static str, Option<String>)]) -> u64 {
        let mut form = good_form(&self.azure);
        form.retain(|(name, _)| *name != "client_secret");
        form.push((
            "client_assertion_type",
            "urn:ietf:params:oauth:client-assertion-type:jwt-bearer".to_owned(),
        ));
        for (name, value) in changes {
            form.retain(|(known, _)| known != name);
            form.extend(value.clone().map(|value| (*name, value)));
        }
        let response = send(&self.client, entra_request(&self.azure, &form)).await;
        let answer = body(&response);
        if response.status() == 200 {
            return 0;
        }
        answer["error_codes"][0].as_u64().unwrap()
    }

    async fn says_to(&self, assertion: String) -> u64 {
        self.says(&[("client_assertion", Some(assertion))]).await
    }
}

#[tokio::test]
async fn entra_checks_what_an_application_has_signed() {
    let clock = ManualRuntime::new();
    let azure = Azure::builder()
        .runtime(Arc::new(clock.clone()))
        .start()
        .await
        .unwrap();
    let (made, stranger) = (Made::new(), Made::new());
    let (tenant, app) = (azure.tenant_id().to_owned(), azure.client_id().to_owned());
    azure
        .register_certificate(&tenant, &app, &made.certificate)
        .unwrap();
    let client = azure.http_client();
    let entra = Entra { azure, client };
    let good = signed(&made, &app, &tenant, &clock).await;
    assert_eq!(entra.says_to(good.clone()).await, 0);

    // For somebody else, by somebody else, and with another's key.
    let elsewhere = signed(&made, &app, "contoso.com", &clock).await;
    assert_eq!(entra.says_to(elsewhere).await, 700_023);
    let other = signed(&made, "another-app", &tenant, &clock).await;
    assert_eq!(entra.says_to(other).await, 700_021);
    let foreign = signed(&stranger, &app, &tenant, &clock).await;
    assert_eq!(entra.says_to(foreign.clone()).await, 700_027);

    // A signature that is not over this header, or of this certificate.
    let mut changed = header(&good);
    changed["typ"] = json!("jwt");
    assert_eq!(entra.says_to(under(&changed, &good)).await, 700_027);
    assert_eq!(
        entra.says_to(under(&header(&good), &foreign)).await,
        700_027
    );
    changed["x5c"] = header(&foreign)["x5c"].clone();
    assert_eq!(entra.says_to(under(&changed, &good)).await, 50_027);
    for algorithm in ["none", "HS256", "RS512"] {
        changed["alg"] = json!(algorithm);
        assert_eq!(entra.says_to(under(&changed, &good)).await, 50_027);
    }
    for broken in ["", ".", "a.b", "a.b.c", "a.b.c.d"] {
        let expected = if broken.is_empty() { 7_000_218 } else { 50_027 };
        assert_eq!(entra.says_to(broken.to_owned()).await, expected, "{broken}");
    }

    let assertion = || ("client_assertion", Some(good.clone()));
    let untyped = ("client_assertion_type", None);
    assert_eq!(entra.says(&[assertion(), untyped]).await, 90_023);
    let besides = ("client_secret", Some("canary".to_owned()));
    assert_eq!(entra.says(&[assertion(), besides]).await, 90_023);
}

#[tokio::test]
async fn clocks_may_differ_by_five_minutes_and_assertions_end() {
    const MINUTE: Duration = Duration::from_secs(60);

    let clock = ManualRuntime::new();
    let azure = Azure::builder()
        .runtime(Arc::new(clock.clone()))
        .start()
        .await
        .unwrap();
    let made = Made::new();
    let (tenant, app) = (azure.tenant_id().to_owned(), azure.client_id().to_owned());
    azure
        .register_certificate(&tenant, &app, &made.certificate)
        .unwrap();
    let client = azure.http_client();
    let entra = Entra { azure, client };
    // Those of applications live for ten minutes.
    for (minutes_ahead, code) in [(4, 0), (6, 700_024), (-14, 0), (-16, 700_024)] {
        let application = ManualRuntime::new();
        let step = MINUTE * i32::unsigned_abs(minutes_ahead);
        if minutes_ahead < 0 {
            application.step_wall_back(step);
        } else {
            application.step_wall_forward(step);
        }
        let assertion = signed(&made, &app, &tenant, &application).await;
        assert_eq!(entra.says_to(assertion).await, code, "{minutes_ahead}");
    }
    let assertion = signed(&made, &app, &tenant, &clock).await;
    clock.advance(16 * MINUTE);
    assert_eq!(entra.says_to(assertion).await, 700_024);
}
