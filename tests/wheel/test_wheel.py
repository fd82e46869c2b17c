"""The wheel as a user gets it: in a fresh environment, without llama-cpp-python."""

import json
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from localllm_magics import demo
from tests.server.llama_server import LlamaServer

ROOT = Path(__file__).parents[2]
CONSTRAINTS = ROOT / "tools" / "setup" / "constraints.txt"
HEAVY = [
    "IPython",
    "anywidget",
    "httpcore",
    "httpx",
    "ipywidgets",
    "jinja2",
    "llama_cpp",
    "numpy",
    "pandas",
    "traitlets",
]

pytestmark = pytest.mark.wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the source distribution, which must hold all it takes."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT))
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Python that has the wheel and what it depends on, and nothing else."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder, symlinks=True)
    python = str(folder / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python]
    run(*pip, "install", "--quiet", "--only-binary", ":all:", "--constraint", str(CONSTRAINTS), str(wheel))
    return python


def run(*command: str, cwd: Path | None = None) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_wheel_is_small_and_complete(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}

    assert wheel.stat().st_size < 6_500_000
    assert "localllm_magics/demo/demo.gguf" in names
    assert "localllm_magics/py.typed" in names
    assert [name for name in names if name.startswith("localllm_magics/") and name.endswith("schema.json")]
    assert {Path(name).suffix for name in names if name.startswith("localllm_magics/widgets/")} == {
        ".py",
        ".js",
        ".css",
    }
    assert {top for top in tops if not top.endswith(".dist-info")} == {"localllm_magics"}


def test_package_names_what_it_promises(python: str, tmp_path: Path) -> None:
    script = "import localllm_magics as m; print([n for n in m.__all__ if not hasattr(m, n)])"

    assert run(python, "-c", script, cwd=tmp_path).strip() == "[]"


def test_import_is_light(python: str, tmp_path: Path) -> None:
    script = "import json, sys, localllm_magics; print(json.dumps(sorted(sys.modules)))"

    loaded = json.loads(run(python, "-c", script, cwd=tmp_path))

    assert [name for name in HEAVY if name in loaded] == []


def test_kernel_engine_says_what_to_install(python: str, tmp_path: Path) -> None:
    lines = [
        "import localllm_magics as m",
        "try: m.load('demo')",
        "except m.LocalLLMError as error: print(error.kind, error.hint)",
    ]

    said = run(python, "-c", "\n".join(lines), cwd=tmp_path)

    assert said.startswith("engine_not_installed")
    assert "localllm-magics[llama]" in said or "llama-cpp-python" in said


def test_picker_has_its_page(python: str, tmp_path: Path) -> None:
    script = "import localllm_magics as m; p = m.ModelPicker(); print('class Picker' in p.get_state('_esm')['_esm'])"

    assert run(python, "-c", script, cwd=tmp_path).strip() == "True"


def test_extension_loads(python: str, tmp_path: Path) -> None:
    lines = ["%load_ext localllm_magics", "print('lsmagic:', 'llm' in get_ipython().magics_manager.magics['cell'])"]
    script = tmp_path / "session.ipy"
    script.write_text("\n".join(lines), "utf-8")

    said = run(python, "-m", "IPython", "--no-banner", "--ipython-dir", str(tmp_path), str(script), cwd=tmp_path)

    assert "lsmagic: True" in said


def test_servers_need_no_compiler(python: str, tmp_path: Path) -> None:
    with LlamaServer(demo.PATH, "-c", "1024", "-np", "1") as server:
        lines = [
            "import localllm_magics as m",
            f"print(m.load({server.address!r}).complete('What is a token?', temperature=0, max_tokens=4).text)",
        ]
        said = run(python, "-c", "\n".join(lines), cwd=tmp_path)

    assert said.strip() == "A token is a"
