//! What holds for any settings file.

use std::path::Path;
use std::sync::LazyLock;

use clap::{Args, Command};
use proxydhcp::cli::serve::ServeArgs;
use proxydhcp::cli::settings::{SettingsError, SettingsFile};
use proxydhcp::winpe::loaders::MAX_PATHS;
use proxydhcp_common::wire::Bootp;

static FLAGS: LazyLock<Command> = LazyLock::new(|| ServeArgs::augment_args(Command::new("serve")));

/// Reads bytes as a settings file.
///
/// # Panics
/// Where a file that was taken is not good enough for `serve`, or one that was not has no place where
/// it is wrong.
pub(crate) fn settings(data: &[u8]) {
    match SettingsFile::of_bytes(data, Path::new("settings"), &FLAGS) {
        Ok(settings) => {
            let paths = settings.loaders.paths();
            assert!(paths.len() <= MAX_PATHS);
            assert!(paths.iter().all(|path| path.len() <= Bootp::FILE_TEXT));
            // Nothing was let through that would end the daemon at its start.
            let matches = settings
                .under(FLAGS.clone())
                .try_get_matches_from(["serve"]);
            assert!(matches.is_ok(), "{matches:?}");
        }
        Err(SettingsError::Content {
            line,
            column,
            fault,
            ..
        }) => {
            assert!(!fault.to_string().is_empty());
            let at = data.split(|&byte| byte == b'\n').nth(line - 1);
            let text = String::from_utf8_lossy(at.expect("there is such a line"));
            // On a character, or right behind the last.
            assert!((1..=text.chars().count() + 1).contains(&column), "{fault}");
        }
        Err(error) => panic!("nothing was read: {error}"),
    }
}
