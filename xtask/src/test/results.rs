//! Reads the results of tests from the output of their runners.

use std::io::{self, BufRead, Write};
use std::time::Instant;

/// The number of finished tests between two lines of progress.
const STEP: usize = 25;

/// The results so far.
pub(super) struct Results {
    started: Instant,
    /// The number of all tests.
    total: usize,
    done: usize,
    failed: Vec<String>,
}

impl Results {
    pub(super) fn new(total: usize) -> Self {
        Self {
            started: Instant::now(),
            total,
            done: 0,
            failed: Vec::new(),
        }
    }

    /// Passes the runners' output on, line by line as it arrives, and reads the results from it.
    /// Now and then a line about the progress goes to `progress`.
    pub(super) fn pass_on(
        &mut self,
        mut runners: impl BufRead,
        mut output: impl Write,
        mut progress: impl Write,
    ) -> io::Result<()> {
        let mut line = Vec::new();
        while runners.read_until(b'\n', &mut line)? > 0 {
            output.write_all(&line)?;
            output.flush()?;
            if self.take(&String::from_utf8_lossy(&line)) && self.done.is_multiple_of(STEP) {
                let time = self.started.elapsed().as_secs();
                writeln!(
                    progress,
                    "==> [{time} s] {} of {} tests",
                    self.done, self.total
                )?;
            }
            line.clear();
        }
        Ok(())
    }

    /// Reads the result of a test from a line; returns false if the line contains none.
    fn take(&mut self, line: &str) -> bool {
        let Some((name, result)) = line
            .trim_end()
            .strip_prefix("test ")
            .and_then(|line| line.rsplit_once(" ... "))
        else {
            return false;
        };
        match result {
            "FAILED" => self.failed.push(name.to_owned()),
            "ok" => {}
            // An ignored test states its reason.
            ignored if ignored.starts_with("ignored") => {}
            _ => return false,
        }
        self.done += 1;
        true
    }

    /// Writes the names of the failed tests, and how to run each alone; nothing if none failed.
    pub(super) fn name_failures(&self, mut output: impl Write) -> io::Result<()> {
        match self.failed.len() {
            0 => {}
            1 => writeln!(output, "1 test failed. To run it alone:")?,
            count => writeln!(output, "{count} tests failed. To run each alone:")?,
        }
        for name in &self.failed {
            // The name of a documentation test contains spaces.
            let quote = if name.contains(' ') { "'" } else { "" };
            writeln!(
                output,
                "  sudo cargo xtask test {quote}{name}{quote} -- --exact"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "\nrunning 4 tests\ntest a::good ... ok\nlost 3 of 5 ... ok\n\
        test a::bad ... FAILED\ntest src/a.rs - b (line 3) ... FAILED\n\
        test c ... ignored, for a reason\n\nfailures:\n    a::bad\n";

    #[test]
    fn failed_tests_are_named_with_how_to_run_them() {
        let mut results = Results::new(4);
        let (mut output, mut progress) = (Vec::new(), Vec::new());
        results
            .pass_on(PRINTED.as_bytes(), &mut output, &mut progress)
            .unwrap();
        assert_eq!(output, PRINTED.as_bytes());
        assert_eq!(results.done, 4);
        let mut named = Vec::new();
        results.name_failures(&mut named).unwrap();
        assert_eq!(
            String::from_utf8(named).unwrap(),
            "2 tests failed. To run each alone:\n  \
             sudo cargo xtask test a::bad -- --exact\n  \
             sudo cargo xtask test 'src/a.rs - b (line 3)' -- --exact\n"
        );
        let mut named = Vec::new();
        Results::new(0).name_failures(&mut named).unwrap();
        assert_eq!(named, b"");
    }

    #[test]
    fn now_and_then_it_says_how_far_it_is() {
        let mut results = Results::new(60);
        let mut progress = Vec::new();
        let printed = "test a ... ok\n".repeat(60);
        results
            .pass_on(printed.as_bytes(), io::sink(), &mut progress)
            .unwrap();
        assert_eq!(
            String::from_utf8(progress).unwrap(),
            "==> [0 s] 25 of 60 tests\n==> [0 s] 50 of 60 tests\n"
        );
    }
}
