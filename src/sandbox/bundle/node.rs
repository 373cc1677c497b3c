//! Node.js with npm: the system's, nvm's, fnm's, Volta's, or an unpacked archive.

use super::{Bundle, component, directory, is_file, on_path, variables};
use crate::sandbox::profile::Operator;
use std::fs;
use std::path::{Path, PathBuf};

/// The Node.js that the operator's shell would start.
pub(super) fn toolchain(operator: &Operator<'_>) -> Option<Bundle> {
    let mut found = on_path("node", operator);
    let program = found.find_map(|program| match is_volta(&program) {
        true => volta_version(operator),
        // Through the links of version managers to the installation itself. Other shims are scripts that would not work
        // without their manager.
        false if program.parent().is_some_and(|bin| bin.ends_with("shims")) => None,
        false => fs::canonicalize(program).ok(),
    })?;
    let mut bundle = Bundle {
        env: variables([
            // There is no network to ask for packages, for a newer npm, or about vulnerabilities.
            ("npm_config_offline", "true"),
            ("npm_config_update_notifier", "false"),
            ("npm_config_audit", "false"),
            ("npm_config_fund", "false"),
        ]),
        ..Bundle::default()
    };
    bundle.add_prefix(&program, is_installation);
    bundle.shows(&program).then_some(bundle)
}

/// A program of Volta is a link to its one shim.
fn is_volta(program: &Path) -> bool {
    fs::read_link(program).is_ok_and(|target| target.ends_with("volta-shim"))
}

/// The Node.js that Volta would start outside of a project. Source: the Volta guide, "Configuration", `VOLTA_HOME`.
fn volta_version(operator: &Operator<'_>) -> Option<PathBuf> {
    let home = directory("VOLTA_HOME", ".volta", operator)?;
    let platform = fs::read(home.join("tools/user/platform.json")).ok()?;
    let platform: serde_json::Value = serde_json::from_slice(&platform).ok()?;
    let version = component(platform.pointer("/node/runtime")?.as_str()?)?;
    Some(home.join("tools/image/node").join(version).join("bin/node")).filter(|program| is_file(program))
}

/// Whether a directory is an installation of Node.js: it has its headers, or the modules that it came with.
fn is_installation(prefix: &Path) -> bool {
    is_file(&prefix.join("include/node/node.h")) || prefix.join("lib/node_modules/npm").is_dir()
}

#[cfg(test)]
mod tests {
    use super::super::scene::{operator, program, read};
    use super::*;
    use std::os::unix::fs::symlink;

    fn installation(prefix: &Path) {
        program(&prefix.join("bin/node"));
        program(&prefix.join("include/node/node.h"));
    }

    #[test]
    fn a_version_of_nvm_is_granted_alone() {
        let home = tempfile::tempdir().unwrap();
        let home = fs::canonicalize(home.path()).unwrap();
        let prefix = home.join(".nvm/versions/node/v20.1.0");
        installation(&prefix);
        let path = prefix.join("bin").display().to_string();
        let bundle = toolchain(&operator(&path, &|_| None)).unwrap();
        assert_eq!(
            (read(&bundle), bundle.path.clone()),
            (vec![prefix.as_path()], vec![prefix.join("bin")])
        );
    }

    #[test]
    fn a_shim_of_volta_leads_to_the_default_version() {
        let home = tempfile::tempdir().unwrap();
        let home = fs::canonicalize(home.path()).unwrap();
        let volta = home.join(".volta");
        let prefix = volta.join("tools/image/node/20.1.0");
        installation(&prefix);
        program(&volta.join("bin/volta-shim"));
        symlink("volta-shim", volta.join("bin/node")).unwrap();
        program(&volta.join("tools/user/platform.json"));
        fs::write(
            volta.join("tools/user/platform.json"),
            r#"{"node":{"runtime":"20.1.0","npm":null}}"#,
        )
        .unwrap();
        let path = volta.join("bin").display().to_string();
        let variable = |name: &str| (name == "HOME").then(|| home.display().to_string());
        let bundle = toolchain(&operator(&path, &variable)).unwrap();
        assert_eq!(read(&bundle), [prefix.as_path()]);
    }

    #[test]
    fn a_program_in_the_home_directory_does_not_grant_it() {
        let home = tempfile::tempdir().unwrap();
        program(&home.path().join("bin/node"));
        let path = home.path().join("bin").display().to_string();
        assert_eq!(toolchain(&operator(&path, &|_| None)), None);
    }
}
