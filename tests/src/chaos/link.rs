//! The way from one gateway to another, with weather: cut, half-open, one-way, slow, lossy. TCP loses nothing by itself, so what a bad
//! network holds back comes later, all of it, when the weather clears.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Read at once from one side: also what is under way while the weather holds it.
const CHUNK: usize = 16 * 1024;
/// What a lost segment costs before it is sent again.
const RESEND: Duration = Duration::from_millis(200);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    Clear,
    /// Connections end, new ones carry nothing.
    Cut,
    /// Connections stay and nothing passes, either way.
    HalfOpen,
    /// Nothing passes from the side that dialled.
    Deaf,
    Slow {
        delay: Duration,
    },
    /// Every so many chunks one is lost and sent again.
    Lossy {
        one_in: u32,
    },
}

impl Weather {
    fn holds(self, from_dialler: bool) -> bool {
        self == Self::HalfOpen || (self == Self::Deaf && from_dialler)
    }

    fn delay(self, chunk: u32) -> Option<Duration> {
        match self {
            Self::Slow { delay } => Some(delay),
            Self::Lossy { one_in } => chunk.is_multiple_of(one_in.max(1)).then_some(RESEND),
            _ => None,
        }
    }
}

pub struct Link {
    pub address: SocketAddr,
    weather: Arc<watch::Sender<Weather>>,
}

impl Link {
    /// Listens on a free loopback port and carries everything to `target`.
    pub async fn open(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let weather = Arc::new(watch::Sender::new(Weather::Clear));
        let watched = weather.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let mut weather = watched.subscribe();
                tokio::spawn(async move {
                    let mut gone = weather.clone();
                    tokio::select! {
                        _ = carry(near, target, &mut weather) => {}
                        _ = gone.wait_for(|weather| *weather == Weather::Cut) => {}
                    }
                });
            }
        });
        Ok(Self { address, weather })
    }

    pub fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }
}

async fn carry(near: TcpStream, target: SocketAddr, weather: &mut watch::Receiver<Weather>) -> io::Result<()> {
    weather.wait_for(|weather| !weather.holds(true)).await.map_err(io::Error::other)?;
    let far = TcpStream::connect(target).await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let (near_reads, near_writes) = near.into_split();
    let (far_reads, far_writes) = far.into_split();
    let there = pump(near_reads, far_writes, weather.clone(), true);
    let back = pump(far_reads, near_writes, weather.clone(), false);
    // Either side's end ends both: MQTT knows no half-closed connection.
    tokio::select! {
        ended = there => ended,
        ended = back => ended,
    }
}

async fn pump(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut weather: watch::Receiver<Weather>,
    from_dialler: bool,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    let mut chunks = 0u32;
    loop {
        let read = from.read(&mut chunk).await?;
        if read == 0 {
            return Ok(());
        }
        chunks = chunks.wrapping_add(1);
        let now = *weather.wait_for(|weather| !weather.holds(from_dialler)).await.map_err(io::Error::other)?;
        if let Some(delay) = now.delay(chunks) {
            tokio::time::sleep(delay).await;
        }
        to.write_all(chunk.get(..read).unwrap_or_default()).await?;
    }
}
