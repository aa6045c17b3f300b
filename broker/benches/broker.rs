//! The broker under load, beside mosquitto where it is installed: each as a process of its own, the same raw clients in front.
//!
//! ```text
//! cargo bench -p spalla-broker --bench broker            everything, as Markdown
//! cargo bench -p spalla-broker --bench broker -- quick   a tenth of the messages
//! ```
//! Raw clients, because a library's would be measured too. A number is of this machine and moment; what counts is two in one run.

use spalla_broker::hooks::AllowAll;
use spalla_broker::server::{Broker, BrokerConfig, Limits};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// In the environment of the process that is the broker: the folder of its store.
const SERVE: &str = "SPALLA_BENCH_STORE";
const PAYLOAD: [u8; 64] = [b'x'; 64];
/// Unacknowledged messages of a publisher at QoS 1: what mosquitto takes by default.
const WINDOW: usize = 20;
const IDLE: usize = 2_000;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    if let Some(folder) = std::env::var_os(SERVE) {
        return runtime.block_on(serve(Path::new(&folder)));
    }
    let quick = std::env::args().any(|argument| argument == "quick");
    let scale = if quick { 10 } else { 1 };
    let mut columns = vec![measure(&runtime, scale, &Subject::spalla())];
    match Subject::mosquitto() {
        Some(subject) => columns.push(measure(&runtime, scale, &subject)),
        None => println!("mosquitto is not installed (Debian: apt-get install mosquitto): measured alone\n"),
    }
    let names: Vec<&str> = columns.iter().map(|column| column.name).collect();
    println!("| | {} |\n|---|{}", names.join(" | "), "---|".repeat(names.len()));
    for (at, (title, _)) in columns[0].rows.iter().enumerate() {
        let cells: Vec<&str> = columns.iter().map(|column| column.rows[at].1.as_str()).collect();
        println!("| {title} | {} |", cells.join(" | "));
    }
}

/// Until its standard input ends.
async fn serve(folder: &Path) {
    let limits = Limits { connections: 8192, connections_per_principal: 8192, publish_rate: 0, ..Limits::default() };
    let address = Some(([127, 0, 0, 1], 0).into());
    let store = Some(folder.join("broker.db"));
    let broker = Broker::start(BrokerConfig { tcp: address, store, limits, ..BrokerConfig::default() }, Arc::new(AllowAll)).await;
    let broker = broker.expect("the broker starts");
    println!("{}", broker.addresses().tcp.expect("listens").port());
    std::io::stdout().flush().expect("told");
    tokio::task::spawn_blocking(|| std::io::stdin().lock().lines().for_each(drop)).await.ok();
    broker.shutdown().await;
}

/// A broker in its own process.
struct Subject {
    name: &'static str,
    child: Child,
    address: SocketAddr,
    folder: tempfile::TempDir,
}

impl Subject {
    fn spalla() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.env(SERVE, folder.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the broker starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("a port");
        let port: u16 = line.trim().parse().expect("a port");
        Self { name: "Spalla", child, address: ([127, 0, 0, 1], port).into(), folder }
    }

