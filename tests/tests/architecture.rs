//! The rules of ARCHITECTURE.md that a machine can check.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::repository;

/// Of all functions, at most this share may be longer than [`FUNCTION_LINES_MAX`].
const LONG_FUNCTIONS_PER_100: f64 = 2.0;
/// See [`LONG_FUNCTIONS_PER_100`].
const FUNCTION_LINES_MAX: usize = 70;

/// The crates that `package` is built from.
fn dependencies(package: &str) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--locked",
            "--offline",
            "-e",
            "normal",
            "--prefix",
            "none",
            "-p",
            package,
        ])
        .current_dir(repository(""))
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).expect("crate names are text");
    text.lines()
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned)
        .collect()
}

/// The Rust sources below a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[test]
fn proto_does_no_io_and_names_no_runtime() {
    let crates = dependencies("lattice-proto");
    for banned in ["tokio", "async-nats", "wasmtime", "hyper"] {
        assert!(!crates.contains(banned), "proto depends on {banned}");
    }
}

#[test]
fn the_controller_knows_no_wasmtime_and_no_host() {
    let crates = dependencies("lattice-wadm");
    let wrong: Vec<_> = crates
        .iter()
        .filter(|name| name.starts_with("wasmtime") || *name == "lattice-host")
        .collect();
    assert!(wrong.is_empty(), "wadm depends on {wrong:?}");
}

#[test]
fn the_host_knows_nothing_of_the_controller() {
    assert!(!dependencies("lattice-host").contains("lattice-wadm"));
}

#[test]
fn one_tls_provider_is_in_the_whole_tree() {
    let crates = dependencies("lattice-wash");
    assert!(crates.contains("ring"));
    assert!(
        !crates.contains("aws-lc-rs"),
        "two providers panic at run time"
    );
}

#[test]
fn wire_strings_are_spelled_in_proto_only() {
    let mut wrong = Vec::new();
    for part in ["host/src", "wadm/src", "wash/src"] {
        let is_test = |file: &PathBuf| {
            file.iter()
                .any(|part| part == "tests" || part == "tests.rs")
        };
        for file in sources(&repository(part)).into_iter().filter(|file| {
            !is_test(
                &file
                    .strip_prefix(repository(part))
                    .map_or_else(|_| file.clone(), Path::to_path_buf),
            )
        }) {
            let text = std::fs::read_to_string(&file).expect("a source is text");
            for (index, line) in text.lines().enumerate() {
                let code = line.split("//").next().unwrap_or_default();
                let spelled = [
                    "\"wasmbus.",
                    "\"wadm.api",
                    "\"wadm.evt",
                    "\"wadm.status",
                    "LATTICEDATA_",
                    "CONFIGDATA_",
                ]
                .iter()
                .any(|wire| code.contains(wire));
                if spelled {
                    wrong.push(format!("{}:{}: {}", file.display(), index + 1, line.trim()));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "wire strings outside proto:\n{}",
        wrong.join("\n")
    );
}

/// The lengths of the functions of a formatted source: from `fn` to the brace in its column.
fn functions(text: &str) -> Vec<(usize, String)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let indent = line.len() - code.len();
        let mut words = code.split(' ').take_while(|word| !word.contains('('));
        let is_function = code
            .split('(')
            .next()
            .is_some_and(|head| head.split(' ').any(|word| word == "fn"))
            && !code.starts_with("//")
            && words.next().is_some();
        if !is_function {
            continue;
        }
        let end = lines[start..].iter().position(|line| {
            line.len() >= indent
                && line[..indent].trim().is_empty()
                && line[indent..].starts_with('}')
        });
        let signature_ends = lines[start..]
            .iter()
            .position(|line| line.ends_with(['{', ';', '}']));
        if let (Some(end), Some(opened)) = (end, signature_ends)
            && lines[start + opened].ends_with('{')
        {
            found.push((end + 1, code.chars().take(60).collect()));
        }
    }
    found
}

#[test]
fn functions_are_short() {
    let mut all = 0_u32;
    let mut long = Vec::new();
    for part in ["proto/src", "host/src", "wadm/src", "wash/src", "tests/src"] {
        for file in sources(&repository(part)) {
            let text = std::fs::read_to_string(&file).expect("a source is text");
            for (lines, head) in functions(&text) {
                all += 1;
                if lines > FUNCTION_LINES_MAX {
                    long.push(format!("{lines} lines: {}: {head}", file.display()));
                }
            }
        }
    }
    let share = 100.0 * long.len() as f64 / f64::from(all.max(1));
    assert!(
        all > 100,
        "found only {all} functions: does the counting still work?"
    );
    assert!(
        share < LONG_FUNCTIONS_PER_100,
        "{share:.1} in 100 of {all}:\n{}",
        long.join("\n")
    );
}

#[test]
fn the_project_does_not_name_the_machine_it_is_built_on() {
    let top = repository("")
        .canonicalize()
        .expect("the repository is there");
    let home = std::env::var("HOME").unwrap_or_default();
    let mut command = Command::new("git");
    command.args(["grep", "-nF"]).current_dir(&top);
    command.args(["-e", &format!("{}/", top.display())]);
    if home.len() > 1 {
        command.args(["-e", &format!("{home}/")]);
    }
    let output = command.output().expect("git runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.is_empty(), "paths of one machine:\n{text}");
}
