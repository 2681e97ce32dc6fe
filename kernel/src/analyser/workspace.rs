//! The sources that cells see, in rust-analyzer.

use std::path::Path;
use std::process::{Command, Stdio};

use ra_ap_base_db::{Env, SourceRoot};
use ra_ap_hir::ChangeWithProcMacros;
use ra_ap_ide::{AnalysisHost, FileId};
use ra_ap_ide_db::FxHashMap;
use ra_ap_paths::AbsPathBuf;
use ra_ap_project_model::{
    CargoConfig, CargoWorkspace, ManifestPath, PackageRoot, ProjectManifest, ProjectWorkspace,
    ProjectWorkspaceKind, RustLibSource,
};
use ra_ap_vfs::file_set::FileSetConfig;
use ra_ap_vfs::loader::{Config, Directories, Entry, Handle, LoadingProgress, Message};
use ra_ap_vfs::{Change, Vfs, VfsPath};
use ra_ap_vfs_notify::NotifyHandle;

use super::Setup;
use super::cell::Source;
use crate::error::{Error, Result};
use crate::files;
use crate::workshop::{NAMED_BY_CELLS, cut_down};

/// The cell crate with everything it depends on.
pub struct Workspace {
    /// Answers questions.
    pub host: AnalysisHost,
    /// The file of the cell.
    pub file: FileId,
    /// Its text.
    pub text: String,
    folder: AbsPathBuf,
    library: String,
    sysroot: Option<RustLibSource>,
    dependencies: Vec<String>,
}

impl Workspace {
    /// Reads the library's sources and those of its dependencies.
    ///
    /// # Errors
    /// A folder that cannot be written, a cargo that does not run.
    pub fn load(setup: Setup) -> Result<Workspace> {
        let folder = setup
            .folder
            .to_str()
            .and_then(|f| AbsPathBuf::try_from(f).ok());
        let folder = folder.ok_or_else(|| {
            Error::Session("the analyser's folder has no usable name".to_string())
        })?;
        let mut workspace = Workspace {
            host: AnalysisHost::default(),
            file: FileId::from_raw(0),
            text: String::new(),
            folder,
            library: setup.library,
            sysroot: setup.sources.then_some(RustLibSource::Discover),
            dependencies: Vec::new(),
        };
        workspace.reload()?;
        Ok(workspace)
    }

    /// Puts a cell into its file; further dependencies are read first.
    ///
    /// # Errors
    /// As [`Workspace::load`].
    pub fn set(&mut self, source: Source) -> Result<()> {
        if source.dependencies != self.dependencies {
            self.dependencies = source.dependencies;
            self.reload()?;
        }
        self.text = source.text;
        let mut change = ChangeWithProcMacros::default();
        change.change_file(self.file, Some(self.text.clone()));
        self.host.apply_change(change);
        Ok(())
    }

    fn reload(&mut self) -> Result<()> {
        let root = Path::new(self.folder.as_str());
        let source = root.join("src");
        std::fs::create_dir_all(&source).map_err(|e| Error::io(&source, e))?;
        files::write(&source.join("lib.rs"), b"")?;
        let manifest = format!(
            "[package]\nname = \"ctx\"\nversion = \"1.0.0\"\nedition = \"2024\"\n\n[dependencies]\n{}\n{}\n",
            self.library,
            self.dependencies.join("\n")
        );
        files::write(&root.join("Cargo.toml"), manifest.as_bytes())?;
        let failed = |e: anyhow::Error| Error::Session(format!("rust-analyzer: {e:#}"));
        let manifest = ManifestPath::try_from(self.folder.join("Cargo.toml"))
            .map_err(|path| Error::Session(format!("{path} is no manifest")))?;
        let config = CargoConfig {
            sysroot: self.sysroot.clone(),
            no_deps: true,
            ..CargoConfig::default()
        };
        let mut project = ProjectWorkspace::load(
            ProjectManifest::CargoToml(manifest.clone()),
            &config,
            &|_| {},
        )
        .map_err(failed)?;
        if let ProjectWorkspaceKind::Cargo { cargo, .. } = &mut project.kind {
            *cargo = packages(&manifest).map_err(failed)?;
        }
        let roots = project.to_roots();
        // Intrinsics of processors: a good part of the standard library's names, and none for cells.
        let unread = project.sysroot.rust_lib_src_root();
        let mut vfs = read_all(&roots, unread.map(|library| library.join("stdarch")));
        let path = VfsPath::from(self.folder.join("src/lib.rs"));
        let (file, _) = vfs.file_id(&path).ok_or_else(|| {
            Error::Session("the analyser could not read its own file".to_string())
        })?;
        let (graph, _) = project.to_crate_graph(
            &mut |path| {
                let found = vfs.file_id(&path.to_path_buf().into());
                found.map(|(id, _)| id)
            },
            &FxHashMap::default(),
        );
        let mut change = ChangeWithProcMacros::default();
        change.set_roots(self.source_roots(&roots, &vfs));
        change.set_crate_graph(graph);
        for (id, changed) in vfs.take_changes() {
            if let Change::Create(bytes, _) | Change::Modify(bytes, _) = changed.change {
                change.change_file(id, String::from_utf8(bytes).ok());
            }
        }
        self.file = file;
        self.host = AnalysisHost::default();
        self.host.apply_change(change);
        Ok(())
    }

