"""Who may import whom: docs/architecture.md, held.

Read from the source, so that imports inside functions and for type checkers count.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CODE = ("fastvlm_mlx", "convert", "benchmarks", "tests")

# Each package of the runtime, or module at its top, and what it may import of the
# others. It stands below all that it may import, so the order is the layering; inside
# a package the order is free, but without cycles. "door" is fastvlm_mlx/__init__.py.
PACKAGES = {
    "errors": "",
    "version": "",
    "paths": "errors",
    "timings": "",
    "field_checks": "errors",
    "config": "errors field_checks",
    "model_folder": "errors config",
    "options": "errors config",
    "atomic_file": "errors",
    "device": "errors version config atomic_file",
    "model": "errors config device",
    "text": "errors config model_folder",
    "caches": "errors paths config model_folder version device atomic_file model",
    "images": "errors timings paths config options device model caches",
    "planning": "errors config device model images",
    "generation": "timings options device model text planning caches images",
    "resolve": "errors paths config model_folder caches",
    "weights": "errors config model_folder device model",
    "chat_file": "errors device atomic_file images",
    "request": "errors options text images generation",
    "answer_file": "errors atomic_file request",
    "scheduling": "timings device model planning caches images generation",
    "engine": (
        "errors timings config options device model text planning caches images "
        "generation request scheduling"
    ),
    "chat": "timings options device text generation chat_file request engine",
    "batch": "errors timings generation request scheduling engine",
    "fastvlm": (
        "config model_folder options device model text planning caches generation "
        "resolve weights request engine chat batch"
    ),
    "jobs": "errors paths timings answer_file images request fastvlm",
    "door": "errors version device options generation request chat fastvlm",
    "evaluate": (
        "errors paths timings options atomic_file answer_file images request jobs "
        "fastvlm"
    ),
    "cli": (
        "door errors paths config model_folder options device model "
        "planning caches images generation resolve weights answer_file batch fastvlm "
        "jobs evaluate"
    ),
}

# What the converter may import of the runtime: all of it the first row, and the modules
# that run models to measure or judge them also what stands behind their names.
CONVERT = {
    "": (
        "errors timings field_checks config model_folder device atomic_file model text"
    ),
    "quality": "images weights",
    "quantize": "images weights",
    "__main__": "cli",  # it is the command's verb
}

# Packages from elsewhere, and the only packages or modules that may import them.
OTHERS = {
    "PIL": "images planning.measure convert.drawings convert.questions",
    "huggingface_hub": "convert.hub",
    "jinja2": "text",
    "lmms_eval": "evaluate.lmms_model evaluate.lmms_plugin",
    "mlx.core": "device.backend",
    "pi_heif": "images.formats.heif",
    "mlx.nn": "model weights caches.model_digest planning.geometry convert.calibrate",
    "mlx.utils": (
        "model weights caches.model_digest planning.geometry "
        "convert.fold convert.quality convert.calibrate"
    ),
    "numpy": (
        "images chat_file evaluate.interval "
        "convert.rescale convert.gptq convert.mlx_vlm"
    ),
    "safetensors": "convert.source",
    "tokenizers": "text convert.tokenizer",
    "tqdm": "cli.terminal",
}

# What a package or module never reaches, through whatever it imports.
NEVER = {
    "model": "PIL tokenizers jinja2 os pathlib",
    "generation": "PIL tokenizers jinja2 os pathlib",
    "config": "json os pathlib",
    "field_checks": "json os pathlib",
    "text": "mlx",
    "planning.memory_plan": "mlx PIL tokenizers numpy os pathlib",
    "options": "mlx PIL tokenizers numpy os pathlib",
}

MOST_ROWS = 30
MOST_MODULES = 25

TORCH = {"torch", "torchvision", "timm", "transformers"}
TORCH_FOLDERS = (
    "benchmarks/nano",
    "benchmarks/encode.py",  # times torch beside ours, where it is installed
    "tests/nano/train",
    "tests/parity",
    "tests/goldens",
)


def modules(package: str) -> dict[str, Path]:
    """A package's files by dotted name, without the package's own."""
    files = sorted((ROOT / package).rglob("*.py"))
    return {label(file).partition(".")[2] or "door": file for file in files}


def label(file: Path) -> str:
    """The dotted name of a module; a package goes by its folder."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text("utf-8"))


