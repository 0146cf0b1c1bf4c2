//! The clients, installed into a cache folder under the target folder, from the package registries by their ordinary
//! tools. A client that was installed from the same inputs (pinned versions, sources) is used as it is.
//!
//! Every function answers `Missing` instead of failing, so that a machine without Java still runs the Python suites.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::tally::Missing;

pub struct Java {
    /// Kafka's artifacts with all they depend on, and the compiled suites.
    pub classpath: String,
}

/// This folder, with the suites' sources.
pub fn sources() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients"))
}

/// Programs of Debian packages: found if present, installed if that is allowed.
pub fn debian(program: &'static str, package: &'static str) -> Result<(), Missing> {
    static INSTALLING: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let missing = |reason: String| Missing {
        toolchain: package,
        reason,
        installed_by_ci: true,
    };
    let _one_at_a_time = INSTALLING.lock().expect("no install panics");
    if has(program) {
        return Ok(());
    }
    if !nix::unistd::geteuid().is_root() {
        return Err(missing(format!("not installed; apt-get install {package}")));
    }
    run("apt-get", &["update", "-qq"], Path::new("/")).map_err(missing)?;
    run(
        "apt-get",
        &["install", "-y", "-qq", "--no-install-recommends", package],
        Path::new("/"),
    )
    .map_err(missing)
}

/// Any Python, for suites that need no package.
pub fn any_python() -> Result<PathBuf, Missing> {
    if has("python3") {
        Ok("python3".into())
    } else {
        Err(because("Python")("no python3".to_owned()))
    }
}

/// The interpreter of a virtual environment with the three Python clients.
pub fn python() -> Result<PathBuf, Missing> {
    static READY: OnceLock<Result<PathBuf, Missing>> = OnceLock::new();
    READY
        .get_or_init(|| {
            let requirements = sources().join("python/requirements.txt");
            let folder = cached("python", &[&requirements], |folder| {
                run("python3", &["-m", "venv", "."], folder)?;
                let pip = [
                    "-m",
                    "pip",
                    "install",
                    "--quiet",
                    "--no-input",
                    "-r",
                    text(&requirements),
                ];
                run(text(&folder.join("bin/python")), &pip, folder)
            });
            folder
                .map(|f| f.join("bin/python"))
                .map_err(because("Python"))
        })
        .clone()
}

/// The folder `node_modules` with kafkajs.
pub fn node() -> Result<PathBuf, Missing> {
    static READY: OnceLock<Result<PathBuf, Missing>> = OnceLock::new();
    READY
        .get_or_init(|| {
            let inputs =
                ["package.json", "package-lock.json"].map(|f| sources().join("node").join(f));
            let folder = cached("node", &[&inputs[0], &inputs[1]], |folder| {
                for input in &inputs {
                    let name = input.file_name().expect("a file");
                    fs::copy(input, folder.join(name)).map_err(|e| e.to_string())?;
                }
                run("node", &["--version"], folder)?;
                run(
                    "npm",
                    &[
                        "ci",
                        "--ignore-scripts",
                        "--no-audit",
                        "--no-fund",
                        "--loglevel=error",
                    ],
                    folder,
                )
            });
            folder
                .map(|f| f.join("node_modules"))
                .map_err(because("Node.js"))
        })
        .clone()
}

/// Apache Kafka's own clients, tools and broker, and the suites in Java.
pub fn java() -> Result<&'static Java, Missing> {
    static READY: OnceLock<Result<Java, Missing>> = OnceLock::new();
    READY
        .get_or_init(|| install_java().map_err(because("Java with Maven")))
        .as_ref()
        .map_err(Missing::clone)
}

