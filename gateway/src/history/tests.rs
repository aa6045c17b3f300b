use super::*;
use spalla_shared::engine::audit::AuditChain;
use spalla_shared::engine::record::{InstanceStatus, RecordBody, TaskRecord};
use spalla_shared::flow::plan::FlowKey;
use spalla_shared::id::{Actor, InstanceId};
use spalla_shared::time::Timestamp;
use spalla_shared::value::Value;

fn mesh() -> GroupId {
    GroupId::mesh()
}

fn open(folder: &Path) -> History {
    History::open(folder, Box::new(|line| panic!("{line}"))).expect("opens")
}

/// Entry `index` of a life of instance `i<index / 10>`: starts at …1, a task at …2 to …8, ends at …9; each with an audit link.
fn records(chain: &mut AuditChain, index: u64) -> Vec<Record> {
    let at = Timestamp(1_000 + i64::try_from(index).expect("small"));
    let instance = InstanceId::new(format!("i{}", index / 10));
    let data = Value::object([("index", Value::Int(at.millis())), ("note", Value::from("ü \"quoted\""))]);
    let body = match index % 10 {
        1 => RecordBody::InstanceStarted {
            instance: instance.clone(),
            flow: FlowKey { namespace: "site".into(), name: "visitor".into(), version: "1.0.0".into() },
            business_key: Some(format!("visit-{}", index / 10).into()),
            input: data.clone(),
            by: Actor::system(),
        },
        9 => {
            RecordBody::InstanceEnded { instance: instance.clone(), status: InstanceStatus::Completed, output: data.clone(), problem: None }
        }
        _ => RecordBody::Task(TaskRecord {
            instance: instance.clone(),
            reference: format!("/do/{index}").into(),
            name: "step".into(),
            what: "completed".into(),
            data: data.clone(),
        }),
    };
    let action = if index.is_multiple_of(2) { "access.granted" } else { "task.done" };
    let audit = RecordBody::Audit(chain.link(at, Actor::system(), action, instance.as_str(), data));
    vec![Record { index, ordinal: 0, at, body }, Record { index, ordinal: 1, at, body: audit }]
}

#[tokio::test]
async fn what_is_replayed_after_a_restart_is_recognised() {
    let folder = tempfile::tempdir().expect("folder");
    let mut chain = AuditChain::default();
    let all: Vec<_> = (1..=40).map(|index| (index, records(&mut chain, index))).collect();

    let history = open(folder.path());
    for (index, records) in &all[..25] {
        history.take(&mesh(), *index, records.clone());
    }
    history.flush(&mesh(), 25).expect("flushes");
    drop(history);

    // The log is applied again from its snapshot at 10.
    let history = open(folder.path());
    for (index, records) in &all[10..] {
        history.take(&mesh(), *index, records.clone());
    }
    history.flush(&mesh(), 40).expect("flushes");
    let reader = history.reader();
    assert_eq!(reader.verify(mesh()).await.expect("verifies"), Verification::Verified { count: 40, head: chain.head.to_string() });
    let trace = reader.trace(InstanceId::new("i1"), None, 100).await.expect("reads");
    assert_eq!(trace.rows.iter().map(|row| row.index).collect::<Vec<_>>(), [10, 12, 13, 14, 15, 16, 17, 18]);
    assert_eq!(reader.reached(mesh()).await.expect("reads"), 40);
}

#[test]
fn flush_refuses_to_vouch_for_what_it_never_got() {
    let folder = tempfile::tempdir().expect("folder");
    let history = open(folder.path());
    history.take(&mesh(), 3, Vec::new());
    assert!(history.flush(&mesh(), 3).is_ok());
    assert!(history.flush(&mesh(), 4).is_err());
    assert!(history.flush(&GroupId::new("site:hq"), 1).is_err());
}

