//! What an operator may write: every setting with its flag, its variable, its default and its help, and the reader that finds
//! what was written. A flag wins over the variable; an empty variable counts as unset.

use std::collections::HashMap;
use std::ffi::OsString;

use clap::{Arg, ArgAction, Command};

/// One thing that can be set, by a flag or by a variable of the environment.
#[derive(Debug)]
pub(crate) struct Setting {
    /// The flag, with its dashes.
    pub(crate) flag: &'static str,
    /// The variable of the environment.
    pub(crate) variable: &'static str,
    /// What stands for the value in the help.
    pub(crate) value: &'static str,
    /// What holds when nothing is written, as the help says it.
    pub(crate) default: Option<&'static str>,
    /// One or two sentences for the help.
    pub(crate) help: &'static str,
    /// The heading it stands under in the help.
    heading: &'static str,
}

macro_rules! settings {
    ($($heading:literal { $($name:ident: $flag:literal $variable:literal $value:literal $default:expr, $help:literal;)* })*) => {
        $($(pub(crate) const $name: Setting =
            Setting { flag: $flag, variable: $variable, value: $value, default: $default, help: $help, heading: $heading };)*)*
        /// Every setting, in the order of the help.
        pub(crate) const ALL: &[&Setting] = &[$($(&$name,)*)*];
    };
}

settings! {
    "Listening" {
        PORT: "--port" "PORT" "NUMBER" Some("3000"), "Port to listen on; 0 takes a free one";
        HOST: "--host" "HOST" "ADDRESS" Some("0.0.0.0"), "Address or host name to listen on";
        CORS_ORIGIN: "--cors-origin" "CORS_ORIGIN" "LIST" Some("none named: foreign pages cannot poll"),
            "Origins whose pages may connect besides the server's own, separated by commas, such as https://app.example.com or https://*.example.com; * is any";
        TRUSTED_PROXIES: "--trusted-proxies" "SYNAPSE_TRUSTED_PROXIES" "LIST" Some("none"),
            "Networks of the proxies in front, separated by commas, such as 10.0.0.0/8: their X-Forwarded-For tells the client's address";
        CONNECTIONS_PER_ADDRESS: "--connections-per-address" "SYNAPSE_CONNECTIONS_PER_ADDRESS" "NUMBER" Some("no limit"),
            "Most clients of one address at a time; behind proxies set SYNAPSE_TRUSTED_PROXIES as well, or all count as one";
    }
    "Redis (the first of these that is there is used; none means a complete single server)" {
        REDIS_TLS_URL: "--redis-tls-url" "REDIS_TLS_URL" "URL" None, "rediss://user:password@host:port/db";
        REDIS_URL: "--redis-url" "REDIS_URL" "URL" None, "redis://user:password@host:port/db, or rediss:// for TLS";
        REDIS_HOST: "--redis-host" "REDIS_HOST" "HOST" None, "Host, together with the single values that follow";
        REDIS_PORT: "--redis-port" "REDIS_PORT" "NUMBER" Some("6379"), "Port of REDIS_HOST";
        REDIS_USERNAME: "--redis-username" "REDIS_USERNAME" "NAME" None, "User of REDIS_HOST";
        REDIS_PASSWORD: "--redis-password" "REDIS_PASSWORD" "SECRET" None,
            "Password of REDIS_HOST; a flag can be seen in the list of processes, so prefer the variable";
        REDIS_DB: "--redis-db" "REDIS_DB" "NUMBER" Some("0"), "Database of REDIS_HOST";
        REDIS_TLS: "--redis-tls" "REDIS_TLS" "true|false" Some("true for Azure's port 6380, else false"), "Speak TLS with REDIS_HOST";
    }
    "What the server does" {
        RELAY: "--relay" "SYNAPSE_RELAY" "RULES" Some("test_event=everyone"),
            "Events passed on to other clients on all servers: a list of [/namespace:]event[=everyone|=rooms], or off";
        SERVER_ID: "--server-id" "SYNAPSE_SERVER_ID" "NAME" Some("12 random characters"), "Name of this server in pages, logs and /health";
        READY_NEEDS_REDIS: "--ready-needs-redis" "SYNAPSE_READY_NEEDS_REDIS" "true|false" Some("false"),
            "Let /ready fail while delivery through Redis is not proven; a Redis outage then takes every server out of the balancer";
        CLIENT_DIR: "--client-dir" "SYNAPSE_CLIENT_DIR" "FOLDER" None,
            "Folder with the official client bundle (socket.io.js and the like), served below the Socket.IO path";
    }
    "Protocol" {
        PATH: "--path" "SYNAPSE_PATH" "PATH" Some("/socket.io"), "Path that Socket.IO clients connect to";
        PING_INTERVAL: "--ping-interval" "PING_INTERVAL" "MS" Some("25000"), "Milliseconds between two heartbeats";
        PING_TIMEOUT: "--ping-timeout" "PING_TIMEOUT" "MS" Some("20000"), "Milliseconds a client has for its answer to a heartbeat";
        MAX_HTTP_BUFFER_SIZE: "--max-http-buffer-size" "MAX_HTTP_BUFFER_SIZE" "BYTES" Some("1000000"),
            "Bytes of the largest message that a client may send";
        PARSER: "--parser" "SYNAPSE_PARSER" "json|msgpack" Some("json"),
            "How packets are written; clients of msgpack need the package socket.io-msgpack-parser";
        PER_MESSAGE_DEFLATE: "--per-message-deflate" "PER_MESSAGE_DEFLATE" "true|false" Some("false"),
            "Compress WebSocket messages of 1024 bytes and more for clients that offer it; spares traffic and costs time";
        ALLOW_EIO3: "--allow-eio3" "ALLOW_EIO3" "true|false" Some("false"),
            "Serve clients of Socket.IO 1 and 2 as well, and JSONP; the id of such a client's socket is the secret of its session";
    }
    "Log" {
        LOG_LEVEL: "--log-level" "LOG_LEVEL" "LEVEL" Some("info"),
            "off, error, warn, info, debug or trace; parts of their own as in info,synapse_redis=debug";
        LOG_FORMAT: "--log-format" "LOG_FORMAT" "text|json" Some("text"), "A line for people, or a JSON object for machines";
    }
}

