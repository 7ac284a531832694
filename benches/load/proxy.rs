//! The proxy as a program of its own.

use std::ffi::OsStr;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tower_bearer::BoxError;

use super::tools::Tool;
use super::world::{World, token};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variant {
    /// No token at all.
    Nothing,
    /// A header that never changes: what any way to send a token costs.
    Fixed,
    Layer,
}

impl Variant {
    pub(crate) const ALL: [Self; 3] = [Self::Nothing, Self::Fixed, Self::Layer];
}

pub(crate) struct Proxy {
    process: Child,
    pid: u32,
    url: String,
}

impl Proxy {
    pub(crate) async fn start(
        program: &OsStr,
        variant: Variant,
        tool: Tool,
        world: &World,
    ) -> Result<Self, BoxError> {
        let scheme = match tool {
            Tool::Wrk => "http",
            Tool::H2load => "h2c",
        };
        let path = match variant {
            Variant::Layer => "checked",
            Variant::Nothing | Variant::Fixed => "welcome",
        };
        let mut command = Command::new(program);
        command.args(["--listen", "127.0.0.1:0", "--route"]);
        command.arg(format!("/={scheme}://{}/{path}", world.upstream));
        match variant {
            Variant::Nothing => command.arg("--without-token"),
            Variant::Fixed => command.args(["--fixed-token", "FIXED"]),
            Variant::Layer => command.args(["--audience", "/=api://load"]),
        };
        for variable in ["AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"] {
            command.env_remove(variable);
        }
        command.env(
            "AZURE_POD_IDENTITY_AUTHORITY_HOST",
            world.identity_endpoint(),
        );
        command.env("FIXED", token(0));
        let mut process = command.stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let stdout = process.stdout.take().ok_or("no standard output")?;
        let mut said = BufReader::new(stdout).lines();
        let url = async {
            while let Some(line) = said.next_line().await? {
                if let Some(url) = line.strip_prefix("listening on ") {
                    return Ok(format!("{url}/"));
                }
            }
            Err(BoxError::from("the proxy did not start"))
        };
        let url = tokio::time::timeout(Duration::from_secs(20), url).await??;
        Ok(Self {
            pid: process.id().ok_or("the proxy has ended")?,
            process,
            url,
        })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What it has used so far, in user and kernel mode together.
    pub(crate) fn cpu_time(&self) -> Result<Duration, BoxError> {
        /// `USER_HZ`, which is the same on all machines that this runs on.
        const TICKS: u64 = 100;
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid))?;
        // The name before it, in parentheses, may hold anything.
        let (_, fields) = stat.rsplit_once(')').ok_or("no fields")?;
        let mut times = fields.split_whitespace().skip(11);
        let mut next = || times.next().unwrap_or_default().parse::<u64>();
        Ok(Duration::from_millis((next()? + next()?) * 1000 / TICKS))
    }

    /// Asks it to stop, which it must do without a complaint.
    pub(crate) async fn stop(mut self) -> Result<(), BoxError> {
        let pid = self.pid.to_string();
        let mut kill = Command::new("kill");
        kill.args(["-TERM", &pid]).status().await?;
        let ended = tokio::time::timeout(Duration::from_secs(20), self.process.wait()).await??;
        if ended.success() {
            Ok(())
        } else {
            Err(format!("the proxy ended with {ended}").into())
        }
    }
}
