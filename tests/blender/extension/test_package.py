# SPDX-License-Identifier: Apache-2.0
"""The extension's package: what is in it, and that Blender accepts it (build_addon.build validates what it builds)."""

from __future__ import annotations

import ast
import importlib.util
import zipfile
from pathlib import Path

import bpy
import pytest
import tomllib

import blender_addon
import build_addon

ADDON = build_addon.ADDON


def test_the_zip_holds_what_the_extension_needs_and_nothing_else(extension_zip: Path) -> None:
    names = set(zipfile.ZipFile(extension_zip).namelist())
    manifest = tomllib.loads((ADDON / "blender_manifest.toml").read_text())
    wheels = {wheel.removeprefix("./") for wheel in manifest["wheels"]}
    assert {"__init__.py", "blender_manifest.toml", "LICENSE", "assets/neutral_body.npz"} <= names
    assert wheels <= names
    assert all(wheel.endswith("-py3-none-any.whl") for wheel in wheels)
    kinds = {Path(name).suffix for name in names if not name.endswith("/")}
    assert kinds <= {".py", ".toml", ".npz", ".json", ".whl", ".md", ".txt", ""}


def test_versions_agree() -> None:
    manifest = tomllib.loads((ADDON / "blender_manifest.toml").read_text())
    project = tomllib.loads((build_addon.ROOT / "pyproject.toml").read_text())["project"]
    assert manifest["version"] == project["version"]
    wheel_version = manifest["wheels"][0].split("-")[1]
    assert f"websockets=={wheel_version}" in project["dependencies"]


@pytest.mark.slow
def test_an_extension_that_is_not_valid_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = (ADDON / "blender_manifest.toml").read_text()
    broken = tmp_path / "addon"
    broken.mkdir()
    (broken / "__init__.py").touch()
    (broken / "blender_manifest.toml").write_text(manifest.replace('type = "add-on"', 'type = "toy"'))
    monkeypatch.setattr(build_addon, "ADDON", broken)
    with pytest.raises(build_addon.BuildError, match="type"):
        build_addon.build_slim(tmp_path / "dist")


def test_without_blenders_builder_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(build_addon.BuildError, match="make setup"):
        build_addon.build_slim(tmp_path)


def test_a_blender_without_numpy_is_told_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "numpy" else find_spec(name))
    blender_addon.register()
    try:
        assert hasattr(bpy.types, "POSELLAVA_PT_missing_numpy")
        assert not hasattr(bpy.types, "POSELLAVA_PT_main")
    finally:
        blender_addon.unregister()
    assert not hasattr(bpy.types, "POSELLAVA_PT_missing_numpy")
    assert "sudo apt install python3-numpy" in capsys.readouterr().err


@pytest.mark.parametrize("file", sorted((ADDON / "ui").glob("*.py")), ids=lambda file: file.name)
def test_every_icon_that_is_named_exists(file: Path) -> None:
    known = bpy.types.UILayout.bl_rna.functions["label"].parameters["icon"].enum_items.keys()
    tree = ast.parse(file.read_text())
    named = [
        keyword.value.value
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        for keyword in call.keywords
        if keyword.arg == "icon" and isinstance(keyword.value, ast.Constant)
    ]
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "wrapped":
            icon = call.args[3]
            icons = (icon.body, icon.orelse) if isinstance(icon, ast.IfExp) else (icon,)
            named += [ast.literal_eval(one) for one in icons]
    assert not set(named) - set(known)


def test_the_package_never_imports_backend_or_training() -> None:
    """``local/launch.py`` alone does: it is no module of the add-on, but what the local backend's process runs."""
    for file in set(ADDON.rglob("*.py")) - {ADDON / "local" / "launch.py"}:
        assert "import launch" not in file.read_text()
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                assert not {alias.name.split(".")[0] for alias in node.names} & {"backend", "training"}, file
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                root = (node.module or "").split(".")[0]
                assert root not in {"backend", "training", "blender_addon"}, file


@pytest.mark.full
def test_there_is_a_zip_for_every_platform_with_its_own_wheels(tmp_path: Path) -> None:
    """Blender's validator has seen each (build_addon.build raises otherwise). That they start on Windows and macOS is
    not tried here."""
    zips = build_addon.build(tmp_path, list(build_addon.PLATFORMS))
    for file, (platform, tags) in zip(zips, build_addon.PLATFORMS.items(), strict=True):
        with zipfile.ZipFile(file) as opened:
            names = opened.namelist()
            manifest = tomllib.loads(opened.read("blender_manifest.toml").decode())
        assert manifest["build"]["generated"]["platforms"] == [platform]
        built_for = {Path(name).stem.split("-")[-1] for name in names if name.endswith(".whl")} - {"any"}
        assert all(set(each.split(".")) & set(tags) for each in built_for)
        assert file.stat().st_size < 120e6
