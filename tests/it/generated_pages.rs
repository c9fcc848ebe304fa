//! Pages of `docs/` that are made from tables in the source: what is written is what the tables say. `UPDATE_DOCS=1`
//! writes them anew.

use std::fs;

#[test]
#[allow(clippy::disallowed_methods)] // a switch of this test, no configuration
fn every_generated_page_is_the_one_that_its_table_makes() {
    for (path, page) in [
        ("docs/configuration.md", portcullis::config::reference()),
        ("docs/errors.md", portcullis::gate::dialect::reference()),
    ] {
        if std::env::var_os("UPDATE_DOCS").is_some() {
            fs::write(path, &page).expect("the page can be written");
        }
        let written = fs::read_to_string(path).unwrap_or_default();
        assert!(written == page, "{path} is out of date: run `make docs`, and read the difference");
    }
}
