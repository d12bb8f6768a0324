"""Who may import whom: docs/architecture.md, held.

Read from the source, so that imports inside functions and for type checkers count.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from benchmarks import TORCH_FIRST

ROOT = Path(__file__).parents[1]
CODE = ("fastvlm_mlx", "convert", "benchmarks", "tests")

# Each module of the runtime and what it may import of the others. A module stands
# below all that it may import, so the order is the layering.
RUNTIME = {
    "errors": "",
    "version": "",
    "blas": "",
    "heap": "",
    "mlx_lm_door": "",
    "stopping": "",
    "config": "errors",
    "options": "errors config",
    "frame": "errors config",
    "image": "errors frame",
    "plan": "errors config",
    "prompt": "errors config",
    "resolve": "errors config",
    "backend": "errors blas heap config",
    "memory": "config backend",
    "budget": "errors backend memory plan",
    "whole_file": "backend",
    "feature_folder": "backend whole_file",
    "feature_cache": "backend feature_folder",
    "picture": "frame image",
    "dial": "errors config frame options picture",
    "cpu_forms.attention": "backend",
    "cpu_forms.depthwise": "backend",
    "cpu_forms.conv_ffn": "backend cpu_forms.depthwise",
    "cpu_forms.gelu": "backend",
    "cpu_forms.packed": "backend",
    "cpu_forms": (
        "cpu_forms.attention cpu_forms.depthwise cpu_forms.conv_ffn cpu_forms.gelu "
        "cpu_forms.packed"
    ),
    "ops": "errors config backend cpu_forms",
    "vision": "errors config backend ops",
    "language": "errors config backend ops mlx_lm_door",
    "model": "errors config backend ops vision language",
    "joined": "backend mlx_lm_door",
    "dequantize": "errors config backend ops",
    "weights": "errors config backend dequantize joined memory model",
    "geometry": "errors config backend model",
    "roofline": "config",
    "published": "",
    "doctor": "blas backend memory",
    "measure": "config backend frame image model",
    "generate": (
        "errors config backend dial language mlx_lm_door model options prompt stopping"
    ),
    "stopwatch": "generate",
    "identity": "config version backend whole_file",
    "kv_cache": "errors backend options language mlx_lm_door",
    "prefix_cache": "kv_cache",
    "prompt_file": "errors backend kv_cache prefix_cache whole_file",
    "image_encoder": "backend feature_cache model picture",
    "request": "backend dial image_encoder model options picture prefix_cache prompt",
    "reader": "backend kv_cache language model prefix_cache request",
    "chat_file": "errors backend picture whole_file",
    "chat": "chat_file generate image options picture prompt request stopwatch",
    "caches": "memory feature_cache feature_folder picture prefix_cache",
    "rows": "backend generate language model",
    "batch_request": "errors chat generate image options",
    "batch": (
        "errors config backend memory image picture image_encoder model options prompt "
        "generate stopwatch prefix_cache request reader caches rows batch_request"
    ),
    "engine": (
        "errors config blas backend budget memory image picture image_encoder model "
        "dial options plan prompt resolve weights generate stopwatch identity kv_cache "
        "prefix_cache prompt_file request reader caches chat batch batch_request"
    ),
    "jobs": "errors batch_request engine",
    "__init__": (
        "errors version blas options dial generate caches chat batch_request engine"
    ),
    "evaluate": "",
    "evaluate.scorers": "",
    "evaluate.scorers.vqa": "",
    "evaluate.scorers.anls": "",
    "evaluate.scorers.relaxed": "",
    "evaluate.scorers.exact": "",
    "evaluate.scorers.contains": "",
    "evaluate.scorers.letters": "evaluate.scorers.exact",
    "evaluate.scorers.mmmu": "",
    "evaluate.interval": "",
    "evaluate.paper": "",
    "evaluate.whole_text": "errors",
    "evaluate.task": "",
    "evaluate.tasks": (
        "errors evaluate.scorers.vqa evaluate.scorers.anls evaluate.scorers.relaxed "
        "evaluate.scorers.exact evaluate.scorers.contains evaluate.scorers.letters "
        "evaluate.scorers.mmmu evaluate.task"
    ),
    "evaluate.table": "errors",
    "evaluate.arrow_files": "errors evaluate.table",
    "evaluate.easy_vqa_rows": "errors evaluate.table",
    "evaluate.source": ("errors evaluate.task evaluate.table evaluate.arrow_files"),
    "evaluate.pictures": "errors evaluate.table",
    "evaluate.questions": ("errors evaluate.task evaluate.table evaluate.pictures"),
    "evaluate.summary": "evaluate.interval evaluate.task",
    "evaluate.comparison": "evaluate.paper evaluate.task",
    "evaluate.run": (
        "errors options batch_request engine jobs evaluate.whole_text evaluate.paper "
        "evaluate.task evaluate.questions evaluate.summary evaluate.comparison"
    ),
    "evaluate.lmms_model": "batch_request engine",
    "evaluate.lmms_plugin": "",
    "cli.terminal": "errors",
    "cli.arguments": "errors config cli.terminal",
    "cli.prompt_cache": "engine",
    "cli.stats": "caches dial generate",
    "cli.generate": (
        "errors config dial frame image options resolve generate engine cli.terminal "
        "cli.arguments cli.prompt_cache cli.stats"
    ),
    "cli.chat": (
        "errors image options generate engine cli.terminal cli.arguments "
        "cli.prompt_cache cli.stats"
    ),
    "cli.batch": "errors batch jobs engine cli.terminal cli.arguments",
    "cli.evaluate": (
        "errors options batch engine evaluate.task evaluate.tasks evaluate.table "
        "evaluate.source evaluate.easy_vqa_rows evaluate.questions evaluate.run "
        "cli.terminal cli.arguments"
    ),
    "cli.quality": "resolve cli.terminal cli.arguments",
    "cli.convert": "errors resolve cli.terminal cli.arguments cli.quality",
    "cli.inspect": "resolve cli.terminal cli.arguments",
    "cli.plan": (
        "errors config backend budget model geometry options picture plan resolve "
        "cli.terminal cli.arguments"
    ),
    "cli.doctor": "doctor cli.terminal cli.arguments",
    "cli.benchmark": (
        "errors config backend budget dequantize joined memory model geometry image "
        "measure model options plan published resolve roofline weights cli.terminal "
        "cli.arguments"
    ),
    "cli": (
        "__init__ cli.terminal cli.arguments cli.generate cli.chat cli.batch "
        "cli.convert cli.inspect cli.quality cli.plan cli.doctor cli.benchmark "
        "cli.evaluate"
    ),
    "__main__": "cli",
}

# What the converter may import of the runtime, and of itself in this order.
CONVERT_FROM_RUNTIME = {"errors", "config", "backend", "model", "prompt"}
CONVERT_FROM_TOWER = {"ops", "vision"}  # rescale alone runs the tower to measure it
CONVERT_FROM_LOADING = {"memory", "frame", "weights"}  # to judge whole models
CONVERT = {
    "reparameterize": "",
    "read": "",
    "layout": "reparameterize",
    "names": "read layout",
    "packed": "read layout",
    "tower": "reparameterize read layout names",
    "tokenizer": "",
    "architecture": "read names tokenizer",
    "recipe": "names",
    "quantize": "layout names recipe",
    "drawings": "",
    "questions": "drawings",
    "quality": "questions",
    "write": "read layout",
    "calibration": "",
    "rescale": "layout calibration",
    "gptq": "layout",
    "calibrate": "layout names questions quality gptq",
    "shrink": "tokenizer layout recipe quantize quality calibrate",
    "card": "quality",
    "mlx_vlm": "reparameterize layout names tokenizer rescale write",
    "fold": "read layout names packed tower tokenizer architecture rescale",
    "inspection": "read names packed tokenizer architecture fold",
    "download": "read architecture",
    "upload": "",
    "checkpoint": (
        "layout packed recipe rescale questions quality shrink write card mlx_vlm fold"
    ),
    "__init__": ("checkpoint quality questions recipe inspection download upload"),
    "__main__": "",  # it is the command, so it alone imports the cli
}

# Packages from elsewhere, and the only modules that may import them.
OTHERS = {
    "PIL": (
        "fastvlm_mlx.frame fastvlm_mlx.image fastvlm_mlx.measure "
        "convert.drawings convert.questions"
    ),
    "huggingface_hub": "convert.download convert.upload",
    "jinja2": "fastvlm_mlx.prompt",
    "lmms_eval": "fastvlm_mlx.evaluate.lmms_model fastvlm_mlx.evaluate.lmms_plugin",
    "mlx.core": "fastvlm_mlx.backend",
    "mlx.nn": (
        "fastvlm_mlx.vision fastvlm_mlx.language fastvlm_mlx.model "
        "fastvlm_mlx.dequantize fastvlm_mlx.weights fastvlm_mlx.ops "
        "fastvlm_mlx.identity fastvlm_mlx.geometry fastvlm_mlx.joined convert.calibrate"
    ),
    "mlx.utils": (
        "fastvlm_mlx.dequantize fastvlm_mlx.identity fastvlm_mlx.weights "
        "fastvlm_mlx.model fastvlm_mlx.geometry "
        "convert.fold convert.quality convert.calibrate"
    ),
    "numpy": (
        "fastvlm_mlx.frame fastvlm_mlx.image fastvlm_mlx.chat_file "
        "fastvlm_mlx.evaluate.interval "
        "convert.calibration convert.gptq convert.mlx_vlm"
    ),
    "safetensors": "convert.read",
    "tokenizers": "fastvlm_mlx.prompt convert.tokenizer",
    "tqdm": "fastvlm_mlx.cli.terminal",
}

TORCH = {"torch", "torchvision", "timm", "transformers"}
TORCH_FOLDERS = (
    "benchmarks/__init__.py",  # loads it first where it computes
    "benchmarks/nano",
    "benchmarks/encode.py",  # times torch beside ours, where it is installed
    "tests/parity",
    "tests/goldens",
)


def modules(package: str) -> dict[str, Path]:
    """A package's files by module name; a folder inside it is one module and more."""
    files = sorted((ROOT / package).rglob("*.py"))
    return {label(file).removeprefix(f"{package}."): file for file in files}


