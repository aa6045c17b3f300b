//! The one data type that flows, events and expressions handle: JSON, made deterministic.
//!
//! Numbers are `i64` or else a finite `f64` that is not whole within `i64` (`1.0` is `1`; no NaN, infinity or -0).
//! Objects are ordered by the bytes of their keys. Clones are cheap: containers are shared.

use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

pub type Object = BTreeMap<Arc<str>, Value>;

/// Deepest nesting that is read from outside. Recursion over a value is bounded by it.
pub const DEPTH_MAX: usize = 128;

#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    #[default]
    Null,
    Bool(bool),
    Int(i64),
    /// Finite and not a whole number within `i64`: build it through [`Value::number`].
    Float(f64),
    String(Arc<str>),
    Array(Arc<Vec<Value>>),
    Object(Arc<Object>),
}

impl Value {
    /// A number in its canonical form; `None` for NaN and infinities.
    pub fn number(number: f64) -> Option<Self> {
        if !number.is_finite() {
            return None;
        }
        // 2^63 is exact in f64; i64::MAX is not.
        if number.fract() == 0.0 && (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&number) {
            return Some(Self::Int(number as i64));
        }
        Some(Self::Float(number))
    }
    pub fn string(text: impl AsRef<str>) -> Self {
        Self::String(Arc::from(text.as_ref()))
    }
    pub fn array(items: Vec<Value>) -> Self {
        Self::Array(Arc::new(items))
    }
    pub fn object<K: AsRef<str>>(fields: impl IntoIterator<Item = (K, Value)>) -> Self {
        Self::Object(Arc::new(fields.into_iter().map(|(key, value)| (Arc::from(key.as_ref()), value)).collect()))
    }
    pub fn empty_object() -> Self {
        Self::Object(Arc::default())
    }
    /// Field `key` of an object; `None` elsewhere.
    pub fn get(&self, key: &str) -> Option<&Value> {
        match self {
            Self::Object(fields) => fields.get(key),
            _ => None,
        }
    }
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            _ => None,
        }
    }
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Int(number) => Some(*number as f64),
            Self::Float(number) => Some(*number),
            _ => None,
        }
    }
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(flag) => Some(*flag),
            _ => None,
        }
    }
    pub fn as_array(&self) -> Option<&[Value]> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }
    pub fn as_object(&self) -> Option<&Object> {
        match self {
            Self::Object(fields) => Some(fields),
            _ => None,
        }
    }
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }
    /// jq's truth: everything but `null` and `false`.
    pub fn is_truthy(&self) -> bool {
        !matches!(self, Self::Null | Self::Bool(false))
    }
    /// The name that error messages use.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "boolean",
            Self::Int(_) | Self::Float(_) => "number",
            Self::String(_) => "string",
            Self::Array(_) => "array",
            Self::Object(_) => "object",
        }
    }
    /// Place of the type in jq's order: values of different rank compare by it.
    pub(crate) fn rank(&self) -> u8 {
        match self {
            Self::Null => 0,
            Self::Bool(false) => 1,
            Self::Bool(true) => 2,
            Self::Int(_) | Self::Float(_) => 3,
            Self::String(_) => 4,
            Self::Array(_) => 5,
            Self::Object(_) => 6,
        }
    }
    /// Canonical JSON: sorted keys, no white space, shortest numbers. Equal values give equal bytes.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
    /// Reads JSON text. Numbers that fit neither `i64` nor a finite `f64` are refused.
    pub fn from_json(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }
    /// A rough count of the bytes that the value holds, the same on every build: what payload bounds count.
    pub fn size(&self) -> usize {
        match self {
            Self::Null | Self::Bool(_) => 4,
            Self::Int(_) | Self::Float(_) => 8,
            Self::String(text) => text.len() + 2,
            Self::Array(items) => 2 + items.iter().map(|item| item.size() + 1).sum::<usize>(),
            Self::Object(fields) => 2 + fields.iter().map(|(key, value)| key.len() + 4 + value.size()).sum::<usize>(),
        }
    }
}

/// Order of two numbers, exact over the whole range; `None` unless both are numbers.
pub(crate) fn compare_numbers(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Int(left), Value::Int(right)) => Some(left.cmp(right)),
        (Value::Float(left), Value::Float(right)) => left.partial_cmp(right),
        (Value::Int(left), Value::Float(right)) => Some(compare_mixed(*left, *right)),
        (Value::Float(left), Value::Int(right)) => Some(compare_mixed(*right, *left).reverse()),
        _ => None,
    }
}

