//! The broker against the normative statements of MQTT 3.1.1 and MQTT 5.0, over real sockets and byte by byte.
//!
//! Every expectation names its statement, `v5 [MQTT-3.3.1-5]` or `v3.1.1 [MQTT-3.3.1-5]`: the two specifications number
//! them apart (OASIS Standards of 29 October 2014 and of 7 March 2019). Where the text demands something without a number, its
//! section is named. The strange `[MQTT-3-8.3-4]` is spelled so there. Statements that bind clients only, or that speak of what a server may choose, have no test here.

mod connect;
mod kill;
mod malformed;
mod publish;
mod retained;
mod sessions;
mod subscribe;
mod topics;
mod wills;
mod wire;

/// So that nobody thinks the suite whole when a file fell out of it.
#[test]
fn the_suite_covers_what_it_says() {
    let sources = [
        include_str!("connect.rs"),
        include_str!("malformed.rs"),
        include_str!("publish.rs"),
        include_str!("retained.rs"),
        include_str!("sessions.rs"),
        include_str!("subscribe.rs"),
        include_str!("topics.rs"),
        include_str!("wills.rs"),
    ];
    let mut named = std::collections::BTreeSet::new();
    for source in sources {
        for version in ["v5 [MQTT-", "v3.1.1 [MQTT-"] {
            named.extend(source.match_indices(version).filter_map(|(at, _)| Some(&source[at..=at + source[at..].find(']')?])));
        }
    }
    assert!(named.len() >= 150, "{} statements named", named.len());
}
