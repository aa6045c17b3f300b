//! When this process ends: on SIGTERM, on Ctrl-C, and with the demo that started it.

use anyhow::Result;

/// Resolves when an operator or the system asks for it.
pub async fn asked_to_stop() -> Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => {}
        pressed = tokio::signal::ctrl_c() => pressed?,
    }
    Ok(())
}

/// With `SPALLA_PARENT` set to the starter's process id, the kernel ends this process when the starter ends, however it ends.
pub fn end_with_parent() -> Result<()> {
    let Some(parent) = std::env::var("SPALLA_PARENT").ok().and_then(|id| id.parse::<i32>().ok()) else { return Ok(()) };
    // Ctrl-C in the demo's terminal is the demo's; it stops its gateways itself.
    nix::unistd::setpgid(nix::unistd::Pid::from_raw(0), nix::unistd::Pid::from_raw(0))?;
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
    // It may have ended before the line above.
    anyhow::ensure!(nix::unistd::getppid().as_raw() == parent, "the process that started this gateway is gone");
    Ok(())
}
