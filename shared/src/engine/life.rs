//! Buildings' groups begun again: where the gateways that voted in one are gone for good, a gateway that came after them goes on from a
//! copy elsewhere, or from nothing where none is left. The mesh's log says who does, so it is done once.
//!
//! ```text
//! leader of the mesh: nobody left can decide there -> Begin { site, number, founder, from } -> roster.lives
//! `from` (or the founder): its copy, with state.begin_life -> the founder, which votes alone -> the others of the building, copies elsewhere
//! ```
//! What the old life had and the copy had not is lost; nothing of it happens twice: its numbers are not given again, and its openings
//! have lapsed.

use super::command::{Accepted, Rejection, Reply};
use super::context::Context;
use super::crossing::Owed;
use super::semantics::{LIVES, require};
use super::state::State;
use super::{attachment, outbox};
use crate::device::OPENING_EXPIRY_MAX_MS;
use crate::id::{Actor, GroupId, NodeId, SiteId};
use crate::value::Value;
use serde::{Deserialize, Serialize};

/// Entries between two lives of a group. Ids of instances and device commands are made of the entry's index: one that was given
/// must not be given again, or a device takes a new command for one that it has done.
const LIVES_APART: u64 = 1 << 32;
/// Items owed, between two lives.
const ITEMS_APART: u64 = 1 << 32;
/// Buildings of which it is remembered: a mesh has far fewer gateways.
const LIVES_MAX: usize = 10_000;

/// The newest life of a building's group, as the mesh's log says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// The one with which a building begins is 1.
    pub number: u64,
    /// Votes alone at first; a gateway of the building.
    pub founder: NodeId,
    /// Whose copy it goes on from; from nothing where it is absent.
    pub from: Option<NodeId>,
}

/// Where the newest life of a group parts from what copies of earlier ones may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fork {
    /// Where it begins, with the snapshot that the founder is given.
    pub index: u64,
    /// The newest audit link that it took over.
    pub audit_seq: u64,
    /// The newest entry that it took over: there are none between it and `index`. Absent where a build that did not say so began it.
    #[serde(default)]
    pub copied: Option<u64>,
}

impl Life {
    /// Of a group that was there before anyone wrote its lives down. Nobody begins it: gateways count from 1.
    pub(super) fn unwritten() -> Self {
        Self { number: 1, founder: NodeId(0), from: None }
    }

    /// Who writes down what the founder begins with.
    pub fn maker(&self) -> NodeId {
        self.from.unwrap_or(self.founder)
    }

    /// Where its log begins, behind a copy that ends at `known` (0: nothing).
    pub fn first_index(&self, known: u64) -> u64 {
        let before = self.number.saturating_sub(1);
        if known == 0 && before == 0 {
            return 1;
        }
        // Where nothing is known, an earlier life may have had as many entries as this.
        known.saturating_add(LIVES_APART).max(before.saturating_mul(LIVES_APART << 8))
    }
}

impl State {
    /// Makes this copy of a building's group the beginning of its life `number`, whose log begins at `index`. `mesh`: the mesh's group, in
    /// which that life stands.
    pub fn begin_life(&mut self, number: u64, index: u64, mesh: &State) {
        self.life = number;
        self.fork = Some(Fork { index, audit_seq: self.audit.seq, copied: Some(self.applied) });
        // The mesh may have more than this copy knows to be owed, may be given some of it yet, and heeds no number twice.
        let taken = mesh.crossings.taken.get(&self.group).copied().unwrap_or(0);
        let owed = self.crossings.owed.entry(mesh.group.clone()).or_default();
        pass_over(owed, taken);
        outbox::begin_again(&mut self.outbox);
        // No opening that was under way lives on, whatever the clock of the founder says.
        self.clock = self.clock.plus(OPENING_EXPIRY_MAX_MS);
        // A copy begins no mesh.
        self.passback.split.clear();
    }
}

/// Items up to `seq` are with the other group already.
fn pass_over(owed: &mut Owed, seq: u64) {
    owed.newest_seq = owed.newest_seq.max(seq).saturating_add(ITEMS_APART);
    owed.taken_seq = owed.taken_seq.max(seq);
    while owed.items.front().is_some_and(|item| item.seq <= seq) {
        owed.drop_first();
    }
}

