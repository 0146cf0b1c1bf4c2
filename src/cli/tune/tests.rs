use std::fs;

use corelog_shards::runtime::StartError;
use nix::errno::Errno;

use super::disk::device_of;
use super::*;
use crate::cli::HostError;

/// A host with these files of the kernel's.
fn host(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a temporary folder");
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("it is made");
        fs::write(path, text).expect("it is written");
    }
    root
}

fn verdict(files: &[(&str, &str)], of: fn(&Host) -> Finding) -> Verdict {
    let root = host(files);
    of(&Host {
        root: root.path().to_owned(),
        process: SELF.to_owned(),
    })
    .verdict
}

#[test]
fn what_the_start_refuses_is_missing_and_what_it_cannot_try_is_unknown() {
    let fine = needed("io_uring", Ok::<(), StartError>(()));
    assert_eq!(fine.verdict, Verdict::Fine);
    let forbidden = needed("io_uring", Err(StartError::IoUringForbidden));
    assert_eq!(forbidden.verdict, Verdict::Needed);
    assert_eq!(forbidden.found, "io_uring is forbidden here");
    assert!(forbidden.remedy.contains("seccomp"), "{forbidden:?}");

    let of = |source: io::Error| {
        let folder = PathBuf::from("/data");
        direct_io(Err(HostError::NoDirectIo { folder, source })).verdict
    };
    assert_eq!(of(Errno::EINVAL.into()), Verdict::Needed);
    assert_eq!(of(Errno::ENOENT.into()), Verdict::Unknown);
    assert_eq!(of(Errno::EACCES.into()), Verdict::Unknown);
    assert_eq!(direct_io(Ok(())).verdict, Verdict::Fine);
}

#[test]
fn the_hard_limit_of_open_files_counts() {
    let limits = |hard| format!("Limit  Soft Hard Units\nMax open files  1024 {hard} files\n");
    let of = |hard| verdict(&[("proc/self/limits", &limits(hard))], Host::open_files);
    assert_eq!(of("4096"), Verdict::Advice);
    assert_eq!(of("65536"), Verdict::Fine);
    assert_eq!(of("unlimited"), Verdict::Fine);
    assert_eq!(verdict(&[], Host::open_files), Verdict::Unknown);
}

#[test]
fn a_quota_is_found_in_the_process_own_group_and_in_those_above() {
    let own = ("proc/self/cgroup", "1:name=systemd:/x\n0::/pod/broker\n");
    let version_2 = ("sys/fs/cgroup/cgroup.controllers", "cpu io\n");
    let of = |above, quota| {
        let files = [
            own,
            version_2,
            ("sys/fs/cgroup/pod/cpu.max", above),
            ("sys/fs/cgroup/pod/broker/cpu.max", quota),
        ];
        verdict(&files, Host::cpu_quota)
    };
    assert_eq!(of("max 100000", "max 100000"), Verdict::Fine);
    assert_eq!(of("max 100000", "150000 100000"), Verdict::Advice);
    assert_eq!(of("150000 100000", "max 100000"), Verdict::Advice);
    // Of a container with a view of its own.
    let rooted = [
        ("proc/self/cgroup", "0::/\n"),
        version_2,
        ("sys/fs/cgroup/cpu.max", "150000 100000"),
    ];
    assert_eq!(verdict(&rooted, Host::cpu_quota), Verdict::Advice);
    // Of version 1, whose group may be seen as the first one of a container.
    let own = ("proc/self/cgroup", "4:cpu,cpuacct:/broker\n0::/\n");
    assert_eq!(verdict(&[own], Host::cpu_quota), Verdict::Unknown);
    let of = |quota, group: &str| {
        let file = |name| format!("sys/fs/cgroup/cpu/{group}cpu.cfs_{name}_us");
        let (quota_file, period_file) = (file("quota"), file("period"));
        let files = [own, (&*quota_file, quota), (&*period_file, "100000\n")];
        verdict(&files, Host::cpu_quota)
    };
    for group in ["", "broker/"] {
        assert_eq!(of("-1\n", group), Verdict::Fine);
        assert_eq!(of("150000\n", group), Verdict::Advice);
    }
}

