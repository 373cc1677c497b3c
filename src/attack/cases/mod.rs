//! The table of cases, one file a group.

mod a_entry;
mod b_files;
mod c_git;
mod d_calls;
mod e_network;
mod f_processes;
mod g_resources;
mod h_output;
mod i_configuration;
mod j_landlock;
mod x_others;

use super::case::Case;

/// All cases, in the order of their ids.
pub fn all() -> impl Iterator<Item = &'static Case> {
    [
        a_entry::CASES,
        b_files::CASES,
        c_git::CASES,
        d_calls::CASES,
        e_network::CASES,
        f_processes::CASES,
        g_resources::CASES,
        h_output::CASES,
        i_configuration::CASES,
        j_landlock::CASES,
        x_others::CASES,
    ]
    .into_iter()
    .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn every_named_case_is_there_once_and_in_order() {
        let named = [
            ('A', 20),
            ('B', 36),
            ('C', 28),
            ('D', 35),
            ('E', 24),
            ('F', 16),
            ('G', 18),
            ('H', 7),
            ('I', 17),
            ('J', 11),
        ];
        let ids: Vec<_> = all().map(|case| case.id).collect();
        let expected: Vec<_> = named
            .into_iter()
            .flat_map(|(letter, count)| (1..=count).map(move |number| format!("{letter}{number:02}")))
            .collect();
        let listed: Vec<_> = ids.iter().filter(|id| !id.starts_with('X')).copied().collect();
        assert_eq!(listed, expected);
        assert!(ids.is_sorted());
        let mut names = BTreeMap::new();
        for case in all() {
            assert!(
                names.insert(case.name, case.id).is_none(),
                "{} has a name of another",
                case.id
            );
            assert!(!case.summary.is_empty(), "{}", case.id);
        }
    }
}
