//! Rules S12 and S13: one card lets one person in, also over two buildings that cannot hear each other, and nobody is kept inside.

use super::*;
use crate::engine::command::{Command, Entry, SiteCommand};
use crate::engine::crossing::{Crossed, CrossingItem};
use crate::engine::door::{PASSED, PRESENTED};
use crate::engine::effect::Owner;
use crate::engine::fixture::{building, event};
use crate::engine::record::RecordBody;
use crate::engine::{Applied, CrossingCommand, apply};
use crate::id::{GroupId, NodeId};
use crate::resource::{Device, Resource};

const HOUR: i64 = 3_600_000;
const NOW: Timestamp = Timestamp(100 * HOUR);

/// A log of one group, with an area `floor` of `hq/door-1` and `plant/door-1`; vera has a grant for it.
struct Log {
    state: State,
    at: Timestamp,
    serial: u64,
}

impl Log {
    fn of(group: GroupId, rule: PassbackRule, when_split: WhenSplit) -> Self {
        let mut state = building();
        state.group = group;
        state.semantics = semantics::ANTI_PASSBACK;
        let node = crate::engine::state::Node { site: "plant".into(), ..state.nodes[&NodeId(1)].clone() };
        state.nodes.insert(NodeId(2), node);
        let door = state.devices[&DeviceId::new("hq/door-1")].clone();
        let device = Device { id: "plant/door-1".into(), ..door.device.clone() };
        state.devices.insert(device.id.clone(), crate::engine::state::DeviceState { device, ..door });
        let reader = state.devices[&DeviceId::new("hq/reader")].clone();
        let device = Device { id: "plant/reader".into(), opens: Some("plant/door-1".into()), ..reader.device.clone() };
        state.devices.insert(device.id.clone(), crate::engine::state::DeviceState { device, ..reader });
        state.plans.clear();
        let mut log = Self { state, at: NOW, serial: 0 };
        let rule = Some(AntiPassback { rule, when_split });
        let area = Area { name: "floor".into(), doors: vec!["hq/door-1".into(), "plant/door-1".into()], anti_passback: rule };
        log.apply(Command::Deploy { resources: vec![Resource::Area(area)], by: Actor::system() }).reply.expect("deployed");
        if log.state.group == GroupId::mesh() {
            let (credential, grant) = admitted(Value::Null);
            log.state.credentials.insert(credential.id.clone(), credential);
            log.state.grants.insert(grant.id.clone(), grant);
            log.state.rebuild_plans().expect("plans");
        } else {
            log.apply(Command::Site(SiteCommand::Heard { lease_ms: HOUR as u64 }));
        }
        log
    }

    fn mesh(rule: PassbackRule, when_split: WhenSplit) -> Self {
        Self::of(GroupId::mesh(), rule, when_split)
    }

    fn apply(&mut self, command: Command) -> Applied {
        let entry = Entry { index: self.state.applied + 1, at: self.at, command };
        apply(&mut self.state, &entry)
    }

