//! Opening: who makes a store, who may use it, and what is refused.

use portcullis::store::{OpenError, Opening};

use super::{Ground, on_both};

on_both!(two_that_open_an_empty_store_at_once_both_succeed);

async fn two_that_open_an_empty_store_at_once_both_succeed(ground: Ground) {
    let opened = tokio::join!(
        ground.try_open(Opening::Create),
        ground.try_open(Opening::Create),
        ground.try_open(Opening::Create),
        ground.try_open(Opening::Create),
    );
    let all: Result<Vec<_>, OpenError> = [opened.0, opened.1, opened.2, opened.3].into_iter().collect();
    let all = all.unwrap_or_else(|e| panic!("{e}"));
    for store in &all {
        assert_eq!(store.seal_key(), all[0].seal_key());
    }
    assert_eq!(ground.number("SELECT count(*) FROM portcullis_schema").await, 1);
}
