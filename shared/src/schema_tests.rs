use super::*;

fn json(text: &str) -> Value {
    Value::from_json(text).unwrap()
}

fn said(schema: &str, data: &str) -> String {
    let schema = json(schema);
    assert_eq!(check(&schema), Ok(()), "{schema}");
    validate(&schema, &json(data)).err().unwrap_or_default().iter().map(ToString::to_string).collect::<Vec<_>>().join(" | ")
}

#[test]
fn every_keyword_accepts_and_refuses() {
    for (schema, good, bad, words) in [
        (r#"{"type":"integer"}"#, "1", "1.5", "must be integer, is number"),
        (r#"{"type":["string","null"]}"#, "null", "1", "must be string or null"),
        (r#"{"enum":["a",1]}"#, "1", "2", r#"one of "a", 1"#),
        (r#"{"const":{"a":1}}"#, r#"{"a":1}"#, r#"{"a":2}"#, r#"must be {"a":1}"#),
        (r#"{"required":["a"]}"#, r#"{"a":null}"#, "{}", "`a` is missing"),
        (r#"{"properties":{"a":{"type":"string"}}}"#, r#"{"a":"x"}"#, r#"{"a":1}"#, "/a: must be string"),
        (r#"{"properties":{"colour":true},"additionalProperties":false}"#, r#"{"colour":1}"#, r#"{"color":1}"#, "did you mean `colour`?"),
        (r#"{"additionalProperties":{"type":"number"}}"#, r#"{"a/b":1}"#, r#"{"a/b":""}"#, "/a~1b: must be number"),
        (r#"{"items":{"minimum":2}}"#, "[2,3]", "[2,1]", "/1: must be at least 2, is 1"),
        (r#"{"minItems":1}"#, "[0]", "[]", "at least 1 items"),
        (r#"{"maxItems":1}"#, "[0]", "[0,0]", "at most 1 items"),
        (r#"{"uniqueItems":true}"#, r#"[1,"1",[1]]"#, "[1,2,1]", "/2: is there before"),
        (r#"{"minLength":2}"#, r#""éé""#, r#""é""#, "at least 2 characters"),
        (r#"{"maxLength":1}"#, r#""é""#, r#""éé""#, "at most 1 characters"),
        (r#"{"pattern":"^a+$"}"#, r#""aa""#, r#""ab""#, "must match"),
        (r#"{"format":"date-time"}"#, r#""2026-11-23T09:00:00+05:30""#, r#""yesterday""#, "date-time like"),
        (r#"{"format":"duration"}"#, r#""PT5S""#, r#""5s""#, "duration like"),
        (r#"{"format":"email"}"#, r#""a@b.c""#, r#""a@@""#, "email like"),
        (r#"{"format":"uri"}"#, r#""urn:x""#, r#""x y""#, "uri like"),
        (r#"{"maximum":2.5}"#, "2.5", "3", "at most 2.5"),
        (r#"{"exclusiveMinimum":1}"#, "1.5", "1", "more than 1"),
        (r#"{"exclusiveMaximum":9223372036854775807}"#, "9223372036854775806", "9223372036854775807", "less than"),
        (r#"{"allOf":[{"minimum":1},{"maximum":3}]}"#, "2", "4", "at most 3"),
        (r#"{"anyOf":[{"type":"string"},{"minimum":3}]}"#, "3", "2", "none of the allowed forms"),
        (r#"{"oneOf":[{"minimum":3},{"maximum":5}]}"#, "2", "4", "exactly one"),
        (r#"{"not":{"type":"null"}}"#, "1", "null", "not allowed"),
        ("true", "1", "1", ""),
        (r#"{"title":"t","description":"d","default":1,"minLength":5}"#, "1", r#""x""#, "at least 5"),
    ] {
        assert_eq!(said(schema, good), "", "{schema} should take {good}");
        let found = said(schema, bad);
        assert!(found.contains(words) && (words.is_empty() || !found.is_empty()), "{schema} {bad}: {found}");
    }
    assert_eq!(said("false", "1"), "nothing is allowed here");
}

#[test]
fn a_schema_that_we_do_not_know_whole_is_refused() {
    for (schema, words) in [
        (r#"{"typ":"object"}"#, "did you mean `type`?"),
        (r##"{"$ref":"#/x"}"##, "not followed"),
        (r#"{"type":"boolen"}"#, "did you mean `boolean`?"),
        (r#"{"format":"hostname"}"#, "date-time, duration"),
        (r#"{"pattern":"(" }"#, "not a regular expression"),
        (r#"{"pattern":"((a{1,100}){1,100}){1,100}" }"#, "not a regular expression"),
        (r#"{"minItems":-1}"#, "0 or more"),
        (r#"{"properties":{"a":{"items":5}}}"#, "/properties/a/items: a schema is an object"),
        ("5", "a schema is an object"),
    ] {
        let found = check(&json(schema)).unwrap_err();
        assert!(found.iter().any(|violation| violation.to_string().contains(words)), "{schema}: {found:?}");
    }
    let deep = r#"{"not":"#.repeat(40) + "{}" + &"}".repeat(40);
    assert!(check(&json(&deep)).is_err());
}

#[test]
fn costly_pairs_of_schema_and_data_end() {
    // Each level asks the one below twice: 2^14 visits per item.
    let mut schema = json("{}");
    for _ in 0..14 {
        schema = Value::object([("allOf", Value::array(vec![schema.clone(), schema]))]);
    }
    let schema = Value::object([("items", schema)]);
    assert!(validate(&schema, &Value::array(vec![Value::Null; 1_000])).is_err());
    let many = Value::array(vec![Value::from("x".repeat(100)); 20_000]);
    let schema = json(r#"{"items":{"pattern":"^(x+x+)+y$"}}"#);
    let found = validate(&schema, &many).unwrap_err();
    assert_eq!(found[0].message, "the data is too large for this schema");
}
