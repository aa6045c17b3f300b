//! What went wrong, for a script: `{error: {code, message}}` with the API's codes, and the exit code.

use serde_json::{Value, json};

/// Exit code of wrong usage and of an invalid definition.
pub const USAGE: u8 = 2;
const FAILED: u8 = 1;

/// A failure that a script can tell from others. Any other error has the code `failed`.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// `usage`, `invalid`, `no-gateway`, or what the API said.
    code: String,
    message: String,
}

impl Failure {
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into() }
    }
    /// Whether nobody could be reached, or who was reached went away.
    pub fn is_no_gateway(&self) -> bool {
        self.code == "no-gateway"
    }
    pub fn json(&self) -> Value {
        json!({ "error": { "code": self.code, "message": self.message } })
    }
}

pub fn usage(message: impl Into<String>) -> Failure {
    Failure::new("usage", message)
}

/// As JSON, and as exit code.
pub fn told(error: &anyhow::Error) -> (Value, u8) {
    let code = error.downcast_ref::<Failure>().map_or("failed", |failure| &failure.code);
    let exit = if matches!(code, "usage" | "invalid") { USAGE } else { FAILED };
    (Failure::new(code, format!("{error:#}")).json(), exit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn a_script_can_tell_failures_apart_also_with_context() {
        let refused = anyhow::Error::from(Failure::new("no-quorum", "nobody there"));
        assert_eq!(told(&refused), (json!({ "error": { "code": "no-quorum", "message": "nobody there" } }), FAILED));
        let invalid = Err::<(), _>(Failure::new("invalid", "line 3")).context("apply").expect_err("fails");
        assert_eq!(told(&invalid), (json!({ "error": { "code": "invalid", "message": "apply: line 3" } }), USAGE));
        assert_eq!(told(&anyhow::anyhow!("x")).1, FAILED);
    }
}
