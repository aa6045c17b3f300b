//! One building of the demo: a gateway as a process of its own, with its real data folder, that can be killed and started again.

use anyhow::{Context, Result};
use std::fs::{File, OpenOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

pub struct Building {
    pub site: String,
    pub config: PathBuf,
    pub data: PathBuf,
    pub devices: SocketAddr,
    log: PathBuf,
    child: Option<Child>,
}

impl Building {
    pub fn new(site: &str, folder: &Path, devices: SocketAddr, data: PathBuf) -> Self {
        Self { site: site.into(), config: folder.join("spalla.toml"), data, devices, log: folder.join("gateway.log"), child: None }
    }

    /// Starts the gateway with this very program. Its log goes to `gateway.log` in the site's folder.
    pub fn start(&mut self) -> Result<()> {
        if self.is_running() {
            return Ok(());
        }
        let program = std::env::current_exe().context("where this program lies")?;
        let log: File = OpenOptions::new().create(true).append(true).open(&self.log).with_context(|| self.log.display().to_string())?;
        let mut command = Command::new(program);
        command.arg("run").arg("--config").arg(&self.config).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        if std::env::var_os("RUST_LOG").is_none() {
            command.env("RUST_LOG", "info");
        }
        die_with_parent(&mut command);
        self.child = Some(command.spawn().with_context(|| format!("starting the gateway of {}", self.site))?);
        Ok(())
    }

    /// kill -9: no goodbye, no flush.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGTERM, and kill -9 where that does not help within the time.
    pub async fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        terminate(&child);
        for _ in 0..100 {
            match child.try_wait() {
                Ok(None) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
                _ => return,
            }
        }
        let _ = child.kill();
        let _ = child.wait();
    }

    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    pub fn is_running(&mut self) -> bool {
        match &mut self.child {
            Some(child) => matches!(child.try_wait(), Ok(None)),
            None => false,
        }
    }

    /// The last lines of the gateway's log, for an error message.
    pub fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

impl Drop for Building {
    fn drop(&mut self) {
        self.kill();
    }
}

fn terminate(child: &Child) {
    if let Ok(pid) = i32::try_from(child.id()) {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM);
    }
}

/// Nothing is left running when the demo itself is killed: the gateway watches for the end of its parent.
fn die_with_parent(command: &mut Command) {
    command.env("SPALLA_PARENT", std::process::id().to_string());
}
