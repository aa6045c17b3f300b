//! What must hold for any bytes that an MQTT client sends. A broken rule is a panic.

use spalla_broker::fuzzing::{Subject, packets};

thread_local! {
    static SUBJECT: Subject = Subject::start().expect("a broker");
}

/// How bytes are cut on their way changes nothing; a whole connection that sends them gets well-formed packets and harms nobody.
pub fn run(data: &[u8]) {
    let whole = packets(data, data.len());
    for chunk in [1, 3, 64] {
        assert_eq!(packets(data, chunk), whole, "cut into pieces of {chunk}");
    }
    SUBJECT.with(|subject| {
        framed(&subject.converse(data));
        if let Some(harm) = subject.harm() {
            panic!("{harm}");
        }
    });
}

/// Every byte belongs to a packet of a kind that servers send, and the last packet is whole.
fn framed(mut bytes: &[u8]) {
    while let Some((head, rest)) = bytes.split_first() {
        assert!(matches!(head >> 4, 2 | 3 | 4 | 5 | 6 | 7 | 9 | 11 | 13 | 14), "a server sends no packet {head:02x}");
        let (mut len, mut size) = (0usize, 0);
        for byte in rest.iter().take(4) {
            len |= usize::from(byte & 0x7F) << (7 * size);
            size += 1;
            if byte & 0x80 == 0 {
                break;
            }
        }
        assert!(rest.len() >= size + len, "the last packet {head:02x} is cut");
        bytes = &rest[size + len..];
    }
}
