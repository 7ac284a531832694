//! Audiences, tenants and subscriptions that would be something else on a
//! command line.

use std::sync::Arc;

use tower_bearer::azure::{
    AzureCliCredential, AzureDeveloperCliCredential, AzurePowerShellCredential,
    VisualStudioCredential,
};
use tower_bearer::{Credential, ErrorKind, TenantId, TokenRequest};

use super::tool_stub::{Folder, Stub};
use super::{Clock, assert_says, cli_answer, request};

const HOSTILE: [&str; 21] = [
    "",
    "-o",
    "--debug",
    "-",
    "https://x;touch${IFS}planted",
    "https://x&calc.exe",
    "https://x|y",
    "https://x`y`",
    "https://x$(y)",
    "https://x'; Remove-Item *; '",
    "https://x\"y",
    "https://x\ny",
    "https://x\0y",
    "https://x y",
    "https://x%PATH%",
    "https://x^y",
    "https://x>y",
    "https://test^",
    "https://x?y",
    "https://é",
    "@/etc/passwd",
];

async fn is_refused(credential: &impl Credential, request: TokenRequest) {
    let error = credential.token(&request).await.unwrap_err();
    assert_says(&error, ErrorKind::Configuration, &[]);
    assert!(error.advice().is_some(), "{error}");
}

#[tokio::test]
async fn t11_what_a_shell_or_a_tool_would_take_for_something_else_is_never_passed_on() {
    let stub = Stub::printing("tool", cli_answer("t0k3n"));
    let folder = Folder::new();
    let list = folder.write(
        "tokenprovider.json",
        format!(
            r#"{{"TokenProviders":[{{"Path":"{}","Preference":1}}]}}"#,
            stub.path.display()
        ),
    );
    let az = AzureCliCredential::builder().executable(&stub.path).build();
    let azd = AzureDeveloperCliCredential::builder().executable(&stub.path);
    let pwsh = AzurePowerShellCredential::builder().executable(&stub.path);
    let visual_studio = VisualStudioCredential::builder().token_provider_file(list);
    let (az, azd) = (az.unwrap(), azd.build().unwrap());
    let (pwsh, visual_studio) = (pwsh.build().unwrap(), visual_studio.build().unwrap());
    let clock = Arc::new(Clock::new());

    let audiences = HOSTILE
        .iter()
        .map(|audience| TokenRequest::new(*audience).with_runtime(clock.clone()));
    let tenant = TenantId::new("-x").unwrap();
    for request in audiences.chain([request().with_tenant(tenant)]) {
        is_refused(&az, request.clone()).await;
        is_refused(&azd, request.clone()).await;
        is_refused(&pwsh, request.clone()).await;
        is_refused(&visual_studio, request).await;
    }
    for hostile in HOSTILE {
        let tenant = AzureCliCredential::builder().tenant(hostile).build();
        assert_says(&tenant.unwrap_err(), ErrorKind::Configuration, &[]);
    }
    for hostile in ["", " ", "-s", "a;b", "a\nb", "a&b", "a%b", "a'b", "é", " a"] {
        let subscription = AzureCliCredential::builder().subscription(hostile).build();
        assert_says(&subscription.unwrap_err(), ErrorKind::Configuration, &[]);
    }
    assert!(!stub.was_run());
}

#[tokio::test]
async fn t11_what_is_passed_on_arrives_as_it_is() {
    let stub = Stub::printing("az", cli_answer("t0k3n"));
    let credential = AzureCliCredential::builder()
        .executable(&stub.path)
        .subscription("A  sub. with_all-of 1")
        .build()
        .unwrap();
    let audience = "api://a.b-c_d:8/E/";
    let request = TokenRequest::new(audience).with_runtime(Arc::new(Clock::new()));
    credential.token(&request).await.unwrap();
    let arguments = stub.arguments();
    assert_eq!(arguments.len(), 8);
    assert_eq!(arguments[5], audience);
    assert_eq!(arguments[7], "A  sub. with_all-of 1");
}
