"""Templates escape what people and models write."""

import pytest
from jinja2 import UndefinedError

from chat_app.pages.markup import render
from chat_app.presenters.chat import ConversationLine
from chat_app.words import EN


def test_a_title_cannot_leave_its_attribute() -> None:
    line = ConversationLine(1, "\"><script>alert('x')</script>", True)
    html = render("conversations", lines=[line], words=EN)
    assert "<script>" not in html
    assert 'title="&#34;&gt;&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;"' in html


def test_a_value_the_template_lacks_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        render("notice", text="x")
