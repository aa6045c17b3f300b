use super::*;
use crate::engine::fixture::{audited, building, call, done, woken};
use crate::resource::{FlowDocument, Unit};
use crate::time::Timestamp;

fn pool(units: &[&str]) -> Resource {
    let units = units.iter().map(|name| Unit { name: (*name).into(), attributes: BTreeMap::new() }).collect();
    Resource::Pool(Pool { name: "parking".into(), units })
}
fn flow(version: &str, hours: u32) -> Resource {
    let text = format!(
        r#"{{"document":{{"dsl":"1.0.3","namespace":"test","name":"nap","version":"{version}"}},"do":[{{"sleep":{{"wait":{{"hours":{hours}}}}}}}]}}"#
    );
    Resource::Flow(FlowDocument { document: Value::from_json(&text).unwrap() })
}
fn device(id: &str, profile: &str, opens: Option<&str>) -> Resource {
    Resource::Device(Device {
        profile: profile.into(),
        opens: opens.map(DeviceId::new),
        password_hash: Some("$argon2id$secret".into()),
        ..Device::new(id.into())
    })
}
fn area(doors: &[&str]) -> Resource {
    Resource::Area(Area { name: "gate".into(), doors: doors.iter().map(DeviceId::new).collect(), anti_passback: None })
}
fn apply(context: &mut Context, resources: &[Resource]) -> Result<Vec<String>, String> {
    match deploy(context, resources, &Actor::system()) {
        Ok(Accepted::Deployed { changed }) => Ok(changed.iter().map(ToString::to_string).collect()),
        Ok(other) => panic!("{other:?}"),
        Err(rejection) => Err(format!("{}: {rejection}", rejection.code)),
    }
}

#[test]
fn all_or_nothing_and_equal_resources_change_nothing() {
    let mut state = building();
    let mut context = Context::new(&mut state, 1, Timestamp(0));
    let before = context.state.digest();
    for (resources, refusal) in [
        (vec![pool(&["p1"]), device("hq/x", "nothing", None)], "invalid: device hq/x: there is no profile `nothing`"),
        (vec![pool(&["p1"]), device("hq/x/y", "door", None)], "invalid: device hq/x/y: the id must be `site/name`, without `+ # $`"),
        (vec![pool(&["p1"]), device("hq/x", "reader", Some("hq/z"))], "invalid: device hq/x: it opens `hq/z`, which is no device"),
        (vec![pool(&["p1"]), area(&["hq/z"])], "invalid: area gate: door `hq/z` is no device"),
        (vec![pool(&["p1", "p1"])], "invalid: pool parking: units need names, each once"),
        (vec![pool(&["p1"]), pool(&["p2"])], "conflict: pool parking is declared twice"),
    ] {
        assert_eq!(apply(&mut context, &resources), Err(refusal.to_owned()));
    }
    assert_eq!(context.state.digest(), before);
    // Declared in the same deploy counts, in any order.
    let good = [area(&["hq/z"]), device("hq/x", "reader", Some("hq/z")), device("hq/z", "door", None), pool(&["p1"])];
    assert_eq!(apply(&mut context, &good), Ok(["area gate", "device hq/x", "device hq/z", "pool parking"].map(str::to_owned).into()));
    assert_eq!(apply(&mut context, &good), Ok(Vec::new()));
    assert_eq!(audited(&context).len(), 4);
    assert!(context.state.outbox.items.iter().all(|item| !item.event.data.to_json().contains("argon2")));
}

#[test]
fn a_device_declared_again_without_a_password_keeps_the_one_it_has() {
    let mut state = building();
    let mut context = Context::new(&mut state, 1, Timestamp(0));
    let Resource::Device(with) = device("hq/x", "door", None) else { unreachable!() };
    let titled = |title: &str, password_hash: Option<&str>| {
        Resource::Device(Device { title: title.into(), password_hash: password_hash.map(Arc::from), ..with.clone() })
    };
    let hash = |context: &Context| context.state.devices[&DeviceId::new("hq/x")].device.password_hash.clone();
    apply(&mut context, &[titled("", Some("old"))]).unwrap();
    assert_eq!(apply(&mut context, &[titled("", None)]), Ok(Vec::new()), "nothing else changed");
    assert_eq!(apply(&mut context, &[titled("new", None)]), Ok(vec!["device hq/x".into()]));
    assert_eq!(hash(&context).as_deref(), Some("old"));
    apply(&mut context, &[titled("new", Some("next"))]).unwrap();
    assert_eq!(hash(&context).as_deref(), Some("next"));
}

