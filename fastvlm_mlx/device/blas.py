"""A fast BLAS under MLX on Linux, and under nothing else in the process.

MLX's CPU wheel for Linux links the reference BLAS, about twenty times slower than
OpenBLAS on a float32 matmul (benchmarks/README.md). So OpenBLAS is loaded privately
(RTLD_LOCAL) and the few addresses through which libmlx calls `cblas_*gemm` are set to
its functions. That works before and after other libraries are imported, and none of
them notices: a name that torch or SciPy looks up is never answered by this OpenBLAS.

The addresses lie in libmlx's global offset table, found through its dynamic section as
the ELF standard describes it (System V ABI, "Dynamic Linking"; the relocation types do
not matter here). One is changed only where it holds, at that moment, the address of the
function of that name in a reference BLAS. On macOS MLX uses Accelerate and nothing is
done.
"""

import ctypes
import os
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SWITCH = "FASTVLM_MLX_BLAS"
"""Environment variable; 0 leaves MLX the BLAS that it was built with."""

_RUNTIME_NAME = b"libgfortran.so.5"
_PATIENCE = "OPENBLAS_THREAD_TIMEOUT"

# elf.h: tags of the dynamic section; a relocation with its addend; a symbol
_STRTAB, _SYMTAB, _RELA, _RELASZ, _PLTRELSZ, _JMPREL = 5, 6, 7, 8, 2, 23
_RELOCATION, _SYMBOL_BYTES = struct.Struct("<QQq"), 24

_DLINFO_LINK_MAP = 2  # dlfcn.h: RTLD_DI_LINKMAP
_READ, _READ_WRITE = 1, 3  # sys/mman.h: PROT_*

_openblas: ctypes.CDLL | None = None


