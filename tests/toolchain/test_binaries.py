"""Where binaries are looked for, in which order, and what keeps one from being taken."""

import asyncio
import fcntl
from pathlib import Path

import pytest

from trimtab.base.errors import Terminal
from trimtab.toolchain import binaries, golang
from trimtab.toolchain.__main__ import main
from trimtab.toolchain.families import FAMILIES, Tool, stages


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine on which nothing is installed and nothing was built."""
    binaries._version.cache_clear()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    (tmp_path / "bin").mkdir()
    return tmp_path


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def says(path: Path, version: str) -> Path:
    return script(path, f"echo {version}")


def test_nothing_is_found_on_an_empty_machine(empty):
    assert binaries.find("render") is None


@pytest.mark.parametrize(
    ("version", "fits"),
    [("v5.4.0", True), ("v5.8.2", True), ("v5.3.9", False), ("v6.0.0", False), ("(devel)", False)],
)
def test_a_binary_on_path_is_taken_if_its_version_fits(empty, version, fits):
    path = says(empty / "bin" / "kustomize", f"'{version}'")
    assert binaries.present("render") == ({"kustomize": path} if fits else {})


def test_a_family_is_found_only_when_all_of_it_is_there(empty):
    kustomize = says(empty / "bin" / "kustomize", "v5.8.2")
    assert binaries.find("render") is None
    helm = says(empty / "bin" / "helm", "v4.3.1")
    assert binaries.find("render") == {"kustomize": kustomize, "helm": helm}


@pytest.mark.parametrize(("version", "fits"), [("v4.0.0", True), ("v4.3.1+gabc", True), ("v3.19.0", False)])
def test_a_helm_of_another_major_version_is_not_taken(empty, version, fits):
    says(empty / "bin" / "helm", version)
    assert ("helm" in binaries.present("render")) is fits


def test_a_binary_that_fails_to_say_its_version_is_not_taken(empty):
    script(empty / "bin" / "kustomize", "echo v5.8.2; exit 3")
    assert binaries.present("render") == {}


def test_kubebuilder_assets_come_before_path_and_path_before_the_cache(empty, monkeypatch):
    cached = says(binaries.cache_of("render") / "kustomize", "v5.8.2")
    assert binaries.present("render") == {"kustomize": cached}
    on_path = says(empty / "bin" / "kustomize", "v5.8.1")
    assert binaries.present("render") == {"kustomize": on_path}
    asset = says(empty / "assets" / "kustomize", "v5.8.0")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(asset.parent))
    assert binaries.present("render") == {"kustomize": asset}


def test_another_minor_version_of_kubernetes_does_not_fit():
    kubectl = next(tool for tool in FAMILIES["controlplane"].tools if tool.name == "kubectl")
    assert kubectl.fits((1, 36, 9))
    assert not kubectl.fits((1, 32, 4))
    assert not kubectl.fits((1, 37, 0))


def test_kwok_without_its_stages_is_not_taken(empty):
    kwok = next(tool for tool in FAMILIES["controlplane"].tools if tool.name == "kwok")
    path = says(empty / "bin" / "kwok", "kwok version v0.8.0")
    assert not binaries._fits(kwok, path)
    for stage in stages(path):
        stage.parent.mkdir(exist_ok=True)
        stage.write_text("kind: Stage\n")
    assert binaries._fits(kwok, path)


def test_other_pins_are_another_cache_entry(tmp_path, monkeypatch):
    before = FAMILIES["render"].label
    module = tmp_path / "render"
    module.mkdir()
    for file in ("go.mod", "go.sum"):
        (module / file).write_bytes((FAMILIES["render"].module / file).read_bytes() + b"\n")
    monkeypatch.setattr("trimtab.toolchain.families.MODULES", tmp_path)
    assert FAMILIES["render"].label != before


def pretend_go(empty: Path, build: str) -> None:
    script(empty / "bin" / "go", f'if [ "$1" = env ]; then echo go1.26.8; exit; fi\n{build}')


async def test_a_build_appears_in_the_cache_only_when_it_is_complete(empty):
    pretend_go(empty, 'echo started > "$3"; kill -9 $$')
    with pytest.raises(Terminal):
        await binaries.ensure("render")
    assert not [path for path in binaries.cache_of("render").iterdir() if not path.name.startswith(".")]
    pretend_go(empty, 'printf "#!/bin/sh\\necho v5.8.2\\n" > "$3"; /bin/chmod +x "$3"')
    found = await binaries.ensure("render")
    assert found == {name: binaries.cache_of("render") / name for name in ("kustomize", "helm")}


async def test_a_failed_build_says_what_the_compiler_said(empty):
    pretend_go(empty, "echo 'dial tcp: no route to host' >&2; exit 1")
    with pytest.raises(Terminal, match=r"(?s)building kustomize from .*go\.mod failed.*no route to host.*GOPROXY"):
        await binaries.ensure("render")


async def test_progress_names_the_binary_and_how_many_there_are(empty):
    pretend_go(empty, 'echo x > "$3"; /bin/chmod +x "$3"')
    lines: list[str] = []
    steps: list[binaries.Step] = []
    await binaries.ensure("render", progress=lines.append, watch=steps.append)
    assert any("building kustomize (1 of 2), 0 s" in line for line in lines)
    assert any("building helm (2 of 2), 0 s" in line for line in lines)
    assert [step.done for step in steps] == [False, True, False, True]


async def test_two_builds_do_not_run_at_once(empty):
    pretend_go(empty, f'echo run >> {empty}/runs; /bin/sleep 0.3; echo x > "$3"; /bin/chmod +x "$3"')
    lines: list[str] = []
    await asyncio.gather(binaries.ensure("render", progress=lines.append), binaries.ensure("render"))
    assert (empty / "runs").read_text().splitlines() == ["run", "run"]


async def test_who_waits_for_another_build_is_told(empty):
    home = binaries.cache_of("render")
    home.mkdir(parents=True)
    lines: list[str] = []
    with (home.parent / "render.lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        waiting = asyncio.ensure_future(binaries.ensure("render", progress=lines.append))
        async with asyncio.timeout(60):
            while not lines and not waiting.done():
                await asyncio.sleep(0.01)
        assert not waiting.done()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert "another process is building" in lines[0]


@pytest.mark.parametrize(("version", "taken"), [("go1.26.0", True), ("go1.27.3", True), ("go1.25.9", False)])
async def test_go_on_path_is_taken_from_1_26_on(empty, monkeypatch, version, taken):
    script(empty / "bin" / "go", f"echo {version}")
    installed = []

    async def install(home: Path) -> None:
        installed.append(home)

    monkeypatch.setattr(golang, "_install", install)
    found = await golang.ensure(empty / "cache", lambda _: None)
    assert (found == empty / "bin" / "go") is taken
    assert bool(installed) is not taken


def test_a_build_sees_neither_secrets_nor_a_workspace(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    monkeypatch.setenv("GOPROXY", "off")
    seen = golang.environment()
    assert "AWS_SECRET_ACCESS_KEY" not in seen
    assert seen["GOPROXY"] == "off"
    assert seen["GOWORK"] == "off"
    assert seen["GOTOOLCHAIN"] == "local"


def test_what_is_for_tests_is_built_where_it_is_asked_for_only(monkeypatch):
    asked = []
    monkeypatch.setattr(binaries, "find", lambda name: asked.append(name) or {"a": Path("/a")})
    assert main([]) == 0
    assert "secrets" not in asked
    assert set(asked) == {name for name, family in FAMILIES.items() if not family.for_tests}
    assert main(["secrets"]) == 0
    assert asked[-1] == "secrets"


def test_every_tool_has_a_range_that_contains_what_we_build():
    pins = {name: (family.module / "go.mod").read_text() for name, family in FAMILIES.items()}
    for name, family in FAMILIES.items():
        for tool in family.tools:
            assert pinned(pins[name], tool), tool.name


def pinned(go_mod: str, tool: Tool) -> bool:
    """Whether go.mod requires a version of the tool's module that the tool's own range admits."""
    for line in go_mod.splitlines():
        module, _, rest = line.strip().partition(" ")
        if module and (tool.package == module or tool.package.startswith(f"{module}/")) and rest.startswith("v"):
            numbers = rest.split()[0].removeprefix("v").split("-")[0].split(".")
            return tool.fits((int(numbers[0]), int(numbers[1]), int(numbers[2])))
    return False
