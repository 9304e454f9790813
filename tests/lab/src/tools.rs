//! Which programs the tests against real tools need, and where they come from.

use std::path::PathBuf;

/// A program, and the Debian package that has it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Tool {
    /// Name of the executable.
    pub program: &'static str,
    /// Name of the Debian package.
    pub package: &'static str,
}

impl Tool {
    /// The executable, if it is on this machine.
    #[must_use]
    pub fn find(&self) -> Option<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .map(|folder| folder.join(self.program))
            .find(|file| file.is_file())
    }
}

/// Those of [`TOOLS`] that are not on this machine.
#[must_use]
pub fn missing() -> Vec<Tool> {
    TOOLS.into_iter().filter(|tool| tool.find().is_none()).collect()
}

/// Everything that the tests run.
pub const TOOLS: [Tool; 9] = [
    Tool { program: "docker-registry", package: "docker-registry" },
    Tool { program: "gpg", package: "gnupg" },
    Tool { program: "gpgconf", package: "gnupg" },
    Tool { program: "openssl", package: "openssl" },
    Tool { program: "podman", package: "podman" },
    Tool { program: "skopeo", package: "skopeo" },
    Tool { program: "taskset", package: "util-linux" },
    Tool { program: "time", package: "time" },
    Tool { program: "wrk", package: "wrk" },
];