/// Refused: `conflict` where the semantics do not know it or another life came first, `not-found`, `limit`.
pub(super) fn begin(context: &mut Context, site: &SiteId, life: &Life) -> Reply {
    require(context.state, LIVES, "a building's group that begins again")?;
    let roster = &mut context.state.roster;
    let before = roster.lives.get(site).map_or(0, |life| life.number);
    if roster.lives.get(site) == Some(life) {
        return Ok(Accepted::Duplicate);
    }
    if life.number <= before {
        return Err(Rejection::new("conflict", format!("the group of `{site}` is in its life {before} already")));
    }
    if roster.members.get(&life.founder).is_none_or(|member| member.site != *site) {
        return Err(Rejection::new("not-found", format!("gateway {} is none of `{site}`", life.founder)));
    }
    if let Some(from) = life.from.filter(|from| !roster.members.contains_key(from)) {
        return Err(Rejection::new("not-found", format!("gateway {from} is no member of this mesh")));
    }
    if before == 0 && roster.lives.len() >= LIVES_MAX {
        return Err(Rejection::new("limit", format!("groups of {LIVES_MAX} buildings are known")));
    }
    roster.lives.insert(site.clone(), life.clone());
    let number = |number: u64| Value::Int(i64::try_from(number).unwrap_or(i64::MAX));
    let data = Value::object([
        ("life", number(life.number)),
        ("founder", number(life.founder.0)),
        ("from", life.from.map_or(Value::Null, |node| number(node.0))),
    ]);
    context.audit(Actor::system(), "site.begun", GroupId::of_site(site).as_str(), data);
    Ok(Accepted::Nothing)
}

