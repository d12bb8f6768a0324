"""The errors a caller may catch, as one family.

* FastVLMError
    * ConfigError      a config.json that cannot describe a model
    * CheckpointError  weights that are missing, extra, misshapen or unreadable
    * ImageError       an image that cannot be opened or used
    * PromptError      a prompt that cannot be built or does not fit the model
    * OptionError      an argument outside its range
    * CacheError       a saved prompt or conversation that cannot be taken up
    * MemoryBudgetError  a model or request that takes more memory than there is
    * DeviceError      a process in which nothing can be computed (any more)
    * HubError         a model that could not be downloaded
    * JobError         a batch on disk that cannot be read or gone on with
    * WriteError       a folder or file that could not be written

Every message says what was found, what was expected and what to do next:

    try:
        vlm.generate("photo.jpg", "What is this?")
    except fastvlm_mlx.FastVLMError as error:
        print(error)
"""

LONGEST_QUOTE = 80


def quoted(value: object) -> str:
    """A value as Python writes it, in at most 80 characters: the middle is left out.

    What a message repeats may be an image in base64, or a whole file.
    """
    return shortened(repr(value))


def shortened(text: object, longest: int = LONGEST_QUOTE) -> str:
    """A name or path as it is, or its beginning and end if it is long."""
    text = str(text)
    if len(text) <= longest:
        return text
    half = (longest - 1) // 2
    return f"{text[:half]}…{text[-half:]}"


class FastVLMError(Exception):
    """Anything this package refuses or fails to do."""


class ConfigError(FastVLMError):
    """A config.json that cannot describe a model."""


class CheckpointError(FastVLMError):
    """Weights that are missing, extra, misshapen or unreadable."""


class ImageError(FastVLMError):
    """An image that cannot be opened or used."""


class PromptError(FastVLMError):
    """A prompt that cannot be built or does not fit the model."""


class OptionError(FastVLMError):
    """An argument outside its range."""


class CacheError(FastVLMError):
    """A saved prompt or conversation that is damaged or of another model."""


class MemoryBudgetError(FastVLMError):
    """A model or request that takes more memory than there is."""


class DeviceError(FastVLMError):
    """A process in which nothing can be computed: forked after a load, or ending."""


class HubError(FastVLMError):
    """A model that could not be downloaded."""


class JobError(FastVLMError):
    """A batch on disk that cannot be read or gone on with."""


class WriteError(FastVLMError):
    """A folder or file that could not be written: no permission, no room."""
