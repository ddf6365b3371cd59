//! A `RateLimitRequest` in protobuf's JSON form (<https://protobuf.dev/programming-guides/json/>): fields
//! in camel case or with underscores, numbers also as text, units by name or number, null as absent.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Unexpected, Visitor};

use crate::limit::Unit;
use crate::request::{Descriptor, Entry, Override, Request, RequestError};

/// Why a body is no request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ParseError {
    #[error("{0}")]
    Json(serde_json::Error),
    #[error("{}", .0.in_full())]
    Request(RequestError),
}

/// The request that `body` asks.
pub(crate) fn parse(body: &[u8]) -> Result<Request, ParseError> {
    let Object::<RequestJson>(json) = serde_json::from_slice(body).map_err(ParseError::Json)?;
    Ok(Request {
        domain: json.domain.into(),
        descriptors: json
            .descriptors
            .into_iter()
            .map(|Object(json)| json.descriptor().map_err(ParseError::Request))
            .collect::<Result<_, _>>()?,
        hits_addend: json.hits_addend.map_or(0, |Number(hits)| hits),
    })
}

#[derive(Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct RequestJson {
    #[serde(deserialize_with = "null_as_absent")]
    domain: String,
    #[serde(deserialize_with = "null_as_absent")]
    descriptors: Vec<Object<DescriptorJson>>,
    #[serde(alias = "hits_addend")]
    hits_addend: Option<Number<u32>>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct DescriptorJson {
    #[serde(deserialize_with = "null_as_absent")]
    entries: Vec<Object<EntryJson>>,
    limit: Option<Object<OverrideJson>>,
    #[serde(alias = "hits_addend")]
    hits_addend: Option<Number<u64>>,
    #[serde(alias = "is_negative_hits", deserialize_with = "null_as_absent")]
    is_negative_hits: bool,
}

#[derive(Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct EntryJson {
    #[serde(deserialize_with = "null_as_absent")]
    key: String,
    #[serde(deserialize_with = "null_as_absent")]
    value: String,
}

#[derive(Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct OverrideJson {
    #[serde(alias = "requests_per_unit")]
    requests_per_unit: Option<Number<u32>>,
    unit: Option<UnitNumber>,
    #[serde(alias = "unit_multiplier")]
    unit_multiplier: Option<Number<u32>>,
}

impl DescriptorJson {
    fn descriptor(self) -> Result<Descriptor, RequestError> {
        let limit = self.limit.map(|Object(json)| {
            Override::new(
                json.requests_per_unit.map_or(0, |Number(count)| count),
                json.unit.map_or(0, |UnitNumber(unit)| unit),
                json.unit_multiplier.map(|Number(multiplier)| multiplier),
            )
        });
        Ok(Descriptor {
            entries: self.entries.into_iter().map(|Object(json)| Entry::new(json.key, json.value)).collect(),
            limit: limit.transpose()?,
            hits_addend: self.hits_addend.map(|Number(hits)| hits),
            is_negative_hits: self.is_negative_hits,
        })
    }
}

fn null_as_absent<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Deserialize<'de> + Default,
    D: Deserializer<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// A message is an object. serde alone would also take a list of its fields in order.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(Fields(PhantomData))
    }
}

/// A whole number from 0 to the most that `T` holds, also as text: JSON's own are exact only to 2^53.
struct Number<T>(T);

impl<'de, T: TryFrom<u64>> Deserialize<'de> for Number<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Digits<T>(PhantomData<T>);

        impl<T: TryFrom<u64>> Visitor<'_> for Digits<T> {
            type Value = Number<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a whole number of at most {} bits", 8 * size_of::<T>())
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Number<T>, E> {
                let fits = T::try_from(number).map(Number);
                fits.map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Number<T>, E> {
                match whole(number) {
                    Some(whole) => self.visit_u64(whole),
                    None => Err(E::invalid_value(Unexpected::Float(number), &self)),
                }
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Number<T>, E> {
                let digits = text.bytes().all(|byte| byte.is_ascii_digit());
                match text.parse() {
                    Ok(number) if digits => self.visit_u64(number),
                    _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
                }
            }
        }

        deserializer.deserialize_any(Digits(PhantomData))
    }
}

/// `number` as an integer, if it is one that a float holds exactly (`3.0`, `1e3`).
fn whole(number: f64) -> Option<u64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked in the condition")]
    let whole = (number.fract() == 0.0 && (0.0..=EXACT).contains(&number)).then_some(number as u64);
    whole
}

/// The number of a unit, written as a name in capitals or as that number.
struct UnitNumber(i32);

impl<'de> Deserialize<'de> for UnitNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;

        impl Visitor<'_> for Name {
            type Value = UnitNumber;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a unit: SECOND, MINUTE, HOUR, DAY, WEEK, MONTH, YEAR, or its number")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<UnitNumber, E> {
                let fits = i32::try_from(number).map(UnitNumber);
                fits.map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<UnitNumber, E> {
                let fits = i32::try_from(number).map(UnitNumber);
                fits.map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<UnitNumber, E> {
                // What 0 means is for the override to say, as it does for gRPC.
                if name == "UNKNOWN" {
                    return Ok(UnitNumber(0));
                }
                // Names of enums are not read in lower case.
                let unit =
                    Unit::from_name(name).filter(|_| name.bytes().all(|byte| byte.is_ascii_uppercase()));
                let number = unit.map(|unit| UnitNumber(unit.number()));
                number.ok_or_else(|| E::invalid_value(Unexpected::Str(name), &self))
            }
        }

        deserializer.deserialize_any(Name)
    }
}

