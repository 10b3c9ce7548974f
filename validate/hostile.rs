//! Surroundings that do not play along: a full disk, no descriptors, folders that cannot be entered, odd output.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::kit::{Outcome, Workspace, ensure, runners, wait};
use crate::survive::{linger, running};

/// A small file system of its own; gone with the value.
pub(crate) struct Small(std::path::PathBuf);

impl Small {
    pub(crate) fn mount(at: &Path) -> Option<Self> {
        std::fs::create_dir_all(at).ok()?;
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m,mode=0700", "tmpfs"])
            .arg(at)
            .stderr(std::process::Stdio::null())
            .status()
            .ok()?;
        done.success().then(|| Self(at.to_owned()))
    }

    pub(crate) fn fill(&self) {
        let filler = self.0.join("filler");
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(filler).expect("a file");
        for size in [65_536, 4096, 512, 1] {
            let block = vec![0_u8; size];
            while std::io::Write::write_all(&mut file, &block).is_ok() {}
        }
    }

    pub(crate) fn free(&self) {
        std::fs::remove_file(self.0.join("filler")).expect("the filler is there");
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Lazily: what still has a file open there is about to end.
        Command::new("umount").arg("-l").arg(&self.0).status().ok();
    }
}

/// Log, state, or both on a full disk: new work waits without spending retries, stop works, and all goes on later.
pub(crate) fn full_disk() -> Outcome {
    let mut told = Vec::new();
    for (label, logs, state) in [("logs", true, false), ("state", false, true), ("both", true, true)] {
        let workspace = Workspace::new(&json!({}));
        let small = workspace.path("small");
        let Some(disk) = Small::mount(&small) else {
            return Ok(vec!["not shown: mounting a small tmpfs is not allowed here".into()]);
        };
        let mut config = runners(&[
            ("steady", json!({ "command": ["sleep", "100000"] })),
            (
                "flap",
                json!({ "command": "while [ ! -e crash ]; do sleep 0.02; done; exit 5",
                             "retry": { "count": 3, "backoff_seconds": 0.1 } }),
            ),
        ]);
        if logs {
            config["log_dir_name"] = json!(small.join("logs").display().to_string());
        }
        if state {
            config["cache_dir"] = json!(small.join("cache").display().to_string());
        }
        workspace.configure(&config);
        workspace.ok(&["up", "--detach"])?;
        running(&workspace, "steady")?;
        running(&workspace, "flap")?;
        linger(Duration::from_millis(1500));
        disk.fill();
        std::fs::write(workspace.path("crash"), "").map_err(|error| error.to_string())?;
        linger(Duration::from_secs(3));
        let row = workspace.runner("flap")?;
        ensure(row["status"] != "crashed", || format!("{label}: given up on a full disk: {row}"))?;
        let retries = row["retry_count"].as_u64().unwrap_or(99);
        ensure(retries <= 1, || format!("{label}: {retries} retries spent on a full disk: {row}"))?;
        workspace.ok(&["stop", "steady"])?;
        workspace.wait_runner("steady", "stopped on a full disk", |row| row["status"] == "stopped")?;
        std::fs::remove_file(workspace.path("crash")).map_err(|error| error.to_string())?;
        disk.free();
        let row = running(&workspace, "flap").map_err(|error| format!("{label}: {error}"))?;
        told.push(format!(
            "{label} full: {retries} retries spent, attempt {} runs once there is room",
            row["attempt"]
        ));
        workspace.ok(&["down"])?;
    }
    Ok(told)
}

