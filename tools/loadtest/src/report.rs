//! What reports have in common.

use std::fmt;

use crate::process::CpuUse;

/// Writes CPU lines of servers and of ourselves.
pub(crate) fn put_cpu(
    f: &mut fmt::Formatter<'_>,
    operation: &str,
    servers: &[CpuUse],
    own: &CpuUse,
) -> fmt::Result {
    let sum: f64 = servers.iter().map(CpuUse::micros).sum();
    let user: f64 = servers.iter().map(|cpu| cpu.user_micros).sum();
    if !servers.is_empty() {
        writeln!(
            f,
            "server CPU        {sum:.2} us for each {operation} (user {user:.2})"
        )?;
    }
    if servers.len() > 1 {
        for cpu in servers {
            writeln!(
                f,
                "                  {:.2} us (user {:.2}) {} {}",
                cpu.micros(),
                cpu.user_micros,
                cpu.name,
                cpu.pid
            )?;
        }
    }
    writeln!(
        f,
        "load test CPU     {:.2} us for each {operation} (user {:.2})",
        own.micros(),
        own.user_micros
    )
}
