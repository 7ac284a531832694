//! Developer tools as links of a chain.

use super::Link;
use crate::azure::DeveloperTool;
use crate::environment::Environment;
use crate::{Error, SharedCredential, TenantId};

/// The credential of `tool`, which signs in to `tenant` or, where a request
/// names them, to `others`; without `tenant` to the one that the tool has for
/// its own.
///
/// # Errors
///
/// What keeps it from being made;
/// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) in a build without
/// such tools.
#[cfg(feature = "developer-tools")]
pub(in crate::azure) fn credential(
    tool: DeveloperTool,
    tenant: Option<&TenantId>,
    others: &[String],
    environment: &Environment,
) -> Result<SharedCredential, Error> {
    use crate::azure::{
        AzureCliCredential, AzureDeveloperCliCredential, AzurePowerShellCredential,
        VisualStudioCredential,
    };

    macro_rules! of {
        ($credential:ty) => {{
            let mut builder = <$credential>::builder().additionally_allowed_tenants(others);
            if let Some(tenant) = tenant {
                builder = builder.tenant(tenant.as_str());
            }
            builder.build_in(environment).map(SharedCredential::new)
        }};
    }

    match tool {
        DeveloperTool::AzureCli => of!(AzureCliCredential),
        DeveloperTool::AzureDeveloperCli => of!(AzureDeveloperCliCredential),
        DeveloperTool::AzurePowerShell => of!(AzurePowerShellCredential),
        DeveloperTool::VisualStudio => of!(VisualStudioCredential),
    }
}

#[cfg(not(feature = "developer-tools"))]
pub(in crate::azure) fn credential(
    _: DeveloperTool,
    _: Option<&TenantId>,
    _: &[String],
    _: &Environment,
) -> Result<SharedCredential, Error> {
    use crate::ErrorKind;

    Err(Error::new(
        ErrorKind::Unavailable,
        "this program was built without the feature `developer-tools`",
    )
    .with_advice("turn the feature on to sign in with a developer's tools"))
}

/// The name of the credential of `tool`.
pub(super) fn name(tool: DeveloperTool) -> &'static str {
    match tool {
        DeveloperTool::AzureCli => "AzureCliCredential",
        DeveloperTool::AzureDeveloperCli => "AzureDeveloperCliCredential",
        DeveloperTool::AzurePowerShell => "AzurePowerShellCredential",
        DeveloperTool::VisualStudio => "VisualStudioCredential",
    }
}

pub(in crate::azure) fn link(tool: DeveloperTool, environment: &Environment) -> Link {
    Link::developer_tool(name(tool), credential(tool, None, &[], environment))
}
