//! SQLite in one file.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::StoreError;

/// Statements that bring the tables from each layout to the next. The first ones create them. `PRAGMA user_version` is
/// the number of the layout.
pub(super) const LAYOUTS: [&str; 8] = [
    include_str!("layout_1.sql"),
    include_str!("layout_2.sql"),
    include_str!("layout_3.sql"),
    include_str!("layout_4.sql"),
    include_str!("layout_5.sql"),
    include_str!("layout_6.sql"),
    include_str!("layout_7.sql"),
    include_str!("layout_8.sql"),
];
/// Number of the layout of this version.
const VERSION: i64 = LAYOUTS.len() as i64;

/// Settings of a connection. `auto_vacuum` has an effect only on a new file, and only before any other statement.
/// `synchronous` is FULL because an accepted analysis must survive a power cut. `secure_delete` overwrites removed data
/// because it shows people's faces.
const SETTINGS: &str = "\
PRAGMA auto_vacuum = INCREMENTAL;
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA foreign_keys = ON;
PRAGMA secure_delete = ON;";

/// Opens a file, and brings its tables up to date. Creates it if it is missing.
pub(super) fn open(path: &Path) -> Result<Connection, StoreError> {
    let failed = |source| StoreError::Open { path: path.to_owned(), source };
    owners_alone(path).map_err(|source| StoreError::File { path: path.to_owned(), source })?;
    let connection = Connection::open(path).map_err(failed)?;
    connection.busy_timeout(Duration::from_secs(10)).map_err(failed)?;
    connection.execute_batch(SETTINGS).map_err(failed)?;
    let found = layout(&connection).map_err(failed)?;
    match found {
        0 if has_tables(&connection).map_err(failed)? => Err(foreign(path)),
        0..=VERSION => {
            let missing = LAYOUTS.iter().skip(found as usize);
            missing.copied().try_for_each(|layout| connection.execute_batch(layout)).map_err(failed)?;
            Ok(connection)
        }
        _ => Err(version(path, found)),
    }
}

/// Opens a file to read its audit.
pub(super) fn open_audit(path: &Path) -> Result<Connection, StoreError> {
    let failed = |source| StoreError::Open { path: path.to_owned(), source };
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(failed)?;
    match layout(&connection).map_err(failed)? {
        // The second layout has the same audit as the later ones, without changes.
        2..=VERSION => Ok(connection),
        found => Err(version(path, found)),
    }
}

/// Checks a file without changing it. A missing one is no error.
pub(super) fn check(path: &Path) -> Result<(), StoreError> {
    if !path.exists() {
        return Ok(());
    }
    let failed = |source| StoreError::Open { path: path.to_owned(), source };
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(failed)?;
    match layout(&connection).map_err(failed)? {
        0 if has_tables(&connection).map_err(failed)? => Err(foreign(path)),
        0..=VERSION => Ok(()),
        found => Err(version(path, found)),
    }
}

/// Removes the oldest ended analyses while the file holds more than `bytes`. Returns the uploads whose files may be
/// deleted.
pub(super) fn trim(connection: &Connection, bytes: u64) -> Result<Vec<String>, StoreError> {
    let number = |pragma| connection.query_row(pragma, [], |row| row.get::<_, i64>(0));
    let (page, mut released) = (number("PRAGMA page_size")?, Vec::new());
    loop {
        let used = (number("PRAGMA page_count")? - number("PRAGMA freelist_count")?) * page;
        let sql = "DELETE FROM analyses WHERE seq = (
                       SELECT seq FROM analyses WHERE status IN ('done', 'failed') ORDER BY finished, seq LIMIT 1
                   ) RETURNING upload";
        if used.cast_unsigned() <= bytes {
            return Ok(released);
        }
        match connection.query_row(sql, [], |row| row.get::<_, Option<String>>(0)).optional()? {
            Some(upload) => released.extend(upload),
            None => return Ok(released),
        }
    }
}

/// Gives some of the free pages of the file back to the disk. Returns whether there are more.
pub(super) fn shrink(connection: &Connection) -> Result<bool, StoreError> {
    {
        // Each step frees a page.
        let mut statement = connection.prepare_cached("PRAGMA incremental_vacuum(2000)")?;
        let mut steps = statement.query([])?;
        while steps.next()?.is_some() {}
    }
    let free: i64 = connection.query_row("PRAGMA freelist_count", [], |row| row.get(0))?;
    if free == 0 {
        // Removed data must not stay in the write-ahead log either.
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    }
    Ok(free > 0)
}

fn layout(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

fn has_tables(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT count(*) > 0 FROM sqlite_schema", [], |row| row.get(0))
}

fn foreign(path: &Path) -> StoreError {
    StoreError::Foreign { database: path.display().to_string(), cure: "name another folder with --data-dir" }
}

fn version(path: &Path, found: i64) -> StoreError {
    StoreError::Version { database: format!("the database {}", path.display()), found, known: VERSION }
}

/// Creates the file if it is missing, and makes it readable by its owner alone, because it shows people's faces. SQLite
/// gives its other files the same permissions.
fn owners_alone(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    drop(file);
    Ok(())
}
