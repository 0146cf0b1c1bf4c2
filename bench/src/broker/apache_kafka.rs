//! Apache Kafka from its Maven artifacts, with the flags its own start script gives it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The newest version whose artifacts are all published.
pub const VERSION: &str = "4.3.1";

/// Flags of `kafka-server-start.sh`.
const JVM_FLAGS: [&str; 8] = [
    "-Xms1G",
    "-Xmx1G",
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
];

/// The folder with Kafka's jars.
#[derive(Clone, Debug)]
pub struct Jars(PathBuf);

impl Jars {
    /// Resolves the artifacts into the build's target folder, unless they are there.
    pub fn resolve() -> Result<Self> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let target = std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| manifest.join("../target"), PathBuf::from);
        let jars = target.join(format!("apache-kafka-{VERSION}"));
        let complete = jars.join("complete");
        if !complete.exists() {
            eprintln!("Resolving Apache Kafka {VERSION} into {}", jars.display());
            let status = Command::new("mvn")
                .args(["-q", "-B", "-f"])
                .arg(manifest.join("apache-kafka/pom.xml"))
                .args(["dependency:copy-dependencies", "-DincludeScope=runtime"])
                .arg(format!("-DoutputDirectory={}", jars.display()))
                .arg(format!("-Dkafka.version={VERSION}"))
                .status()
                .context("starting mvn: the comparison needs Maven and Java 17")?;
            ensure!(
                status.success(),
                "Maven could not resolve Apache Kafka {VERSION}"
            );
            fs::write(complete, "")?;
        }
        Ok(Self(jars))
    }

    fn class_path(&self) -> String {
        format!("{}/*", self.0.display())
    }

    pub(super) fn broker_arguments(&self, properties: &Path) -> Vec<String> {
        let flags = JVM_FLAGS.iter().map(ToString::to_string);
        let class_path = [
            "-cp".into(),
            self.class_path(),
            "kafka.Kafka".into(),
            properties.display().to_string(),
        ];
        flags.chain(class_path).collect()
    }

    /// Formats the log directory for a node of its own.
    pub(super) fn format(&self, properties: &Path) -> Result<()> {
        let tool = |arguments: &[&str]| -> Result<String> {
            let output = Command::new("java")
                .args([
                    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
                    "-cp",
                    &self.class_path(),
                ])
                .arg("kafka.tools.StorageTool")
                .args(arguments)
                .output()
                .context("starting java: Apache Kafka needs Java 17")?;
            ensure!(
                output.status.success(),
                "Kafka's storage tool failed: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        };
        let id = tool(&["random-uuid"])?;
        tool(&[
            "format",
            "--standalone",
            "-t",
            &id,
            "-c",
            &properties.display().to_string(),
        ])?;
        Ok(())
    }
}