#[cfg(test)]
mod tests {
    use smallvec::smallvec;

    use super::*;

    fn error(body: &str) -> String {
        match parse(body.as_bytes()) {
            Ok(request) => panic!("{body} is {request:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn fields_are_read_in_both_cases() {
        let camel = r#"{"domain": "d", "hitsAddend": 3, "descriptors": [{"entries": [{"key": "k", "value": "v"}],
            "limit": {"requestsPerUnit": 2, "unit": "HOUR", "unitMultiplier": 4}, "hitsAddend": "0",
            "isNegativeHits": true}]}"#;
        let snake = r#"{"domain": "d", "hits_addend": "3", "descriptors": [{"entries": [{"key": "k", "value": "v"}],
            "limit": {"requests_per_unit": "2", "unit": 3, "unit_multiplier": 4.0}, "hits_addend": 0,
            "is_negative_hits": true}]}"#;
        let expected = Request {
            domain: "d".into(),
            descriptors: smallvec![Descriptor {
                entries: smallvec![Entry::new("k", "v")],
                limit: Some(Override::new(2, 3, Some(4)).unwrap()),
                hits_addend: Some(0),
                is_negative_hits: true,
            }],
            hits_addend: 3,
        };
        assert_eq!(parse(camel.as_bytes()).unwrap(), expected);
        assert_eq!(parse(snake.as_bytes()).unwrap(), expected);
    }

    #[test]
    fn null_is_absent() {
        let body = r#"{"domain": null, "descriptors": [{"entries": null, "limit": null, "hitsAddend": null,
            "isNegativeHits": null}], "hitsAddend": null}"#;
        let expected = Request { descriptors: smallvec![Descriptor::default()], ..Request::default() };
        assert_eq!(parse(body.as_bytes()).unwrap(), expected);
        assert_eq!(parse(br#"{"descriptors": null}"#).unwrap(), Request::default());
    }

    #[test]
    fn hits_beyond_what_json_numbers_hold_come_as_text() {
        let hits = |text: &str| {
            let body = format!(r#"{{"descriptors": [{{"hitsAddend": {text}}}]}}"#);
            parse(body.as_bytes()).map(|request| request.descriptors[0].hits_addend)
        };
        assert_eq!(hits(r#""18446744073709551615""#).unwrap(), Some(u64::MAX));
        assert_eq!(hits("18446744073709551615").unwrap(), Some(u64::MAX));
        assert_eq!(hits("1e3").unwrap(), Some(1000));
        for bad in [r#""18446744073709551616""#, "1.5", "-1", "1e300", r#""+1""#, r#"" 1""#, r#""""#, "true"]
        {
            assert!(hits(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_unit_has_its_name() {
        for (name, number) in
            [("SECOND", 1), ("MINUTE", 2), ("HOUR", 3), ("DAY", 4), ("MONTH", 5), ("YEAR", 6), ("WEEK", 7)]
        {
            let body = format!(r#"{{"descriptors": [{{"limit": {{"unit": "{name}"}}}}]}}"#);
            let request = parse(body.as_bytes()).unwrap();
            assert_eq!(request.descriptors[0].limit, Some(Override::new(0, number, None).unwrap()));
        }
    }

    #[test]
    fn what_is_no_request_says_where() {
        let check = |body, expected: &str| assert_eq!(error(body), expected);
        check("", "EOF while parsing a value at line 1 column 0");
        check("{", "EOF while parsing an object at line 1 column 1");
        check("[]", "invalid type: sequence, expected an object at line 1 column 0");
        check("null", "invalid type: null, expected an object at line 1 column 4");
        check(r#"{"domain": 7}"#, "invalid type: integer `7`, expected a string at line 1 column 12");
        check(r#"{"domain": "d"} {"domain": "d"}"#, "trailing characters at line 1 column 17");
        check(
            r#"{"domain": "d", "colour": "red"}"#,
            "unknown field `colour`, expected one of `domain`, `descriptors`, `hitsAddend`, `hits_addend` \
             at line 1 column 24",
        );
        check(r#"{"hitsAddend": 1, "hits_addend": 2}"#, "duplicate field `hitsAddend` at line 1 column 31");
        check(
            r#"{"hitsAddend": -1}"#,
            "invalid type: integer `-1`, expected a whole number of at most 32 bits at line 1 column 17",
        );
        check(
            r#"{"hitsAddend": "x"}"#,
            "invalid value: string \"x\", expected a whole number of at most 32 bits at line 1 column 18",
        );
        check(
            r#"{"hitsAddend": 4294967296}"#,
            "invalid value: integer `4294967296`, expected a whole number of at most 32 bits \
             at line 1 column 25",
        );
        check(
            r#"{"descriptors": [{"limit": {"unit": "FORTNIGHT"}}]}"#,
            "invalid value: string \"FORTNIGHT\", expected a unit: SECOND, MINUTE, HOUR, DAY, WEEK, MONTH, \
             YEAR, or its number at line 1 column 47",
        );
        check(
            r#"{"descriptors": [{"limit": {"unit": "hour"}}]}"#,
            "invalid value: string \"hour\", expected a unit: SECOND, MINUTE, HOUR, DAY, WEEK, MONTH, YEAR, \
             or its number at line 1 column 42",
        );
        check(
            r#"{"descriptors": [{"limit": {}}]}"#,
            "unknown unit 0 in the limit of a descriptor; expected 1 (second) to 7 (week)",
        );
        check(
            r#"{"descriptors": [["k"]]}"#,
            "invalid type: sequence, expected an object at line 1 column 17",
        );
    }
}
