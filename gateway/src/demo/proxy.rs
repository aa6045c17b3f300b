//! A TCP link that can be cut: between two gateways, or from a gateway to the cloud. Cutting closes what runs through it
//! and refuses what comes; restoring lets new connections through.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Connections that one link carries at once.
const CONNECTIONS_MAX: usize = 64;

#[derive(Clone)]
pub struct Link {
    pub address: SocketAddr,
    up: Arc<watch::Sender<bool>>,
}

impl Link {
    /// Listens on a free loopback port and carries everything to `target`.
    pub async fn open(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let up = Arc::new(watch::Sender::new(true));
        let watched = up.clone();
        let places = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS_MAX));
        tokio::spawn(async move {
            loop {
                let Ok((near, _)) = listener.accept().await else { return };
                let Ok(place) = places.clone().try_acquire_owned() else { continue };
                let mut up = watched.subscribe();
                tokio::spawn(async move {
                    if *up.borrow_and_update() {
                        tokio::select! {
                            _ = carry(near, target) => {}
                            _ = up.wait_for(|up| !up) => {}
                        }
                    }
                    drop(place);
                });
            }
        });
        Ok(Self { address, up })
    }

    pub fn cut(&self) {
        self.up.send_replace(false);
    }

    pub fn restore(&self) {
        self.up.send_replace(true);
    }

    pub fn is_up(&self) -> bool {
        *self.up.borrow()
    }
}

async fn carry(mut near: TcpStream, target: SocketAddr) -> io::Result<()> {
    let mut far = TcpStream::connect(target).await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    tokio::io::copy_bidirectional(&mut near, &mut far).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn a_cut_link_closes_what_runs_and_carries_again_when_restored() -> io::Result<()> {
        let echo = TcpListener::bind("127.0.0.1:0").await?;
        let target = echo.local_addr()?;
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = echo.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        let link = Link::open(target).await?;
        let mut first = TcpStream::connect(link.address).await?;
        first.write_all(b"one").await?;
        let mut answer = [0; 3];
        first.read_exact(&mut answer).await?;
        assert_eq!(&answer, b"one");
        link.cut();
        assert!(first.read_exact(&mut answer).await.is_err(), "the running connection ends");
        let mut refused = TcpStream::connect(link.address).await?;
        let _ = refused.write_all(b"two").await;
        assert!(refused.read_exact(&mut answer).await.is_err(), "a new one carries nothing");
        link.restore();
        let mut again = TcpStream::connect(link.address).await?;
        again.write_all(b"six").await?;
        again.read_exact(&mut answer).await?;
        assert_eq!(&answer, b"six");
        Ok(())
    }
}