    fn mosquitto() -> Option<Self> {
        let program = ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"].map(PathBuf::from).into_iter().find(|path| path.exists())?;
        let folder = tempfile::tempdir().expect("a folder");
        let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
        let place = folder.path().display();
        let settings = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {place}/\nmax_queued_messages 0\n\
             log_type none\nset_tcp_nodelay true\nuser root\n"
        );
        let file = folder.path().join("mosquitto.conf");
        std::fs::write(&file, settings).expect("written");
        let child = Command::new(program).arg("-c").arg(file).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let began = Instant::now();
        while std::net::TcpStream::connect(address).is_err() {
            if began.elapsed() > Duration::from_secs(5) {
                return None;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(Self { name: "mosquitto", child, address, folder })
    }

    /// Bytes that are in memory.
    fn resident(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        let _ = self.folder.path();
    }
}

struct Column {
    name: &'static str,
    rows: Vec<(String, String)>,
}

fn measure(runtime: &tokio::runtime::Runtime, scale: usize, subject: &Subject) -> Column {
    let mut rows = Vec::new();
    let at = subject.address;
    // First, while nothing else has taken memory.
    let (bytes, rate) = runtime.block_on(idle(subject));
    rows.push((format!("memory per idle connection at {IDLE}, KiB"), format!("{:.1}", bytes as f64 / 1024.0)));
    rows.push(("connects per second, 16 at a time".into(), format!("{rate:.0}")));
    for qos in [0, 1] {
        for publishers in [1, 50, 500] {
            let each = 200_000 / scale / publishers;
            let rate = runtime.block_on(ingest(at, publishers, each, qos, ""));
            rows.push((format!("QoS {qos} ingest from {publishers}, messages/s"), format!("{rate:.0}")));
        }
    }
    let rate = runtime.block_on(kept(at, 50, 40_000 / scale / 50));
    rows.push(("QoS 1 ingest from 50 for a kept session that is away, messages/s".into(), format!("{rate:.0}")));
    let rate = runtime.block_on(fan_out(at, 100, 4_000 / scale));
    rows.push(("fan-out 1 to 100 at QoS 0, deliveries/s".into(), format!("{rate:.0}")));
    let (p50, p99) = runtime.block_on(latency(at, 5_000 / scale));
    rows.push(("latency at 1,000 messages/s, QoS 1, p50 / p99, µs".into(), format!("{p50} / {p99}")));
    Column { name: subject.name, rows }
}

/// Memory per connection, and connections per second.
async fn idle(subject: &Subject) -> (u64, f64) {
    let address = subject.address;
    drop(Client::connect(address, "warm", true).await);
    let before = subject.resident();
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for lane in 0..16 {
        tasks.spawn(async move {
            let mut all = Vec::new();
            for number in (lane..IDLE).step_by(16) {
                all.push(Client::connect(address, &format!("idle-{number}"), true).await);
            }
            all
        });
    }
    let all: Vec<Client> = tasks.join_all().await.into_iter().flatten().collect();
    let rate = all.len() as f64 / began.elapsed().as_secs_f64();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let bytes = subject.resident().saturating_sub(before) / all.len() as u64;
    drop(all);
    tokio::time::sleep(Duration::from_millis(500)).await;
    (bytes, rate)
}

/// Until the last is acknowledged; at QoS 0 until a PING behind them all is answered.
async fn ingest(address: SocketAddr, publishers: usize, each: usize, qos: u8, prefix: &str) -> f64 {
    let mut clients = Vec::new();
    for number in 0..publishers {
        clients.push(Client::connect(address, &format!("{prefix}pub-{number}"), true).await);
    }
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for (number, mut client) in clients.into_iter().enumerate() {
        let topic = format!("{}ingest/{number}", if prefix.is_empty() { "" } else { "kept/" });
        tasks.spawn(async move { client.publish_all(&topic, each, qos).await });
    }
    tasks.join_all().await;
    (publishers * each) as f64 / began.elapsed().as_secs_f64()
}

/// What is published is kept for one who is away. The queue is bounded; the oldest give way.
async fn kept(address: SocketAddr, publishers: usize, each: usize) -> f64 {
    let mut sleeper = Client::connect(address, "sleeper", false).await;
    sleeper.subscribe("kept/#", 1).await;
    drop(sleeper);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let rate = ingest(address, publishers, each, 1, "kept-").await;
    // A clean session with its id takes it away.
    drop(Client::connect(address, "sleeper", true).await);
    rate
}

async fn fan_out(address: SocketAddr, subscribers: usize, messages: usize) -> f64 {
    let mut tasks = JoinSet::new();
    for number in 0..subscribers {
        let mut client = Client::connect(address, &format!("sub-{number}"), true).await;
        client.subscribe("fan", 0).await;
        tasks.spawn(async move {
            for _ in 0..messages {
                client.publish_from_broker().await;
            }
        });
    }
    let mut publisher = Client::connect(address, "fan-pub", true).await;
    let began = Instant::now();
    // Acknowledged, so that the publisher does not run away from a hundred readers.
    publisher.publish_all("fan", messages, 1).await;
    tasks.join_all().await;
    (subscribers * messages) as f64 / began.elapsed().as_secs_f64()
}

/// Microseconds from before the publisher's write until the subscriber has it.
async fn latency(address: SocketAddr, messages: usize) -> (u64, u64) {
    let mut subscriber = Client::connect(address, "late-sub", true).await;
    subscriber.subscribe("late", 1).await;
    let start = Instant::now();
    let reader = tokio::spawn(async move {
        let mut all = Vec::with_capacity(messages);
        for _ in 0..messages {
            let (payload, packet_id) = subscriber.publish_from_broker().await;
            let sent = u64::from_be_bytes(payload[..8].try_into().expect("eight bytes"));
            all.push(u64::try_from(start.elapsed().as_micros()).expect("short") - sent);
            subscriber.socket.write_all(&[0x40, 2, (packet_id >> 8) as u8, packet_id as u8]).await.expect("sent");
        }
        all.sort_unstable();
        all
    });
    let (mut read, mut write) = Client::connect(address, "late-pub", true).await.socket.into_split();
    let drain = tokio::spawn(async move { tokio::io::copy(&mut read, &mut tokio::io::sink()).await });
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    for number in 0..messages {
        ticks.tick().await;
        let mut payload = PAYLOAD;
        payload[..8].copy_from_slice(&u64::try_from(start.elapsed().as_micros()).expect("short").to_be_bytes());
        let mut bytes = Vec::new();
        put_publish(&mut bytes, "late", 1, (number % 60_000 + 1) as u16, &payload);
        write.write_all(&bytes).await.expect("sent");
    }
    let all = reader.await.expect("read");
    drain.abort();
    (all[all.len() / 2], all[all.len() * 99 / 100])
}

/// MQTT 3.1.1, as little of it as this needs.
struct Client {
    socket: TcpStream,
    buffer: Vec<u8>,
    at: usize,
}

impl Client {
    async fn connect(address: SocketAddr, id: &str, clean: bool) -> Self {
        let mut socket = TcpStream::connect(address).await.expect("connects");
        socket.set_nodelay(true).expect("no delay");
        let mut bytes = vec![0x10, 12 + id.len() as u8, 0, 4];
        bytes.extend(b"MQTT\x04");
        bytes.extend([u8::from(clean) << 1, 0, 0, 0, id.len() as u8]);
        bytes.extend(id.as_bytes());
        socket.write_all(&bytes).await.expect("sent");
        let mut connack = [0; 4];
        socket.read_exact(&mut connack).await.expect("a CONNACK");
        assert_eq!((connack[0], connack[3]), (0x20, 0));
        Self { socket, buffer: Vec::new(), at: 0 }
    }

