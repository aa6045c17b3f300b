use super::*;
use crate::engine::fixture::{audited, building};
use crate::engine::state::State;
use crate::engine::{Command, Entry, apply};
use crate::id::GroupId;

const HOUR_MS: i64 = 3_600_000;

fn send(state: &mut State, at: i64, command: MemberCommand) -> Result<Accepted, String> {
    let entry = Entry { index: state.applied + 1, at: Timestamp(at), command: Command::Member(command) };
    apply(state, &entry).reply.map_err(|rejection| rejection.code.to_string())
}

fn token(letter: char) -> Arc<str> {
    letter.to_string().repeat(64).into()
}

fn found(nodes: &[u64]) -> MemberCommand {
    let founder =
        |node: &u64| Founder { node: NodeId(*node), site: SiteId::new(format!("s{node}")), address: format!("10.0.0.{node}:1").into() };
    MemberCommand::Found { gateways: nodes.iter().map(founder).collect() }
}

fn invite(letter: char, site: Option<&str>, until: i64) -> MemberCommand {
    MemberCommand::Invite {
        token: token(letter),
        site: site.map(SiteId::new),
        duty: Duty::Auto,
        until: Timestamp(until),
        by: "user:anna".into(),
    }
}

fn join(letter: char, site: &str, address: &str) -> MemberCommand {
    MemberCommand::Join { token: token(letter), site: site.into(), address: address.into() }
}

fn remove(node: u64) -> MemberCommand {
    MemberCommand::Remove { node: NodeId(node), by: "user:anna".into() }
}

fn mesh() -> State {
    let mut state = State::new(GroupId::mesh());
    send(&mut state, 0, found(&[1, 2, 3])).unwrap();
    state
}

#[test]
fn settings_found_the_mesh_once_and_may_name_more_gateways_later() {
    let mut state = mesh();
    assert_eq!(send(&mut state, 1, found(&[1, 2, 3])), Ok(Accepted::Duplicate));
    send(&mut state, 2, remove(2)).unwrap();
    // An old settings file does not bring a removed gateway back.
    assert_eq!(send(&mut state, 3, found(&[1, 2, 3])), Ok(Accepted::Duplicate));
    assert_eq!(send(&mut state, 4, found(&[1, 2, 3, 4])), Ok(Accepted::Nothing));
    assert_eq!(state.roster.members.keys().map(|node| node.0).collect::<Vec<_>>(), [1, 3, 4]);
}

#[test]
fn an_invitation_opens_once_in_its_time_and_at_its_site() {
    let mut state = mesh();
    send(&mut state, 0, invite('a', Some("north"), HOUR_MS)).unwrap();
    send(&mut state, 0, invite('b', None, HOUR_MS)).unwrap();
    assert_eq!(send(&mut state, 1, join('a', "south", "10.0.0.9:1")), Err("forbidden".into()));
    assert_eq!(send(&mut state, 1, join('a', "north", "10.0.0.9")), Err("invalid".into()));
    assert_eq!(send(&mut state, 1, join('a', "north", "10.0.0.2:1")), Err("conflict".into()));
    assert_eq!(send(&mut state, 1, join('a', "north", "10.0.0.9:1")), Ok(Accepted::Member { node: NodeId(4) }));
    assert_eq!(send(&mut state, 2, join('a', "north", "10.0.0.8:1")), Err("forbidden".into()));
    assert_eq!(send(&mut state, HOUR_MS, join('b', "north", "10.0.0.8:1")), Err("forbidden".into()));
    assert!(state.roster.invitations.is_empty());
}

#[test]
fn invitations_are_bounded_in_number_and_time_and_tokens_are_hashes() {
    let mut state = mesh();
    let too_long = i64::try_from(INVITATION_MS_MAX).unwrap() + 1;
    assert_eq!(send(&mut state, 0, invite('a', None, too_long)), Err("invalid".into()));
    assert_eq!(send(&mut state, 0, invite('a', None, 0)), Err("invalid".into()));
    assert_eq!(send(&mut state, 0, invite('x', None, HOUR_MS)), Err("invalid".into()));
    assert_eq!(send(&mut state, 0, invite('a', Some("a/b"), HOUR_MS)), Err("invalid".into()));
    for number in 0..INVITATIONS_MAX {
        let token = format!("{number:064x}").into();
        let invite = MemberCommand::Invite { token, site: None, duty: Duty::Auto, until: Timestamp(HOUR_MS), by: Actor::system() };
        send(&mut state, 0, invite).unwrap();
    }
    assert_eq!(send(&mut state, 1, invite('a', None, HOUR_MS)), Err("limit".into()));
    // Those that lapsed make room.
    assert_eq!(send(&mut state, HOUR_MS, invite('a', None, 2 * HOUR_MS)), Ok(Accepted::Nothing));
}

