//! An embedded Azure on loopback, for tests.

mod azure;
mod client;
mod directory;
mod entra;
mod failure;
mod imds;
mod record;
mod secrets;
mod server;
mod state;
mod switches;
mod tls;
mod tokens;
mod vault;
mod wire;

pub use azure::{Azure, AzureBuilder};
pub use client::{Connection, Connector, HttpClient};
pub use directory::ManagedIdentity;
pub use failure::Failure;
pub use record::{Endpoint, RecordedRequest};
pub use switches::Hold;
pub use vault::Vault;