@cache
def imports(file: Path) -> frozenset[str]:
    """Absolute names of what a file imports; its own package is its folder."""
    return frozenset(_imports(file))


def _imports(file: Path) -> Iterator[str]:
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
    if (folder / f"{name}.py").is_file() or (folder / name / "__init__.py").is_file():
        return f"{home}.{name}"
    return f"mlx.{name}" if home == "mlx" else home


RUNTIME_FILES, CONVERT_FILES = modules("fastvlm_mlx"), modules("convert")
SHIPPED = [*RUNTIME_FILES.values(), *CONVERT_FILES.values()]


def own(file: Path, package: str = "fastvlm_mlx") -> set[str]:
    """Modules of a package that a file imports; "door" is the package itself."""
    found = {name for name in imports(file) if name.partition(".")[0] == package}
    return {name.partition(".")[2] or "door" for name in found}


def room(module: str) -> str:
    """The package that a module of the runtime is in, or its own name at the top."""
    return "cli" if module == "__main__" else module.partition(".")[0]


def reached(module: str) -> set[str]:
    """All modules of the runtime that an import of one executes, but packages' own."""
    found, open_ = set[str](), [module]
    while open_:
        each = open_.pop()
        if each not in found:
            found.add(each)
            open_ += own(RUNTIME_FILES[each]) - {"door"}
    return found


def within(name: str, allowed: Iterable[str]) -> bool:
    """Whether a module is one of these, or in one of these packages."""
    return any(name == each or name.startswith(f"{each}.") for each in allowed)


def test_the_table_is_layered_and_short() -> None:
    above: set[str] = set()
    faults = []
    for package, allowed in PACKAGES.items():
        faults += [f"{package} -> {each}" for each in set(allowed.split()) - above]
        above.add(package)
    assert not faults
    assert len(PACKAGES) <= MOST_ROWS


def test_every_package_has_its_place() -> None:
    assert PACKAGES.keys() == {room(module) for module in RUNTIME_FILES}


def test_packages_import_what_they_may() -> None:
    faults = [
        f"{module} -> {found}"
        for module, file in RUNTIME_FILES.items()
        for found in own(file)
        if room(found) not in {room(module), *PACKAGES[room(module)].split()}
    ]
    assert not faults


def test_there_are_no_cycles() -> None:
    faults = []
    for files, package in ((RUNTIME_FILES, "fastvlm_mlx"), (CONVERT_FILES, "convert")):
        left = {
            module: own(file, package) & files.keys() for module, file in files.items()
        }
        while left:
            free = {module for module, found in left.items() if not found - {module}}
            if not free:
                faults.append(sorted(left))
                break
            left = {m: found - free for m, found in left.items() if m not in free}
    assert not faults


def packages() -> set[str]:
    """Folders with code, of what ships and of the benchmarks, relative to the root."""
    files = [file for name in CODE[:3] for file in (ROOT / name).rglob("*.py")]
    return {file.parent.relative_to(ROOT).as_posix() for file in files}


def test_no_folder_is_crowded() -> None:
    counts = {each: len([*(ROOT / each).glob("*.py")]) for each in packages()}
    assert not {each: n for each, n in counts.items() if n > MOST_MODULES}


def test_the_architecture_lists_the_packages() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    listed = set(re.findall(r"^\| `([\w/]+)/` \|", text, re.MULTILINE)) - {"tests"}
    assert listed == {each for each in packages() if _is_listed(each)}


def _is_listed(package: str) -> bool:
    """All that ships; of the benchmarks the first folders that are programs."""
    if package.startswith("benchmarks/"):
        return package.count("/") == 1 and package != "benchmarks/measuring"
    return True


def test_convert_imports_of_the_runtime() -> None:
    faults = [
        f"{module} -> {found}"
        for module, file in CONVERT_FILES.items()
        for found in own(file)
        if not within(found, (CONVERT[""] + " " + CONVERT.get(module, "")).split())
    ]
    assert not faults