fn compare_mixed(whole: i64, float: f64) -> Ordering {
    if float >= 9_223_372_036_854_775_808.0 {
        return Ordering::Less;
    }
    if float < -9_223_372_036_854_775_808.0 {
        return Ordering::Greater;
    }
    // Within range the floor is exact; a fraction puts the float above it.
    whole.cmp(&(float.floor() as i64)).then(if float.fract() == 0.0 { Ordering::Equal } else { Ordering::Less })
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Bool(flag)
    }
}
impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}
impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Int(i64::from(number))
    }
}
impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::string(text)
    }
}
impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::string(text)
    }
}
impl From<Vec<Value>> for Value {
    fn from(items: Vec<Value>) -> Self {
        Self::array(items)
    }
}
impl From<&serde_json::Value> for Value {
    fn from(json: &serde_json::Value) -> Self {
        match json {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(flag) => Self::Bool(*flag),
            serde_json::Value::Number(number) => match number.as_i64() {
                Some(whole) => Self::Int(whole),
                None => number.as_f64().and_then(Self::number).unwrap_or(Self::Null),
            },
            serde_json::Value::String(text) => Self::string(text),
            serde_json::Value::Array(items) => Self::array(items.iter().map(Self::from).collect()),
            serde_json::Value::Object(fields) => Self::object(fields.iter().map(|(k, v)| (k, Self::from(v)))),
        }
    }
}
impl From<&Value> for serde_json::Value {
    fn from(value: &Value) -> Self {
        serde_json::to_value(value).unwrap_or_default()
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_json())
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(flag) => serializer.serialize_bool(*flag),
            Self::Int(number) => serializer.serialize_i64(*number),
            Self::Float(number) => serializer.serialize_f64(*number),
            Self::String(text) => serializer.serialize_str(text),
            Self::Array(items) => {
                let mut out = serializer.serialize_seq(Some(items.len()))?;
                for item in items.iter() {
                    out.serialize_element(item)?;
                }
                out.end()
            }
            Self::Object(fields) => {
                let mut out = serializer.serialize_map(Some(fields.len()))?;
                for (key, value) in fields.iter() {
                    out.serialize_entry(&**key, value)?;
                }
                out.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    /// Refuses what nests deeper than [`DEPTH_MAX`], in any format.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ValueSeed { levels: DEPTH_MAX }.deserialize(deserializer)
    }
}

/// Reads a value that may hold `levels` levels of containers.
#[derive(Clone, Copy)]
struct ValueSeed {
    levels: usize,
}

impl ValueSeed {
    fn inner<E: de::Error>(self) -> Result<Self, E> {
        match self.levels.checked_sub(1) {
            Some(levels) => Ok(Self { levels }),
            None => Err(E::custom("data nests too deeply")),
        }
    }
}

impl<'de> DeserializeSeed<'de> for ValueSeed {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON data")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Bool(flag))
    }
    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Int(number))
    }
    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Value, E> {
        match i64::try_from(number) {
            Ok(number) => Ok(Value::Int(number)),
            Err(_) => self.visit_f64(number as f64),
        }
    }
    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Value, E> {
        Value::number(number).ok_or_else(|| E::custom("a number must be finite"))
    }
    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::string(text))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(inner)? {
            items.push(item);
        }
        Ok(Value::array(items))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut fields = Object::new();
        while let Some(key) = map.next_key::<String>()? {
            fields.insert(Arc::from(key), map.next_value_seed(inner)?);
        }
        Ok(Value::Object(Arc::new(fields)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_no_deeper_than_the_bound() {
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        let mut bytes = Vec::new();
        // serde_json has a bound of its own at 128; CBOR shows that ours holds for any format.
        for (depth, accepted) in [(DEPTH_MAX - 1, true), (DEPTH_MAX, true), (DEPTH_MAX + 1, false)] {
            bytes.clear();
            bytes.extend(std::iter::repeat_n(0x81, depth));
            bytes.push(0x01);
            let read: Result<Value, _> = ciborium::from_reader(bytes.as_slice());
            assert_eq!(read.is_ok(), accepted, "{depth}");
        }
        assert!(Value::from_json(&nested(DEPTH_MAX - 1)).is_ok());
        assert!(Value::from_json(&nested(100_000)).is_err());
    }

    #[test]
    fn numbers_have_one_form_and_an_exact_order() {
        assert_eq!(Value::number(-0.0), Some(Value::Int(0)));
        assert_eq!(Value::from_json("1.0"), Ok(Value::Int(1)));
        assert_eq!(Value::number(f64::NAN), None);
        let order = |left: &str, right: &str| {
            let read = |text| Value::from_json(text).ok();
            read(left).zip(read(right)).and_then(|(left, right)| compare_numbers(&left, &right))
        };
        assert_eq!(order("9223372036854775807", "9223372036854775808"), Some(Ordering::Less));
        assert_eq!(order("-9223372036854775808", "-1e19"), Some(Ordering::Greater));
        assert_eq!(order("-3", "-2.5"), Some(Ordering::Less));
        assert_eq!(order("-2", "-2.5"), Some(Ordering::Greater));
        assert_eq!(order("2", "2.5"), Some(Ordering::Less));
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            any::<f64>().prop_filter_map("finite", Value::number),
            (-1.0e15..1.0e15f64).prop_filter_map("finite", Value::number),
            ".{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 64, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::array),
                proptest::collection::btree_map(".{0,6}", inner, 0..6).prop_map(Value::object),
            ]
        })
    }

    proptest! {
        #[test]
        fn canonical_json_and_the_envelope_come_back_as_they_went(value in any_value(), other in any_value()) {
            let json = value.to_json();
            let read = Value::from_json(&json).unwrap();
            prop_assert_eq!(&read, &value);
            prop_assert_eq!(read.to_json(), json.clone(), "equal values give equal bytes");
            let stored = crate::codec::encode(&value);
            let restored: Value = crate::codec::decode(&stored).unwrap();
            prop_assert_eq!(&restored, &value);
            prop_assert_eq!(crate::codec::encode(&restored), stored, "a snapshot of a snapshot is the same snapshot");
            prop_assert_eq!(value == other, json == other.to_json());
            prop_assert_eq!(restored.size(), value.size(), "bounds count the same on a restored replica");
        }
    }
}
