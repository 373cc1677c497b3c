//! The AppArmor profile that lets one binary have user namespaces.
//!
//! Ubuntu's restriction takes all capabilities from a process in a new user namespace unless a profile with the rule
//! `userns,` is attached to its binary. Source: apparmor.d(5), "User namespaces"; Ubuntu 24.04 release notes,
//! "Unprivileged user namespace restrictions".

use std::path::Path;

/// Where the profile is to be written.
pub(super) const FILE: &str = "/etc/apparmor.d/factory";

/// The text of the profile for the binary at `program`.
pub(super) fn profile(program: &Path) -> String {
    format!(
        "abi <abi/4.0>,\n\
         include <tunables/global>\n\
         profile factory {} flags=(unconfined) {{\n  \
           userns,\n\
         }}\n",
        quoted(program)
    )
}

/// The path as a quoted attachment; what would be a pattern is taken literally. Source: apparmor.d(5), "Globbing".
fn quoted(program: &Path) -> String {
    let mut quoted = String::from("\"");
    for character in program.to_string_lossy().chars() {
        if "*?[]{}^\\\"".contains(character) {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_names_this_very_binary() {
        insta::assert_snapshot!(profile("/opt/my tools/{1}/factory".as_ref()), @r#"
        abi <abi/4.0>,
        include <tunables/global>
        profile factory "/opt/my tools/\{1\}/factory" flags=(unconfined) {
          userns,
        }
        "#);
    }
}