def test_siblings_are_imported_relatively() -> None:
    """Since `convert` is called fastvlm_mlx.convert once installed."""
    faults = []
    for file in SHIPPED:
        for node in ast.walk(tree(file)):
            if isinstance(node, ast.Import):
                named = {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                named = {str(node.module)}
            else:
                continue
            top = file.relative_to(ROOT).parts[0]
            faults += [
                f"{label(file)}: {name}"
                for name in named
                if name.split(".")[0] == top or name.startswith("fastvlm_mlx.convert")
            ]
    assert not faults


def test_the_runtime_reaches_the_converter_by_name() -> None:
    faults = []
    for module, file in RUNTIME_FILES.items():
        names = {n.value for n in ast.walk(tree(file)) if isinstance(n, ast.Constant)}
        if own(file, "convert"):
            faults.append(module)
        if "fastvlm_mlx.convert" in names and not within(module, ["resolve", "cli"]):
            faults.append(module)
    assert not faults


def test_packages_from_elsewhere() -> None:
    known = sys.stdlib_module_names | {"fastvlm_mlx", "convert"}
    faults = []
    for file in SHIPPED:
        for name in imports(file):
            parts = name.split(".")
            package = ".".join(parts[:2]) if parts[0] == "mlx" else parts[0]
            home = label(file).removeprefix("fastvlm_mlx.")
            if parts[0] not in known and not within(
                home, OTHERS.get(package, "").split()
            ):
                faults.append(f"{home} -> {name}")
    assert not faults


def test_contracts_hold_through_all_that_is_imported() -> None:
    faults = []
    for package, never in NEVER.items():
        for module in RUNTIME_FILES:
            if not within(module, [package]):
                continue
            for each in reached(module):
                found = {name.split(".")[0] for name in imports(RUNTIME_FILES[each])}
                for unwanted in found & set(never.split()):
                    faults.append(f"{module} reaches {unwanted} through {each}")
    assert not faults


def test_only_the_terminal_prints() -> None:
    faults = []
    for file in SHIPPED:
        spoken = [
            node
            for node in ast.walk(tree(file))
            if (isinstance(node, ast.Name) and node.id in ("print", "input"))
            or (isinstance(node, ast.Attribute) and node.attr in ("stdout", "stderr"))
        ]
        if spoken and label(file) not in (
            "fastvlm_mlx.cli.terminal",
            "fastvlm_mlx.cli",
        ):
            faults.append(label(file))
    assert not faults


def test_torch_stays_in_its_rooms() -> None:
    faults = []
    for folder in CODE:
        for file in (ROOT / folder).rglob("*.py"):
            path = file.relative_to(ROOT).as_posix()
            found = {name.split(".")[0] for name in imports(file)}
            if found & TORCH and not path.startswith(TORCH_FOLDERS):
                faults.append(path)
    assert not faults


def test_programs_and_what_they_measure_with_are_apart() -> None:
    """Every module of `benchmarks` can be started, none of `measuring` imports one."""
    folder = ROOT / "benchmarks"
    programs = {file.stem for file in folder.glob("*.py")} - {"__init__"}
    texts = {name: (folder / f"{name}.py").read_text() for name in programs}
    assert not [n for n, text in texts.items() if '__name__ == "__main__"' not in text]
    files = (folder / "measuring").glob("*.py")
    assert not [file.name for file in files if own(file, "benchmarks") & programs]


def test_every_module_has_a_name_that_says_something() -> None:
    vague = {"utils", "util", "common", "helpers", "helper", "misc"}
    paths = [p.relative_to(ROOT) for folder in CODE for p in (ROOT / folder).rglob("*")]
    assert not [path for path in paths if path.stem in vague]


@pytest.mark.parametrize(
    ("statement", "unwanted"),
    [
        # `fastvlm-mlx --help` must not wait for MLX
        ("import fastvlm_mlx", "mlx.core numpy PIL tokenizers huggingface_hub"),
        ("import fastvlm_mlx.cli", "mlx.core numpy PIL tokenizers huggingface_hub"),
        ("import fastvlm_mlx.fastvlm", "torch transformers huggingface_hub convert"),
        ("import convert", "torch transformers huggingface_hub fastvlm_mlx.fastvlm"),
    ],
)
def test_what_an_import_brings_along(statement: str, unwanted: str) -> None:
    code = f"{statement}, sys\nprint(*sys.modules)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & set(unwanted.split())
