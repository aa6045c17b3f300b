//! Stories with real gateways: processes, ports, folders. One file per story; each names what a user or an operator relies on.

mod alone;
mod api;
mod backup;
mod buildings;
mod chaos;
mod clients;
mod clock;
mod device;
mod failover;
mod faults;
mod fire;
mod flood;
mod foreign;
mod fsync;
mod history;
mod listeners;
mod members;
mod mesh;
mod no_quorum;
mod passback;
mod rolling;
mod safety;
mod secrets;
mod shutdown;
mod snapshots;
mod tidy;
mod tools;
mod versions;

/// The gateway's program, built with these tests.
const PROGRAM: &str = env!("CARGO_BIN_EXE_gateway");
const SITES: [&str; 3] = ["hq", "plant", "depot"];

/// A flow that ends by itself at once: something to write.
const NOTE_FLOW: &str = r#"
document: { dsl: '1.0.3', namespace: it, name: note, version: '1.0.0' }
do:
  - note:
      call: audit.note:1.0.0@default
      with: { subject: '${ .about }', text: noted }
"#;
/// Lets whoever listens for it go on.
const LEAVE_FLOW: &str = r#"
document: { dsl: '1.0.3', namespace: it, name: leave, version: '1.0.0' }
do:
  - leave: { emit: { event: { with: { source: /it, type: it.leave } } } }
"#;
/// Gives somebody a credential that opens the gates, and waits.
const ADMIT_FLOW: &str = r#"
document: { dsl: '1.0.3', namespace: it, name: admit, version: '1.0.0' }
do:
  - issue:
      call: credential.issue:1.0.0@default
      with: { holder: vera, kind: qr, validFrom: '${ .from }', validUntil: '${ .until }' }
      export: { as: '$context + { credential: . }' }
  - grant:
      call: access.grant:1.0.0@default
      with: { credential: '${ $context.credential.credentialId }', area: gates, from: '${ $workflow.input.from }', until: '${ $workflow.input.until }' }
  - stay: { wait: { hours: 1 } }
"#;
