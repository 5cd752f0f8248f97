//! `fleet push --watch`: carries each change of the files into etcd, for as long as it runs.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use super::{Fleet, PushArgs, in_force, push};
use crate::cli::Context;
use crate::cli::output::{note, print};
use crate::cli::runtime::block_on;
use crate::daemon::watch::{self, Watching};
use crate::fleet::store::StoreError;
use crate::nodes::cfg::texts::Texts;
use crate::sys::journal::{Priority, for_stderr};
use crate::text::with_causes;
use crate::winpe::path::Rules;

/// The first and the longest pause before etcd is tried again.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(10)];

/// Pushes the files now, and whenever they have changed.
pub(super) fn push(args: &PushArgs, context: &Context) -> Result<ExitCode> {
    let mut follower = Follower {
        fleet: args.rules.fleet.fleet()?,
        args,
        rules: args.rules.rules(context),
        trouble: None,
    };
    let watching = watch::over(Some(&args.cfg), Vec::new())?;
    block_on(follower.follow(watching))?
}

struct Follower<'a> {
    fleet: Fleet,
    args: &'a PushArgs,
    rules: Rules<'a>,
    /// What keeps the newest files from being in force, as it was said last.
    trouble: Option<String>,
}

impl Follower<'_> {
    async fn follow(&mut self, mut watching: Watching) -> ! {
        // Whatever changes from here on is noticed.
        watching.began().await;
        print(&format!("watching {}", self.args.cfg.display()));
        if let Some(trouble) = watching.trouble() {
            note(&for_stderr(Priority::Warning, &trouble));
        }
        let [first, longest] = PAUSES;
        let mut pause = first;
        loop {
            match self.carry().await {
                Ok(()) => watching.changed().await,
                Err(error) => {
                    self.say(&error);
                    // The files may be right, and etcd away.
                    if error.is::<StoreError>() {
                        self.fleet.client.next_member();
                        tokio::select! {
                            () = sleep(pause) => {}
                            () = watching.changed() => {}
                        }
                        pause = longest.min(pause * 2);
                        continue;
                    }
                    watching.changed().await;
                }
            }
            pause = first;
        }
    }

    /// Has etcd contain what the files say by now.
    async fn carry(&mut self) -> Result<()> {
        let texts = Texts::read(&self.args.cfg)?;
        let Self {
            fleet, args, rules, ..
        } = self;
        let (shown, written) = push::change(fleet, args, &texts, *rules).await?;
        if self.trouble.take().is_some() || written.is_some() {
            print(&format!("{shown}{}", in_force(written)));
        }
        Ok(())
    }

    /// Says why the newest files are not in force, once.
    fn say(&mut self, error: &anyhow::Error) {
        let why = with_causes(error);
        if self.trouble.as_ref() != Some(&why) {
            let text = format!("not pushed, what is in force stays: {why}");
            note(&for_stderr(Priority::Error, &text));
            self.trouble = Some(why);
        }
    }
}
