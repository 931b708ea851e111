//! Replays the corpus of every fuzz target.

use std::fs;
use std::path::Path;

use synapse_fuzz::TARGETS;

#[test]
fn every_target_keeps_its_promise_for_its_whole_corpus() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for (name, check) in TARGETS {
        let folder = corpus.join(name);
        let files = fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("no corpus in {}: {error}", folder.display()));
        let mut count = 0;
        for file in files {
            let path = file.unwrap().path();
            let input = fs::read(&path).unwrap();
            let outcome = std::panic::catch_unwind(|| check(&input));
            assert!(outcome.is_ok(), "{name} fails for {}", path.display());
            count += 1;
        }
        assert!(count >= 10, "{name} has {count} inputs only");
    }
}

#[test]
fn every_target_is_one_of_libfuzzer_too() {
    let targets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/fuzz_targets");
    for (name, _) in TARGETS {
        let text = fs::read_to_string(targets.join(format!("{name}.rs"))).unwrap();
        assert!(text.contains(&format!("run(\"{name}\", input)")), "{name}");
    }
}
