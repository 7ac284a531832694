//! One run of a tool: with a time limit and bounds, and with nothing left of it
//! afterwards.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::pin::{Pin, pin};
use std::process::Stdio;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::process::{Child, Command};
use zeroize::Zeroizing;

use crate::runtime::{Runtime, Timestamp, within};

/// A token is a few kB. What writes more than this does not write a token.
pub(super) const MAX_OUTPUT: usize = 1 << 20;

/// What a tool wrote is in its pipes when it has ended. They stay open longer
/// only if it left a process behind that has them too.
const PIPES_AFTER_EXIT: Duration = Duration::from_secs(1);

/// A process that was killed ends at once, unless the system itself hangs.
const UNTIL_REAPED: Duration = Duration::from_secs(1);

/// What a tool said.
pub(super) struct Output {
    /// Just before it was started.
    pub(super) started: Timestamp,
    /// `None` if a signal ended it.
    pub(super) exit_code: Option<i32>,
    pub(super) stdout: Zeroizing<Vec<u8>>,
    pub(super) stderr: Zeroizing<Vec<u8>>,
}

/// Why a tool could not be run to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    NotStarted(io::ErrorKind),
    TooMuchOutput,
    TimedOut,
    Lost(io::ErrorKind),
}

/// Runs `program`, an absolute path, for at most `limit`. It gets no input and
/// no shell, and works where nobody can have planted anything.
///
/// However this ends, by a drop of the future too, the process group has been
/// killed if the program had not come to its own end.
pub(super) async fn run<A: AsRef<OsStr>>(
    program: &Path,
    arguments: &[A],
    runtime: &dyn Runtime,
    limit: Duration,
) -> Result<Output, Fault> {
    let started = runtime.now();
    let mut running = Running::start(program, arguments)?;
    let ended = within(runtime, limit, running.finish(runtime)).await;
    let fault = match ended {
        Some(Ok((exit_code, stdout, stderr))) => {
            return Ok(Output {
                started,
                exit_code,
                stdout,
                stderr,
            });
        }
        Some(Err(fault)) => fault,
        None => Fault::TimedOut,
    };
    running.group.kill();
    let _ = running.child.start_kill();
    let _ = within(runtime, UNTIL_REAPED, running.child.wait()).await;
    Err(fault)
}

type Ended = (Option<i32>, Zeroizing<Vec<u8>>, Zeroizing<Vec<u8>>);

/// The group is killed before the child is dropped, which tokio then reaps.
struct Running {
    group: Group,
    child: Child,
}

impl Running {
    fn start<A: AsRef<OsStr>>(program: &Path, arguments: &[A]) -> Result<Self, Fault> {
        let mut command = Command::new(program);
        // On Windows az is a batch file. The standard library runs those by
        // cmd.exe of the system directory, and refuses arguments that cannot
        // be quoted for it.
        command
            .args(arguments)
            .current_dir(safe_directory())
            .env("AZURE_CORE_NO_COLOR", "true")
            .env("NO_COLOR", "1")
            .env("PYTHONIOENCODING", "utf-8")
            // With a terminal az has been seen to wait for an answer.
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        #[cfg(unix)]
        command.process_group(0);
        #[cfg(windows)]
        command.creation_flags(CREATE_NO_WINDOW);
        let child = command
            .spawn()
            .map_err(|error| Fault::NotStarted(error.kind()))?;
        Ok(Self {
            group: Group::of(&child),
            child,
        })
    }

    /// Waits for the end of the program and of what it writes.
    async fn finish(&mut self, runtime: &dyn Runtime) -> Result<Ended, Fault> {
        let mut stdout = Captured::new(self.child.stdout.take());
        let mut stderr = Captured::new(self.child.stderr.take());
        let mut wait = pin!(self.child.wait());
        let mut exited = None;
        let mut grace = None;
        let pipes_are_closed = std::future::poll_fn(|cx| {
            let read_all = [stdout.poll_read(cx)?, stderr.poll_read(cx)?]
                .iter()
                .all(Poll::is_ready);
            if exited.is_none() {
                let status = ready!(wait.as_mut().poll(cx));
                exited = Some(status.map_err(|error| Fault::Lost(error.kind()))?);
            }
            if read_all {
                return Poll::Ready(Ok(true));
            }
            let grace = grace.get_or_insert_with(|| runtime.sleep(PIPES_AFTER_EXIT));
            grace.as_mut().poll(cx).map(|()| Ok(false))
        })
        .await?;
        if pipes_are_closed {
            // What the program has detached from itself is its own affair.
            self.group.let_go();
        } else {
            self.group.kill();
        }
        Ok((
            exited.and_then(|status| status.code()),
            stdout.bytes,
            stderr.bytes,
        ))
    }
}

/// What a pipe brings, within bounds.
struct Captured<R> {
    pipe: Option<R>,
    bytes: Zeroizing<Vec<u8>>,
}

impl<R: AsyncRead + Unpin> Captured<R> {
    fn new(pipe: Option<R>) -> Self {
        Self {
            pipe,
            // A vector that grows leaves its old bytes behind.
            bytes: Zeroizing::new(Vec::with_capacity(MAX_OUTPUT)),
        }
    }

    /// Ready when the pipe has been closed.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        let mut space = Zeroizing::new([0_u8; 4096]);
        while let Some(pipe) = &mut self.pipe {
            let mut read = ReadBuf::new(&mut *space);
            ready!(Pin::new(pipe).poll_read(cx, &mut read))
                .map_err(|error| Fault::Lost(error.kind()))?;
            if read.filled().is_empty() {
                self.pipe = None;
            } else if self.bytes.len() + read.filled().len() > MAX_OUTPUT {
                return Poll::Ready(Err(Fault::TooMuchOutput));
            } else {
                self.bytes.extend_from_slice(read.filled());
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// The process group of a program: itself and what it has started.
#[cfg(unix)]
struct Group(Option<rustix::process::Pid>);

#[cfg(unix)]
impl Group {
    fn of(child: &Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self(id.and_then(rustix::process::Pid::from_raw))
    }

    fn kill(&mut self) {
        if let Some(leader) = self.0.take() {
            // There may be none left.
            let _ = rustix::process::kill_process_group(leader, rustix::process::Signal::KILL);
        }
    }

    fn let_go(&mut self) {
        self.0 = None;
    }
}

#[cfg(unix)]
impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Elsewhere only the child itself is killed.
#[cfg(not(unix))]
struct Group;

#[cfg(not(unix))]
impl Group {
    fn of(_: &Child) -> Self {
        Self
    }

    fn kill(&mut self) {}

    fn let_go(&mut self) {}
}

#[cfg(windows)]
const CREATE_NO_WINDOW: u32 = 0x0800_0000;

/// Programs look for others in their working directory, so it must be one that
/// only an administrator can write to.
#[cfg(not(windows))]
fn safe_directory() -> std::path::PathBuf {
    "/".into()
}

#[cfg(windows)]
fn safe_directory() -> std::path::PathBuf {
    crate::environment::Environment::of_process()
        .raw("SystemRoot")
        .map_or_else(|| r"C:\Windows".into(), Into::into)
}
