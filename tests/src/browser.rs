//! A browser without a window: Debian's Chromium, driven over a pipe by its `DevTools` protocol.
#![allow(clippy::indexing_slicing, reason = "what JSON lacks is null")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::Namespace;
use crate::debian::ensure_installed;

/// How long the browser may take for anything: it starts dozens of processes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(2);
/// How long it may take to end.
const END: Duration = Duration::from_secs(10);

/// A page in a browser of its own. Dropping it ends the browser.
#[derive(Debug)]
pub struct Browser {
    process: Child,
    stdin: ChildStdin,
    said: Receiver<Value>,
    calls: u64,
    session: Option<String>,
    /// What the page has complained of: errors of scripts, and what the browser would not load.
    complaints: Vec<String>,
    profile: TempDir,
}

impl Browser {
    /// Opens an empty page of this size, in pixels, in the namespace.
    ///
    /// # Errors
    /// When Chromium is not to be had, or does not start.
    pub fn open(namespace: &Namespace, (width, height): (u32, u32)) -> Result<Self> {
        ensure_installed("chromium", "chromium")?;
        let profile = TempDir::new()?;
        // The shell has the pipe where Chromium expects it. Root's browser has no sandbox of its own;
        // the namespace has no way out.
        let script = "exec chromium --headless --remote-debugging-pipe --no-sandbox --disable-gpu \
            --disable-dev-shm-usage --no-first-run --no-default-browser-check --disable-extensions \
            --disable-background-networking --disable-component-update --hide-scrollbars \
            --user-data-dir=\"$1\" --window-size=\"$2\" about:blank 3<&0 4>&1 </dev/null >/dev/null";
        let mut command = Command::new("sh");
        command
            .args(["-c", script, "sh"])
            .arg(profile.path())
            .arg(format!("{width},{height}"))
            .env("HOME", profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(profile.path().join("log"))?);
        let mut process = namespace.spawn(command)?;
        let stdin = process.stdin.take().context("no pipe to the browser")?;
        let stdout = process.stdout.take().context("no pipe from the browser")?;
        let (sender, said) = channel();
        thread::spawn(move || {
            for message in BufReader::new(stdout).split(0).map_while(Result::ok) {
                let Ok(message) = serde_json::from_slice(&message) else {
                    return;
                };
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        let mut browser = Self {
            process,
            stdin,
            said,
            calls: 0,
            session: None,
            complaints: Vec::new(),
            profile,
        };
        let target = browser.call("Target.createTarget", &json!({"url": "about:blank"}))?;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = browser.call("Target.attachToTarget", &attach)?;
        browser.session = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log"] {
            browser.call(&format!("{domain}.enable"), &json!({}))?;
        }
        browser.resize((width, height), false)?;
        Ok(browser)
    }

    /// Calls a method of the protocol, and returns its result.
    ///
    /// # Errors
    /// When the browser has ended, does not reply, or replies with an error.
    pub fn call(&mut self, method: &str, params: &Value) -> Result<Value> {
        self.calls += 1;
        let mut call = json!({"id": self.calls, "method": method, "params": params});
        if let Some(session) = &self.session {
            call["sessionId"] = json!(session);
        }
        let mut bytes = serde_json::to_vec(&call)?;
        bytes.push(0);
        self.stdin
            .write_all(&bytes)
            .with_context(|| self.log("the browser has ended"))?;
        let started = Instant::now();
        loop {
            let rest = PATIENCE.saturating_sub(started.elapsed());
            let message = match self.said.recv_timeout(rest) {
                Ok(message) => message,
                Err(RecvTimeoutError::Timeout) => bail!("no reply to {method}"),
                Err(RecvTimeoutError::Disconnected) => bail!(self.log("the browser has ended")),
            };
            if message["id"] == self.calls {
                ensure!(message["error"].is_null(), "{method}: {}", message["error"]);
                return Ok(message["result"].clone());
            }
            self.note(&message);
        }
    }

    fn note(&mut self, message: &Value) {
        let params = &message["params"];
        match message["method"].as_str() {
            Some("Runtime.exceptionThrown") => {
                self.complaints.push(params["exceptionDetails"].to_string());
            }
            Some("Log.entryAdded") if params["entry"]["level"] == "error" => {
                self.complaints.push(params["entry"].to_string());
            }
            _ => {}
        }
    }

    fn log(&self, what: &str) -> String {
        let log = fs::read_to_string(self.profile.path().join("log")).unwrap_or_default();
        format!("{what}:\n{log}")
    }

    /// Goes to this address.
    ///
    /// # Errors
    /// When the browser cannot load it.
    pub fn go(&mut self, url: &str) -> Result<()> {
        // An interface that gets an address has the browser give up what it is loading.
        const CHANGED: &str = "ERR_NETWORK_CHANGED";
        const TRIES: usize = 5;
        for _ in 0..TRIES {
            let gone = self.call("Page.navigate", &json!({"url": url}))?;
            let error = gone["errorText"].as_str().unwrap_or_default();
            if !error.contains(CHANGED) {
                ensure!(error.is_empty(), "{url}: {error}");
                self.wait_for("document.readyState === 'complete'")?;
                if !self.complaints.iter().any(|it| it.contains(CHANGED)) {
                    return Ok(());
                }
            }
            self.complaints.retain(|it| !it.contains(CHANGED));
        }
        bail!("{url}: the network changes all the time")
    }

    /// The value of an expression of the page.
    ///
    /// # Errors
    /// When it throws an exception.
    pub fn eval(&mut self, expression: &str) -> Result<Value> {
        let params = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let result = self.call("Runtime.evaluate", &params)?;
        let thrown = &result["exceptionDetails"];
        ensure!(thrown.is_null(), "{expression}: {thrown}");
        Ok(result["result"]["value"].clone())
    }

    /// Waits until an expression is true.
    ///
    /// # Errors
    /// When it is not within a minute or two: with the text of the page.
    pub fn wait_for(&mut self, expression: &str) -> Result<()> {
        let started = Instant::now();
        while self.eval(&format!("Boolean({expression})"))? != true {
            if started.elapsed() > PATIENCE {
                let text = self.eval("document.body.innerText")?;
                bail!("never so: {expression}; {:?}\n{text}", self.complaints);
            }
            thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Presses a key, which has this name in `KeyboardEvent.key`.
    ///
    /// # Errors
    /// When the browser has ended.
    pub fn press(&mut self, key: &str) -> Result<()> {
        let text = if key.chars().count() == 1 { key } else { "" };
        let down = json!({"type": "keyDown", "key": key, "text": text});
        self.call("Input.dispatchKeyEvent", &down)?;
        self.call(
            "Input.dispatchKeyEvent",
            &json!({"type": "keyUp", "key": key}),
        )?;
        Ok(())
    }

    /// Gives the page another size, in pixels, as of a phone or not.
    ///
    /// # Errors
    /// When the browser has ended.
    pub fn resize(&mut self, (width, height): (u32, u32), is_phone: bool) -> Result<()> {
        let size = json!({
            "width": width, "height": height, "deviceScaleFactor": if is_phone { 2 } else { 1 },
            "mobile": is_phone
        });
        self.call("Emulation.setDeviceMetricsOverride", &size)
            .map(drop)
    }

    /// Prefers dark colours, or light ones.
    ///
    /// # Errors
    /// When the browser has ended.
    pub fn prefer(&mut self, scheme: &str) -> Result<()> {
        let feature = json!({"name": "prefers-color-scheme", "value": scheme});
        let media = json!({"features": [feature]});
        self.call("Emulation.setEmulatedMedia", &media).map(drop)
    }

    /// Writes a picture of what is to be seen, as PNG.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn screenshot(&mut self, file: &Path) -> Result<()> {
        let shot = self.call("Page.captureScreenshot", &json!({"format": "png"}))?;
        let data = shot["data"].as_str().context("no picture")?;
        Ok(fs::write(file, BASE64.decode(data)?)?)
    }

    /// What the page has complained of so far.
    pub fn complaints(&self) -> &[String] {
        &self.complaints
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.session = None;
        // It may have ended already.
        let _ = self.call("Browser.close", &json!({}));
        let started = Instant::now();
        while matches!(self.process.try_wait(), Ok(None)) && started.elapsed() < END {
            thread::sleep(Duration::from_millis(20));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