    /// Only the cell changes: everything else is a library, which rust-analyzer looks at once.
    fn source_roots(&self, roots: &[PackageRoot], vfs: &Vfs) -> Vec<SourceRoot> {
        let mut sets = FileSetConfig::builder();
        for root in roots {
            sets.add_file_set(root.include.iter().cloned().map(VfsPath::from).collect());
        }
        let own = |root: &PackageRoot| {
            root.include.contains(&self.folder.join("src")) || root.include.contains(&self.folder)
        };
        let sets = sets.build().partition(vfs).into_iter().enumerate();
        sets.map(|(i, set)| match roots.get(i).is_some_and(own) {
            true => SourceRoot::new_local(set),
            false => SourceRoot::new_library(set),
        })
        .collect()
    }
}

/// The files of all packages, but for a folder `unread`.
fn read_all(roots: &[PackageRoot], unread: Option<AbsPathBuf>) -> Vfs {
    let (sender, messages) = crossbeam_channel::unbounded();
    let mut loader = NotifyHandle::spawn(sender);
    let entries = roots.iter().map(|root| {
        Entry::Directories(Directories {
            extensions: vec!["rs".to_string()],
            include: root.include.clone(),
            exclude: root.exclude.iter().chain(&unread).cloned().collect(),
        })
    });
    loader.set_config(Config {
        version: 1,
        load: entries.collect(),
        watch: Vec::new(),
    });
    let mut vfs = Vfs::default();
    for message in messages {
        match message {
            Message::Progress {
                n_done: LoadingProgress::Finished,
                ..
            } => break,
            Message::Progress { .. } => {}
            Message::Loaded { files } | Message::Changed { files } => {
                for (path, contents) in files {
                    vfs.set_file_contents(path.into(), contents);
                }
            }
        }
    }
    vfs
}

/// Crates in which names of the library's interface are looked up: those that cells can name, and what these
/// are made of. All hundred dependencies take several seconds to read.
const LOOKED_INTO: [&str; 6] = [
    "num-traits",
    "plotters-backend",
    "rand_core",
    "rebit-wire",
    "serde",
    "serde_core",
];

/// The packages of a manifest, without those that cells do not see.
fn packages(manifest: &ManifestPath) -> anyhow::Result<CargoWorkspace> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "metadata",
            "--format-version=1",
            "--offline",
            "--manifest-path",
        ])
        .arg(manifest.as_str())
        // Without crates for other systems, which may never have come here.
        .args(std::env::var(super::PLATFORM).map(|own| format!("--filter-platform={own}")))
        .stdin(Stdio::null())
        .output()?;
    if !output.status.success() {
        anyhow::bail!("{}", String::from_utf8_lossy(&output.stderr));
    }
    let mut metadata = serde_json::from_slice(&output.stdout)?;
    let kept = [&NAMED_BY_CELLS[..], &LOOKED_INTO].concat();
    cut_down(&mut metadata, &kept);
    let metadata = serde_json::from_value(metadata)?;
    Ok(CargoWorkspace::new(
        metadata,
        manifest.clone(),
        Env::default(),
        false,
    ))
}