#[test]
fn an_id_is_given_once_also_after_the_newest_gateway_left() {
    let mut state = mesh();
    send(&mut state, 0, remove(3)).unwrap();
    send(&mut state, 0, invite('a', None, HOUR_MS)).unwrap();
    assert_eq!(send(&mut state, 1, join('a', "s3", "10.0.0.3:1")), Ok(Accepted::Member { node: NodeId(4) }));
    assert!(state.roster.is_removed(NodeId(3)) && !state.roster.is_removed(NodeId(4)) && !state.roster.is_removed(NodeId(5)));
    assert_eq!(send(&mut state, 2, remove(3)), Ok(Accepted::Duplicate));
    assert_eq!(send(&mut state, 2, remove(9)), Err("not-found".into()));
    for node in [1, 2] {
        send(&mut state, 3, remove(node)).unwrap();
    }
    assert_eq!(send(&mut state, 4, remove(4)), Err("conflict".into()), "the last one stays");
}

#[test]
fn a_removed_gateway_takes_its_devices_with_it_and_holds_nothing_back() {
    let mut state = building();
    send(&mut state, 0, found(&[1, 2])).unwrap();
    state.understood.insert(NodeId(1), 1);
    assert!(state.devices.values().any(|device| device.attached.is_some()));
    send(&mut state, 1, remove(1)).unwrap();
    assert!(state.devices.values().all(|device| device.attached.is_none()));
    assert!(state.nodes.is_empty() && state.understood.is_empty());
    // What it said before comes behind.
    let mut late = |command| {
        let entry = Entry { index: state.applied + 1, at: Timestamp(2), command };
        apply(&mut state, &entry).reply.map_err(|rejection| rejection.code.to_string())
    };
    let presence = Command::Presence { device: "hq/door-1".into(), node: NodeId(1), session: 9, online: true };
    assert_eq!(late(presence), Err("forbidden".into()));
    let up = Command::NodeUp { node: NodeId(1), site: "hq".into(), boot: 9, version: "1".into(), api: None };
    assert_eq!(late(up), Err("forbidden".into()));
}

#[test]
fn a_mesh_that_begins_again_knows_one_gateway_and_numbers_the_outbox_anew() {
    let mut state = building();
    send(&mut state, 0, found(&[1, 2, 3])).unwrap();
    send(&mut state, 0, invite('a', None, HOUR_MS)).unwrap();
    send(&mut state, 0, invite('b', None, HOUR_MS)).unwrap();
    let waiting = state.outbox.items.len();
    for item in &mut state.outbox.items {
        item.seq += 500;
    }
    state.outbox.newest_seq += 500;
    state.outbox.born_at = Some(Timestamp(0));
    let again = MemberCommand::Recover {
        node: NodeId(2),
        site: "s2".into(),
        address: "10.0.0.2:1".into(),
        reason: "both others burnt".into(),
        by: "user:anna".into(),
        buildings_anew: false,
    };
    let of_hq = state.crossings.owed.entry("site:hq".into()).or_default();
    (of_hq.newest_seq, of_hq.taken_seq) = (7, 7);
    assert_eq!(send(&mut state, 1, again), Ok(Accepted::Member { node: NodeId(2) }));
    let roster = &state.roster;
    assert_eq!((roster.epoch, roster.newest, roster.members.len(), roster.invitations.len()), (1, NodeId(3), 1, 0));
    assert!(roster.is_removed(NodeId(1)) && roster.is_removed(NodeId(3)) && !roster.is_removed(NodeId(2)));
    assert!(state.nodes.is_empty() && state.devices.values().all(|device| device.attached.is_none()));
    // The building may have taken an eighth item, of which the one that is left never heard.
    assert!(state.crossings.owed[&"site:hq".into()].newest_seq > 1 << 31);
    let numbers: Vec<u64> = state.outbox.items.iter().map(|item| item.seq).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    assert!(numbers.len() > waiting && state.outbox.born_at.is_none());
}

#[test]
fn what_changes_the_members_is_audited_without_the_token() {
    let mut state = mesh();
    let mut context = Context::new(&mut state, 9, Timestamp(0));
    for command in [invite('a', None, HOUR_MS), join('a', "north", "10.0.0.9:1"), remove(2)] {
        act(&mut context, &command).unwrap();
    }
    let told = format!("{:?}", audited(&context));
    for action in ["mesh.invited", "mesh.joined", "mesh.removed"] {
        assert!(told.contains(action), "{told}");
    }
    assert!(!told.contains(&*token('a')), "{told}");
}