#[test]
fn a_changed_row_and_a_missing_row_break_the_chain() {
    let folder = tempfile::tempdir().expect("folder");
    let mut chain = AuditChain::default();
    let history = open(folder.path());
    for index in 1..=20 {
        history.take(&mesh(), index, records(&mut chain, index));
    }
    history.flush(&mesh(), 20).expect("flushes");
    let path = history.path().to_path_buf();
    drop(history);

    let tamper = |sql: &str| {
        let copy = folder.path().join("copy.db");
        std::fs::copy(&path, &copy).expect("copies");
        let connection = rusqlite::Connection::open(&copy).expect("opens");
        assert_eq!(connection.execute(sql, []).expect("tampers"), 1, "{sql}");
        drop(connection);
        match verify_audit(&copy, &mesh()).expect("reads") {
            Verification::Broken { seq, .. } => seq,
            whole => panic!("{sql} was not noticed: {whole:?}"),
        }
    };
    assert_eq!(verify_audit(&path, &mesh()).expect("reads"), Verification::Verified { count: 20, head: chain.head.to_string() });
    for column in ["actor", "action", "subject", "data", "previous", "hash"] {
        assert_eq!(tamper(&format!("UPDATE audit SET {column} = '\"x\"' WHERE seq = 7")), 7, "{column}");
    }
    assert_eq!(tamper("UPDATE audit SET at = at + 1 WHERE seq = 7"), 7);
    assert_eq!(tamper("DELETE FROM audit WHERE seq = 7"), 8);
    assert_eq!(tamper("DELETE FROM audit WHERE seq = 1"), 2);
}

#[tokio::test]
async fn pages_follow_each_other_without_holes_or_doubles() {
    let folder = tempfile::tempdir().expect("folder");
    let mut chain = AuditChain::default();
    let history = open(folder.path());
    for index in 1..=95 {
        history.take(&mesh(), index, records(&mut chain, index));
    }
    history.flush(&mesh(), 95).expect("flushes");
    let reader = history.reader();

    let mut seen = Vec::new();
    let mut filter = AuditFilter { action: Some("access".into()), limit: 10, ..AuditFilter::default() };
    loop {
        let page = reader.audit(filter.clone()).await.expect("reads");
        seen.extend(page.rows.iter().map(|row| row.seq));
        match page.next {
            Some(next) => filter.before_seq = Some(next),
            None => break,
        }
    }
    assert_eq!(seen, (1..=95).rev().filter(|seq| seq % 2 == 0).collect::<Vec<u64>>());
    let none = reader.audit(AuditFilter { action: Some("acc".into()), ..AuditFilter::default() }).await.expect("reads");
    assert!(none.rows.is_empty(), "half a word is no action");
    let follow = reader.audit(AuditFilter { after_seq: Some(90), ..AuditFilter::default() }).await.expect("reads");
    assert_eq!(follow.rows.iter().map(|row| row.seq).collect::<Vec<_>>(), [91, 92, 93, 94, 95]);

    let mut instances = Vec::new();
    let mut filter = InstanceFilter { status: Some("completed".into()), limit: 4, ..InstanceFilter::default() };
    loop {
        let page = reader.instances(filter.clone()).await.expect("reads");
        instances.extend(page.rows.iter().map(|row| row.id.to_string()));
        match page.next {
            Some(next) => filter.before = Some(next),
            None => break,
        }
    }
    assert_eq!(instances, ["i8", "i7", "i6", "i5", "i4", "i3", "i2", "i1", "i0"]);
    let running = reader.instance(InstanceId::new("i9")).await.expect("reads").expect("is there");
    assert_eq!((running.status.as_str(), running.ended_at, running.business_key.as_deref()), ("running", None, Some("visit-9")));
    assert!(reader.instance(InstanceId::new("nobody")).await.expect("reads").is_none());
}

