//! `raise`: an error of the flow's own.

use crate::engine::instance::Next;
use crate::engine::interpreter::{Cursor, Interpreter, Step, text_of};
use crate::engine::problem::Problem;
use crate::flow::plan::{ErrorSpec, Template};
use crate::value::Value;
use std::sync::Arc;

impl Interpreter<'_, '_> {
    pub(in crate::engine) fn raise(&mut self, cursor: Cursor, error: &ErrorSpec, input: &Value) -> Step {
        match self.raised(&cursor, error, input) {
            Ok(problem) => Step::Go(cursor, Next::Fail { problem: Box::new(problem), raised: true }),
            Err(problem) => cursor.fail(problem),
        }
    }

    fn raised(&mut self, cursor: &Cursor, error: &ErrorSpec, input: &Value) -> Result<Problem, Problem> {
        let mut optional = |template: &Option<Template>| -> Result<Option<Arc<str>>, Problem> {
            match template {
                Some(template) => {
                    let value = self.fill_payload(cursor, template, input)?;
                    Ok((!value.is_null()).then(|| text_of(&value)))
                }
                None => Ok(None),
            }
        };
        let (title, detail, instance) = (optional(&error.title)?, optional(&error.detail)?, optional(&error.instance)?);
        let kind = text_of(&self.fill_payload(cursor, &error.kind, input)?);
        let status = self.fill_payload(cursor, &error.status, input)?;
        let status = status.as_i64().or_else(|| status.as_str().and_then(|text| text.parse().ok()));
        let status = status.ok_or_else(|| Problem::standard("configuration", 400, "the `status` of an error is a whole number"))?;
        Ok(Problem { title: title.unwrap_or_else(|| kind.clone()), kind, status, detail, instance })
    }
}
