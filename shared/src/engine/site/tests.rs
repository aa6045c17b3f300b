//! The rules of doors that are decided without the mesh, each by its number where it has one.

use super::*;
use crate::engine::access::Grant;
use crate::engine::command::{Command, Entry};
use crate::engine::crossing::Crossed;
use crate::engine::door::PRESENTED;
use crate::engine::effect::Owner;
use crate::engine::fixture::{building, event};
use crate::engine::precedence::{Hold, Mode, Priority};
use crate::engine::record::RecordBody;
use crate::engine::{Applied, apply};
use crate::id::{DeviceId, GrantId};

const HOUR: i64 = 3_600_000;
const NOW: Timestamp = Timestamp(100 * HOUR);

/// The building's own group, level with the mesh at 99 h, with a lease of ten hours.
struct Alone {
    state: State,
    at: Timestamp,
    serial: u64,
}

impl Alone {
    fn new() -> Self {
        let mut state = State { group: GroupId::of_site(&"hq".into()), ..building() };
        state.plans.clear();
        let mut alone = Self { state, at: Timestamp(99 * HOUR), serial: 0 };
        alone.apply(Command::Site(SiteCommand::Heard { lease_ms: 10 * HOUR as u64 }));
        alone.at = NOW;
        alone
    }

    fn apply(&mut self, command: Command) -> Applied {
        let entry = Entry { index: self.state.applied + 1, at: self.at, command };
        apply(&mut self.state, &entry)
    }

