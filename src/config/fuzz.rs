//! Settings from anybody: every mistake is told, and means the same the second time.

use super::{Config, source};
use crate::yaml::Problems;

/// A settings file. Nothing that it names is opened.
pub(crate) fn settings(data: &[u8]) {
    let read = || {
        let (mut config, mut problems) = (Config::default(), Vec::new());
        source::read_text("f", data, &mut config, &mut problems);
        (config, problems)
    };
    let (config, problems) = read();
    let again = read();
    assert_eq!(format!("{config:?}"), format!("{:?}", again.0));
    assert_eq!(problems, again.1);
    assert!(problems.len() <= 2 * Problems::MAX + 2);
    for problem in &problems {
        let message = problem.message.to_string();
        assert!(message.lines().count() <= 2 && message.len() < 4000, "{message:?}");
        assert!(!message.contains(|letter: char| letter.is_control() && letter != '\n'), "{message:?}");
    }
}
