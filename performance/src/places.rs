//! Where things are: the repository, the programs that were built, and a folder for what runs leave behind.
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
    /// With a sentence, when this program does not know where it is, or cannot make a folder there.
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

    pub(crate) fn readme(&self) -> PathBuf {
        self.root.join("README.md")
    }

    /// The figures that the README is made from.
    pub(crate) fn results(&self) -> PathBuf {
        self.root.join("performance/results.json")
    }

    /// The picture that it shows.
    pub(crate) fn picture(&self) -> PathBuf {
        self.root.join("performance/performance.svg")
    }

    /// What tells the versions of the peers.
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
