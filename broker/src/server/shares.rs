//! Shared subscriptions of one filter: groups whose members take turns. A message goes to a member that is connected and
//! has room; to one that is away only while nobody of its group is here, and it is taken back when somebody comes.

use crate::session::packet::SubOptions;
use crate::session::state::Session;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Groups by their whole filter, `$share/group/filter`.
#[derive(Default)]
pub(super) struct Shares(BTreeMap<Arc<str>, Group>);

#[derive(Default)]
struct Group {
    members: Vec<Member>,
    /// Whose turn it is.
    turn: usize,
}

#[derive(Clone)]
pub(super) struct Member {
    pub session: Arc<Session>,
    pub options: SubOptions,
}

impl Shares {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True where the member is new.
    pub fn join(&mut self, share: &str, session: &Arc<Session>, options: SubOptions) -> bool {
        let group = self.0.entry(share.into()).or_default();
        match group.members.iter_mut().find(|member| member.session.id == session.id) {
            Some(member) => {
                member.options = options;
                false
            }
            None => {
                group.members.push(Member { session: session.clone(), options });
                true
            }
        }
    }

    pub fn leave(&mut self, share: &str, session: u64) -> bool {
        let Some(group) = self.0.get_mut(share) else { return false };
        let before = group.members.len();
        group.members.retain(|member| member.session.id != session);
        let left = group.members.len() < before;
        if group.members.is_empty() {
            self.0.remove(share);
        }
        left
    }

    /// The member whose turn it is in each group.
    pub fn turns(&mut self) -> impl Iterator<Item = (Arc<str>, Member)> + '_ {
        self.0.iter_mut().filter_map(|(share, group)| Some((share.clone(), group.next()?)))
    }

    pub fn turn(&mut self, share: &str) -> Option<Member> {
        self.0.get_mut(share)?.next()
    }

    /// Members that are away while another one is here: what waits for them is somebody else's now.
    pub fn relieved(&self, share: &str) -> Vec<Arc<Session>> {
        let Some(group) = self.0.get(share) else { return Vec::new() };
        let (here, away): (Vec<&Member>, Vec<&Member>) = group.members.iter().partition(|member| member.session.is_live());
        if here.is_empty() { Vec::new() } else { away.into_iter().map(|member| member.session.clone()).collect() }
    }
}

impl Group {
    /// Connected members with room first, then connected ones, then those whose session waits.
    fn next(&mut self) -> Option<Member> {
        let len = self.members.len();
        let in_turn = || (0..len).map(|step| (self.turn + step) % len.max(1));
        let find = |fits: &dyn Fn(&Session) -> bool| in_turn().find(|at| self.members.get(*at).is_some_and(|member| fits(&member.session)));
        let at = find(&|session| session.is_live() && session.has_room())
            .or_else(|| find(&|session| session.is_live()))
            .or_else(|| find(&|_| true))?;
        self.turn = (at + 1) % len;
        self.members.get(at).cloned()
    }
}