impl Setting {
    fn id(&self) -> &'static str {
        self.flag.trim_start_matches('-')
    }

    fn is_switch(&self) -> bool {
        self.value == "true|false"
    }

    fn arg(&self) -> Arg {
        let mut help = format!("{} [env: {}]", self.help, self.variable);
        if let Some(default) = self.default {
            help.push_str(&format!(" [default: {default}]"));
        }
        let arg = Arg::new(self.id())
            .long(self.id())
            .value_name(self.value)
            .help(help)
            .help_heading(self.heading)
            .action(ArgAction::Set)
            .global(true);
        if self.is_switch() {
            arg.num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true")
        } else {
            arg.num_args(1)
        }
    }
}

/// What the process is asked to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// One server.
    Serve,
    /// Two servers in one process, to try out.
    Demo,
}

/// What was written on the command line and in the environment, unchecked.
pub(crate) struct Written {
    flags: HashMap<&'static str, String>,
    environment: HashMap<&'static str, OsString>,
}

/// The text of a setting and the name under which it was written. It may be a secret, so there is no `Debug`.
#[derive(Clone, Copy)]
pub(crate) struct Value<'a> {
    /// The flag or the variable.
    pub(crate) name: &'static str,
    /// What was written there.
    pub(crate) text: &'a str,
    /// Whether it comes from the command line.
    pub(crate) is_flag: bool,
}

impl Written {
    /// Reads the command line (the program's name first). The error is clap's: a wrong use, or a wish for help.
    pub(crate) fn read<I: IntoIterator<Item = OsString>>(
        arguments: I,
        environment: impl Fn(&str) -> Option<OsString>,
    ) -> Result<(Task, Self), clap::Error> {
        let matches = command().try_get_matches_from(arguments)?;
        let (task, matches) = match matches.subcommand() {
            Some(("demo", demo)) => (Task::Demo, demo.clone()),
            Some(_) | None => (Task::Serve, matches),
        };
        let flags = ALL
            .iter()
            .filter_map(|setting| {
                Some((
                    setting.flag,
                    matches.get_one::<String>(setting.id())?.clone(),
                ))
            })
            .collect();
        let environment = ALL
            .iter()
            .filter_map(|setting| {
                Some((
                    setting.variable,
                    environment(setting.variable).filter(|text| !text.is_empty())?,
                ))
            })
            .collect();
        Ok((task, Self { flags, environment }))
    }

    /// What was written for a setting: its flag, else its variable. The error is the name of a variable that is not text.
    pub(crate) fn value(&self, setting: &Setting) -> Result<Option<Value<'_>>, &'static str> {
        match self.flag(setting) {
            Some(value) => Ok(Some(value)),
            None => self.variable(setting),
        }
    }

    /// What was written for a setting on the command line.
    pub(crate) fn flag(&self, setting: &Setting) -> Option<Value<'_>> {
        self.flags.get(setting.flag).map(|text| Value {
            name: setting.flag,
            text,
            is_flag: true,
        })
    }

    /// What was written for a setting in the environment.
    pub(crate) fn variable(&self, setting: &Setting) -> Result<Option<Value<'_>>, &'static str> {
        let Some(text) = self.environment.get(setting.variable) else {
            return Ok(None);
        };
        let text = text.to_str().ok_or(setting.variable)?;
        Ok(Some(Value {
            name: setting.variable,
            text,
            is_flag: false,
        }))
    }
}

const AFTER_HELP: &str = "\
Addresses: /  a page to try it out · /health  JSON · /live and /ready  for orchestrators
Two servers that share one Redis are one cluster: give both the same REDIS_URL.";

