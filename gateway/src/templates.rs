//! Jinja templates of Home Assistant's discovery: the part of the language that devices announce, with a few filters and
//! tests. Fuel pays for each step and for each byte that one makes. Never inside `apply`: what they give is read at the gateway.

use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior, Value, filters, tests};
use spalla_shared::device::Profile;
use spalla_shared::device::convention::Templates;
use std::sync::LazyLock;

/// Longest template, bytes.
const SOURCE_MAX: usize = 4 * 1024;
/// Longest payload that a template sees, bytes: templates are for small readings.
const VALUE_MAX: usize = 16 * 1024;
/// Of one rendering: a step takes one, 64 bytes that it makes take one too. Real templates take some dozens.
const FUEL: u64 = 2_000;

pub struct Jinja;

static ENVIRONMENT: LazyLock<Environment> = LazyLock::new(|| {
    let mut environment = Environment::empty();
    environment.set_fuel(Some(FUEL));
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_recursion_limit(32);
    environment.add_filter("float", filters::float);
    environment.add_filter("int", filters::int);
    environment.add_filter("round", filters::round);
    environment.add_filter("abs", filters::abs);
    environment.add_filter("lower", filters::lower);
    environment.add_filter("upper", filters::upper);
    environment.add_filter("trim", filters::trim);
    environment.add_filter("default", filters::default);
    environment.add_filter("bool", filters::bool);
    // Home Assistant stops where the value is missing; here nothing comes out, which says nothing.
    environment.add_filter("is_defined", |value: Value| value);
    environment.add_filter("to_json", to_json);
    environment.add_filter("tojson", to_json);
    environment.add_filter("from_json", |text: &str| from_json(text).unwrap_or(Value::from(())));
    environment.add_test("defined", tests::is_defined);
    environment.add_test("none", tests::is_none);
    environment.add_test("number", tests::is_number);
    environment.add_test("string", tests::is_string);
    environment
});

fn from_json(text: &str) -> Option<Value> {
    serde_json::from_str::<serde_json::Value>(text).ok().map(|json| Value::from(Serde(json)))
}

fn to_json(value: Value) -> String {
    serde_json::to_string(&value).unwrap_or_default()
}

impl Templates for Jinja {
    fn render(&self, template: &str, value: &str) -> Result<String, String> {
        check(template)?;
        if value.len() > VALUE_MAX {
            return Err(format!("a payload of more than {VALUE_MAX} bytes is not put through a template"));
        }
        let json = from_json(value).unwrap_or(Value::UNDEFINED);
        let context = minijinja::context! { value => value, value_json => json };
        ENVIRONMENT.render_str(template, context).map_err(|error| error.to_string())
    }
}

/// Whether the template is one that is rendered here.
pub fn check(template: &str) -> Result<(), String> {
    if template.len() > SOURCE_MAX {
        return Err(format!("a template has {SOURCE_MAX} bytes at most"));
    }
    ENVIRONMENT.template_from_str(template).map(drop).map_err(|error| error.to_string())
}

/// The first template of a profile that cannot be rendered, with the reason.
pub fn check_profile(profile: &Profile) -> Result<(), String> {
    let Some(convention) = &profile.convention else { return Ok(()) };
    let of_state = convention.state.iter().flat_map(|(name, all)| all.iter().map(move |from| (name, &from.template)));
    let of_events = convention.events.iter().flat_map(|(name, all)| all.iter().map(move |from| (name, &from.template)));
    let of_commands = convention.commands.iter().map(|(name, to)| (name, &to.publish.template));
    for (name, template) in of_state.chain(of_events).chain(of_commands) {
        if let Some(template) = template {
            check(template).map_err(|problem| format!("profile `{}`, template of `{name}`: {problem}", profile.name))?;
        }
    }
    for template in convention.availability.iter().filter_map(|from| from.template.as_ref()) {
        check(template).map_err(|problem| format!("profile `{}`, template of its availability: {problem}", profile.name))?;
    }
    Ok(())
}

#[cfg(test)]
mod rendering {
    use super::*;

    #[test]
    fn what_devices_announce_is_rendered() {
        for (template, value, expected) in [
            ("{{ value_json.temperature }}", r#"{"temperature":23.2}"#, "23.2"),
            ("{{ value_json['hum'] | float | round(1) }}", r#"{"hum":"43.74"}"#, "43.7"),
            ("{{ value | int * 10 }}", "7", "70"),
            ("{{ 'ON' if value_json.state == 'open' else 'OFF' }}", r#"{"state":"open"}"#, "ON"),
            ("{% if value_json.a is defined %}{{ value_json.a }}{% else %}none{% endif %}", "{}", "none"),
            ("{{ value_json.missing | is_defined }}", "{}", ""),
            (r#"{"state": "{{ value }}"}"#, "LOCK", r#"{"state": "LOCK"}"#),
        ] {
            assert_eq!(Jinja.render(template, value).as_deref(), Ok(expected), "{template}");
        }
        // An empty text would pass for a value.
        assert!(Jinja.render("{{ value_json.x }}", "no JSON").is_err());
    }

    #[test]
    fn what_would_grow_or_never_end_runs_out_of_fuel() {
        let doubling = format!("{{% set x = value %}}{}{{{{ x }}}}", "{% set x = x ~ x %}".repeat(64));
        let escaping = format!("{{{{ value{} }}}}", " | to_json".repeat(200));
        for template in [
            &*doubling,
            &escaping,
            "{% for a in value %}{% for b in value %}{% for c in value %}{{ value }}{% endfor %}{% endfor %}{% endfor %}",
            "{{ value * 999999999 }}",
            "{{ [value] * 999999999 }}",
            "{{ 9 ** 999999999 }}",
        ] {
            assert!(Jinja.render(template, &"\"".repeat(1_000)).is_err(), "{template}");
        }
        assert!(Jinja.render("{{ value }}", &"a".repeat(VALUE_MAX + 1)).is_err());
    }

    #[test]
    fn what_is_no_template_or_reaches_beyond_its_payload_is_refused_before_it_is_used() {
        let deep = format!("{{{{ {}1{} }}}}", "(".repeat(1_500), ")".repeat(1_500));
        for template in [
            "{%- macro m() %}{{ m() }}{% endmacro %}",
            "{% include 'secret' %}",
            "{% for x in value %}",
            "{{ value | replace('a', value) }}",
            "{{ range(10) }}",
            "{{ value.",
            &deep,
            &"x".repeat(SOURCE_MAX + 1),
        ] {
            assert!(check(template).is_err() || Jinja.render(template, "a").is_err(), "{template}");
        }
    }
}
