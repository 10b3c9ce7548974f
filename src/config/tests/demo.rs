//! The shipped config is valid, and shows what it promises.

use std::path::Path;

use super::super::{Environment, load};

#[test]
fn the_demo_is_valid_and_has_five_runners_and_a_flow() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config.json");
    let vars = [("PATH".to_owned(), "/usr/bin:/bin".to_owned())].into();
    let loaded = load(&path, &Environment { vars, ..Environment::default() })
        .unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(loaded.warnings, []);
    let names: Vec<_> = loaded.spec.runners.iter().map(|spec| spec.name.as_str()).collect();
    assert_eq!(names, ["web", "flaky", "silent", "broken", "report"]);
    assert!(loaded.spec.runners.iter().all(|spec| spec.group.is_some()));
    let silent = loaded.spec.runners.iter().find(|spec| spec.name.as_str() == "silent").unwrap();
    assert!(silent.activity.is_some());
    let [video] = &loaded.spec.flows[..] else { panic!("one flow") };
    let stages: Vec<_> = video.stages.iter().map(|stage| stage.name.as_str()).collect();
    assert_eq!(stages, ["script", "storyboard", "check", "voice", "render"]);
    assert!(video.stages.iter().all(|stage| stage.retry.count == 2));
    assert!(video.stages.iter().any(|stage| stage.validates.is_some()));
}
