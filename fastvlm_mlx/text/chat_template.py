"""The chat template of a checkpoint, filled as transformers fills it."""

import datetime
import json
import re
from pathlib import Path
from typing import Any

import jinja2
import jinja2.sandbox

from ..errors import CheckpointError
from ..model_folder import read_json


def compile_template(source: str) -> jinja2.Template:
    """Compile a chat template, in a sandbox, since it comes with a checkpoint.

    The settings and functions are those of transformers' `apply_chat_template`;
    its tag `generation`, which marks answers for training, is taken out.
    """
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    environment.filters["tojson"] = _to_json
    source = re.sub(r"{%-?\s*(end)?generation\s*-?%}", "", source)
    try:
        return environment.from_string(source)
    except jinja2.TemplateError as error:
        raise CheckpointError(f"The chat template cannot be read: {error}") from None


def load_template(folder: Path) -> jinja2.Template:
    config = read_json(folder / "tokenizer_config.json")
    source = config.get("chat_template")
    if not isinstance(source, str):
        raise CheckpointError(
            f"{folder / 'tokenizer_config.json'} has no chat_template; convert the "
            "checkpoint again."
        )
    template = compile_template(source)
    template.globals.update(_special_token_names(config))
    return template


def _strftime_now(form: str) -> str:
    return datetime.datetime.now().strftime(form)


def _to_json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def _special_token_names(config: dict[str, Any]) -> dict[str, str]:
    names = {}
    for key in ("bos_token", "eos_token", "pad_token", "unk_token"):
        value = config.get(key)
        value = value.get("content") if isinstance(value, dict) else value
        names[key] = value if isinstance(value, str) else ""
    return names
