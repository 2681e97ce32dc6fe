//! The start of a session: its folder, its child, and the environment in which evcxr finds our tools.

use std::collections::HashSet;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use super::child::Shared;
use super::rewrite::ShownAs;
use super::stream::Translator;
use super::unnamed::Blocks;
use super::worker::{self, Setup};
use super::{Options, Session};
use crate::error::{Error, Result};
use crate::language::index;
use crate::orphans::OWNER;
use crate::supervisor;
use crate::workshop::session_files::SESSION;
use crate::workshop::{self, Prepared, SessionFolder, cargo};

impl Session {
    /// Starts a session with the prepared library loaded (about two seconds).
    ///
    /// # Errors
    /// A missing compiler or linker, a full disk, a child that does not start.
    pub fn start(prepared: &Prepared, options: Options) -> Result<Session> {
        index::read_library();
        let home = workshop::home(prepared)?;
        let folder = SessionFolder::new(prepared)?;
        let secret = format!("\u{1}rebit-{}\u{1}", uuid::Uuid::new_v4().simple());
        let shared = Shared::listen(&folder.path, &secret)?;
        let exe = crate::executable()?;
        let mut supervisor = Command::new(exe);
        let search = prepared.search_path(&folder.path)?;
        supervisor
            .arg(supervisor::SUPERVISOR)
            .env(supervisor::SOCKET, &folder.path)
            .env("LD_LIBRARY_PATH", search)
            .envs(options.env.iter().map(|(name, value)| (name, value)))
            .process_group(0);
        let workdir = options.workdir.clone().unwrap_or_default();
        let workdir = std::path::absolute(match workdir.as_os_str().is_empty() {
            true => Path::new("."),
            false => &workdir,
        })
        .map_err(|e| Error::io(&workdir, e))?;
        supervisor.current_dir(&workdir);
        for name in [
            "EVCXR_TMPDIR",
            "EVCXR_CONFIG_DIR",
            "RUST_SRC_PATH",
            SESSION,
            OWNER,
        ] {
            supervisor.env_remove(name);
        }
        let jobs = {
            // evcxr reads its settings from the process environment when it starts.
            let _environment = workshop::environment();
            let path = std::env::var_os("PATH").unwrap_or_default();
            supervisor.env("PATH", &path);
            let bin = home.path.join("bin");
            let with_shims =
                std::env::join_paths(std::iter::once(bin).chain(std::env::split_paths(&path)))
                    .map_err(|e| Error::Session(format!("PATH: {e}")))?;
            // Of two sessions in one process the second finds the first one's settings.
            if std::env::var_os(cargo::HOME).is_none() {
                let home = std::env::var_os("CARGO_HOME").unwrap_or_default();
                // SAFETY: as below.
                unsafe { std::env::set_var(cargo::HOME, home) };
            }
            cargo::own_home(&mut supervisor);
            // SAFETY: Rust's own readers of the environment are synchronised with these writers, and no
            // other thread of ours reads it through C while a session starts.
            unsafe {
                std::env::set_var(SESSION, &home.path);
                std::env::set_var(OWNER, std::process::id().to_string());
                // The analyser looks for cargo there before anywhere else.
                std::env::set_var("CARGO_HOME", &home.path);
                std::env::set_var("EVCXR_TMPDIR", &folder.path);
                std::env::set_var("EVCXR_CONFIG_DIR", &folder.path);
                std::env::set_var("RUST_SRC_PATH", prepared.master.join("skeleton"));
                std::env::set_var("PATH", with_shims);
            }
            let jobs = worker::start(Setup {
                supervisor,
                prepared: prepared.clone(),
                folder: folder.path.clone(),
            });
            // SAFETY: as above.
            unsafe { std::env::set_var("PATH", path) };
            jobs?
        };
        shared.forget();
        Ok(Session {
            jobs: Some(jobs),
            shared,
            prepared: prepared.clone(),
            options,
            workdir,
            variables: Vec::new(),
            dependencies: Vec::new(),
            blocks: Blocks::default(),
            history: Arc::default(),
            mutable: HashSet::new(),
            number: 0,
            next_number: None,
            translator: Arc::new(Mutex::new(Translator::default())),
            syncs: 0,
            shown: ShownAs::default(),
            has_run: false,
            folder,
            _home: home,
        })
    }
}