def label(file: Path) -> str:
    """The dotted name of a module; a package inside a package goes by its folder."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    inside = len(parts) > 2 and parts[-1] == "__init__"
    return ".".join(parts[:-1] if inside else parts)


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text("utf-8"))


def imports(file: Path) -> Iterator[str]:
    """Absolute names of what a file imports; its own package is its folder."""
    folders = file.relative_to(ROOT).parts[:-1]
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            up = len(folders) - node.level + 1
            assert up > 0, f"{file}:{node.lineno} looks above its package"
            package = folders[:up] if node.level else ()
            home = ".".join(filter(None, [*package, node.module]))
            yield from (_full_name(home, alias.name) for alias in node.names)


def _full_name(home: str, name: str) -> str:
    """`from package import name` means a module where there is one of that name."""
    folder = ROOT / home.replace(".", "/")
    if (folder / "__init__.py").is_file():
        if (folder / f"{name}.py").is_file() or (folder / name).is_dir():
            return f"{home}.{name}"
        return home if "." in home else f"{home}.__init__"
    if home == "mlx":
        return f"mlx.{name}"
    return home


def own(file: Path, package: str) -> set[str]:
    """Modules of a package that a file imports."""
    start = f"{package}."
    return {
        name.removeprefix(start) for name in imports(file) if name.startswith(start)
    }


RUNTIME_FILES, CONVERT_FILES = modules("fastvlm_mlx"), modules("convert")
SHIPPED = [*RUNTIME_FILES.values(), *CONVERT_FILES.values()]


@pytest.mark.parametrize("table", [RUNTIME, CONVERT], ids=["runtime", "convert"])
def test_the_tables_are_layered(table: dict[str, str]) -> None:
    above: set[str] = set()
    for module, allowed in table.items():
        assert set(allowed.split()) <= above, module
        above.add(module)


def test_every_module_has_its_place() -> None:
    assert RUNTIME.keys() == RUNTIME_FILES.keys()
    assert CONVERT.keys() == CONVERT_FILES.keys()


@pytest.mark.parametrize("module", RUNTIME_FILES)
def test_runtime_imports(module: str) -> None:
    found = own(RUNTIME_FILES[module], "fastvlm_mlx")
    assert found <= set(RUNTIME.get(module, "").split())


@pytest.mark.parametrize("module", CONVERT_FILES)
def test_convert_imports_its_siblings(module: str) -> None:
    assert own(CONVERT_FILES[module], "convert") <= set(CONVERT.get(module, "").split())


@pytest.mark.parametrize("module", CONVERT_FILES)
def test_convert_imports_of_the_runtime(module: str) -> None:
    special = {
        "__main__": {"cli"},
        "rescale": CONVERT_FROM_TOWER,
        "quality": CONVERT_FROM_LOADING,
        "calibrate": {"language"},
        "shrink": CONVERT_FROM_LOADING,
    }
    allowed = special.get(module, set())
    if module != "__main__":
        allowed = allowed | CONVERT_FROM_RUNTIME
    assert own(CONVERT_FILES[module], "fastvlm_mlx") <= allowed


@pytest.mark.parametrize("file", SHIPPED, ids=label)
def test_siblings_are_imported_relatively(file: Path) -> None:
    """Since `convert` is called fastvlm_mlx.convert once installed."""
    named = {
        alias.name if isinstance(node, ast.Import) else str(node.module)
        for node in ast.walk(tree(file))
        if isinstance(node, ast.Import) or isinstance(node, ast.ImportFrom)
        if isinstance(node, ast.Import) or node.level == 0
        for alias in node.names
    }
    assert not {name for name in named if name.split(".")[0] == file.parent.name}
    assert not {name for name in named if name.startswith("fastvlm_mlx.convert")}


@pytest.mark.parametrize("module", RUNTIME_FILES)
def test_the_runtime_reaches_the_converter_by_name(module: str) -> None:
    assert not own(RUNTIME_FILES[module], "convert")
    nodes = ast.walk(tree(RUNTIME_FILES[module]))
    names = {node.value for node in nodes if isinstance(node, ast.Constant)}
    if "fastvlm_mlx.convert" in names:
        assert module in ("resolve", "cli.convert", "cli.inspect", "cli.quality")


@pytest.mark.parametrize("file", SHIPPED, ids=label)
def test_packages_from_elsewhere(file: Path) -> None:
    known = sys.stdlib_module_names | {"fastvlm_mlx", "convert"}
    for name in imports(file):
        if name.split(".")[0] in known:
            continue
        parts = name.split(".")
        package = ".".join(parts[:2]) if parts[0] == "mlx" else parts[0]
        assert label(file) in OTHERS.get(package, "").split(), name


@pytest.mark.parametrize("module", ["ops", "vision", "language", "model"])
def test_the_network_knows_no_file_and_no_text(module: str) -> None:
    found = {name.split(".")[0] for name in imports(RUNTIME_FILES[module])}
    assert not found & {"io", "json", "logging", "os", "pathlib", "re", "sys"}


@pytest.mark.parametrize("file", SHIPPED, ids=label)
def test_only_the_terminal_prints(file: Path) -> None:
    spoken = {
        node.id
        for node in ast.walk(tree(file))
        if isinstance(node, ast.Name) and node.id in ("print", "input")
    } | {
        node.attr
        for node in ast.walk(tree(file))
        if isinstance(node, ast.Attribute) and node.attr in ("stdout", "stderr")
    }
    speakers = ("fastvlm_mlx.cli.terminal", "fastvlm_mlx.cli")
    assert not spoken or label(file) in speakers


@pytest.mark.parametrize("folder", CODE)
def test_torch_stays_in_its_rooms(folder: str) -> None:
    for file in (ROOT / folder).rglob("*.py"):
        path = file.relative_to(ROOT).as_posix()
        if not path.startswith(TORCH_FOLDERS):
            found = {name.split(".")[0] for name in imports(file)}
            assert not found & TORCH, path


def test_programs_that_load_torch_first_are_there() -> None:
    for name in TORCH_FIRST:
        assert (ROOT / name.replace(".", "/")).with_suffix(".py").is_file(), name


def test_programs_and_what_they_measure_with_are_apart() -> None:
    """Every module of `benchmarks` can be started, none of `measuring` imports one."""
    folder = ROOT / "benchmarks"
    programs = {file.stem for file in folder.glob("*.py")} - {"__init__"}
    for name in programs:
        assert '__name__ == "__main__"' in (folder / f"{name}.py").read_text(), name
    for file in (folder / "measuring").glob("*.py"):
        assert not own(file, "benchmarks") & programs, file.name


@pytest.mark.parametrize("folder", CODE)
def test_every_module_has_a_name_that_says_something(folder: str) -> None:
    vague = {"utils", "util", "common", "helpers", "helper", "misc"}
    paths = [path.relative_to(ROOT) for path in (ROOT / folder).rglob("*")]
    assert not [path for path in paths if path.stem in vague]


@pytest.mark.parametrize(
    ("statement", "unwanted"),
    [
        # `fastvlm-mlx --help` must not wait for MLX
        ("import fastvlm_mlx", "mlx.core numpy PIL tokenizers huggingface_hub"),
        ("import fastvlm_mlx.cli", "mlx.core numpy PIL tokenizers huggingface_hub"),
        ("import fastvlm_mlx.engine", "torch transformers huggingface_hub convert"),
        ("import convert", "torch transformers huggingface_hub fastvlm_mlx.engine"),
    ],
)
def test_what_an_import_brings_along(statement: str, unwanted: str) -> None:
    code = f"{statement}, sys\nprint(*sys.modules)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & set(unwanted.split())
