//! The folders of this crate use each other in one direction only.
//!
//! The compiler keeps this between crates, not between modules of one crate, so this test reads the `use` lines.

use std::fs;
use std::path::{Path, PathBuf};

/// Each folder with the folders that it may use.
const MAY_USE: [(&str, &[&str]); 8] = [
    ("base", &[]),
    ("observe", &["base"]),
    ("inbound", &["base"]),
    ("protocol", &["base"]),
    ("connect", &["base", "inbound", "protocol"]),
    ("deliver", &["base", "observe", "inbound"]),
    ("query", &["base", "inbound", "protocol", "connect"]),
    (
        "listen",
        &[
            "base", "observe", "inbound", "protocol", "connect", "deliver", "query",
        ],
    ),
];

#[test]
fn folders_use_only_those_below_them() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut wrong = Vec::new();
    for (folder, allowed) in MAY_USE {
        let files = sources(&root.join(folder));
        assert!(!files.is_empty(), "no sources in {folder}");
        for file in files {
            let text = fs::read_to_string(&file).expect("a source can be read");
            for used in used_folders(&text) {
                let known = MAY_USE.iter().any(|(name, _)| *name == used);
                if !known || (used != folder && !allowed.contains(&used)) {
                    wrong.push(format!("{} uses {used}", file.display()));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "against the direction:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn every_folder_has_its_place_in_the_order() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let crate_file = fs::read_to_string(root.join("lib.rs")).expect("lib.rs can be read");
    let mut declared: Vec<&str> = crate_file
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .collect();
    let mut listed: Vec<&str> = MAY_USE.iter().map(|(name, _)| *name).collect();
    declared.sort_unstable();
    listed.sort_unstable();
    assert_eq!(declared, listed);
}

/// The folders that a source names after `crate::`.
fn used_folders(text: &str) -> impl Iterator<Item = &str> {
    text.split("crate::").skip(1).map(|rest| {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
        &rest[..end.unwrap_or(rest.len())]
    })
}

/// The Rust files in a folder and below it.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder can be read");
    entries
        .flat_map(|entry| {
            let path = entry.expect("an entry can be read").path();
            if path.is_dir() {
                sources(&path)
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                vec![path]
            } else {
                Vec::new()
            }
        })
        .collect()
}
