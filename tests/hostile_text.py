"""Texts that some place would take for more than text: names of columns, classes and files as somebody may give."""

TAGS = [
    "<img src=x onerror=alert(1)>", "<script>alert(1)</script>", "</td></tr></table><h1>gone</h1>",
    "<svg/onload=alert(1)>",
    "<a href='javascript:alert(1)'>ndvi</a>", "<!-- hidden", "--> shown <!--", "<![CDATA[x]]>", "<?php echo 1 ?>",
    "<b>bold",
    "<iframe src=//example.com>", "&lt;img src=x&gt;", "&#60;img src=x&#62;", "<details open ontoggle=alert(1)>",
    "<style>*{display:none}</style>", "<div\nonclick=alert(1)>", "<javascript:alert(1)>", "<https://example.com>",
    "<me@example.com>",
]  # fmt: skip
MARKDOWN = [
    "![ndvi](https://example.com/a.png)", "[ndvi](javascript:alert(1))", "[ndvi](<javascript:alert(1)>)",
    "[a][b]\n\n[b]: javascript:x",
    "[b]: javascript:alert(1)", "![x][b]", "](https://example.com)", "[", "a](b", "# heading", "## Results",
    "heading\n===", "heading\n---",
    "---", "***", "___", "===", "- item", "* item", "+ item", "1. item", "2) item", "> quote", "    code", "\tcode",
    "a | b | c", "|---|---|",
    "\\", "a\\", "\\|", "\\\\|", "a\\|b", "*bold*", "**bold**", "_soft_", "__init__", "~~gone~~", "`code`", "``",
    "```", "````\n# out\n",
    "```\n# out\n```", "~~~\n# out", "`", "a`b``c", "a\n\nb", "a\r\nb", "line  \nbreak", "[ ] task", "[^1]: note",
    "$x^2$", "$$\\frac{1}{0}$$",
]  # fmt: skip
SETTINGS = [
    "---\nlicense: mit\n---", "a: b", "- a", "!!python/object/apply:os.system [ls]", "&anchor", "*alias", "{a: b}",
    "yes", "null", "'", '"',
    "%TAG", "# comment", "? key", "@at", "{{ 7 * 7 }}", "{% raw %}", '"); import os; ("', '\\"); import os; ("',
    "%s %(a)s {0} {a}", "a\\nb",
]  # fmt: skip
UNSEEN = [
    "\x1b[2J\x1b[1;31mred", "\x1b]0;title\x07", "\x00", "a\x00b", "\x07", "\x08\x08\x08", "\x7f", "\x9b31m",
    "\u202egpj.exe", "\u2066a\u2069",
    "\ufeffa", "a\u2028b", "a\u2029b", "a\x0bb\x0cc", "a\x85b", "\ud800", "re\u200bd", "\U000e0041", "\r# over",
]  # fmt: skip
LONG = ["x" * 5_000, "[" * 1_000, "<" * 1_000, "`" * 1_000, "> " * 200 + "x"]
HARMLESS = ["Größe (m²)", "作物", "الري", "می‌خواهم", "🌾 wheat", "R&D", "t/ha", "-0.5", "a_b_c", "5 %", "C3 + C4"]

HOSTILE = [*TAGS, *MARKDOWN, *SETTINGS, *UNSEEN, *LONG]
