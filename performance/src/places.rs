//! The paths of things: the repository, the programs that were built, and a folder for the remains
//! of runs.
//!
//! Not for: reading or writing any of it.

use std::path::{Path, PathBuf};

/// Found once, at the start.
#[derive(Debug)]
pub(crate) struct Places {
    root: PathBuf,
    this_program: PathBuf,
    work: PathBuf,
}

impl Places {
    /// # Errors
    /// With a sentence, when this program does not know its own path, or cannot make a folder
    /// there.
    pub(crate) fn find() -> Result<Places, String> {
        let this_program =
            std::env::current_exe().map_err(|error| format!("this program cannot find itself: {error}"))?;
        let profile = this_program.parent().ok_or("this program is in no folder")?;
        let work = profile.join("performance");
        std::fs::create_dir_all(&work).map_err(|error| format!("{} cannot be made: {error}", work.display()))?;
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("this package is in no repository")?.to_owned();
        Ok(Places { root, this_program, work })
    }

    /// The repository.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The page of the repository, with a few figures.
    pub(crate) fn readme(&self) -> PathBuf {
        self.root.join("README.md")
    }

    /// The page with the tables.
    pub(crate) fn tables(&self) -> PathBuf {
        self.root.join("performance/README.md")
    }

    /// The figures from which both are made.
    pub(crate) fn results(&self) -> PathBuf {
        self.root.join("performance/results.json")
    }

    /// The picture that the page shows.
    pub(crate) fn picture(&self) -> PathBuf {
        self.root.join("performance/performance.svg")
    }

    /// The files with the versions of the peers.
    pub(crate) fn locks(&self) -> [PathBuf; 2] {
        [self.root.join("Cargo.lock"), self.bun_sources().join("package-lock.json")]
    }

    pub(crate) fn bun_sources(&self) -> PathBuf {
        self.root.join("performance/bun")
    }

    pub(crate) fn this_program(&self) -> &Path {
        &self.this_program
    }

    /// The server and load generator of the same build.
    pub(crate) fn singletrack(&self) -> PathBuf {
        self.this_program.with_file_name("singletrack")
    }

    /// A folder below the target folder.
    pub(crate) fn work(&self) -> &Path {
        &self.work
    }
}