#[test]
fn a_client_never_commands_what_opens_and_keeps_its_password() {
    let mut state = building();
    let mut context = Context::new(&mut state, 1, Timestamp(0));
    let Resource::Device(of_group) = device("hq/x", "door", None) else { unreachable!() };
    apply(&mut context, &[Resource::Device(Device { groups: vec!["mine".into()], ..of_group }), device("hq/r", "reader", None)]).unwrap();
    let client = |commands: &[&str], speaks_for: &[&str], password_hash: Option<&str>| {
        let list = |ids: &[&str]| ids.iter().map(|id| Arc::from(*id)).collect();
        let (commands, speaks_for, password_hash) = (list(commands), list(speaks_for), password_hash.map(Arc::from));
        Resource::Client(Client { name: "board".into(), commands, speaks_for, password_hash, ..Client::default() })
    };
    let opens = "invalid: client board: it may not command `hq/x`, which can open something: only flows and grants do";
    for (commands, speaks_for, refusal) in [
        (&["hq/x"][..], &[][..], opens),
        (&["group:mine"], &[], opens),
        (&["hq/none"], &[], "invalid: client board: `hq/none` is no device"),
        (&[], &["hq/none"], "invalid: client board: `hq/none` is no device"),
    ] {
        assert_eq!(apply(&mut context, &[client(commands, speaks_for, None)]), Err(refusal.into()));
    }
    apply(&mut context, &[client(&["hq/r"], &["hq/x"], Some("old"))]).unwrap();
    assert_eq!(apply(&mut context, &[client(&["hq/r"], &["hq/x"], None)]), Ok(Vec::new()), "nothing changed");
    apply(&mut context, &[client(&[], &[], None)]).unwrap();
    assert_eq!(context.state.clients["board"].password_hash.as_deref(), Some("old"));
    let bad = Client { name: "board".into(), publish: vec!["spalla/#".into()], ..Client::default() };
    assert!(apply(&mut context, &[Resource::Client(bad)]).is_err_and(|error| error.contains("publish: topics of the gateway")));
}

#[test]
fn a_flow_version_keeps_its_content_and_begins_enabled() {
    let mut state = building();
    let mut context = Context::new(&mut state, 1, Timestamp(0));
    assert_eq!(apply(&mut context, &[flow("1.10.0", 1)]), Ok(vec!["flow test/nap:1.10.0".into()]));
    assert_eq!(apply(&mut context, &[flow("1.10.0", 1), flow("1.9.0", 1)]), Ok(vec!["flow test/nap:1.9.0".into()]));
    let conflict = apply(&mut context, &[flow("1.10.0", 2)]);
    assert!(conflict.as_ref().is_err_and(|error| error.starts_with("conflict: flow test/nap:1.10.0: another content")), "{conflict:?}");
    let enabled: Vec<(&str, bool)> = context.state.flows.iter().map(|(key, flow)| (&*key.version, flow.enabled)).collect();
    assert_eq!(enabled, [("1.10.0", true), ("1.9.0", true)]);
    let broken = Resource::Flow(FlowDocument { document: Value::from_json(r#"{"document":{}}"#).unwrap() });
    assert!(apply(&mut context, &[broken]).is_err_and(|error| error.starts_with("invalid: ")));
}

#[test]
fn a_leased_unit_stays_and_new_units_serve_those_who_wait() {
    let mut state = building();
    let mut context = Context::new(&mut state, 1, Timestamp(0));
    apply(&mut context, &[pool(&["p1"])]).unwrap();
    let ask = |context: &mut Context, instance: &str| done(call(context, instance, "resource.allocate", r#"{"pool":"parking"}"#));
    assert!(ask(&mut context, "a").contains(r#""unit":"p1""#));
    assert_eq!(ask(&mut context, "b"), "waits for pool");
    let refused = apply(&mut context, &[pool(&["p2"])]);
    assert_eq!(refused, Err("conflict: pool parking: unit `p1` is leased to `a` and cannot go now".into()));
    apply(&mut context, &[pool(&["p1", "p2"])]).unwrap();
    let woken = woken(&mut context);
    assert!(woken.len() == 1 && woken[0].0 == "b" && woken[0].1.contains(r#""unit":"p2""#), "{woken:?}");
}
