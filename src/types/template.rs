//! Puts values into the marked places of a template.

/// Replaces each `{{NAME}}` whose name is among `values`, in a single pass: a value is never looked into, so text from an
/// order or a repository that looks like a mark stays text. Marks with other names stay as they are.
pub fn render_template(template: &str, values: &[(&str, &str)]) -> String {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(start) = rest.find("{{") {
        let (before, mark) = rest.split_at(start);
        out.push_str(before);
        let known = values.iter().find_map(|(name, value)| {
            let after = mark.strip_prefix("{{")?.strip_prefix(name)?.strip_prefix("}}")?;
            Some((*value, after))
        });
        let (text, after) = known.unwrap_or_else(|| mark.split_at(1));
        out.push_str(text);
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_occurrence_of_a_known_mark_is_replaced() {
        assert_eq!(render_template("{{A}}-{{B}}-{{A}}", &[("A", "1"), ("B", "")]), "1--1");
    }

    #[test]
    fn a_mark_inside_a_value_is_text() {
        assert_eq!(
            render_template("{{A}}{{B}}", &[("A", "{{B}}"), ("B", "{{A}}")]),
            "{{B}}{{A}}"
        );
        assert_eq!(render_template("{{A}}B}}", &[("A", "{{"), ("B", "x")]), "{{B}}");
    }

    #[test]
    fn what_is_no_known_mark_stays() {
        for text in ["{{C}}", "{{A", "{{ A }}", "{A}", "{{", "{", ""] {
            assert_eq!(render_template(text, &[("A", "1")]), text);
        }
        assert_eq!(render_template("{{{A}}}", &[("A", "1")]), "{1}");
    }
}