    /// Shows a credential to the reader of door 1; gives `granted` or the reason.
    fn show(&mut self, known: &Known) -> String {
        self.serial += 1;
        let mut shown = event(PRESENTED, "/sites/hq/devices/reader", self.at, r#"{"credentialId":"c1","verified":true}"#);
        shown.id = self.serial.to_string().into();
        let applied =
            self.apply(Command::Site(SiteCommand::Alone { event: shown, historical: false, known: Some(Box::new(known.clone())) }));
        let decided = applied.records.iter().find_map(|record| match &record.body {
            RecordBody::Audit(link) if &*link.action == "access.granted" => Some("granted".to_owned()),
            RecordBody::Audit(link) if &*link.action == "access.denied" => {
                Some(link.data.get("reason").and_then(Value::as_str).unwrap_or_default().to_owned())
            }
            _ => None,
        });
        let decided = decided.expect("a decision");
        let opened = applied.effects.len();
        assert_eq!(opened, usize::from(decided == "granted"), "{decided}");
        // One pulse ends before the next is asked for.
        self.state.desk.recent.clear();
        decided
    }
}

/// What the mesh last said: a credential valid from 99 h to 130 h with a grant for door 1 from 99 h to 120 h.
fn known() -> Known {
    let owner = Owner::Nobody;
    let credential = Credential {
        id: "c1".into(),
        owner: owner.clone(),
        holder: "vera".into(),
        kind: "qr".into(),
        valid_from: Timestamp(99 * HOUR),
        valid_until: Timestamp(130 * HOUR),
        claims: Value::Null,
        revoked_at: None,
    };
    let grant = Grant {
        id: GrantId::new("g1"),
        owner,
        credential: "c1".into(),
        area: None,
        doors: vec!["hq/door-1".into()],
        from: Timestamp(99 * HOUR),
        until: Timestamp(120 * HOUR),
    };
    Known { credential: Some(credential), grants: vec![grant], ..Known::default() }
}

#[test]
fn a_building_alone_opens_by_what_the_mesh_last_said_and_owes_it_the_event() {
    let mut alone = Alone::new();
    assert_eq!(alone.show(&known()), "granted");
    assert_eq!(alone.show(&Known::default()), "unknown-credential");
    let revoked = Credential { revoked_at: Some(NOW), ..known().credential.unwrap() };
    assert_eq!(alone.show(&Known { credential: Some(revoked), ..known() }), "revoked");
    assert_eq!(alone.show(&Known { grants: Vec::new(), ..known() }), "no-grant");
    let owed: Vec<&str> = alone.state.crossings.owed[&GroupId::mesh()]
        .items
        .iter()
        .map(|item| match &item.what {
            Crossed::Heard { event, .. } | Crossed::Emitted { event } => &*event.kind,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(&owed[..4], ["spalla.device.presented", "spalla.access.granted", "spalla.device.presented", "spalla.access.denied"]);
}

#[test]
fn while_the_mesh_decides_a_building_only_lets_its_flows_hear() {
    let mut alone = Alone::new();
    let shown = event(PRESENTED, "/sites/hq/devices/reader", NOW, r#"{"credentialId":"c1","verified":true}"#);
    let applied = alone.apply(Command::Event { event: shown, historical: false });
    assert!(applied.effects.is_empty() && alone.state.crossings.is_empty(), "{applied:?}");
}

#[test]
fn s14_a_grant_ends_at_its_time_and_no_message_is_needed() {
    let mut alone = Alone::new();
    alone.apply(Command::Site(SiteCommand::Heard { lease_ms: LEASE_MAX_MS }));
    alone.at = Timestamp(120 * HOUR - 1);
    assert_eq!(alone.show(&known()), "granted");
    alone.at = Timestamp(120 * HOUR);
    assert_eq!(alone.show(&known()), "outside-grant-time");
    alone.at = Timestamp(130 * HOUR);
    assert_eq!(alone.show(&known()), "expired");
}

#[test]
fn s15_behind_the_offline_lease_only_emergencies_open() {
    let mut alone = Alone::new();
    alone.at = Timestamp(109 * HOUR);
    assert_eq!(alone.show(&known()), "granted");
    alone.at = Timestamp(109 * HOUR + 1);
    assert_eq!(alone.show(&known()), "offline-lease");
    let claims = Value::object([("emergency", Value::Bool(true))]);
    let brigade = Credential { claims, ..known().credential.unwrap() };
    assert_eq!(alone.show(&Known { credential: Some(brigade), ..known() }), "granted");
    // Heard of again, and then no longer than the bound says.
    alone.apply(Command::Site(SiteCommand::Heard { lease_ms: u64::MAX }));
    assert_eq!(alone.show(&known()), "granted");
    assert_eq!(alone.state.beside.as_ref().unwrap().lease_ms, LEASE_MAX_MS);
}

#[test]
fn s15_a_building_that_never_heard_of_the_mesh_opens_nothing() {
    let mut alone = Alone::new();
    alone.state.beside = None;
    assert_eq!(alone.show(&known()), "offline-lease");
}

#[test]
fn s16_a_clock_that_was_set_back_makes_nothing_valid_again() {
    let mut alone = Alone::new();
    alone.apply(Command::Site(SiteCommand::Heard { lease_ms: LEASE_MAX_MS }));
    alone.at = Timestamp(120 * HOUR);
    assert_eq!(alone.show(&known()), "outside-grant-time");
    // The newest instant of the log is the floor: a day earlier by the wall is not earlier here, and who shows a badge then is not
    // taken for somebody of a day ago either.
    alone.at = Timestamp(96 * HOUR);
    assert_eq!(alone.show(&known()), "too-old");
    assert_eq!(alone.state.clock, Timestamp(120 * HOUR));
}

#[test]
fn s10_a_lockdown_of_the_mesh_outranks_a_grant_that_is_decided_alone() {
    let mut alone = Alone::new();
    let hold = Hold { mode: Mode::Shut, by: Actor::system(), flow: None, since: NOW, ended_by: None };
    let held = Known { holds: [(Priority::Lockdown, hold.clone())].into(), ..known() };
    assert_eq!(alone.show(&held), "refused");
    // And one of the building's own.
    alone.state.desk.holds.insert(DeviceId::new("hq/door-1"), [(Priority::Lockdown, hold)].into());
    assert_eq!(alone.show(&known()), "refused");
}

#[test]
fn a_presentation_that_comes_twice_is_owed_and_decided_once() {
    let mut alone = Alone::new();
    let shown = event(PRESENTED, "/sites/hq/devices/reader", NOW, r#"{"credentialId":"c1","verified":true}"#);
    let command = Command::Site(SiteCommand::Alone { event: shown, historical: false, known: Some(Box::new(known())) });
    alone.apply(command.clone());
    let before = alone.state.crossings.clone();
    assert_eq!(alone.apply(command).reply, Ok(Accepted::Duplicate));
    assert_eq!(alone.state.crossings, before);
}
