"""What a model writes becomes HTML that can do nothing."""

import pytest

from chat_app.presenters.markdown import markdown_html


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("a\nb", "<p>a<br />\nb</p>\n"),
        ("`x = 1`", "<p><code>x = 1</code></p>\n"),
        ("<script>alert(1)</script>", "<p>&lt;script&gt;alert(1)&lt;/script&gt;</p>\n"),
        ("<img src=x onerror=alert(1)>", "<p>&lt;img src=x onerror=alert(1)&gt;</p>\n"),
        ("[x](javascript:alert(1))", "<p>[x](javascript:alert(1))</p>\n"),
        ("[x](data:text/html,hi)", "<p>[x](data:text/html,hi)</p>\n"),
    ],
)
def test_markup_is_shown_and_not_run(text: str, html: str) -> None:
    assert markdown_html(text) == html


def test_an_image_is_not_fetched() -> None:
    assert "<img" not in markdown_html("![x](https://example.org/x.png)")
