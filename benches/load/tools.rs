//! The programs that make the load.

use std::path::PathBuf;
use std::time::Duration;

use tokio::process::Command;
use tower_bearer::BoxError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tool {
    /// HTTP/1.
    Wrk,
    /// HTTP/2.
    H2load,
}

/// What one of them saw.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    pub(crate) requests: u64,
    pub(crate) seconds: f64,
    pub(crate) p99: Duration,
    /// The one request that took longest.
    pub(crate) slowest: Duration,
    pub(crate) failed: u64,
}

impl Tool {
    pub(crate) async fn run(self, url: &str, duration: Duration) -> Result<Figures, BoxError> {
        match self {
            Self::Wrk => wrk(url, duration).await,
            Self::H2load => h2load(url, duration).await,
        }
    }
}

/// What `program` says. It ends with this future if it does not by itself.
async fn output(
    program: &str,
    arguments: &[String],
    duration: Duration,
) -> Result<String, BoxError> {
    let mut command = Command::new(program);
    let output = command.args(arguments).kill_on_drop(true).output();
    let at_most = duration + Duration::from_secs(20);
    let output = tokio::time::timeout(at_most, output).await;
    let output = output.map_err(|_| format!("{program} does not end"))??;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{program}: {}: {complaint}", output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

async fn wrk(url: &str, duration: Duration) -> Result<Figures, BoxError> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/load/report.lua");
    let arguments = [
        "--threads=1".to_owned(),
        "--connections=32".to_owned(),
        format!("--duration={}s", duration.as_secs()),
        format!("--script={script}"),
        url.to_owned(),
    ];
    let said = output("wrk", &arguments, duration).await?;
    let report = said.lines().find_map(|line| line.strip_prefix("report "));
    let report = report.ok_or("wrk made no report")?;
    let field = |name: &str| {
        let mut fields = report.split(' ').filter_map(|field| field.split_once('='));
        let value = fields.find_map(|(field, value)| (field == name).then_some(value));
        value.unwrap_or_default().parse::<u64>()
    };
    Ok(Figures {
        requests: field("requests")?,
        seconds: Duration::from_micros(field("duration")?).as_secs_f64(),
        p99: Duration::from_micros(field("p99")?),
        slowest: Duration::from_micros(field("slowest")?),
        failed: field("failed")?,
    })
}

/// A file that goes when this does, for it is large.
struct Log(PathBuf);

impl Drop for Log {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

async fn h2load(url: &str, duration: Duration) -> Result<Figures, BoxError> {
    let log = Log(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("h2load.log"));
    // It appends.
    let _ = std::fs::remove_file(&log.0);
    let arguments = [
        "--threads=1".to_owned(),
        "--clients=4".to_owned(),
        "--max-concurrent-streams=8".to_owned(),
        format!("--duration={}", duration.as_secs()),
        format!("--log-file={}", log.0.display()),
        url.to_owned(),
    ];
    let said = output("h2load", &arguments, duration).await?;
    let requests = said.lines().find(|line| line.starts_with("requests: "));
    let count = |what: &str| {
        let mut counts = requests.unwrap_or_default()["requests: ".len()..].split(", ");
        let count = counts.find_map(|count| count.strip_suffix(what));
        count.unwrap_or_default().trim().parse::<u64>()
    };
    let (done, succeeded) = (count(" done")?, count(" succeeded")?);
    let errors = count(" errored")? + count(" timeout")?;
    // One line a request: when it began, its status, and how long it took.
    let lines = std::fs::read_to_string(&log.0)?;
    let mut took: Vec<u64> = lines
        .lines()
        .filter_map(|line| line.rsplit('\t').next()?.parse().ok())
        .collect();
    let place = took.len() * 99 / 100;
    if place == 0 {
        return Err("h2load kept no times".into());
    }
    let (_, p99, slower) = took.select_nth_unstable(place);
    let slowest = slower.iter().max().unwrap_or(p99);
    Ok(Figures {
        requests: done,
        seconds: duration.as_secs_f64(),
        slowest: Duration::from_micros(*slowest),
        p99: Duration::from_micros(*p99),
        failed: (done - succeeded).max(count(" failed")?).max(errors),
    })
}
