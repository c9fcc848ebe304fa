//! PostgreSQL 13 or newer.
