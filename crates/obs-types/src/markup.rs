/// `text` as it stands in HTML or SVG, in an element or in a quoted attribute: what others named
/// never becomes markup.
pub fn html_escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::html_escaped;

    #[test]
    fn nothing_of_a_name_is_markup() {
        assert_eq!(
            html_escaped("<b a=\"x\" c='y'>&"),
            "&lt;b a=&quot;x&quot; c=&#39;y&#39;&gt;&amp;"
        );
        assert_eq!(html_escaped("ψ p(95)"), "ψ p(95)");
    }
}
