//! Serves the embedded Azure to programs in any language, and prints the
//! environment that they need to reach it.
//!
//! ```sh
//! cargo run --example embedded_azure -- --secret db=s3cret
//! ```
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it talks to people"
)]

use std::process::ExitCode;
use std::time::Duration;

use tower_bearer::BoxError;
use tower_bearer::testing::Azure;

const USAGE: &str = "\
usage: embedded_azure [options]
  --secret NAME=VALUE    put a secret into the vault (again for more)
  --identity NAME        assign a user-assigned identity (again for more)
  --certificate FILE     let the application sign in with this certificate (PEM)
  --hosts                also print the variables of App Service, Cloud Shell, ...
  --port-tls PORT        port of Entra and Key Vault (default: any)
  --port-imds PORT       port of IMDS (default: any)
  --for-seconds N        stop after N seconds
  --until-stdin-closes   stop when standard input does";

#[derive(Default)]
struct Options {
    secrets: Vec<(String, String)>,
    identities: Vec<String>,
    certificates: Vec<String>,
    hosts: bool,
    tls_port: u16,
    imds_port: u16,
    seconds: Option<u64>,
    until_stdin_closes: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = match options(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("embedded_azure: {message}\n{USAGE}");
            return ExitCode::FAILURE;
        }
    };
    match serve(options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("embedded_azure: {error}");
            ExitCode::FAILURE
        }
    }
}

fn options(mut args: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options::default();
    while let Some(flag) = args.next() {
        let mut value = || args.next().ok_or(format!("{flag} needs a value"));
        match flag.as_str() {
            "--secret" => {
                let pair = value()?;
                let (name, secret) = pair
                    .split_once('=')
                    .ok_or("--secret wants NAME=VALUE".to_owned())?;
                options.secrets.push((name.to_owned(), secret.to_owned()));
            }
            "--identity" => options.identities.push(value()?),
            "--certificate" => options.certificates.push(value()?),
            "--hosts" => options.hosts = true,
            "--port-tls" => options.tls_port = number(&flag, &value()?)?,
            "--port-imds" => options.imds_port = number(&flag, &value()?)?,
            "--for-seconds" => options.seconds = Some(number(&flag, &value()?)?),
            "--until-stdin-closes" => options.until_stdin_closes = true,
            _ => return Err(format!("there is no option {flag}")),
        }
    }
    Ok(options)
}

fn number<N: std::str::FromStr>(flag: &str, text: &str) -> Result<N, String> {
    text.parse()
        .map_err(|_| format!("{flag} wants a number, not {text}"))
}

async fn serve(options: Options) -> Result<(), BoxError> {
    let azure = Azure::builder()
        .tls_port(options.tls_port)
        .imds_port(options.imds_port)
        .start()
        .await?;
    for (name, value) in &options.secrets {
        azure.vault().set_secret(name, value);
    }

    println!("# An Azure of your own on this machine: managed identity, Entra and Key Vault.");
    for (name, value) in azure.environment() {
        println!("export {name}='{}'", value.replace('\'', r"'\''"));
    }
    for name in &options.identities {
        let identity = azure.assign_user_identity(name);
        println!("# identity {name}: client id {}", identity.client_id());
    }
    for path in &options.certificates {
        let pem = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
        azure.register_certificate(azure.tenant_id(), azure.client_id(), &pem)?;
    }
    if options.hosts {
        print_hosts(&azure)?;
    }
    println!("# Ready. Paste this into another shell to use it; Ctrl-C here stops it.");

    let time_is_up = async {
        match options.seconds {
            Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            None => std::future::pending().await,
        }
    };
    let stdin_closed = async {
        if options.until_stdin_closes {
            // A thread of its own: the runtime would wait for a read of its
            // own to come back before it ends.
            let (closed, wait) = tokio::sync::oneshot::channel();
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
                let _ = closed.send(());
            });
            let _ = wait.await;
        } else {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = time_is_up => {}
        () = stdin_closed => {}
        result = asked_to_stop() => result?,
    }
    azure.stop().await;
    println!("# Stopped after {} token requests.", azure.token_requests());
    Ok(())
}

/// What each host adds to the environment, to be set in place of another's.
fn print_hosts(azure: &Azure) -> Result<(), BoxError> {
    for (host, variables) in [
        ("app-service", azure.app_service_environment()),
        ("app-service-2017", azure.app_service_2017_environment()),
        ("container-apps", azure.container_apps_environment()),
        ("machine-learning", azure.machine_learning_environment()),
        ("cloud-shell", azure.cloud_shell_environment()),
        ("azure-arc", azure.arc_environment()),
        ("service-fabric", azure.service_fabric_environment()),
        ("workload-identity", azure.workload_identity_environment()?),
    ] {
        let variables: Vec<_> = variables
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        println!("# host {host}: {}", variables.join(" "));
    }
    Ok(())
}

#[cfg(unix)]
async fn asked_to_stop() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => result,
        _ = terminate.recv() => Ok(()),
    }
}

#[cfg(not(unix))]
async fn asked_to_stop() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}
