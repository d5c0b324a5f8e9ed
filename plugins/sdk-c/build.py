"""Builds the C plugin in a folder: `python3 build.py [FOLDER] [-o OUT]`, the folder being this one by default.

All `.c` files of the folder are compiled, with the SDK's. HEDDLE_PLUGIN in one of them names the plugin and its version.
What it needs (a C compiler, as `requirements.txt` beside this file pins it) is installed once, into the folder `.tools`
of the project or wherever HEDDLE_TOOLS says. `heddle plugin wrap` makes a component of what is compiled; HEDDLE names the
command where it is not on the PATH. The component is `build/NAME.wasm`.
"""

import argparse
import os
import pathlib
import re
import subprocess
import sys
import venv

SDK = pathlib.Path(__file__).resolve().parent
FLAGS = ["--target=wasm32-wasi", "-mexec-model=reactor", "-std=gnu17", "-Os", "-Wall", "-Wextra"]
# Functions have parameters that they do not use, and WASI's pointers are numbers.
FLAGS += ["-Wno-unused-parameter", "-Wno-int-to-pointer-cast"]
# The stack is a part of the memory that a call is limited to; the compiler's own default is 16 MiB.
FLAGS += ["-Wl,-z,stack-size=1048576"]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("folder", nargs="?", type=pathlib.Path, default=pathlib.Path.cwd())
    arguments.add_argument("-o", "--output", type=pathlib.Path, help="default: build/NAME.wasm")
    given = arguments.parse_args()
    folder = given.folder.resolve()
    sources = sorted(folder.glob("*.c"))
    name = identity(folder, sources)
    output = (given.output or folder / "build" / f"{name}.wasm").resolve()
    output.parent.mkdir(parents=True, exist_ok=True)
    tools = pathlib.Path(os.environ.get("HEDDLE_TOOLS") or folder / ".tools").resolve()
    module = output.with_suffix(".module")
    own = [*sorted(SDK.glob("*.c")), SDK / "generated" / "plugin.c"]
    run([installed(tools), "-m", "ziglang", "cc", *FLAGS, "-I", SDK, "-I", folder, *own, *sources, "-o", module])
    run([os.environ.get("HEDDLE") or "heddle", "plugin", "wrap", module, "--out", output])
    module.unlink()
    print(f"{output}: {output.stat().st_size / 1000:.0f} kB")


def identity(folder: pathlib.Path, sources: list[pathlib.Path]) -> str:
    """The plugin's name."""
    if not sources:
        sys.exit(f"{folder} holds no plugin: it needs a .c file with its functions")
    for source in sources:
        named = re.search(r'HEDDLE_PLUGIN\(\s*"([^"]+)"\s*,\s*"[^"]+"\s*\)', source.read_text(encoding="utf-8"))
        if named:
            return named[1]
    sys.exit(f'no file of {folder} names the plugin: write HEDDLE_PLUGIN("name", "0.1.0") at the top level of one')


def installed(tools: pathlib.Path) -> pathlib.Path:
    """A virtual environment with the requirements installed."""
    python = tools / ("Scripts" if os.name == "nt" else "bin") / "python"
    wanted = (SDK / "requirements.txt").read_text(encoding="utf-8")
    stamp = tools / "installed.txt"
    if not stamp.is_file() or stamp.read_text(encoding="utf-8") != wanted:
        print(f"installing a C compiler into {tools}, once: it takes 440 MB there", flush=True)
        venv.create(tools, clear=True, with_pip=True)
        # pip shows its progress.
        pip = [python, "-m", "pip", "install", "--disable-pip-version-check"]
        run([*pip, "--only-binary", ":all:", "--requirement", SDK / "requirements.txt"])
        stamp.write_text(wanted, encoding="utf-8")
    return python


def run(command: list) -> None:
    words = [str(word) for word in command]
    try:
        done = subprocess.run(words)
    except OSError as error:
        sys.exit(f"`{words[0]}` could not be started: {error}. Where it is elsewhere, set HEDDLE to its path")
    if done.returncode:
        sys.exit(f"`{' '.join([pathlib.Path(words[0]).name, *words[1:]])}` failed ({done.returncode})")


if __name__ == "__main__":
    main()
