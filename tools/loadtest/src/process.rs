//! What processes cost: CPU time and memory, as the kernel counts them.

use std::fs;
use std::time::Duration;

use serde::Serialize;

use crate::error::LoadError;

/// CPU time of one process since it began. The kernel reports it in clock ticks, commonly of 10 ms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CpuTime {
    pub(crate) user: Duration,
    pub(crate) system: Duration,
}

impl CpuTime {
    /// CPU time of a process, all its threads together.
    pub(crate) fn of(pid: u32) -> Result<Self, LoadError> {
        let stat = read(pid, "stat")?;
        let hertz = rustix::param::clock_ticks_per_second();
        Self::parse(&stat, hertz).ok_or(LoadError::ProcessFormat { pid, file: "stat" })
    }

    fn parse(stat: &str, hertz: u64) -> Option<Self> {
        // The name in parentheses may itself hold parentheses and spaces.
        let (_, behind_name) = stat.rsplit_once(')')?;
        let mut fields = behind_name.split_ascii_whitespace();
        let mut duration = |skipped| {
            let ticks: u64 = fields.nth(skipped)?.parse().ok()?;
            Some(Duration::from_nanos(
                ticks.checked_mul(1_000_000_000 / hertz)?,
            ))
        };
        Some(Self {
            user: duration(11)?,
            system: duration(0)?,
        })
    }
}

/// CPU of one process for a number of operations.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct CpuUse {
    pub(crate) pid: u32,
    pub(crate) name: String,
    /// Microseconds in the process's own code for each operation.
    pub(crate) user_micros: f64,
    /// Microseconds in the kernel for each operation.
    pub(crate) system_micros: f64,
}

impl CpuUse {
    /// Both parts together.
    pub(crate) fn micros(&self) -> f64 {
        self.user_micros + self.system_micros
    }
}

/// The CPU time of several processes, read at one moment.
pub(crate) struct CpuClock {
    started: Vec<(u32, CpuTime)>,
}

impl CpuClock {
    /// Starts for these processes and our own, which comes last.
    pub(crate) fn start(pids: &[u32]) -> Result<Self, LoadError> {
        let own = std::process::id();
        let started = pids
            .iter()
            .chain([&own])
            .map(|pid| Ok((*pid, CpuTime::of(*pid)?)));
        Ok(Self {
            started: started.collect::<Result<_, LoadError>>()?,
        })
    }

    /// What each process used since the start for one of so many operations: those that were named, and our own.
    pub(crate) fn stop(&self, operations: u64) -> Result<(Vec<CpuUse>, CpuUse), LoadError> {
        let mut uses = Vec::with_capacity(self.started.len());
        for (pid, started) in &self.started {
            let cpu = CpuTime::of(*pid)?;
            let each = |now: Duration, then: Duration| {
                now.saturating_sub(then).as_secs_f64() * 1e6 / operations.max(1) as f64
            };
            uses.push(CpuUse {
                pid: *pid,
                name: read(*pid, "comm")?.trim_end().to_owned(),
                user_micros: each(cpu.user, started.user),
                system_micros: each(cpu.system, started.system),
            });
        }
        let own = uses.pop().expect("our own process is always among them");
        Ok((uses, own))
    }
}

/// Resident memory of a process in bytes.
pub(crate) fn resident_bytes(pid: u32) -> Result<u64, LoadError> {
    let rollup = read(pid, "smaps_rollup")?;
    kilobytes(&rollup, "Rss:").ok_or(LoadError::ProcessFormat {
        pid,
        file: "smaps_rollup",
    })
}

/// What the kernel holds for all of the machine's sockets and other objects, where it says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KernelMemory {
    pub(crate) slab_bytes: u64,
    pub(crate) socket_buffer_bytes: u64,
}

impl KernelMemory {
    /// What is held at this moment; `None` where it cannot be read.
    pub(crate) fn read() -> Option<Self> {
        let slab_bytes = kilobytes(&fs::read_to_string("/proc/meminfo").ok()?, "Slab:")?;
        let pages = tcp_pages(&fs::read_to_string("/proc/net/sockstat").ok()?)?;
        Some(Self {
            slab_bytes,
            socket_buffer_bytes: pages * rustix::param::page_size() as u64,
        })
    }
}

fn read(pid: u32, file: &'static str) -> Result<String, LoadError> {
    fs::read_to_string(format!("/proc/{pid}/{file}"))
        .map_err(|error| LoadError::Process { pid, error })
}

/// The figure behind a label such as `Rss:`, which the kernel writes in kB, in bytes.
fn kilobytes(text: &str, label: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(label))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kilobytes.checked_mul(1024)
}

/// Pages of all TCP buffers: the number behind `mem` in the line that begins with `TCP:`.
fn tcp_pages(sockstat: &str) -> Option<u64> {
    let line = sockstat
        .lines()
        .find_map(|line| line.strip_prefix("TCP:"))?;
    let mut words = line.split_ascii_whitespace();
    words.find(|word| *word == "mem")?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_any_name() {
        for name in ["synapse", "a b", "x) (y", ")"] {
            let stat = format!(
                "42 ({name}) S 1 42 42 0 -1 4194560 1 2 3 4 150 25 0 0 20 0 1 0 100 1000 10"
            );
            let expect = CpuTime {
                user: Duration::from_millis(1500),
                system: Duration::from_millis(250),
            };
            assert_eq!(CpuTime::parse(&stat, 100), Some(expect), "{name}");
        }
        assert_eq!(CpuTime::parse("42 (short) S 1", 100), None);
    }

    #[test]
    fn own_process_can_be_read() {
        let pid = std::process::id();
        assert!(resident_bytes(pid).unwrap() > 100_000);
        let (others, own) = CpuClock::start(&[pid]).unwrap().stop(1).unwrap();
        assert_eq!((others.len(), own.pid), (1, pid));
    }

    #[test]
    fn kernel_figures_are_found() {
        assert_eq!(
            kilobytes("MemFree:  7 kB\nSlab:    12 kB\n", "Slab:"),
            Some(12_288)
        );
        assert_eq!(kilobytes("Slab: 12", "Slab:"), None);
        let sockstat =
            "sockets: used 9\nTCP: inuse 5 orphan 0 tw 0 alloc 7 mem 3\nUDP: inuse 1 mem 8\n";
        assert_eq!(tcp_pages(sockstat), Some(3));
        assert_eq!(tcp_pages("TCP: inuse 5"), None);
    }
}
