"""Our own layouts, and a trained system prompt, as Jinja templates for other programs. No torch.

Each renders the text that training saw. Only what every engine has is used: no filters, no macros.
"""

from __future__ import annotations

import json

from vox_populi.data.training_text import ChatTemplate
from vox_tensor.chat_markup import IM_START

_REASONING = (
    "{% if message['role'] == 'assistant' and message['reasoning_content'] %}"
    "{{ '<think>\\n' + message['reasoning_content'] + '\\n</think>\\n\\n' }}{% endif %}"
)
_ROLE = (
    "{% if message['role'] == 'developer' %}{{ 'system' }}"
    "{% else %}{{ message['role'] }}{% endif %}"
)
_SEPARATOR = "{% if not loop.first %}{{ '\\n' }}{% endif %}"
_CONTENT = "{{ message['content'] }}"


def served_template(
    layout: ChatTemplate, end: str, system_prompt: str | None, bos: str = ""
) -> str:
    """One of our layouts as a template.

    Args:
        layout: ChatML or the plain layout.
        end: Text of the token that ends an answer.
        system_prompt: System prompt for conversations without a system message.
        bos: Text of the token that every text starts with, if the base has one.
    """
    assert not layout.is_rendered, "it has a template of its own"
    start = f"{{{{ {_literal(bos)} }}}}" if bos else ""
    body = start + (_chatml(end) if layout is ChatTemplate.CHATML else _plain(end))
    return body if not system_prompt else with_system_prompt(body, system_prompt)


def with_system_prompt(template: str, system_prompt: str) -> str:
    """A template that puts a system prompt in front of conversations without a system message."""
    message = f"{{'role': 'system', 'content': {_literal(system_prompt)}}}"
    return (
        "{% set trained = namespace(has_system=false) %}{% for message in messages %}"
        "{% if message['role'] == 'system' or message['role'] == 'developer' %}"
        "{% set trained.has_system = true %}{% endif %}{% endfor %}"
        f"{{% if not trained.has_system %}}{{% set messages = [{message}] + messages %}}"
        "{% endif %}"
        f"{template}"
    )


def _chatml(end: str) -> str:
    start = _literal(IM_START)
    header = f"{{{{ {start} }}}}{_ROLE}{{{{ '\\n' }}}}"
    opening = f"{{{{ {_literal(chr(10) + IM_START)} + 'assistant\\n' }}}}"
    return (
        f"{{% for message in messages %}}{_SEPARATOR}{header}{_REASONING}{_CONTENT}"
        f"{{{{ {_literal(end)} }}}}{{% endfor %}}"
        f"{{% if add_generation_prompt %}}{opening}{{% endif %}}"
    )


def _plain(end: str) -> str:
    ended = f"{{% if message['role'] == 'assistant' %}}{{{{ {_literal(end)} }}}}{{% endif %}}"
    return (
        f"{{% for message in messages %}}{_SEPARATOR}{_REASONING}{_CONTENT}{ended}{{% endfor %}}"
        "{% if add_generation_prompt %}{{ '\\n' }}{% endif %}"
    )


def _literal(text: str) -> str:
    """A text as a Jinja literal; JSON's escapes are Python's."""
    inner = json.dumps(text, ensure_ascii=False)[1:-1].replace("'", "\\'").replace('\\"', '"')
    return f"'{inner}'"
