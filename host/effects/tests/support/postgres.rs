//! A real PostgreSQL in a temporary directory, for one test. Uses nothing but the standard library and `tempfile`, so that other crates' tests can
//! include this file.

#![allow(clippy::print_stderr, reason = "a test that installs something says so")]

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Once;

/// Debian's `nobody` and `nogroup`: the server refuses to run as root.
const UNPRIVILEGED: u32 = 65_534;

/// A running server. It listens on loopback, trusts everybody, and is gone with its data when it is dropped.
pub struct Server {
    process: Child,
    binaries: PathBuf,
    folder: tempfile::TempDir,
    /// Where it listens on 127.0.0.1.
    pub port: u16,
}

impl Server {
    /// Starts one; returns when it accepts connections.
    pub fn start() -> Self {
        let binaries = binaries();
        let folder = tempfile::Builder::new().prefix("postgres-").tempdir().unwrap();
        let privileged = std::fs::metadata(folder.path()).unwrap().uid() == 0;
        if privileged {
            chown(folder.path(), Some(UNPRIVILEGED), Some(UNPRIVILEGED)).unwrap();
        }
        let data = folder.path().join("data");
        let made = command(&binaries, "initdb", privileged)
            .args(["--username=postgres", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C", "-D"])
            .arg(&data)
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        // Another program may take the port before the server does.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            if let Some(process) = run(&binaries, &folder, &data, port, privileged) {
                return Self { process, binaries, folder, port };
            }
        }
        panic!("PostgreSQL does not start");
    }

    /// Its URL for a database.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Executes statements.
    pub fn execute(&self, sql: &str) -> String {
        let output = Command::new(self.binaries.join("psql"))
            .args(["-qAtX", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", "postgres", "-p", &self.port.to_string()])
            .args(["-c", sql])
            .current_dir(self.folder.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // At once, with all its processes, and without leaving shared memory behind.
        let _ = Command::new("kill").args(["-QUIT", &self.process.id().to_string()]).status();
        let _ = self.process.wait();
    }
}

/// None when it ends before it accepts connections.
fn run(binaries: &Path, folder: &tempfile::TempDir, data: &Path, port: u16, privileged: bool) -> Option<Child> {
    let mut process = command(binaries, "postgres", privileged)
        .arg("-D")
        .arg(data)
        .args([
            "-p",
            &port.to_string(),
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "fsync=off",
            "-c",
            "max_connections=60",
        ])
        .arg("-c")
        .arg(format!("unix_socket_directories={}", folder.path().display()))
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
    let ready = lines.by_ref().map_while(Result::ok).any(|line| line.contains("ready to accept connections"));
    if !ready {
        let _ = process.wait();
        return None;
    }
    // What it says later is nobody's matter, but it must not wait to say it.
    std::thread::spawn(move || lines.count());
    Some(process)
}

fn command(binaries: &Path, name: &str, privileged: bool) -> Command {
    let mut command = Command::new(binaries.join(name));
    if privileged {
        command.uid(UNPRIVILEGED).gid(UNPRIVILEGED);
    }
    command
}

/// The folder of the newest installed version; installs Debian's package where there is none.
fn binaries() -> PathBuf {
    static INSTALL: Once = Once::new();
    if installed().is_none() {
        INSTALL.call_once(|| {
            eprintln!("PostgreSQL is not installed: apt-get install -y postgresql");
            let status = Command::new("apt-get")
                .args(["install", "-y", "--no-install-recommends", "postgresql"])
                .env("DEBIAN_FRONTEND", "noninteractive")
                .status();
            assert!(status.is_ok_and(|status| status.success()), "install PostgreSQL (package `postgresql`)");
        });
    }
    installed().expect("PostgreSQL is installed")
}

fn installed() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let debian = versions
        .filter_map(|version| Some((version.file_name().to_str()?.parse::<u32>().ok()?, version.path().join("bin"))))
        .filter(|(_, folder)| folder.join("initdb").is_file())
        .max();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = || std::env::split_paths(&path).find(|folder| folder.join("initdb").is_file());
    debian.map(|(_, folder)| folder).or_else(on_path)
}
