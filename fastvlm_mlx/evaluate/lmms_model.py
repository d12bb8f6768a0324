"""FastVLM as a model of lmms-eval (0.7): `--model fastvlm_mlx --model_args …`."""

from collections.abc import Mapping, Sequence
from typing import Any

from lmms_eval.api.model import lmms

from ..fastvlm import load
from ..request import Request

_LONGEST = 1024
"""Tokens, where a task sets no length; lmms-eval's own models have it so."""

_OURS = {"max_new_tokens": "max_tokens", "temperature": "temperature", "top_p": "top_p"}
"""Names of generation arguments there and here."""


class FastVLMForLmms(lmms):  # type: ignore[misc]  # it has no types
    """Answers what lmms-eval asks, many questions at a time.

    Args:
        pretrained: "nano", a folder or a hub id.
        batch_size: answers that grow at a time.
        resolution: as in GenerationOptions; None is the checkpoint's own.
        revision, dtype, memory_limit: as in `fastvlm_mlx.load`.
        device: told by lmms-eval to every model; MLX has its own.
    """

    is_simple = True

    def __init__(
        self,
        pretrained: str = "nano",
        batch_size: int | str = 1,
        resolution: int | str | None = None,
        revision: str | None = None,
        dtype: str | None = None,
        memory_limit: int | str | None = None,
        device: str | None = None,
        **others: Any,
    ) -> None:
        super().__init__()
        unknown = sorted(others.keys() - {"max_batch_size"})
        if unknown:
            raise ValueError(
                f"fastvlm_mlx has no model argument {', '.join(unknown)}; expected "
                "pretrained, batch_size, resolution, revision, dtype or memory_limit."
            )
        self._batch_size = int(batch_size)
        self._preprocessing: dict[str, Any] = (
            {} if resolution is None else {"resolution": resolution}
        )
        self._vlm = load(
            pretrained, revision=revision, dtype=dtype, memory_limit=memory_limit
        )

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """Answers in the order of the requests.

        Raises:
            FastVLMError: the first request that cannot be answered says why.
        """
        asked = (self._request(*request.args) for request in requests)
        return [
            outcome.text
            for outcome in self._vlm.batch(asked, batch_size=self._batch_size)
        ]

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """Not offered: the tasks of the paper are all answered in words."""
        raise NotImplementedError("fastvlm_mlx answers tasks of type generate_until")

    def generate_until_multi_round(self, requests: Sequence[Any]) -> list[str]:
        """Not offered: FastVLM was trained on single images."""
        raise NotImplementedError("fastvlm_mlx answers tasks of type generate_until")

    def _request(
        self,
        context: str,
        given: Mapping[str, Any],
        doc_to_visual: Any,
        place: int,
        task: str,
        split: str,
    ) -> Request:
        images = doc_to_visual(self.task_dict[task][split][place])
        return Request(context, images, **options_from(given), **self._preprocessing)


def options_from(given: Mapping[str, Any]) -> dict[str, Any]:
    """Generation arguments of a task as ours.

    Greedy is spelt `do_sample: False` or a temperature of 0 there; a `top_p` of 0 then
    means nothing.
    """
    options = {_OURS[name]: value for name, value in given.items() if name in _OURS}
    options = {name: value for name, value in options.items() if value is not None}
    options.setdefault("max_tokens", _LONGEST)
    if not given.get("do_sample") or not options.get("temperature"):
        options["temperature"] = 0.0
        options.pop("top_p", None)
    until = given.get("until") or []
    stop = [until] if isinstance(until, str) else list(until)
    return {**options, "stop": [text for text in stop if text]}
