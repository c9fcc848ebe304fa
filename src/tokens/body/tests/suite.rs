//! The cases that every JSON parser is held against (JSONTestSuite by Nicolas Seriot, the `test_parsing` families):
//! `n_` must be refused, `y_` accepted, `i_` is left to the parser.

use super::*;

/// No JSON.
const N: &[&[u8]] = &[
    // n_array_*
    b"[1 true]",
    b"[a\xe5]",
    b"[\"\": 1]",
    b"[\"\"],",
    b"[,1]",
    b"[1,,2]",
    b"[\"x\",,]",
    b"[\"x\"]]",
    b"[\"\",]",
    b"[\"x\"",
    b"[x",
    b"[3[4]]",
    b"[\xff]",
    b"[1:2]",
    b"[,]",
    b"[-]",
    b"[   , \"\"]",
    b"[\"a\",\n4\n,1,",
    b"[1,]",
    b"[1,,]",
    b"[\"\x0ba\"\\f]",
    b"[*]",
    b"[\"\"",
    b"[1,",
    b"[1,\n1\n,1",
    b"[{}",
    b"[1 1]",
    b"[1\n1]",
    // n_incomplete_*, n_multidigit_*
    b"[fals]",
    b"[nul]",
    b"[tru]",
    b"123\0",
    // n_number_*
    b"[++1234]",
    b"[+1]",
    b"[+Inf]",
    b"[-01]",
    b"[-1.0.]",
    b"[-2.]",
    b"[-NaN]",
    b"[.-1]",
    b"[.2e-3]",
    b"[0.1.2]",
    b"[0.3e+]",
    b"[0.3e]",
    b"[0.e1]",
    b"[0_1]",
    b"[0E+]",
    b"[0E]",
    b"[0e+]",
    b"[0e]",
    b"[1.0e+]",
    b"[1.0e-]",
    b"[1.0e]",
    b"[1 000.0]",
    b"[1eE2]",
    b"[2.e+3]",
    b"[2.e-3]",
    b"[2.e3]",
    b"[9.e+]",
    b"[Inf]",
    b"[NaN]",
    b"[\xef\xbc\x91]",
    b"[1+2]",
    b"[0x1]",
    b"[0x42]",
    b"[Infinity]",
    b"[0e+-1]",
    b"[-123.123foo]",
    b"[123\xe5]",
    b"[1e1\xe5]",
    b"[0\xe5]",
    b"[-Infinity]",
    b"[-foo]",
    b"[- 1]",
    b"[-012]",
    b"[-.123]",
    b"[-1x]",
    b"[1ea]",
    b"[1e\xe5]",
    b"[1.]",
    b"[.123]",
    b"[1.2a-3]",
    b"[1.8011670033376514H-308]",
    b"[012]",
    b"[1 2]",
    b"[--1]",
    b"[1e]",
    // n_object_*
    b"[\"x\", truth]",
    b"{[: \"x\"}\n",
    b"{\"x\", null}",
    b"{\"x\"::\"b\"}",
    b"{\xf0\x9f\x87\xa8\xf0\x9f\x87\xad}",
    b"{\"a\":\"a\" 123}",
    b"{key: 'value'}",
    b"{\"\xb9\":\"0\",}",
    b"{\"a\" b}",
    b"{:\"b\"}",
    b"{\"a\" \"b\"}",
    b"{\"a\":",
    b"{\"a\"",
    b"{1:1}",
    b"{9999E9999:1}",
    b"{null:null,null:null}",
    b"{\"id\":0,,,,,}",
    b"{'a':0}",
    b"{\"id\":0,}",
    b"{\"a\":\"b\"}/**/",
    b"{\"a\":\"b\"}/**//",
    b"{\"a\":\"b\"}//",
    b"{\"a\":\"b\"}/",
    b"{\"a\":\"b\",,\"c\":\"d\"}",
    b"{a: \"b\"}",
    b"{\"a\":\"a",
    b"{ \"foo\" : \"bar\", \"a\" }",
    b"{\"a\":\"b\"}#",
    b"{,\"a\":1}",
    b"{\"a\":1 \"b\":2}",
    // n_single_*, n_string_*
    b" ",
    b"[\"\\uD800\\\"]",
    b"[\"\\uD800\\u\"]",
    b"[\"\\uD800\\u1\"]",
    b"[\"\\uD800\\u1x\"]",
    b"[\xc3\xa9]",
    b"[\"\\\0\"]",
    b"[\"\\x00\"]",
    b"[\"\\\\\\\"]",
    b"[\"\\\t\"]",
    b"[\"\\\xf0\x9f\x8c\x80\"]",
    b"[\"\\\"]",
    b"[\"\\u00A\"]",
    b"[\"\\uD834\\uDd\"]",
    b"[\"\\uD800\\uD800\\x\"]",
    b"[\"\\u\xe5\"]",
    b"[\"\\a\"]",
    b"[\"\\uqqqq\"]",
    b"[\"\\\xe5\"]",
    b"[\\u0020\"asd\"]",
    b"[\\n]",
    b"\"",
    b"['single quote']",
    b"abc",
    b"[\"\\",
    b"[\"a\0a\"]",
    b"[\"new\nline\"]",
    b"[\"\t\"]",
    b"\"\\UA66D\"",
    b"\"\"x",
    b"[\"\x1f\"]",
    // n_structure_*
    b"<.>",
    b"[<null>]",
    b"[1]x",
    b"[1]]",
    b"[\"asd]",
    b"a\xc3\xa5",
    b"[True]",
    b"1]",
    b"{\"x\": true,",
    b"[][]",
    b"]",
    b"\xef\xbb\xbf{}",
    b"\xef\xbb",
    b"\xe5",
    b"[",
    b"",
    b"[\0]",
    b"2@",
    b"{}}",
    b"{\"\":",
    b"{\"a\":/*comment*/\"b\"}",
    b"{\"a\": true} \"x\"",
    b"['",
    b"[,",
    b"[{",
    b"[\"a",
    b"[\"a\"",
    b"{",
    b"{]",
    b"{,",
    b"{[",
    b"{\"a",
    b"{'a'",
    b"[\"\\{[\"\\{[\"\\{[\"\\{",
    b"\xe9",
    b"*",
    b"{\"a\":\"b\"}#{}",
    b"[\\u000A\"\"]",
    b"[1",
    b"[ false, nul",
    b"[ true, fals",
    b"[ false, tru",
    b"{\"asd\":\"asd\"",
    b"\xc3\xa5",
    b"[\xe2\x81\xa0]",
    b"\xef\xbb\xbf",
    b"[\x0c]",
    b"[1,\x0b2]",
    b"\xc2\xa0{}",
    // as texts come from elsewhere
    b"\xff\xfe[\0\"\0\xe9\0\"\0]\0",
    b"\0[\0\"\0\xe9\0\"\0]",
    b"{\0}\0",
    b"<html></html>",
    b"a=b&c=d",
    b"undefined",
    b"{}{}",
    b"{};",
];