#[test]
fn a_fork_of_the_chain_stops_the_gateway_and_keeps_the_log() {
    let folder = tempfile::tempdir().expect("folder");
    let (told, telling) = std::sync::mpsc::channel();
    let history = History::open(folder.path(), Box::new(move |line| told.send(line).expect("is heard"))).expect("opens");
    history.take(&mesh(), 1, records(&mut AuditChain::default(), 1));
    history.flush(&mesh(), 1).expect("flushes");
    // Another chain's first link under a later index: the data folder is not this log's.
    history.take(&mesh(), 2, records(&mut AuditChain::default(), 2));
    let line = telling.recv().expect("the gateway is told");
    assert!(line.contains("history.db") && line.contains("audit link 1"), "{line}");
    assert!(history.flush(&mesh(), 1).is_err(), "no log may be purged now");
    drop(history);
    // Nothing of the refused entry was kept.
    assert!(matches!(verify_audit(&folder.path().join(FILE_NAME), &mesh()).expect("reads"), Verification::Verified { count: 1, .. }));
}

#[test]
fn a_file_alone_is_read_as_its_gateway_reads_it() {
    let folder = tempfile::tempdir().expect("folder");
    let history = open(folder.path());
    let mut chain = AuditChain::default();
    for index in 1..=9 {
        history.take(&mesh(), index, records(&mut chain, index));
    }
    history.flush(&mesh(), 9).expect("flushes");
    let cut = history.cut().recv().expect("answers").expect("a cut");
    drop(history);
    let path = folder.path().join(FILE_NAME);
    let seqs = |filter: AuditFilter| read_audit(&path, &filter).expect("reads").rows.iter().map(|row| row.seq).collect::<Vec<_>>();
    assert_eq!(seqs(AuditFilter { limit: 3, ..AuditFilter::default() }), [9, 8, 7]);
    assert_eq!(seqs(AuditFilter { limit: 2, after_seq: Some(4), ..AuditFilter::default() }), [5, 6]);
    assert!(seqs(AuditFilter { action: Some("none.such".into()), ..AuditFilter::default() }).is_empty());
    // Nothing was ever written under that name: no answer is better than an empty one.
    let other = AuditFilter { group: Some(GroupId::new("site:hq~1")), ..AuditFilter::default() };
    let told = read_audit(&path, &other).expect_err("no such trail").to_string();
    assert!(told.contains("site:hq~1") && told.contains("mesh"), "{told}");
    // A copy takes as much room as was said before.
    let (said, copy) = (cut.size().expect("a size"), folder.path().join("copy.db"));
    cut.copy_to(&copy).expect("copies");
    assert_eq!(said, std::fs::metadata(&copy).expect("is there").len());
}

#[test]
fn a_file_of_another_format_is_refused() {
    let folder = tempfile::tempdir().expect("folder");
    drop(open(folder.path()));
    let path = folder.path().join(FILE_NAME);
    rusqlite::Connection::open(&path).expect("opens").execute_batch("PRAGMA user_version = 9").expect("writes");
    assert!(matches!(History::open(folder.path(), Box::new(|_| {})), Err(HistoryError::Format { found: 9, .. })));
    assert!(matches!(verify_audit(&path, &mesh()), Err(HistoryError::Format { found: 9, .. })));
}

/// A building's group went on from a copy that had less than this one: its next link had a number that was here already, and the
/// gateway stopped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_group_went_on_without_is_put_aside() {
    let (folder, elsewhere) = (tempfile::tempdir().expect("folder"), tempfile::tempdir().expect("folder"));
    let (history, giver) = (open(folder.path()), open(elsewhere.path()));
    let (mut chain, mut other) = (AuditChain::default(), AuditChain::default());
    for index in 1..=5 {
        let records = records(&mut chain, index);
        history.take(&mesh(), index, records.clone());
        if index <= 3 {
            giver.take(&mesh(), index, records);
            other = chain.clone();
        }
    }
    // It comes back late: the group has more links again than it had when it went on, so their number tells nothing.
    let fork = Fork { index: 100, audit_seq: other.seq, copied: None };
    (100..=103).for_each(|index| giver.take(&mesh(), index, records(&mut other, index)));
    giver.flush(&mesh(), 103).expect("flushes");
    let links = giver.reader().links_before(mesh(), other.seq + 1).await.expect("reads");
    history.carried(&mesh(), 103, &other, Some(fork));
    history.flush(&mesh(), 103).expect("flushes");
    tokio::task::block_in_place(|| history.backfill(&mesh(), links)).expect("they join up");
    history.take(&mesh(), 104, records(&mut other, 104));
    history.flush(&mesh(), 104).expect("flushes");
    let verified = Verification::Verified { count: other.seq, head: other.head.to_string() };
    assert_eq!(history.reader().verify(mesh()).await.expect("reads"), verified);
    let filter = AuditFilter { group: Some(GroupId::new("mesh~100")), limit: 10, ..AuditFilter::default() };
    let aside = history.reader().audit(filter).await.expect("reads").rows;
    assert_eq!(aside.iter().map(|link| link.seq).collect::<Vec<_>>(), [5, 4]);
}

