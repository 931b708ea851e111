//! A Redis of the demo's own: started on a free port of this machine, ended with the demo, leaving no file behind.

use std::env;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use synapse::redis::{RedisParts, RedisSettings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::{Instant, sleep, timeout};

/// A running Redis. It ends when this is stopped or dropped, and also when the process dies in whatever way.
pub(crate) struct LocalRedis {
    port: u16,
    /// Redis ends when this is closed.
    lifeline: ChildStdin,
    keeper: Child,
}

/// Starts Redis and ends exactly that process when its own input ends, which the kernel sees to even when the demo is killed.
const KEEPER: &str = r#"
folder=$1; shift
"$@" </dev/null >/dev/null 2>&1 &
child=$!
read -r _
kill "$child" 2>/dev/null
wait "$child"
rmdir "$folder" 2>/dev/null
"#;

const START_WAIT: Duration = Duration::from_secs(5);
const START_LOOK: Duration = Duration::from_millis(20);
const STOP_WAIT: Duration = Duration::from_secs(3);

impl LocalRedis {
    /// Starts `program` and waits until it answers.
    pub(crate) async fn start(program: &Path) -> io::Result<Self> {
        // The port is free at this moment; should someone else take it, Redis ends and the wait below fails.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port();
        let folder = env::temp_dir().join(format!("synapse-demo-{}-{port}", std::process::id()));
        fs::create_dir(&folder)?;
        let mut command = Command::new("sh");
        command.args(["-c", KEEPER, "sh"]).arg(&folder).arg(program);
        command.args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--protected-mode",
            "yes",
        ]);
        command
            .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
            .arg("--dir")
            .arg(&folder);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // A Ctrl-C in the terminal goes to its whole group of processes; Redis has to outlive the servers that say goodbye through it.
        #[cfg(unix)]
        command.process_group(0);
        let mut keeper = command.spawn()?;
        let lifeline = keeper
            .stdin
            .take()
            .expect("the input was asked to be a pipe");
        let redis = Self {
            port,
            lifeline,
            keeper,
        };
        let deadline = Instant::now() + START_WAIT;
        while !redis.answers().await {
            if Instant::now() >= deadline {
                redis.stop().await;
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "it did not answer in time",
                ));
            }
            sleep(START_LOOK).await;
        }
        Ok(redis)
    }

    /// How to reach it.
    pub(crate) fn settings(&self) -> RedisSettings {
        let parts = RedisParts {
            host: Ipv4Addr::LOCALHOST.to_string(),
            port: Some(self.port),
            ..RedisParts::default()
        };
        RedisSettings::from_parts(parts).expect("a loopback address and a port are valid settings")
    }

    /// Ends it and waits until it is gone.
    pub(crate) async fn stop(mut self) {
        drop(self.lifeline);
        if timeout(STOP_WAIT, self.keeper.wait()).await.is_err() {
            tracing::warn!(port = self.port, "the demo's Redis takes its time to end");
        }
    }

    async fn answers(&self) -> bool {
        let ask = async {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await?;
            stream.write_all(b"PING\r\n").await?;
            let mut answer = [0; 5];
            stream.read_exact(&mut answer).await?;
            io::Result::Ok(answer)
        };
        timeout(Duration::from_millis(500), ask)
            .await
            .is_ok_and(|answer| answer.is_ok_and(|answer| answer == *b"+PONG"))
    }
}

/// The first `redis-server` of the PATH.
pub(crate) fn find() -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|folder| folder.join("redis-server"))
        .find(|program| is_program(program))
}

fn is_program(path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::metadata(path)
            .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    }
    // Where there is no `sh`, there is no demo of this kind.
    #[cfg(not(unix))]
    {
        let _ = path;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_answers_and_leaves_nothing_behind() {
        let Some(program) = find() else {
            assert!(env::var_os("PATH").is_none_or(|path| {
                env::split_paths(&path).all(|folder| !folder.join("redis-server").exists())
            }));
            return;
        };
        let redis = LocalRedis::start(&program).await.unwrap();
        assert!(redis.settings().address().starts_with("127.0.0.1:"));
        let (port, folder) = (
            redis.port,
            env::temp_dir().join(format!(
                "synapse-demo-{}-{}",
                std::process::id(),
                redis.port
            )),
        );
        assert!(folder.exists());
        redis.stop().await;
        assert!(!folder.exists());
        assert!(
            TcpStream::connect((Ipv4Addr::LOCALHOST, port))
                .await
                .is_err()
        );
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_program_that_is_no_redis_is_given_up() {
        let started = Instant::now();
        let error = LocalRedis::start(Path::new("/bin/true"))
            .await
            .err()
            .unwrap();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(started.elapsed() < START_WAIT + STOP_WAIT);
    }
}
