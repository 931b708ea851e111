//! Taste that a linter cannot check: arrows between crates, what a crate must not know, words that do not belong into the repository.

#![cfg(test)]

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

/// The workspace's own crates that a crate builds on (not those of its tests).
fn dependencies(manifest: &str) -> Vec<String> {
    let section = manifest
        .split("\n[dependencies]")
        .nth(1)
        .unwrap_or_default();
    let section = section.split("\n[").next().unwrap_or_default();
    let names = section
        .lines()
        .filter_map(|line| line.split(['.', ' ', '=']).next());
    names
        .filter(|name| name.starts_with("synapse"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn arrows_between_crates_point_one_way() {
    // Each crate with what it may build on. A new arrow is a decision: draw it in ARCHITECTURE.md first.
    for (krate, allowed) in [
        ("protocol", &[][..]),
        ("engine", &["synapse-protocol"]),
        ("adapter", &["synapse-protocol"]),
        (
            "socket",
            &["synapse-protocol", "synapse-engine", "synapse-adapter"],
        ),
        ("redis", &["synapse-protocol", "synapse-adapter"]),
        (
            "synapse",
            &[
                "synapse-protocol",
                "synapse-engine",
                "synapse-adapter",
                "synapse-socket",
                "synapse-redis",
            ],
        ),
        ("server", &["synapse"]),
    ] {
        let manifest =
            fs::read_to_string(root().join("crates").join(krate).join("Cargo.toml")).unwrap();
        for dependency in dependencies(&manifest) {
            assert!(
                allowed.contains(&dependency.as_str()),
                "crates/{krate} must not build on {dependency}"
            );
        }
    }
}

/// The files of the repository, without what is built or installed.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        // `.git` is a file in a further work tree.
        if ["target", ".git", "node_modules", "artifacts"].contains(&name.as_str()) {
            continue;
        }
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// Every text file of the repository but this one, with its path from the root.
fn texts() -> Vec<(String, String)> {
    let root = root();
    let mut found = Vec::new();
    files(&root, &mut found);
    let relative = |path: &Path| {
        path.strip_prefix(&root)
            .unwrap_or(path)
            .to_string_lossy()
            .into_owned()
    };
    let texts = found
        .iter()
        .filter_map(|path| Some((relative(path), fs::read_to_string(path).ok()?)));
    texts
        .filter(|(path, _)| path != "tests/tidy/src/lib.rs")
        .collect()
}

#[test]
fn protocol_knows_no_clock_no_tasks_and_no_sockets() {
    for (path, text) in texts()
        .iter()
        .filter(|(path, _)| path.starts_with("crates/protocol/src"))
    {
        for (word, instead) in [
            ("tokio", "take bytes in, give values out"),
            ("Instant::now", "take the time as an argument"),
            ("SystemTime", "take the time as an argument"),
            ("std::net", "take bytes in, give values out"),
            ("getrandom", "take randomness as an argument"),
        ] {
            assert!(!text.contains(word), "{path} mentions {word}: {instead}");
        }
    }
}

#[test]
fn nothing_is_left_for_later_in_a_comment() {
    for (path, text) in texts()
        .iter()
        .filter(|(path, _)| path.ends_with(".rs") || path.ends_with(".mjs"))
    {
        for word in [
            "FIXME",
            "TODO",
            "XXX",
            "todo!(",
            "unimplemented!(",
            "#[ignore",
        ] {
            assert!(
                !text.contains(word),
                "{path} has {word}: do it, or put it into ROADMAP.md"
            );
        }
    }
}

#[test]
fn the_repository_speaks_of_itself_alone() {
    for (path, text) in &texts() {
        for word in [
            "/work/",
            "/root/",
            "/home/",
            "../shared",
            "registry.npmjs.org",
            "index.crates.io",
        ] {
            assert!(
                !text.contains(word),
                "{path} names {word}, which is of one machine"
            );
        }
    }
}

#[test]
fn files_stay_small_enough_for_one_noun() {
    const LINES_MAX: usize = 600;
    for (path, text) in texts().iter().filter(|(path, _)| path.ends_with(".rs")) {
        let lines = text.lines().count();
        assert!(
            lines <= LINES_MAX,
            "{path} has {lines} lines: look for a second noun inside"
        );
    }
}

/// Every row of the table of features names the file of a test and its name.
#[test]
fn every_feature_is_shown_by_a_test_that_is_there() {
    let root = root();
    let table = fs::read_to_string(root.join("docs/features.md")).unwrap();
    let rows = table
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"))
        .filter(|row| !row.starts_with("---") && !row.ends_with("shown by"));
    let mut count = 0;
    for row in rows {
        let shown_by = row.rsplit(" | ").next().unwrap_or_default();
        let (path, name) = shown_by
            .strip_prefix('`')
            .and_then(|rest| rest.strip_suffix('"')?.split_once("` \""))
            .unwrap_or_else(|| panic!("end this row with `file` \"name of the test\": {row}"));
        let text = fs::read_to_string(root.join(path))
            .unwrap_or_else(|error| panic!("{path} in this row: {error}: {row}"));
        assert!(
            text.contains(name),
            "{path} has no test \"{name}\", which this row names: {row}"
        );
        count += 1;
    }
    assert!(count >= 50, "{count} rows of features only");
}

#[test]
fn every_library_forbids_or_denies_unsafe_code() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(manifest.contains("unsafe_code = \"deny\""));
    for (path, text) in texts()
        .iter()
        .filter(|(path, _)| path.starts_with("crates/") && path.ends_with(".rs"))
    {
        assert!(
            !text.contains("allow(unsafe_code)"),
            "{path}: use expect with the argument for it"
        );
    }
}
