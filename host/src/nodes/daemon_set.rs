//! Kubernetes without an operator for nodes: a DaemonSet that writes the files.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use guest_policy::digest::Digest;
use guest_policy::reference::Reference;

use super::files::{FOLDERS, NodeFiles};
use crate::webhook_config::{Namespace, quoted};

/// What writes the files, and where it runs.
#[derive(Clone, Debug)]
pub struct DaemonSet {
    /// The image of this program.
    pub image: Reference,
    /// A namespace of its own.
    pub namespace: Namespace,
}

impl DaemonSet {
    /// Namespace, ConfigMap and DaemonSet, which begin with `warnings` as comments.
    ///
    /// # Errors
    ///
    /// The files are more than a ConfigMap holds.
    pub fn yaml(&self, files: &NodeFiles, warnings: &[String]) -> Result<String, DaemonSetError> {
        let config_map = self.config_map(files);
        if config_map.len() > MAX_CONFIG_MAP_BYTES {
            return Err(DaemonSetError { bytes: config_map.len() });
        }
        let mut text = String::new();
        for warning in warnings {
            let _ = writeln!(text, "# {}", warning.replace('\n', " "));
        }
        let namespace = quoted(self.namespace.as_str());
        let _ = write!(
            text,
            "apiVersion: v1\n\
             kind: Namespace\n\
             metadata:\n\
             \x20 name: {namespace}\n\
             \x20 labels:\n\
             \x20   # Folders of the node are allowed nowhere else. Let nobody but administrators make pods here.\n\
             \x20   pod-security.kubernetes.io/enforce: privileged\n\
             ---\n"
        );
        text.push_str(&config_map);
        // The pods are made anew when the files change.
        let digest = Digest::sha256(config_map.as_bytes()).to_string();
        let mut items = String::new();
        for (key, (path, _)) in files.iter().enumerate() {
            let path = quoted(path.trim_start_matches('/'));
            let _ = write!(items, "          - key: file-{key}\n            path: {path}\n");
        }
        let (mut mounts, mut volumes) = (String::new(), String::new());
        for (number, folder) in FOLDERS.iter().enumerate() {
            let folder = folder.trim_end_matches('/');
            let _ = write!(
                mounts,
                "        - name: node-{number}\n          mountPath: /host{folder}\n"
            );
            let _ = write!(
                volumes,
                "      - name: node-{number}\n        hostPath:\n          path: {folder}\n          \
                 type: DirectoryOrCreate\n"
            );
        }
        let _ = write!(
            text,
            "---\n\
             apiVersion: apps/v1\n\
             kind: DaemonSet\n\
             metadata:\n\
             \x20 name: {NAME}\n\
             \x20 namespace: {namespace}\n\
             spec:\n\
             \x20 selector:\n\
             \x20   matchLabels:\n\
             \x20     app.kubernetes.io/name: {NAME}\n\
             \x20 template:\n\
             \x20   metadata:\n\
             \x20     labels:\n\
             \x20       app.kubernetes.io/name: {NAME}\n\
             \x20     annotations:\n\
             \x20       files: {}\n\
             \x20   spec:\n\
             \x20     automountServiceAccountToken: false\n\
             \x20     enableServiceLinks: false\n\
             \x20     tolerations:\n\
             \x20     # Every node, whatever else keeps away from it.\n\
             \x20     - operator: Exists\n\
             \x20     containers:\n\
             \x20     - name: write\n\
             \x20       # As cargo xtask image makes it: no shell, nothing but the program.\n\
             \x20       image: {}\n\
             \x20       args: [node-config, apply, --from, /files, --to, /host, --stay]\n\
             \x20       securityContext:\n\
             \x20         # The folders belong to root, and root needs no capability to write there.\n\
             \x20         runAsUser: 0\n\
             \x20         runAsGroup: 0\n\
             \x20         allowPrivilegeEscalation: false\n\
             \x20         readOnlyRootFilesystem: true\n\
             \x20         capabilities:\n\
             \x20           drop: [ALL]\n\
             \x20         seccompProfile:\n\
             \x20           type: RuntimeDefault\n\
             \x20       resources:\n\
             \x20         requests:\n\
             \x20           cpu: 1m\n\
             \x20           memory: 16Mi\n\
             \x20         limits:\n\
             \x20           memory: 64Mi\n\
             \x20       volumeMounts:\n\
             \x20       - name: files\n\
             \x20         mountPath: /files\n\
             \x20         readOnly: true\n\
             {mounts}\
             \x20     volumes:\n\
             \x20     - name: files\n\
             \x20       configMap:\n\
             \x20         name: {NAME}\n\
             \x20         items:\n\
             {items}\
             {volumes}",
            quoted(&digest),
            quoted(&self.image.to_string()),
        );
        Ok(text)
    }

    /// What an administrator has to know before applying it.
    pub fn warnings(&self, merged: bool) -> Vec<String> {
        let mut warnings = vec![
            "containerd does not read policy.json: on nodes with it this changes nothing for pods, and the webhook \
             server is what refuses them; CRI-O, podman, skopeo and buildah do read it"
                .to_owned(),
            "CRI-O reads a changed policy.json at the next pull; what is on the node already is not verified again"
                .to_owned(),
            "deleting the DaemonSet leaves the files on the nodes".to_owned(),
        ];
        if !merged {
            warnings.push(
                "the policy.json of each node is replaced: give the one that is there to --merge"
                    .to_owned(),
            );
        }
        if self.image.digest().is_none() {
            warnings.push(format!(
                "{} has no digest: whoever can push to its repository writes policies onto every node",
                self.image
            ));
        }
        warnings
    }

    fn config_map(&self, files: &NodeFiles) -> String {
        let mut text = format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {NAME}\n  namespace: {}\n",
            quoted(self.namespace.as_str())
        );
        let mut section = |name: &str, binary: bool| {
            let mut lines = String::new();
            for (key, (path, content)) in files.iter().enumerate() {
                let value = match (std::str::from_utf8(content), binary) {
                    (Ok(content), false) => quoted(content),
                    (Err(_), true) => quoted(&STANDARD.encode(content)),
                    _ => continue,
                };
                let _ = write!(lines, "  # {path}\n  file-{key}: {value}\n");
            }
            if !lines.is_empty() {
                let _ = write!(text, "{name}:\n{lines}");
            }
        };
        section("data", false);
        section("binaryData", true);
        text
    }
}

/// More than a ConfigMap holds.
#[derive(Debug, thiserror::Error)]
#[error(
    "files of {bytes} bytes exceeded maximum allowed size of {MAX_CONFIG_MAP_BYTES} bytes of a ConfigMap; name fewer \
     keys, or smaller ones"
)]
pub struct DaemonSetError {
    bytes: usize,
}

const NAME: &str = "countersign-nodes";

/// Largest ConfigMap that the API server takes.
const MAX_CONFIG_MAP_BYTES: usize = 1 << 20;
