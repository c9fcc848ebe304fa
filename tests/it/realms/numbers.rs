//! No case is forgotten: every number of the list has a test whose name begins with it, in the file of its document.

use std::collections::BTreeSet;
use std::fs;

/// File, letter, numbers. The lists have gaps.
const CASES: &[(&str, char, &[u32])] = &[
    ("affilync", 'a', &[1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 15, 16, 17, 18, 20, 21, 24, 25]),
    ("convertly", 'c', &[1, 2, 3, 4, 5, 6, 7, 10, 12, 13, 14, 15, 16, 17, 18, 19, 21, 22, 23, 25]),
    ("affonso_portal", 'p', &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 16, 19, 22, 23, 24, 25]),
    ("affonso_embed", 'e', &[1, 2, 3, 4, 5, 6, 8, 9, 11, 12, 13, 14, 15, 16, 17, 19, 20, 21, 23, 24, 25]),
    ("giftcards", 'b', &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 19, 21, 23, 26, 30]),
    ("cross_cutting", 'x', &[1, 3, 4, 5, 7, 8, 9, 10, 12, 13, 15, 16, 17, 19, 20]),
    ("attacks", 't', &[4, 5, 7, 8, 10, 11, 13, 14, 16, 17, 19, 20, 22, 23, 25, 26, 28]),
    ("races", 't', &[1, 2]),
    ("attacks", 'j', &[44]),
];

#[test]
fn every_case_of_every_document_has_its_test() {
    let mut missing = Vec::new();
    for (file, letter, numbers) in CASES {
        let text = fs::read_to_string(format!("tests/it/realms/{file}.rs")).expect("the file of the document");
        let tests: BTreeSet<_> = text
            .split("#[test]\nfn ")
            .skip(1)
            .filter_map(|rest| rest.split_once('_').map(|(number, _)| number))
            .collect();
        for number in *numbers {
            let name = format!("{letter}{number:02}");
            if !tests.contains(name.as_str()) {
                missing.push(format!("{file}.rs has no {name}_…"));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}
