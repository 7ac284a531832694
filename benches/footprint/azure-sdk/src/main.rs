//! Prints a secret of a vault, as the machine that this runs on.

use azure_identity::ManagedIdentityCredential;
use azure_security_keyvault_secrets::SecretClient;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let credential = ManagedIdentityCredential::new(None)?;
    let client = SecretClient::new("https://myvault.vault.azure.net/", credential, None)?;
    let secret = client.get_secret("db", None).await?.into_model()?;
    println!("{}", secret.value.unwrap_or_default());
    Ok(())
}