class _LinkMap(ctypes.Structure):
    """link.h: the part of a loaded library that debuggers may read."""

    _fields_ = (
        ("base", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
        ("dynamic", ctypes.c_void_p),
    )


class _Origin(ctypes.Structure):
    """dlfcn.h: Dl_info, where an address belongs."""

    _fields_ = (
        ("file", ctypes.c_char_p),
        ("base", ctypes.c_void_p),
        ("symbol", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
    )


def load() -> str | None:
    """Give MLX OpenBLAS, if it calls the reference BLAS; once, after its import.

    Returns:
        The file of the BLAS that MLX calls now, or None where it is the reference BLAS
        or cannot be known: not Linux, no OpenBLAS on this machine, an MLX that was
        built in another way, or FASTVLM_MLX_BLAS=0.
    """
    library = _libmlx()
    if library is None:
        return None
    slots = _slots(library)
    if os.environ.get(SWITCH) != "0" and any(map(_is_reference, slots.values())):
        _replace(slots)
        slots = _slots(library)
    files = {file for file, _ in slots.values()}
    known = slots and not any(map(_is_reference, slots.values()))
    return files.pop() if known else None


def hint() -> str | None:
    """One line for a Linux user whose matmuls run on the reference BLAS."""
    library = _libmlx()
    if os.environ.get(SWITCH) == "0" or library is None or load():
        return None
    if not _slots(library):  # an MLX built in another way: nobody knows
        return None
    return (
        "MLX runs on its reference BLAS here, about 20 times slower than it could: "
        "pip install cmeel-openblas, or start Python with LD_PRELOAD=libopenblas.so.0."
    )


def _libmlx() -> ctypes.CDLL | None:
    """The library that computes, if this is Linux and MLX is imported."""
    core = sys.modules.get("mlx.core")
    if sys.platform != "linux" or core is None or not core.__file__:
        return None
    try:
        return ctypes.CDLL("libmlx.so", mode=os.RTLD_NOLOAD)  # by name, wherever it is
    except OSError:  # linked into the module itself
        return ctypes.CDLL(core.__file__, mode=os.RTLD_NOLOAD)


def _slots(library: ctypes.CDLL) -> dict[int, tuple[str, str]]:
    """Where a library keeps the addresses of BLAS functions: file and name by slot."""
    at = _link_map(library)
    tags = dict(_dynamic(at))
    found: dict[int, tuple[str, str]] = {}
    for table, size in ((_JMPREL, _PLTRELSZ), (_RELA, _RELASZ)):
        entries = ctypes.string_at(tags[table], tags[size]) if table in tags else b""
        for offset, info, _ in _RELOCATION.iter_unpack(entries):
            index = info >> 32
            symbol = tags[_SYMTAB] + index * _SYMBOL_BYTES
            name = tags[_STRTAB] + ctypes.c_uint32.from_address(symbol).value
            if index and ctypes.string_at(name, 6) == b"cblas_":
                slot = at.base + offset
                found[slot] = (_file_at(slot), ctypes.string_at(name).decode())
    return found


def _link_map(library: ctypes.CDLL) -> Any:
    found = ctypes.POINTER(_LinkMap)()
    handle = ctypes.c_void_p(library._handle)
    if _libc().dlinfo(handle, _DLINFO_LINK_MAP, ctypes.byref(found)):
        raise OSError(f"dlinfo knows nothing of {library._name}")
    return found.contents


def _dynamic(at: Any) -> Iterator[tuple[int, int]]:
    """Tags and values; glibc has made most addresses absolute, not everywhere all."""
    entry = at.dynamic
    while (tag := ctypes.c_int64.from_address(entry).value) != 0:
        value = ctypes.c_uint64.from_address(entry + 8).value
        address = tag in (_STRTAB, _SYMTAB, _RELA, _JMPREL) and value < at.base
        yield tag, value + at.base if address else value
        entry += 16


def _file_at(slot: int) -> str:
    """The library that the address in a slot leads into; "" if into none."""
    origin = _Origin()
    target = ctypes.c_void_p.from_address(slot)
    if target.value is None or not _libc().dladdr(target, ctypes.byref(origin)):
        return ""
    return os.fsdecode(origin.file)


def _is_reference(provider: tuple[str, str]) -> bool:
    """Whether a function comes from the BLAS of netlib.org, by the file's name."""
    file = provider[0]
    if not os.path.basename(file).startswith(("libblas", "libcblas")):
        return False
    library = ctypes.CDLL(file, mode=os.RTLD_NOLOAD)
    return not hasattr(library, "openblas_get_config")  # a distribution's libblas.so.3


def _replace(slots: dict[int, tuple[str, str]]) -> None:
    """Set every slot to OpenBLAS's function, or none."""
    library = _load_openblas()
    if not all(hasattr(library, name) for _, name in slots.values()):
        return
    for slot, (_, name) in slots.items():
        address = ctypes.cast(getattr(library, name), ctypes.c_void_p).value
        _write(slot, address or 0)


def _write(slot: int, address: int) -> None:
    """One aligned store, so that a matmul in another thread sees the old or the new."""
    page = os.sysconf("SC_PAGE_SIZE")
    start = ctypes.c_void_p(slot // page * page)
    locked = not _is_writable(slot)  # full RELRO
    if locked and _libc().mprotect(start, ctypes.c_size_t(page), _READ_WRITE):
        return
    ctypes.c_void_p.from_address(slot).value = address
    if locked:
        _libc().mprotect(start, ctypes.c_size_t(page), _READ)


def _is_writable(address: int) -> bool:
    for line in Path("/proc/self/maps").read_text().splitlines():
        bounds, rights = line.split(maxsplit=2)[:2]
        low, high = (int(bound, 16) for bound in bounds.split("-"))
        if low <= address < high:
            return "w" in rights
    return False


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)


def _load_openblas() -> ctypes.CDLL | None:
    global _openblas
    for candidate in (_from_wheel, _from_system):
        if _openblas is None:
            try:
                _openblas = candidate()
            except OSError:
                continue
    return _openblas


def _from_wheel() -> ctypes.CDLL:
    """The `cmeel-openblas` wheel, a dependency of this package on Linux."""
    library = _find("cmeel.prefix/lib/libopenblas.so")
    try:
        return _load(library)
    except OSError:  # it wants a Fortran runtime, which slim systems lack
        _load_fortran_runtime()
        return _load(library)


def _from_system() -> ctypes.CDLL:
    return _load("libopenblas.so.0")


def _load_fortran_runtime() -> None:
    """Offer the Fortran runtime inside MLX's wheel under its ordinary name.

    The wheel carries libgfortran with a mangled soname, which OpenBLAS does not
    ask for. A copy in memory with the soname shortened in place is found.
    """
    _load(_find("mlx_cpu.libs/libquadmath*"))
    source = Path(_find("mlx_cpu.libs/libgfortran*"))
    mangled = source.name.encode() + b"\0"
    plain = _RUNTIME_NAME.ljust(len(mangled), b"\0")
    descriptor = os.memfd_create(_RUNTIME_NAME.decode())
    try:
        with open(descriptor, "wb", closefd=False) as copy:
            copy.write(source.read_bytes().replace(mangled, plain))
        _load(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


def _find(pattern: str) -> str:
    for folder in map(Path, sys.path):
        for match in folder.glob(pattern):
            return str(match)
    raise FileNotFoundError(pattern)


def _load(library: str) -> ctypes.CDLL:
    """Load it, and tell it how soon its threads shall sleep, unless the user has.

    After a matmul OpenBLAS's threads wait for the next one at full speed, for some
    hundredths of a second by default, on cores that MLX's own threads then lack. It
    reads its environment when it is loaded, and never again.
    """
    ours = _PATIENCE not in os.environ
    if ours:
        os.environ[_PATIENCE] = "4"  # 2**4 ticks of the clock; it takes no less
    try:
        return ctypes.CDLL(library, mode=os.RTLD_LOCAL)
    finally:
        if ours:
            del os.environ[_PATIENCE]
