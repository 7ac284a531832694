//! Azure: credentials, the host table, and what Azure's challenges ask for.

mod audiences;
mod challenges;
mod cloud;
mod entra;
mod managed_identity;

pub use audiences::Audiences;
pub use challenges::Challenges;
