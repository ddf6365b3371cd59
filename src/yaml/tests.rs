//! What holds for every text, hostile ones included.

use std::fmt::Write;

use super::{Decoded, Kind, MAX_DEPTH, Message, Node, Problem, Problems, decode, parse};

fn tree(text: &str) -> Node {
    let mut problems = Problems::new("a.yaml");
    let node = parse(text.as_bytes(), &mut problems);
    assert_eq!(problems.finish(), []);
    node.expect("it is YAML")
}

/// The first problem of a text, shown.
fn refusal(text: impl AsRef<[u8]>) -> String {
    let mut problems = Problems::new("a.yaml");
    parse(text.as_ref(), &mut problems);
    problems.finish().first().map_or_else(String::new, |problem: &Problem| problem.to_string())
}

/// A tree on one line, without places.
fn shown(node: &Node) -> String {
    match &node.kind {
        Kind::Scalar(scalar) => format!("{:?}", scalar.text),
        Kind::List(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(" ")),
        Kind::Map(entries) => {
            let pairs = entries.iter().map(|entry| format!("{}: {}", shown(&entry.key), shown(&entry.value)));
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(" "))
        }
    }
}

#[test]
fn an_alias_bomb_is_refused_with_its_position() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..30 {
        let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
        writeln!(text, "a{level}: &a{level} [{aliases}]").unwrap();
    }
    assert_eq!(
        refusal(text),
        "a.yaml:6:9: the aliases of this file copy too much; expected at most 1000000 nodes"
    );
}

#[test]
fn a_hundred_thousand_aliases_of_a_limit_are_no_bomb() {
    let text = "- &l {unit: day, requests_per_unit: 5}\n".to_owned() + &"- *l\n".repeat(100_000);
    let Kind::List(items) = tree(&text).kind else { panic!("no list") };
    assert_eq!(items.len(), 100_001);
}

#[test]
fn aliases_cannot_nest_deeper_than_text() {
    let mut text = String::from("- &a0 [[[[[[[[[[x]]]]]]]]]]\n");
    for level in 1..100 {
        writeln!(text, "- &a{level} [[[[[[[[[*a{}]]]]]]]]]", level - 1).unwrap();
    }
    assert!(refusal(text).ends_with("this is nested too deep; expected at most 128 levels"));
}

#[test]
fn deep_nesting_is_refused_where_it_becomes_too_deep() {
    for (open, column) in [("[", 129), ("{", 129), ("- ", 257), ("? ", 257), ("[\t", 257)] {
        let text = open.repeat((1 << 20) / open.len());
        let expected = format!("a.yaml:1:{column}: this is nested too deep; expected at most 128 levels");
        assert_eq!(refusal(text), expected, "{open}");
    }
    let text = "[".repeat(MAX_DEPTH) + &"]".repeat(MAX_DEPTH);
    assert_eq!(refusal(text), "");
}

#[test]
fn a_text_that_is_not_utf8_is_refused_at_its_first_bad_byte() {
    let expected = "a.yaml:2:5: this is not UTF-8\n  hint: save the file as UTF-8";
    assert_eq!(
        refusal(b"a: b\n\xc3\xa9: \xff"),
        "a.yaml:2:4: this is not UTF-8\n  hint: save the file as UTF-8"
    );
    assert_eq!(refusal(b"\n\xc3\xa9:  \xff"), expected);
}

#[test]
fn no_bytes_make_it_panic() {
    let bytes = |seed: u64, alphabet: &[u8]| {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(state >> 40).unwrap_or_default()
        };
        (0..64).map(|_| alphabet[next() % alphabet.len()]).collect::<Vec<u8>>()
    };
    let alphabet = b"ab:-?[]{},#&*!|>'\"%@`~<<=. \n\n  \t\r\\0x\xc3\xa9\xff";
    for seed in 0..5000 {
        let text = bytes(seed, alphabet);
        decode("a.yaml", &text, |fields| {
            fields.u64("a");
            fields.map("b", |fields| fields.text("a"));
        });
    }
}