/// JSON.
const Y: &[&str] = &[
    // y_array_*
    "[[]   ]",
    "[\"\"]",
    "[]",
    "[\"a\"]",
    "[false]",
    "[null, 1, \"1\", {}]",
    "[null]",
    "[1\n]",
    " [1]",
    "[1,null,null,null,2]",
    "[2] ",
    // y_number_*
    "[123e65]",
    "[0e+1]",
    "[0e1]",
    "[ 4]",
    "[-0.000000000000000000000000000000000000000000000000000000000000000000000000000001]",
    "[20e1]",
    "[-0]",
    "[-123]",
    "[-1]",
    "[1E22]",
    "[1E-2]",
    "[1E+2]",
    "[123e45]",
    "[123.456e78]",
    "[1e-2]",
    "[1e+2]",
    "[123]",
    "[123.456789]",
    // y_object_*
    "{\"asd\":\"sdf\", \"dfg\":\"fgh\"}",
    "{\"asd\":\"sdf\"}",
    "{}",
    "{\"\":0}",
    "{\"foo\\u0000bar\": 42}",
    "{ \"min\": -1.0e+28, \"max\": 1.0e+28 }",
    "{\"x\":[{\"id\": \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"}], \"id\": \"x\"}",
    "{\"a\":[]}",
    "{\"title\":\"\\u041f\\u043e\\u043b\\u0442\\u043e\\u0440\\u0430\" }",
    "{\n\"a\": \"b\"\n}",
    // y_string_*
    "[\"\\u0060\\u012a\\u12AB\"]",
    "[\"\\uD801\\udc37\"]",
    "[\"\\ud83d\\ude39\\ud83d\\udc8d\"]",
    "[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"]",
    "[\"\\\\u0000\"]",
    "[\"\\\"\"]",
    "[\"a/*b*/c/*d//e\"]",
    "[\"\\\\a\"]",
    "[\"\\\\n\"]",
    "[\"\\u0012\"]",
    "[\"\\uFFFF\"]",
    "[\"asd\"]",
    "[ \"asd\"]",
    "[\"\\uDBFF\\uDFFF\"]",
    "[\"new\\u00A0line\"]",
    "[\"\u{10ffff}\"]",
    "[\"\u{ffff}\"]",
    "[\"\\u0000\"]",
    "[\"\\u002c\"]",
    "[\"\u{3c0}\"]",
    "[\"\u{1bfff}\"]",
    "[\"asd \"]",
    "\" \"",
    "[\"\\uD834\\uDd1e\"]",
    "[\"\\u0821\"]",
    "[\"\\u0123\"]",
    "[\"\u{2028}\"]",
    "[\"\u{2029}\"]",
    "[\"\\u0061\\u30af\\u30EA\\u30b9\"]",
    "[\"new\\u000Aline\"]",
    "[\"\u{7f}\"]",
    "[\"\\uA66D\"]",
    "[\"\\u005C\"]",
    "[\"\u{2342}\u{32ac}\u{231c}\"]",
    "[\"\\uDBFF\\uDFFE\"]",
    "[\"\\u200B\"]",
    "[\"\\u2064\"]",
    "[\"\\uFDD0\"]",
    "[\"\\uFFFE\"]",
    "[\"\\u0022\"]",
    "[\"\u{20ac}\u{1d11e}\"]",
    "[\"a\u{7f}a\"]",
    // y_structure_*
    "false",
    "42",
    "-0.1",
    "null",
    "\"asd\"",
    "true",
    "\"\"",
    "[\"a\"]\n",
    "[true]",
    " [] ",
];