fn install_java() -> Result<Java, String> {
    let pom = sources().join("java/pom.xml");
    let artifacts = cached("java", &[&pom], |folder| {
        let output = format!(
            "-Dmdep.outputFile={}",
            folder.join("classpath.txt").display()
        );
        run(
            "mvn",
            &[
                "-q",
                "-B",
                "-f",
                text(&pom),
                "dependency:build-classpath",
                &output,
            ],
            folder,
        )
    })?;
    let artifacts =
        fs::read_to_string(artifacts.join("classpath.txt")).map_err(|e| e.to_string())?;
    if let Some(gone) = artifacts
        .trim()
        .split(':')
        .find(|jar| !Path::new(jar).exists())
    {
        forget("java");
        return Err(format!("{gone} has gone; the next run fetches it again"));
    }
    let mut inputs: Vec<PathBuf> = fs::read_dir(sources().join("java"))
        .and_then(|files| files.map(|file| Ok(file?.path())).collect::<Result<_, _>>())
        .map_err(|e: std::io::Error| e.to_string())?;
    inputs.retain(|file| file.extension().is_some_and(|e| e == "java"));
    inputs.sort();
    let inputs: Vec<&Path> = std::iter::once(&pom)
        .chain(&inputs)
        .map(PathBuf::as_path)
        .collect();
    let classes = cached("java-classes", &inputs, |folder| {
        let mut arguments = vec![
            "-Xlint:all,-serial",
            "-Werror",
            "-proc:none",
            "-d",
            ".",
            "-cp",
            artifacts.trim(),
        ];
        arguments.extend(inputs[1..].iter().map(|source| text(source)));
        run("javac", &arguments, folder)
    })?;
    Ok(Java {
        classpath: format!("{}:{}", classes.display(), artifacts.trim()),
    })
}

/// The program with franz-go. CI doesn't install Go, so that its absence is a skip there too.
pub fn go() -> Result<PathBuf, Missing> {
    static READY: OnceLock<Result<PathBuf, Missing>> = OnceLock::new();
    READY
        .get_or_init(|| {
            let source = sources().join("go");
            let inputs = ["go.mod", "go.sum", "main.go"].map(|f| source.join(f));
            let folder = cached("go", &[&inputs[0], &inputs[1], &inputs[2]], |folder| {
                let program = folder.join("suite");
                run(
                    "go",
                    &[
                        "build",
                        "-mod=readonly",
                        "-buildvcs=false",
                        "-o",
                        text(&program),
                        ".",
                    ],
                    &source,
                )
            });
            folder.map(|f| f.join("suite")).map_err(|reason| Missing {
                toolchain: "Go",
                reason,
                installed_by_ci: false,
            })
        })
        .clone()
}

fn because(toolchain: &'static str) -> impl Fn(String) -> Missing {
    move |reason| Missing {
        toolchain,
        reason,
        installed_by_ci: true,
    }
}

/// The King James Bible, whose copyright has expired (it was made in 1611): 31,102 verses, a line each, beginning with its
/// reference. Debian ships it with a program that prints it.
pub fn public_domain_text() -> Result<PathBuf, Missing> {
    debian("bible", "bible-kjv")?;
    let missing = |reason| Missing {
        toolchain: "bible-kjv",
        reason,
        installed_by_ci: true,
    };
    let path = cache().join("king-james-bible.txt");
    let printed = Command::new("bible")
        .args(["-f", "-l9999", "Gen1:1-Rev22:21"])
        .stdin(Stdio::null())
        .output()
        .map_err(|e| missing(e.to_string()))?;
    if printed.stdout.iter().filter(|b| **b == b'\n').count() != 31_102 {
        return Err(missing(
            String::from_utf8_lossy(&printed.stderr).into_owned(),
        ));
    }
    fs::write(&path, printed.stdout).map_err(|e| missing(e.to_string()))?;
    Ok(path)
}

/// Where clients, their data and the suites' output are kept between runs.
pub fn cache() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients");
    fs::create_dir_all(&folder).expect("the cache folder");
    folder
}

/// A folder of the cache that `install` fills. A stamp with the content of the inputs is written last, so that a
/// half-finished install is begun anew.
fn cached(
    name: &str,
    inputs: &[&Path],
    install: impl FnOnce(&Path) -> Result<(), String>,
) -> Result<PathBuf, String> {
    let folder = cache().join(name);
    let mut wanted = String::new();
    for input in inputs {
        wanted += &fs::read_to_string(input).map_err(|e| format!("{}: {e}", input.display()))?;
    }
    let stamp = folder.join("installed-from");
    if fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(folder);
    }
    forget(name);
    fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
    install(&folder)?;
    fs::write(stamp, wanted).map_err(|e| e.to_string())?;
    Ok(folder)
}

fn forget(name: &str) {
    // What isn't there needs no removal; what can't be removed shows when it is made anew.
    let _ = fs::remove_dir_all(cache().join(name));
}

fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn run(program: &str, arguments: &[&str], folder: &Path) -> Result<(), String> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("GOTOOLCHAIN", "local")
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("{program}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(format!(
        "{program} {}: {}\n{}",
        arguments[0],
        output.status,
        String::from_utf8_lossy(&said)
    ))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}