/// The command line.
pub(crate) fn command() -> Command {
    Command::new("synapse")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Socket.IO server that scales horizontally over Redis")
        .after_help(AFTER_HELP)
        .args(ALL.iter().map(|setting| setting.arg()))
        .subcommand(
            Command::new("demo")
                .about("Two servers on PORT and the port after it, to see an event cross from one to the other")
                .long_about(
                    "Two servers on PORT and the port after it, to see an event cross from one to the other. They are joined by the Redis \
                     that is configured, else by a redis-server found on the PATH, else inside the process.",
                ),
        )
}

/// Hides what stands between `://` and `@`, so that a URL in the wrong place does not show its password.
pub(crate) fn without_credentials(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("://") {
        let (before, after) = rest.split_at(start + 3);
        out.push_str(before);
        let end = after
            .find(['\'', '"', '`', ' ', '\n', '\t'])
            .unwrap_or(after.len());
        let (url, later) = after.split_at(end);
        match url.rfind('@') {
            Some(at) => {
                out.push_str("***");
                out.push_str(&url[at..]);
            }
            None => out.push_str(url),
        }
        rest = later;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(arguments: &[&str], environment: &[(&str, &str)]) -> (Task, Written) {
        let arguments = std::iter::once("synapse")
            .chain(arguments.iter().copied())
            .map(OsString::from);
        let environment: HashMap<String, OsString> = environment
            .iter()
            .map(|(name, text)| ((*name).to_owned(), OsString::from(text)))
            .collect();
        Written::read(arguments, |name| environment.get(name).cloned()).unwrap()
    }

    #[test]
    fn the_readme_has_a_row_for_every_setting() {
        let readme = include_str!("../../../README.md");
        for setting in ALL {
            let row = format!("| `{}`, `{}` |", setting.variable, setting.flag);
            assert!(readme.contains(&row), "README.md lacks the row {row}");
        }
        let rows = readme
            .lines()
            .filter(|line| line.starts_with("| `") && line.contains("`, `--"));
        assert_eq!(
            rows.count(),
            ALL.len(),
            "README.md has a row for a setting that is none"
        );
    }

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn a_flag_wins_over_its_variable_and_an_empty_variable_is_unset() {
        let text = |written: &Written| {
            written
                .value(&PORT)
                .unwrap()
                .map(|value| format!("{} {}", value.name, value.text))
        };
        type Row<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], Option<&'a str>);
        let rows: &[Row<'_>] = &[
            (&[], &[], None),
            (&[], &[("PORT", "")], None),
            (&[], &[("PORT", "4000")], Some("PORT 4000")),
            (
                &["--port", "5000"],
                &[("PORT", "4000")],
                Some("--port 5000"),
            ),
            (&["demo", "--port", "5000"], &[], Some("--port 5000")),
            (&["--port", "5000", "demo"], &[], Some("--port 5000")),
        ];
        for (arguments, environment, expect) in rows {
            let (_, written) = written(arguments, environment);
            assert_eq!(
                text(&written).as_deref(),
                *expect,
                "{arguments:?} {environment:?}"
            );
        }
    }

    #[test]
    fn tasks_are_told_apart() {
        assert_eq!(written(&[], &[]).0, Task::Serve);
        assert_eq!(written(&["demo"], &[]).0, Task::Demo);
        assert_eq!(written(&["--redis-tls", "demo"], &[]).0, Task::Demo);
    }

    #[test]
    fn a_switch_needs_no_value() {
        let (_, written) = written(&["--redis-tls"], &[]);
        assert_eq!(written.flag(&REDIS_TLS).unwrap().text, "true");
    }

    #[test]
    fn the_help_lists_every_setting_and_shows_no_value() {
        for subcommand in [None, Some("demo")] {
            let arguments = ["synapse"]
                .into_iter()
                .chain(subcommand)
                .chain(["--help"])
                .map(OsString::from);
            let error = Written::read(arguments, |_| Some("hunter2".into()))
                .err()
                .unwrap();
            assert_eq!(error.kind(), clap::error::ErrorKind::DisplayHelp);
            let help = error.to_string();
            assert!(!help.contains("hunter2"));
            for setting in ALL {
                assert!(help.contains(setting.flag), "{} is missing", setting.flag);
                assert!(
                    help.contains(&format!("[env: {}]", setting.variable)),
                    "{} is missing",
                    setting.variable
                );
            }
        }
    }

    #[test]
    fn credentials_are_hidden_wherever_a_url_stands() {
        for (text, expect) in [
            ("no url", "no url"),
            (
                "'redis://user:pass@host:1/0' found",
                "'redis://***@host:1/0' found",
            ),
            (
                "redis://host rediss://:p@ss@h",
                "redis://host rediss://***@h",
            ),
            ("redis://", "redis://"),
        ] {
            assert_eq!(without_credentials(text), expect);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_variable_that_is_not_text_is_named() {
        use std::os::unix::ffi::OsStringExt;
        let environment = |name: &str| (name == "HOST").then(|| OsString::from_vec(vec![0xff]));
        let (_, written) = Written::read(["synapse".into()], environment).unwrap();
        assert_eq!(written.value(&HOST).err(), Some("HOST"));
    }
}