pub(crate) fn surroundings() -> Outcome {
    let workspace = Workspace::new(&json!({}));
    let folder = workspace.path("sealed");
    std::fs::create_dir(&folder).map_err(|error| error.to_string())?;
    let script = workspace.path("orphaned");
    std::fs::write(&script, "#!/no/such/interpreter\n").map_err(|error| error.to_string())?;
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))
        .map_err(|error| error.to_string())?;
    let elsewhere = workspace.path("elsewhere");
    std::fs::create_dir(&elsewhere).map_err(|error| error.to_string())?;
    std::os::unix::fs::symlink(&elsewhere, workspace.path("logs-link")).map_err(|error| error.to_string())?;

    let mut config = runners(&[
        ("odd", json!({ "command": "printf 'a\\377\\200b\\033[2Jc\\n'; exec sleep 100000" })),
        ("few", json!({ "command": "ulimit -n; exec sleep 100000", "limits": { "nofile": 17 } })),
        (
            "vanishes",
            json!({ "command": "exec sleep 100000", "cwd": "sealed", "autostart": false,
                             "retry": { "count": 1, "backoff_seconds": 0.1 } }),
        ),
    ]);
    config["log_dir_name"] = json!(workspace.path("logs-link").display().to_string());
    workspace.configure(&config);
    workspace.ok(&["up", "--detach"])?;
    running(&workspace, "odd")?;
    running(&workspace, "few")?;
    let raw = wait("odd output in the log behind the link", || {
        std::fs::read(elsewhere.join("odd_1.log")).ok().filter(|bytes| bytes.ends_with(b"\n"))
    })?;
    ensure(raw == b"a\xff\x80b\x1b[2Jc\n", || format!("the log holds {raw:?}"))?;
    wait("the limit in the log", || {
        std::fs::read(elsewhere.join("few_1.log")).ok().filter(|bytes| bytes == b"17\n")
    })?;
    // What was right when it was checked may be gone when it is started.
    std::fs::remove_dir(&folder).map_err(|error| error.to_string())?;
    workspace.ok(&["start", "vanishes"])?;
    let row = workspace.wait_runner("vanishes", "given up", |row| row["status"] == "crashed")?;
    ensure(row["verdict"] == "spawn_failed", || format!("{row}"))?;
    let why = workspace.ok(&["why", "vanishes"])?;
    ensure(why.contains("sealed"), || format!("why does not name the folder: {why}"))?;
    workspace.ok(&["down"])?;

    let mut broken = runners(&[("x", json!({ "command": [script.display().to_string()] }))]);
    broken["runners"]["y"] = json!({ "command": ["true", "x".repeat(10 << 20)] });
    workspace.configure(&broken);
    let output = workspace.run(&["check"]);
    let text =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    ensure(output.status.code() == Some(2), || format!("check ended with {}", output.status))?;
    ensure(text.contains("/no/such/interpreter"), || "the missing interpreter is not named".into())?;
    ensure(text.contains("runners.y.command"), || "the 10 MB command line is not refused".into())?;
    ensure(text.len() < 20_000, || {
        format!("the message about a long command line is {} bytes long", text.len())
    })?;
    few_descriptors()
}

/// With the limit of open files reached, new work waits without spending retries, what lives can be ended, and what
/// waits goes on once there are descriptors again.
fn few_descriptors() -> Outcome {
    const ALL: usize = 80;
    // Each pipe costs the keeper a descriptor for as long as its attempt lives.
    let specs: Vec<(String, _)> = (0..ALL)
        .map(|index| (format!("pipe-{index:02}"), json!({ "command": ["sleep", "100000"], "stdio": "pipe" })))
        .collect();
    let specs: Vec<_> = specs.iter().map(|(name, spec)| (name.as_str(), spec.clone())).collect();
    let workspace = Workspace::new(&runners(&specs));
    let plain = workspace.command(&["up", "--detach"]);
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -n 64; exec \"$@\"", "sh"]).arg(plain.get_program()).args(plain.get_args());
    for (name, value) in plain.get_envs() {
        limited.env(name, value.unwrap_or_default());
    }
    let output = limited.current_dir(workspace.path("")).output().map_err(|error| error.to_string())?;
    ensure(output.status.success(), || String::from_utf8_lossy(&output.stderr).into_owned())?;
    let count =
        |rows: &[serde_json::Value], status: &str| rows.iter().filter(|row| row["status"] == status).count();
    let reached = |least: usize| {
        wait("the limit is reached", || {
            let rows = workspace.status().ok()?;
            let settled = rows.iter().all(|row| row["status"] == "running" || row["status"] == "backoff");
            (settled && count(&rows, "running") >= least).then_some(rows)
        })
    };
    let rows = reached(10)?;
    let (run, waiting) = (count(&rows, "running"), count(&rows, "backoff"));
    ensure(waiting >= 10, || format!("{run} run and {waiting} wait of {ALL} with 64 descriptors"))?;
    let spent = rows.iter().any(|row| row["retry_count"] != 0);
    ensure(!spent, || format!("a retry was spent on missing descriptors: {rows:?}"))?;
    let named = |status: &str| -> Vec<String> {
        let of = rows.iter().filter(|row| row["status"] == status);
        of.filter_map(|row| row["name"].as_str().map(str::to_owned)).collect()
    };
    let why = workspace.ok(&["why", &named("backoff")[0]])?;
    ensure(why.contains("Too many open files"), || format!("why does not name the limit: {why}"))?;
    let first: Vec<String> = named("running").into_iter().take(8).collect();
    let mut stop = vec!["stop"];
    stop.extend(first.iter().map(String::as_str));
    workspace.ok(&stop)?;
    for name in &first {
        workspace.wait_runner(name, "stopped at the limit", |row| row["status"] == "stopped")?;
    }
    let instead = wait("others run instead", || {
        let others = (count(&workspace.status().ok()?, "running") + first.len()).checked_sub(run)?;
        // A descriptor or two are kept ready for the next start.
        (others >= first.len() / 2).then_some(others)
    })?;
    workspace.ok(&["down"])?;
    Ok(vec![format!(
        "64 descriptors: {run} of {ALL} run, {waiting} wait, no retry spent; {} stopped, {instead} others run",
        first.len()
    )])
}