#[test]
fn memory_is_bounded_by_the_least_of_the_groups() {
    let max = |files: &[(&str, &str)]| {
        let root = host(files);
        memory_max(root.path(), SELF)
    };
    let own = ("proc/self/cgroup", "4:memory:/pod/broker\n0::/pod/broker\n");
    let version_2 = [
        own,
        ("sys/fs/cgroup/cgroup.controllers", "memory\n"),
        ("sys/fs/cgroup/pod/memory.max", "4096\n"),
        ("sys/fs/cgroup/pod/broker/memory.max", "max\n"),
    ];
    assert_eq!(max(&version_2), Some(4096));
    let version_1 = [
        own,
        (
            "sys/fs/cgroup/memory/memory.limit_in_bytes",
            "9223372036854771712\n",
        ),
        ("sys/fs/cgroup/memory/pod/memory.limit_in_bytes", "8192\n"),
    ];
    assert_eq!(max(&version_1), Some(8192));
    assert_eq!(max(&[own]), None);
}

#[test]
fn clocks_that_need_no_system_call_are_fine() {
    let file = "sys/devices/system/clocksource/clocksource0/current_clocksource";
    let of = |clock| verdict(&[(file, clock)], Host::clock);
    assert_eq!(of("tsc\n"), Verdict::Fine);
    assert_eq!(of("hyperv_clocksource_tsc_page\n"), Verdict::Fine);
    assert_eq!(of("hpet\n"), Verdict::Advice);
}

#[test]
fn stolen_time_is_a_part_of_all_time() {
    let of = |line| verdict(&[("proc/stat", line)], Host::steal);
    assert_eq!(of("cpu 500 0 300 9000 0 0 0 50 0 0\n"), Verdict::Fine);
    assert_eq!(of("cpu 500 0 300 9000 0 0 0 500 0 0\n"), Verdict::Advice);
    assert_eq!(of(""), Verdict::Unknown);
}

#[test]
fn swap_matters_where_there_is_some() {
    let header = "Filename Type Size Used Priority\n";
    let with = format!("{header}/swap file 1 0 -2\n");
    let swappiness = |value| ("proc/sys/vm/swappiness", value);
    let of = |swaps: &str, value| verdict(&[("proc/swaps", swaps), swappiness(value)], Host::swap);
    assert_eq!(of(header, "60"), Verdict::Fine);
    assert_eq!(of(&with, "60"), Verdict::Advice);
    assert_eq!(of(&with, "1"), Verdict::Fine);
}

#[test]
fn the_disk_is_that_of_the_folder() {
    let root = host(&[]);
    let data = root.path().join("my data");
    fs::create_dir_all(&data).expect("it is made");
    let device = device_of(&data);
    let point = fs::canonicalize(&data).expect("it is there");
    let mounts = format!(
        "/dev/a / btrfs rw 0 0\n/dev/b {} ext4 rw,discard 0 0\n",
        point.display().to_string().replace(' ', "\\040")
    );
    let queue = format!("sys/dev/block/{device}/queue");
    for (path, text) in [
        ("proc/self/mounts".to_owned(), mounts.as_str()),
        (format!("{queue}/scheduler"), "none mq-deadline [bfq]\n"),
        (format!("{queue}/write_cache"), "write back\n"),
    ] {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("it is made");
        fs::write(path, text).expect("it is written");
    }
    let findings = Host {
        root: root.path().to_owned(),
        process: SELF.to_owned(),
    }
    .disk(&data);
    let found: Vec<_> = findings
        .iter()
        .map(|one| (one.found.split(':').next().unwrap_or_default(), one.verdict))
        .collect();
    assert_eq!(
        found,
        [
            ("ext4", Verdict::Fine),
            ("on", Verdict::Advice),
            ("bfq", Verdict::Advice),
            ("write back", Verdict::Fine),
        ]
    );
}

#[test]
fn every_finding_that_is_not_fine_says_what_to_do() {
    let root = host(&[("proc/sys/net/core/somaxconn", "128")]);
    let findings = look(root.path(), SELF, Path::new("/"));
    let mut out = Vec::new();
    print(&findings, &mut out).expect("memory takes it");
    let text = String::from_utf8(out).expect("text");
    assert!(text.contains("improve  net.core.somaxconn: 128\n         clients"));
    for finding in findings {
        let is_bad = matches!(finding.verdict, Verdict::Advice | Verdict::Needed);
        assert_eq!(is_bad, !finding.remedy.is_empty(), "{finding:?}");
    }
}
