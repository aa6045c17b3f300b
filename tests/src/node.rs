//! One gateway as a process: started, killed, held, and started again on the same folder.

use crate::api::Api;
use crate::wait::until;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Output, Stdio};

/// For a program that starts gateways and has options alone: with a command it is the gateway's. One build, one file.
pub fn as_gateway() -> Option<ExitCode> {
    std::env::args().nth(1).is_some_and(|first| !first.starts_with('-')).then(spalla::cli::main)
}

/// What a process has in memory.
pub fn resident_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

pub struct Node {
    pub number: u64,
    pub site: String,
    pub config: PathBuf,
    pub data: PathBuf,
    pub devices_port: u16,
    pub api: Api,
    program: PathBuf,
    log: PathBuf,
    child: Option<Child>,
}

impl Node {
    pub fn new(program: &Path, number: u64, site: &str, config: PathBuf, devices_port: u16, api: Api) -> Self {
        let folder = config.parent().expect("a config lies in a folder").to_owned();
        Self {
            number,
            site: site.into(),
            data: folder.join("data"),
            log: folder.join("gateway.log"),
            config,
            devices_port,
            api,
            program: program.into(),
            child: None,
        }
    }

    /// From the thread of the test: the kernel ends the gateway with the thread that started it, however that ends.
    pub fn start(&mut self) {
        let command = Command::new(&self.program);
        self.spawn(command);
    }

    /// With these environment variables besides.
    pub fn start_with(&mut self, variables: &[(&str, &Path)]) {
        let mut command = Command::new(&self.program);
        command.envs(variables.iter().copied());
        self.spawn(command);
    }

    /// No file of the gateway may grow beyond `bytes`: every write that would do so fails.
    pub fn start_with_file_limit(&mut self, bytes: u64) {
        let mut command = Command::new("sh");
        // `ulimit -f` counts blocks of 512 bytes. The signal's default would end the process before the write can fail.
        let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$0\" \"$@\"", bytes / 512);
        command.arg("-c").arg(script).arg(&self.program);
        self.spawn(command);
    }

    fn spawn(&mut self, mut command: Command) {
        assert!(self.child.is_none(), "{} runs already", self.site);
        let log = OpenOptions::new().create(true).append(true).open(&self.log).expect("the log opens");
        command.args(["run", "--config"]).arg(&self.config).env("SPALLA_PARENT", std::process::id().to_string());
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a handle on the log")).stderr(log);
        self.child = Some(command.spawn().expect("the gateway starts"));
    }

    /// kill -9, and gone when this returns.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }

    pub fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("the gateway runs");
        kill(Pid::from_raw(i32::try_from(child.id()).expect("a process id")), signal).expect("the signal is sent");
    }

    /// The process stands still with all its connections open.
    pub fn hold(&self) {
        self.signal(Signal::SIGSTOP);
    }
    pub fn go_on(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// SIGTERM, and how it ended.
    pub async fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.ended().await
    }

    /// Waits until the process has ended by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        let site = self.site.clone();
        let child = self.child.as_mut().expect("the gateway runs");
        let status = until(&format!("the gateway of {site} ends"), async || child.try_wait().expect("a child")).await;
        self.child = None;
        status
    }

    /// What the process has in memory.
    pub fn resident_kib(&self) -> u64 {
        let child = self.child.as_ref().expect("the gateway runs");
        resident_kib(child.id())
    }

    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Hears of a leader, and reads and writes there.
    pub async fn ready(&self) {
        until(&format!("the gateway of {} is ready", self.site), async || {
            let answer = self.api.send(self.api.anonymous("GET", "/readyz")).await?;
            (answer.status == 200).then_some(())
        })
        .await;
    }

    /// The log knows this very session of the device: one of before a restart, or before it went and came again, is not it.
    pub async fn connected(&self, device: &str) {
        until(&format!("{device} is connected"), async || {
            let answer = self.api.try_get(&format!("/devices/{device}")).await?;
            let session = &answer.data()["attached"]["session"];
            (session.is_u64() && *session == answer.data()["here"]["session"]).then_some(())
        })
        .await;
    }

    /// The log knows that the device is nowhere.
    pub async fn away(&self, device: &str) {
        until(&format!("{device} is away"), async || {
            let answer = self.api.try_get(&format!("/devices/{device}")).await?;
            (answer.data()["online"] == false).then_some(())
        })
        .await;
    }

    /// Everything that the gateway wrote to its log, over all its starts.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Lines of its log that tell of one.
    pub fn panics(&self) -> Vec<String> {
        let told = |line: &str| format!("the gateway of {}: {line}", self.site);
        self.log().lines().filter(|line| line.contains("panicked")).map(told).collect()
    }

    /// Runs the command line at this gateway, to its end.
    pub fn cli(&self, arguments: &[&str]) -> Output {
        self.cli_begun(arguments).wait_with_output().expect("the command line runs")
    }

    /// The same, while the test goes on: its links carry nothing while it blocks.
    pub async fn cli_meanwhile(&self, arguments: &[&str]) -> Output {
        let begun = self.cli_begun(arguments);
        tokio::task::spawn_blocking(move || begun.wait_with_output()).await.expect("no panic").expect("the command line runs")
    }

    fn cli_begun(&self, arguments: &[&str]) -> Child {
        Command::new(&self.program)
            .args(arguments)
            .arg("--config")
            .arg(&self.config)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the command line runs")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            for at in lines.iter().enumerate().filter(|(_, line)| line.contains("panicked at")).map(|(at, _)| at).take(3) {
                eprintln!("-- the gateway of {}: {}", self.site, lines[at..lines.len().min(at + 6)].join("\n"));
            }
            eprintln!("-- last words of the gateway of {}:\n{}", self.site, lines[lines.len().saturating_sub(12)..].join("\n"));
        }
    }
}
