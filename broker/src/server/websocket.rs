//! MQTT over WebSocket: binary messages of the subprotocol `mqtt` as one stream of bytes, cut wherever the client likes.
//! tungstenite does the protocol; a message is bounded like a packet, and a text message ends the connection.

use bytes::{Buf, Bytes};
use futures::{Sink, Stream};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};

const SUBPROTOCOL: &str = "mqtt";
/// Beside a packet: a client may put the end of one and the beginning of the next into one message.
const FRAME_MARGIN: usize = 64 * 1024;
/// Small for a small packet: most connections idle, and each has one of these.
const READ_BUFFER: usize = 2048;

/// Answers the upgrade, bounded by the caller in time. The error is the word for the statistics.
pub(crate) async fn accept<S>(stream: S, packet_size: u32) -> Result<Socket<S>, &'static str>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let message_max = packet_size as usize + FRAME_MARGIN;
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_write_buffer_size(2 * message_max)
        .max_message_size(Some(message_max))
        .max_frame_size(Some(message_max));
    let stream = tokio_tungstenite::accept_hdr_async_with_config(stream, choose, Some(config)).await.map_err(|_| "websocket")?;
    Ok(Socket { stream, unread: Bytes::new() })
}

/// A client must offer `mqtt` and is answered with it ([MQTT-6.0.0-3] and [MQTT-6.0.0-4]).
#[allow(clippy::result_large_err)]
fn choose(request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    let offered = request.headers().get_all(header::SEC_WEBSOCKET_PROTOCOL);
    let speaks =
        offered.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(|name| name.trim() == SUBPROTOCOL);
    if !speaks {
        let mut refusal = ErrorResponse::new(Some("the subprotocol must be `mqtt`".into()));
        *refusal.status_mut() = StatusCode::BAD_REQUEST;
        return Err(refusal);
    }
    response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    Ok(response)
}

/// A WebSocket as a stream of bytes.
pub(crate) struct Socket<S> {
    stream: WebSocketStream<S>,
    /// The rest of the last message.
    unread: Bytes,
}

fn broken(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        other => io::Error::other(other),
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Socket<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if !this.unread.is_empty() {
                let len = this.unread.len().min(buf.remaining());
                buf.put_slice(&this.unread[..len]);
                this.unread.advance(len);
                return Poll::Ready(Ok(()));
            }
            match ready!(Pin::new(&mut this.stream).poll_next(cx)) {
                Some(Ok(Message::Binary(bytes))) => this.unread = bytes,
                // tungstenite answers pings and close frames by itself.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Close(_))) | None => return Poll::Ready(Ok(())),
                Some(Ok(Message::Text(_))) => {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "MQTT travels in binary messages")));
                }
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let stream = &mut self.get_mut().stream;
        ready!(Pin::new(&mut *stream).poll_ready(cx)).map_err(broken)?;
        Pin::new(stream).start_send(Message::Binary(Bytes::copy_from_slice(buf))).map_err(broken)?;
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx).map_err(broken)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_close(cx).map_err(broken)
    }
}
