//! What must hold for any bytes taken as a flow document. A broken rule is a panic.

use spalla_shared::flow;
use spalla_shared::flow::plan::Plan;
use spalla_shared::value::Value;

/// Checking returns and depends on the text alone; what it accepts can be deployed, compiles to the same plan wherever the log is
/// read, and is canonical; what it refuses has a place inside the text.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let lines = flow::lines(text).count() + 1;
    match (flow::check(text), flow::check(text)) {
        (Ok(checked), Ok(again)) => {
            assert_eq!((&checked.document, &checked.hash), (&again.document, &again.hash));
            let plan = Plan::compile(&checked.document).expect("what is accepted can be deployed");
            assert_eq!(plan.hash, checked.hash);
            assert_eq!(plan.tasks.len(), checked.plan.tasks.len());
            let written = checked.document.to_json();
            assert_eq!(Value::from_json(&written).as_ref(), Ok(&checked.document), "the document is not canonical");
            assert!(checked.warnings.iter().all(|found| found.line as usize <= lines));
        }
        (Err(found), Err(again)) => {
            assert_eq!(found, again);
            assert!(found.iter().any(|one| one.is_error()), "refused without a reason");
            assert!(found.iter().all(|one| one.line as usize <= lines), "{found:?}");
        }
        _ => panic!("it was accepted once and refused once"),
    }
}