/// Log positions of a building's next life begin far behind its copy's end: entries that never were are no history that anybody lacks.
#[tokio::test]
async fn between_two_lives_of_a_group_nothing_is_missing() {
    let folders = [tempfile::tempdir().expect("folder"), tempfile::tempdir().expect("folder")];
    let [copy, founder] = [0, 1].map(|place: usize| open(folders[place].path()));
    let mut chain = AuditChain::default();
    (1..=50).for_each(|index| copy.take(&mesh(), index, records(&mut chain, index)));
    let begins = 1 << 40;
    let fork = Fork { index: begins, audit_seq: chain.seq, copied: Some(50) };
    copy.carried(&mesh(), begins, &chain, Some(fork));
    founder.carried(&mesh(), begins, &chain, Some(fork));
    for history in [&copy, &founder] {
        history.flush(&mesh(), begins).expect("flushes");
    }
    assert_eq!(copy.reader().gaps(mesh()).await.expect("reads"), []);
    let old = Gap { from_index: 1, to_index: 50, audit: None, rows_done: false };
    let links = Gap { from_index: 51, to_index: begins, audit: Some((1, 50)), rows_done: true };
    assert_eq!(founder.reader().gaps(mesh()).await.expect("reads"), [old, links]);
}

#[tokio::test]
async fn what_a_snapshot_carried_over_comes_from_another_gateway_and_only_true_links() {
    let (whole, holey) = (tempfile::tempdir().expect("folder"), tempfile::tempdir().expect("folder"));
    let (complete, caught_up) = (open(whole.path()), open(holey.path()));
    let told = caught_up.carried_over();
    let mut chain = AuditChain::default();
    for index in 1..=50 {
        let records = records(&mut chain, index);
        complete.take(&mesh(), index, records.clone());
        if index <= 17 {
            caught_up.take(&mesh(), index, records);
        }
    }
    let end = chain.clone();
    caught_up.carried(&mesh(), 50, &end, None);
    caught_up.flush(&mesh(), 50).expect("flushes");
    complete.flush(&mesh(), 50).expect("flushes");
    let reader = caught_up.reader();
    // Nothing behind it says that they are missing: the gap does.
    let gap = Gap { from_index: 18, to_index: 50, audit: Some((18, 50)), rows_done: false };
    assert_eq!(reader.gaps(mesh()).await.expect("reads"), [gap]);
    assert!(told.has_changed().expect("lives"));
    assert_eq!(complete.reader().gaps(mesh()).await.expect("reads"), []);
    for index in 51..=60 {
        let records = records(&mut chain, index);
        complete.take(&mesh(), index, records.clone());
        caught_up.take(&mesh(), index, records);
    }
    complete.flush(&mesh(), 60).expect("flushes");
    caught_up.flush(&mesh(), 60).expect("flushes");
    assert!(matches!(reader.verify(mesh()).await.expect("reads"), Verification::Broken { seq: 51, .. }));

    // In pages from the gap's end, as they are fetched.
    let page = async |before| {
        let mut links = complete.reader().links_before(mesh(), before).await.expect("reads");
        links.drain(..links.len() - 12);
        links
    };
    let mut forged = page(51).await;
    forged[3].subject = "nobody".into();
    assert!(caught_up.backfill(&mesh(), forged).is_err());
    assert!(caught_up.backfill(&mesh(), page(40).await).is_err(), "it does not join up yet");
    for (before, new) in [(51, 12), (39, 12), (27, 9)] {
        assert_eq!(caught_up.backfill(&mesh(), page(before).await).expect("is true"), new, "before {before}");
    }
    assert!(caught_up.backfill(&mesh(), page(27).await).is_err(), "nothing is missing any more");
    let verified = Verification::Verified { count: 60, head: chain.head.to_string() };
    assert_eq!(reader.verify(mesh()).await.expect("reads"), verified);

    // A gateway gives nothing of its own gap.
    assert_eq!(reader.gap_page(mesh(), 40, 50, (0, 0)).await.expect("reads"), None);
    let mut after = Some((0, 0));
    while let Some(from) = after {
        assert!(!reader.gaps(mesh()).await.expect("reads").is_empty(), "it is not filled yet");
        let page = complete.reader().gap_page(mesh(), 18, 50, from).await.expect("reads").expect("is whole");
        assert_eq!((page.from, page.to), (18, 50));
        after = page.next;
        caught_up.backfill_rows(&mesh(), page.clone()).expect("taken");
        assert_eq!(caught_up.backfill_rows(&mesh(), page).expect("taken again"), 0);
    }
    assert_eq!(reader.gaps(mesh()).await.expect("reads"), [], "it is filled");
    for id in 0..=5 {
        let id = InstanceId::new(format!("i{id}"));
        let (own, other) =
            (reader.instance(id.clone()).await.expect("reads"), complete.reader().instance(id.clone()).await.expect("reads"));
        assert_eq!(own, other);
        let lines = async |reader: &Reader| reader.trace(id.clone(), None, 100).await.expect("reads").rows;
        assert_eq!(lines(&reader).await, lines(&complete.reader()).await);
    }
}