#[test]
fn only_the_first_document_is_read() {
    let first = |text: &str| shown(&parse(text.as_bytes(), &mut Problems::new("a.yaml")).expect("YAML"));
    assert_eq!(first("a: b\n---\n["), r#"{"a": "b"}"#);
    assert_eq!(first("--- a\n...\nb"), r#""a""#);
    assert!(tree("").is_null() && tree("# nothing\n---\n").is_null());
}

/// Rules in it would be gone without a word.
#[test]
fn a_second_document_is_a_warning() {
    let check = |text: &str, expected: &str| {
        let decoded = decode("a.yaml", text.as_bytes(), |fields| fields.text("a"));
        assert!(decoded.is_ok(), "{text}");
        let problems: Vec<String> = decoded.problems.iter().map(ToString::to_string).collect();
        assert_eq!(problems.join("\n"), expected, "{text}");
    };
    let warning = "a.yaml:2:1: another document begins here, and only the first of a file is read\n  \
                   hint: put it into a file of its own";
    check("a: b\n---\na: c\n", warning);
    check("a: b\n--- [", warning);
    check("---\na: b\n...\n", "");
    check("%YAML 1.2\n---\na: b\n", "");
}

#[test]
fn marks_and_line_ends_of_windows_are_no_content() {
    assert_eq!(shown(&tree("\u{feff}a: b\r\nc: d\r\n")), r#"{"a": "b" "c": "d"}"#);
    assert_eq!(shown(&tree("%YAML 1.2\n---\na: \"b\\/c\"\n")), r#"{"a": "b/c"}"#);
}

#[test]
fn merge_keys_are_resolved_in_the_order_of_the_text() {
    let check = |map: &str, expected: &str| {
        let text = format!("x: &x {{a: 1, b: 1}}\ny: &y {{a: 2, c: 2}}\nz: {map}\n");
        let Kind::Map(mut entries) = tree(&text).kind else { panic!("no map") };
        assert_eq!(shown(&entries.remove(2).value), expected, "{map}");
    };
    check("{<<: *x, a: 9}", r#"{"a": "9" "b": "1"}"#);
    check("{a: 9, <<: *x}", r#"{"a": "1" "b": "1"}"#);
    check("{<<: [*x, *y]}", r#"{"a": "1" "c": "2" "b": "1"}"#);
    check("{\"<<\": 5}", r#"{"<<": "5"}"#);
    assert_eq!(refusal("a: {<<: [{}, 5]}"), "a.yaml:1:14: the merge key `<<` needs a map or a list of maps");
}

#[test]
fn a_key_twice_is_a_warning_and_the_last_one_counts() {
    let decoded = decode("a.yaml", b"a: 1\nb: {c: 1, c: 2}\na: 3\n", |fields| {
        (fields.u64("a"), fields.map("b", |fields| fields.u64("c")).flatten())
    });
    assert_eq!(decoded.value, Some((Some(3), Some(2))));
    assert!(decoded.is_ok());
    let lines: Vec<String> = decoded.problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "a.yaml:1:1: a: `a` stands twice in one map; the last one counts\n  hint: the one that counts is in line 3",
            "a.yaml:2:5: b.c: `c` stands twice in one map; the last one counts\n  hint: the one that counts is in line 2",
        ]
    );
}

#[test]
fn every_mistake_of_a_text_is_said_and_the_rest_is_decoded() {
    let text = b"num: -1\nb: 1\nc: blu\nl: [1, x, 3]\nm: 5\nextra: 1\nok: fine\n? [1]\n: 2\n";
    let decoded: Decoded<_> = decode("a.yaml", text, |fields| {
        fields.u64("num");
        fields.bool("b");
        fields.choice("c", &[("blue", 1), ("green", 2)]);
        let list = fields.list("l", |item| item.u32());
        fields.map("m", |_| ());
        fields.required("r", |value| value.text());
        fields.field("ok", |value| {
            value.warn(Message::new("doubtful"));
            Some(())
        });
        list
    });
    assert!(!decoded.is_ok());
    assert_eq!(decoded.value, Some(Some(vec![1, 3])));
    let lines: Vec<String> = decoded.problems.iter().map(ToString::to_string).collect();
    let expected = [
        "a.yaml:1:1: `r` is missing",
        "a.yaml:1:6: num: `-1` is out of range; expected a whole number of at least 0",
        "a.yaml:2:4: b: wrong type: found the whole number `1`; expected `true` or `false`",
        "a.yaml:3:4: c: unknown value `blu`; expected `blue` or `green`\n  hint: did you mean `blue`?",
        "a.yaml:4:8: l[1]: wrong type: found the text `x`; expected a whole number from 0 to 4294967295",
        "a.yaml:5:4: m: wrong type: found the whole number `5`; expected a map",
        "a.yaml:6:1: extra: unknown key `extra`; expected `num`, `b`, `c`, `l`, `m`, `r` or `ok`",
        "a.yaml:7:5: ok: doubtful",
        "a.yaml:8:3: this key is not text: found a list\n  \
         hint: a line that starts with `?`, `[` or `{` begins such a key",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn nothing_is_an_empty_map_and_a_null_field_is_a_missing_one() {
    let decoded = decode("a.yaml", b"", |fields| fields.u64("a"));
    assert_eq!((decoded.value, decoded.problems), (Some(None), vec![]));
    let decoded = decode("a.yaml", b"a: ~\nb: Null\n", |fields| (fields.u64("a"), fields.bool("b")));
    assert_eq!((decoded.value, decoded.problems), (Some((None, None)), vec![]));
    assert!(decode("a.yaml", b"[]", |_| ()).value.is_none());
}
