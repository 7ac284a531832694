//! Which credentials the default chain has, and which of them the environment
//! wants.

use super::developer;
use crate::azure::DeveloperTool;
use crate::environment::Environment;
use crate::{Error, ErrorKind};

const VARIABLE: &str = "AZURE_TOKEN_CREDENTIALS";

/// Credentials of other libraries' chains that this crate does not have.
const UNSUPPORTED: [&str; 4] = [
    "visualstudiocodecredential",
    "interactivebrowsercredential",
    "sharedtokencachecredential",
    "brokercredential",
];

/// A credential of the default chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Member {
    Environment,
    WorkloadIdentity,
    ManagedIdentity,
    Developer(DeveloperTool),
}

impl Member {
    /// In the order in which they are tried.
    const ALL: [Self; 7] = [
        Self::Environment,
        Self::WorkloadIdentity,
        Self::ManagedIdentity,
        Self::Developer(DeveloperTool::VisualStudio),
        Self::Developer(DeveloperTool::AzureCli),
        Self::Developer(DeveloperTool::AzureDeveloperCli),
        Self::Developer(DeveloperTool::AzurePowerShell),
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Environment => "EnvironmentCredential",
            Self::WorkloadIdentity => "WorkloadIdentityCredential",
            Self::ManagedIdentity => "ManagedIdentityCredential",
            Self::Developer(tool) => developer::name(tool),
        }
    }

    fn is_developer_tool(self) -> bool {
        matches!(self, Self::Developer(_))
    }
}

/// What of the default chain is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Selection {
    All,
    Production,
    Development,
    Only(Member),
}

impl Selection {
    pub(super) fn in_environment(environment: &Environment) -> Result<Self, Error> {
        match environment.text(VARIABLE)? {
            Some(text) => Self::parse(text.trim()),
            None => Ok(Self::All),
        }
    }

    fn parse(text: &str) -> Result<Self, Error> {
        let wanted = text.to_ascii_lowercase();
        match wanted.as_str() {
            "" => return Ok(Self::All),
            "prod" => return Ok(Self::Production),
            "dev" => return Ok(Self::Development),
            _ => {}
        }
        if let Some(member) = Member::ALL
            .into_iter()
            .find(|member| member.name().eq_ignore_ascii_case(&wanted))
        {
            return Ok(Self::Only(member));
        }
        let shown = crate::error::printable(text);
        let problem = if UNSUPPORTED.contains(&wanted.as_str()) {
            format!("{VARIABLE} names {shown:?}, which this library does not have")
        } else {
            format!("{VARIABLE} is {shown:?}, which is no selection")
        };
        let names: Vec<_> = Member::ALL.into_iter().map(Member::name).collect();
        Err(
            Error::new(ErrorKind::Configuration, problem).with_advice(format!(
                "set it to prod, dev or one of {}",
                names.join(", ")
            )),
        )
    }

    pub(super) fn members(self) -> impl Iterator<Item = Member> {
        Member::ALL.into_iter().filter(move |member| match self {
            Self::All => true,
            Self::Production => !member.is_developer_tool(),
            Self::Development => member.is_developer_tool(),
            Self::Only(wanted) => *member == wanted,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selected(text: &str) -> Result<Vec<&'static str>, Error> {
        let selection = Selection::in_environment(&Environment::of(&[(VARIABLE, text)]))?;
        Ok(selection.members().map(Member::name).collect())
    }

    #[test]
    fn the_variable_selects_by_group_or_name_whatever_the_case() {
        assert_eq!(selected("").unwrap().len(), 7);
        assert_eq!(selected("  ").unwrap().len(), 7);
        assert_eq!(
            selected(" PROD ").unwrap(),
            [
                "EnvironmentCredential",
                "WorkloadIdentityCredential",
                "ManagedIdentityCredential"
            ]
        );
        assert_eq!(
            selected("dev").unwrap(),
            [
                "VisualStudioCredential",
                "AzureCliCredential",
                "AzureDeveloperCliCredential",
                "AzurePowerShellCredential"
            ]
        );
        for name in Member::ALL.map(Member::name) {
            assert_eq!(selected(name).unwrap(), [name]);
            assert_eq!(selected(&name.to_lowercase()).unwrap(), [name]);
            assert_eq!(
                selected(&format!(" {}\n", name.to_uppercase())).unwrap(),
                [name]
            );
        }
    }

    #[test]
    fn what_is_no_selection_is_an_error_that_lists_them() {
        for text in [
            "production",
            "azurecli",
            "VisualStudioCodeCredential",
            "InteractiveBrowserCredential",
            "dev;prod",
            "none",
        ] {
            let error = selected(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration, "{text}");
            assert!(error.to_string().contains("AzureCliCredential"), "{error}");
        }
    }
}