    async fn subscribe(&mut self, filter: &str, qos: u8) {
        let mut bytes = vec![0x82, 5 + filter.len() as u8, 0, 1, 0, filter.len() as u8];
        bytes.extend(filter.as_bytes());
        bytes.push(qos);
        self.socket.write_all(&bytes).await.expect("sent");
        let (head, _) = self.packet().await;
        assert_eq!(head, 0x90);
    }

    async fn publish_all(&mut self, topic: &str, count: usize, qos: u8) {
        let (mut sent, mut acknowledged) = (0, 0);
        if qos == 0 {
            let mut bytes = Vec::new();
            while sent < count {
                bytes.clear();
                let end = (sent + 100).min(count);
                (sent..end).for_each(|_| put_publish(&mut bytes, topic, 0, 0, &PAYLOAD));
                sent = end;
                self.socket.write_all(&bytes).await.expect("sent");
            }
            self.socket.write_all(&[0xC0, 0]).await.expect("sent");
            assert_eq!(self.packet().await.0, 0xD0);
            return;
        }
        let mut bytes = Vec::new();
        while acknowledged < count {
            bytes.clear();
            while sent < count && sent - acknowledged < WINDOW {
                put_publish(&mut bytes, topic, 1, (sent % 60_000 + 1) as u16, &PAYLOAD);
                sent += 1;
            }
            if !bytes.is_empty() {
                self.socket.write_all(&bytes).await.expect("sent");
            }
            assert_eq!(self.packet().await.0, 0x40);
            acknowledged += 1;
            while self.has_packet() {
                assert_eq!(self.packet().await.0, 0x40);
                acknowledged += 1;
            }
        }
    }

    /// Payload and packet id.
    async fn publish_from_broker(&mut self) -> (Vec<u8>, u16) {
        let (head, body) = self.packet().await;
        assert_eq!(head & 0xF0, 0x30);
        let topic = usize::from(u16::from_be_bytes([body[0], body[1]]));
        if head & 0x06 == 0 {
            return (body[2 + topic..].to_vec(), 0);
        }
        (body[4 + topic..].to_vec(), u16::from_be_bytes([body[2 + topic], body[3 + topic]]))
    }

    /// All packets here are shorter than 128 bytes.
    fn has_packet(&self) -> bool {
        self.buffer.get(self.at + 1).is_some_and(|len| self.buffer.len() >= self.at + 2 + usize::from(*len))
    }

    async fn packet(&mut self) -> (u8, Vec<u8>) {
        while !self.has_packet() {
            self.buffer.drain(..self.at);
            self.at = 0;
            let read = self.socket.read_buf(&mut self.buffer).await.expect("read");
            assert!(read > 0, "the broker ended the connection");
        }
        let (head, len) = (self.buffer[self.at], usize::from(self.buffer[self.at + 1]));
        let body = self.buffer[self.at + 2..self.at + 2 + len].to_vec();
        self.at += 2 + len;
        (head, body)
    }
}

fn put_publish(bytes: &mut Vec<u8>, topic: &str, qos: u8, packet_id: u16, payload: &[u8]) {
    let len = 2 + topic.len() + usize::from(qos > 0) * 2 + payload.len();
    bytes.extend([0x30 | qos << 1, u8::try_from(len).expect("short"), 0, topic.len() as u8]);
    bytes.extend(topic.as_bytes());
    if qos > 0 {
        bytes.extend(packet_id.to_be_bytes());
    }
    bytes.extend(payload);
}