/// JSON with a member twice: `y_` for a parser, and no body for us.
const TWICE: &[&str] = &["{\"a\":\"b\",\"a\":\"c\"}", "{\"a\":\"b\",\"a\":\"b\"}"];

/// Left to the parser.
const I: &[&[u8]] = &[
    b"[123.456e-789]",
    b"[0.4e00669999999999999999999999999999999999999999999999999999999999999999999969999999006]",
    b"[-1e+9999]",
    b"[1.5e+9999]",
    b"[-123123e100000]",
    b"[123123e100000]",
    b"[123e-10000000]",
    b"[-123123123123123123123123123123]",
    b"[100000000000000000000]",
    b"[-237462374673276894279832749832423479823246327846]",
    b"[1e400]",
    b"[-1e400]",
    b"[\"\\uDADA\"]",
    b"[\"\\uD888\\u1234\"]",
    b"[\"\\uD800\\n\"]",
    b"[\"\\uDd1ea\"]",
    b"[\"\\uD800\\uD800\\n\"]",
    b"[\"\\ud800\"]",
    b"[\"\\ud800abc\"]",
    b"[\"\\uDd1e\\uD834\"]",
    b"[\"\\uDFAA\"]",
    b"[\"\xe6\x97\xa5\xd1\x88\xfa\"]",
    b"[\"\xff\"]",
    b"[\"\xed\xa0\x80\"]",
    b"[\"\xf4\xbf\xbf\xbf\"]",
    b"[\"\x81\"]",
    b"[\"\xc0\xaf\"]",
    b"[\"\xfc\x83\xbf\xbf\xbf\xbf\"]",
    b"[\"\xfc\x80\x80\x80\x80\x80\"]",
    b"[\"\xe0\xff\"]",
    b"{\"\\uDFAA\":0}",
    b"\xef\xbb\xbf{}",
    b"\xff\xfe[\0]\0",
];

/// A login that is good, with `value` in a member that is no field.
fn around(value: &[u8]) -> Vec<u8> {
    [&b"{\"email\":\"a@b.c\",\"password\":\"p\",\"extra\":"[..], value, b"}"].concat()
}

#[test]
fn what_is_no_json_is_a_fault_of_syntax() {
    assert!(N.len() > 180 && N.len() + Y.len() + I.len() > 290);
    for case in N {
        let shown = String::from_utf8_lossy(case);
        assert_eq!(read(&login(), case), Err(BodyFault::Syntax), "{shown}");
        assert_eq!(read(&login(), around(case)), Err(BodyFault::Syntax), "around {shown}");
        // A member that stands there twice does not hide it.
        let twice = [&b"{\"a\":1,\"a\":2,\"b\":"[..], case, b"}"].concat();
        assert_eq!(read(&login(), twice), Err(BodyFault::Syntax), "behind: {shown}");
    }
}

#[test]
fn what_is_json_is_never_a_fault_of_syntax() {
    for case in Y {
        assert!(matches!(read(&login(), case), Err(BodyFault::Fields(_))), "{case}");
        assert_eq!(read(&login(), around(case.as_bytes())).map(|read| read.len()), Ok(2), "{case}");
    }
    for case in TWICE {
        assert!(problems(&login(), case).contains(&"a must be given once".to_owned()), "{case}");
        assert_eq!(problems(&login(), around(case.as_bytes())), ["extra.a must be given once"]);
    }
}

#[test]
fn what_is_left_to_the_parser_is_taken_or_refused() {
    for case in I {
        assert!(matches!(read(&login(), case), Err(BodyFault::Syntax | BodyFault::Fields(_))));
        assert!(matches!(read(&login(), around(case)), Ok(_) | Err(BodyFault::Syntax)));
    }
}

#[test]
fn depth_has_a_bound_and_no_end_of_the_stack() {
    let nested = |open: &str, close: &str, depth: usize| format!("{}{}", open.repeat(depth), close.repeat(depth));
    assert!(matches!(read(&login(), nested("[", "]", 127)), Err(BodyFault::Fields(_))));
    // One level is the body's own.
    assert!(read(&login(), around(nested("[", "]", 126).as_bytes())).is_ok());
    for depth in [128, 129, 500, 100_000] {
        for (open, close) in [("[", "]"), ("[", ""), ("{\"\":", ""), ("[{\"\":", ""), ("{\"a\":", "}")] {
            assert_eq!(read(&login(), nested(open, close, depth)), Err(BodyFault::Syntax), "{open} {depth}");
        }
        assert_eq!(read(&login(), around(nested("[", "]", depth).as_bytes())), Err(BodyFault::Syntax));
    }
}
