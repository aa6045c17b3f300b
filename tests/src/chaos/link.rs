//! The way from one gateway to another, with weather: cut, half-open, one-way, slow, lossy. TCP loses nothing by itself, so what a bad
//! network holds back comes later, all of it, when the weather clears.

use crate::mesh::Mesh;
use bytes::{Bytes, BytesMut};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// Read at once from one side.
const CHUNK: usize = 16 * 1024;
/// Chunks that are under way in one direction, or held by the weather: 64 MiB at most, more than any link of ours fills.
const UNDER_WAY_MAX: usize = 4096;
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
    /// One chunk after the other takes so long: slow and narrow.
    Slow {
        delay: Duration,
    },
    /// Everything arrives so long after it was sent, however much is under way: long and broad. To connect takes a round trip.
    Far {
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

    /// When a chunk may go on that was read at `read` and whose turn it is now.
    fn due(self, chunk: u32, read: Instant) -> Option<Instant> {
        match self {
            Self::Slow { delay } => Some(Instant::now() + delay),
            Self::Far { delay } => Some(read + delay),
            Self::Lossy { one_in } => chunk.is_multiple_of(one_in.max(1)).then(|| Instant::now() + RESEND),
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
    let now = *weather.wait_for(|weather| !weather.holds(true)).await.map_err(io::Error::other)?;
    if let Weather::Far { delay } = now {
        tokio::time::sleep(delay * 2).await;
    }
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
    from: impl AsyncReadExt + Unpin,
    to: impl AsyncWriteExt + Unpin,
    weather: watch::Receiver<Weather>,
    from_dialler: bool,
) -> io::Result<()> {
    let (under_way, arriving) = mpsc::channel(UNDER_WAY_MAX);
    // What was sent before the end arrives before the end.
    tokio::try_join!(take(from, under_way), deliver(arriving, to, weather, from_dialler))?;
    Ok(())
}

async fn take(mut from: impl AsyncReadExt + Unpin, under_way: mpsc::Sender<(Instant, Bytes)>) -> io::Result<()> {
    let mut chunk = BytesMut::new();
    loop {
        chunk.reserve(CHUNK);
        if from.read_buf(&mut chunk).await? == 0 {
            return Ok(());
        }
        under_way.send((Instant::now(), chunk.split().freeze())).await.map_err(io::Error::other)?;
    }
}

async fn deliver(
    mut arriving: mpsc::Receiver<(Instant, Bytes)>,
    mut to: impl AsyncWriteExt + Unpin,
    mut weather: watch::Receiver<Weather>,
    from_dialler: bool,
) -> io::Result<()> {
    let mut chunks = 0u32;
    while let Some((read, chunk)) = arriving.recv().await {
        chunks = chunks.wrapping_add(1);
        let now = *weather.wait_for(|weather| !weather.holds(from_dialler)).await.map_err(io::Error::other)?;
        if let Some(due) = now.due(chunks, read) {
            tokio::time::sleep_until(due).await;
        }
        to.write_all(&chunk).await?;
    }
    Ok(())
}

/// A link for each way between two gateways, written into their settings: by (from, to), their places.
pub async fn between(mesh: &Mesh) -> BTreeMap<(usize, usize), Link> {
    let mut listens = Vec::new();
    (0..mesh.nodes.len()).for_each(|place| mesh.configure(place, |config| listens.push(config.peers.listen)));
    let mut links = BTreeMap::new();
    for from in 0..listens.len() {
        for (to, listen) in listens.iter().enumerate().filter(|(to, _)| *to != from) {
            let link = Link::open(*listen).await.expect("a link");
            mesh.configure(from, |config| config.peers.gateways[to].address = link.address.to_string());
            links.insert((from, to), link);
        }
    }
    links
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A snapshot or a flood of writes crosses a long link at once: each chunk for itself would make distance look like a narrow line.
    #[tokio::test]
    async fn what_is_under_way_together_arrives_together() -> io::Result<()> {
        const DELAY: Duration = Duration::from_millis(100);
        const CHUNKS: usize = 128;
        let far = TcpListener::bind("127.0.0.1:0").await?;
        let link = Link::open(far.local_addr()?).await?;
        link.set(Weather::Far { delay: DELAY });
        let mut near = TcpStream::connect(link.address).await?;
        let (mut arrived, _) = far.accept().await?;
        let began = Instant::now();
        near.write_all(&vec![7; CHUNKS * CHUNK]).await?;
        let mut all = vec![0; CHUNKS * CHUNK];
        arrived.read_exact(&mut all).await?;
        let took = began.elapsed();
        assert!(all.iter().all(|byte| *byte == 7));
        assert!(took >= DELAY, "{took:?}");
        assert!(took < DELAY * CHUNKS as u32 / 2, "one after the other: {took:?}");
        near.shutdown().await?;
        assert_eq!(arrived.read(&mut all).await?, 0, "the end arrives, too");
        Ok(())
    }
}
