//! Panics to order, for the tests: a *fail point* is a place that panics when a test asks for it.
//!
//! Only the feature `failpoints` makes fail points. Without it, as the addon is published, `fail_point!` is
//! no code at all. A test arms a point by a file of its name in the folder that the environment variable
//! `PGLISTEN_FAIL_POINTS` names. Whoever reaches the point next takes the file away, and panics.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::{env, fs};

/// Comes to a point, and disarms it if it is armed.
///
/// # Panics
///
/// If the point was armed.
#[expect(clippy::panic, reason = "that is what it is for")]
pub fn reach(name: &str) {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| env::var_os("PGLISTEN_FAIL_POINTS").map(PathBuf::from));
    if let Some(folder) = folder
        && fs::remove_file(folder.join(name)).is_ok()
    {
        panic!("fail point {name} was reached");
    }
}