/// In a building's group: gateways that the mesh removed hold nothing back there any more.
pub(super) fn forget(context: &mut Context, nodes: &[NodeId]) -> Reply {
    let mut forgotten = false;
    for node in nodes {
        let known = context.state.nodes.contains_key(node) || context.state.understood.contains_key(node);
        if known {
            attachment::forget_node(context, *node);
            context.audit(Actor::system(), "gateway.forgotten", format!("node:{node}"), Value::Null);
            forgotten = true;
        }
    }
    Ok(if forgotten { Accepted::Nothing } else { Accepted::Duplicate })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::crossing::{Crossed, CrossingItem};
    use crate::engine::effect::Owner;
    use crate::engine::roster::{Founder, MemberCommand};
    use crate::engine::state::SEMANTICS_VERSION;
    use crate::engine::{Command, Entry, apply};
    use crate::time::Timestamp;

    fn send(state: &mut State, command: MemberCommand) -> Reply {
        let entry = Entry { index: state.applied + 1, at: Timestamp(7), command: Command::Member(command) };
        apply(state, &entry).reply
    }

    fn mesh() -> State {
        let mut state = State::new(GroupId::mesh());
        state.semantics = SEMANTICS_VERSION;
        let gateways = (1..=3).zip(["hq", "plant", "depot"]);
        let founder = |(node, site): (u64, &str)| Founder { node: NodeId(node), site: site.into(), address: format!("h{node}:1").into() };
        send(&mut state, MemberCommand::Found { gateways: gateways.map(founder).collect() }).unwrap();
        state
    }

    fn life(number: u64, founder: u64, from: Option<u64>) -> Life {
        Life { number, founder: NodeId(founder), from: from.map(NodeId) }
    }

    #[test]
    fn one_life_of_each_number_and_only_by_who_belongs() {
        let mut state = mesh();
        let depot = SiteId::new("depot");
        let begin = |life: Life| MemberCommand::Begin { site: SiteId::new("depot"), life };
        let code = |reply: Reply| reply.err().map(|rejection| rejection.code.to_string());
        assert_eq!(code(send(&mut state, begin(life(2, 1, Some(1))))).as_deref(), Some("not-found"), "a gateway of another building");
        assert_eq!(code(send(&mut state, begin(life(2, 3, Some(9))))).as_deref(), Some("not-found"));
        assert_eq!(send(&mut state, begin(life(2, 3, Some(1)))), Ok(Accepted::Nothing));
        assert_eq!(send(&mut state, begin(life(2, 3, Some(1)))), Ok(Accepted::Duplicate));
        assert_eq!(code(send(&mut state, begin(life(2, 3, Some(2))))).as_deref(), Some("conflict"), "two copies must not both go on");
        assert_eq!(state.roster.lives[&depot], life(2, 3, Some(1)));

        // Of a building that is gone it is known that it was there: what comes next is its second life.
        let by = Actor::system();
        send(&mut state, MemberCommand::Remove { node: NodeId(2), by: by.clone() }).unwrap();
        assert_eq!(state.roster.lives[&SiteId::new("plant")].number, 1);
        // And it outlives a mesh that begins again.
        let recover = MemberCommand::Recover {
            node: NodeId(1),
            site: "hq".into(),
            address: "h1:1".into(),
            reason: "fire".into(),
            by,
            buildings_anew: false,
        };
        send(&mut state, recover).unwrap();
        assert_eq!(state.roster.lives[&depot].number, 2);
        // The gateway that goes on may have the number of one that was there: it must not take that life for its own to begin.
        assert_eq!(state.roster.lives[&SiteId::new("hq")], Life::unwritten());
        assert!(!state.roster.members.contains_key(&Life::unwritten().maker()));
    }

    #[test]
    fn an_older_meaning_of_the_log_does_not_know_it() {
        let mut state = mesh();
        state.semantics = LIVES - 1;
        let refused = send(&mut state, MemberCommand::Begin { site: "depot".into(), life: life(2, 3, None) }).unwrap_err();
        assert_eq!(&*refused.code, "conflict");
        send(&mut state, MemberCommand::Remove { node: NodeId(2), by: Actor::system() }).unwrap();
        assert!(state.roster.lives.is_empty());
    }

    #[test]
    fn no_number_of_an_earlier_life_is_given_again() {
        assert_eq!(life(1, 1, None).first_index(0), 1, "a new building");
        let (second, third) = (life(2, 1, Some(2)).first_index(500), life(3, 1, None).first_index(0));
        assert!(second > 500 + u64::from(u32::MAX));
        // The second lived for long, and its copies are lost.
        assert!(third > second + 100 * u64::from(u32::MAX), "{third}");
        assert!(life(9_000, 1, None).first_index(u64::MAX) < u64::MAX || life(9_000, 1, None).first_index(5) > third);
    }

    #[test]
    fn a_copy_that_goes_on_owes_what_the_mesh_has_not_and_gives_it_new_numbers() {
        let (mut mesh, mut copy) = (mesh(), State::new(GroupId::new("site:depot")));
        let what = Crossed::Answer { owner: Owner::Nobody, result: Ok(Value::Null) };
        let item = |seq| CrossingItem { seq, at: Timestamp(1), what: what.clone() };
        let owed = copy.crossings.owed.entry(GroupId::mesh()).or_default();
        (owed.newest_seq, owed.items) = (3, (1..=3).map(item).collect());
        copy.clock = Timestamp(1_000);

        let mut older = copy.clone();
        mesh.crossings.taken.insert(copy.group.clone(), 2);
        copy.begin_life(2, 700, &mesh);
        let owed = &copy.crossings.owed[&GroupId::mesh()];
        // The mesh may be given more of the old life yet: its numbers are not given again.
        assert_eq!((owed.newest_seq, owed.taken_seq, owed.items.len()), (3 + ITEMS_APART, 2, 1));
        assert_eq!(copy.fork, Some(Fork { index: 700, audit_seq: copy.audit.seq, copied: Some(copy.applied) }));
        assert_eq!((copy.life, copy.clock), (2, Timestamp(11_000)), "no opening lives through it");

        // The mesh has more than the copy ever knew of.
        mesh.crossings.taken.insert(older.group.clone(), 8);
        older.begin_life(2, 700, &mesh);
        let owed = &older.crossings.owed[&GroupId::mesh()];
        assert_eq!((owed.newest_seq, owed.taken_seq, owed.items.len()), (8 + ITEMS_APART, 8, 0));
    }

    #[test]
    fn a_building_forgets_who_was_removed() {
        let mut site = State::new(GroupId::new("site:depot"));
        let tell = |state: &mut State, command| apply(state, &Entry { index: state.applied + 1, at: Timestamp(1), command }).reply;
        let up = Command::NodeUp { node: NodeId(3), site: "depot".into(), boot: 1, version: "1".into(), api: None };
        tell(&mut site, up).unwrap();
        let forget = Command::Site(crate::engine::command::SiteCommand::Forget { nodes: vec![NodeId(3)] });
        assert_eq!(tell(&mut site, forget.clone()), Ok(Accepted::Nothing));
        assert!(site.nodes.is_empty());
        assert_eq!(tell(&mut site, forget), Ok(Accepted::Duplicate));
    }
}
