//! SQLite, migrations, artifacts and search: the only crate that knows SQL.
