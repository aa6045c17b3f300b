//! URI templates (RFC 6570, all levels), filled from a task's input. Bounded: a template can repeat a large value.

use crate::engine::interpreter::text_of;
use crate::engine::problem::Problem;
use crate::value::Value;
use iri_string::spec::UriSpec;
use iri_string::template::UriTemplateStr;
use iri_string::template::context::{AssocVisitor, Context, ListVisitor, Visitor};
use std::fmt::{self, Write};

/// Of the address, before and behind filling it in.
const URI_LEN_MAX: usize = 8192;

/// `{plate}`, `{visit.id}`, `{+path}`, `{?from,to}`, `{list*}`. What stands in the path must be there; in `{?…}` and `{&…}` what is
/// null is left out.
pub fn expand(template: &str, input: &Value) -> Result<String, Problem> {
    let bad = |detail: String| Problem::standard("configuration", 400, detail);
    if !template.contains('{') {
        return if template.len() <= URI_LEN_MAX { Ok(template.to_owned()) } else { Err(bad(too_long())) };
    }
    let shown: String = template.chars().take(200).collect();
    let parsed = UriTemplateStr::new(template).map_err(|_| bad(format!("`{shown}` is no URI template: is a brace not closed?")))?;
    for name in wanted(template) {
        if field(input, name).is_none() {
            return Err(bad(format!("`{shown}`: the task's input has no `{name}`")));
        }
    }
    let fields = Fields(input);
    let expanded =
        parsed.expand::<UriSpec, _>(&fields).map_err(|_| bad(format!("`{shown}` wants the first letters of what is no text")))?;
    let mut uri = Bounded(String::new());
    write!(uri, "{expanded}").map_err(|_| bad(too_long()))?;
    Ok(uri.0)
}

fn too_long() -> String {
    format!("an address of more than {URI_LEN_MAX} bytes")
}

/// Variables that must have a value: all but those of `{?…}` and `{&…}`.
fn wanted(template: &str) -> impl Iterator<Item = &str> {
    let expressions = template.split('{').skip(1).filter_map(|part| part.split('}').next());
    let needed = expressions.filter(|expression| !expression.starts_with(['?', '&']));
    needed.flat_map(|expression| expression.trim_start_matches(['+', '#', '.', '/', ';']).split(',')).map(|variable| {
        let name = variable.split(':').next().unwrap_or_default();
        name.trim_end_matches('*')
    })
}

/// A field, or one inside by `outer.inner`; null is none.
fn field<'v>(input: &'v Value, name: &str) -> Option<&'v Value> {
    let found = input.get(name).or_else(|| name.split('.').try_fold(input, |value, key| value.get(key)));
    found.filter(|value| !value.is_null())
}

struct Fields<'v>(&'v Value);

impl Context for Fields<'_> {
    fn visit<V: Visitor>(&self, visitor: V) -> V::Result {
        match field(self.0, visitor.var_name().as_str()) {
            None => visitor.visit_undefined(),
            Some(Value::Array(items)) => visitor.visit_list().visit_items_and_finish(items.iter().map(text_of)),
            Some(Value::Object(fields)) => {
                visitor.visit_assoc().visit_entries_and_finish(fields.iter().map(|(key, value)| (key.clone(), text_of(value))))
            }
            Some(other) => visitor.visit_string(text_of(other)),
        }
    }
}

struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.len() + text.len() > URI_LEN_MAX {
            return Err(fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given() -> Value {
        Value::from_json(
            r#"{"plate": "KA 01/Ä", "n": 7, "none": null, "list": ["a b", "c"], "map": {"k": "v", "l": 2}, "visit": {"id": "v1"}, "path": "x/y"}"#,
        )
        .unwrap()
    }

    #[test]
    fn an_address_takes_fields_and_encodes_them() {
        for (template, expected) in [
            ("http://x/{plate}?n={n}", "http://x/KA%2001%2F%C3%84?n=7"),
            ("http://x/plain?a=b#c", "http://x/plain?a=b#c"),
            ("http://x/{visit.id}", "http://x/v1"),
            ("http://x/{+path}/here", "http://x/x/y/here"),
            ("http://x{/list*}", "http://x/a%20b/c"),
            ("http://x/{list}", "http://x/a%20b,c"),
            ("http://x/y{?n,none,gone}", "http://x/y?n=7"),
            ("http://x/y{?list*}", "http://x/y?list=a%20b&list=c"),
            ("http://x/y{?map*}", "http://x/y?k=v&l=2"),
            ("http://x/y?a=1{&n}", "http://x/y?a=1&n=7"),
            ("http://x/{plate:2}", "http://x/KA"),
            ("http://x/y{#n}", "http://x/y#7"),
        ] {
            assert_eq!(expand(template, &given()).as_deref(), Ok(expected), "{template}");
        }
    }

    #[test]
    fn what_is_missing_or_broken_is_said() {
        for (template, words) in [
            ("http://x/{gone}", "no `gone`"),
            ("http://x/{none}", "no `none`"),
            ("http://x/{visit.gone}", "no `visit.gone`"),
            ("http://x/{open", "is no URI template"),
            ("http://x/{map:2}", "first letters"),
        ] {
            let problem = expand(template, &given()).unwrap_err();
            assert!(problem.kind.ends_with("configuration") && problem.detail.as_ref().unwrap().contains(words), "{template}: {problem:?}");
        }
    }

    #[test]
    fn a_template_that_repeats_a_large_value_stops_at_the_bound() {
        let input = Value::object([("big", Value::from("x".repeat(8000)))]);
        assert!(expand(&format!("http://x/{}", "{big}".repeat(100_000)), &input).unwrap_err().detail.unwrap().contains("more than 8192"));
        assert!(expand(&format!("http://x/{}", "y".repeat(9000)), &input).is_err());
    }
}