/// Takes all that `giver` has of what `taker` lacks, as `run::backfill` does. Gives the parts.
async fn take_rows(taker: &History, giver: &History, from: u64, to: u64) -> Vec<(u64, u64)> {
    let (mut parts, mut at) = (Vec::new(), from);
    let mut after = (0, 0);
    while let Some(page) = giver.reader().gap_page(mesh(), at, to, after).await.expect("reads") {
        let (part, next) = ((page.from, page.to), page.next);
        tokio::task::block_in_place(|| taker.backfill_rows(&mesh(), page)).expect("taken");
        match next {
            Some(next) => (at, after) = (part.0, next),
            None => {
                parts.push(part);
                (at, after) = (part.1 + 1, (0, 0));
                if at > to {
                    break;
                }
            }
        }
    }
    parts
}

/// Two gateways that replaced others had each fetched a part when the last one with all of it was taken away: they gave each other nothing.
#[tokio::test(flavor = "multi_thread")]
async fn gateways_that_have_different_parts_make_each_other_whole() {
    let folders: Vec<_> = (0..4).map(|_| tempfile::tempdir().expect("folder")).collect();
    let [complete, old, new, none] = [0, 1, 2, 3].map(|place: usize| open(folders[place].path()));
    let mut chain = AuditChain::default();
    let mut ends = Vec::new();
    // More lines than one page carries, and one entry that has more of them than that.
    for index in 1..=2_000 {
        let mut records = records(&mut chain, index);
        if index == 700 {
            let RecordBody::Task(task) = &records[0].body else { panic!("a task") };
            let line = |ordinal| Record { index, ordinal, at: records[0].at, body: RecordBody::Task(task.clone()) };
            let lines: Vec<Record> = (2..1_300).map(line).collect();
            records.extend(lines);
        }
        ends.push(chain.clone());
        complete.take(&mesh(), index, records.clone());
        if index <= 900 {
            old.take(&mesh(), index, records.clone());
        }
        if index > 600 {
            if index == 601 {
                new.carried(&mesh(), 600, &ends[599], None);
            }
            new.take(&mesh(), index, records);
        }
    }
    old.carried(&mesh(), 2_000, &chain, None);
    none.carried(&mesh(), 2_000, &chain, None);
    for history in [&complete, &old, &new, &none] {
        history.flush(&mesh(), 2_000).expect("flushes");
    }
    let held = async |history: &History| history.reader().held().await.expect("reads");
    let lost =
        async |goes: &History, left: [&History; 2]| missing_without(Some(&held(goes).await), &[held(left[0]).await, held(left[1]).await]);
    assert_eq!(tell_missing(&lost(&complete, [&none, &new]).await), "mesh: entries 1 to 600, audit links 1 to 600");
    assert_eq!(lost(&complete, [&old, &new]).await, Default::default());

    // Each part is noted as it comes.
    let parts = take_rows(&none, &new, 1, 2_000).await;
    assert_eq!((parts[0].0, parts[parts.len() - 1].1), (601, 2_000), "{parts:?}");
    assert!(parts.len() > 2 && parts.contains(&(700, 700)), "{parts:?}");
    let lacks = Gap { from_index: 1, to_index: 600, audit: None, rows_done: false };
    let links = Gap { from_index: parts[parts.len() - 1].0, to_index: 2_000, audit: Some((1, 2_000)), rows_done: true };
    assert_eq!(none.reader().gaps(mesh()).await.expect("reads"), [lacks, links]);
    take_rows(&none, &old, 1, 600).await;
    take_rows(&old, &none, 901, 2_000).await;

    // Links, from whoever has the newest that is missing: none gives what is behind a hole of its own.
    for (taker, giver, to) in [(&none, &new, 2_000), (&old, &new, 2_000), (&none, &old, 600)] {
        let mut to = to;
        loop {
            let links = giver.reader().links_before(mesh(), to + 1).await.expect("reads");
            let Some(first) = links.first() else { break };
            to = first.seq - 1;
            tokio::task::block_in_place(|| taker.backfill(&mesh(), links)).expect("they join up");
            if taker.reader().gaps(mesh()).await.expect("reads").is_empty() {
                break;
            }
        }
    }
    for history in [&none, &old] {
        assert_eq!(history.reader().gaps(mesh()).await.expect("reads"), []);
        let verified = Verification::Verified { count: 2_000, head: chain.head.to_string() };
        assert_eq!(history.reader().verify(mesh()).await.expect("reads"), verified);
        for id in 0..=200 {
            let id = InstanceId::new(format!("i{id}"));
            let told = async |history: &History| {
                let trace = history.reader().trace(id.clone(), None, 1_000).await.expect("reads");
                (history.reader().instance(id.clone()).await.expect("reads"), trace)
            };
            assert_eq!(told(history).await, told(&complete).await, "{id}");
        }
    }
}

#[test]
fn a_gap_is_known_after_a_restart_and_noted_once() {
    let folder = tempfile::tempdir().expect("folder");
    let mut chain = AuditChain::default();
    let first = records(&mut chain, 1);
    let history = open(folder.path());
    history.take(&mesh(), 1, first);
    records(&mut chain, 2);
    history.carried(&mesh(), 2, &chain, None);
    drop(history);
    // The snapshot's file is loaded at each start.
    let history = open(folder.path());
    history.carried(&mesh(), 2, &chain, None);
    history.take(&mesh(), 3, records(&mut chain, 3));
    history.flush(&mesh(), 3).expect("flushes");
    let connection = schema::open_for_reading(history.path()).expect("opens");
    let gap = Gap { from_index: 2, to_index: 2, audit: Some((2, 2)), rows_done: false };
    assert_eq!(gap::all(&connection, &mesh()).expect("reads"), [gap]);
}