    fn event(&mut self, kind: &str, site: &str, way: &str) -> Event {
        self.serial += 1;
        let data = format!(r#"{{"credentialId":"c1","verified":true,"direction":"{way}"}}"#);
        let mut event = event(kind, &format!("/sites/{site}/devices/reader"), self.at, &data);
        event.id = format!("{site}-{}", self.serial).into();
        event
    }

    fn pass(&mut self, site: &str, way: &str) {
        let event = self.event(PASSED, site, way);
        self.apply(Command::Event { event, historical: false }).reply.expect("taken");
    }

    /// What is said of a credential that is shown: `granted`, `granted, WARNING`, or the reason why not.
    fn show(&mut self, site: &str, way: &str) -> String {
        let event = self.event(PRESENTED, site, way);
        let applied = self.apply(Command::Event { event, historical: false });
        self.said(&applied)
    }

    fn said(&mut self, applied: &Applied) -> String {
        // One pulse ends before the next is asked for.
        self.state.desk.recent.clear();
        let of = |name: &str, data: &Value| data.get(name).and_then(Value::as_str).map(str::to_owned);
        let said = applied.records.iter().find_map(|record| match &record.body {
            RecordBody::Audit(link) if &*link.action == "access.granted" => {
                Some(of("warning", &link.data).map_or("granted".into(), |warning| format!("granted, {warning}")))
            }
            RecordBody::Audit(link) if &*link.action == "access.denied" => of("reason", &link.data),
            _ => None,
        });
        let said = said.expect("a decision");
        assert_eq!(applied.effects.len(), usize::from(said.starts_with("granted")), "{said}");
        said
    }

    fn passback(&mut self, command: PassbackCommand) -> Reply {
        self.apply(Command::Passback(command)).reply
    }
}

/// Vera's credential and her grant for the area.
fn admitted(claims: Value) -> (Credential, crate::engine::access::Grant) {
    let credential = Credential {
        id: "c1".into(),
        owner: Owner::Nobody,
        holder: "vera".into(),
        kind: "card".into(),
        valid_from: Timestamp(0),
        valid_until: Timestamp(200 * HOUR),
        claims,
        revoked_at: None,
    };
    let grant = crate::engine::access::Grant {
        id: "g1".into(),
        owner: Owner::Nobody,
        credential: "c1".into(),
        area: None,
        doors: vec!["hq/door-1".into(), "plant/door-1".into()],
        from: Timestamp(0),
        until: Timestamp(200 * HOUR),
    };
    (credential, grant)
}

#[test]
fn one_card_lets_one_person_in() {
    for (rule, again) in [(PassbackRule::Hard, "anti-passback"), (PassbackRule::Soft, "granted, anti-passback")] {
        let mut log = Log::mesh(rule, WhenSplit::Deny);
        assert_eq!(log.show("hq", "in"), "granted", "{rule:?}");
        assert_eq!(log.show("hq", "in"), "granted", "a door that was opened and not passed denies nothing");
        log.pass("hq", "in");
        assert_eq!(log.show("plant", "in"), again, "inside is inside, by whichever door");
        assert_eq!(log.show("plant", "out"), "granted");
        log.pass("plant", "out");
        assert_eq!(log.show("hq", "out"), "granted, anti-passback", "nobody is kept inside");
        assert_eq!(log.show("hq", "in"), "granted");
    }
}

#[test]
fn s12_while_buildings_are_split_the_area_denies_or_warns_as_it_says() {
    for (rule, when_split, entry) in [
        (PassbackRule::Hard, WhenSplit::Deny, "anti-passback-split"),
        (PassbackRule::Hard, WhenSplit::Warn, "granted, anti-passback-split"),
        (PassbackRule::Soft, WhenSplit::Deny, "granted, anti-passback-split"),
    ] {
        let mut log = Log::mesh(rule, when_split);
        log.passback(PassbackCommand::Lost { site: "plant".into() }).expect("lost");
        assert_eq!(log.show("hq", "in"), entry, "{rule:?} {when_split:?}");
        assert_eq!(log.show("hq", "out"), "granted", "who leaves is let out without a word");
        assert_eq!(log.passback(PassbackCommand::Lost { site: "plant".into() }), Ok(Accepted::Duplicate));
        log.passback(PassbackCommand::Level { site: "plant".into() }).expect("level");
        assert_eq!(log.show("hq", "in"), "granted");
    }
    let mut log = Log::mesh(PassbackRule::Hard, WhenSplit::Deny);
    log.passback(PassbackCommand::Lost { site: "plant".into() }).expect("lost");
    let brigade = admitted(Value::object([("emergency", Value::Bool(true))])).0;
    log.state.credentials.insert(brigade.id.clone(), brigade);
    assert_eq!(log.show("hq", "in"), "granted", "the fire brigade is asked nothing");
}

#[test]
fn s12_a_building_that_decides_alone_knows_what_the_mesh_last_said_and_what_it_saw_itself() {
    let mut mesh = Log::mesh(PassbackRule::Hard, WhenSplit::Warn);
    mesh.pass("hq", "in");
    for (elsewhere, when_split, inside, outside) in [
        (false, WhenSplit::Deny, "anti-passback", "granted"),
        (true, WhenSplit::Deny, "anti-passback-split", "anti-passback-split"),
        (true, WhenSplit::Warn, "granted, anti-passback-split", "granted, anti-passback-split"),
    ] {
        let mut alone = Log::of(GroupId::of_site(&"hq".into()), PassbackRule::Hard, when_split);
        let show = |alone: &mut Log, mesh: &Log| {
            let event = alone.event(PRESENTED, "hq", "in");
            let mut known = site::known(&mesh.state, &event);
            assert!(known.areas[0].elsewhere && known.areas[0].passage.is_some_and(|passage| passage.inside == Some(true)), "{known:?}");
            known.areas[0].elsewhere = elsewhere;
            known.areas[0].rule.when_split = when_split;
            let applied = alone.apply(Command::Site(SiteCommand::Alone { event, historical: false, known: Some(Box::new(known)) }));
            alone.said(&applied)
        };
        assert_eq!(show(&mut alone, &mesh), inside);
        // She leaves, and the building sees it; the mesh's word is older now.
        alone.at = NOW.plus(1);
        let event = alone.event(PASSED, "hq", "out");
        let known = site::known(&mesh.state, &event);
        alone.apply(Command::Site(SiteCommand::Alone { event, historical: false, known: Some(Box::new(known)) })).reply.expect("taken");
        assert_eq!(show(&mut alone, &mesh), outside);
    }
}

#[test]
fn s13_what_was_passed_meanwhile_counts_before_the_rule_is_hard_again() {
    let mut mesh = Log::mesh(PassbackRule::Hard, WhenSplit::Warn);
    mesh.passback(PassbackCommand::Lost { site: "plant".into() }).expect("lost");
    // At 100 h she goes in at the plant, which is cut off; at 101 h she leaves at hq, which the mesh hears at once.
    let went_in = mesh.event(PASSED, "plant", "in");
    mesh.at = Timestamp(101 * HOUR);
    mesh.pass("hq", "out");
    let again_in = {
        let mut event = mesh.event(PASSED, "plant", "in");
        event.time = Timestamp(102 * HOUR);
        event
    };
    mesh.at = Timestamp(103 * HOUR);
    assert_eq!(mesh.show("hq", "in"), "granted, anti-passback-split", "the link is back, and not all is heard");
    let heard = |seq, event: &Event| CrossingItem { seq, at: event.time, what: Crossed::Heard { event: event.clone(), historical: false } };
    let items = vec![heard(1, &went_in), heard(2, &again_in)];
    let from = GroupId::of_site(&"plant".into());
    mesh.apply(Command::Crossing(CrossingCommand::Deliver { from, items, upto_seq: 2 })).reply.expect("delivered");
    assert_eq!(mesh.state.passback.passages["floor"]["vera"], Passage { inside: Some(true), at: Timestamp(102 * HOUR) });
    mesh.passback(PassbackCommand::Level { site: "plant".into() }).expect("level");
    assert_eq!(mesh.show("hq", "in"), "anti-passback");

    // What happened earlier and comes later changes nothing.
    mesh.pass("hq", "out");
    let mut old = mesh.event(PASSED, "plant", "in");
    old.time = NOW;
    mesh.apply(Command::Event { event: old, historical: true }).reply.expect("taken");
    assert_eq!(mesh.show("plant", "in"), "granted");
}

#[test]
fn who_is_forgiven_comes_in_and_the_trail_says_who_forgave() {
    let mut log = Log::mesh(PassbackRule::Hard, WhenSplit::Deny);
    log.pass("hq", "in");
    assert_eq!(log.show("hq", "in"), "anti-passback");
    let forgive = |area: &str, person: Option<&str>| PassbackCommand::Forgive {
        area: area.into(),
        person: person.map(Into::into),
        by: Actor::new("user:anna"),
    };
    assert_eq!(log.passback(forgive("main", None)).unwrap_err().code, "not-found".into(), "an area without the rule");
    for person in [Some("vera"), None] {
        log.pass("hq", "in");
        log.passback(forgive("floor", Some("uwe"))).expect("nobody of that name is inside");
        assert_eq!(log.show("hq", "in"), "anti-passback");
        let applied = log.apply(Command::Passback(forgive("floor", person)));
        let RecordBody::Audit(link) = &applied.records[0].body else { panic!("{applied:?}") };
        assert_eq!(
            (&*link.action, link.actor.as_str(), link.data.get("forgiven")),
            ("area.forgiven", "user:anna", Some(&Value::from(1i64)))
        );
        assert_eq!(log.show("hq", "in"), "granted");
        // The other building was away, and tells now where she went before.
        let mut before = log.event(PASSED, "plant", "in");
        before.time = Timestamp(NOW.millis() - 1);
        log.apply(Command::Event { event: before, historical: true }).reply.expect("taken");
        assert_eq!(log.show("hq", "in"), "granted", "forgiven is forgiven");
        log.at = log.at.plus(1_000);
    }
    log.pass("hq", "in");
    let area = Area { anti_passback: None, ..log.state.areas["floor"].clone() };
    log.apply(Command::Deploy { resources: vec![Resource::Area(area)], by: Actor::system() }).reply.expect("deployed");
    assert!(log.state.passback.is_empty(), "what nobody asks for takes no room");
}

#[test]
fn a_direction_that_is_none_says_nothing_and_one_may_shout() {
    let mut log = Log::mesh(PassbackRule::Hard, WhenSplit::Deny);
    log.pass("hq", "sideways");
    assert!(log.state.passback.is_empty());
    log.pass("hq", "IN");
    assert_eq!(log.show("hq", "in"), "anti-passback");
    assert_eq!(log.show("hq", "sideways"), "anti-passback");
    log.pass("hq", "OUT");
    assert_eq!(log.show("hq", "in"), "granted");
}

#[test]
fn the_rule_wants_doors_and_a_building_without_gateways_splits_nothing() {
    let mut log = Log::mesh(PassbackRule::Hard, WhenSplit::Deny);
    let area = Area { doors: vec!["hq/reader".into()], ..log.state.areas["floor"].clone() };
    let refused = log.apply(Command::Deploy { resources: vec![Resource::Area(area)], by: Actor::system() }).reply.expect_err("refused");
    assert!(refused.message.contains("not the reader beside it"), "{refused:?}");

    let member = |site: &str| crate::engine::roster::Member {
        site: site.into(),
        address: "h:1".into(),
        duty: crate::engine::roster::Duty::Auto,
        joined_at: NOW,
    };
    log.state.roster.newest = NodeId(2);
    log.state.roster.members = [(NodeId(1), member("hq")), (NodeId(2), member("plant"))].into();
    log.passback(PassbackCommand::Lost { site: "plant".into() }).expect("lost");
    assert_eq!(log.show("hq", "in"), "anti-passback-split");
    let remove = crate::engine::roster::MemberCommand::Remove { node: NodeId(2), by: Actor::system() };
    log.apply(Command::Member(remove)).reply.expect("removed");
    assert_eq!(log.show("hq", "in"), "granted");
}

#[test]
fn an_older_build_in_the_mesh_is_never_told_of_the_rule() {
    let mut log = Log::mesh(PassbackRule::Hard, WhenSplit::Deny);
    let area = Resource::Area(log.state.areas["floor"].clone());
    log.state.semantics = semantics::ANTI_PASSBACK - 1;
    let refused = log.apply(Command::Deploy { resources: vec![area], by: Actor::system() }).reply.expect_err("refused");
    assert!(&*refused.code == "conflict" && refused.message.contains("gateway 1 has an older one"), "{refused:?}");
    assert_eq!(&*log.passback(PassbackCommand::Lost { site: "plant".into() }).expect_err("refused").code, "conflict");
    let mut alone = Log::of(GroupId::of_site(&"hq".into()), PassbackRule::Hard, WhenSplit::Deny);
    assert_eq!(&*alone.passback(PassbackCommand::Lost { site: "hq".into() }).expect_err("refused").code, "invalid");
}

#[test]
fn the_people_of_an_area_are_bounded_and_the_one_seen_longest_ago_goes() {
    let mut log = Log::mesh(PassbackRule::Hard, WhenSplit::Deny);
    let full = (0..PEOPLE_MAX).map(|n| (Arc::from(format!("p{n}")), Passage { inside: Some(true), at: Timestamp(n as i64) })).collect();
    log.state.passback.passages.insert("floor".into(), full);
    log.pass("hq", "in");
    let people = &log.state.passback.passages["floor"];
    assert_eq!((people.len(), people.contains_key("p0"), people.contains_key("vera")), (PEOPLE_MAX, false, true));
}

#[test]
fn only_buildings_that_share_an_area_with_the_rule_are_told_as_lost() {
    let mut log = Log::mesh(PassbackRule::Hard, WhenSplit::Deny);
    assert_eq!(shared_by(&log.state), BTreeSet::from(["hq".into(), "plant".into()]));
    let area = log.state.areas.get_mut("floor").expect("the area");
    area.doors.pop();
    assert!(shared_by(&log.state).is_empty());
}
