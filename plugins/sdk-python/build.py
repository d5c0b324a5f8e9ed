"""Builds the Python plugin in a folder: `python3 build.py [FOLDER] [-o OUT]`, the folder being this one by default.

The folder holds `pyproject.toml`, which names the plugin and its version, and the module `app.py` with its functions.
What it needs (componentize-py, as `requirements.txt` beside this file pins it) is installed once, into the folder
`.tools` of the project or wherever HEDDLE_TOOLS says. The component is `build/NAME.wasm`.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile

if sys.version_info < (3, 11):
    sys.exit("Python 3.11 or newer is needed to build a plugin; this is " + sys.version.split()[0])

import tomllib
import venv

SDK = pathlib.Path(__file__).resolve().parent
# The contract, two folders up: the same place in a project and in the repository of Heddle.
WIT = SDK.parent.parent / "wit" / "0.1.0"
# The component starts the interpreter once, when it is built; then the order of sets is settled for good.
ENTRY = "import app\nfrom heddle.guest import Node, Tool\n"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("folder", nargs="?", type=pathlib.Path, default=pathlib.Path.cwd())
    arguments.add_argument("-o", "--output", type=pathlib.Path, help="default: build/NAME.wasm")
    given = arguments.parse_args()
    folder = given.folder.resolve()
    name, version = identity(folder)
    output = (given.output or folder / "build" / f"{name}.wasm").resolve()
    output.parent.mkdir(parents=True, exist_ok=True)
    tools = pathlib.Path(os.environ.get("HEDDLE_TOOLS") or folder / ".tools").resolve()
    componentize = installed(tools) / "componentize-py"
    with tempfile.TemporaryDirectory() as scratch:
        pathlib.Path(scratch, "heddle_entry.py").write_text(ENTRY)
        component_file = pathlib.Path(scratch, "plugin.wasm")
        paths = [path for at in (scratch, folder, SDK) for path in ("-p", str(at))]
        run([componentize, "--quiet", "-d", WIT, "-w", "plugin", "componentize", *paths, "heddle_entry", "-o", component_file])
        component = component_file.read_bytes() + section("heddle-plugin", f"{name}@{version}")
    part = output.with_suffix(".part")
    part.write_bytes(component)
    part.replace(output)
    print(f"{output}: {name}@{version}, {len(component) / 1e6:.1f} MB")


def identity(folder: pathlib.Path) -> tuple[str, str]:
    """The plugin's name and version."""
    manifest = folder / "pyproject.toml"
    if not manifest.is_file() or not (folder / "app.py").is_file():
        sys.exit(f"{folder} holds no plugin: it needs pyproject.toml (its name and version) and app.py (its functions)")
    project = tomllib.loads(manifest.read_text(encoding="utf-8")).get("project", {})
    if not project.get("name") or not project.get("version"):
        sys.exit(f"{manifest}: [project] must have a name and a version, which are the plugin's")
    return project["name"], project["version"]


def installed(tools: pathlib.Path) -> pathlib.Path:
    """The folder of programs of a virtual environment with the requirements installed."""
    programs = tools / ("Scripts" if os.name == "nt" else "bin")
    wanted = (SDK / "requirements.txt").read_text(encoding="utf-8")
    stamp = tools / "installed.txt"
    if not stamp.is_file() or stamp.read_text(encoding="utf-8") != wanted:
        print(f"installing componentize-py into {tools}, once", flush=True)
        venv.create(tools, clear=True, with_pip=True)
        # pip shows its progress.
        pip = [programs / "python", "-m", "pip", "install", "--disable-pip-version-check"]
        run([*pip, "--only-binary", ":all:", "--requirement", SDK / "requirements.txt"])
        stamp.write_text(wanted, encoding="utf-8")
    return programs


def section(name: str, text: str) -> bytes:
    """A custom section of a component."""
    body = length(len(name)) + name.encode() + text.encode()
    return b"\0" + length(len(body)) + body


def length(number: int) -> bytes:
    """A number as LEB128, which WebAssembly writes lengths in."""
    written = bytearray()
    while True:
        number, low = number >> 7, number & 0x7F
        written.append(low | (0x80 if number else 0))
        if not number:
            return bytes(written)


def run(command: list) -> None:
    words = [str(word) for word in command]
    # Paths of the caller's own Python must not enter the component.
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(words, env=environment)
    if done.returncode:
        sys.exit(f"`{' '.join([pathlib.Path(words[0]).name, *words[1:]])}` failed ({done.returncode})")


if __name__ == "__main__":
    main()
