//! Rust: a toolchain of rustup or the system's cargo, and what cargo has downloaded.

use super::{Bundle, component, directory, is_file, is_systems, on_path, variables};
use crate::sandbox::profile::Operator;
use std::fs;
use std::path::{Path, PathBuf};

/// The cargo that the operator's shell would start. One of rustup is a proxy, which would look for its settings; inside,
/// the toolchain that it would choose comes first on `PATH` instead.
pub(super) fn toolchain(operator: &Operator<'_>) -> Option<Bundle> {
    let cargo = on_path("cargo", operator).next()?;
    let bin = cargo.parent()?;
    let program = if is_file(&bin.join("rustup")) {
        rustup_toolchain(operator)?.join("bin/cargo")
    } else {
        fs::canonicalize(&cargo).ok()?
    };
    let mut bundle = Bundle {
        // There is no network to ask; without this cargo would try, and say so at length.
        env: variables([("CARGO_NET_OFFLINE", "true")]),
        ..Bundle::default()
    };
    bundle.add_prefix(&program, is_installation);
    bundle.shows(&program).then_some(bundle)
}

/// What cargo has downloaded: archives and sources of packages, the index, and git dependencies.
///
/// `CARGO_HOME` inside is the operator's path, because what cargo has built refers to sources by path; of its content
/// only these are shown, and neither `credentials.toml` nor `config.toml`, which may hold tokens. Source: The Cargo Book,
/// "Cargo Home".
pub(super) fn cache(operator: &Operator<'_>) -> Option<Bundle> {
    // Where a link leads, because a layer lies on a directory and not on a name for it.
    let home = fs::canonicalize(directory("CARGO_HOME", ".cargo", operator)?).ok()?;
    let snapshots: Vec<PathBuf> = ["registry", "git"]
        .map(|name| home.join(name))
        .into_iter()
        .filter(|directory| directory.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()))
        .collect();
    (!snapshots.is_empty()).then(|| Bundle {
        snapshots,
        env: variables([("CARGO_HOME", &home.to_string_lossy())]),
        ..Bundle::default()
    })
}

/// The directory of the toolchain in force for the operator: by variable, else the default one. A `rust-toolchain.toml`
/// in a tree is not asked. Source: The rustup book, "Overrides".
fn rustup_toolchain(operator: &Operator<'_>) -> Option<PathBuf> {
    let home = directory("RUSTUP_HOME", ".rustup", operator)?;
    let named = (operator.variable)("RUSTUP_TOOLCHAIN").or_else(|| {
        let settings = fs::read_to_string(home.join("settings.toml")).ok()?;
        let settings: toml::Table = settings.parse().ok()?;
        Some(settings.get("default_toolchain")?.as_str()?.to_owned())
    })?;
    let (toolchains, name) = (home.join("toolchains"), component(&named)?);
    let exact = toolchains.join(name);
    if exact.is_dir() {
        return fs::canonicalize(exact).ok();
    }
    // `stable` for `stable-x86_64-unknown-linux-gnu`.
    let host = format!("{name}-{}-unknown-linux-", std::env::consts::ARCH);
    let mut found: Vec<PathBuf> = fs::read_dir(toolchains)
        .ok()?
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&host))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    fs::canonicalize(found.first()?).ok()
}

/// Whether a directory is a Rust toolchain: cargo and rustc side by side, and the libraries of a target where rustc looks
/// for them. Source: The rustc book, "Command-line arguments", `--print sysroot`.
fn is_installation(prefix: &Path) -> bool {
    is_file(&prefix.join("bin/rustc")) && (prefix.join("lib/rustlib").is_dir() || is_systems(prefix))
}

#[cfg(test)]
mod tests {
    use super::super::scene::{operator, program, read};
    use super::*;

    fn rustup(home: &Path) {
        for name in ["cargo", "rustc", "rustup"] {
            program(&home.join(".cargo/bin").join(name));
        }
        for toolchain in ["stable-ARCH-unknown-linux-gnu", "nightly-ARCH-unknown-linux-gnu"] {
            let prefix = home
                .join(".rustup/toolchains")
                .join(toolchain.replace("ARCH", std::env::consts::ARCH));
            program(&prefix.join("bin/cargo"));
            program(&prefix.join("bin/rustc"));
            fs::create_dir_all(prefix.join("lib/rustlib")).unwrap();
        }
        fs::write(home.join(".rustup/settings.toml"), "default_toolchain = \"stable\"\n").unwrap();
        fs::write(home.join(".cargo/credentials.toml"), "secret").unwrap();
    }

    #[test]
    fn a_proxy_of_rustup_leads_to_the_toolchain_in_force() {
        let home = tempfile::tempdir().unwrap();
        let home = fs::canonicalize(home.path()).unwrap();
        rustup(&home);
        let path = home.join(".cargo/bin").display().to_string();
        for (chosen, begins) in [(None, "stable-"), (Some("nightly"), "nightly-")] {
            let variable = |name: &str| match name {
                "HOME" => Some(home.display().to_string()),
                "RUSTUP_TOOLCHAIN" => chosen.map(str::to_owned),
                _ => None,
            };
            let bundle = toolchain(&operator(&path, &variable)).unwrap();
            let [prefix] = read(&bundle)[..] else {
                panic!("{bundle:?}")
            };
            assert!(
                prefix.file_name().unwrap().to_str().unwrap().starts_with(begins),
                "{prefix:?}"
            );
            assert_eq!(bundle.path, [prefix.join("bin")]);
        }
    }

    #[test]
    fn a_toolchain_name_cannot_lead_elsewhere() {
        let home = tempfile::tempdir().unwrap();
        rustup(home.path());
        let path = home.path().join(".cargo/bin").display().to_string();
        let variable = |name: &str| match name {
            "HOME" => Some(home.path().display().to_string()),
            "RUSTUP_TOOLCHAIN" => Some("../../x".to_owned()),
            _ => None,
        };
        assert_eq!(toolchain(&operator(&path, &variable)), None);
    }

    #[test]
    fn the_cache_shows_downloads_and_no_credentials() {
        let home = tempfile::tempdir().unwrap();
        let home = fs::canonicalize(home.path()).unwrap();
        rustup(&home);
        fs::create_dir(home.join(".cargo/registry")).unwrap();
        // Another disk behind it: a layer can lie on the directory only, which is then known by its own path.
        let elsewhere = home.join("elsewhere");
        std::os::unix::fs::symlink(home.join(".cargo"), &elsewhere).unwrap();
        std::os::unix::fs::symlink("registry", home.join(".cargo/git")).unwrap();
        for cargo in [home.join(".cargo"), elsewhere] {
            let variable = |name: &str| (name == "CARGO_HOME").then(|| cargo.display().to_string());
            let bundle = cache(&operator("/usr/bin", &variable)).unwrap();
            assert_eq!(bundle.snapshots, [home.join(".cargo/registry")]);
            assert_eq!(Path::new(&bundle.env["CARGO_HOME"]), home.join(".cargo"));
            assert!(bundle.read.is_empty());
        }
    }
}
